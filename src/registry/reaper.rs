//! Whether Twilio and we agree on which calls there are, and what is done where we do not.
//!
//! Pure. Either side may have missed a call's end: ours when a stream's `stop` and the status callback were both lost,
//! Twilio's when a hang-up was. Twilio's answers lag behind (`twilio.md` 5.2), so nothing is done that two rounds in a
//! row do not say alike, and nothing ever to a call without an admission record of ours: the account may have others.

use crate::domain::call::CallStatus;
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Most questions of each kind a round: what is beyond waits for the next ones.
const QUESTIONS: usize = 20;
/// Longest pause after failures, in rounds.
const LONGEST_PAUSE: u32 = 16;

/// One of our calls that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHere {
    /// Which.
    pub sid: CallSid,
    /// When it was let in.
    pub admitted_at: UnixMillis,
    /// Its frames arrive: whatever Twilio's list says, it is up.
    pub streaming: bool,
}

/// What is to be found out in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Calls of ours that Twilio's list does not have: how do they stand at Twilio?
    pub ours: Vec<CallSid>,
    /// Calls in Twilio's list that are not open here: what do our records say?
    pub theirs: Vec<CallSid>,
}

/// What Twilio says of a call of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTwilio {
    /// It stands so.
    Stands(CallStatus),
    /// There is no such call.
    Unknown,
    /// Nothing that could be understood.
    Unclear,
}

/// What our records say of a call that Twilio holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing: it is somebody else's.
    None,
    /// It goes on, and somebody has it or may have it.
    Owned,
    /// It goes on, and nobody has it.
    Ownerless {
        /// When it was let in.
        admitted_at: UnixMillis,
    },
    /// It is over.
    Ended {
        /// Since when.
        at: UnixMillis,
    },
}

/// What was found out about a call that Twilio holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub sid: CallSid,
    /// What our records say.
    pub record: Record,
    /// A person is rung for it, or speaks to the caller: it does without us.
    pub has_person: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Twilio has ended it: as if its status callback had come.
    End {
        /// Which.
        sid: CallSid,
        /// How it ended.
        status: CallStatus,
    },
    /// Twilio knows nothing of it: it is lost.
    Lose {
        /// Which.
        sid: CallSid,
    },
    /// We have ended it: Twilio is to hang up.
    HangUp {
        /// Which.
        sid: CallSid,
    },
    /// Nobody has it: Twilio is to ask how to go on.
    Redirect {
        /// Which.
        sid: CallSid,
    },
}

impl Action {
    fn sid(&self) -> &CallSid {
        match self {
            Self::End { sid, .. } | Self::Lose { sid } | Self::HangUp { sid } | Self::Redirect { sid } => sid,
        }
    }
}

/// Compares round by round.
#[derive(Debug)]
pub struct Reaper {
    /// Whatever changed more recently than this is left alone.
    settle: Duration,
    /// What the last round would have done.
    suspects: HashMap<CallSid, Action>,
    /// Where the questions of the last round ended, of each kind and of others' calls by themselves, so that all get their
    /// turn.
    asked_to: [[Option<CallSid>; 2]; 2],
}

impl Reaper {
    /// One that leaves alone whatever changed less than `settle` ago.
    pub fn new(settle: Duration) -> Self {
        Self { settle, suspects: HashMap::new(), asked_to: [[None, None], [None, None]] }
    }

    /// Begins a round: `ours` are the calls open here or, as far as they can be asked, at other replicas; `up` those that
    /// Twilio lists as in progress with our number. Tells about which the two differ; as many as a round may ask about are
    /// chosen by [`Reaper::choose`].
    pub fn begin(&self, now: UnixMillis, ours: &[OpenHere], up: &[CallSid]) -> Questions {
        let listed: BTreeSet<&CallSid> = up.iter().collect();
        let here: BTreeSet<&CallSid> = ours.iter().map(|call| &call.sid).collect();
        let missing = ours
            .iter()
            .filter(|call| self.is_settled(now, call.admitted_at) && !listed.contains(&call.sid))
            .map(|call| call.sid.clone())
            .collect();
        let strange = listed.iter().filter(|sid| !here.contains(*sid)).map(|sid| (*sid).clone()).collect();
        Questions { ours: missing, theirs: strange }
    }

