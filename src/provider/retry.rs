//! Decides whether a failed request is sent again, and when. Pure: the failure, a random number and the time that is
//! left come in, a wait comes out.

use super::{ProviderError, ProviderErrorKind};
use crate::config::llm::LlmConfig;
use std::time::Duration;

/// No wait of our own choosing is longer: whoever allows so many retries still gets an answer some day.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

/// How often and how patiently a request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub retries: u32,
    /// Wait before the first retry; doubles with each.
    pub base: Duration,
    /// Longest wait that a vendor may ask for; beyond it there is no retry at all.
    pub retry_after_max: Duration,
}

impl From<&LlmConfig> for RetryPolicy {
    fn from(config: &LlmConfig) -> Self {
        Self {
            retries: config.retries,
            base: Duration::from_millis(config.retry_ms),
            retry_after_max: Duration::from_millis(config.retry_after_max_ms),
        }
    }
}

impl RetryPolicy {
    /// How long to wait before the same request is sent again; none if it should not be: another host is to be asked,
    /// or the caller told.
    ///
    /// `retries` were made before the one that has just failed. `jitter` is any random number: up to half a back-off is
    /// added by it, so that calls that failed together do not come back together. `budget` is the time left for waiting:
    /// a wait that would use it up is not begun, because nothing would be left for the answer. To be asked only before
    /// the first token: a started stream is never repeated.
    pub fn wait(
        &self,
        retries: u32,
        error: &ProviderError,
        jitter: u32,
        budget: Duration,
    ) -> Option<Duration> {
        if !error.is_retryable() || retries >= self.retries {
            return None;
        }
        let factor = 1_u32.checked_shl(retries).unwrap_or(u32::MAX);
        let backoff = self.base.saturating_mul(factor).min(LONGEST_BACKOFF);
        let least = match error.kind {
            ProviderErrorKind::RateLimited { retry_after: Some(asked) } if asked > self.retry_after_max => {
                return None;
            }
            ProviderErrorKind::RateLimited { retry_after: Some(asked) } => backoff.max(asked),
            _ => backoff,
        };
        let spread = (backoff / 2).mul_f64(f64::from(jitter) / f64::from(u32::MAX));
        Some(least.saturating_add(spread)).filter(|wait| *wait < budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RetryPolicy = RetryPolicy {
        retries: 2,
        base: Duration::from_millis(300),
        retry_after_max: Duration::from_millis(2_000),
    };

    fn error(kind: ProviderErrorKind) -> ProviderError {
        ProviderError::new("openai", kind, "x")
    }

    fn limited(ms: u64) -> ProviderError {
        error(ProviderErrorKind::RateLimited { retry_after: Some(Duration::from_millis(ms)) })
    }

    #[test]
    fn the_policy_gives_up_waits_or_obeys_as_the_table_says() {
        use ProviderErrorKind::*;
        let long = 60_000;
        // retries before, error, jitter, budget ms → wait ms
        let table = [
            (0, error(Server), 0, long, Some(300)),
            (0, error(Server), u32::MAX, long, Some(450)),
            (1, error(Server), 0, long, Some(600)),
            (1, error(Server), u32::MAX, long, Some(900)),
            (2, error(Server), 0, long, None),
            (0, error(Timeout), 0, long, Some(300)),
            (0, error(Unreachable), 0, long, Some(300)),
            (0, error(Closed), 0, long, Some(300)),
            (0, error(RateLimited { retry_after: None }), 0, long, Some(300)),
            (0, error(Refused), 0, long, None),
            (0, error(Auth), 0, long, None),
            (0, error(Quota), 0, long, None),
            (0, error(Protocol), 0, long, None),
            (0, limited(100), 0, long, Some(300)),
            (0, limited(800), 0, long, Some(800)),
            (0, limited(800), u32::MAX, long, Some(950)),
            (0, limited(2_000), 0, long, Some(2_000)),
            (0, limited(2_001), 0, long, None),
            (0, limited(300_000), 0, long, None),
            (0, limited(800), 0, 800, None),
            (0, limited(800), 0, 801, Some(800)),
            (0, error(Server), 0, 300, None),
            (0, error(Server), 0, 301, Some(300)),
            (0, error(Server), 0, 0, None),
        ];
        for (row, (retries, error, jitter, budget, expected)) in table.into_iter().enumerate() {
            let wait = POLICY.wait(retries, &error, jitter, Duration::from_millis(budget));
            assert_eq!(wait.map(|wait| wait.as_millis()), expected, "row {row}: {error:?}");
        }
    }

    #[test]
    fn the_configuration_gives_the_documented_policy() {
        assert_eq!(RetryPolicy::from(&LlmConfig::default()), POLICY);
    }

    proptest! {
        #[test]
        fn a_wait_is_inside_the_budget_and_never_shorter_than_asked(
            made in any::<u32>(), retries in any::<u32>(), base in any::<u32>(), asked in proptest::option::of(any::<u64>()),
            max in any::<u64>(), jitter in any::<u32>(), budget in any::<u64>(),
        ) {
            let policy = RetryPolicy {
                retries,
                base: Duration::from_millis(base.into()),
                retry_after_max: Duration::from_millis(max),
            };
            let asked = asked.map(Duration::from_millis);
            let error = error(ProviderErrorKind::RateLimited { retry_after: asked });
            let budget = Duration::from_millis(budget);
            if let Some(wait) = policy.wait(made, &error, jitter, budget) {
                prop_assert!(wait < budget);
                prop_assert!(made < retries);
                let longest = LONGEST_BACKOFF + LONGEST_BACKOFF / 2;
                match asked {
                    Some(asked) => {
                        prop_assert!(asked <= policy.retry_after_max);
                        prop_assert!(wait >= asked && wait <= asked.saturating_add(longest));
                    }
                    None => prop_assert!(wait <= longest),
                }
            }
        }
    }
}
