//! Decides whether a failed request is sent again, and when. Pure: the failure, a random number and the time that is
//! left come in, a decision goes out.

use super::{ProviderError, ProviderErrorKind};
use crate::config::llm::LlmConfig;
use std::time::Duration;

/// No wait of our own choosing is longer: whoever allows so many retries still gets an answer some day.
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send the same request again after this wait.
    RetryAfter(Duration),
    /// Do not: ask another host, or tell the caller.
    GiveUp,
}

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
    /// Decides after `failures` failed attempts (the one that just failed included). `jitter` is a random number of
    /// 0..1. `budget` is the time left for waiting: a wait that would use it up is not begun, because nothing would be
    /// left for the answer. Ask only before the first token: a started stream is never repeated.
    pub fn decide(&self, failures: u32, error: &ProviderError, jitter: f64, budget: Duration) -> Decision {
        if !error.is_retryable() || failures > self.retries {
            return Decision::GiveUp;
        }
        let wait = match error.kind {
            ProviderErrorKind::RateLimited { retry_after: Some(asked) } => {
                if asked > self.retry_after_max {
                    return Decision::GiveUp;
                }
                // Never earlier than asked; a little later, so that many calls do not return in the same instant.
                asked.saturating_add(self.backoff(failures, jitter) / 8)
            }
            _ => self.backoff(failures, jitter),
        };
        if wait < budget { Decision::RetryAfter(wait) } else { Decision::GiveUp }
    }

    /// Between half and all of `base · 2^(failures - 1)`.
    fn backoff(&self, failures: u32, jitter: f64) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.base.saturating_mul(factor).min(LONGEST_BACKOFF);
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
        full.mul_f64(0.5 + jitter / 2.0)
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

    fn wait_ms(decision: Decision) -> Option<u128> {
        match decision {
            Decision::RetryAfter(wait) => Some(wait.as_millis()),
            Decision::GiveUp => None,
        }
    }

    #[test]
    fn the_policy_gives_up_waits_or_obeys_as_the_table_says() {
        use ProviderErrorKind::*;
        let long = 60_000;
        // failures, error, jitter, budget ms → wait ms
        let table = [
            (1, error(Server), 1.0, long, Some(300)),
            (2, error(Server), 1.0, long, Some(600)),
            (3, error(Server), 1.0, long, None),
            (1, error(Timeout), 0.0, long, Some(150)),
            (1, error(Unreachable), 1.0, long, Some(300)),
            (1, error(Closed), 1.0, long, Some(300)),
            (1, error(RateLimited { retry_after: None }), 1.0, long, Some(300)),
            (1, error(Refused), 1.0, long, None),
            (1, error(Auth), 1.0, long, None),
            (1, error(Quota), 1.0, long, None),
            (1, error(Protocol), 1.0, long, None),
            (1, limited(800), 0.0, long, Some(818)),
            (1, limited(2_000), 1.0, long, Some(2_037)),
            (1, limited(2_001), 0.0, long, None),
            (1, limited(300_000), 0.0, long, None),
            (1, limited(800), 0.0, 818, None),
            (1, limited(800), 0.0, 819, Some(818)),
            (1, error(Server), 1.0, 300, None),
            (1, error(Server), 1.0, 301, Some(300)),
            (1, error(Server), 1.0, 0, None),
            (1, error(Server), f64::NAN, long, Some(225)),
            (1, error(Server), -7.0, long, Some(150)),
            (1, error(Server), 7.0, long, Some(300)),
        ];
        for (row, (failures, error, jitter, budget, expected)) in table.into_iter().enumerate() {
            let decision = POLICY.decide(failures, &error, jitter, Duration::from_millis(budget));
            assert_eq!(wait_ms(decision), expected, "row {row}: {error:?}");
        }
    }

    #[test]
    fn the_configuration_gives_the_documented_policy() {
        assert_eq!(RetryPolicy::from(&LlmConfig::default()), POLICY);
    }

    proptest! {
        #[test]
        fn a_wait_is_inside_the_budget_and_never_shorter_than_asked(
            failures in any::<u32>(), retries in any::<u32>(), base in any::<u32>(), asked in proptest::option::of(any::<u64>()),
            max in any::<u64>(), jitter in any::<f64>(), budget in any::<u64>(),
        ) {
            let policy = RetryPolicy {
                retries,
                base: Duration::from_millis(base.into()),
                retry_after_max: Duration::from_millis(max),
            };
            let asked = asked.map(Duration::from_millis);
            let error = error(ProviderErrorKind::RateLimited { retry_after: asked });
            let budget = Duration::from_millis(budget);
            if let Decision::RetryAfter(wait) = policy.decide(failures, &error, jitter, budget) {
                prop_assert!(wait < budget);
                prop_assert!(failures <= retries);
                match asked {
                    Some(asked) => {
                        prop_assert!(asked <= policy.retry_after_max);
                        prop_assert!(wait >= asked && wait <= asked + LONGEST_BACKOFF);
                    }
                    None => prop_assert!(wait <= LONGEST_BACKOFF),
                }
            }
        }
    }
}
