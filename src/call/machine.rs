//! What a call decides: when the caller is answered, what stops the bot, which silence is filled, how the call ends.
//!
//! Pure: events and a time go in, effects come out. The playback is handed in with each event, because what was heard
//! decides what is remembered. Every state takes every event; what is stale is dropped.

mod caller;
mod end;
mod failure;
mod recording;
mod staff;
mod thought;
mod time;
mod voice;

use super::messages::{Departure, NextStep, StaffOrder, StreamEvent, UNANSWERED};
use super::playback::{Playback, Played, join_words};
use super::reply::{After, Kind, Reply};
use super::turn::BargeInRules;
use crate::call::dialogue::messages::{Fate, Then, Thought};
use crate::call::stt::messages::Heard;
use crate::call::tts::messages::Spoke;
use crate::config::call::CallConfig;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{EndReason, Outcome};
use crate::domain::ids::{Epoch, ReplyId};
use crate::domain::time::CallTime;
use crate::domain::turn::{ResumeState, Speaker, StageLatencies, TurnRecord};
use recording::CardWatch;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The children of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// The ear.
    Stt,
    /// The voice.
    Tts,
    /// The mind.
    Dialogue,
}

impl Child {
    /// The word for audit rows and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Dialogue => "dialogue",
        }
    }
}

/// The timers of a call. Setting one that runs replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The caller has waited long enough for something to be said.
    Filler,
    /// The caller has waited too long for the answer.
    Apology,
    /// Nobody has spoken for a while.
    Idle,
    /// The longest allowed call.
    MaxDuration,
    /// A mark should have come back.
    Mark,
    /// The caller went on, but no more words came.
    Resume,
    /// No further key was pressed.
    Digits,
    /// The ear had its time to deliver the last words.
    Closing,
    /// The last words of the call should have been heard by now.
    LeaveBy,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its actor is ready; the customer was looked up. The greeting's words.
    Begin {
        /// What the bot says first.
        greeting: String,
    },
    /// The ear tells something.
    Heard(Heard),
    /// The mind tells something.
    Thought(Thought),
    /// The voice tells something.
    Spoke(Spoke),
    /// The stream tells something.
    Stream(StreamEvent),
    /// A timer ran out.
    Timer(Timer),
    /// A child is down and will be started again.
    ChildDown(Child),
    /// A child is there again.
    ChildUp(Child),
    /// A child cannot be kept alive.
    ChildGone(Child),
    /// Staff want something.
    Staff(StaffOrder),
    /// As much money as is allowed was spent.
    SpendCap,
    /// The call is to end now.
    End(EndReason),
}

/// What a call wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Twilio's buffer is cleared: the playback's `clear` goes on the wire now.
    Clear,
    /// The voice speaks a sentence.
    Speak {
        /// Which reply.
        reply: ReplyId,
        /// Its position.
        sentence: u32,
        /// The words.
        text: String,
        /// Whether the audio is worth keeping.
        cache: bool,
    },
    /// The voice forgets a reply.
    StopSpeech(ReplyId),
    /// The mind answers a turn.
    Answer {
        /// The answer's number.
        reply: ReplyId,
        /// The whole turn.
        text: String,
    },
    /// The mind drops an answer.
    StopAnswer {
        /// Which.
        reply: ReplyId,
        /// What becomes of it.
        fate: Fate,
    },
    /// The mind learns that an answer was heard to its end.
    AnswerHeard {
        /// Which.
        reply: ReplyId,
        /// The words.
        text: String,
    },
    /// The mind learns what the bot said of its own accord.
    Said {
        /// Which reply.
        reply: ReplyId,
        /// The words heard.
        heard: String,
    },
    /// The mind learns of something beside the words.
    Note {
        /// One sentence about it.
        text: String,
    },
    /// The mind learns what the caller said and somebody else has answered.
    Overheard {
        /// The words.
        text: String,
    },
    /// The ear settles what it has.
    Finalize,
    /// The ear delivers its last words and stops.
    FinishListening,
    /// A timer is set.
    SetTimer(Timer, Duration),
    /// A timer is dropped.
    CancelTimer(Timer),
    /// A turn is written, or written again.
    Record(TurnRecord),
    /// Both sides are recorded from now on.
    StartRecording {
        /// Milliseconds since the call's start, as turns are timed.
        since_start_ms: u64,
    },
    /// What was recorded of the caller between two times is silenced.
    Silence {
        /// From here.
        from: CallTime,
        /// To here.
        to: CallTime,
    },
    /// The same, of what was recorded of an earlier stream.
    SilenceBefore {
        /// From here, in milliseconds since the call's start.
        from_ms: u64,
        /// To here.
        to_ms: u64,
    },
    /// What is needed to resume has changed beyond the turns.
    SaveState,
    /// A row of the audit trail is written.
    Audit(AuditEvent),
    /// The call leaves its actor. The last effect there is.
    Leave(Departure),
}

