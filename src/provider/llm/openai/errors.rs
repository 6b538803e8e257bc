//! What a host's error means: status, `type` and `code` decide, prose never does, and a body that does not parse is no
//! obstacle.

use super::wire::{self, ErrorInfo};
use crate::provider::{ProviderError, ProviderErrorKind};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The vendor's name in errors.
pub(super) const VENDOR: &str = "openai";

/// Types and codes that mean money, not speed.
const QUOTA: [&str; 6] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
];

/// Codes that are passed on as they are. Any other is the host's invention and would make a metric's labels endless.
const KNOWN: [&str; 16] = [
    "capacity_exceeded",
    "content_filter",
    "context_length_exceeded",
    "invalid_api_key",
    "invalid_function_parameters",
    "invalid_value",
    "model_not_found",
    "rate_limit_exceeded",
    "server_error",
    "server_is_overloaded",
    "slow_down",
    "tool_use_failed",
    "unknown_parameter",
    "unsupported_country_region_territory",
    "unsupported_parameter",
    "unsupported_value",
];

/// What matters of the head of a response that is not a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorHead<'h> {
    /// HTTP status.
    pub status: u16,
    /// `retry-after-ms`.
    pub retry_after_ms: Option<&'h str>,
    /// `retry-after`: seconds or a date.
    pub retry_after: Option<&'h str>,
    /// `x-should-retry`.
    pub should_retry: Option<&'h str>,
}

/// The meaning of a response that is not a success. `now` is what a date in `retry-after` is measured from.
pub(super) fn in_response(head: &ErrorHead<'_>, body: &[u8], now: SystemTime) -> ProviderError {
    let info = serde_json::from_slice::<Value>(body).map(|body| wire::error_info(&body)).unwrap_or_default();
    let wait = retry_after(head.retry_after_ms, head.retry_after, now);
    let kind = kind_of_status(head.status, &info, wait);
    let code = known(&info.code).map_or_else(|| format!("http_{}", head.status), str::to_owned);
    let error = ProviderError::new(VENDOR, kind, code);
    match head.should_retry.map(str::trim) {
        Some("false") if error.is_retryable() => ProviderError { kind: ProviderErrorKind::Refused, ..error },
        Some("true") if error.kind == ProviderErrorKind::Refused => {
            ProviderError { kind: ProviderErrorKind::Server, ..error }
        }
        _ => error,
    }
}

/// The meaning of an error that came with status 200, inside a stream or instead of a completion.
pub(super) fn in_answer(info: &ErrorInfo) -> ProviderError {
    // Compatible hosts put the status they would have sent into `code`.
    if let Some(status) = info.code.parse::<u16>().ok().filter(|status| (400..600).contains(status)) {
        return ProviderError::new(VENDOR, kind_of_status(status, info, None), format!("stream_{status}"));
    }
    let kind = if is_quota(info) {
        ProviderErrorKind::Quota
    } else {
        match (info.kind.as_str(), info.code.as_str()) {
            (_, "invalid_api_key") | ("authentication_error" | "permission_error", _) => {
                ProviderErrorKind::Auth
            }
            (_, "rate_limit_exceeded" | "slow_down") | ("rate_limit_error" | "requests" | "tokens", _) => {
                ProviderErrorKind::RateLimited { retry_after: None }
            }
            (_, "content_filter" | "context_length_exceeded" | "tool_use_failed" | "model_not_found")
            | ("invalid_request_error", _) => ProviderErrorKind::Refused,
            // Whatever broke an answer that had begun is the host's trouble.
            _ => ProviderErrorKind::Server,
        }
    };
    ProviderError::new(VENDOR, kind, known(&info.code).unwrap_or("stream_error"))
}

/// How long the host asks us to wait. Zero, negative and past times ask for nothing.
pub(super) fn retry_after(ms: Option<&str>, value: Option<&str>, now: SystemTime) -> Option<Duration> {
    let number = |text: &str, unit: f64| {
        let seconds = text.trim().parse::<f64>().ok()? / unit;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let date = |text: &str| httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).ok();
    ms.and_then(|text| number(text, 1_000.0))
        .or_else(|| value.and_then(|text| number(text, 1.0).or_else(|| date(text))))
        .filter(|wait| !wait.is_zero())
}

fn kind_of_status(status: u16, info: &ErrorInfo, wait: Option<Duration>) -> ProviderErrorKind {
    if status == 402 || is_quota(info) {
        return ProviderErrorKind::Quota;
    }
    match status {
        401 | 403 => ProviderErrorKind::Auth,
        408 => ProviderErrorKind::Timeout,
        429 => ProviderErrorKind::RateLimited { retry_after: wait },
        // 409: a lock. 498: Groq has no capacity.
        409 | 498 => ProviderErrorKind::Server,
        // An overload that says how long it lasts is obeyed like a rate limit.
        500..=599 if wait.is_some() => ProviderErrorKind::RateLimited { retry_after: wait },
        500..=599 => ProviderErrorKind::Server,
        _ => ProviderErrorKind::Refused,
    }
}

fn is_quota(info: &ErrorInfo) -> bool {
    QUOTA.iter().any(|&word| info.kind == word || info.code == word)
}

