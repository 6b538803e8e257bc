//! Faults on demand: what goes wrong, for whom, and when.

pub use super::controls::{Controls, Seen, ServiceStats, Stats, Violation};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A simulated service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Deepgram `/v1/listen`.
    DeepgramListen,
    /// Deepgram `/v1/speak` and the project list.
    DeepgramSpeak,
    /// ElevenLabs.
    Elevenlabs,
    /// OpenAI.
    Openai,
    /// Twilio's REST API.
    Twilio,
    /// The object store.
    S3,
}

impl Service {
    /// All of them, in the order of the counters.
    pub const ALL: [Self; 6] =
        [Self::DeepgramListen, Self::DeepgramSpeak, Self::Elevenlabs, Self::Openai, Self::Twilio, Self::S3];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::DeepgramListen => 0,
            Self::DeepgramSpeak => 1,
            Self::Elevenlabs => 2,
            Self::Openai => 3,
            Self::Twilio => 4,
            Self::S3 => 5,
        }
    }
}

/// When something happens within an answer: as soon as any of the set limits is reached; at once if none is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct After {
    /// Bytes: of audio received on `/v1/listen`, of an object received by the object store, of body sent elsewhere.
    pub bytes: Option<u64>,
    /// Messages sent: WebSocket messages, server-sent events, audio chunks.
    pub messages: Option<u64>,
    /// Milliseconds since the answer began.
    pub ms: Option<u64>,
}

impl After {
    /// After this many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> Self {
        Self { bytes: Some(n), messages: None, ms: None }
    }

    /// After this many messages.
    #[must_use]
    pub const fn messages(n: u64) -> Self {
        Self { bytes: None, messages: Some(n), ms: None }
    }

    /// After this many milliseconds.
    #[must_use]
    pub const fn ms(n: u64) -> Self {
        Self { bytes: None, messages: None, ms: Some(n) }
    }

    /// Whether the point is reached.
    #[must_use]
    pub fn reached(&self, bytes: u64, messages: u64, elapsed: Duration) -> bool {
        if self.bytes.is_none() && self.messages.is_none() && self.ms.is_none() {
            return true;
        }
        self.bytes.is_some_and(|n| bytes >= n)
            || self.messages.is_some_and(|n| messages >= n)
            || self.ms.is_some_and(|n| elapsed >= Duration::from_millis(n))
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The request is refused with this status and the vendor's error body.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The vendor's error code, instead of the usual one for the status.
        #[serde(default)]
        code: Option<String>,
    },
    /// 429, in the vendor's words.
    RateLimit {
        /// Sent as `retry-after` (seconds) and, by OpenAI, `retry-after-ms`.
        #[serde(default)]
        retry_after_ms: Option<u64>,
    },
    /// The request is taken and never answered.
    Hang,
    /// Every piece of the answer, the first included, comes this much later.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is dropped in the middle, without a goodbye.
    Cut {
        /// When.
        #[serde(default)]
        after: After,
    },
    /// The answer stops in the middle, and the connection stays open.
    Stall {
        /// When.
        #[serde(default)]
        after: After,
    },
    /// The answer is not what the protocol says: broken JSON, or another audio format than was asked for.
    Malformed,
}

/// When a fault strikes. Several rules may strike one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// Whom it strikes.
    pub service: Service,
    /// What happens.
    pub fault: Fault,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests are struck then; every one if absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// Only requests with this in their text: what is to be spoken, the caller's last words, the path and form, or
    /// the query of `/v1/listen`. Case is ignored.
    #[serde(default)]
    pub contains: Option<String>,
}

impl FaultRule {
    /// Strikes every request.
    #[must_use]
    pub const fn always(service: Service, fault: Fault) -> Self {
        Self { service, fault, skip: 0, times: None, contains: None }
    }

    /// Strikes the next request only.
    #[must_use]
    pub const fn once(service: Service, fault: Fault) -> Self {
        Self { service, fault, skip: 0, times: Some(1), contains: None }
    }