/// The words the bot says of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrases {
    /// Bridges a wait; taken in turn.
    pub fillers: Vec<String>,
    /// Bridges the wait for a tool, by its name; said once, before the others.
    pub tool_fillers: BTreeMap<String, String>,
    /// Asks whether the caller is there; taken in turn.
    pub idle_prompts: Vec<String>,
    /// Before hanging up on silence.
    pub idle_goodbye: String,
    /// At the end, where the model said none.
    pub goodbye: String,
    /// After a failure the conversation can survive.
    pub say_again: String,
    /// While nothing the caller says can be made out; taken in turn.
    pub cannot_hear: Vec<String>,
    /// Once it can be again, where words may have been lost meanwhile.
    pub hears_again: String,
    /// After one it cannot, before hanging up.
    pub apology_goodbye: String,
    /// After one it cannot, before the caller is connected to a person.
    pub apology_transfer: String,
    /// Before the caller is connected to a person.
    pub transfer: String,
    /// At the longest allowed call.
    pub max_duration: String,
    /// After a broken stream.
    pub resumed: String,
    /// After a person was rung who did not answer.
    pub transfer_failed: String,
}

/// What a call is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Times and limits.
    pub config: CallConfig,
    /// The bot's own words.
    pub phrases: Phrases,
    /// Whether a person can be rung.
    pub can_transfer: bool,
    /// Whether the key `0` asks for a person.
    pub zero_for_person: bool,
    /// Whether the call is recorded.
    pub record: bool,
    /// Spoken before anything is recorded and before the greeting, not to be interrupted.
    pub notice: Option<String>,
    /// Whether the greeting is for this caller alone: it has a name in it, or why they are rung.
    pub named: bool,
    /// Which owner of the call this is; from the second on, the call is a resumed one.
    pub epoch: Epoch,
    /// What went before, if the call is resumed and it could be read.
    pub resume: Option<ResumeState>,
    /// Turns kept for a resume.
    pub keep_turns: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the greeting.
    New,
    /// In conversation.
    Live,
    /// The caller is gone; last words are collected.
    Closing(EndReason),
    /// Nothing more happens.
    Over,
}

/// A turn of the caller's that is being answered, or will be once the caller is done.
#[derive(Clone, Debug, Default)]
struct OpenTurn {
    n: u32,
    text: String,
    /// Milliseconds since the call's start, earlier owners included.
    at_ms: u64,
    last_word_at: Option<CallTime>,
}