fn known(code: &str) -> Option<&'static str> {
    KNOWN.iter().chain(&QUOTA).find(|&&known| known == code).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIXTURES: &str = include_str!("../../../../tests/fixtures/openai/http_errors.jsonl");

    /// Sun, 22 Nov 2026 10:00:00 GMT, five seconds before the date in the fixture.
    fn now() -> SystemTime {
        httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap()
    }

    fn of_fixture(fixture: &Value) -> ProviderError {
        let header = |name: &str| fixture["headers"][name].as_str();
        let head = ErrorHead {
            status: fixture["status"].as_u64().unwrap() as u16,
            retry_after_ms: header("retry-after-ms"),
            retry_after: header("retry-after"),
            should_retry: header("x-should-retry"),
        };
        let body = match fixture["body_text"].as_str() {
            Some(text) => text.to_owned(),
            None => fixture["body"].to_string(),
        };
        in_response(&head, body.as_bytes(), now())
    }

    fn asked(error: &ProviderError) -> Option<Duration> {
        match error.kind {
            ProviderErrorKind::RateLimited { retry_after } => retry_after,
            _ => None,
        }
    }

    #[test]
    fn every_error_fixture_means_what_it_expects() {
        let mut seen = 0;
        for line in FIXTURES.lines() {
            let fixture: Value = serde_json::from_str(line).unwrap();
            let (name, expect) = (fixture["name"].as_str().unwrap(), &fixture["expect"]);
            let error = of_fixture(&fixture);
            assert_eq!(error.is_retryable(), expect["retryable"].as_bool().unwrap(), "{name}: {error:?}");
            if let Some(seconds) = expect["retry_after_s"].as_f64() {
                assert_eq!(asked(&error), Some(Duration::from_secs_f64(seconds)), "{name}");
            } else if expect["retry_after_date"] == true {
                assert_eq!(asked(&error), Some(Duration::from_secs(5)), "{name}");
            } else {
                assert_eq!(asked(&error), None, "{name}");
            }
            if name.starts_with("quota") {
                assert_eq!(error.kind, ProviderErrorKind::Quota, "{name}");
            }
            seen += 1;
        }
        assert_eq!(seen, 37);
    }

    #[test]
    fn codes_are_stable_words() {
        let code = |name: &str| {
            let line = FIXTURES.lines().find(|line| line.contains(&format!("\"name\": \"{name}\""))).unwrap();
            of_fixture(&serde_json::from_str(line).unwrap()).code
        };
        assert_eq!(code("groq_tool_use_failed"), "tool_use_failed");
        assert_eq!(code("context_too_long"), "context_length_exceeded");
        assert_eq!(code("bad_gateway_html"), "http_502");
        assert_eq!(code("vllm_flat"), "http_400");
        assert_eq!(code("forbidden"), "unsupported_country_region_territory");
    }

    #[test]
    fn an_invented_code_does_not_become_ours() {
        let error = in_response(
            &ErrorHead { status: 400, ..ErrorHead::default() },
            br#"{"error":{"code":"key sk-123 of caller +15551234567"}}"#,
            now(),
        );
        assert_eq!(error.code, "http_400");
    }

    #[test]
    fn an_error_inside_an_answer_is_judged_by_type_and_code() {
        use ProviderErrorKind::*;
        for (kind, code, expected, word) in [
            ("server_error", "", Server, "stream_error"),
            ("service_unavailable_error", "server_is_overloaded", Server, "server_is_overloaded"),
            ("", "502", Server, "stream_502"),
            ("", "429", RateLimited { retry_after: None }, "stream_429"),
            ("", "402", Quota, "stream_402"),
            ("", "999", Server, "stream_error"),
            ("tokens", "rate_limit_exceeded", RateLimited { retry_after: None }, "rate_limit_exceeded"),
            ("insufficient_quota", "", Quota, "stream_error"),
            ("", "content_filter", Refused, "content_filter"),
            ("invalid_request_error", "", Refused, "stream_error"),
            ("", "invalid_api_key", Auth, "invalid_api_key"),
            ("", "", Server, "stream_error"),
        ] {
            let error = in_answer(&ErrorInfo { kind: kind.into(), code: code.into() });
            assert_eq!((error.kind, error.code.as_str()), (expected, word), "{kind}/{code}");
        }
    }

    #[test]
    fn the_wait_is_read_from_milliseconds_then_seconds_then_a_date() {
        for (ms, value, expected_ms) in [
            (Some("800"), Some("9"), Some(800)),
            (Some("12.5"), None, Some(12)),
            (Some("soon"), Some("1.5"), Some(1_500)),
            (None, Some(" 2 "), Some(2_000)),
            (None, Some("Sun, 22 Nov 2026 10:01:00 GMT"), Some(60_000)),
            (None, Some("Sun, 22 Nov 2026 09:59:59 GMT"), None),
            (Some("-1"), Some("0"), None),
            (None, Some("NaN"), None),
            (None, Some("inf"), None),
            (None, Some("1e300"), None),
            (None, Some("tomorrow"), None),
            (None, None, None),
        ] {
            let wait = retry_after(ms, value, now()).map(|wait| wait.as_millis());
            assert_eq!(wait, expected_ms, "{ms:?} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_response_is_beyond_judgement(
            status in any::<u16>(), body in any::<Vec<u8>>(), a in ".*", b in ".*", c in ".*",
        ) {
            let head =
                ErrorHead { status, retry_after_ms: Some(&a), retry_after: Some(&b), should_retry: Some(&c) };
            let error = in_response(&head, &body, now());
            prop_assert!(!error.code.is_empty());
        }
    }
}