    /// Lets `n` requests pass first.
    #[must_use]
    pub const fn skipping(mut self, n: u32) -> Self {
        self.skip = n;
        self
    }

    /// Strikes `n` requests.
    #[must_use]
    pub const fn times(mut self, n: u32) -> Self {
        self.times = Some(n);
        self
    }

    /// Strikes only requests with this text.
    #[must_use]
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    pub(super) fn strikes(&mut self, service: Service, text: &str) -> bool {
        if self.service != service || self.times == Some(0) {
            return false;
        }
        if let Some(wanted) = &self.contains
            && !text.to_lowercase().contains(&wanted.to_lowercase())
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(times) = &mut self.times {
            *times = times.saturating_sub(1);
        }
        true
    }
}

/// What happens instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// An error of this status.
    Refuse(u16, Option<String>),
    /// 429.
    RateLimit(Option<u64>),
    /// Nothing at all.
    Hang,
}

/// All that strikes one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// Instead of an answer.
    pub instead: Option<Instead>,
    /// Added to the time of each piece.
    pub slow: Duration,
    /// Where the connection drops.
    pub cut: Option<After>,
    /// Where the answer stops.
    pub stall: Option<After>,
    /// The answer is garbage.
    pub malformed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_strikes_its_number_of_times_and_is_gone() {
        let controls = Controls::default();
        controls.add(FaultRule::always(Service::Openai, Fault::Hang).skipping(1).times(2));
        let struck: Vec<bool> =
            (0..4).map(|_| controls.strike(Service::Openai, "").instead.is_some()).collect();
        assert_eq!(struck, [false, true, true, false]);
        assert!(controls.rules().is_empty());
        assert_eq!(controls.service(Service::Openai).faults, 2);
    }

    #[test]
    fn a_rule_strikes_only_its_service_and_its_text() {
        let controls = Controls::default();
        controls.add(FaultRule::once(Service::Elevenlabs, Fault::Malformed).containing("Goodbye"));
        assert!(!controls.strike(Service::DeepgramSpeak, "goodbye").malformed);
        assert!(!controls.strike(Service::Elevenlabs, "hello").malformed);
        assert!(controls.strike(Service::Elevenlabs, "well, goodbye then").malformed);
    }

    #[test]
    fn slow_and_cut_strike_one_request_together() {
        let controls = Controls::default();
        controls.add(FaultRule::once(Service::Openai, Fault::Slow { ms: 5 }));
        controls.add(FaultRule::once(Service::Openai, Fault::Cut { after: After::messages(2) }));
        let struck = controls.strike(Service::Openai, "");
        assert_eq!(struck.slow, Duration::from_millis(5));
        assert_eq!(struck.cut, Some(After::messages(2)));
    }

    #[test]
    fn an_empty_limit_is_reached_at_once_and_any_set_one_suffices() {
        assert!(After::default().reached(0, 0, Duration::ZERO));
        assert!(!After::bytes(3).reached(2, 9, Duration::from_secs(9)));
        assert!(After { bytes: Some(3), messages: None, ms: Some(10) }.reached(
            0,
            0,
            Duration::from_millis(10)
        ));
    }

    #[test]
    fn a_rule_reads_from_json() {
        let rule: FaultRule = serde_json::from_str(
            r#"{"service":"deepgram_listen","fault":{"kind":"cut","after":{"bytes":8000}},"times":1}"#,
        )
        .unwrap();
        assert_eq!(rule, FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(8000) }));
    }

    #[test]
    fn an_unfinished_answer_counts_as_abandoned() {
        let controls = Controls::default();
        controls.begin(Service::Openai).finish();
        drop(controls.begin(Service::Openai));
        let stats = controls.service(Service::Openai);
        assert_eq!((stats.requests, stats.finished, stats.abandoned, stats.in_flight), (2, 1, 1, 0));
    }
}
