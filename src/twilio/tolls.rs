//! What stands between a stolen key and a telephone bill: whom we may ring (SEC-3). How often is counted in the
//! database, which all processes share.

use crate::config::outbound::OutboundConfig;
use crate::domain::phone::PhoneNumber;

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
}

/// One for the whole server.
pub struct TollGuard {
    ours: Option<PhoneNumber>,
    countries: Vec<String>,
}

impl TollGuard {
    /// As configured, for a business with this number.
    pub fn new(config: &OutboundConfig, business_number: &str) -> Self {
        let ours = PhoneNumber::from_e164(business_number).ok();
        let mut countries = config.allowed_countries.clone();
        if countries.is_empty() {
            countries.extend(ours.as_ref().and_then(PhoneNumber::region));
        }
        Self { ours, countries }
    }

    /// Whether a number may be rung.
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
}
