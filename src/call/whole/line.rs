//! Twilio's end of a stream: plays what is sent, returns the marks, and sees what goes over the wire.

use super::promises::is_numbered;
use super::world::World;
use crate::call::machine::Event;
use crate::call::messages::StreamEvent;
use crate::call::playback::{FRAME_BYTES, Outgoing};
use crate::domain::ids::ReplyId;
use crate::domain::turn::TurnRecord;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// The longest a caller may wait without the bot's voice, ms.
const WAIT: u64 = 4_000;
/// The same where voices or children fail.
const TROUBLED_WAIT: u64 = 6_000;

/// Where a frame of the bot comes from; every frame carries it in each of its four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub reply: u32,
    pub sentence: u32,
    /// Which voice's try.
    pub attempt: u32,
    /// Which frame of it, modulo 200.
    pub frame: u32,
}

impl Origin {
    /// The frame's audio. No byte is that of silence.
    pub fn bytes(self) -> [u8; 4] {
        assert!(self.reply < 250, "more replies than tags");
        [self.reply, self.sentence, self.attempt, self.frame % 200].map(|n| u8::try_from(n).unwrap_or(250))
    }

    fn of(frame: &[u8]) -> Self {
        let [reply, sentence, attempt, frame] = [frame[0], frame[1], frame[2], frame[3]].map(u32::from);
        Self { reply, sentence, attempt, frame }
    }
}

/// One stream as Twilio sees it.
#[derive(Default)]
pub struct Line {
    /// When everything sent so far will have been played.
    pub plays_until: u64,
    marks: VecDeque<(u64, String)>,
    mark_ids: u64,
    mark_back_at: u64,
    pull_id: u64,
    awake: bool,
    /// The newest reply that was begun.
    newest: u32,
    /// At the last decision to clear: every reply begun before it is dead once the `clear` is out.
    floors: VecDeque<u32>,
    floor: u32,
    hushed: HashSet<u32>,
    answers: HashSet<u32>,
    /// What each sentence says, and how many frames each try at it has (none if it broke off).
    texts: BTreeMap<(u32, u32), String>,
    pub attempts: BTreeMap<(u32, u32, u32), Option<u32>>,
    last: Option<Origin>,
    /// The last frame of each reply.
    of_reply: BTreeMap<u32, Origin>,
}

impl Line {
    pub fn clear_decided(&mut self) {
        self.floors.push_back(self.newest);
    }

    pub fn spoken(&mut self, reply: ReplyId, sentence: u32, text: &str) {
        self.newest = self.newest.max(reply.0);
        self.texts.entry((reply.0, sentence)).or_insert_with(|| text.to_owned());
    }

    pub fn hushed(&mut self, reply: ReplyId) {
        self.hushed.insert(reply.0);
    }

    pub fn answers(&mut self, reply: ReplyId) {
        self.answers.insert(reply.0);
    }

    /// A filler is begun: nothing of the answer it bridges may be on its way.
    pub fn check_dry(&self) {
        let answer = self.answers.iter().filter(|reply| !self.stopped(**reply)).max();
        let Some(((reply, sentence), _)) =
            answer.and_then(|reply| self.texts.range((*reply, 0)..=(*reply, u32::MAX)).next_back())
        else {
            return;
        };
        let sent = self.of_reply.get(reply).is_some_and(|o| o.sentence == *sentence && self.is_whole(*o));
        assert!(sent, "a filler after sentence {reply}.{sentence}, which is still to be heard");
    }

    /// A taken-back answer must not have been audible.
    pub fn check_unsent(&self, reply: ReplyId) {
        assert!(!self.of_reply.contains_key(&reply.0), "reply {reply} is taken back, but was heard");
    }

    /// What was heard of a reply is the beginning of what was said; `all` of it, if so claimed.
    pub fn check_heard(&self, reply: ReplyId, heard: &str, all: bool) {
        let said: Vec<&str> = self
            .texts
            .range((reply.0, 0)..=(reply.0, u32::MAX))
            .flat_map(|(_, text)| text.split_whitespace())
            .collect();
        let heard: Vec<&str> = heard.split_whitespace().collect();
        assert!(said.starts_with(&heard), "reply {reply}: heard {heard:?} of {said:?}");
        assert!(!all || heard.len() == said.len(), "reply {reply}: only {heard:?} of {said:?}");
    }

