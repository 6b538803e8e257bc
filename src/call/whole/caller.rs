//! The caller: says numbered words, interrupts, coughs, presses keys, falls silent, hangs up.

use super::chance::Chance;
use super::world::World;
use crate::call::machine::Event;
use crate::call::messages::StreamEvent;
use crate::call::stt::messages::Heard;

/// A word is this long, ms.
pub const WORD_MS: u64 = 260;
/// More are not said in one call.
const MAX_WORDS: u64 = 240;

/// Somebody on the telephone.
pub struct Caller {
    pub on_the_line: bool,
    /// Words said so far.
    words: u64,
    /// What is still to be done before hanging up.
    acts: u64,
    /// Never hangs up by itself once it has nothing more to say.
    patient: bool,
    busy: bool,
    /// All words that were said, with their beginnings and ends.
    pub said: Vec<(u64, u64, String)>,
}

impl Caller {
    pub fn new(chance: &mut Chance) -> Self {
        Self {
            on_the_line: true,
            words: 0,
            acts: chance.between(1, 9),
            patient: chance.percent(10),
            busy: false,
            said: Vec::new(),
        }
    }
}

impl Caller {
    /// How long the caller has made no sound, ms.
    pub fn silent_for(&self, now: u64) -> u64 {
        let begun = self.said.iter().filter(|(from, _, _)| *from <= now);
        begun.map(|(_, to, _)| *to).max().map_or(now, |to| now.saturating_sub(to))
    }
}

impl World {
    /// The caller takes part in a new stream.
    pub fn start_listening(&mut self, owner: usize) {
        self.hear_caller(owner);
        if !std::mem::replace(&mut self.caller.busy, true) {
            let wait = self.chance.between(100, 4_000);
            self.after(wait, Self::act);
        }
    }

    /// The stream that carries the caller's voice now.
    pub fn open_owner(&self) -> Option<usize> {
        self.owners.iter().rposition(|o| o.stream_open)
    }

    fn act(&mut self) {
        if !self.caller.on_the_line {
            return;
        }
        if self.caller.acts == 0 || self.caller.words >= MAX_WORDS {
            if !self.caller.patient || self.now > 200_000 {
                let wait = self.chance.between(200, 9_000);
                self.after(wait, Self::leg_ends);
            }
            return;
        }
        self.caller.acts -= 1;
        let takes = match self.chance.between(0, 99) {
            0..58 => {
                let n = self.chance.between(1, 7);
                let words = self.numbered(n);
                self.say(words)
            }
            58..68 => {
                let word = *self.chance.of(&["uh-huh", "yeah", "okay"]);
                self.say(vec![word.to_owned()])
            }
            68..73 => {
                let mut words = self.numbered(1);
                words.insert(0, self.chance.of(&["stop", "wait", "no"]).to_string());
                self.say(words)
            }
            73..78 => self.cough(),
            78..90 => self.press_keys(),
            90..94 => 12_000,
            _ => 40,
        };
        // Sometimes at once, mostly after a while; the bot may be speaking.
        let pause = match self.chance.between(0, 9) {
            0..3 => self.chance.between(20, 700),
            3..8 => self.chance.between(700, 4_000),
            _ => self.chance.between(4_000, 9_000),
        };
        self.after(takes + pause, Self::act);
    }

    fn numbered(&mut self, n: u64) -> Vec<String> {
        (0..n)
            .map(|_| {
                self.caller.words += 1;
                format!("w{}", self.caller.words)
            })
            .collect()
    }

    /// Says words; how long that takes.
    fn say(&mut self, words: Vec<String>) -> u64 {
        let takes = words.len() as u64 * WORD_MS;
        self.tell(|| format!("caller says {words:?}"));
        for (i, word) in words.iter().enumerate() {
            let from = self.now + i as u64 * WORD_MS;
            self.caller.said.push((from, from + WORD_MS, word.clone()));
        }
        if !self.real_ear {
            self.ear_hears(words);
        }
        self.after(200, Self::voice_over);
        takes
    }

    /// Voice that lasts while the bot speaks is measured on the spot.
    fn voice_over(&mut self) {
        let Some(owner) = self.open_owner() else { return };
        let this = &self.owners[owner];
        if this.playback.is_playing(this.clock(self.now)) && self.chance.percent(80) {
            self.post(owner, None, Event::Stream(StreamEvent::VoiceOver(200)));
        }
    }

    /// A noise that is taken for words, but never becomes any.
    fn cough(&mut self) -> u64 {
        if let Some(owner) = self.open_owner()
            && !self.real_ear
        {
            self.tell(|| "caller coughs".into());
            let text = self.chance.of(&["hm", "a cough", "the the the"]).to_string();
            self.heard_from_ear(owner, Heard::Partial { text });
        }
        300
    }

    fn press_keys(&mut self) -> u64 {
        let mut at = 0;
        for _ in 0..self.chance.between(1, 4) {
            let key = match self.chance.between(0, 99) {
                0..8 => '0',
                8..16 => '#',
                _ => char::from(b'1' + self.chance.between(0, 8) as u8),
            };
            self.after(at, move |w| w.press(key));
            at += self.chance.between(80, 2_500);
        }
        at
    }

    fn press(&mut self, key: char) {
        if let Some(owner) = self.open_owner() {
            self.tell(|| format!("caller presses {key}"));
            self.tally.keys += 1;
            self.post(owner, None, Event::Stream(StreamEvent::Digit(key)));
        }
    }
}
