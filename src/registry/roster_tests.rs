use super::*;
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

fn live() -> Roster {
    let mut roster = Roster::new(LIMITS);
    assert!(matches!(roster.admit(now(0), new_call("CA1")), Admitted::New(_)));
    assert!(matches!(roster.claim(&"CA1".into(), &"a1".into(), Epoch(1)), Claimed::Granted { .. }));
    roster
}

fn ends(effects: &[RosterEffect]) -> Vec<EndReason> {
    effects
        .iter()
        .filter_map(|e| match e {
            RosterEffect::Ended { reason, .. } => Some(*reason),
            RosterEffect::Ask { .. } | RosterEffect::Evict { .. } => None,
        })
        .collect()
}

#[test]
fn a_repeated_webhook_gets_the_same_admission_and_an_unspent_token() {
    let mut roster = Roster::new(LIMITS);
    let Admitted::New(first) = roster.admit(now(0), new_call("CA1")) else { panic!() };
    let Admitted::Again(second) = roster.admit(now(1), NewCall { admission: "a2".into(), ..new_call("CA1") })
    else {
        panic!()
    };
    assert_eq!(first.admission, second.admission);
    assert!(matches!(roster.claim(&"CA1".into(), &"a1".into(), Epoch(1)), Claimed::Granted { .. }));
    assert!(matches!(roster.claim(&"CA1".into(), &"a1".into(), Epoch(1)), Claimed::Refused(Refusal::Spent)));
}

#[test]
fn over_the_ceiling_a_call_is_refused_until_one_ends() {
    let mut roster = Roster::new(LIMITS);
    roster.admit(now(0), new_call("CA1"));
    roster.admit(now(0), new_call("CA2"));
    assert!(matches!(roster.admit(now(0), new_call("CA3")), Admitted::Full));
    roster.status(now(1), &"CA1".into(), CallStatus::Completed);
    assert!(matches!(roster.admit(now(1), new_call("CA3")), Admitted::New(_)));
}

#[test]
fn a_broken_stream_is_resumed_with_a_new_epoch_and_the_old_token_is_spent() {
    let mut roster = live();
    roster.left(now(5), left("CA1", 1, Departure::Broke));
    let (onward, _) = roster.go_on(now(6), &"CA1".into(), Some(CallStatus::InProgress), None);
    let Onward::Reconnect(facts) = onward else { panic!("{onward:?}") };
    assert_eq!(facts.epoch, Epoch(2));
    assert!(matches!(roster.claim(&"CA1".into(), &"a1".into(), Epoch(1)), Claimed::Refused(Refusal::Spent)));
    let Claimed::Granted { resume, .. } = roster.claim(&"CA1".into(), &"a1".into(), Epoch(2)) else {
        panic!()
    };
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
    let Claimed::Granted { resume, .. } = roster.claim(&"CA1".into(), &"a1".into(), Epoch(2)) else {
        panic!()
    };
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
            roster.claim(&"CA1".into(), &"a1".into(), facts.epoch);
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
    let Claimed::Granted { resume, .. } = roster.claim(&"CA1".into(), &"a1".into(), Epoch(2)) else {
        panic!()
    };
    assert!(resume.unwrap().facts[0].contains("did not answer"));
}

#[test]
fn a_bridged_dial_ends_the_call_as_transferred() {
    let mut roster = live();
    let decided = Departure::Decided { next: NextStep::Dial { say: None }, reason: None };
    roster.left(now(5), left("CA1", 1, decided));
    roster.go_on(now(5), &"CA1".into(), None, None);
    let effects = roster.status(now(90), &"CA1".into(), CallStatus::Completed);
    let [RosterEffect::Ended { reason, outcome, .. }] = effects.as_slice() else { panic!() };
    assert_eq!(*reason, EndReason::Transferred);
    assert!(outcome.transferred);
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
    Died(u32),
    GoOn(Option<CallStatus>, Option<DialResult>),
    Status(CallStatus),
    Finish,
    Sweep,
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
        (1u32..5, 0u8..5).prop_map(|(e, d)| Step::Left(e, d)),
        (1u32..5).prop_map(Step::Died),
        (proptest::option::of(status.clone()), proptest::option::of(dial))
            .prop_map(|(s, d)| Step::GoOn(s, d)),
        status.prop_map(Step::Status),
        Just(Step::Finish),
        Just(Step::Sweep),
    ];
    (step, 0u16..40)
}

proptest! {
    /// Whatever arrives and in which order, a call ends at most once, and once nothing more arrives it has ended.
    #[test]
    fn a_call_ends_exactly_once(steps in proptest::collection::vec(step(), 0..60)) {
        let mut roster = Roster::new(LIMITS);
        let mut at = 0i64;
        let mut reasons = Vec::new();
        roster.admit(now(0), new_call("CA1"));
        for (step, wait) in steps {
            at += i64::from(wait);
            let t = now(at);
            let sid: CallSid = "CA1".into();
            let effects = match step {
                Step::Admit => {
                    // Long after its end a call is forgotten: a new one with the same name would be a new call.
                    if roster.facts(&sid).is_some() { roster.admit(t, new_call("CA1")); }
                    Vec::new()
                }
                Step::Claim(e) => { roster.claim(&sid, &"a1".into(), Epoch(e)); Vec::new() }
                Step::Left(e, d) => {
                    let departure = match d {
                        0 => Departure::Broke,
                        1 => Departure::Ended { reason: EndReason::Completed },
                        2 => Departure::Decided { next: NextStep::HangUp { say: None }, reason: Some(EndReason::Completed) },
                        3 => Departure::Decided { next: NextStep::Dial { say: None }, reason: None },
                        _ => Departure::Ended { reason: EndReason::Silence },
                    };
                    roster.left(t, left("CA1", e, departure))
                }
                Step::Died(e) => roster.died(t, &sid, Epoch(e)),
                Step::GoOn(s, d) => roster.go_on(t, &sid, s, d).1,
                Step::Status(s) => roster.status(t, &sid, s),
                Step::Finish => roster.finish(t, &sid, EndReason::Ended),
                Step::Sweep => roster.sweep(t),
            };
            reasons.extend(ends(&effects));
        }
        // The caller's leg ends some time, and Twilio says so.
        let t = now(at + 1);
        reasons.extend(ends(&roster.status(t, &"CA1".into(), CallStatus::Completed)));
        reasons.extend(ends(&roster.sweep(now(at + 100_000))));
        prop_assert_eq!(reasons.len(), 1, "{:?}", reasons);
    }
}
