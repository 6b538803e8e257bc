//! The world of one call: its agenda, its registry, its database, and what goes wrong in it.

use super::caller::Caller;
use super::chance::Chance;
use super::ear::Outage;
use super::owner::Owner;
use super::promises::Promises;
use crate::call::machine::{Child, Event};
use crate::call::messages::{CallLeft, StaffOrder, StreamEvent};
use crate::dialogue::rules;
use crate::domain::call::{CallFacts, CallKind, CallStatus, Direction, EndReason};
use crate::domain::ids::{AdmissionId, Epoch, StreamSid};
use crate::domain::phone::CallerId;
use crate::domain::profile::BusinessProfile;
use crate::domain::time::UnixMillis;
use crate::domain::turn::{ResumeState, TurnRecord};
use crate::registry::roster::{Admitted, Claimed, DialResult, Limits, NewCall, Onward, Roster, RosterEffect};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// No call of this world lasts longer, ms.
const LONGEST: u64 = 900_000;

type Deed = Box<dyn FnOnce(&mut World)>;

/// What may go wrong in a world.
#[derive(Clone, Copy, Debug)]
pub struct Troubles {
    /// Voices that are slow, break off or hang.
    pub voice: bool,
    /// Models that are slow, break off or hang.
    pub mind: bool,
    /// Children that panic.
    pub crashes: bool,
    /// Streams that break, call actors that panic.
    pub breaks: bool,
    /// Recognisers that are away for a while.
    pub ear: bool,
    /// A thread that is busy.
    pub lag: bool,
}

/// What has happened, to see that something did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    pub frames: u64,
    pub clears: u64,
    pub requests: u64,
    pub utterances: u64,
    pub fillers: u64,
    pub deaf: u64,
    pub withdrawn: u64,
    pub keys: u64,
    pub crashes: u64,
    pub resumed: u64,
    pub panics: u64,
    pub fallbacks: u64,
    pub tools: u64,
    pub orders: u64,
    /// Handed over in a pause, and in the middle of something.
    pub let_go: u64,
    pub let_go_midway: u64,
    pub recordings: u64,
    pub ends: BTreeMap<&'static str, u64>,
    /// The longest a caller has waited in silence, ms; and where voices or children fail.
    pub wait: u64,
    pub troubled_wait: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.frames += other.frames;
        self.clears += other.clears;
        self.requests += other.requests;
        self.utterances += other.utterances;
        self.fillers += other.fillers;
        self.deaf += other.deaf;
        self.wait = self.wait.max(other.wait);
        self.troubled_wait = self.troubled_wait.max(other.troubled_wait);
        self.withdrawn += other.withdrawn;
        self.keys += other.keys;
        self.crashes += other.crashes;
        self.resumed += other.resumed;
        self.panics += other.panics;
        self.fallbacks += other.fallbacks;
        self.tools += other.tools;
        self.orders += other.orders;
        self.let_go += other.let_go;
        self.let_go_midway += other.let_go_midway;
        self.recordings += other.recordings;
        for (reason, count) in &other.ends {
            *self.ends.entry(reason).or_default() += count;
        }
    }

    /// Whether all that can happen has happened often.
    pub fn is_rich(&self) -> bool {
        let least = [
            self.clears,
            self.fillers,
            self.withdrawn,
            self.keys,
            self.crashes,
            self.resumed,
            self.panics,
            self.fallbacks,
            self.tools,
            self.orders,
            self.let_go,
            self.recordings,
        ];
        least.into_iter().all(|n| n >= self.calls / 20)
            && self.requests > self.calls * 2
            && self.utterances > self.calls * 2
            && self.deaf >= self.calls / 50
            && self.let_go_midway >= self.calls / 50
            && ["completed", "transferred", "apology", "silence", "ended", "lost"]
                .iter()
                .all(|reason| self.ends.contains_key(reason))
    }
}

/// What the database keeps.
#[derive(Default)]
pub struct Database {
    pub turns: BTreeMap<u32, TurnRecord>,
    pub state: Option<ResumeState>,
    /// Writes of older owners are refused.
    pub epoch: u32,
}

/// A call and all there is around it.
pub struct World {
    pub now: u64,
    sequence: u64,
    agenda: BTreeMap<(u64, u64), Deed>,
    pub chance: Chance,
    pub troubles: Troubles,
    pub can_transfer: bool,
    pub records: bool,
    pub notice: bool,
    pub real_ear: bool,
    pub profile: Arc<BusinessProfile>,
    /// One for each stream there was.
    pub owners: Vec<Owner>,
    pub caller: Caller,
    /// When the recogniser is away, and how.
    pub outages: Vec<Outage>,
    /// Words that were begun before this are known to be lost.
    pub lost_until: u64,
    pub database: Database,
    pub promises: Promises,
    pub tally: Tally,
    roster: Roster,
    facts: Option<CallFacts>,
    aloud: bool,
}

