use super::*;
use crate::domain::turn::Parting;

fn let_go(within_ms: u64) -> Event {
    Event::Stream(StreamEvent::LetGo { within: Duration::from_millis(within_ms) })
}

impl Rig {
    /// The caller has made no sound for so long; asked for at each event.
    fn silent(&mut self, ms: u64) -> &mut Self {
        self.machine.set_silent(Duration::from_millis(ms));
        self
    }

    /// What the next owner goes on with.
    fn state(&self) -> ResumeState {
        self.machine.resume_state(CallTime::from_millis(self.now), true)
    }

    fn has_left(&self) -> bool {
        self.machine.is_over()
    }
}

fn next_owner(state: ResumeState) -> Rig {
    Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..setup() })
}

#[test]
fn in_a_pause_the_call_lets_go_at_once_and_goes_on_without_a_word() {
    let mut rig = Rig::greeted(setup());
    rig.silent(5_000);
    assert_eq!(rig.on(let_go(10_000)).did().last().unwrap(), "leave broke");
    let state = rig.state();
    assert_eq!((state.parting, state.breaks), (Parting::AtPause, 0));
    let mut next = next_owner(state);
    assert!(next.begin().did().is_empty(), "{:?}", next.did());
    assert_eq!(next.state().parting, Parting::Broke, "should this one break, it broke");
    assert!(next.last.contains(&Effect::SaveState), "and whoever reads of it knows");
    // It listens, and asks in the end whether anybody is there.
    let wait = next.timer(Timer::Idle).unwrap();
    next.wait(wait + 100);
    assert_eq!(next.did().first().unwrap(), "speak 1.0 Still there?");
    assert_eq!(next.machine.breaks, 0);
}

#[test]
fn how_often_a_silent_caller_was_asked_goes_along() {
    let mut rig = Rig::greeted(setup());
    rig.machine.idle_prompts_made = 1;
    rig.silent(5_000).on(let_go(10_000));
    let mut next = next_owner(rig.state());
    next.begin();
    next.wait(next.timer(Timer::Idle).unwrap() + 100);
    assert_eq!(next.did().first().unwrap(), "speak 1.0 Hello?");
}

#[test]
fn what_is_being_said_is_heard_to_its_end_first() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha.");
    rig.sentence(2, 1, "Beta.");
    rig.silent(5_000).wait(200);
    rig.on(let_go(10_000));
    assert!(!rig.has_left(), "the bot speaks");
    rig.done(2);
    while !rig.has_left() && rig.now < 20_000 {
        rig.wait(TICK);
    }
    assert!(rig.has_left());
    let state = rig.state();
    assert_eq!(state.parting, Parting::AtPause);
    let last = state.turns.last().unwrap();
    assert_eq!((last.heard.as_str(), last.interrupted), ("Alpha. Beta.", false));
    assert!(!rig.all.contains(&Effect::Clear), "nothing was cleared");
    assert!(next_owner(state).begin().did().is_empty());
}

#[test]
fn the_greeting_is_heard_first() {
    let mut rig = Rig::new(setup());
    rig.silent(5_000).on(let_go(10_000));
    assert!(!rig.has_left());
    rig.begin();
    rig.wait(200);
    assert!(!rig.has_left());
    rig.wait(1_500);
    assert!(rig.has_left());
    assert_eq!(rig.state().turns.last().unwrap().heard, "Hello there.");
}

#[test]
fn a_caller_who_speaks_or_has_just_spoken_is_let_finish_and_answered() {
    let mut rig = Rig::greeted(setup());
    rig.silent(300).on(let_go(10_000));
    rig.wait(500);
    assert!(!rig.has_left(), "they may be in the middle of a word");
    rig.partial("what are");
    rig.silent(0).wait(300);
    rig.says("what are your hours");
    rig.silent(2_000).wait(300);
    assert!(!rig.has_left(), "the turn is open");
    rig.sentence(2, 0, "Nine to five.");
    rig.done(2);
    assert!(!rig.has_left());
    rig.wait(2_000);
    assert!(rig.has_left());
    let state = rig.state();
    assert_eq!(
        (state.parting, state.turns.last().unwrap().heard.as_str()),
        (Parting::AtPause, "Nine to five.")
    );
}

#[test]
fn keys_and_lost_ears_and_tools_are_no_pause() {
    for what in 0..3 {
        let mut rig = Rig::greeted(setup());
        rig.silent(5_000);
        match what {
            0 => drop(rig.key('4')),
            1 => drop(rig.on(Event::Heard(Heard::Interrupted))),
            _ => {
                rig.says("book it");
                rig.on(Event::Thought(Thought::ToolStarted { reply: ReplyId(2), name: "write".into() }));
            }
        }
        rig.on(let_go(60_000));
        rig.wait(500);
        assert!(!rig.has_left(), "{what}");
    }
}

