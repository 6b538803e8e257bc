//! What a listening connection says about the audio it has heard, in audio time. Pure.

use super::query::ListenOptions;
use crate::sim::senses::{Ear, SpokenWord};

/// Samples a millisecond at 8 kHz.
const PER_MS: u64 = 8;
/// Decisions are taken every 20 ms of audio.
const STEP: usize = 160;
/// Quietest mean magnitude (of 32,124) that counts as voice.
const VOICE_LEVEL: u32 = 300;

/// How results are cut and timed, in milliseconds of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// An interim at least this often.
    pub interim_every_ms: u64,
    /// An interim soon after a new word, but not closer than this to the one before.
    pub interim_after_word_ms: u64,
    /// Longer speech is settled in pieces of about this length.
    pub longest_segment_ms: u64,
    /// Silence is settled this often, with an empty final.
    pub empty_final_every_ms: u64,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            interim_every_ms: 1_000,
            interim_after_word_ms: 200,
            longest_segment_ms: 5_000,
            empty_final_every_ms: 3_000,
        }
    }
}

/// Documented oddities, each off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// The final with the words lacks `speech_final`; an empty final with the flag follows.
    pub empty_speech_final: bool,
    /// `speech_final` never comes, as in noise.
    pub no_speech_final: bool,
    /// `UtteranceEnd` never comes.
    pub no_utterance_end: bool,
    /// `UtteranceEnd` has a `last_word_end` of -1.
    pub unknown_word_end: bool,
}

/// A message of the server. Times in samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `SpeechStarted`.
    SpeechStarted {
        /// When.
        at: u64,
    },
    /// `Results`.
    Results {
        /// First sample of the span.
        start: u64,
        /// First sample after the span.
        end: u64,
        /// Settled.
        is_final: bool,
        /// A pause was detected.
        speech_final: bool,
        /// Answer to `Finalize`.
        from_finalize: bool,
        /// The words of the span.
        words: Vec<SpokenWord>,
    },
    /// `UtteranceEnd`; `None` is -1.
    UtteranceEnd {
        /// End of the last word.
        last_word_end: Option<u64>,
    },
}

/// One connection's audio, from its first byte.
pub struct Timeline {
    options: ListenOptions,
    rhythm: Rhythm,
    quirks: Quirks,
    ear: Box<dyn Ear>,
    /// Samples heard.
    at: u64,
    /// Bytes that do not fill a step yet.
    rest: Vec<u8>,
    /// First sample not yet settled.
    open_from: u64,
    /// Words not yet settled.
    words: Vec<SpokenWord>,
    last_result: u64,
    unsaid_word: bool,
    speaking: bool,
    voiced_steps: u32,
    last_voiced: u64,
    /// End of the newest word for which no `UtteranceEnd` came.
    gap_from: Option<u64>,
}

impl Timeline {
    /// Nothing heard yet.
    pub fn new(options: ListenOptions, rhythm: Rhythm, quirks: Quirks, ear: Box<dyn Ear>) -> Self {
        Self {
            options,
            rhythm,
            quirks,
            ear,
            at: 0,
            rest: Vec::with_capacity(STEP),
            open_from: 0,
            words: Vec::new(),
            last_result: 0,
            unsaid_word: false,
            speaking: false,
            voiced_steps: 0,
            last_voiced: 0,
            gap_from: None,
        }
    }

    /// Samples heard, whole steps only.
    pub fn heard(&self) -> u64 {
        self.at
    }

    /// Hears audio.
    pub fn hear(&mut self, mulaw: &[u8], said: &mut Vec<Said>) {
        let mut audio = mulaw;
        if !self.rest.is_empty() {
            let missing = STEP.saturating_sub(self.rest.len()).min(audio.len());
            let (head, tail) = audio.split_at(missing);
            self.rest.extend_from_slice(head);
            audio = tail;
            if self.rest.len() < STEP {
                return;
            }
            let step = std::mem::take(&mut self.rest);
            self.step(&step, said);
            self.rest = step;
            self.rest.clear();
        }
        let mut steps = audio.chunks_exact(STEP);
        for step in &mut steps {
            self.step(step, said);
        }
        self.rest.extend_from_slice(steps.remainder());
    }

