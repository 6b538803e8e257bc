//! What stands between a stolen key and a telephone bill: whom we may ring, and how often (SEC-3).

use crate::config::outbound::OutboundConfig;
use crate::domain::phone::PhoneNumber;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Destinations remembered before those that count no more are dropped.
const KEPT: usize = 1_000;

/// Why a number is not rung.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TollRefusal {
    /// In no country that may be rung.
    #[error("calls to {} are not allowed, only to {}", country.as_deref().unwrap_or("that country"), allowed.join(", "))]
    Country {
        /// Where it is, if the numbering plan knows.
        country: Option<String>,
        /// Where it may be.
        allowed: Vec<String>,
    },
    /// Premium rate and the like.
    #[error("numbers of premium rate, shared cost and their like are not rung")]
    Costly,
    /// Our own.
    #[error("that is the business's own number")]
    Ours,
    /// There were enough calls.
    #[error("the ceiling of calls {what} is reached")]
    TooMany {
        /// Which ceiling.
        what: &'static str,
        /// When there is room again.
        wait: Duration,
    },
}

/// One for the whole server.
pub struct TollGuard {
    ours: Option<PhoneNumber>,
    countries: Vec<String>,
    /// None: no calls at all.
    hour: Option<DefaultDirectRateLimiter>,
    day: Option<DefaultDirectRateLimiter>,
    destination: Option<DefaultKeyedRateLimiter<PhoneNumber>>,
    clock: DefaultClock,
}

/// So many at once, and in so long as many again, one by one.
fn quota(calls: u32, period: Duration) -> Option<Quota> {
    let calls = NonZeroU32::new(calls)?;
    Some(Quota::with_period(period.checked_div(calls.get())?)?.allow_burst(calls))
}

impl TollGuard {
    /// As configured, for a business with this number.
    pub fn new(config: &OutboundConfig, business_number: &str) -> Self {
        let ours = PhoneNumber::from_e164(business_number).ok();
        let mut countries = config.allowed_countries.clone();
        if countries.is_empty() {
            countries.extend(ours.as_ref().and_then(PhoneNumber::region));
        }
        Self {
            ours,
            countries,
            hour: quota(config.per_hour, HOUR).map(RateLimiter::direct),
            day: quota(config.per_day, DAY).map(RateLimiter::direct),
            destination: quota(config.per_destination, DAY).map(RateLimiter::dashmap),
            clock: DefaultClock::default(),
        }
    }

    /// Whether a number may be rung at all.
    pub fn allows(&self, to: &PhoneNumber) -> Result<(), TollRefusal> {
        if self.ours.as_ref() == Some(to) {
            return Err(TollRefusal::Ours);
        }
        let country = to.region();
        if !country.as_ref().is_some_and(|country| self.countries.contains(country)) {
            return Err(TollRefusal::Country { country, allowed: self.countries.clone() });
        }
        if to.is_costly() { Err(TollRefusal::Costly) } else { Ok(()) }
    }

    /// Whether a number may be rung now; if so, that counts as a call. The destination is asked first, so that one
    /// number does not use up what there is for all.
    pub fn take(&self, to: &PhoneNumber) -> Result<(), TollRefusal> {
        self.allows(to)?;
        let full = |what, wait| Err(TollRefusal::TooMany { what, wait });
        let now = || self.clock.now();
        match &self.destination {
            None => return full("to one number", DAY),
            Some(limit) => {
                if limit.len() > KEPT {
                    limit.retain_recent();
                }
                if let Err(not_until) = limit.check_key(to) {
                    return full("to one number in a day", not_until.wait_time_from(now()));
                }
            }
        }
        for (limit, what, period) in [(&self.hour, "in an hour", HOUR), (&self.day, "in a day", DAY)] {
            match limit {
                None => return full(what, period),
                Some(limit) => {
                    if let Err(not_until) = limit.check() {
                        return full(what, not_until.wait_time_from(now()));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(change: impl FnOnce(&mut OutboundConfig)) -> TollGuard {
        let mut config = OutboundConfig::default();
        change(&mut config);
        TollGuard::new(&config, "+12025550100")
    }

    fn number(text: &str) -> PhoneNumber {
        PhoneNumber::from_e164(text).unwrap()
    }

    #[test]
    fn only_the_own_country_is_rung_unless_more_are_allowed() {
        let own = guard(|_| {});
        assert_eq!(own.allows(&number("+12025550143")), Ok(()));
        assert_eq!(own.allows(&number("+12025550100")), Err(TollRefusal::Ours));
        // Of the same code but other countries; a country elsewhere; a satellite.
        for foreign in ["+18762345678", "+18687654321", "+16132345678", "+493012345678", "+881612345678"] {
            let refused = own.allows(&number(foreign));
            assert!(matches!(refused, Err(TollRefusal::Country { .. })), "{foreign}: {refused:?}");
        }
        let more = guard(|c| c.allowed_countries = vec!["US".into(), "DE".into()]);
        assert_eq!(more.allows(&number("+493012345678")), Ok(()));
        let refused = more.allows(&number("+33142345678")).unwrap_err();
        assert_eq!(refused.to_string(), "calls to FR are not allowed, only to US, DE");
    }

    #[test]
    fn numbers_that_cost_extra_are_not_rung() {
        assert_eq!(guard(|_| {}).allows(&number("+19002345678")), Err(TollRefusal::Costly));
    }

    #[test]
    fn each_ceiling_holds_and_says_when_to_come_again() {
        let a_number = |n: u32| number(&format!("+1202555{:04}", 1_000 + n));
        let refused = |guard: &TollGuard, n| match guard.take(&a_number(n)) {
            Err(TollRefusal::TooMany { what, wait }) => {
                assert!(!wait.is_zero() && wait <= DAY, "{wait:?}");
                Some(what)
            }
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        };
        let one = guard(|c| c.per_destination = 2);
        assert_eq!(
            [1, 1, 1, 2].map(|n| refused(&one, n)),
            [None, None, Some("to one number in a day"), None]
        );
        let hour = guard(|c| c.per_hour = 2);
        assert_eq!([1, 2, 3].map(|n| refused(&hour, n)), [None, None, Some("in an hour")]);
        let day = guard(|c| c.per_day = 1);
        assert_eq!([1, 2].map(|n| refused(&day, n)), [None, Some("in a day")]);
        assert_eq!(refused(&guard(|c| c.per_hour = 0), 1), Some("in an hour"));
    }
}
