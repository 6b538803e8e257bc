//! Calls that we place: to where, and how many. The ceilings are what stands between a stolen key and a telephone bill.

use super::setting::settings;
use super::validate::within;

settings! {
    /// Calls that we place.
    pub struct OutboundConfig {
        /// Countries that may be rung, as two letters of ISO 3166; the business number's own if none is given.
        allowed_countries: Vec<String> = Vec::new(), check countries;
        /// Calls placed within an hour, by all processes of one database, restarted ones too; 0: none at all.
        per_hour: u32 = 60, check within(0, 100_000);
        /// The same within 24 hours.
        per_day: u32 = 300, check within(0, 1_000_000);
        /// The same to one number.
        per_destination: u32 = 5, check within(0, 100_000);
        /// How long the telephone rings before the call is given up, s.
        ring_s: u16 = 30, check within(5, 600);
    }
}

fn countries(value: &[String]) -> Result<(), String> {
    let known = |code: &String| {
        code.len() == 2
            && code.bytes().all(|b| b.is_ascii_uppercase())
            && code.parse::<phonenumber::country::Id>().is_ok()
    };
    if value.iter().all(known) {
        return Ok(());
    }
    Err("countries as two capital letters of ISO 3166, separated by commas, like US, CA".to_owned())
}
