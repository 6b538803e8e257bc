use super::*;
use crate::call::messages::{CallLeft, Departure, StaffOrder};
use crate::domain::call::{CallKind, CallStatus, Direction};
use crate::domain::phone::CallerId;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    max_calls: 2,
    reservation: Duration::from_secs(60),
    suspend: Duration::from_secs(30),
    max_breaks: 3,
};

fn now(s: i64) -> UnixMillis {
    UnixMillis(s * 1_000)
}

fn new_call(sid: &str) -> NewCall {
    NewCall {
        sid: sid.into(),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Withheld,
        business_number: "+12025550100".into(),
        admission: AdmissionId::from("a1"),
        unaffordable: false,
        lagging: false,
    }
}

fn left(sid: &str, epoch: u32, departure: Departure) -> CallLeft {
    CallLeft {
        sid: sid.into(),
        epoch: Epoch(epoch),
        departure,
        outcome: Outcome::default(),
        resume: Box::default(),
    }
}

/// The stream of `epoch` shows its token.
fn claim(roster: &mut Roster, at: i64, epoch: u32) -> Claimed {
    roster.claim(now(at), &"CA1".into(), &"a1".into(), Epoch(epoch), &stream(epoch))
}

fn stream(epoch: u32) -> StreamSid {
    StreamSid::new(format!("MZ{epoch}"))
}

fn live() -> Roster {
    let mut roster = Roster::new(LIMITS);
    assert!(matches!(roster.admit(now(0), new_call("CA1")).0, Admitted::New(_)));
    assert!(matches!(claim(&mut roster, 0, 1), Claimed::Granted { .. }));
    roster
}

fn ends(effects: &[RosterEffect]) -> Vec<EndReason> {
    effects
        .iter()
        .filter_map(|e| match e {
            RosterEffect::Ended { reason, .. } => Some(*reason),
            RosterEffect::Ask { .. } | RosterEffect::Tell { .. } | RosterEffect::Evict { .. } => None,
        })
        .collect()
}

#[test]
fn whoever_is_known_to_be_on_a_call_is_listed_with_it() {
    let mut roster = live();
    assert_eq!(roster.list()[0].customer, None);
    let maria = crate::domain::appointment::Customer {
        id: 7,
        name: Some("Maria".into()),
        phone: None,
        email: None,
        notes: None,
    };
    roster.known(&"CA1".into(), maria.clone());
    roster.known(&"CA9".into(), maria.clone());
    assert_eq!(roster.list().len(), 1);
    assert_eq!(roster.list()[0].customer, Some(maria));
}

#[test]
fn a_repeated_webhook_gets_the_same_admission_and_an_unspent_token() {
    let mut roster = Roster::new(LIMITS);
    let Admitted::New(first) = roster.admit(now(0), new_call("CA1")).0 else { panic!() };
    let again = NewCall { admission: "a2".into(), ..new_call("CA1") };
    let Admitted::Again(second) = roster.admit(now(1), again).0 else { panic!() };
    assert_eq!(first.admission, second.admission);
    assert!(matches!(claim(&mut roster, 6, 1), Claimed::Granted { .. }));
    assert!(matches!(claim(&mut roster, 6, 1), Claimed::Refused(Refusal::Spent)));
}

#[test]
fn over_the_ceiling_a_call_is_refused_until_one_ends() {
    let mut roster = Roster::new(LIMITS);
    roster.admit(now(0), new_call("CA1"));
    roster.admit(now(0), new_call("CA2"));
    assert!(matches!(roster.admit(now(0), new_call("CA3")).0, Admitted::Full));
    roster.status(now(1), &"CA1".into(), CallStatus::Completed);
    assert!(matches!(roster.admit(now(1), new_call("CA3")).0, Admitted::New(_)));
}

#[test]
fn a_broken_stream_is_resumed_with_a_new_epoch_and_the_old_token_is_spent() {
    let mut roster = live();
    roster.left(now(5), left("CA1", 1, Departure::Broke));
    let (onward, _) = roster.go_on(now(6), &"CA1".into(), Some(CallStatus::InProgress), None);
    let Onward::Reconnect(facts) = onward else { panic!("{onward:?}") };
    assert_eq!(facts.epoch, Epoch(2));
    assert!(matches!(claim(&mut roster, 6, 1), Claimed::Refused(Refusal::Spent)));
    let Claimed::Granted { resume, .. } = claim(&mut roster, 6, 2) else { panic!() };
    assert!(resume.is_some());
}

#[test]
fn twilio_may_notice_a_broken_stream_before_we_do() {
    let mut roster = live();
    let (onward, effects) = roster.go_on(now(5), &"CA1".into(), Some(CallStatus::InProgress), None);
    assert!(matches!(onward, Onward::Reconnect(_)));
    assert!(matches!(effects.as_slice(), [RosterEffect::Evict { .. }]));
    let mut state = left("CA1", 1, Departure::Broke);
    state.resume.facts.push("known".into());
    roster.left(now(5), state);
    let Claimed::Granted { resume, .. } = claim(&mut roster, 6, 2) else { panic!() };
    assert_eq!(resume.expect("the evicted actor's state").facts, ["known"]);
}