/// The state of one call.
#[derive(Debug)]
pub struct CallMachine {
    setup: Setup,
    rules: BargeInRules,
    phase: Phase,
    last_reply: ReplyId,
    next_n: u32,
    /// Replies on their way, in the order they were begun.
    replies: VecDeque<Reply>,
    /// The reply that answers the open turn, while it is on its way.
    answer: Option<ReplyId>,
    /// The turn being answered, as long as more words may join it.
    open: Option<OpenTurn>,
    /// Utterances not yet part of a turn.
    pending: Vec<(String, Option<CallTime>)>,
    /// The utterance in progress.
    partial: String,
    voice_over: Duration,
    tool_running: bool,
    /// What to say first while it runs.
    tool_filler: Option<String>,
    ear_done: bool,
    mind_down: bool,
    voice_down: bool,
    /// Nothing the caller says can be made out for now.
    deaf: bool,
    /// Words were lost, or the caller was told not to be heard: to be asked for once there are ears again.
    asks_again: bool,
    /// What the mind has to be told of audio that was lost, ms.
    hole_ms: u64,
    deaf_lines_made: usize,
    /// Until when the bot's audio is played that was sent so far.
    bot_until: CallTime,
    /// Whether somebody can be rung at this hour.
    staffed: bool,
    /// Staff have the word: the bot answers nothing.
    muted: bool,
    digits: String,
    idle_prompts_made: u32,
    fillers_made: usize,
    failures: u32,
    turns: VecDeque<TurnRecord>,
    summary: Option<String>,
    outcome: Outcome,
    facts: Vec<String>,
    elapsed_before_ms: u64,
    breaks: u32,
    resumed: bool,
    /// The notice, while it is being said.
    notice: Option<ReplyId>,
    /// Whether the caller was told, in this stream or an earlier one, or need not be.
    notified: bool,
    cards: CardWatch,
}

/// Numbers of turns set aside for each owner of a call.
const TURNS_AN_OWNER: u32 = 10_000;
/// The last words of a call are given up when nothing was played for so long.
const LEAVE_BY: Duration = Duration::from_secs(20);
/// A caller who waits for what the ear has not told yet is spoken to after this long, so that something is heard within
/// the 4 s of CALL-2 even if the voice takes its time.
const QUIET: Duration = Duration::from_millis(2_500);
/// The soonest filler.
const SOONEST: Duration = Duration::from_millis(100);
/// After the ear is back, words that were kept are waited for so long before they are asked for.
const ASK_AGAIN: Duration = Duration::from_millis(1_200);
/// A limit that is reached while the bot says goodbye, and a wait whose filler could not be spoken, are looked at again
/// after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Sentences of a reply handed to the voice beyond those it has delivered. It speaks one and asks for the next; the
/// others keep in the reply, so that no mailbox has to hold a long answer.
const AHEAD: usize = 8;
/// Facts kept for a resume.
const MAX_FACTS: usize = 20;
/// How long the ear may take to deliver the last words (LiveKit waits as long).
const CLOSING: Duration = Duration::from_secs(2);
/// After words that stopped or held back the bot and did not become an utterance, the call goes on (`decisions.md`:
/// "resume after false barge-in"). The ear commits earlier than this if its recogniser stays silent.
const RESUME: Duration = Duration::from_secs(2);
/// Between keys of one entry.
const DIGIT_GAP: Duration = Duration::from_secs(2);
/// Longest entry by keys.
const MAX_DIGITS: usize = 32;

type Effects = Vec<Effect>;

