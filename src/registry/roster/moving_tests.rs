//! Calls that move between rosters, with lost questions and answers, replicas that die and such as were only thought dead.

use super::super::*;
use super::Baggage;
use crate::call::messages::{CallLeft, Departure};
use crate::domain::call::{CallKind, CallStatus, Direction};
use crate::domain::ids::ReplicaId;
use crate::domain::phone::CallerId;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    max_calls: 5,
    reservation: Duration::from_secs(60),
    suspend: Duration::from_secs(30),
    max_breaks: 1_000,
};

fn now(s: i64) -> UnixMillis {
    UnixMillis(s * 1_000)
}

fn id(n: usize) -> ReplicaId {
    ReplicaId::from_bits(n as u64)
}

fn sid() -> CallSid {
    "CA1".into()
}

fn new_call() -> NewCall {
    NewCall {
        sid: sid(),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Withheld,
        business_number: "+12025550100".into(),
        admission: "a1".into(),
        unaffordable: false,
        lagging: false,
    }
}

fn stream(epoch: u32) -> StreamSid {
    StreamSid::new(format!("MZ{epoch}"))
}

fn left(epoch: Epoch, departure: Departure) -> CallLeft {
    let resume = ResumeState { facts: vec![format!("epoch {epoch}")], ..ResumeState::default() };
    let outcome = Outcome::default();
    CallLeft { sid: sid(), epoch, departure, outcome, resume: Box::new(resume) }
}

fn reserved() -> Roster {
    let mut roster = Roster::new(LIMITS);
    assert!(matches!(roster.admit(now(0), new_call()).0, Admitted::New(_)));
    roster
}

fn hand_over(roster: &mut Roster, at: i64, epoch: u32) -> Result<Box<Baggage>, Refusal> {
    roster.hand_over(now(at), &sid(), &"a1".into(), Epoch(epoch), &id(2))
}

#[test]
fn a_call_that_was_handed_over_is_there_and_not_here() {
    let mut from = reserved();
    from.claim(now(0), &sid(), &"a1".into(), Epoch(1), &stream(1));
    from.known(&sid(), Customer { id: 7, name: None, phone: None, email: None, notes: None });
    from.left(now(1), left(Epoch(1), Departure::Broke));
    assert_eq!(hand_over(&mut from, 2, 1), Err(Refusal::Spent), "its next stream is not awaited yet");
    from.go_on(now(2), &sid(), None, None);
    assert_eq!(hand_over(&mut from, 2, 1), Err(Refusal::Spent), "the token is an old one");
    let foreign = from.hand_over(now(2), &sid(), &"a2".into(), Epoch(2), &id(2));
    assert_eq!(foreign, Err(Refusal::Unknown));
    let baggage = hand_over(&mut from, 3, 2).unwrap();
    assert_eq!((from.facts(&sid()), from.occupied(), from.count().open), (None, 0, 0));
    assert_eq!(from.moved(&sid()), Some(Some(&id(2))));
    assert_eq!(hand_over(&mut from, 3, 2), Err(Refusal::Spent), "once");
    assert!(from.left(now(3), left(Epoch(1), Departure::Broke)).is_empty(), "too late");
    assert!(from.sweep(now(300)).is_empty(), "it is not ours to end");
    from.sweep(now(700));
    assert_eq!(from.moved(&sid()), None);
    // There.
    let mut to = Roster::new(LIMITS);
    to.take_in(now(4), *baggage, &id(1));
    let told: Vec<String> = to.news(&sid()).into_iter().map(|event| event.code).collect();
    assert_eq!(told, ["call.moved"]);
    assert_eq!(to.list()[0].customer.as_ref().map(|customer| customer.id), Some(7));
    let claimed = to.claim(now(4), &sid(), &"a1".into(), Epoch(2), &stream(2));
    let Claimed::Granted { resume: Some(resume), facts, .. } = claimed else { panic!("{claimed:?}") };
    assert_eq!((resume.facts[0].as_str(), facts.epoch), ("epoch 1", Epoch(2)));
    // Back again.
    to.left(now(5), left(Epoch(2), Departure::Broke));
    to.go_on(now(6), &sid(), None, None);
    let back = to.hand_over(now(6), &sid(), &"a1".into(), Epoch(3), &id(1)).unwrap();
    assert_eq!(back.breaks, 2);
    from.take_in(now(6), *back, &id(2));
    assert_eq!(from.moved(&sid()), None);
    assert!(matches!(
        from.claim(now(6), &sid(), &"a1".into(), Epoch(3), &stream(3)),
        Claimed::Granted { .. }
    ));
}