    /// Chooses what this round asks about. Our own calls come first, and those that nobody has: other replicas ask about
    /// `anothers` themselves.
    pub fn choose(&mut self, all: Questions, anothers: &BTreeSet<CallSid>) -> Questions {
        Questions { ours: self.turn(0, all.ours, anothers), theirs: self.turn(1, all.theirs, anothers) }
    }

    /// Ends the round with the answers to its questions: what two rounds in a row have said is to be done.
    pub fn judge(
        &mut self,
        now: UnixMillis,
        ours: &[OpenHere],
        answers: &[(CallSid, AtTwilio)],
        found: &[Found],
    ) -> Vec<Action> {
        let streaming = |sid: &CallSid| ours.iter().any(|call| call.sid == *sid && call.streaming);
        let of_ours = answers.iter().filter_map(|(sid, answer)| {
            let sid = sid.clone();
            match answer {
                AtTwilio::Stands(status) if status.is_terminal() => {
                    Some(Action::End { sid, status: *status })
                }
                // A wrong region or account knows none of our calls; one that we hear is there all the same.
                AtTwilio::Unknown if !streaming(&sid) => Some(Action::Lose { sid }),
                AtTwilio::Stands(_) | AtTwilio::Unknown | AtTwilio::Unclear => None,
            }
        });
        let of_theirs = found.iter().filter(|found| !found.has_person).filter_map(|found| {
            let sid = found.sid.clone();
            match found.record {
                Record::Ended { at } if self.is_settled(now, at) => Some(Action::HangUp { sid }),
                Record::Ownerless { admitted_at } if self.is_settled(now, admitted_at) => {
                    Some(Action::Redirect { sid })
                }
                Record::Ended { .. } | Record::Ownerless { .. } | Record::Owned | Record::None => None,
            }
        });
        let doubts: Vec<Action> = of_ours.chain(of_theirs).collect();
        let (due, new) = doubts.into_iter().partition(|doubt| self.suspects.get(doubt.sid()) == Some(doubt));
        // What is done is forgotten: should it not help, it takes two rounds again.
        self.suspects = Vec::into_iter(new).map(|doubt: Action| (doubt.sid().clone(), doubt)).collect();
        due
    }

    fn is_settled(&self, now: UnixMillis, since: UnixMillis) -> bool {
        since.after(self.settle) <= now
    }

    fn turn(&mut self, kind: usize, all: Vec<CallSid>, anothers: &BTreeSet<CallSid>) -> Vec<CallSid> {
        let (others, own): (Vec<_>, Vec<_>) = all.into_iter().partition(|sid| anothers.contains(sid));
        let Some([own_to, others_to]) = self.asked_to.get_mut(kind) else { return Vec::new() };
        let mut picked = pick(own, &self.suspects, own_to, QUESTIONS);
        let room = QUESTIONS.saturating_sub(picked.len());
        picked.extend(pick(others, &self.suspects, others_to, room));
        picked
    }
}

/// Picks as many as there is room for: those under suspicion first, then on from where the last round ended.
fn pick(
    mut all: Vec<CallSid>,
    suspects: &HashMap<CallSid, Action>,
    asked_to: &mut Option<CallSid>,
    room: usize,
) -> Vec<CallSid> {
    all.sort();
    if let Some(last) = asked_to {
        let beyond = all.partition_point(|sid| sid <= last);
        all.rotate_left(beyond);
    }
    let (mut picked, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|sid| suspects.contains_key(sid));
    picked.truncate(room);
    let next: Vec<CallSid> = rest.into_iter().take(room.saturating_sub(picked.len())).collect();
    if let Some(last) = next.last() {
        *asked_to = Some(last.clone());
    }
    picked.extend(next);
    picked
}

