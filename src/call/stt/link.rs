//! What is known about one open connection: what it carried, where its times lie, how much it may be sent.

use super::clock::{BYTES_PER_MS, position, seconds};
use crate::domain::time::CallTime;
use crate::provider::stt::{SttMessage, SttWord};
use std::time::Duration;

/// Bytes a millisecond a connection takes: 1.25 times as fast as speech (`deepgram.md` section 0).
const RATE: u64 = BYTES_PER_MS * 5 / 4;
/// Most unused allowance kept, bytes of audio: as much as a second of speech.
const CREDIT_LIMIT: u64 = 1_000 * BYTES_PER_MS;
/// Voice that must have gone unanswered before a silent connection counts as stalled, bytes: less is a cough.
const STALL_VOICE: u64 = 300 * BYTES_PER_MS;
/// Stretches of contiguous audio remembered for a connection.
const SEGMENTS: usize = 64;

/// A stretch of audio that went over the connection without a hole.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Its first byte, counted from the connection's first.
    sent_at: u64,
    /// Its first byte, counted from the stream's first.
    position: u64,
    /// Its length, bytes.
    len: u64,
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Position in the stream of the next byte to send.
    pub(super) next: u64,
    /// When something was sent last.
    pub(super) last_sent: CallTime,
    /// Whether any message came.
    pub(super) spoke: bool,
    /// Where in the stream voice began that no message followed, and how many bytes of it went out.
    unanswered: Option<(u64, u64)>,
    /// Where voice began that is still going on, and how many bytes of it went out.
    going_on: Option<(u64, u64)>,
    sent: u64,
    segments: Vec<Segment>,
    /// Bytes that may be sent, times a thousand.
    credit: u64,
    credited_at: CallTime,
}

impl Link {
    /// A connection opened `now` whose first byte will be that at `next`; `credit` bytes may be sent at once.
    pub(super) fn new(now: CallTime, next: u64, credit: u64) -> Self {
        Self {
            next,
            last_sent: now,
            spoke: false,
            unanswered: None,
            going_on: None,
            sent: 0,
            segments: Vec::new(),
            credit: credit.saturating_mul(1_000),
            credited_at: now,
        }
    }

    /// Whether audio was ever sent on it.
    pub(super) fn carried_audio(&self) -> bool {
        self.sent > 0
    }

    /// How long until `bytes` may be sent; zero if they may be now.
    pub(super) fn wait_for(&mut self, now: CallTime, bytes: u64) -> Duration {
        let passed = u64::try_from(now.since(self.credited_at).as_micros()).unwrap_or(u64::MAX);
        self.credited_at = now;
        self.credit = self.credit.saturating_add(passed.saturating_mul(RATE)).min(CREDIT_LIMIT * 1_000);
        let missing = bytes.saturating_mul(1_000).saturating_sub(self.credit);
        Duration::from_micros(missing.div_ceil(RATE))
    }

    /// A message came.
    pub(super) fn answered(&mut self) {
        self.spoke = true;
        (self.unanswered, self.going_on) = (None, None);
    }

    /// Where in the stream voice began that no message followed.
    pub(super) fn unanswered(&self) -> Option<u64> {
        self.unanswered.map(|(since, _)| since)
    }