#[test]
fn silence_after_a_broken_stream_ends_the_call_as_lost() {
    let mut roster = live();
    roster.left(now(5), left("CA1", 1, Departure::Broke));
    assert!(roster.sweep(now(34)).is_empty());
    assert_eq!(ends(&roster.sweep(now(35))), [EndReason::Lost]);
    assert!(ends(&roster.sweep(now(36))).is_empty());
}

#[test]
fn a_call_that_breaks_too_often_is_given_up_with_an_apology() {
    let mut roster = live();
    let mut last = None;
    for i in 1..=4 {
        roster.left(now(i), left("CA1", u32::try_from(i).unwrap(), Departure::Broke));
        let (onward, effects) = roster.go_on(now(i), &"CA1".into(), None, None);
        if let Onward::Reconnect(facts) = &onward {
            claim(&mut roster, i, facts.epoch.0);
        }
        last = Some((onward, ends(&effects)));
    }
    let (onward, reasons) = last.unwrap();
    assert!(matches!(onward, Onward::GiveUp));
    assert_eq!(reasons, [EndReason::Apology]);
}

#[test]
fn a_person_who_does_not_answer_brings_the_caller_back_to_the_bot() {
    let mut roster = live();
    let decided = Departure::Decided { next: NextStep::Dial { say: None }, reason: None };
    assert!(roster.left(now(5), left("CA1", 1, decided)).is_empty());
    assert!(matches!(roster.go_on(now(5), &"CA1".into(), None, None).0, Onward::Dial { .. }));
    let (onward, effects) = roster.go_on(now(30), &"CA1".into(), None, Some(DialResult::Unanswered));
    assert!(matches!(onward, Onward::Reconnect(_)));
    assert!(effects.is_empty());
    let Claimed::Granted { resume, .. } = claim(&mut roster, 6, 2) else { panic!() };
    assert!(resume.unwrap().facts[0].contains("did not answer"));
}

/// A call whose person is being rung.
fn dialling() -> Roster {
    let mut roster = live();
    let decided =
        Departure::Decided { next: NextStep::Dial { say: Some("One moment.".into()) }, reason: None };
    let mut state = left("CA1", 1, decided);
    // An actor that promised too much.
    state.outcome.transferred = true;
    state.resume.outcome.transferred = true;
    roster.left(now(5), state);
    assert!(matches!(roster.go_on(now(5), &"CA1".into(), None, None).0, Onward::Dial { .. }));
    roster
}

#[derive(Clone, Copy, Debug)]
enum News {
    Status(CallStatus),
    Asked(Option<CallStatus>, Option<DialResult>),
    Time(i64),
}
use CallStatus::{Completed, InProgress};
use DialResult::{Bridged, Unanswered};
use News::{Asked, Status, Time};

fn told_of(roster: &mut Roster, at: i64, news: &[News]) -> Vec<(EndReason, Outcome)> {
    let sid: CallSid = "CA1".into();
    let mut at = at;
    let mut ended = Vec::new();
    for news in news {
        at += 1;
        let effects = match *news {
            Status(status) => roster.status(now(at), &sid, status),
            Asked(status, dial) => roster.go_on(now(at), &sid, status, dial).1,
            Time(seconds) => {
                at += seconds;
                roster.sweep(now(at))
            }
        };
        ended.extend(effects.into_iter().filter_map(|e| match e {
            RosterEffect::Ended { reason, outcome, .. } => Some((reason, outcome)),
            RosterEffect::Ask { .. } | RosterEffect::Tell { .. } | RosterEffect::Evict { .. } => None,
        }));
    }
    ended
}

#[test]
fn only_a_dial_that_was_bridged_makes_a_transfer() {
    let table: &[(&[News], EndReason)] = &[
        // The person hung up first.
        (&[Asked(Some(InProgress), Some(Bridged))], EndReason::Transferred),
        // The caller hung up first; the callbacks come in any order.
        (&[Asked(Some(Completed), Some(Bridged)), Status(Completed)], EndReason::Transferred),
        (&[Status(Completed), Asked(Some(Completed), Some(Bridged))], EndReason::Transferred),
        (&[Status(Completed), Status(Completed), Asked(None, Some(Bridged))], EndReason::Transferred),
        // The caller hung up while it rang.
        (&[Asked(Some(Completed), Some(Unanswered)), Status(Completed)], EndReason::Completed),
        (&[Status(Completed), Asked(Some(Completed), Some(Unanswered))], EndReason::Completed),
        (&[Status(Completed), Asked(Some(InProgress), Some(Unanswered))], EndReason::Completed),
        // Nobody ever tells how the dial ended.
        (&[Status(Completed), Time(16)], EndReason::Completed),
        (&[Status(CallStatus::Failed)], EndReason::Failed),
    ];
    for (news, expected) in table {
        let ended = told_of(&mut dialling(), 30, news);
        let [(reason, outcome)] = ended.as_slice() else { panic!("{news:?}: {ended:?}") };
        assert_eq!(reason, expected, "{news:?}");
        assert_eq!(outcome.transferred, *expected == EndReason::Transferred, "{news:?}");
        assert_eq!(outcome.follow_up, *expected == EndReason::Completed, "{news:?}");
    }
}