#[test]
fn a_stale_owner_falls_silent_and_a_newer_one_stays() {
    let mut roster = reserved();
    roster.claim(now(0), &sid(), &"a1".into(), Epoch(1), &stream(1));
    assert!(roster.fenced(now(1), &"CA9".into(), Epoch(9)).is_empty());
    let effects = roster.fenced(now(1), &sid(), Epoch(1));
    assert!(matches!(effects.as_slice(), [RosterEffect::Evict { .. }]), "{effects:?}");
    assert!(roster.left(now(2), left(Epoch(1), Departure::Broke)).is_empty());
    assert!(roster.sweep(now(500)).is_empty(), "no end is told");
    assert_eq!(roster.moved(&sid()), Some(None));
    // What an owner before ours wrote too late.
    let mut roster = reserved();
    roster.claim(now(0), &sid(), &"a1".into(), Epoch(1), &stream(1));
    roster.go_on(now(1), &sid(), None, None);
    assert!(roster.fenced(now(2), &sid(), Epoch(1)).is_empty());
    assert_eq!(roster.facts(&sid()).map(|facts| facts.epoch), Some(Epoch(2)));
}

#[test]
fn what_is_decided_is_told_once_and_recalled() {
    let decided = |next| Departure::Decided { next, reason: None };
    let mut roster = reserved();
    assert_eq!(roster.to_store(&sid()), None);
    roster.claim(now(0), &sid(), &"a1".into(), Epoch(1), &stream(1));
    roster.left(now(1), left(Epoch(1), decided(NextStep::Dial { say: Some("One moment.".into()) })));
    let dial = Kept::Dial { say: Some("One moment.".into()), to: None };
    assert_eq!(roster.to_store(&sid()), Some((Epoch(1), Some(dial.clone()))));
    assert_eq!(roster.to_store(&sid()), None, "once");
    roster.go_on(now(2), &sid(), None, None);
    let dialling = Kept::Dialling { say: Some("One moment.".into()), to: None };
    assert_eq!(roster.all_to_store(), [(sid(), Epoch(1), Some(dialling.clone()))]);
    roster.go_on(now(3), &sid(), None, Some(DialResult::Unanswered));
    assert_eq!(roster.to_store(&sid()), Some((Epoch(2), None)));
    // Last words stay with a call that is over.
    roster.claim(now(4), &sid(), &"a1".into(), Epoch(2), &stream(2));
    let goodbye = NextStep::HangUp { say: Some("Goodbye.".into()) };
    roster.left(now(5), left(Epoch(2), decided(goodbye)));
    let kept = roster.to_store(&sid()).unwrap().1.unwrap();
    assert!(matches!(kept.clone().onward(), Onward::HangUp { say: Some(words) } if words == "Goodbye."));
    roster.go_on(now(6), &sid(), None, None);
    assert_eq!(roster.to_store(&sid()), None);
    // Somebody else goes on with it.
    let facts = reserved().facts(&sid()).unwrap().clone();
    for (kept, dial) in [(dial, true), (dialling, true), (kept, false)] {
        let stored: Kept = serde_json::from_value(serde_json::to_value(&kept).unwrap()).unwrap();
        assert_eq!(stored, kept);
        let mut other = Roster::new(LIMITS);
        other.adopt(now(0), facts.clone(), Outcome::default(), None);
        other.recall(now(0), &sid(), stored);
        assert_eq!(other.to_store(&sid()), None, "it is stored");
        assert!(!other.is_forsaken(&sid()), "Twilio asks by itself");
        assert_eq!(matches!(other.go_on(now(1), &sid(), None, None).0, Onward::Dial { .. }), dial);
    }
    let newer: Kept = serde_json::from_str(r#"{"next":"sing","song":1}"#).unwrap();
    assert_eq!(newer, Kept::Other);
}

#[test]
fn one_that_still_rings_is_waited_for() {
    let mut roster = Roster::new(LIMITS);
    let facts = CallFacts { direction: Direction::Outbound, ..reserved().facts(&sid()).unwrap().clone() };
    roster.adopt(now(0), facts, Outcome::default(), None);
    assert!(roster.is_forsaken(&sid()));
    roster.recall_ringing(now(0), &sid());
    assert!(!roster.is_forsaken(&sid()));
    assert!(roster.sweep(now(600)).is_empty());
    assert!(matches!(roster.admit_again(now(601), &sid()), Some((Admitted::Again(_), _))));
}

#[test]
fn live_calls_let_go_once_and_those_that_come_later_stay_a_while() {
    let mut roster = reserved();
    assert!(roster.let_go_all(now(100)).is_empty(), "it has no stream");
    roster.claim(now(5), &sid(), &"a1".into(), Epoch(1), &stream(1));
    assert!(roster.let_go_all(now(5)).is_empty());
    assert_eq!(roster.let_go_all(now(6)), [sid()]);
    assert!(roster.is_letting_go(&sid()) && roster.let_go_all(now(7)).is_empty());
    roster.left(now(8), left(Epoch(1), Departure::Broke));
    roster.go_on(now(9), &sid(), None, None);
    roster.claim(now(10), &sid(), &"a1".into(), Epoch(2), &stream(2));
    assert!(!roster.is_letting_go(&sid()));
}

#[test]
fn a_token_alone_counts_where_nobody_can_be_asked() {
    let facts = CallFacts { epoch: Epoch(3), ..reserved().facts(&sid()).unwrap().clone() };
    let mut roster = Roster::new(LIMITS);
    assert!(matches!(roster.vouch(now(0), facts.clone(), &stream(3)), Claimed::Granted { .. }));
    assert!(matches!(roster.vouch(now(0), facts.clone(), &stream(4)), Claimed::Refused(Refusal::Spent)));
    assert_eq!(roster.news(&sid())[0].code, "call.vouched");
    let mut closing = Roster::new(LIMITS);
    closing.release();
    assert!(matches!(closing.vouch(now(0), facts, &stream(3)), Claimed::Refused(_)));
}

// --- several of them -----------------------------------------------------------------------------------------------

/// What the database keeps, as `db` does it.
#[derive(Debug)]
struct Row {
    owner: usize,
    epoch: Epoch,
    ends: u32,
    answered: bool,
    kept: Option<Kept>,
}

struct Several {
    at: i64,
    rosters: Vec<Roster>,
    row: Row,
    /// Owners that were let in by their database: epoch and replica.
    granted: Vec<(Epoch, usize)>,
    /// Tokens that were given out.
    tokens: Vec<Epoch>,
}

/// What happens to a question.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fine,
    Lost,
    AnswerLost,
}

