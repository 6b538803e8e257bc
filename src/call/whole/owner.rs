//! One owner of the call: the shell round the call's machine and its three children, as the actors are.

use super::ear::EarChild;
use super::line::Line;
use super::mind::MindChild;
use super::voice::VoiceChild;
use super::world::World;
use crate::call::dialogue::messages::Fate;
use crate::call::machine::{CallMachine, Child, Effect, Event, Phrases, Setup, Timer};
use crate::call::messages::{CallLeft, Departure};
use crate::call::playback::Playback;
use crate::call::stt::messages::Heard;
use crate::call::supervision::{RestartPolicy, Verdict};
use crate::config::call::CallConfig;
use crate::dialogue::phrases;
use crate::domain::call::CallFacts;
use crate::domain::time::CallTime;
use crate::domain::turn::{Parting, ResumeState, Speaker};
use std::collections::HashMap;
use std::time::Duration;

/// One stream's call.
pub struct Owner {
    pub facts: CallFacts,
    /// The zero of its clock.
    pub t0: u64,
    pub machine: Option<CallMachine>,
    pub playback: Playback,
    early: Vec<Event>,
    timers: HashMap<Timer, u64>,
    timer_ids: u64,
    /// When the newest message in its mailbox is handled.
    mailbox: u64,
    policies: HashMap<Child, RestartPolicy>,
    pub voice: VoiceChild,
    pub mind: MindChild,
    pub ear: EarChild,
    pub line: Line,
    pub stream_open: bool,
    pub left: bool,
    pub leaves: u32,
    pub recordings: u32,
    pub panicked: bool,
    /// When the caller last pressed a key.
    pub key_at: u64,
    /// When the caller last did something that it knows of.
    pub caller_at: u64,
    /// It went on where the one before it had let go in a pause.
    from_pause: bool,
}

impl Owner {
    pub fn is_live(&self) -> bool {
        !self.left && !self.panicked
    }

    pub fn clock(&self, now: u64) -> CallTime {
        CallTime::from_millis(now - self.t0)
    }

    pub fn generation(&self, child: Child) -> u32 {
        match child {
            Child::Stt => self.ear.generation,
            Child::Tts => self.voice.generation,
            Child::Dialogue => self.mind.generation,
        }
    }

    pub fn is_up(&self, child: Child) -> bool {
        match child {
            Child::Stt => self.ear.is_up(),
            Child::Tts => self.voice.machine.is_some(),
            Child::Dialogue => self.mind.machine.is_some(),
        }
    }

    fn stop(&mut self, child: Child) {
        match child {
            Child::Stt => self.ear.stop(),
            Child::Tts => self.voice.stop(),
            Child::Dialogue => self.mind.stop(),
        }
    }

    pub fn dismiss(&mut self) {
        for child in [Child::Stt, Child::Tts, Child::Dialogue] {
            self.stop(child);
        }
        self.timers.clear();
    }
}

const NOTICE: &str = "This call is recorded.";
const RESUMED: &str = "Sorry, we were cut off.";
const DEAF: [&str; 2] = ["I cannot hear you now.", "Still nothing, please hold."];
const FILLERS: [&str; 4] = ["One moment.", "Just a second.", "Nearly there.", "Let me look."];

fn lines() -> Phrases {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    Phrases {
        fillers: list(&FILLERS[..3]),
        tool_fillers: crate::dialogue::schema::names()
            .into_iter()
            .map(|tool| (tool.to_owned(), FILLERS[3].to_owned()))
            .collect(),
        idle_prompts: list(&["Are you there?", "Hello, hello?"]),
        idle_goodbye: "I hang up now, goodbye.".into(),
        goodbye: "Goodbye then.".into(),
        say_again: "Sorry, say that again?".into(),
        cannot_hear: list(&DEAF),
        hears_again: "I hear you again, what was that?".into(),
        apology_goodbye: "Sorry, we will call you back.".into(),
        apology_transfer: "Sorry, somebody will help you.".into(),
        transfer: "I put you through.".into(),
        max_duration: "The time is up, goodbye.".into(),
        resumed: RESUMED.into(),
        transfer_failed: "Nobody can take the call.".into(),
    }
}