    fn step(&mut self, step: &[u8], said: &mut Vec<Said>) {
        let began = self.at;
        self.at = self.at.saturating_add(step.len() as u64);
        self.notice_voice(began, step, said);

        let new_words = self.ear.hear(step);
        if let Some(last) = new_words.last() {
            self.gap_from = Some(last.end_sample);
            self.unsaid_word = true;
            self.words.extend(new_words);
        }

        let silent_for = self.at.saturating_sub(self.last_voiced) / PER_MS;
        let open_for = self.at.saturating_sub(self.open_from) / PER_MS;
        let result_ago = self.at.saturating_sub(self.last_result) / PER_MS;
        let talking = self.speaking || !self.words.is_empty();
        let endpoint = self.options.endpointing_ms.is_some_and(|ms| silent_for >= ms.max(20));
        if talking && endpoint {
            self.end_of_speech(said);
        } else if talking && self.options.endpointing_ms.is_none() && silent_for >= 1_000 {
            self.settle(self.at, false, false, said);
            self.speaking = false;
        } else if !self.words.is_empty() && self.speech_for() >= self.rhythm.longest_segment_ms {
            self.settle_part(said);
        } else if !talking && open_for >= self.rhythm.empty_final_every_ms {
            let speech_final = self.options.endpointing_ms.is_some() && !self.quirks.no_speech_final;
            self.settle(self.at, speech_final, false, said);
        } else if self.options.interim_results
            && (result_ago >= self.rhythm.interim_every_ms
                || (self.unsaid_word && result_ago >= self.rhythm.interim_after_word_ms))
        {
            self.interim(said);
        }
        self.notice_gap(said);
    }

    fn notice_voice(&mut self, began: u64, step: &[u8], said: &mut Vec<Said>) {
        if level(step) < VOICE_LEVEL {
            self.voiced_steps = 0;
            return;
        }
        self.last_voiced = self.at;
        self.voiced_steps = self.voiced_steps.saturating_add(1);
        // One loud step alone may be a click.
        if self.voiced_steps == 2 && !self.speaking {
            self.speaking = true;
            if self.options.vad_events {
                said.push(Said::SpeechStarted { at: began.saturating_sub(step.len() as u64) });
            }
        }
    }

    fn notice_gap(&mut self, said: &mut Vec<Said>) {
        let (Some(limit), Some(from)) = (self.options.utterance_end_ms, self.gap_from) else { return };
        if self.at.saturating_sub(from) / PER_MS < limit {
            return;
        }
        self.gap_from = None;
        if !self.quirks.no_utterance_end {
            let last_word_end = (!self.quirks.unknown_word_end).then_some(from);
            said.push(Said::UtteranceEnd { last_word_end });
        }
    }

    fn speech_for(&self) -> u64 {
        self.words.first().map_or(0, |w| self.at.saturating_sub(w.start_sample) / PER_MS)
    }

    fn end_of_speech(&mut self, said: &mut Vec<Said>) {
        self.speaking = false;
        if self.quirks.empty_speech_final && !self.words.is_empty() {
            self.settle(self.at, false, false, said);
            said.push(Said::Results {
                start: self.at,
                end: self.at,
                is_final: true,
                speech_final: true,
                from_finalize: false,
                words: Vec::new(),
            });
        } else {
            self.settle(self.at, !self.quirks.no_speech_final, false, said);
        }
    }

    /// Settles long speech but for its last word, which comes again in the next result.
    fn settle_part(&mut self, said: &mut Vec<Said>) {
        let Some(last) = self.words.pop() else { return };
        let end = self.words.last().map_or(last.start_sample, |w| w.end_sample);
        self.settle(end, false, false, said);
        self.words.push(last);
    }

    fn settle(&mut self, end: u64, speech_final: bool, from_finalize: bool, said: &mut Vec<Said>) {
        let words = std::mem::take(&mut self.words);
        let start = words.first().map_or(self.open_from, |w| w.start_sample.min(self.open_from));
        said.push(Said::Results {
            start,
            end: end.max(start),
            is_final: true,
            speech_final,
            from_finalize,
            words,
        });
        self.open_from = end;
        self.last_result = self.at;
        self.unsaid_word = false;
    }