impl CallMachine {
    /// A call that has not begun.
    pub fn new(setup: Setup) -> Self {
        let rules = BargeInRules::new(&setup.config);
        let mut machine = Self {
            rules,
            phase: Phase::New,
            last_reply: ReplyId(0),
            // Turns of an earlier owner whose state could not be read are not overwritten.
            next_n: setup.epoch.0.saturating_sub(1).saturating_mul(TURNS_AN_OWNER).saturating_add(1),
            replies: VecDeque::new(),
            answer: None,
            open: None,
            pending: Vec::new(),
            partial: String::new(),
            voice_over: Duration::ZERO,
            tool_running: false,
            tool_filler: None,
            ear_done: false,
            mind_down: false,
            voice_down: false,
            deaf: false,
            asks_again: false,
            hole_ms: 0,
            deaf_lines_made: 0,
            bot_until: CallTime::ZERO,
            staffed: true,
            muted: false,
            digits: String::new(),
            idle_prompts_made: 0,
            fillers_made: 0,
            failures: 0,
            turns: VecDeque::new(),
            summary: None,
            outcome: Outcome::default(),
            facts: Vec::new(),
            elapsed_before_ms: 0,
            breaks: 0,
            resumed: setup.epoch.0 > 1,
            notice: None,
            notified: setup.notice.is_none(),
            cards: CardWatch::default(),
            setup,
        };
        if let Some(resume) = machine.setup.resume.take() {
            if let Some(last) = resume.turns.iter().map(|t| t.n).max() {
                machine.next_n = last.saturating_add(1);
            }
            machine.turns = resume.turns.into();
            machine.summary = resume.summary;
            machine.outcome = resume.outcome;
            machine.facts = resume.facts;
            machine.elapsed_before_ms = resume.elapsed_ms;
            machine.breaks = resume.breaks.saturating_add(1);
            machine.notified |= resume.notified;
            machine.muted = resume.muted;
            machine.cards = CardWatch::of(resume.digits);
            // A turn that was never answered is answered now.
            if machine.turns.back().is_some_and(|t| t.speaker == Speaker::Caller)
                && let Some(last) = machine.turns.pop_back()
            {
                machine.open =
                    Some(OpenTurn { n: last.n, text: last.said, at_ms: last.at_ms, last_word_at: None });
            }
        }
        machine
    }

    /// What another owner of the call, or a new mind, needs to go on. `open_turn` says whether the turn that is not
    /// answered yet belongs to it: a new owner needs it, a new mind is asked again anyway.
    pub fn resume_state(&self, at: CallTime, open_turn: bool) -> ResumeState {
        let is_open = |n: u32| self.open.as_ref().is_some_and(|open| open.n == n);
        // A new mind is told of what is being said once it is known how much of it was heard.
        let under_way = |n: u32| self.replies.iter().any(|r| r.n == Some(n));
        let mut turns: Vec<TurnRecord> =
            self.turns.iter().filter(|t| !is_open(t.n) && (open_turn || !under_way(t.n))).cloned().collect();
        turns.sort_by_key(|t| t.n);
        if open_turn && let Some(open) = &self.open {
            // Last, whatever the bot has said since: that it was not answered is what the next owner goes by.
            turns.push(caller_turn(open));
        }
        ResumeState {
            turns,
            summary: self.summary.clone(),
            outcome: self.outcome,
            facts: self.facts.clone(),
            elapsed_ms: self.elapsed_before_ms.saturating_add(at.as_millis()),
            breaks: self.breaks,
            notified: self.notified,
            muted: self.muted,
            digits: if self.setup.record { self.cards.digits() } else { Vec::new() },
        }
    }

    /// What the call achieved so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Says whether the business is open now: at other hours nobody is rung.
    pub fn set_staffed(&mut self, staffed: bool) {
        self.staffed = staffed;
    }

    /// Whether the caller may be put through to a person now.
    fn may_transfer(&self) -> bool {
        self.setup.can_transfer && self.staffed
    }

    /// Whether the caller waits for an answer.
    #[cfg(test)]
    pub(super) fn owes_an_answer(&self) -> bool {
        self.phase == Phase::Live && !self.muted && (self.answer.is_some() || self.open.is_some())
    }

    /// Whether the bot and the caller talk with each other.
    #[cfg(test)]
    pub(super) fn converses(&self) -> bool {
        self.phase == Phase::Live && !self.muted
    }