#[derive(Clone, Debug)]
enum Step {
    Stream(usize, usize, Fate),
    GoOn(usize, Fate),
    Status(usize, Fate),
    Left(usize, u8),
    Die(usize),
    Lapse(usize, usize),
    Sweep(usize),
    Time(u8),
}

impl Several {
    fn new() -> Self {
        let mut rosters: Vec<Roster> = (0..3).map(|_| Roster::new(LIMITS)).collect();
        rosters[0].admit(now(0), new_call());
        let row = Row { owner: 0, epoch: Epoch(1), ends: 0, answered: false, kept: None };
        Self { at: 0, rosters, row, granted: Vec::new(), tokens: vec![Epoch(1)] }
    }

    fn now(&self) -> UnixMillis {
        now(self.at)
    }

    /// A write was refused: whoever wrote hears up to which epoch it is stale.
    fn fence(&mut self, i: usize) {
        let (t, epoch) = (self.now(), self.row.epoch);
        self.rosters[i].fenced(t, &sid(), epoch);
    }

    fn is_stale(&self, i: usize, epoch: Epoch) -> bool {
        epoch < self.row.epoch || epoch == self.row.epoch && self.row.owner != i
    }

    fn perform(&mut self, i: usize, effects: Vec<RosterEffect>) {
        if let Some((epoch, kept)) = self.rosters[i].to_store(&sid()) {
            if self.is_stale(i, epoch) {
                self.fence(i);
            } else {
                (self.row.owner, self.row.epoch, self.row.kept) = (i, epoch, kept);
            }
        }
        for effect in effects {
            let RosterEffect::Ended { facts, .. } = effect else { continue };
            if self.row.owner == i {
                assert!(facts.epoch >= self.row.epoch, "a stale owner ends the call");
                // Only the first end counts.
                self.row.ends = 1;
            } else {
                self.fence(i);
            }
        }
    }