/// How long it is until the next round: longer and longer while Twilio does not answer.
pub fn pause(every: Duration, failures: u32) -> Duration {
    every.saturating_mul(2_u32.saturating_pow(failures).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(60);
    const NOW: UnixMillis = UnixMillis(10_000_000);

    fn sid(name: &str) -> CallSid {
        CallSid::from(name)
    }

    fn ago(seconds: i64) -> UnixMillis {
        UnixMillis(NOW.0 - seconds * 1_000)
    }

    fn open(name: &str, seconds: i64) -> OpenHere {
        OpenHere { sid: sid(name), admitted_at: ago(seconds), streaming: false }
    }

    fn found(name: &str, record: Record) -> Found {
        Found { sid: sid(name), record, has_person: false }
    }

    fn named(prefix: &str, n: usize) -> Vec<CallSid> {
        (0..n).map(|n| sid(&format!("{prefix}{n:02}"))).collect()
    }

    /// The same answers in a number of rounds: what each does.
    fn rounds(
        ours: &[OpenHere],
        answers: &[(CallSid, AtTwilio)],
        found: &[Found],
        n: usize,
    ) -> Vec<Vec<Action>> {
        let mut reaper = Reaper::new(SETTLE);
        (0..n)
            .map(|_| {
                let up: Vec<CallSid> = found.iter().map(|f| f.sid.clone()).collect();
                reaper.begin(NOW, ours, &up);
                reaper.judge(NOW, ours, answers, found)
            })
            .collect()
    }

    #[test]
    fn only_calls_on_which_the_two_sides_differ_are_asked_about() {
        let reaper = Reaper::new(SETTLE);
        let ours = [open("CA-both", 100), open("CA-missing", 100), open("CA-young", 59)];
        let questions = reaper.begin(NOW, &ours, &[sid("CA-both"), sid("CA-strange")]);
        assert_eq!(questions, Questions { ours: vec![sid("CA-missing")], theirs: vec![sid("CA-strange")] });
    }

    #[test]
    fn what_is_done_is_decided_by_the_answer_and_only_the_second_time() {
        use CallStatus::*;
        let end = |status| Some(Action::End { sid: sid("CA1"), status });
        for (answer, expected) in [
            (AtTwilio::Stands(Completed), end(Completed)),
            (AtTwilio::Stands(Failed), end(Failed)),
            (AtTwilio::Stands(Busy), end(Busy)),
            (AtTwilio::Stands(NoAnswer), end(NoAnswer)),
            (AtTwilio::Stands(Canceled), end(Canceled)),
            (AtTwilio::Stands(InProgress), None),
            (AtTwilio::Stands(Ringing), None),
            (AtTwilio::Stands(Queued), None),
            (AtTwilio::Unknown, Some(Action::Lose { sid: sid("CA1") })),
            (AtTwilio::Unclear, None),
        ] {
            let done = rounds(&[open("CA1", 100)], &[(sid("CA1"), answer)], &[], 3);
            let expected: Vec<Action> = expected.into_iter().collect();
            // What did not help is confirmed twice again.
            assert_eq!(done, [vec![], expected, vec![]], "{answer:?}");
        }
    }

    #[test]
    fn what_twilio_holds_is_decided_by_our_record() {
        let hang_up = Some(Action::HangUp { sid: sid("CA1") });
        let redirect = Some(Action::Redirect { sid: sid("CA1") });
        for (record, expected) in [
            (Record::None, None),
            (Record::Owned, None),
            (Record::Ended { at: ago(60) }, hang_up),
            // Twilio may still be saying our last words.
            (Record::Ended { at: ago(59) }, None),
            (Record::Ownerless { admitted_at: ago(60) }, redirect),
            (Record::Ownerless { admitted_at: ago(59) }, None),
        ] {
            let done = rounds(&[], &[], &[found("CA1", record)], 2);
            assert_eq!(done, [vec![], expected.into_iter().collect::<Vec<_>>()], "{record:?}");
        }
    }

    #[test]
    fn a_caller_who_speaks_to_a_person_is_left_alone() {
        for record in [Record::Ended { at: ago(600) }, Record::Ownerless { admitted_at: ago(600) }] {
            let talking = Found { has_person: true, ..found("CA1", record) };
            assert_eq!(rounds(&[], &[], &[talking], 4).concat(), []);
        }
    }

    #[test]
    fn a_call_that_is_heard_is_not_lost_because_twilio_does_not_know_it() {
        let heard = OpenHere { streaming: true, ..open("CA1", 100) };
        let ours = std::slice::from_ref(&heard);
        assert_eq!(rounds(ours, &[(sid("CA1"), AtTwilio::Unknown)], &[], 4).concat(), []);
        let over = (sid("CA1"), AtTwilio::Stands(CallStatus::Completed));
        assert_eq!(rounds(ours, &[over], &[], 2).concat().len(), 1);
    }

    #[test]
    fn an_answer_in_between_that_says_otherwise_begins_anew() {
        let mut reaper = Reaper::new(SETTLE);
        let ours = [open("CA1", 100)];
        let says = |reaper: &mut Reaper, status| {
            reaper.begin(NOW, &ours, &[]);
            reaper.judge(NOW, &ours, &[(sid("CA1"), AtTwilio::Stands(status))], &[])
        };
        assert_eq!(says(&mut reaper, CallStatus::Completed), []);
        assert_eq!(says(&mut reaper, CallStatus::InProgress), []);
        assert_eq!(says(&mut reaper, CallStatus::Completed), []);
        // Another ending is another statement.
        assert_eq!(says(&mut reaper, CallStatus::Failed), []);
        assert_eq!(says(&mut reaper, CallStatus::Failed).len(), 1);
    }

    #[test]
    fn a_round_asks_about_a_bounded_number_and_all_get_their_turn() {
        let mut reaper = Reaper::new(SETTLE);
        let ours: Vec<OpenHere> = (0..50).map(|n| open(&format!("CA{n:02}"), 100)).collect();
        let mut asked = BTreeSet::new();
        let nobody = BTreeSet::new();
        for _ in 0..3 {
            let all = reaper.begin(NOW, &ours, &[]);
            let questions = reaper.choose(all, &nobody);
            assert_eq!(questions.ours.len(), QUESTIONS);
            asked.extend(questions.ours);
        }
        assert_eq!(asked.len(), 50);
        // One under suspicion is asked about in the very next round, whoever's turn it is.
        let all = reaper.begin(NOW, &ours, &[]);
        let first = reaper.choose(all.clone(), &nobody).ours.remove(0);
        reaper.judge(NOW, &ours, &[(first.clone(), AtTwilio::Unknown)], &[]);
        let next = reaper.choose(all, &nobody).ours;
        assert!(next.contains(&first) && next.len() == QUESTIONS, "{next:?}");
    }

    #[test]
    fn our_own_calls_and_nobodys_are_asked_about_before_those_of_other_replicas() {
        let (own, others) = (named("CB", 5), named("CA", 60));
        let anothers: BTreeSet<CallSid> = others.iter().cloned().collect();
        let mixed: Vec<CallSid> = others.iter().chain(&own).cloned().collect();
        let ours: Vec<OpenHere> = mixed.iter().map(|sid| open(sid.as_str(), 100)).collect();
        for theirs in [false, true] {
            let mut reaper = Reaper::new(SETTLE);
            let of = |questions: Questions| if theirs { questions.theirs } else { questions.ours };
            let mut asked = BTreeSet::new();
            for round in 0..4 {
                let all = match theirs {
                    true => reaper.begin(NOW, &[], &mixed),
                    false => reaper.begin(NOW, &ours, &[]),
                };
                let questions = of(reaper.choose(all, &anothers));
                assert_eq!(questions.len(), QUESTIONS, "{round}");
                assert_eq!(&questions[..5], &own[..], "{round}: whoever else there is");
                asked.extend(questions);
            }
            assert_eq!(asked.len(), 65, "those of others have their turn in the room that is left");
        }
    }

    #[test]
    fn a_suspicion_about_anothers_call_takes_no_turn_from_our_own() {
        let mut reaper = Reaper::new(SETTLE);
        let others = named("CA", 30);
        let anothers: BTreeSet<CallSid> = others.iter().cloned().collect();
        let unknown: Vec<_> = others.iter().map(|sid| (sid.clone(), AtTwilio::Unknown)).collect();
        reaper.judge(NOW, &[], &unknown, &[]);
        let all = Questions { ours: others.into_iter().chain(named("CB", 25)).collect(), theirs: Vec::new() };
        let first = reaper.choose(all.clone(), &anothers).ours;
        assert!(first.iter().all(|sid| sid.as_str().starts_with("CB")), "{first:?}");
        let second = reaper.choose(all, &anothers).ours;
        assert!(second.iter().all(|sid| sid.as_str().starts_with("CB")) && second != first, "{second:?}");
    }

    #[test]
    fn a_round_that_failed_is_followed_by_longer_and_longer_pauses() {
        let every = Duration::from_secs(60);
        let pauses: Vec<u64> = (0..7).map(|failures| pause(every, failures).as_secs()).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 960, 960]);
        assert_eq!(pause(every, u32::MAX).as_secs(), 960);
    }
}