#[test]
fn without_a_pause_it_lets_go_at_the_end_of_a_sentence_after_the_wait() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.silent(5_000).on(let_go(1_000));
    let asked = rig.now;
    rig.sentence(2, 0, "A first sentence of some length.");
    rig.sentence(2, 1, "And a second one that is as long.");
    while !rig.has_left() && rig.now < 20_000 {
        rig.wait(TICK);
    }
    let state = rig.state();
    assert!((1_000..3_100).contains(&(rig.now - asked)), "{}", rig.now - asked);
    assert_eq!(state.parting, Parting::Midway);
    assert!(state.turns.last().unwrap().heard.starts_with("A first sentence of some length."));
    assert!(!state.turns.last().unwrap().heard.contains("long. And a second one that"));
    assert!(rig.all.contains(&Effect::Clear), "Twilio plays nothing that is not known to be heard");
    let mut next = next_owner(state);
    assert_eq!(next.begin().did(), ["speak 1.0 We were cut off."]);
    assert_eq!(next.machine.breaks, 0, "nothing broke");
}

#[test]
fn a_sentence_without_end_is_left_two_seconds_after_the_wait() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.silent(5_000).on(let_go(1_000));
    let asked = rig.now;
    rig.sentence(2, 0, &"word ".repeat(60));
    while !rig.has_left() && rig.now < 20_000 {
        rig.wait(TICK);
    }
    assert!((3_000..3_200).contains(&(rig.now - asked)), "{}", rig.now - asked);
    let state = rig.state();
    let heard = &state.turns.last().unwrap().heard;
    assert!(heard.starts_with("word word") && heard.len() < 200, "{heard}");
}

#[test]
fn a_turn_that_waits_for_its_answer_is_answered_by_the_next_owner_without_an_apology() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.silent(500).on(let_go(1_000));
    rig.wait(1_100);
    assert!(rig.has_left(), "nothing is being said whose end could be waited for");
    let state = rig.state();
    assert_eq!(state.parting, Parting::AtPause);
    assert_eq!(next_owner(state).begin().did(), ["record 2 caller hello", "answer 1 hello"]);
}

#[test]
fn words_that_are_not_settled_when_the_wait_is_over_get_two_seconds_more() {
    let mut rig = Rig::greeted(setup());
    rig.silent(0).on(let_go(500));
    rig.partial("what are");
    rig.wait(1_000);
    assert!(!rig.has_left());
    rig.silent(600).says("what are your hours");
    assert!(rig.has_left());
    let state = rig.state();
    assert_eq!(
        (state.parting, state.turns.last().unwrap().said.as_str()),
        (Parting::AtPause, "what are your hours")
    );

    let mut rig = Rig::greeted(setup());
    rig.silent(0).on(let_go(500));
    rig.partial("what are");
    for _ in 0..30 {
        rig.wait(100);
        if !rig.has_left() {
            rig.partial("what are");
        }
    }
    assert!(rig.has_left());
    assert_eq!(rig.state().parting, Parting::Midway, "the caller has to be asked again");
}

#[test]
fn keys_that_become_a_turn_do_not_hide_that_the_caller_speaks() {
    let mut rig = Rig::greeted(setup());
    rig.silent(5_000).key('4');
    rig.silent(0).partial("and my");
    rig.on(let_go(100));
    while rig.machine.open.is_none() && rig.now < 20_000 {
        rig.wait(TICK);
    }
    assert!(!rig.has_left(), "the partial is forgotten, the voice goes on");
    rig.wait(2_000);
    assert_eq!((rig.has_left(), rig.state().parting), (true, Parting::Midway));
}

#[test]
fn neither_a_notice_nor_a_goodbye_nor_a_transfer_is_left() {
    let mut rig = Rig::new(Setup { record: true, notice: Some("We record this call.".into()), ..setup() });
    rig.silent(5_000).begin();
    rig.on(let_go(0));
    rig.wait(700);
    assert!(!rig.has_left(), "the notice is being said");
    rig.wait(3_000);
    assert!(rig.has_left());
    assert!(rig.state().notified);

    for (then, left) in [
        (Then::HangUp { message_taken: false }, EndReason::Completed),
        (Then::Transfer, EndReason::Transferred),
    ] {
        let mut rig = Rig::greeted(with_transfer());
        rig.says("bye");
        rig.sentence(2, 0, "Of course.");
        rig.done_then(2, then);
        rig.silent(5_000).on(let_go(0));
        rig.wait(200);
        assert!(!rig.has_left());
        rig.wait(3_000);
        assert!(matches!(rig.left(), Some(Departure::Decided { .. })), "{left:?}: {:?}", rig.left());
        assert_eq!(rig.state().parting, Parting::Broke);
    }
}

#[test]
fn a_muted_call_is_handed_over_with_what_nobody_has_answered() {
    let mut rig = Rig::greeted(setup());
    rig.staff(StaffOrder::Mute(true));
    rig.says("are you there");
    rig.silent(5_000).on(let_go(10_000));
    assert!(rig.has_left());
    let mut next = next_owner(rig.state());
    assert!(next.begin().did().is_empty());
    assert_eq!(next.staff(StaffOrder::Mute(false)).did().last().unwrap(), "answer 1 are you there");
}

#[test]
fn asked_twice_the_sooner_time_counts() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.silent(5_000).on(let_go(60_000));
    rig.on(let_go(500));
    rig.on(let_go(60_000));
    rig.wait(700);
    assert!(rig.has_left());
}

#[test]
fn a_stream_that_breaks_before_its_owner_has_begun_counts_as_a_break() {
    let mut rig = Rig::greeted(setup());
    rig.silent(5_000).on(let_go(0));
    let mut next = next_owner(rig.state());
    next.on(Event::Stream(StreamEvent::Broke));
    assert_eq!(next.state().parting, Parting::Broke);
}