impl World {
    pub fn start_owner(&mut self, facts: CallFacts, resume: Option<Box<ResumeState>>) {
        let owner = self.owners.len();
        let config = CallConfig::default();
        let policy = || {
            RestartPolicy::new(
                config.restarts,
                Duration::from_millis(config.restart_window_ms),
                Duration::from_millis(config.restart_ms),
            )
        };
        let buffer = *self.chance.of(&[600, 4_000]);
        self.owners.push(Owner {
            t0: self.now,
            machine: None,
            playback: Playback::new(Duration::from_millis(config.playback_lead_ms), buffer),
            early: Vec::new(),
            timers: HashMap::new(),
            timer_ids: 0,
            mailbox: self.now,
            policies: [Child::Stt, Child::Tts, Child::Dialogue].map(|child| (child, policy())).into(),
            voice: VoiceChild::default(),
            mind: MindChild::default(),
            ear: EarChild::default(),
            line: Line::default(),
            stream_open: true,
            left: false,
            leaves: 0,
            recordings: 0,
            panicked: false,
            caller_at: self.now,
            key_at: self.now,
            from_pause: false,
            facts,
        });
        self.start_ear(owner);
        self.start_voice(owner);
        self.start_listening(owner);
        let wait = self.chance.between(0, 200);
        self.after(wait, move |w| w.begin(owner, resume));
    }

    /// The caller was looked up: the call's machine begins.
    fn begin(&mut self, owner: usize, at_hand: Option<Box<ResumeState>>) {
        if !self.owners[owner].is_live() {
            return;
        }
        let resumed = self.owners[owner].facts.epoch.0 > 1;
        let resume = match at_hand {
            Some(state) => Some(*state),
            // The database may be away.
            None if resumed && self.chance.percent(90) => Some(self.stored_state()),
            None => None,
        };
        if resumed && resume.is_none() {
            self.promises.forget(&self.database);
        }
        let parting = resume.as_ref().map(|state| state.parting);
        self.owners[owner].from_pause = parting == Some(Parting::AtPause);
        let notice = self.notice.then(|| NOTICE.to_owned());
        let machine = CallMachine::new(Setup {
            config: CallConfig { max_call_s: 240, ..CallConfig::default() },
            phrases: lines(),
            can_transfer: self.can_transfer,
            zero_for_person: self.chance.percent(50),
            record: self.records,
            notice,
            named: false,
            epoch: self.owners[owner].facts.epoch,
            resume,
            keep_turns: 48,
        });
        let at = self.owners[owner].clock(self.now);
        let state = resumed.then(|| machine.resume_state(at, false));
        self.owners[owner].machine = Some(machine);
        self.start_mind(owner, state.as_ref());
        // What has happened before comes before: a child that went and came back did so without a word to say.
        for event in std::mem::take(&mut self.owners[owner].early) {
            self.step(owner, event);
        }
        let greeting = phrases::greeting(&self.profile, None);
        self.step(owner, Event::Begin { greeting });
    }

    fn stored_state(&self) -> ResumeState {
        let turns: Vec<_> = self.database.turns.values().cloned().collect();
        let from = turns.len().saturating_sub(48);
        ResumeState { turns: turns[from..].to_vec(), ..self.database.state.clone().unwrap_or_default() }
    }

    /// A message for a call. It is handled in its turn; those of a child that is not there any more are dropped.
    pub fn post(&mut self, owner: usize, from: Option<(Child, u32)>, event: Event) {
        let lag = self.lag();
        let at = (self.now + lag).max(self.owners[owner].mailbox);
        self.owners[owner].mailbox = at;
        self.at(at, move |w| {
            if from.is_none_or(|(child, generation)| w.owners[owner].generation(child) == generation) {
                w.step(owner, event);
            }
        });
    }

    pub fn step(&mut self, owner: usize, event: Event) {
        let now = self.now;
        let this = &mut self.owners[owner];
        if !this.is_live() {
            return;
        }
        let at = this.clock(now);
        if this.machine.is_none() {
            match event {
                Event::End(reason) => self.leave(owner, Departure::Ended { reason }),
                event => this.early.push(event),
            }
            return;
        }
        if matches!(
            event,
            Event::Heard(Heard::Utterance { .. } | Heard::Partial { .. })
                | Event::Stream(crate::call::messages::StreamEvent::Digit(_))
                | Event::Staff(_)
        ) {
            this.caller_at = now;
        }
        if matches!(event, Event::Stream(crate::call::messages::StreamEvent::Digit(_))) {
            this.key_at = now;
        }
        self.tell(|| format!("{owner} <- {event:?}"));
        self.heard_by_call(owner, &event);
        let this = &mut self.owners[owner];
        let silent = self.caller.silent_for(now);
        let Some(machine) = &mut this.machine else { return };
        machine.set_silent(Duration::from_millis(silent));
        let effects = machine.on(at, event, &mut this.playback);
        for effect in effects {
            assert!(!self.owners[owner].left, "an effect after leaving: {effect:?}");
            self.perform(owner, effect);
        }
    }