    fn interim(&mut self, said: &mut Vec<Said>) {
        said.push(Said::Results {
            start: self.open_from,
            end: self.at,
            is_final: false,
            speech_final: false,
            from_finalize: false,
            words: self.words.clone(),
        });
        self.last_result = self.at;
        self.unsaid_word = false;
    }

    fn flush(&mut self, said: &mut Vec<Said>) {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.step(&rest, said);
        }
    }

    /// `Finalize`: settles what is open. Says nothing when next to nothing is.
    pub fn finalize(&mut self, said: &mut Vec<Said>) {
        self.flush(said);
        if self.words.is_empty() && self.at.saturating_sub(self.open_from) / PER_MS < 100 {
            return;
        }
        self.settle(self.at, false, true, said);
        self.speaking = false;
    }

    /// `CloseStream`: settles what is open.
    pub fn close(&mut self, said: &mut Vec<Said>) {
        self.flush(said);
        if !self.words.is_empty() || self.at > self.open_from {
            self.settle(self.at, false, false, said);
        }
    }
}

/// The mean magnitude of mu-law samples on the 16-bit scale: an inverted byte holds sign, exponent (3 bits) and
/// mantissa (4 bits).
fn level(mulaw: &[u8]) -> u32 {
    let sum: u64 = mulaw
        .iter()
        .map(|byte| {
            let b = u32::from(!byte);
            let exponent = (b >> 4) & 7;
            let mantissa = b & 15;
            u64::from((((mantissa << 3) + 132) << exponent).saturating_sub(132))
        })
        .sum();
    u32::try_from(sum / (mulaw.len().max(1) as u64)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: u8 = 0xFF;
    const VOICE: u8 = 0x10;

    /// Knows its words beforehand; says each once its end is heard.
    struct KnownEar {
        at: u64,
        words: Vec<SpokenWord>,
    }

    impl Ear for KnownEar {
        fn hear(&mut self, mulaw: &[u8]) -> Vec<SpokenWord> {
            self.at += mulaw.len() as u64;
            let at = self.at;
            let done = self.words.iter().take_while(|w| w.end_sample <= at).count();
            self.words.drain(..done).collect()
        }
    }

    fn word(text: &str, start_ms: u64, end_ms: u64) -> SpokenWord {
        SpokenWord { text: text.into(), start_sample: start_ms * 8, end_sample: end_ms * 8 }
    }

    fn run(query: &str, quirks: Quirks, words: &[SpokenWord], total_ms: u64) -> Vec<Said> {
        let options = super::super::query::parse(query, &mut Vec::new()).unwrap();
        let ear = KnownEar { at: 0, words: words.to_vec() };
        let mut timeline = Timeline::new(options, Rhythm::default(), quirks, Box::new(ear));
        let mut said = Vec::new();
        let audio: Vec<u8> = (0..total_ms * 8)
            .map(|n| {
                if words.iter().any(|w| (w.start_sample..w.end_sample).contains(&n)) {
                    VOICE
                } else {
                    SILENCE
                }
            })
            .collect();
        // An odd size, so that steps are put together from pieces.
        for chunk in audio.chunks(113) {
            timeline.hear(chunk, &mut said);
        }
        said
    }

    const QUERY: &str = "model=nova-3&encoding=mulaw&sample_rate=8000&interim_results=true&endpointing=300\
        &utterance_end_ms=1000&vad_events=true";

    fn finals(said: &[Said]) -> Vec<(String, bool)> {
        said.iter()
            .filter_map(|s| match s {
                Said::Results { is_final: true, speech_final, words, .. } => {
                    let text: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
                    Some((text.join(" "), *speech_final))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn speech_starts_is_settled_after_the_endpoint_and_ends_after_the_gap() {
        let words = [word("hello", 200, 500), word("there", 520, 800)];
        let said = run(QUERY, Quirks::default(), &words, 2_000);
        assert!(matches!(said.first(), Some(Said::SpeechStarted { at: 1600 })), "{said:?}");
        assert_eq!(finals(&said).first(), Some(&("hello there".to_owned(), true)));
        let Some(Said::Results { end, .. }) =
            said.iter().find(|s| matches!(s, Said::Results { is_final: true, .. }))
        else {
            panic!("no final")
        };
        assert_eq!(*end, 1_100 * 8, "300 ms after the last voice");
        assert_eq!(
            said.iter().filter(|s| matches!(s, Said::UtteranceEnd { .. })).collect::<Vec<_>>(),
            [&Said::UtteranceEnd { last_word_end: Some(800 * 8) }]
        );
    }

    #[test]
    fn an_interim_comes_soon_after_a_word_and_before_the_final() {
        let words = [word("hello", 200, 500), word("there", 520, 800)];
        let said = run(QUERY, Quirks::default(), &words, 2_000);
        let first = said.iter().find_map(|s| match s {
            Said::Results { is_final: false, end, words, .. } if !words.is_empty() => {
                Some((*end, words.len()))
            }
            _ => None,
        });
        assert_eq!(first, Some((500 * 8, 1)));
    }

    #[test]
    fn long_speech_is_settled_in_pieces_and_no_word_is_lost_or_doubled() {
        let words: Vec<SpokenWord> =
            (0..40).map(|n| word(&format!("w{n}"), 100 + n * 300, 100 + n * 300 + 280)).collect();
        let said = run(QUERY, Quirks::default(), &words, 14_000);
        let finals = finals(&said);
        assert!(finals.iter().filter(|(t, _)| !t.is_empty()).count() >= 3, "{finals:?}");
        let texts: Vec<String> =
            finals.iter().filter(|(t, _)| !t.is_empty()).map(|(t, _)| t.clone()).collect();
        let wanted: Vec<String> = (0..40).map(|n| format!("w{n}")).collect();
        assert_eq!(texts.join(" "), wanted.join(" "));
        let flags: Vec<bool> = finals.iter().filter(|(t, _)| !t.is_empty()).map(|(_, f)| *f).collect();
        assert_eq!(flags.iter().filter(|f| **f).count(), 1, "only the last piece ends speech");
    }

    #[test]
    fn silence_brings_empty_finals_and_nothing_else_but_empty_interims() {
        let said = run(QUERY, Quirks::default(), &[], 7_000);
        assert_eq!(finals(&said), [(String::new(), true), (String::new(), true)]);
        assert!(said.iter().all(|s| matches!(s, Said::Results { words, .. } if words.is_empty())));
    }

    #[test]
    fn finalize_settles_at_once_and_is_silent_when_nothing_is_open() {
        let options = super::super::query::parse(QUERY, &mut Vec::new()).unwrap();
        let ear = KnownEar { at: 0, words: vec![word("stop", 0, 100)] };
        let mut timeline = Timeline::new(options, Rhythm::default(), Quirks::default(), Box::new(ear));
        let mut said = Vec::new();
        timeline.hear(&vec![VOICE; 1_000], &mut said);
        said.clear();
        timeline.finalize(&mut said);
        assert!(matches!(said.as_slice(), [Said::Results { from_finalize: true, is_final: true, words, .. }]
                if words.len() == 1));
        said.clear();
        timeline.finalize(&mut said);
        assert_eq!(said, []);
    }

    #[test]
    fn each_quirk_does_what_it_says() {
        let words = [word("yes", 200, 500)];
        let quirk = |quirks| run(QUERY, quirks, &words, 2_000);
        let said = quirk(Quirks { empty_speech_final: true, ..Quirks::default() });
        assert_eq!(finals(&said)[..2], [("yes".to_owned(), false), (String::new(), true)]);
        let said = quirk(Quirks { no_speech_final: true, ..Quirks::default() });
        assert!(finals(&said).iter().all(|(_, flag)| !flag));
        let said = quirk(Quirks { no_utterance_end: true, ..Quirks::default() });
        assert!(!said.iter().any(|s| matches!(s, Said::UtteranceEnd { .. })));
        let said = quirk(Quirks { unknown_word_end: true, ..Quirks::default() });
        assert!(said.contains(&Said::UtteranceEnd { last_word_end: None }));
    }

    #[test]
    fn silence_is_quiet_and_voice_is_not() {
        assert_eq!(level(&[SILENCE; 160]), 0);
        assert_eq!(level(&[0x7F; 160]), 0);
        assert!(level(&[VOICE; 160]) > VOICE_LEVEL);
    }
}