impl World {
    pub fn new(seed: u64, aloud: bool) -> Self {
        let mut chance = Chance::new(seed);
        let troubles = Troubles {
            voice: chance.percent(40),
            mind: chance.percent(50),
            crashes: chance.percent(30),
            breaks: chance.percent(30),
            ear: chance.percent(40),
            lag: chance.percent(50),
        };
        let limits = Limits {
            max_calls: 2,
            reservation: Duration::from_secs(60),
            suspend: Duration::from_secs(30),
            max_breaks: 3,
        };
        Self {
            now: 0,
            sequence: 0,
            agenda: BTreeMap::new(),
            can_transfer: chance.percent(50),
            records: chance.percent(40),
            notice: chance.percent(40),
            real_ear: chance.percent(35),
            caller: Caller::new(&mut chance),
            chance,
            troubles,
            profile: Arc::new(rules::profile()),
            owners: Vec::new(),
            outages: Vec::new(),
            lost_until: 0,
            database: Database::default(),
            promises: Promises::default(),
            tally: Tally { calls: 1, ..Tally::default() },
            roster: Roster::new(limits),
            facts: None,
            aloud,
        }
    }

    /// Puts something on the agenda, `after` ms from now. What is due at the same time happens in this order.
    pub fn after(&mut self, after: u64, deed: impl FnOnce(&mut World) + 'static) {
        self.at(self.now + after, deed);
    }

    pub fn at(&mut self, at: u64, deed: impl FnOnce(&mut World) + 'static) {
        self.sequence += 1;
        self.agenda.insert((at.max(self.now), self.sequence), Box::new(deed));
    }

