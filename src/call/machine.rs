//! What a call decides: when the caller is answered, what stops the bot, which silence is filled, how the call ends.
//!
//! Pure: events and a time go in, effects come out. The playback is handed in with each event, because what was heard
//! decides what is remembered. Every state takes every event; what is stale is dropped.

mod caller;
mod end;
mod failure;
mod handover;
mod recording;
mod staff;
mod thought;
mod time;
mod types;
mod voice;

pub use types::{Child, Effect, Event, Phrases, Setup, Timer};

use super::messages::{Departure, NextStep, StaffOrder, StreamEvent, UNANSWERED};
use super::playback::{Playback, Played, join_words};
use super::reply::{After, Kind, Reply};
use super::turn::BargeInRules;
use crate::call::dialogue::messages::{Fate, Then, Thought};
use crate::call::stt::messages::Heard;
use crate::call::tts::messages::Spoke;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{EndReason, Outcome};
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use crate::domain::turn::{Parting, ResumeState, Speaker, StageLatencies, TurnRecord};
use handover::Handover;
use recording::CardWatch;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;

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
    handover: Handover,
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
            handover: Handover::default(),
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
            machine.breaks = resume.breaks.saturating_add(u32::from(resume.parting == Parting::Broke));
            machine.handover = Handover::of(resume.parting);
            if resume.parting == Parting::AtPause {
                machine.idle_prompts_made = resume.idle_prompts;
            }
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
            parting: self.handover.parting(),
            idle_prompts: self.idle_prompts_made,
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
        self.handover.next_event();
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
                self.handover.broke();
                self.depart(at, Departure::Broke, playback, &mut fx);
            }
            (Phase::Closing(reason), event) => self.on_closing(at, reason, event, playback, &mut fx),
            (Phase::New | Phase::Live, Event::Stream(StreamEvent::Stopped)) => {
                self.caller_gone(at, EndReason::Completed, playback, &mut fx);
            }
            (Phase::New, Event::Begin { greeting }) => self.begin(at, greeting, playback, &mut fx),
            (Phase::Live, Event::Begin { .. }) => {}
            // Before the greeting the same rules hold as after it: nothing a caller does early is lost.
            (Phase::New | Phase::Live, event) => self.on_live(at, event, playback, &mut fx),
        }
        self.let_go_if_may(at, playback, &mut fx);
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
            Event::Stream(StreamEvent::LetGo { within }) => self.wish_to_let_go(at, within, fx),
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

    fn begin(&mut self, at: CallTime, greeting: String, playback: &mut Playback, fx: &mut Effects) {
        self.phase = Phase::Live;
        let limit = Duration::from_secs(self.setup.config.max_call_s)
            .saturating_sub(Duration::from_millis(self.elapsed_before_ms));
        fx.push(Effect::SetTimer(Timer::MaxDuration, limit.max(Duration::from_secs(1))));
        if self.is_leaving() {
            return; // An ear that could not be had was known before the greeting.
        }
        self.begin_recording(at, fx);
        if self.resumed {
            fx.push(audit("call.resumed", json!({ "breaks": self.breaks })));
            let unanswered = self.facts.iter().any(|fact| fact == UNANSWERED);
            self.facts.retain(|fact| fact != UNANSWERED);
            let at_pause = self.handover.resumes_at_pause(fx);
            if self.muted {
                return;
            }
            if at_pause && !unanswered {
                // Nobody was interrupted: what is open is answered, or the bot goes on listening.
                self.settle(at, playback, fx);
                return;
            }
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