    /// Notes what the caller has made known to the call and may not be lost from here on.
    fn heard_by_call(&mut self, owner: usize, event: &Event) {
        if self.owners[owner].facts.epoch.0 != self.database.epoch {
            return; // Another owner has taken over: what this one hears is too late.
        }
        if let Event::Heard(Heard::Utterance { text, .. }) = event {
            self.tally.utterances += 1;
            self.promises.utterance(self.now, text);
        }
    }

    fn perform(&mut self, owner: usize, effect: Effect) {
        if !matches!(effect, Effect::SetTimer(..) | Effect::CancelTimer(_) | Effect::SaveState) {
            self.tell(|| format!("{owner}      -> {effect:?}"));
        }
        match effect {
            Effect::Clear => {
                self.owners[owner].line.clear_decided();
                self.wake(owner);
            }
            Effect::Speak { reply, sentence, text, .. } => {
                if FILLERS.contains(&text.as_str()) {
                    self.tally.fillers += 1;
                    self.owners[owner].line.check_dry();
                }
                let says_sorry = text == RESUMED && self.owners[owner].from_pause;
                assert!(!says_sorry, "the bot apologises for a pause");
                self.tally.deaf += u64::from(DEAF.contains(&text.as_str()));
                self.owners[owner].line.spoken(reply, sentence, &text);
                self.tell_voice(owner, move |w| w.speak(owner, reply, sentence, text));
            }
            Effect::StopSpeech(reply) => {
                self.owners[owner].line.hushed(reply);
                self.tell_voice(owner, move |w| w.stop_speech(owner, reply));
            }
            Effect::Answer { reply, text } => {
                self.promises.check_answer(&text);
                self.owners[owner].line.answers(reply);
                self.tell_mind(owner, move |w| w.answer(owner, reply, text));
            }
            Effect::StopAnswer { reply, fate } => {
                match &fate {
                    Fate::Heard(heard) => self.owners[owner].line.check_heard(reply, heard, false),
                    Fate::Withdrawn => {
                        self.tally.withdrawn += 1;
                        self.owners[owner].line.check_unsent(reply);
                    }
                }
                self.tell_mind(owner, move |w| w.stop_answer(owner, reply, fate));
            }
            Effect::AnswerHeard { reply, text } => {
                self.owners[owner].line.check_heard(reply, &text, true);
                self.tell_mind(owner, move |w| w.answer_heard(owner, reply));
            }
            Effect::Said { reply, heard } => {
                self.owners[owner].line.check_heard(reply, &heard, false);
                self.tell_mind(owner, move |w| w.said(owner, heard));
            }
            Effect::Note { text } => self.tell_mind(owner, move |w| w.note(owner, text)),
            Effect::Overheard { text } => self.tell_mind(owner, move |w| w.overheard(owner, text)),
            Effect::Finalize => self.finalize(owner),
            Effect::FinishListening => self.finish_listening(owner),
            Effect::SetTimer(timer, after) => {
                let this = &mut self.owners[owner];
                this.timer_ids += 1;
                let id = this.timer_ids;
                this.timers.insert(timer, id);
                self.after(after.as_millis() as u64, move |w| {
                    if w.owners[owner].timers.get(&timer) == Some(&id) {
                        w.owners[owner].timers.remove(&timer);
                        w.step(owner, Event::Timer(timer));
                    }
                });
            }
            Effect::CancelTimer(timer) => {
                self.owners[owner].timers.remove(&timer);
            }
            Effect::Record(turn) => {
                if turn.speaker == Speaker::Bot {
                    self.owners[owner].line.check_recorded(&turn);
                }
                if self.owners[owner].facts.epoch.0 == self.database.epoch {
                    if let Some(known) = self.database.turns.get(&turn.n) {
                        assert_eq!(known.speaker, turn.speaker, "turn {} changes its speaker", turn.n);
                    }
                    self.database.turns.insert(turn.n, turn);
                }
            }
            Effect::StartRecording { .. } => {
                self.tally.recordings += 1;
                self.owners[owner].recordings += 1;
                assert_eq!(self.owners[owner].recordings, 1, "recording starts twice");
                assert!(self.has_consented(), "recording starts before the notice was heard");
            }
            Effect::Silence { .. } | Effect::SilenceBefore { .. } => {} // Random keys may make a card number.
            Effect::SaveState => self.save_state(owner),
            Effect::Audit(row) => {
                self.tally.fallbacks += u64::from(row.code == "tts.fallback");
            }
            Effect::Leave(departure) => self.leave(owner, departure),
        }
    }