    /// Whether the call has left.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Takes one event.
    pub fn on(&mut self, at: CallTime, event: Event, playback: &mut Playback) -> Effects {
        let mut fx = Effects::new();
        self.bot_until = playback.tail();
        // What was sent is told by the playback; the stream's message about it may still be on its way.
        let sent: Vec<ReplyId> =
            self.replies.iter().filter(|r| !r.sent && playback.has_sent(r.id)).map(|r| r.id).collect();
        for reply in sent {
            self.on_first_sent(at, reply, &mut fx);
        }
        match (self.phase, event) {
            (Phase::Over, _) => {}
            // The caller is gone already: the last words are being collected, for two seconds at most.
            (Phase::Closing(_), Event::End(_)) => {}
            (Phase::New | Phase::Live, Event::End(reason)) if reason.is_from_status() => {
                self.caller_gone(at, reason, playback, &mut fx);
            }
            (Phase::New | Phase::Live, Event::End(reason)) => {
                self.depart(at, Departure::Ended { reason }, playback, &mut fx);
            }
            (_, Event::Stream(StreamEvent::Broke)) => {
                self.depart(at, Departure::Broke, playback, &mut fx);
            }
            (Phase::Closing(reason), event) => self.on_closing(at, reason, event, playback, &mut fx),
            (Phase::New | Phase::Live, Event::Stream(StreamEvent::Stopped)) => {
                self.caller_gone(at, EndReason::Completed, playback, &mut fx);
            }
            (Phase::New, Event::Begin { greeting }) => self.begin(at, greeting, &mut fx),
            (Phase::Live, Event::Begin { .. }) => {}
            // Before the greeting the same rules hold as after it: nothing a caller does early is lost.
            (Phase::New | Phase::Live, event) => self.on_live(at, event, playback, &mut fx),
        }
        fx
    }

    fn on_live(&mut self, at: CallTime, event: Event, playback: &mut Playback, fx: &mut Effects) {
        match event {
            Event::Heard(heard) => self.on_heard(at, heard, playback, fx),
            Event::Thought(thought) => self.on_thought(at, thought, playback, fx),
            Event::Spoke(spoke) => self.on_spoke(at, spoke, playback, fx),
            Event::Stream(StreamEvent::Mark(name)) => {
                let played = playback.mark(&name);
                self.on_played(played, fx);
                self.settle(at, playback, fx);
            }
            Event::Stream(StreamEvent::FirstSent(replies)) => {
                for reply in replies {
                    self.on_first_sent(at, reply, fx);
                }
                fx.push(Effect::SetTimer(Timer::Mark, self.mark_wait(at, playback)));
            }
            Event::Stream(StreamEvent::VoiceOver(ms)) => {
                self.voice_over = Duration::from_millis(ms);
                if !self.partial.is_empty() && self.may_interrupt(playback) {
                    let partial = self.partial.clone();
                    if self.rules.interrupts(&partial, self.voice_over) {
                        self.interrupt(at, &partial, playback, fx);
                    }
                }
            }
            Event::Stream(StreamEvent::Digit(digit)) => self.on_digit(at, digit, playback, fx),
            Event::Timer(timer) => self.on_timer(at, timer, playback, fx),
            Event::ChildDown(child) => self.on_child_down(at, child, playback, fx),
            Event::ChildUp(child) => self.on_child_up(at, child, playback, fx),
            Event::ChildGone(child) => self.on_child_gone(at, child, playback, fx),
            Event::Staff(order) => self.on_staff(at, order, playback, fx),
            Event::SpendCap => {
                if !self.is_saying_goodbye() {
                    fx.push(audit("call.spend_cap", json!({})));
                    self.time_is_up(at, EndReason::SpendCap, playback, fx);
                }
            }
            Event::Stream(StreamEvent::Stopped | StreamEvent::Broke)
            | Event::Begin { .. }
            | Event::End(_) => {}
        }
    }

    /// The caller has hung up: nothing more is said, the last words are collected.
    fn caller_gone(&mut self, at: CallTime, reason: EndReason, playback: &mut Playback, fx: &mut Effects) {
        let tool_running = self.tool_running;
        self.stop_all(at, true, playback, fx);
        // A tool that writes is let finish: what it achieves belongs to the call.
        self.tool_running = tool_running;
        self.phase = Phase::Closing(reason);
        fx.push(Effect::FinishListening);
        fx.push(Effect::SetTimer(Timer::Closing, CLOSING));
    }

