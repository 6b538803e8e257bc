//! Wrong sign-ins: after a few in a row, each further one has to wait longer. Pure: the time is given.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// Names and addresses remembered at once, each; the oldest go first.
const REMEMBERED: usize = 10_000;
/// The longest wait for a name, from whatever address: a stranger must not lock somebody out for long.
pub(super) const NAME_WAIT: Duration = Duration::from_secs(60);

/// Attempts of one name or address.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    count: u32,
    /// Time of the last.
    last: Duration,
}

/// Counts wrong sign-ins.
#[derive(Debug)]
pub struct Throttle {
    free: u32,
    longest: Duration,
    names: HashMap<String, Attempts>,
    addresses: HashMap<IpAddr, Attempts>,
}

impl Throttle {
    /// Lets `free` wrong sign-ins pass before waits begin, which grow to `longest`.
    pub fn new(free: u32, longest: Duration) -> Self {
        Self { free, longest, names: HashMap::new(), addresses: HashMap::new() }
    }

    /// Asks for leave to try. An attempt counts as wrong until [`Throttle::succeeded`]: of many at once, only as many
    /// as are free get through.
    pub fn attempt(&mut self, name: &str, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let name_longest = self.longest.min(NAME_WAIT);
        let left = wait_left(self.names.get(name), self.free, name_longest, now).max(wait_left(
            self.addresses.get(&address),
            self.free,
            self.longest,
            now,
        ));
        if !left.is_zero() {
            return Err(left);
        }
        add(&mut self.names, name.to_owned(), now, self.longest);
        add(&mut self.addresses, address, now, self.longest);
        Ok(())
    }

    /// The last attempt was right: the name's failures are forgotten, and the address's last one.
    pub fn succeeded(&mut self, name: &str, address: IpAddr) {
        self.names.remove(name);
        if let Some(attempts) = self.addresses.get_mut(&address) {
            attempts.count = attempts.count.saturating_sub(1);
        }
    }
}

/// The wait after so many attempts: 1 s after those that are free, then twice as long each time.
fn wait(count: u32, free: u32, longest: Duration) -> Duration {
    let Some(beyond) = count.checked_sub(free) else { return Duration::ZERO };
    let seconds = 1_u64.checked_shl(beyond.min(40)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(longest)
}

fn wait_left(attempts: Option<&Attempts>, free: u32, longest: Duration, now: Duration) -> Duration {
    attempts.map_or(Duration::ZERO, |attempts| {
        let until = attempts.last.saturating_add(wait(attempts.count, free, longest));
        until.saturating_sub(now)
    })
}

fn add<K: Hash + Eq + Clone>(known: &mut HashMap<K, Attempts>, key: K, now: Duration, longest: Duration) {
    // Twice the longest wait without a try: a new beginning.
    let forget = longest.saturating_mul(2);
    if known.len() >= REMEMBERED && !known.contains_key(&key) {
        known.retain(|_, attempts| now.saturating_sub(attempts.last) < forget);
        if known.len() >= REMEMBERED
            && let Some(oldest) = known.iter().min_by_key(|(_, a)| a.last).map(|(key, _)| key.clone())
        {
            known.remove(&oldest);
        }
    }
    let attempts = known.entry(key).or_insert(Attempts { count: 0, last: now });
    if now.saturating_sub(attempts.last) >= forget {
        attempts.count = 0;
    }
    attempts.count = attempts.count.saturating_add(1);
    attempts.last = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn after_five_wrong_sign_ins_the_waits_grow() {
        let mut throttle = Throttle::new(5, 900 * S);
        let mut now = Duration::ZERO;
        for _ in 0..5 {
            assert_eq!(throttle.attempt("maria", address(1), now), Ok(()));
        }
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            let refused = throttle.attempt("maria", address(wait as u8), now);
            assert_eq!(refused, Err(wait * S), "the name waits");
            now += wait * S;
            assert_eq!(throttle.attempt("maria", address(200 + (wait as u8 % 50)), now), Ok(()));
        }
    }

    #[test]
    fn an_address_that_tries_names_waits_longer() {
        let mut throttle = Throttle::new(5, 900 * S);
        for n in 0..5 {
            throttle.attempt(&format!("user{n}"), address(1), Duration::ZERO).unwrap();
        }
        assert_eq!(throttle.attempt("another", address(1), Duration::ZERO), Err(S));
        assert_eq!(throttle.attempt("another", address(2), Duration::ZERO), Ok(()));
    }

    #[test]
    fn a_right_sign_in_forgets_the_names_failures_but_not_the_addresss() {
        let mut throttle = Throttle::new(5, 900 * S);
        for _ in 0..4 {
            throttle.attempt("maria", address(1), Duration::ZERO).unwrap();
        }
        throttle.attempt("maria", address(1), Duration::ZERO).unwrap();
        throttle.succeeded("maria", address(1));
        assert_eq!(throttle.attempt("maria", address(1), Duration::ZERO), Ok(()));
        assert_eq!(throttle.attempt("maria", address(1), Duration::ZERO), Err(S));
        assert_eq!(throttle.attempt("maria", address(2), Duration::ZERO), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut throttle = Throttle::new(5, 900 * S);
        for n in 0..(REMEMBERED as u32 + 100) {
            let address = IpAddr::from(n.to_be_bytes());
            throttle.attempt(&format!("u{n}"), address, Duration::from_millis(n.into())).unwrap();
        }
        assert!(throttle.names.len() <= REMEMBERED && throttle.addresses.len() <= REMEMBERED);
    }

    proptest! {
        #[test]
        fn no_sequence_of_failures_gets_more_tries_than_the_waits_allow(
            steps in proptest::collection::vec(0_u64..5, 1..200),
        ) {
            let mut throttle = Throttle::new(5, 900 * S);
            let (mut now, mut tries) = (Duration::ZERO, 0_u32);
            for step in steps {
                now += Duration::from_secs(step);
                tries += u32::from(throttle.attempt("maria", address(1), now).is_ok());
            }
            // Free ones, then waits of 1, 2, 4 … s: the n-th beyond needs 2^n - 1 s.
            let beyond = (now.as_secs() + 1).ilog2();
            prop_assert!(tries <= 5 + beyond.max(now.as_secs() as u32 / 60 + 6), "{tries} in {now:?}");
        }
    }
}