#[test]
fn a_bridged_dial_counts_wherever_the_call_is_thought_to_be() {
    // After a restart: the call was adopted.
    let Admitted::New(facts) = Roster::new(LIMITS).admit(now(0), new_call("CA1")).0 else { panic!() };
    let mut adopted = Roster::new(LIMITS);
    let promised = Outcome { transferred: true, lead_captured: true, ..Outcome::default() };
    adopted.adopt(now(0), facts.clone(), promised, None);
    let ended = told_of(&mut adopted, 1, &[Asked(Some(InProgress), Some(Bridged))]);
    assert_eq!(ended[0].0, EndReason::Transferred);
    assert!(ended[0].1.transferred && ended[0].1.lead_captured);
    // Not bridged: whatever was promised before.
    let mut adopted = Roster::new(LIMITS);
    adopted.adopt(now(0), facts, promised, None);
    let ended = told_of(&mut adopted, 1, &[Asked(Some(Completed), Some(Unanswered))]);
    assert_eq!(ended[0].0, EndReason::Completed);
    assert!(!ended[0].1.transferred && ended[0].1.follow_up);
    // While an actor still has it: it is asked, and what it achieved is kept.
    let mut roster = live();
    let (_, effects) = roster.go_on(now(5), &"CA1".into(), Some(InProgress), Some(Bridged));
    assert!(matches!(effects.as_slice(), [RosterEffect::Ask { reason: EndReason::Transferred, .. }]));
    let mut state = left("CA1", 1, Departure::Ended { reason: EndReason::Transferred });
    state.outcome.appointment_booked = true;
    let effects = roster.left(now(6), state);
    let [RosterEffect::Ended { reason: EndReason::Transferred, outcome, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(outcome.transferred && outcome.appointment_booked);
}

#[test]
fn a_repeated_question_gets_the_same_answer() {
    let sid: CallSid = "CA1".into();
    // While a person is rung.
    let mut roster = dialling();
    for at in 6..9 {
        let (onward, effects) = roster.go_on(now(at), &sid, Some(InProgress), None);
        assert!(matches!(onward, Onward::Dial { say: Some(words), .. } if words == "One moment."));
        assert!(effects.is_empty());
    }
    // After nobody answered: one stream more, not three.
    for at in 30..33 {
        let (onward, _) = roster.go_on(now(at), &sid, Some(InProgress), Some(Unanswered));
        assert!(matches!(onward, Onward::Reconnect(facts) if facts.epoch == Epoch(2)));
    }
    let Claimed::Granted { resume: Some(resume), .. } = claim(&mut roster, 33, 2) else { panic!() };
    assert_eq!(resume.facts.len(), 1);
    assert!(!resume.outcome.transferred && resume.outcome.follow_up);
    // Before a hang-up, whether the actor named its reason or not.
    for reason in [None, Some(EndReason::Apology)] {
        let mut roster = live();
        let next = NextStep::HangUp { say: Some("Sorry.".into()) };
        let mut ended = ends(&roster.left(now(5), left("CA1", 1, Departure::Decided { next, reason })));
        for at in 6..9 {
            let (onward, effects) = roster.go_on(now(at), &sid, Some(InProgress), None);
            assert!(matches!(onward, Onward::HangUp { say: Some(words) } if words == "Sorry."));
            ended.extend(ends(&effects));
        }
        assert_eq!(ended, [reason.unwrap_or(EndReason::Completed)]);
    }
}

#[test]
fn a_handshake_that_failed_leaves_its_token_unspent() {
    let mut roster = Roster::new(LIMITS);
    roster.admit(now(0), new_call("CA1"));
    for at in 1..=3 {
        let (onward, _) = roster.go_on(now(at), &"CA1".into(), Some(InProgress), None);
        assert!(matches!(onward, Onward::Reconnect(facts) if facts.epoch == Epoch(1)));
    }
    let (onward, effects) = roster.go_on(now(4), &"CA1".into(), Some(InProgress), None);
    assert!(matches!(onward, Onward::GiveUp));
    assert_eq!(ends(&effects), [EndReason::Apology]);
}

#[test]
fn the_callers_hang_up_gives_way_to_what_the_actor_knows() {
    let hang_up = |reason| Departure::Decided { next: NextStep::HangUp { say: None }, reason };
    let ended = |reason| Departure::Ended { reason };
    let table = [
        (EndReason::Completed, ended(EndReason::MessageTaken), false, EndReason::MessageTaken),
        (EndReason::Completed, hang_up(Some(EndReason::Apology)), false, EndReason::Apology),
        (EndReason::Completed, ended(EndReason::Silence), true, EndReason::Silence),
        (EndReason::Completed, ended(EndReason::Completed), false, EndReason::Completed),
        (EndReason::Completed, ended(EndReason::Completed), true, EndReason::MessageTaken),
        (EndReason::Completed, ended(EndReason::Transferred), false, EndReason::Completed),
        (EndReason::Completed, Departure::Broke, false, EndReason::Completed),
        (EndReason::Completed, hang_up(None), false, EndReason::Completed),
        // Between equals the first stays.
        (EndReason::Ended, ended(EndReason::MessageTaken), true, EndReason::Ended),
        (EndReason::Failed, ended(EndReason::Completed), false, EndReason::Failed),
    ];
    for (asked, departure, message_taken, expected) in table {
        let mut roster = live();
        roster.finish(now(5), &"CA1".into(), asked);
        let mut state = left("CA1", 1, departure.clone());
        state.outcome.message_taken = message_taken;
        assert_eq!(ends(&roster.left(now(6), state)), [expected], "{asked:?} {departure:?}");
    }
}

#[test]
fn a_webhook_repeated_for_a_call_that_had_its_stream_goes_on_with_it() {
    for broke in [true, false] {
        let mut roster = live();
        if broke {
            roster.left(now(5), left("CA1", 1, Departure::Broke));
        }
        let (admitted, effects) = roster.admit(now(6), new_call("CA1"));
        let Admitted::GoOn(Onward::Reconnect(facts)) = admitted else { panic!("{admitted:?}") };
        assert_eq!(facts.epoch, Epoch(2));
        assert_eq!(effects.len(), usize::from(!broke), "a live stream is evicted");
        assert!(matches!(claim(&mut roster, 7, 1), Claimed::Refused(Refusal::Spent)));
        assert!(matches!(claim(&mut roster, 7, 2), Claimed::Granted { .. }));
    }
}

#[test]
fn a_claim_is_given_up_by_its_own_stream_only() {
    let mut roster = live();
    // Another stream showed the same token, was refused and closed.
    assert!(roster.died(now(1), &"CA1".into(), Epoch(1), &stream(9)).is_empty());
    assert_eq!(roster.standing(&"CA1".into(), Epoch(1)), Standing::Current);
    roster.died(now(1), &"CA1".into(), Epoch(1), &stream(1));
    assert_eq!(roster.standing(&"CA1".into(), Epoch(1)), Standing::Gone);
    assert_eq!(roster.list()[0].state, "suspended");
    // What it left behind after all is not a second break.
    roster.left(now(1), left("CA1", 1, Departure::Broke));
    for epoch in 2..=4 {
        assert!(matches!(roster.go_on(now(2), &"CA1".into(), None, None).0, Onward::Reconnect(_)));
        claim(&mut roster, 2, epoch);
        roster.left(now(2), left("CA1", epoch, Departure::Broke));
    }
    assert!(matches!(roster.go_on(now(2), &"CA1".into(), None, None).0, Onward::GiveUp));
}

#[test]
fn an_actor_that_reports_late_learns_how_its_call_stands() {
    let sid: CallSid = "CA1".into();
    let mut roster = live();
    assert_eq!(roster.standing(&sid, Epoch(1)), Standing::Current);
    assert_eq!(roster.claimed_before(now(1)), [(sid.clone(), Epoch(1), stream(1))]);
    assert!(roster.claimed_before(now(0)).is_empty());
    roster.finish(now(1), &sid, EndReason::Ended);
    assert_eq!(roster.standing(&sid, Epoch(1)), Standing::Leaving(EndReason::Ended));
    assert_eq!(roster.standing(&sid, Epoch(2)), Standing::Gone);
    let effects = roster.sweep(now(7));
    assert!(
        matches!(effects.as_slice(), [RosterEffect::Evict { .. }, RosterEffect::Ended { .. }]),
        "its stream goes before it is forgotten: {effects:?}"
    );
    assert_eq!(roster.standing(&sid, Epoch(1)), Standing::Gone);
}

#[test]
fn what_ended_is_forgotten_also_while_nothing_may_end() {
    let mut roster = live();
    roster.admit(now(0), new_call("CA2"));
    roster.left(now(1), left("CA1", 1, Departure::Ended { reason: EndReason::Completed }));
    roster.forget_ended(now(500));
    assert_eq!(roster.calls.len(), 2, "Twilio may still ask");
    roster.forget_ended(now(700));
    let left: Vec<&str> = roster.calls.keys().map(CallSid::as_str).collect();
    assert_eq!(left, ["CA2"], "its stream has not come for long, and yet it is not ended here");
}

#[test]
fn a_shutdown_lets_go_of_live_calls_and_ends_none() {
    let sid: CallSid = "CA1".into();
    let mut roster = live();
    roster.admit(now(0), new_call("CA2"));
    assert!(matches!(roster.release().as_slice(), [RosterEffect::Evict { .. }]));
    assert_eq!(roster.held(), 1);
    assert!(roster.left(now(1), left("CA1", 1, Departure::Broke)).is_empty());
    assert_eq!((roster.held(), roster.count()), (0, LiveCount { open: 2, here: 2, everywhere: 2 }));
    // The next process is to be asked, and no stream is taken any more.
    assert!(matches!(roster.go_on(now(2), &sid, Some(InProgress), None).0, Onward::Later));
    assert!(matches!(roster.go_on(now(2), &"CA2".into(), Some(InProgress), None).0, Onward::Later));
    let claimed = roster.claim(now(2), &"CA2".into(), &"a1".into(), Epoch(1), &stream(2));
    assert!(matches!(claimed, Claimed::Refused(Refusal::Closing)));
    // What was decided is still told.
    let mut roster = dialling();
    assert!(roster.release().is_empty());
    assert_eq!(roster.count(), LiveCount { open: 1, here: 0, everywhere: 1 });
    assert!(matches!(roster.go_on(now(6), &sid, Some(InProgress), None).0, Onward::Dial { .. }));
}

#[test]
fn a_status_callback_asks_the_actor_to_leave_and_a_silent_actor_is_not_waited_for() {
    let mut roster = live();
    let effects = roster.status(now(5), &"CA1".into(), CallStatus::Completed);
    assert!(matches!(effects.as_slice(), [RosterEffect::Ask { .. }]));
    assert!(ends(&roster.sweep(now(9))).is_empty());
    assert_eq!(ends(&roster.sweep(now(10))), [EndReason::Completed]);
}

#[derive(Clone, Debug)]
enum Step {
    Admit,
    Claim(u32),
    Left(u32, u8),
    Died(u32, u32),
    GoOn(Option<CallStatus>, Option<DialResult>),
    Status(CallStatus),
    Finish,
    Sweep,
    Release,
}

fn step() -> impl Strategy<Value = (Step, u16)> {
    let status = prop_oneof![
        Just(CallStatus::Completed),
        Just(CallStatus::InProgress),
        Just(CallStatus::Failed),
        Just(CallStatus::Ringing)
    ];
    let dial = prop_oneof![Just(DialResult::Bridged), Just(DialResult::Unanswered)];
    let step = prop_oneof![
        Just(Step::Admit),
        (1u32..5).prop_map(Step::Claim),
        (1u32..5, 0u8..7).prop_map(|(e, d)| Step::Left(e, d)),
        (1u32..5, 1u32..5).prop_map(|(e, s)| Step::Died(e, s)),
        (proptest::option::of(status.clone()), proptest::option::of(dial))
            .prop_map(|(s, d)| Step::GoOn(s, d)),
        status.prop_map(Step::Status),
        Just(Step::Finish),
        Just(Step::Sweep),
        Just(Step::Release),
    ];
    (step, 0u16..40)
}

proptest! {
    /// Whatever arrives and in which order, a call ends at most once, and once nothing more arrives it has ended. It
    /// was transferred exactly if somebody was reached, and a question that is repeated gets the same answer.
    #[test]
    fn a_call_ends_exactly_once(steps in proptest::collection::vec(step(), 0..60)) {
        let mut roster = Roster::new(LIMITS);
        let mut at = 0i64;
        let mut ended = Vec::new();
        let mut bridged = false;
        let sid: CallSid = "CA1".into();
        roster.admit(now(0), new_call("CA1"));
        for (step, wait) in steps {
            at += i64::from(wait);
            let t = now(at);
            let effects = match step {
                Step::Admit => {
                    // Long after its end a call is forgotten: a new one with the same name would be a new call.
                    if roster.facts(&sid).is_some() { roster.admit(t, new_call("CA1")).1 } else { Vec::new() }
                }
                Step::Claim(e) => { claim(&mut roster, at, e); Vec::new() }
                Step::Left(e, d) => {
                    let hang_up = NextStep::HangUp { say: Some("Goodbye.".into()) };
                    let departure = match d {
                        0 => Departure::Broke,
                        1 => Departure::Ended { reason: EndReason::Completed },
                        2 => Departure::Decided { next: hang_up, reason: Some(EndReason::Completed) },
                        3 => Departure::Decided { next: NextStep::Dial { say: None }, reason: None },
                        4 => Departure::Decided { next: hang_up, reason: None },
                        5 => Departure::Ended { reason: EndReason::Transferred },
                        _ => Departure::Ended { reason: EndReason::Silence },
                    };
                    let mut left = left("CA1", e, departure);
                    left.outcome.transferred = true;
                    roster.left(t, left)
                }
                Step::Died(e, s) => roster.died(t, &sid, Epoch(e), &stream(s)),
                Step::GoOn(s, d) => {
                    let (onward, mut effects) = roster.go_on(t, &sid, s, d);
                    if d == Some(DialResult::Bridged) {
                        bridged |= !matches!(onward, Onward::Unknown) && ends(&ended).is_empty();
                    } else if s.is_none() && (d.is_none() || !matches!(onward, Onward::Dial { .. })) {
                        let (again, more) = roster.go_on(t, &sid, s, d);
                        match (&onward, &again) {
                            (Onward::Reconnect(a), Onward::Reconnect(b)) => prop_assert_eq!(a.epoch, b.epoch),
                            // The last stream that failed.
                            (Onward::Reconnect(_), Onward::GiveUp) => {}
                            (Onward::GiveUp, Onward::HangUp { .. }) => {}
                            (a, b) => prop_assert_eq!(format!("{a:?}"), format!("{b:?}")),
                        }
                        effects.extend(more);
                    }
                    effects
                }
                Step::Status(s) => roster.status(t, &sid, s),
                Step::Finish => roster.finish(t, &sid, EndReason::Ended),
                Step::Sweep => roster.sweep(t),
                Step::Release => {
                    // Rare, or little else would be seen.
                    if wait == 0 { roster.release() } else { Vec::new() }
                }
            };
            ended.extend(effects);
        }
        // The caller's leg ends some time, and Twilio says so.
        ended.extend(roster.status(now(at + 1), &sid, CallStatus::Completed));
        ended.extend(roster.sweep(now(at + 100_000)));
        ended.retain(|e| matches!(e, RosterEffect::Ended { .. }));
        prop_assert_eq!(ended.len(), 1, "{:?}", ended);
        let Some(RosterEffect::Ended { reason, outcome, .. }) = ended.first() else { panic!("it ended") };
        prop_assert_eq!(*reason == EndReason::Transferred, bridged, "{:?}", ended);
        prop_assert_eq!(outcome.transferred, bridged, "{:?}", ended);
        prop_assert_eq!(roster.held(), 0);
    }
}

// --- the audit trail ----------------------------------------------------------------------------------------------

fn news(roster: &mut Roster) -> Vec<String> {
    roster.news(&"CA1".into()).into_iter().map(|event| format!("{} {}", event.code, event.detail)).collect()
}

#[test]
fn every_change_of_a_calls_standing_is_told_once() {
    let mut roster = Roster::new(LIMITS);
    let sid: CallSid = "CA1".into();
    roster.would_ring(&sid, None);
    assert!(news(&mut roster).is_empty(), "there is no such call");
    roster.admit(now(0), new_call("CA1"));
    let told = news(&mut roster);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("call.admitted "), "{told:?}");
    assert!(matches!(claim(&mut roster, 1, 1), Claimed::Granted { .. }));
    assert!(news(&mut roster).is_empty(), "the call's own actor tells of its start");
    roster.left(now(2), left("CA1", 1, Departure::Broke));
    assert_eq!(news(&mut roster), ["call.suspended {\"breaks\":1}"]);
    assert!(news(&mut roster).is_empty(), "once");
    roster.go_on(now(3), &sid, None, None);
    assert_eq!(news(&mut roster), ["call.reserved {\"breaks\":1,\"epoch\":2}"]);
    claim(&mut roster, 4, 2);
    let dial = Departure::Decided { next: NextStep::Dial { say: None }, reason: None };
    roster.left(now(5), left("CA1", 2, dial));
    assert_eq!(news(&mut roster), ["call.leaving {\"next\":\"dial\"}"]);
    roster.would_ring(&sid, PhoneNumber::from_e164("+12025550188").ok());
    for _ in 0..2 {
        roster.go_on(now(6), &sid, None, None);
    }
    assert_eq!(news(&mut roster), ["call.dialling {\"to\":\"+12025550188\"}"]);
    for _ in 0..2 {
        roster.go_on(now(7), &sid, None, Some(DialResult::Bridged));
    }
    assert_eq!(news(&mut roster), ["call.transferred {\"to\":\"+12025550188\"}"]);
    // One whom staff name, who does not answer.
    let mut roster = live();
    let _ = news(&mut roster);
    let to = PhoneNumber::from_e164("+12025550177").ok();
    roster.would_ring(&sid, PhoneNumber::from_e164("+12025550188").ok());
    roster.command(now(5), &sid, StaffOrder::Transfer { to });
    let dial = Departure::Decided { next: NextStep::Dial { say: None }, reason: None };
    roster.left(now(6), left("CA1", 1, dial));
    roster.go_on(now(7), &sid, None, None);
    roster.go_on(now(8), &sid, None, Some(DialResult::Unanswered));
    let told = news(&mut roster);
    assert_eq!(told[0], "call.transfer_failed {\"to\":\"+12025550177\"}", "{told:?}");
    assert!(told[1].starts_with("call.reserved "), "{told:?}");
    roster.finish(now(9), &sid, EndReason::Ended);
    assert!(news(&mut roster).is_empty(), "the end is told with its reason by whoever writes it");
}

// --- staff and calls that we place --------------------------------------------------------------------------------

fn command(roster: &mut Roster, order: StaffOrder) -> (Commanded, Vec<RosterEffect>) {
    roster.command(now(5), &"CA1".into(), order)
}

#[test]
fn orders_reach_a_live_call_and_nobody_else() {
    let say = || StaffOrder::Say("Hi.".into());
    let transfer = || StaffOrder::Transfer { to: None };
    let goodbye = || StaffOrder::End { goodbye: true };
    assert_eq!(command(&mut Roster::new(LIMITS), say()).0, Commanded::Unknown);
    for order in [say(), transfer(), goodbye(), StaffOrder::Mute(true)] {
        let (commanded, effects) = command(&mut live(), order.clone());
        assert_eq!(commanded, Commanded::Done);
        assert!(
            matches!(&effects[..], [RosterEffect::Tell { order: told, .. }] if *told == order),
            "{effects:?}"
        );
    }
    let mut reserved = Roster::new(LIMITS);
    reserved.admit(now(0), new_call("CA1"));
    for order in [say(), transfer()] {
        assert_eq!(command(&mut reserved, order).0, Commanded::NotNow { state: "reserved" });
    }
    // Twilio is waiting for a stream, so it does not ask: it has to be told.
    let (commanded, effects) = command(&mut reserved, goodbye());
    assert_eq!((commanded, ends(&effects)), (Commanded::Ended { hang_up: true }, vec![EndReason::Ended]));
    assert_eq!(command(&mut reserved, goodbye()).0, Commanded::Unknown);
    // A live one is asked to leave, and Twilio asks how to go on.
    let mut roster = live();
    let (commanded, effects) = command(&mut roster, StaffOrder::End { goodbye: false });
    assert_eq!(commanded, Commanded::Ended { hang_up: false });
    assert!(matches!(effects[..], [RosterEffect::Ask { reason: EndReason::Ended, .. }]));
}

#[test]
fn silence_lasts_over_a_broken_stream() {
    let mut roster = live();
    command(&mut roster, StaffOrder::Mute(true));
    roster.left(now(6), left("CA1", 1, Departure::Broke));
    assert!(roster.is_muted(&"CA1".into()) == Some(true) && roster.list()[0].muted);
    assert_eq!(command(&mut roster, StaffOrder::Mute(false)).0, Commanded::Done);
    assert!(!roster.list()[0].muted);
}

#[test]
fn silence_is_known_to_whoever_takes_the_call_over() {
    let state = |muted| Some(Box::new(ResumeState { muted, ..ResumeState::default() }));
    let facts = live().facts(&"CA1".into()).unwrap().clone();
    for (resume, known) in [(state(true), Some(true)), (state(false), Some(false)), (None, None)] {
        let mut roster = Roster::new(LIMITS);
        roster.adopt(now(0), facts.clone(), Outcome::default(), resume);
        assert_eq!(roster.is_muted(&"CA1".into()), known);
        assert_eq!(roster.list()[0].muted, known == Some(true));
        // Between two streams: the next owner hears of it, by us and by its state.
        assert_eq!(command(&mut roster, StaffOrder::Mute(known != Some(true))).0, Commanded::Done);
        assert_eq!(roster.is_muted(&"CA1".into()), Some(known != Some(true)));
        let (onward, _) = roster.go_on(now(1), &"CA1".into(), None, None);
        let Onward::Reconnect(facts) = onward else { panic!("{onward:?}") };
        let claimed = roster.claim(now(2), &"CA1".into(), &facts.admission, facts.epoch, &"MZ9".into());
        let Claimed::Granted { resume, .. } = claimed else { panic!("{claimed:?}") };
        assert_eq!(resume.map(|resume| resume.muted), known.map(|known| !known));
    }
}

#[test]
fn whom_staff_name_is_rung_once() {
    let mut roster = live();
    let to = PhoneNumber::from_e164("+12025550188").unwrap();
    command(&mut roster, StaffOrder::Transfer { to: Some(to.clone()) });
    let dial = || Departure::Decided { next: NextStep::Dial { say: None }, reason: None };
    roster.left(now(6), left("CA1", 1, dial()));
    for _ in 0..2 {
        let asked = roster.go_on(now(7), &"CA1".into(), None, None).0;
        assert!(matches!(asked, Onward::Dial { to: Some(rung), .. } if rung == to));
    }
    let after = roster.go_on(now(20), &"CA1".into(), None, Some(DialResult::Unanswered)).0;
    assert!(matches!(after, Onward::Reconnect(_)));
    assert!(matches!(claim(&mut roster, 21, 2), Claimed::Granted { .. }));
    roster.left(now(30), left("CA1", 2, dial()));
    assert!(matches!(roster.go_on(now(31), &"CA1".into(), None, None).0, Onward::Dial { to: None, .. }));
}

fn placing() -> NewOutbound {
    NewOutbound {
        admission: "a1".into(),
        to: PhoneNumber::from_e164("+12025550143").unwrap(),
        business_number: "+12025550100".into(),
        brief: Arc::new(Outbound { purpose: Some("your appointment".into()), context: None }),
    }
}

#[test]
fn a_placed_call_is_found_by_whatever_names_it_first() {
    let mut roster = Roster::new(LIMITS);
    assert!(roster.place(now(0), placing()));
    assert_eq!(roster.occupied(), 1);
    let facts = roster.placed(now(1), &"a1".into(), &"CA1".into()).expect("new");
    assert_eq!((facts.direction, facts.kind), (Direction::Outbound, CallKind::Twilio));
    // Twilio's answer to us comes after the webhook, or the webhook is repeated.
    assert!(roster.placed(now(1), &"a1".into(), &"CA1".into()).is_none());
    assert_eq!((roster.occupied(), roster.list()[0].state), (1, "ringing"));
    assert!(matches!(claim(&mut roster, 2, 1), Claimed::Refused(Refusal::Spent)), "nobody has answered yet");
    for _ in 0..2 {
        let (Admitted::Again(again), _) = roster.admit(now(90), new_call("CA1")) else { panic!() };
        assert_eq!((again.admission.as_str(), again.direction), ("a1", Direction::Outbound));
    }
    let Claimed::Granted { brief, .. } = claim(&mut roster, 91, 1) else { panic!() };
    assert_eq!(brief.unwrap().purpose.as_deref(), Some("your appointment"));
}

#[test]
fn a_placed_call_keeps_its_place_until_a_terminal_callback() {
    let mut roster = Roster::new(LIMITS);
    roster.place(now(0), placing());
    roster.placed(now(1), &"a1".into(), &"CA1".into());
    assert_eq!(ends(&roster.sweep(now(600))), []);
    assert_eq!(ends(&roster.status(now(601), &"CA1".into(), CallStatus::Ringing)), []);
    assert_eq!(ends(&roster.status(now(602), &"CA1".into(), CallStatus::NoAnswer)), [EndReason::NoAnswer]);
    assert_eq!(roster.occupied(), 0);
    // A callback that is lost does not keep it for ever.
    let mut roster = Roster::new(LIMITS);
    roster.place(now(0), placing());
    roster.placed(now(1), &"a1".into(), &"CA1".into());
    assert_eq!(ends(&roster.sweep(now(3_602))), [EndReason::NeverStarted]);
}

#[test]
fn a_call_that_was_not_placed_gives_its_place_back() {
    let mut roster = Roster::new(LIMITS);
    roster.place(now(0), placing());
    roster.unplace(&"a1".into());
    assert!(roster.placed(now(1), &"a1".into(), &"CA1".into()).is_none());
    assert_eq!(roster.occupied(), 0);
    // So does one of which nothing was ever heard.
    roster.place(now(0), placing());
    roster.sweep(now(121));
    assert_eq!(roster.occupied(), 0);
    let full = Limits { max_calls: 1, ..LIMITS };
    let mut roster = Roster::new(full);
    roster.admit(now(0), new_call("CA1"));
    assert!(!roster.place(now(0), placing()));
    roster.limit_calls(2);
    assert!(roster.place(now(0), placing()));
}

#[test]
fn a_browsers_call_ends_with_its_stream() {
    for (departure, reason) in [
        (Departure::Broke, EndReason::Completed),
        (Departure::Decided { next: NextStep::Dial { say: None }, reason: None }, EndReason::Completed),
        (Departure::Ended { reason: EndReason::Silence }, EndReason::Silence),
    ] {
        let mut roster = Roster::new(LIMITS);
        roster.admit(now(0), NewCall { kind: CallKind::Browser, ..new_call("CA1") });
        claim(&mut roster, 0, 1);
        let refused = command(&mut roster, StaffOrder::Transfer { to: None }).0;
        assert!(matches!(refused, Commanded::NotNow { .. }));
        assert_eq!(ends(&roster.left(now(9), left("CA1", 1, departure))), [reason]);
        assert_eq!(roster.count().open, 0);
    }
}
