//! Whose turn it is: what the caller has said and not yet been answered, and which words interrupt the bot.
//!
//! Pure. The rules are CALL-6 and CALL-7: no word is lost or doubled, what is added before the reply starts joins the
//! same turn, a backchannel does not interrupt.

use crate::config::call::CallConfig;
use std::time::Duration;

/// The rules of interrupting, with their word lists prepared.
#[derive(Clone, Debug)]
pub struct BargeInRules {
    voice: Duration,
    words_with_voice: usize,
    words_alone: usize,
    interrupt: Vec<Vec<String>>,
    backchannels: Vec<Vec<String>>,
}

impl BargeInRules {
    /// The rules as configured.
    pub fn new(config: &CallConfig) -> Self {
        let prepare = |list: &[String]| {
            let mut phrases: Vec<Vec<String>> =
                list.iter().map(|p| words(p)).filter(|p| !p.is_empty()).collect();
            // The longest phrase is tried first, so that "uh huh" is not two words.
            phrases.sort_by_key(|p| std::cmp::Reverse(p.len()));
            phrases
        };
        Self {
            voice: Duration::from_millis(config.barge_in_voice_ms),
            words_with_voice: config.barge_in_words.max(1),
            words_alone: config.barge_in_words_alone.max(1),
            interrupt: prepare(&config.interrupt_words),
            backchannels: prepare(&config.backchannels),
        }
    }

    /// Whether `text`, spoken over the bot with `voice` of measured voice behind it, stops the bot.
    pub fn interrupts(&self, text: &str, voice: Duration) -> bool {
        let spoken = words(text);
        if contains_any(&spoken, &self.interrupt) {
            return true;
        }
        let counted = count_without(&spoken, &self.backchannels);
        let needed = if voice >= self.voice { self.words_with_voice } else { self.words_alone };
        counted >= needed
    }

    /// Whether `text` is nothing but backchannels.
    pub fn is_backchannel(&self, text: &str) -> bool {
        count_without(&words(text), &self.backchannels) == 0
    }
}

/// The words of a text in lower case, without punctuation at their ends.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == '-')
        .map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|w| !w.is_empty())
        .collect()
}

fn starts_with(spoken: &[String], phrase: &[String]) -> bool {
    spoken.len() >= phrase.len() && spoken.iter().zip(phrase).all(|(a, b)| a == b)
}

fn contains_any(spoken: &[String], phrases: &[Vec<String>]) -> bool {
    (0..spoken.len())
        .any(|i| spoken.get(i..).is_some_and(|rest| phrases.iter().any(|p| starts_with(rest, p))))
}

fn count_without(spoken: &[String], phrases: &[Vec<String>]) -> usize {
    let mut rest = spoken;
    let mut counted = 0;
    while !rest.is_empty() {
        let skip = phrases.iter().find(|p| starts_with(rest, p)).map_or(0, Vec::len);
        if skip == 0 {
            counted += 1;
        }
        rest = rest.get(skip.max(1)..).unwrap_or_default();
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> BargeInRules {
        BargeInRules::new(&CallConfig::default())
    }

    #[test]
    fn words_interrupt_by_what_they_are_and_how_much_voice_was_behind_them() {
        let table = [
            ("uh-huh", 900, false),
            ("Uh huh. Yeah, okay.", 900, false),
            ("stop", 0, true),
            ("No!", 0, true),
            ("hold on", 0, true),
            ("hold", 0, false),
            ("tomorrow", 0, false),
            ("tomorrow", 200, true),
            ("tomorrow", 199, false),
            ("tomorrow morning", 0, true),
            ("yeah tomorrow", 0, false),
            ("yeah tomorrow", 300, true),
            ("", 5_000, false),
            ("...", 5_000, false),
            ("nobody", 0, false),
        ];
        for (text, voice, expected) in table {
            let got = rules().interrupts(text, Duration::from_millis(voice));
            assert_eq!(got, expected, "{text:?} with {voice} ms");
        }
    }

    #[test]
    fn a_backchannel_is_told_from_an_answer() {
        assert!(rules().is_backchannel("Mm-hmm, right."));
        assert!(!rules().is_backchannel("right, at three"));
    }
}