    pub fn check_recorded(&self, turn: &TurnRecord) {
        let said: Vec<&str> = turn.said.split_whitespace().collect();
        let heard: Vec<&str> = turn.heard.split_whitespace().collect();
        assert!(said.starts_with(&heard), "turn {}: heard {heard:?} of {said:?}", turn.n);
    }

    /// One frame goes out. Sentences go whole and in order, a reply's stand together (a filler may come between two
    /// sentences of an answer), and nothing of what was stopped is heard again.
    fn sent(&mut self, frame: &[u8], now: u64) {
        assert_eq!(frame.len(), FRAME_BYTES);
        let new = Origin::of(frame);
        let reply = new.reply;
        assert!(reply > self.floor, "{new:?} after a clear up to {}", self.floor);
        assert!(!self.hushed.contains(&reply), "{new:?} of a stopped reply");
        let before = self.of_reply.get(&reply).copied();
        if let Some(last) = self.last.filter(|last| last.reply != reply && !self.stopped(last.reply)) {
            assert!(self.is_whole(last), "{new:?} breaks into {last:?}");
            assert!(
                before.is_none() || (self.answers.contains(&reply) && !self.answers.contains(&last.reply)),
                "{new:?} after {last:?} had begun"
            );
        }
        match before {
            None => assert_eq!((new.sentence, new.frame), (0, 0), "{new:?} begins its reply"),
            Some(b) if (b.sentence, b.attempt) == (new.sentence, new.attempt) => {
                assert_eq!(new.frame, (b.frame + 1) % 200, "{new:?} after {b:?}");
                assert_eq!(self.last, Some(b), "{new:?} goes on in the middle of a sentence");
            }
            Some(b) if b.sentence == new.sentence => {
                assert!(new.attempt > b.attempt && new.frame == 0, "{new:?} after {b:?}");
                assert!(
                    self.attempts.get(&(reply, b.sentence, b.attempt)).is_none_or(Option::is_none),
                    "sentence {new:?} is said twice: {b:?} did not break off"
                );
            }
            Some(b) => {
                assert_eq!((new.sentence, new.frame), (b.sentence + 1, 0), "{new:?} after {b:?}");
                assert!(self.is_whole(b), "{new:?} though {b:?} was not over");
            }
        }
        self.last = Some(new);
        self.of_reply.insert(reply, new);
        self.plays_until = self.plays_until.max(now) + 20;
    }

    /// Whether a reply of these words was sent whole and has been played.
    pub fn was_heard(&self, words: &str, now: u64) -> bool {
        self.texts.iter().any(|((reply, sentence), text)| {
            let last = self.of_reply.get(reply);
            text == words && last.is_some_and(|o| o.sentence == *sentence && self.is_whole(*o)) && {
                // Something may have been sent behind it: its own end is not known, but that it began is.
                let others = self.last.is_some_and(|l| l.reply != *reply);
                others || self.plays_until <= now + 20
            }
        })
    }

    fn stopped(&self, reply: u32) -> bool {
        reply <= self.floor || self.hushed.contains(&reply)
    }

    /// Whether this was the last frame of its try, or the try broke off.
    fn is_whole(&self, last: Origin) -> bool {
        let length = self.attempts.get(&(last.reply, last.sentence, last.attempt)).copied().flatten();
        length.is_none_or(|frames| (frames - 1) % 200 == last.frame)
    }
}

enum Sent {
    Frame([u8; FRAME_BYTES]),
    Mark(String),
    Clear,
}

impl World {
    pub fn wake(&mut self, owner: usize) {
        if std::mem::replace(&mut self.owners[owner].line.awake, true) {
            return;
        }
        let lag = self.lag();
        self.after(lag, move |w| w.pull(owner));
    }