    /// A write that makes `i` the owner.
    fn own(&mut self, i: usize, epoch: Epoch, handed: bool) {
        if self.is_stale(i, epoch) && !(handed && epoch == self.row.epoch) {
            return self.fence(i);
        }
        assert!(!self.granted.contains(&(epoch, i)), "epoch {epoch} has a stream at {i} already");
        assert!(self.granted.iter().all(|(known, _)| *known != epoch), "epoch {epoch} has two owners");
        self.granted.push((epoch, i));
        (self.row.owner, self.row.epoch, self.row.answered) = (i, epoch, true);
    }

    /// The database gives the call to `i`; what it was before.
    fn take_over(&mut self, i: usize) -> Option<(Epoch, bool)> {
        if self.row.ends > 0 {
            return None;
        }
        let before = (self.row.epoch, self.row.answered);
        (self.row.owner, self.row.epoch) = (i, self.row.epoch.next());
        let facts = CallFacts { epoch: self.row.epoch, ..reserved().facts(&sid()).unwrap().clone() };
        let t = self.now();
        self.rosters[i].fenced(t, &sid(), before.0);
        self.rosters[i].adopt(t, facts, Outcome::default(), None);
        if let Some(kept) = self.row.kept.clone() {
            self.rosters[i].recall(t, &sid(), kept);
        }
        Some(before)
    }

    /// The owner that has a stream at a replica.
    fn live(&self, i: usize) -> Option<Epoch> {
        let epoch = self.rosters[i].facts(&sid())?.epoch;
        (self.rosters[i].standing(&sid(), epoch) == Standing::Current).then_some(epoch)
    }

    fn knows(&self, i: usize) -> bool {
        self.rosters[i].facts(&sid()).is_some()
    }

    /// Who is asked, if there is somebody, and the question gets there.
    fn asked(&self, i: usize, fate: Fate) -> Option<usize> {
        let owner = self.row.owner;
        if fate == Fate::Lost || owner == i {
            return None;
        }
        match self.rosters[owner].moved(&sid()) {
            Some(Some(to)) => (0..3).find(|n| id(*n) == *to).filter(|n| *n != i && self.knows(*n)),
            _ => Some(owner).filter(|n| self.knows(*n)),
        }
    }

    fn claim(&mut self, i: usize, epoch: Epoch, handed: bool) {
        let t = self.now();
        let claimed = self.rosters[i].claim(t, &sid(), &"a1".into(), epoch, &stream(epoch.0));
        if let Claimed::Granted { facts, .. } = claimed {
            self.own(i, facts.epoch, handed);
        }
    }

    fn stream(&mut self, i: usize, token: Epoch, fate: Fate) {
        let t = self.now();
        if self.knows(i) {
            return self.claim(i, token, false);
        }
        if self.row.ends > 0 {
            return;
        }
        if let Some(owner) = self.asked(i, fate) {
            match self.rosters[owner].hand_over(t, &sid(), &"a1".into(), token, &id(i)) {
                Ok(baggage) if fate == Fate::Fine => {
                    self.rosters[i].take_in(t, *baggage, &id(owner));
                    return self.claim(i, token, true);
                }
                Err(_) if fate == Fate::Fine => return,
                _ => {}
            }
        }
        let Some((before, answered)) = self.take_over(i) else { return };
        if token > before || token == before && token == Epoch(1) && !answered {
            self.rosters[i].expect(t, &sid(), token);
            let epoch = self.rosters[i].facts(&sid()).map_or(token, |facts| facts.epoch);
            self.claim(i, epoch, false);
        }
    }