    /// Whether as much audio as `limit` went out since voice began in it, without any message. Counted in audio, not
    /// in time: a recogniser that gets nothing has nothing to say.
    pub(super) fn stalled(&mut self, limit: Duration) -> bool {
        let Some((since, voice)) = self.unanswered else { return false };
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).saturating_mul(BYTES_PER_MS);
        if self.next.saturating_sub(since) < limit {
            return false;
        }
        if voice < STALL_VOICE {
            // It was a cough; what is going on now may be a word, which is not to be taken for two of them.
            self.unanswered = self.going_on;
        }
        voice >= STALL_VOICE
    }

    /// `len` bytes of the stream from `at` on were sent.
    pub(super) fn sent_audio(&mut self, now: CallTime, at: u64, len: u64, voiced: bool) {
        let longer = |from: Option<(u64, u64)>| {
            let (since, voice) = from.unwrap_or((at, 0));
            voiced.then_some((since, voice.saturating_add(len)))
        };
        self.unanswered = longer(self.unanswered).or(self.unanswered);
        self.going_on = longer(self.going_on);
        match self.segments.last_mut() {
            Some(last)
                if last.position.saturating_add(last.len) == at
                    && last.sent_at.saturating_add(last.len) == self.sent =>
            {
                last.len = last.len.saturating_add(len);
            }
            _ => {
                if self.segments.len() >= SEGMENTS {
                    self.segments.remove(0);
                }
                self.segments.push(Segment { sent_at: self.sent, position: at, len });
            }
        }
        self.next = at.saturating_add(len);
        self.filler(now, len);
    }

    /// `len` bytes that are not of the stream were sent: they move the connection's times, not the stream's.
    pub(super) fn filler(&mut self, now: CallTime, len: u64) {
        self.sent = self.sent.saturating_add(len);
        self.credit = self.credit.saturating_sub(len.saturating_mul(1_000));
        self.last_sent = now;
    }

    /// The position in the stream of a time on this connection, s.
    pub(super) fn position_of(&self, time: f64) -> u64 {
        let sent_at = position(time);
        let index = self.segments.partition_point(|segment| segment.sent_at <= sent_at).saturating_sub(1);
        let Some(segment) = self.segments.get(index) else { return self.next };
        segment.position.saturating_add(sent_at.saturating_sub(segment.sent_at).min(segment.len))
    }

    fn time_of(&self, time: f64) -> f64 {
        seconds(self.position_of(time))
    }

    /// A message with the connection's times replaced by the stream's.
    pub(super) fn in_stream_time(&self, message: SttMessage) -> SttMessage {
        match message {
            SttMessage::Results {
                start,
                duration,
                is_final,
                speech_final,
                from_finalize,
                transcript,
                words,
            } => {
                let from = self.time_of(start);
                let duration = (self.time_of(start + duration) - from).max(0.0);
                let words = words
                    .into_iter()
                    .map(|word| SttWord {
                        start: self.time_of(word.start),
                        end: self.time_of(word.end),
                        text: word.text,
                    })
                    .collect();
                SttMessage::Results {
                    start: from,
                    duration,
                    is_final,
                    speech_final,
                    from_finalize,
                    transcript,
                    words,
                }
            }
            SttMessage::SpeechStarted { at } => SttMessage::SpeechStarted { at: self.time_of(at) },
            SttMessage::UtteranceEnd { last_word_end } => {
                SttMessage::UtteranceEnd { last_word_end: last_word_end.map(|at| self.time_of(at)) }
            }
            SttMessage::Warning { code } => SttMessage::Warning { code },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1_500);

    /// Sends frames of 20 ms: so many with voice, so many without, by turns. Tells after how many ms it stalled.
    fn stalls(turns: &[(u64, u64)]) -> Option<u64> {
        let mut link = Link::new(CallTime::ZERO, 0, 0);
        let frames = turns.iter().flat_map(|(voiced, silent)| {
            std::iter::repeat_n(true, (voiced / 20) as usize)
                .chain(std::iter::repeat_n(false, (silent / 20) as usize))
        });
        for (n, voiced) in (0..).zip(frames) {
            link.sent_audio(CallTime::ZERO, n * 160, 160, voiced);
            if link.stalled(LIMIT) {
                return Some((n + 1) * 20);
            }
        }
        None
    }

    #[test]
    fn voice_that_nothing_answers_tells_a_stalled_connection_from_a_cough() {
        assert_eq!(stalls(&[(0, 60_000)]), None, "nobody speaks");
        assert_eq!(stalls(&[(300, 5_000)]), Some(1_500));
        assert_eq!(stalls(&[(280, 5_000)]), None, "a cough");
        assert_eq!(stalls(&[(160, 800), (160, 5_000)]), Some(1_500), "two words");
        assert_eq!(stalls(&[(200, 5_000), (200, 5_000)]), None, "two coughs");
    }

    #[test]
    fn a_word_at_the_end_of_the_time_for_a_cough_is_not_taken_for_two() {
        // 100 ms of a word, and from 1,400 ms on one of 340 ms: the end of the first one's time lies in it.
        assert_eq!(stalls(&[(100, 1_300), (340, 5_000)]), Some(2_900));
    }

    #[test]
    fn what_was_answered_is_no_reason() {
        let mut link = Link::new(CallTime::ZERO, 0, 0);
        for n in 0..400 {
            link.sent_audio(CallTime::ZERO, n * 160, 160, true);
            if n % 40 == 0 {
                link.answered();
            }
            assert!(!link.stalled(LIMIT), "{n}");
        }
    }
}