    /// The stream sends what is due.
    pub fn pull(&mut self, owner: usize) {
        let now = self.now;
        let this = &mut self.owners[owner];
        if !this.stream_open {
            return;
        }
        this.line.awake = false;
        this.line.pull_id += 1;
        let id = this.line.pull_id;
        let mut out = Vec::new();
        let at = this.clock(now);
        let next = this.playback.pull(at, |what| {
            out.push(match what {
                Outgoing::Frame(frame) => {
                    let mut copy = [0; FRAME_BYTES];
                    copy.copy_from_slice(frame);
                    Sent::Frame(copy)
                }
                Outgoing::Mark(name) => Sent::Mark(name.to_owned()),
                Outgoing::Clear => Sent::Clear,
            });
        });
        let first = this.playback.take_first_sent();
        for what in out {
            match what {
                Sent::Frame(frame) => {
                    self.check_waits();
                    self.tally.frames += 1;
                    self.owners[owner].line.sent(&frame, now);
                }
                Sent::Mark(name) => self.mark_sent(owner, name),
                Sent::Clear => self.cleared(owner),
            }
        }
        if !first.is_empty() {
            self.tell(|| format!("{owner}    wire: first of {first:?}"));
            self.post(owner, None, Event::Stream(StreamEvent::FirstSent(first)));
        }
        if let Some(next) = next {
            self.after(next.as_millis() as u64, move |w| {
                if w.owners[owner].line.pull_id == id {
                    w.pull(owner);
                }
            });
        }
    }

    fn mark_sent(&mut self, owner: usize, name: String) {
        let delay = self.chance.between(2, 60);
        let line = &mut self.owners[owner].line;
        line.mark_ids += 1;
        let id = line.mark_ids;
        line.marks.push_back((id, name));
        let at = (line.plays_until.max(self.now) + delay).max(line.mark_back_at);
        line.mark_back_at = at;
        self.at(at, move |w| {
            let line = &mut w.owners[owner].line;
            if line.marks.front().is_some_and(|m| m.0 == id)
                && let Some((_, name)) = line.marks.pop_front()
            {
                w.mark_back(owner, name);
            }
        });
    }

    fn mark_back(&mut self, owner: usize, name: String) {
        if self.owners[owner].stream_open {
            self.post(owner, None, Event::Stream(StreamEvent::Mark(name)));
        }
    }

    fn cleared(&mut self, owner: usize) {
        self.tell(|| format!("{owner}    wire: clear"));
        self.tally.clears += 1;
        let delay = self.chance.between(5, 60);
        let line = &mut self.owners[owner].line;
        if let Some(floor) = line.floors.drain(..).max() {
            line.floor = line.floor.max(floor);
        }
        line.plays_until = self.now;
        let marks = std::mem::take(&mut line.marks);
        let at = (self.now + delay).max(line.mark_back_at.min(self.now + delay));
        line.mark_back_at = at;
        for (_, name) in marks {
            self.at(at, move |w| w.mark_back(owner, name));
        }
    }

    /// While the caller waits for an answer, no more than 4 s pass without a sound of the bot.
    pub fn check_waits(&mut self) {
        let Some(owner) = self.owners.last() else { return };
        let Some(machine) = owner.machine.as_ref().filter(|_| owner.stream_open && owner.is_live()) else {
            return;
        };
        let mut begun = None;
        if machine.owes_an_answer() {
            begun = Some(owner.caller_at);
        }
        // Nor do they while what the caller has said is not even heard.
        if machine.converses()
            && let Some(silent_since) = self.unheard_since(owner.t0)
        {
            begun = begun.max(Some(silent_since.max(owner.key_at)));
        }
        let Some(begun) = begun else { return };
        let gap = self.now.saturating_sub(begun.max(owner.line.plays_until).max(owner.t0));
        let troubled = self.troubles.voice || self.troubles.crashes;
        let longest = if troubled { &mut self.tally.troubled_wait } else { &mut self.tally.wait };
        *longest = gap.max(*longest);
        // A voice that fails takes its time until the other one is asked, for each sentence anew.
        let limit = if troubled { TROUBLED_WAIT } else { WAIT };
        assert!(gap <= limit, "the caller has waited {gap} ms in silence");
    }

    /// Since when the caller is silent, having said words that the call does not know of.
    fn unheard_since(&self, t0: u64) -> Option<u64> {
        let (_, end, _) = self.caller.said.last().filter(|_| self.real_ear)?;
        let from = t0.max(self.lost_until);
        let unheard = |(begun, _, word): &(u64, u64, String)| {
            *begun >= from && is_numbered(word) && !self.promises.has(word)
        };
        (*end <= self.now && self.caller.said.iter().rev().take(40).any(unheard)).then_some(*end)
    }
}
