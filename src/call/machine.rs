//! What a call decides: when the caller is answered, what stops the bot, which silence is filled, how the call ends.
//!
//! Pure: events and a time go in, effects come out. The playback is handed in with each event, because what was heard
//! decides what is remembered. Every state takes every event; what is stale is dropped.

use super::messages::{Departure, NextStep, StreamEvent, UNANSWERED};
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
use serde_json::json;
use std::collections::VecDeque;
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
    /// Bridges the wait for a tool.
    pub tool_fillers: Vec<String>,
    /// Asks whether the caller is there; taken in turn.
    pub idle_prompts: Vec<String>,
    /// Before hanging up on silence.
    pub idle_goodbye: String,
    /// At the end, where the model said none.
    pub goodbye: String,
    /// After a failure the conversation can survive.
    pub say_again: String,
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
    /// Spoken before the greeting, not to be interrupted.
    pub notice: Option<String>,
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
#[derive(Clone, Debug)]
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
    ear_done: bool,
    mind_down: bool,
    voice_down: bool,
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
}

/// Numbers of turns set aside for each owner of a call.
const TURNS_AN_OWNER: u32 = 10_000;
/// The last words of a call are given up this long after they were handed to the voice.
const LEAVE_BY: Duration = Duration::from_secs(20);
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
            ear_done: false,
            mind_down: false,
            voice_down: false,
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
        }
    }

    /// What the call achieved so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the caller waits for an answer.
    #[cfg(test)]
    pub(super) fn owes_an_answer(&self) -> bool {
        self.phase == Phase::Live && (self.answer.is_some() || self.open.is_some())
    }

    /// Whether the call has left.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Takes one event.
    pub fn on(&mut self, at: CallTime, event: Event, playback: &mut Playback) -> Effects {
        let mut fx = Effects::new();
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
                Heard::Ready | Heard::Partial { .. } | Heard::SpeechStarted | Heard::Interrupted,
            )
            | Event::Thought(_)
            | Event::Spoke(_)
            | Event::Stream(_)
            | Event::Timer(_)
            | Event::ChildDown(_)
            | Event::ChildUp(_)
            | Event::ChildGone(_)
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

    // --- the beginning -------------------------------------------------------------------------------------------

    fn begin(&mut self, at: CallTime, greeting: String, fx: &mut Effects) {
        self.phase = Phase::Live;
        let limit = Duration::from_secs(self.setup.config.max_call_s)
            .saturating_sub(Duration::from_millis(self.elapsed_before_ms));
        fx.push(Effect::SetTimer(Timer::MaxDuration, limit.max(Duration::from_secs(1))));
        if self.is_leaving() {
            return; // An ear that could not be had was known before the greeting.
        }
        if self.resumed {
            fx.push(audit("call.resumed", json!({ "breaks": self.breaks })));
            let unanswered = self.facts.iter().any(|fact| fact == UNANSWERED);
            self.facts.retain(|fact| fact != UNANSWERED);
            let phrases = &self.setup.phrases;
            let words = if unanswered { &phrases.transfer_failed } else { &phrases.resumed }.clone();
            self.say(at, words, After::Listen, true, fx);
            if self.open.is_some() {
                self.begin_turn(at, fx);
            }
            return;
        }
        if let Some(notice) = self.setup.notice.clone() {
            self.say(at, notice, After::Listen, false, fx);
        }
        self.say(at, greeting, After::Listen, true, fx);
    }

    /// Says something of the bot's own accord.
    fn say(&mut self, at: CallTime, text: String, after: After, interruptible: bool, fx: &mut Effects) {
        self.start_own(at, Kind::Own, text, after, interruptible, fx);
    }

    fn start_own(
        &mut self,
        at: CallTime,
        kind: Kind,
        text: String,
        after: After,
        interruptible: bool,
        fx: &mut Effects,
    ) {
        fx.push(Effect::CancelTimer(Timer::Idle));
        self.last_reply = self.last_reply.next();
        let mut reply = Reply::new(self.last_reply, kind, at);
        reply.closed = true;
        reply.interruptible = interruptible;
        if after != After::Listen {
            fx.push(Effect::SetTimer(Timer::LeaveBy, LEAVE_BY));
        }
        reply.after = after;
        reply.cache = true;
        reply.handed.push(text.clone());
        self.speak(reply.id, 0, text, true, fx);
        self.replies.push_back(reply);
    }

    /// Hands a sentence to the voice, unless it is being restarted: then it is handed over once it is back.
    fn speak(&self, reply: ReplyId, sentence: u32, text: String, cache: bool, fx: &mut Effects) {
        if !self.voice_down {
            fx.push(Effect::Speak { reply, sentence, text, cache });
        }
    }

    // --- the caller ----------------------------------------------------------------------------------------------

    fn on_heard(&mut self, at: CallTime, heard: Heard, playback: &mut Playback, fx: &mut Effects) {
        match heard {
            Heard::Partial { text } => {
                fx.push(Effect::CancelTimer(Timer::Idle));
                self.partial = text.clone();
                if self.unsent_answer() && !self.speaks_beside_answer() {
                    if !self.rules.is_backchannel(&text) {
                        // The caller goes on before the answer could be heard: it waits for the rest of the turn.
                        self.withdraw_answer(playback, fx);
                    }
                } else if self.may_interrupt(playback) && self.rules.interrupts(&text, self.voice_over) {
                    self.interrupt(at, &text, playback, fx);
                } else if self.unsent_answer() && !self.rules.is_backchannel(&text) {
                    self.withdraw_answer(playback, fx);
                }
                // Words that never become an utterance must not leave the caller without an answer.
                fx.push(Effect::SetTimer(Timer::Resume, RESUME));
            }
            Heard::Utterance { text, last_word_at } => {
                fx.push(Effect::CancelTimer(Timer::Resume));
                fx.push(Effect::CancelTimer(Timer::Idle));
                self.partial.clear();
                self.idle_prompts_made = 0;
                self.pending.push((text.clone(), last_word_at));
                if self.phase == Phase::New {
                    return;
                }
                if self.unsent_answer() {
                    if self.speaks_beside_answer() && self.rules.interrupts(&text, self.voice_over) {
                        self.interrupt(at, &text, playback, fx);
                    } else {
                        self.withdraw_answer(playback, fx);
                    }
                    self.begin_turn(at, fx);
                } else if self.open.is_some() && self.answer.is_none() && !self.is_bound() {
                    self.begin_turn(at, fx);
                } else if self.may_interrupt(playback) {
                    if self.rules.interrupts(&text, self.voice_over) {
                        self.interrupt(at, &text, playback, fx);
                        self.begin_turn(at, fx);
                    }
                } else if self.replies.is_empty() && self.answer.is_none() {
                    self.begin_turn(at, fx);
                }
                // Else: words over the bot that do not stop it wait until it has finished.
            }
            Heard::Lost { code } => self.way_out(at, "stt.lost", &code, playback, fx),
            Heard::Audit(row) => fx.push(Effect::Audit(row)),
            Heard::Interrupted => fx.push(audit("stt.interrupted", json!({}))),
            Heard::Ready | Heard::SpeechStarted => {}
        }
    }

    /// Whether words may stop the bot now.
    fn may_interrupt(&self, playback: &Playback) -> bool {
        (playback.is_audible() || !self.replies.is_empty()) && !self.is_bound()
    }

    /// Whether something is being said that may not be interrupted.
    fn is_bound(&self) -> bool {
        self.replies.iter().any(|r| !r.interruptible)
    }

    /// Whether the last words of the call are being said.
    fn is_leaving(&self) -> bool {
        self.replies.iter().any(|r| !r.interruptible && r.after != After::Listen)
    }

    /// Whether an answer is under way of which the caller has heard nothing.
    fn unsent_answer(&self) -> bool {
        self.current_answer().is_some_and(|r| !r.sent) && !self.is_bound()
    }

    /// Whether something else than the answer is on its way: a filler, a line of the bot's own.
    fn speaks_beside_answer(&self) -> bool {
        self.replies.iter().any(|r| Some(r.id) != self.answer)
    }

    fn current_answer(&self) -> Option<&Reply> {
        self.answer.and_then(|id| self.replies.iter().find(|r| r.id == id))
    }

    fn reply_mut(&mut self, id: ReplyId) -> Option<&mut Reply> {
        self.replies.iter_mut().find(|r| r.id == id)
    }

    /// Takes the answer back before any of it was heard. The turn stays open.
    fn withdraw_answer(&mut self, playback: &mut Playback, fx: &mut Effects) {
        let Some(id) = self.answer.take() else { return };
        playback.withdraw(id);
        self.replies.retain(|r| r.id != id);
        self.tool_running = false;
        fx.push(Effect::StopAnswer { reply: id, fate: Fate::Withdrawn });
        fx.push(Effect::StopSpeech(id));
        fx.push(Effect::CancelTimer(Timer::Filler));
        fx.push(Effect::CancelTimer(Timer::Apology));
    }

    /// Answers what the caller has said so far.
    fn begin_turn(&mut self, at: CallTime, fx: &mut Effects) {
        let added: Vec<_> = self.pending.drain(..).collect();
        if added.is_empty() && self.open.is_none() {
            return;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let n = self.take_n();
                OpenTurn { n, text: String::new(), at_ms: self.since_start(at), last_word_at: None }
            }
        };
        for (text, last_word_at) in added {
            join_words(&mut open.text, &text);
            open.last_word_at = last_word_at.or(open.last_word_at);
        }
        self.record(caller_turn(&open), fx);
        self.last_reply = self.last_reply.next();
        let mut reply = Reply::new(self.last_reply, Kind::Answer, at);
        reply.latency = StageLatencies {
            end_of_turn_ms: open.last_word_at.and_then(|last| u32::try_from(at.since(last).as_millis()).ok()),
            ..StageLatencies::default()
        };
        self.answer = Some(reply.id);
        self.voice_over = Duration::ZERO;
        self.tool_running = false;
        if !self.mind_down {
            fx.push(Effect::Answer { reply: reply.id, text: open.text.clone() });
        }
        self.replies.push_back(reply);
        self.open = Some(open);
        fx.push(Effect::CancelTimer(Timer::Idle));
        fx.push(Effect::CancelTimer(Timer::Resume));
        fx.push(Effect::SetTimer(Timer::Filler, Duration::from_millis(self.setup.config.filler_ms)));
        fx.push(Effect::SetTimer(Timer::Apology, Duration::from_millis(self.setup.config.apology_ms)));
    }

    /// The caller speaks over the bot: everything on its way stops, `clear` first.
    fn interrupt(&mut self, at: CallTime, words: &str, playback: &mut Playback, fx: &mut Effects) {
        fx.push(Effect::Clear);
        fx.push(audit("call.barge_in", json!({ "words": words.split_whitespace().count() })));
        self.stop_all(at, true, playback, fx);
    }

    /// Stops every reply on its way; what was heard of each is recorded.
    fn stop_all(&mut self, at: CallTime, interrupted: bool, playback: &mut Playback, fx: &mut Effects) {
        let cuts = playback.clear(at, self.last_reply);
        for mut reply in std::mem::take(&mut self.replies) {
            if let Some(cut) = cuts.iter().find(|c| c.reply == reply.id) {
                reply.hear(&cut.heard);
            }
            let answered = self.answer == Some(reply.id);
            if answered && !reply.sent {
                fx.push(Effect::StopAnswer { reply: reply.id, fate: Fate::Withdrawn });
            } else {
                let fate = Fate::Heard(reply.heard.clone());
                if reply.kind == Kind::Answer && !reply.orphan {
                    fx.push(Effect::StopAnswer { reply: reply.id, fate });
                    self.open = None;
                } else if reply.kind != Kind::Filler && !reply.heard.is_empty() {
                    fx.push(Effect::Said { reply: reply.id, heard: reply.heard.clone() });
                }
                if reply.sent {
                    self.record_reply(&mut reply, interrupted, fx);
                }
            }
            fx.push(Effect::StopSpeech(reply.id));
        }
        self.answer = None;
        self.tool_running = false;
        self.voice_over = Duration::ZERO;
        for timer in [Timer::Filler, Timer::Apology, Timer::Mark, Timer::Idle, Timer::LeaveBy] {
            fx.push(Effect::CancelTimer(timer));
        }
    }

    fn on_digit(&mut self, at: CallTime, digit: char, playback: &mut Playback, fx: &mut Effects) {
        fx.push(Effect::CancelTimer(Timer::Idle));
        fx.push(audit("call.digit", json!({ "count": self.digits.len() + 1 })));
        self.idle_prompts_made = 0;
        if !self.replies.is_empty() && !self.is_bound() {
            if self.unsent_answer() && !playback.is_audible() {
                self.withdraw_answer(playback, fx);
            } else {
                self.interrupt(at, "", playback, fx);
            }
        }
        if digit == '0' && self.digits.is_empty() && self.setup.zero_for_person && !self.is_bound() {
            self.ask_for_person(at, fx);
            return;
        }
        if digit != '#' && self.digits.len() < MAX_DIGITS {
            self.digits.push(digit);
        }
        if digit == '#' {
            self.digits_done(at, playback, fx);
        } else {
            fx.push(Effect::SetTimer(Timer::Digits, DIGIT_GAP));
        }
    }

    fn digits_done(&mut self, at: CallTime, playback: &mut Playback, fx: &mut Effects) {
        fx.push(Effect::CancelTimer(Timer::Digits));
        match self.take_digits() {
            Some(text) => self.on_heard(at, Heard::Utterance { text, last_word_at: None }, playback, fx),
            None => self.settle(at, playback, fx),
        }
    }

    /// The keys pressed so far, as words of the caller's.
    fn take_digits(&mut self) -> Option<String> {
        let digits = std::mem::take(&mut self.digits);
        let spelled: Vec<String> = digits.chars().map(String::from).collect();
        (!digits.is_empty()).then(|| format!("(keys pressed: {})", spelled.join(" ")))
    }

    fn ask_for_person(&mut self, at: CallTime, fx: &mut Effects) {
        if self.setup.can_transfer {
            let words = self.setup.phrases.transfer.clone();
            let after = After::Leave { next: NextStep::Dial { say: None }, reason: None };
            self.say(at, words, after, true, fx);
        } else {
            self.pending.push(("(pressed 0: I would like to speak to a person)".into(), None));
            self.begin_turn(at, fx);
        }
    }

    // --- the mind ------------------------------------------------------------------------------------------------

    fn on_thought(&mut self, at: CallTime, thought: Thought, playback: &mut Playback, fx: &mut Effects) {
        match thought {
            Thought::FirstToken { reply } => {
                if let Some(reply) = self.reply_mut(reply) {
                    reply.latency.first_token_ms = reply.elapsed(at);
                }
            }
            Thought::Sentence { reply, sentence, text } => {
                if self.answer != Some(reply) {
                    return;
                }
                let Some(r) = self.reply_mut(reply) else { return };
                if r.closed || r.handed.len() != sentence as usize {
                    return;
                }
                if sentence == 0 {
                    r.latency.first_sentence_ms = r.elapsed(at);
                }
                r.handed.push(text.clone());
                self.speak(reply, sentence, text, false, fx);
            }
            Thought::ToolStarted { reply, .. } => {
                if self.answer == Some(reply) {
                    self.tool_running = true;
                }
            }
            Thought::Done { reply, then } => self.on_done(at, reply, then, playback, fx),
            Thought::Failed { reply, code } => {
                if self.answer != Some(reply) {
                    return;
                }
                let spoke = self.current_answer().is_some_and(|r| !r.handed.is_empty());
                if spoke {
                    self.on_done(at, reply, Then::Listen, playback, fx);
                } else {
                    self.answer_failed(at, &code, playback, fx);
                }
            }
            Thought::Achieved(outcome) => self.achieve(outcome, fx),
            Thought::Fact(fact) => self.keep_fact(fact, fx),
            Thought::Summary(summary) => {
                self.summary = Some(summary);
                fx.push(Effect::SaveState);
            }
            Thought::Audit(row) => fx.push(Effect::Audit(row)),
        }
    }

    fn on_done(
        &mut self,
        at: CallTime,
        reply: ReplyId,
        then: Then,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        if self.answer != Some(reply) {
            return;
        }
        self.tool_running = false;
        let outcome = self.outcome;
        let goodbye = self.setup.phrases.goodbye.clone();
        let transfer = self.setup.phrases.transfer.clone();
        let can_transfer = self.setup.can_transfer;
        let Some(r) = self.reply_mut(reply) else { return };
        let mut say = None;
        match then {
            Then::Listen => {}
            Then::HangUp { message_taken } => {
                let reason = if message_taken || outcome.message_taken {
                    EndReason::MessageTaken
                } else {
                    EndReason::Completed
                };
                r.after = After::Leave { next: NextStep::HangUp { say: None }, reason: Some(reason) };
                say = Some(goodbye);
            }
            Then::Transfer if can_transfer => {
                r.after = After::Leave { next: NextStep::Dial { say: None }, reason: None };
                say = Some(transfer);
            }
            Then::Transfer => {}
        }
        let leaves = r.after != After::Listen;
        if leaves {
            fx.push(Effect::SetTimer(Timer::LeaveBy, LEAVE_BY));
        }
        if r.handed.is_empty() {
            match say {
                Some(text) => {
                    r.handed.push(text.clone());
                    r.cache = true;
                    r.closed = true;
                    self.speak(reply, 0, text, true, fx);
                }
                None => {
                    self.answer_failed(at, "llm.empty", playback, fx);
                    return;
                }
            }
        } else {
            r.closed = true;
        }
        self.settle(at, playback, fx);
    }

    fn answer_failed(&mut self, at: CallTime, code: &str, playback: &mut Playback, fx: &mut Effects) {
        self.failures += 1;
        if self.failures >= 2 {
            self.way_out(at, "llm.failed", code, playback, fx);
            return;
        }
        fx.push(audit("llm.failed", json!({ "code": code })));
        if let Some(id) = self.answer.take() {
            self.replies.retain(|r| r.id != id);
        }
        self.open = None;
        self.cancel_waits(fx);
        let words = self.setup.phrases.say_again.clone();
        self.say(at, words, After::Listen, true, fx);
    }

    fn achieve(&mut self, more: Outcome, fx: &mut Effects) {
        self.outcome.lead_captured |= more.lead_captured;
        self.outcome.appointment_booked |= more.appointment_booked;
        self.outcome.message_taken |= more.message_taken;
        // `transferred` is not taken over: being asked to put the caller through is not yet having done it. The
        // registry knows once a person has answered.
        self.outcome.follow_up |= more.follow_up;
        fx.push(Effect::SaveState);
    }

    fn keep_fact(&mut self, fact: String, fx: &mut Effects) {
        if self.facts.len() < MAX_FACTS && !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
        fx.push(Effect::SaveState);
    }

    // --- the voice and what is heard of it -----------------------------------------------------------------------

    fn on_spoke(&mut self, at: CallTime, spoke: Spoke, playback: &mut Playback, fx: &mut Effects) {
        match spoke {
            Spoke::FirstAudio { reply } => {
                if let Some(reply) = self.reply_mut(reply) {
                    reply.latency.first_audio_ms = reply.elapsed(at);
                }
            }
            Spoke::SentenceDone { reply, sentence } => {
                if let Some(r) = self.reply_mut(reply) {
                    r.voiced = r.voiced.max(sentence as usize + 1);
                }
                self.settle(at, playback, fx);
            }
            Spoke::Failed { reply, code, .. } => {
                let Some(kind) = self.replies.iter().find(|r| r.id == reply).map(|r| r.kind) else { return };
                if kind == Kind::Filler {
                    self.replies.retain(|r| r.id != reply);
                    self.arm_filler_again(fx);
                    return;
                }
                self.voice_lost(at, &code, playback, fx);
            }
            Spoke::Audit(row) => fx.push(Effect::Audit(row)),
        }
    }

    /// No voice is left: Twilio says the apology.
    fn voice_lost(&mut self, at: CallTime, code: &str, playback: &mut Playback, fx: &mut Effects) {
        fx.push(audit("tts.lost", json!({ "code": code })));
        let departure = if self.setup.can_transfer {
            Departure::Decided {
                next: NextStep::Dial { say: Some(self.setup.phrases.apology_transfer.clone()) },
                reason: None,
            }
        } else {
            self.outcome.follow_up = true;
            Departure::Decided {
                next: NextStep::HangUp { say: Some(self.setup.phrases.apology_goodbye.clone()) },
                reason: Some(EndReason::Apology),
            }
        };
        self.depart(at, departure, playback, fx);
    }

    fn on_first_sent(&mut self, at: CallTime, id: ReplyId, fx: &mut Effects) {
        let is_answer = self.answer == Some(id);
        let Some(r) = self.reply_mut(id) else { return };
        if r.sent {
            return;
        }
        r.sent = true;
        r.latency.first_sent_ms = r.elapsed(at);
        self.voice_over = Duration::ZERO;
        if is_answer {
            // From the first sound on, more words are a new turn.
            self.open = None;
            self.failures = 0;
            fx.push(Effect::CancelTimer(Timer::Filler));
            fx.push(Effect::CancelTimer(Timer::Apology));
        }
    }

    fn on_played(&mut self, played: Vec<Played>, fx: &mut Effects) {
        for sentence in played {
            let Some(position) = self.replies.iter().position(|r| r.id == sentence.reply) else { continue };
            let Some(mut reply) = self.replies.remove(position) else { continue };
            reply.hear(&sentence.text);
            reply.sent = true;
            self.record_reply(&mut reply, false, fx);
            self.replies.insert(position, reply);
        }
    }

    /// Closes every reply that was heard to its end, and goes on with what follows.
    fn settle(&mut self, at: CallTime, playback: &mut Playback, fx: &mut Effects) {
        while let Some(position) =
            self.replies.iter().position(|r| r.closed && r.voiced >= r.handed.len() && !playback.holds(r.id))
        {
            let Some(reply) = self.replies.remove(position) else { break };
            match reply.kind {
                Kind::Answer => {
                    self.answer = None;
                    self.open = None;
                    fx.push(Effect::CancelTimer(Timer::Filler));
                    fx.push(Effect::CancelTimer(Timer::Apology));
                    fx.push(if reply.orphan {
                        Effect::Said { reply: reply.id, heard: reply.heard.clone() }
                    } else {
                        Effect::AnswerHeard { reply: reply.id, text: reply.heard.clone() }
                    });
                }
                Kind::Own => fx.push(Effect::Said { reply: reply.id, heard: reply.heard.clone() }),
                Kind::Filler => self.arm_filler_again(fx),
            }
            if let After::Leave { next, reason } = reply.after {
                self.depart(at, Departure::Decided { next, reason }, playback, fx);
                return;
            }
        }
        // In the middle of an answer the caller may have to wait again: for a tool, for a slow model.
        if self.phase == Phase::Live
            && self.current_answer().is_some_and(|r| r.sent)
            && !playback.is_audible()
            && !self.speaks_beside_answer()
            && self.has_run_dry(playback)
        {
            self.arm_filler_again(fx);
        }
        if self.phase != Phase::Live || !self.replies.is_empty() || playback.is_audible() {
            return;
        }
        fx.push(Effect::CancelTimer(Timer::Mark));
        if !self.pending.is_empty() || (self.open.is_some() && self.partial.is_empty()) {
            self.begin_turn(at, fx);
        } else if self.partial.is_empty() && self.digits.is_empty() {
            let wait = Duration::from_millis(self.setup.config.idle_prompt_ms);
            fx.push(Effect::SetTimer(Timer::Idle, wait));
        }
    }

    fn arm_filler_again(&self, fx: &mut Effects) {
        if self.answer.is_some() && !self.is_bound() {
            let wait = Duration::from_millis(self.setup.config.filler_repeat_ms);
            fx.push(Effect::SetTimer(Timer::Filler, wait));
        }
    }

    /// Whether all that there is of an unfinished answer was heard: the caller waits for more of it.
    fn has_run_dry(&self, playback: &Playback) -> bool {
        self.current_answer()
            .is_some_and(|r| !r.closed && r.voiced >= r.handed.len() && !playback.holds(r.id))
    }

    // --- time ----------------------------------------------------------------------------------------------------

    fn on_timer(&mut self, at: CallTime, timer: Timer, playback: &mut Playback, fx: &mut Effects) {
        match timer {
            Timer::Filler => {
                if self.answer.is_none() || self.is_bound() {
                    return;
                }
                if playback.is_audible() || self.speaks_beside_answer() || !self.has_run_dry(playback) {
                    // Something is being said, or the voice is about to: a filler would come after it, between two
                    // sentences of the answer. The wait begins anew.
                    let wait = Duration::from_millis(self.setup.config.filler_repeat_ms);
                    fx.push(Effect::SetTimer(Timer::Filler, wait));
                    return;
                }
                let list = if self.tool_running {
                    &self.setup.phrases.tool_fillers
                } else {
                    &self.setup.phrases.fillers
                };
                let Some(words) = list.get(self.fillers_made % list.len().max(1)).cloned() else { return };
                self.fillers_made = self.fillers_made.wrapping_add(1);
                self.start_own(at, Kind::Filler, words, After::Listen, true, fx);
            }
            Timer::Apology => {
                if self.current_answer().is_some_and(|r| !r.sent) {
                    self.way_out(at, "turn.too_slow", "deadline", playback, fx);
                }
            }
            Timer::Idle => self.on_idle(at, playback, fx),
            Timer::MaxDuration => {
                fx.push(Effect::Clear);
                self.stop_all(at, false, playback, fx);
                let words = self.setup.phrases.max_duration.clone();
                let after = After::Leave {
                    next: NextStep::HangUp { say: None },
                    reason: Some(EndReason::MaxDuration),
                };
                self.say(at, words, after, false, fx);
            }
            Timer::Mark => {
                let grace = Duration::from_millis(self.setup.config.mark_grace_ms);
                let late = playback.expire(at, grace);
                if !late.is_empty() {
                    fx.push(audit("playback.mark_late", json!({ "marks": late.len() })));
                    self.on_played(late, fx);
                    self.settle(at, playback, fx);
                }
                if self.phase == Phase::Live && playback.is_audible() {
                    fx.push(Effect::SetTimer(Timer::Mark, self.mark_wait(at, playback)));
                }
            }
            Timer::Resume => {
                self.partial.clear();
                if self.open.is_some() && self.answer.is_none() && !self.is_bound() {
                    self.begin_turn(at, fx);
                } else {
                    self.settle(at, playback, fx);
                }
            }
            Timer::Digits => self.digits_done(at, playback, fx),
            Timer::LeaveBy => {
                // The stream takes nothing any more, or its marks do not come back.
                let leaving = self.replies.iter().find_map(|r| match &r.after {
                    After::Leave { next, reason } => Some((next.clone(), *reason)),
                    After::Listen => None,
                });
                if let Some((next, reason)) = leaving {
                    fx.push(audit("call.leave_overdue", json!({})));
                    self.depart(at, Departure::Decided { next, reason }, playback, fx);
                }
            }
            Timer::Closing => {}
        }
    }

    fn on_idle(&mut self, at: CallTime, playback: &Playback, fx: &mut Effects) {
        let busy = !self.replies.is_empty() || playback.is_audible() || self.answer.is_some();
        if busy || self.phase != Phase::Live {
            return;
        }
        if self.idle_prompts_made >= self.setup.config.idle_prompts {
            let words = self.setup.phrases.idle_goodbye.clone();
            let after =
                After::Leave { next: NextStep::HangUp { say: None }, reason: Some(EndReason::Silence) };
            self.say(at, words, after, true, fx);
            return;
        }
        let prompts = &self.setup.phrases.idle_prompts;
        let Some(words) = prompts.get(self.idle_prompts_made as usize % prompts.len().max(1)).cloned() else {
            return;
        };
        self.idle_prompts_made += 1;
        self.say(at, words, After::Listen, true, fx);
    }

    fn mark_wait(&self, at: CallTime, playback: &Playback) -> Duration {
        let grace = Duration::from_millis(self.setup.config.mark_grace_ms);
        playback.overdue_at(grace).map_or(grace, |due| due.since(at)).max(Duration::from_millis(100))
    }

    fn cancel_waits(&self, fx: &mut Effects) {
        for timer in [Timer::Filler, Timer::Apology] {
            fx.push(Effect::CancelTimer(timer));
        }
    }

    // --- failures ------------------------------------------------------------------------------------------------

    /// The conversation cannot go on: an honest word, then a person or a call-back.
    fn way_out(&mut self, at: CallTime, event: &str, code: &str, playback: &mut Playback, fx: &mut Effects) {
        // A notice may be cut off by this, the last words of the call may not.
        if self.is_leaving() {
            return;
        }
        fx.push(audit(event, json!({ "code": code })));
        if playback.is_audible() || !self.replies.is_empty() {
            fx.push(Effect::Clear);
            self.stop_all(at, false, playback, fx);
        }
        self.cancel_waits(fx);
        let (words, next, reason) = if self.setup.can_transfer {
            (self.setup.phrases.apology_transfer.clone(), NextStep::Dial { say: None }, None)
        } else {
            self.outcome.follow_up = true;
            fx.push(Effect::SaveState);
            (
                self.setup.phrases.apology_goodbye.clone(),
                NextStep::HangUp { say: None },
                Some(EndReason::Apology),
            )
        };
        self.say(at, words, After::Leave { next, reason }, false, fx);
    }

    fn on_child_down(&mut self, at: CallTime, child: Child, playback: &mut Playback, fx: &mut Effects) {
        fx.push(audit("child.down", json!({ "child": child.as_str() })));
        match child {
            Child::Stt => {}
            Child::Tts => self.voice_down = true,
            Child::Dialogue => {
                self.mind_down = true;
                self.tool_running = false;
                self.lose_thread(playback, fx);
                self.settle(at, playback, fx);
            }
        }
    }

    /// The mind that was answering is gone. What was begun is spoken to its end, and the next mind is told of it as of
    /// something the bot said. An answer of which nothing was heard begins anew, under another number.
    fn lose_thread(&mut self, playback: &mut Playback, fx: &mut Effects) {
        let Some(id) = self.answer else { return };
        let fresh = self.last_reply.next();
        let Some(r) = self.reply_mut(id) else { return };
        if r.sent {
            r.closed = true;
            r.orphan = true;
            return;
        }
        r.id = fresh;
        r.handed.clear();
        r.voiced = 0;
        r.closed = false;
        r.cache = false;
        r.after = After::Listen;
        self.answer = Some(fresh);
        self.last_reply = fresh;
        playback.withdraw(id);
        fx.push(Effect::StopSpeech(id));
    }

    fn on_child_up(&mut self, at: CallTime, child: Child, playback: &mut Playback, fx: &mut Effects) {
        match child {
            Child::Stt => {}
            Child::Tts => {
                self.voice_down = false;
                if self.current_answer().is_some_and(|r| !r.handed.is_empty()) {
                    // The answer is there: a filler that was cut off has nothing to bridge any more.
                    for filler in self.replies.iter_mut().filter(|r| r.kind == Kind::Filler) {
                        playback.abandon(filler.id, 0);
                        filler.voiced = filler.handed.len();
                    }
                }
                let mut again = Vec::new();
                for reply in &mut self.replies {
                    for (i, whole) in reply.handed.iter().enumerate().skip(reply.voiced) {
                        let sentence = u32::try_from(i).unwrap_or(u32::MAX);
                        // It may have been broken off before: by another voice, or by the end of an earlier one.
                        if let Some(rest) = playback.abandon(reply.id, sentence) {
                            reply.rest = Some((sentence, rest));
                        }
                        let rest =
                            reply.rest.as_ref().filter(|(of, _)| *of == sentence).map(|(_, rest)| rest);
                        again.push((reply.id, sentence, rest.unwrap_or(whole).clone(), reply.cache));
                    }
                }
                for (reply, sentence, text, cache) in again {
                    self.speak(reply, sentence, text, cache && sentence == 0, fx);
                }
            }
            Child::Dialogue => {
                self.mind_down = false;
                if let (Some(id), Some(open)) = (self.answer, &self.open) {
                    let text = open.text.clone();
                    if self.current_answer().is_some_and(|r| r.handed.is_empty()) {
                        fx.push(Effect::Answer { reply: id, text });
                    }
                }
                self.settle(at, playback, fx);
            }
        }
    }

    fn on_child_gone(&mut self, at: CallTime, child: Child, playback: &mut Playback, fx: &mut Effects) {
        match child {
            Child::Stt => self.way_out(at, "stt.gone", "restarts", playback, fx),
            Child::Dialogue => {
                self.mind_down = true;
                self.way_out(at, "dialogue.gone", "restarts", playback, fx);
            }
            Child::Tts => self.voice_lost(at, "restarts", playback, fx),
        }
    }

    // --- the transcript and the end ------------------------------------------------------------------------------

    fn since_start(&self, at: CallTime) -> u64 {
        self.elapsed_before_ms.saturating_add(at.as_millis())
    }

    fn take_n(&mut self) -> u32 {
        let n = self.next_n;
        self.next_n = self.next_n.saturating_add(1);
        n
    }

    fn record(&mut self, turn: TurnRecord, fx: &mut Effects) {
        match self.turns.iter_mut().find(|t| t.n == turn.n) {
            Some(known) => *known = turn.clone(),
            None => self.turns.push_back(turn.clone()),
        }
        while self.turns.len() > self.setup.keep_turns.max(1) {
            self.turns.pop_front();
        }
        fx.push(Effect::Record(turn));
    }

    /// Writes down what was said of a reply so far. A filler is no part of the conversation, and must not stand
    /// between a turn and its answer.
    fn record_reply(&mut self, reply: &mut Reply, interrupted: bool, fx: &mut Effects) {
        if reply.kind == Kind::Filler {
            return;
        }
        let n = match reply.n {
            Some(n) => n,
            None => {
                let n = self.take_n();
                reply.n = Some(n);
                n
            }
        };
        let mut turn = reply.record(n, interrupted);
        turn.at_ms = turn.at_ms.saturating_add(self.elapsed_before_ms);
        self.record(turn, fx);
    }

    /// Leaves, once: what was heard is settled, what was said is recorded.
    fn depart(&mut self, at: CallTime, departure: Departure, playback: &mut Playback, fx: &mut Effects) {
        if self.phase == Phase::Over {
            return;
        }
        let stopped = matches!(departure, Departure::Decided { .. });
        if stopped && playback.is_audible() {
            fx.push(Effect::Clear);
        }
        self.stop_all(at, true, playback, fx);
        // Last words and keys that were never answered still belong to the transcript.
        if let Some(keys) = self.take_digits() {
            self.pending.push((keys, None));
        }
        let added: Vec<_> = self.pending.drain(..).collect();
        if !added.is_empty() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => {
                    let n = self.take_n();
                    OpenTurn { n, text: String::new(), at_ms: self.since_start(at), last_word_at: None }
                }
            };
            for (text, _) in added {
                join_words(&mut open.text, &text);
            }
            self.record(caller_turn(&open), fx);
            self.open = Some(open);
        }
        self.phase = Phase::Over;
        fx.push(Effect::Leave(departure));
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