    fn ask(&mut self, i: usize, fate: Fate, work: impl Fn(&mut Roster, UnixMillis) -> Vec<RosterEffect>) {
        let t = self.now();
        let mut at = i;
        if !self.knows(i) {
            if self.row.ends > 0 {
                return;
            }
            match self.asked(i, fate) {
                Some(owner) => {
                    at = owner;
                    if fate == Fate::AnswerLost {
                        let effects = work(&mut self.rosters[owner], t);
                        self.perform(owner, effects);
                        if self.take_over(i).is_none() {
                            return;
                        }
                        at = i;
                    }
                }
                None if self.take_over(i).is_none() => return,
                None => {}
            }
        }
        let effects = work(&mut self.rosters[at], t);
        self.perform(at, effects);
    }

    fn step(&mut self, step: Step) {
        let t = self.now();
        match step {
            Step::Stream(i, token, fate) => {
                let token = self.tokens[token % self.tokens.len()];
                self.stream(i, token, fate);
            }
            Step::GoOn(i, fate) => {
                let given = std::cell::Cell::new(None);
                self.ask(i, fate, |roster, t| {
                    let (onward, effects) = roster.go_on(t, &sid(), Some(CallStatus::InProgress), None);
                    if let Onward::Reconnect(facts) = onward {
                        given.set(Some(facts.epoch));
                    }
                    effects
                });
                self.tokens.extend(given.get());
            }
            Step::Status(i, fate) => {
                self.ask(i, fate, |roster, t| roster.status(t, &sid(), CallStatus::Completed));
            }
            Step::Left(i, how) => {
                let Some(epoch) = self.live(i) else { return };
                let departure = match how {
                    0 | 1 => Departure::Broke,
                    2 => Departure::Decided { next: NextStep::HangUp { say: None }, reason: None },
                    _ => Departure::Decided { next: NextStep::Dial { say: None }, reason: None },
                };
                let effects = self.rosters[i].left(t, left(epoch, departure));
                self.perform(i, effects);
            }
            Step::Die(i) => self.rosters[i] = Roster::new(LIMITS),
            // Whether it is dead, or only thought so.
            Step::Lapse(i, of) => {
                if i != of && self.row.owner == of && !self.knows(i) {
                    self.take_over(i);
                }
            }
            Step::Sweep(i) => {
                let effects = self.rosters[i].sweep(t);
                self.perform(i, effects);
            }
            Step::Time(seconds) => self.at += i64::from(seconds),
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![4 => Just(Fate::Fine), 1 => Just(Fate::Lost), 1 => Just(Fate::AnswerLost)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3, 0usize..9, fate()).prop_map(|(i, t, f)| Step::Stream(i, t, f)),
        6 => (0usize..3, fate()).prop_map(|(i, f)| Step::GoOn(i, f)),
        1 => (0usize..3, fate()).prop_map(|(i, f)| Step::Status(i, f)),
        5 => (0usize..3, 0u8..4).prop_map(|(i, how)| Step::Left(i, how)),
        1 => (0usize..3).prop_map(Step::Die),
        2 => (0usize..3, 0usize..3).prop_map(|(i, of)| Step::Lapse(i, of)),
        3 => (0usize..3).prop_map(Step::Sweep),
        3 => (0u8..20).prop_map(Step::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever is lost and whoever dies: of each epoch there is one owner, and the call ends, once.
    #[test]
    fn a_call_has_one_owner_per_epoch_and_ends_once(steps in proptest::collection::vec(step(), 0..80)) {
        let mut several = Several::new();
        for step in steps {
            several.step(step);
        }
        // Nobody is heard of any more: whoever is there takes over what is left, and closes it.
        for _ in 0..3 {
            for i in 0..3 {
                if several.row.ends == 0 && !several.knows(several.row.owner) {
                    several.take_over(i);
                }
                several.step(Step::Left(i, 0));
                several.at += 20_000;
                several.step(Step::Sweep(i));
            }
        }
        prop_assert_eq!(several.row.ends, 1, "{:?}", several.row);
    }
}