    fn on_closing(
        &mut self,
        at: CallTime,
        reason: EndReason,
        event: Event,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        match event {
            Event::Heard(Heard::Utterance { text, last_word_at }) => self.pending.push((text, last_word_at)),
            Event::Heard(Heard::Digits(digits)) => self.digits_heard(digits),
            Event::Heard(Heard::Audit(row)) | Event::Thought(Thought::Audit(row)) => {
                fx.push(Effect::Audit(row))
            }
            Event::Thought(Thought::Achieved(outcome)) => {
                self.achieve(outcome, fx);
                self.tool_running = false;
                if self.ear_done {
                    self.close(at, reason, playback, fx);
                }
            }
            Event::Thought(Thought::Fact(fact)) => self.keep_fact(fact, fx),
            Event::Heard(Heard::Lost { .. })
            | Event::ChildDown(Child::Stt)
            | Event::ChildGone(Child::Stt) => {
                self.ear_done = true;
                if !self.tool_running {
                    self.close(at, reason, playback, fx);
                }
            }
            Event::Timer(Timer::Closing) => self.close(at, reason, playback, fx),
            Event::Begin { .. }
            | Event::Heard(
                Heard::Ready
                | Heard::Partial { .. }
                | Heard::SpeechStarted
                | Heard::Interrupted
                | Heard::Waiting { .. }
                | Heard::Hole { .. },
            )
            | Event::Thought(_)
            | Event::Spoke(_)
            | Event::Stream(_)
            | Event::Timer(_)
            | Event::ChildDown(_)
            | Event::ChildUp(_)
            | Event::ChildGone(_)
            | Event::Staff(_)
            | Event::SpendCap
            | Event::End(_) => {}
        }
    }

    /// Everything that was to come has come.
    fn close(&mut self, at: CallTime, reason: EndReason, playback: &mut Playback, fx: &mut Effects) {
        let reason = if reason == EndReason::Completed && self.outcome.message_taken {
            EndReason::MessageTaken
        } else {
            reason
        };
        self.depart(at, Departure::Ended { reason }, playback, fx);
    }

    fn begin(&mut self, at: CallTime, greeting: String, fx: &mut Effects) {
        self.phase = Phase::Live;
        let limit = Duration::from_secs(self.setup.config.max_call_s)
            .saturating_sub(Duration::from_millis(self.elapsed_before_ms));
        fx.push(Effect::SetTimer(Timer::MaxDuration, limit.max(Duration::from_secs(1))));
        if self.is_leaving() {
            return; // An ear that could not be had was known before the greeting.
        }
        self.begin_recording(at, fx);
        if self.resumed && self.muted {
            fx.push(audit("call.resumed", json!({ "breaks": self.breaks })));
            self.facts.retain(|fact| fact != UNANSWERED);
            return;
        }
        if self.resumed {
            fx.push(audit("call.resumed", json!({ "breaks": self.breaks })));
            let unanswered = self.facts.iter().any(|fact| fact == UNANSWERED);
            self.facts.retain(|fact| fact != UNANSWERED);
            let phrases = &self.setup.phrases;
            let words = if unanswered { &phrases.transfer_failed } else { &phrases.resumed }.clone();
            self.say(at, words, After::Listen, true, fx);
            // Behind a notice the turn waits until all this was heard.
            if self.open.is_some() && self.notice.is_none() {
                self.begin_turn(at, fx);
            }
            return;
        }
        if !self.muted {
            let kind = if self.setup.named { Kind::Named } else { Kind::Own };
            self.start_own(at, kind, greeting, After::Listen, true, fx);
        }
    }
}

fn caller_turn(open: &OpenTurn) -> TurnRecord {
    TurnRecord {
        n: open.n,
        speaker: Speaker::Caller,
        said: open.text.clone(),
        heard: open.text.clone(),
        interrupted: false,
        at_ms: open.at_ms,
        latency: StageLatencies::default(),
    }
}

fn audit(code: &str, detail: serde_json::Value) -> Effect {
    Effect::Audit(AuditEvent::new(code, detail))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