    /// Whether the caller need not be told, or has heard the notice to its end.
    fn has_consented(&self) -> bool {
        !self.notice || self.owners.iter().any(|o| o.line.was_heard(NOTICE, self.now))
    }

    fn save_state(&mut self, owner: usize) {
        let this = &self.owners[owner];
        if let Some(machine) = &this.machine
            && this.facts.epoch.0 == self.database.epoch
        {
            self.database.state = Some(machine.resume_state(this.clock(self.now), true));
        }
    }

    fn leave(&mut self, owner: usize, departure: Departure) {
        self.save_state(owner);
        self.promises.left_at = Some(self.now);
        let this = &mut self.owners[owner];
        this.left = true;
        this.leaves += 1;
        assert_eq!(this.leaves, 1, "owner {owner} leaves twice");
        let at = this.clock(self.now);
        let (outcome, resume) = match &this.machine {
            Some(machine) => (machine.outcome(), machine.resume_state(at, true)),
            None => Default::default(),
        };
        if departure == Departure::Broke && resume.parting != Parting::Broke {
            self.lets_go(owner, &resume);
        }
        let this = &self.owners[owner];
        let (sid, epoch) = (this.facts.sid.clone(), this.facts.epoch);
        self.call_left(CallLeft { sid, epoch, departure, outcome, resume: Box::new(resume) });
        // A last `clear` may be waiting.
        self.pull(owner);
        self.close(owner);
    }

    /// An owner hands the call on: what was said to it is known, and what was answered is not answered again.
    fn lets_go(&mut self, owner: usize, resume: &ResumeState) {
        match resume.parting {
            Parting::AtPause => {
                self.tally.let_go += 1;
                self.check_heard_all(owner);
            }
            Parting::Midway => self.tally.let_go_midway += 1,
            Parting::Broke => {}
        }
        if self.owners[owner].facts.epoch.0 == self.database.epoch {
            self.promises.answered(resume);
        }
    }

    // --- the children --------------------------------------------------------------------------------------------

    pub fn crash(&mut self, owner: usize, child: Child) {
        if !self.owners[owner].is_up(child) {
            return;
        }
        self.tell(|| format!("-- the {} of owner {owner} panics", child.as_str()));
        self.tally.crashes += 1;
        if child == Child::Tts {
            self.break_off(owner);
        }
        if child == Child::Stt {
            self.lost_until = self.now;
        }
        self.owners[owner].stop(child);
        self.child_ended(owner, child);
    }

    /// A child's task is over: its parent is told.
    pub fn child_ended(&mut self, owner: usize, child: Child) {
        let generation = self.owners[owner].generation(child);
        let lag = self.lag();
        let at = (self.now + lag).max(self.owners[owner].mailbox);
        self.owners[owner].mailbox = at;
        self.at(at, move |w| w.child_down(owner, child, generation));
    }

    fn child_down(&mut self, owner: usize, child: Child, generation: u32) {
        let this = &mut self.owners[owner];
        if !this.is_live() || this.generation(child) != generation {
            return;
        }
        let at = this.clock(self.now);
        let verdict = this.policies.get_mut(&child).map_or(Verdict::Degrade, |p| p.down(at));
        self.step(owner, Event::ChildDown(child));
        if !self.owners[owner].is_live() {
            return;
        }
        match verdict {
            Verdict::Restart(after) => {
                self.after(after.as_millis() as u64, move |w| w.restart(owner, child));
            }
            Verdict::Degrade => self.step(owner, Event::ChildGone(child)),
        }
    }

    fn restart(&mut self, owner: usize, child: Child) {
        let this = &self.owners[owner];
        if !this.is_live() {
            return;
        }
        match child {
            Child::Stt => self.start_ear(owner),
            Child::Tts => self.start_voice(owner),
            Child::Dialogue => {
                let at = this.clock(self.now);
                let state = this.machine.as_ref().map(|m| m.resume_state(at, false));
                self.start_mind(owner, state.as_ref());
            }
        }
        self.step(owner, Event::ChildUp(child));
    }
}