    /// Tells what happens, to whoever listens.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{:>4}.{:03}  {}", self.now / 1_000, self.now % 1_000, what());
        }
    }

    /// How late a message is handled.
    pub fn lag(&mut self) -> u64 {
        match self.troubles.lag {
            true if self.chance.percent(8) => self.chance.between(5, 80),
            true => self.chance.between(0, 4),
            false => 0,
        }
    }

    fn unix(&self) -> UnixMillis {
        UnixMillis(1_700_000_000_000 + self.now as i64)
    }

    /// Lets the call happen, from the first ring to the end of all that follows from it.
    pub fn run(mut self) -> Tally {
        let troubles = self.troubles;
        let (ear, transfer) = (self.real_ear, self.can_transfer);
        self.tell(|| format!("{troubles:?}, ear {ear}, transfer {transfer}"));
        let call = NewCall {
            sid: "CA1".into(),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::Withheld,
            business_number: "+12025550100".into(),
            admission: AdmissionId::from("a1"),
            unaffordable: false,
            lagging: false,
        };
        let (Admitted::New(facts), _) = self.roster.admit(self.unix(), call) else { panic!("there is room") };
        self.open_stream(facts);
        self.after(1_000, Self::sweep);
        self.after(200, Self::watch);
        if self.troubles.crashes {
            for _ in 0..self.chance.between(1, 3) {
                let at = self.chance.between(200, 60_000);
                let child = *self.chance.of(&[Child::Stt, Child::Tts, Child::Dialogue]);
                // Now and then one that will not stay up.
                let times = if self.chance.percent(15) { 5 } else { 1 };
                for n in 0..times {
                    self.at(at + n * 700, move |w| w.crash_now(child));
                }
            }
        }
        if self.troubles.breaks {
            for _ in 0..self.chance.between(1, 3) {
                let at = self.chance.between(300, 60_000);
                match self.chance.percent(65) {
                    true => self.at(at, Self::break_stream),
                    false => self.at(at, Self::panic_call),
                }
            }
        }
        if self.chance.percent(6) {
            let at = self.chance.between(1_000, 60_000);
            self.at(at, |w| {
                w.tell(|| "staff end the call".into());
                let fx = w.roster.finish(w.unix(), &"CA1".into(), EndReason::Ended);
                w.registry_does(fx);
            });
        }
        self.plan_orders();
        self.plan_drains();
        self.plan_outages();
        while let Some(((at, _), deed)) = self.agenda.pop_first() {
            self.now = at;
            assert!(at < LONGEST, "the call does not end");
            deed(&mut self);
        }
        self.check_end();
        self.tally
    }

    /// Staff say something, or silence the bot for a while.
    fn plan_orders(&mut self) {
        if self.chance.percent(15) {
            let at = self.chance.between(500, 60_000);
            self.at(at, |w| w.staff(StaffOrder::Say("This is the boss speaking.".into())));
        }
        if self.chance.percent(10) {
            let at = self.chance.between(500, 60_000);
            let long = self.chance.between(100, 8_000);
            self.at(at, |w| w.staff(StaffOrder::Mute(true)));
            self.at(at + long, |w| w.staff(StaffOrder::Mute(false)));
        }
        if self.chance.percent(4) {
            let at = self.chance.between(500, 60_000);
            let order = match self.chance.percent(50) {
                true => StaffOrder::Transfer { to: None },
                false => StaffOrder::End { goodbye: self.chance.percent(50) },
            };
            self.at(at, |w| w.staff(order));
        }
    }

    /// Processes are replaced, and the call is handed from one to the next.
    fn plan_drains(&mut self) {
        if !self.chance.percent(30) {
            return;
        }
        for _ in 0..self.chance.between(1, 4) {
            let at = self.chance.between(100, 60_000);
            let within = Duration::from_millis(*self.chance.of(&[0, 400, 3_000, 10_000]));
            self.at(at, move |w| {
                if let Some(owner) = w.owners.iter().rposition(|o| o.stream_open && o.is_live()) {
                    w.tell(|| format!("-- owner {owner} is to let go within {within:?}"));
                    w.post(owner, None, Event::Stream(StreamEvent::LetGo { within }));
                }
            });
        }
    }

    fn staff(&mut self, order: StaffOrder) {
        self.tell(|| format!("staff want: {order:?}"));
        let (_, fx) = self.roster.command(self.unix(), &"CA1".into(), order);
        self.registry_does(fx);
    }

    // --- Twilio and the registry -----------------------------------------------------------------------------

    fn open_stream(&mut self, facts: CallFacts) {
        if !self.caller.on_the_line {
            return;
        }
        let stream = stream_of(facts.epoch);
        let claimed = self.roster.claim(self.unix(), &facts.sid, &facts.admission, facts.epoch, &stream);
        let muted = self.roster.is_muted(&facts.sid);
        let Claimed::Granted { facts, resume, .. } = claimed else {
            self.tell(|| "the stream is refused".into());
            return;
        };
        self.tell(|| format!("== stream of owner {} opens", facts.epoch));
        self.facts = Some(facts.clone());
        if facts.epoch.0 > 1 {
            self.tally.resumed += 1;
            self.promises.next_owner(&self.database);
        }
        self.database.epoch = facts.epoch.0;
        self.start_owner(facts, resume);
        if let Some(muted) = muted {
            let owner = self.owners.len() - 1;
            self.post(owner, None, Event::Staff(StaffOrder::Mute(muted)));
        }
    }

    /// Twilio asks how to go on, as long as the caller is there.
    fn twilio_asks(&mut self, dial: Option<DialResult>) {
        let status = if self.caller.on_the_line { CallStatus::InProgress } else { CallStatus::Completed };
        let (onward, fx) = self.roster.go_on(self.unix(), &"CA1".into(), Some(status), dial);
        self.tell(|| format!("Twilio asks how to go on ({dial:?}): {onward:?}"));
        self.registry_does(fx);
        if !self.caller.on_the_line {
            return;
        }
        match onward {
            Onward::Reconnect(facts) => {
                let wait = self.chance.between(100, 500);
                self.after(wait, |w| w.open_stream(facts));
            }
            Onward::Dial { .. } => {
                let wait = self.chance.between(1_000, 9_000);
                let result =
                    if self.chance.percent(60) { DialResult::Bridged } else { DialResult::Unanswered };
                self.after(wait, move |w| {
                    if w.caller.on_the_line {
                        w.twilio_asks(Some(result));
                    }
                });
            }
            Onward::HangUp { .. } | Onward::GiveUp | Onward::Later | Onward::Unknown => self.leg_ends(),
        }
    }

    /// The caller's leg is over, whoever ended it: Twilio says so, sooner or later, sometimes twice.
    pub fn leg_ends(&mut self) {
        if !std::mem::replace(&mut self.caller.on_the_line, false) {
            return;
        }
        self.tell(|| "the caller's leg is over".into());
        for _ in 0..self.chance.between(1, 2) {
            let wait = self.chance.between(0, 2_000);
            self.after(wait, |w| {
                let fx = w.roster.status(w.unix(), &"CA1".into(), CallStatus::Completed);
                w.registry_does(fx);
            });
        }
        for owner in 0..self.owners.len() {
            if std::mem::replace(&mut self.owners[owner].stream_open, false) {
                self.post(owner, None, Event::Stream(StreamEvent::Stopped));
            }
        }
        if self.chance.percent(20) {
            self.after(300, |w| w.twilio_asks(None));
        }
    }

    /// We have closed a stream, or it broke: Twilio goes on with the document behind it.
    pub fn stream_is_over(&mut self) {
        let wait = self.chance.between(50, 900);
        self.after(wait, |w| {
            if w.caller.on_the_line {
                w.twilio_asks(None);
            }
        });
    }

    fn break_stream(&mut self) {
        let Some(owner) = self.owners.iter().rposition(|o| o.stream_open) else { return };
        self.owners[owner].stream_open = false;
        let noticed = self.chance.percent(70);
        self.tell(|| format!("-- the stream of owner {owner} breaks, noticed: {noticed}"));
        // A dead peer is noticed by its silence.
        let after = if noticed { 0 } else { 10_000 };
        self.after(after, move |w| w.post(owner, None, Event::Stream(StreamEvent::Broke)));
        if self.chance.percent(12) {
            self.tell(|| "and nobody is ever heard of again".into());
            self.caller.on_the_line = false;
        } else {
            self.stream_is_over();
        }
    }

    fn panic_call(&mut self) {
        let Some(owner) = self.owners.iter().rposition(|o| o.is_live()) else { return };
        self.tell(|| format!("-- the actor of owner {owner} panics"));
        self.tally.panics += 1;
        self.owners[owner].panicked = true;
        self.promises.left_at = Some(self.now);
        if self.owners[owner].facts.epoch.0 == self.database.epoch {
            self.promises.next_owner(&self.database);
        }
        self.close(owner);
        let epoch = self.owners[owner].facts.epoch;
        self.after(1, move |w| {
            let fx = w.roster.died(w.unix(), &"CA1".into(), epoch, &stream_of(epoch));
            w.registry_does(fx);
        });
    }

    /// An owner is no more: nothing it had on its mind happens, and its stream is closed.
    pub fn close(&mut self, owner: usize) {
        self.owners[owner].dismiss();
        if std::mem::replace(&mut self.owners[owner].stream_open, false) {
            self.stream_is_over();
        }
    }

    pub fn call_left(&mut self, left: CallLeft) {
        let lag = self.lag();
        self.after(lag, move |w| {
            let fx = w.roster.left(w.unix(), left);
            w.registry_does(fx);
        });
    }

    fn registry_does(&mut self, effects: Vec<RosterEffect>) {
        for effect in effects {
            match effect {
                RosterEffect::Ended { reason, outcome, .. } => {
                    self.tell(|| format!("== the call has ended: {reason}, {outcome:?}"));
                    *self.tally.ends.entry(reason.as_str()).or_default() += 1;
                    self.promises.ended += 1;
                    assert_eq!(self.promises.ended, 1, "the call ends twice");
                }
                RosterEffect::Ask { reason, .. } => {
                    if let Some(owner) = self.owners.len().checked_sub(1) {
                        self.post(owner, None, Event::End(reason));
                    }
                }
                RosterEffect::Tell { order, .. } => {
                    self.tally.orders += 1;
                    if let Some(owner) = self.owners.len().checked_sub(1) {
                        self.post(owner, None, Event::Staff(order));
                    }
                }
                RosterEffect::Evict { .. } => {
                    if let Some(owner) = self.owners.len().checked_sub(1) {
                        self.post(owner, None, Event::Stream(StreamEvent::Broke));
                    }
                }
            }
        }
    }

    fn sweep(&mut self) {
        let fx = self.roster.sweep(self.unix());
        self.registry_does(fx);
        if self.promises.ended == 0 {
            self.after(1_000, Self::sweep);
        }
    }

    fn watch(&mut self) {
        self.check_waits();
        if self.promises.ended == 0 {
            self.after(100, Self::watch);
        }
    }

    fn crash_now(&mut self, child: Child) {
        if let Some(owner) = self.owners.iter().rposition(|o| o.is_live()) {
            self.crash(owner, child);
        }
    }

    fn check_end(&mut self) {
        assert_eq!(self.promises.ended, 1, "the call has not ended");
        for (i, owner) in self.owners.iter().enumerate() {
            assert!(!owner.is_live(), "owner {i} is still there");
            assert_eq!(owner.leaves, u32::from(!owner.panicked), "owner {i} leaves once");
        }
        self.promises.check_transcript(&self.database);
        self.check_ear();
    }
}

/// The stream that an owner of the call came with.
fn stream_of(epoch: Epoch) -> StreamSid {
    StreamSid::new(format!("MZ{epoch}"))
}
