//! How much anybody may ask for, and whose word counts for where a request comes from.

use super::setting::settings;
use super::validate::within;
use std::net::IpAddr;

settings! {
    /// How much anybody may ask for, per minute; a minute's worth may come at once.
    pub struct LimitsConfig {
        /// Requests to `/api` of one key or signed-in user, a minute.
        who_per_minute: u32 = 1_200, check within(1, 10_000_000);
        /// Requests to `/api` from one address, a minute.
        address_per_minute: u32 = 2_400, check within(1, 10_000_000);
        /// Unsigned or unreadable requests to `/voice` from one address, a minute.
        unsigned_per_minute: u32 = 60, check within(1, 10_000_000);
        /// Calls from one number, a minute; more hear that they should ring later.
        caller_per_minute: u32 = 10, check within(1, 10_000_000);
        /// Calls to one of our numbers, a minute; more hear that they should ring later.
        number_per_minute: u32 = 3_000, check within(1, 10_000_000);
        /// Wrong sign-ins in a row, per name and per address, before each further one has to wait longer.
        sign_in_failures: u32 = 5, check within(1, 10_000);
        /// The longest wait after wrong sign-ins, s.
        sign_in_wait_s: u64 = 900, check within(1, 86_400);
        /// Streams of events that one key or signed-in user may have open at once.
        streams_each: usize = 10, check within(1, 1_000);
        /// A stream of events shows a sign of life, and its reader's right to it is asked anew, this often, s.
        stream_pulse_s: u64 = 15, check within(1, 300);
        /// Addresses or networks (`10.0.0.0/8`) of our own proxies: only what these say of a client's address is believed.
        trusted_proxies: Vec<String> = Vec::new(), env "TRUSTED_PROXIES", check networks;
    }
}

impl LimitsConfig {
    /// The proxies that are believed.
    pub fn proxies(&self) -> Vec<Network> {
        self.trusted_proxies.iter().filter_map(|text| Network::parse(text)).collect()
    }
}

fn networks(list: &[String]) -> Result<(), String> {
    match list.iter().all(|text| Network::parse(text).is_some()) {
        true => Ok(()),
        false => Err("addresses or networks like 127.0.0.1, 10.0.0.0/8, separated by commas".to_owned()),
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads an address, or an address and the length of a prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().ok().filter(|prefix| *prefix <= longest)?,
            None => longest,
        };
        Some(Self { address, prefix })
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix)).unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(self.prefix)).unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, want) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("::/0", "8.8.8.8", false),
            ("fd00::/8", "fd12::1", true),
            ("::1", "::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), want, "{network:?} {address}");
        }
        for wrong in ["", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "10.0.0"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
