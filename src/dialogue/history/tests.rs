use super::*;
use crate::dialogue::rules::{check, user_words};
use crate::domain::turn::{StageLatencies, TurnRecord};
use proptest::prelude::*;

const WIDE: Limits = Limits { turns: 24, tokens: 6_000 };

fn r(n: u32) -> ReplyId {
    ReplyId(n)
}

fn call(id: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "check_availability".into(), arguments: "{}".into() }
}

/// The conversation in short, after the system message.
fn told(history: &History) -> Vec<String> {
    let messages = history.messages("S");
    check(&messages).unwrap();
    messages[1..]
        .iter()
        .map(|m| match m {
            ChatMessage::System(text) => format!("S:{text}"),
            ChatMessage::User(text) => format!("U:{text}"),
            ChatMessage::Assistant { text, tool_calls } => {
                let ids: Vec<&str> = tool_calls.iter().map(|c| c.id.as_str()).collect();
                format!("A:{text}[{}]", ids.join(","))
            }
            ChatMessage::Tool { id, content, .. } => format!("T:{id}={content}"),
        })
        .collect()
}

#[test]
fn an_interrupted_reply_keeps_only_what_was_heard() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "When are you open?");
    h.say(r(1), "We open at nine.");
    h.say(r(1), "We close at six.");
    h.heard(r(1), "We open at nine. We");
    h.heard_all(r(1));
    h.answer(r(2), "And Sunday?");
    assert_eq!(told(&h), ["U:When are you open?", "A:We open at nine. We[]", "U:And Sunday?"]);
}

#[test]
fn an_unheard_reply_vanishes_and_the_turns_become_one() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "I want");
    h.say(r(1), "Sure!");
    h.heard(r(1), "");
    h.answer(r(2), "a haircut");
    assert_eq!(told(&h), ["U:I want a haircut"]);
}

#[test]
fn a_withdrawn_turn_is_replaced_by_the_whole_one() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "I want.");
    h.say(r(1), "Sure!");
    h.withdraw(r(1));
    assert!(told(&h).is_empty());
    h.answer(r(2), "I want a haircut");
    assert_eq!(told(&h), ["U:I want a haircut"]);
}

#[test]
fn a_withdrawn_turn_whose_tools_ran_keeps_them_and_takes_the_further_words() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "Book me at three");
    h.say(r(1), "One moment.");
    h.call_tools(r(1), &[call("a")]);
    h.tool_answer("a", &json!({"ok": 1}));
    h.say(r(1), "Booked.");
    h.withdraw(r(1));
    h.answer(r(2), "book me at three, for Ann");
    h.withdraw(r(2));
    h.answer(r(3), "book me at three, for Ann Lee");
    assert_eq!(told(&h), ["U:Book me at three", "A:[a]", "T:a={\"ok\":1}", "U:for Ann Lee"]);
}

#[test]
fn words_that_do_not_come_again_are_not_lost() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "I want");
    h.withdraw(r(1));
    h.answer(r(2), "two haircuts");
    assert_eq!(told(&h), ["U:I want two haircuts"]);
}

#[test]
fn what_was_heard_is_spread_over_the_rounds_of_a_reply() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "Friday?");
    h.say(r(1), "Let me see.");
    h.call_tools(r(1), &[call("a")]);
    h.tool_answer("a", &json!(1));
    h.say(r(1), "I have three o'clock.");
    h.heard(r(1), "Let me see. I have");
    assert_eq!(told(&h), ["U:Friday?", "A:Let me see.[a]", "T:a=1", "A:I have[]"]);
}

#[test]
fn the_bots_own_words_and_keys_never_part_a_call_from_its_answer() {
    let mut h = History::new(WIDE);
    h.said("Hello!");
    h.answer(r(1), "Friday?");
    h.call_tools(r(1), &[call("a"), call("b")]);
    h.said("One moment.");
    h.note("The caller pressed 1.");
    h.tool_answer("b", &json!(2));
    let open = unanswered().to_string();
    assert_eq!(
        told(&h),
        [
            "A:Hello![]".to_owned(),
            "U:Friday?".into(),
            "A:[a,b]".into(),
            format!("T:a={open}"),
            "T:b=2".into(),
            "A:One moment.[]".into(),
            "U:(The caller pressed 1.)".into()
        ]
    );
    h.abandon_calls(r(1), None, &json!("gone"));
    assert!(told(&h).contains(&"T:a=\"gone\"".to_owned()));
    assert!(!h.tool_answer("a", &json!(3)), "it has its answer");
}

#[test]
fn arguments_that_are_no_object_are_not_sent_back() {
    let mut h = History::new(WIDE);
    h.answer(r(1), "x");
    h.call_tools(r(1), &[ToolCall { arguments: "{\"date\":".into(), ..call("a") }]);
    check(&h.messages("S")).unwrap();
}

#[test]
fn the_oldest_groups_are_dropped_whole_and_live_on_as_a_summary() {
    let mut h = History::new(Limits { turns: 2, tokens: 6_000 });
    for n in 1..=4 {
        h.answer(r(n), &format!("question{n}"));
        h.call_tools(r(n), &[call(&format!("c{n}"))]);
        h.tool_answer(&format!("c{n}"), &json!(n));
        h.say(r(n), &format!("answer{n}"));
    }
    h.trim();
    assert_eq!(h.groups(), 2);
    let text = h.to_summarise().unwrap();
    assert!(text.contains("Caller: question1") && text.contains("Receptionist: answer2"), "{text}");
    assert_eq!(h.to_summarise(), None);
    assert!(matches!(&h.messages("S")[0], ChatMessage::System(s) if s.contains("question2")));
    assert_eq!(h.summarised(Some("Two questions.")), Some("Two questions."));
    assert_eq!(h.messages("S")[0], ChatMessage::System("S\n\nEarlier in this call: Two questions.".into()));
    assert_eq!(h.summarised(Some("again")), None);
}

#[test]
fn words_dropped_before_their_turn_was_taken_back_do_not_come_twice() {
    let mut h = History::new(Limits { turns: 1, tokens: 6_000 });
    h.answer(r(1), "I want");
    for _ in 0..GROUP_ENTRIES {
        h.said("One moment.");
    }
    h.trim();
    assert!(h.to_summarise().unwrap().contains("Caller: I want"));
    h.withdraw(r(1));
    h.answer(r(2), "I want a haircut");
    assert_eq!(user_words(&h.messages("S")), ["a", "haircut"]);
}

#[test]
fn without_a_summariser_the_last_dropped_words_have_to_do() {
    let mut h = History::new(Limits { turns: 1, tokens: 6_000 });
    h.answer(r(1), &"old ".repeat(1_000));
    h.answer(r(2), "new");
    h.trim();
    h.to_summarise();
    let digest = h.summarised(None).unwrap();
    assert!(digest.starts_with('…') && digest.chars().count() <= SUMMARY + 1);
}

#[test]
fn a_call_taken_up_again_knows_what_was_heard() {
    let turn = |n, speaker, heard: &str| TurnRecord {
        n,
        speaker,
        said: "said".into(),
        heard: heard.into(),
        interrupted: false,
        at_ms: 0,
        latency: StageLatencies::default(),
    };
    let state = ResumeState {
        turns: vec![
            turn(1, Speaker::Bot, "Hello!"),
            turn(2, Speaker::Caller, "Hi."),
            turn(3, Speaker::Bot, ""),
            turn(4, Speaker::Caller, "A haircut."),
        ],
        summary: Some("They rang.".into()),
        ..ResumeState::default()
    };
    let h = History::resume(WIDE, &state);
    assert_eq!(told(&h), ["A:Hello![]", "U:Hi. A haircut."]);
    assert!(matches!(&h.messages("S")[0], ChatMessage::System(s) if s.ends_with("They rang.")));
}

#[derive(Clone, Debug)]
enum Op {
    Answer(usize),
    Said,
    Note,
    Say,
    Call(usize),
    ToolAnswer(usize),
    Abandon,
    Withdraw(u32),
    Heard(u32, usize),
    HeardAll(u32),
    Trim,
    Summarised(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1usize..6).prop_map(Op::Answer),
        1 => Just(Op::Said),
        1 => Just(Op::Note),
        4 => Just(Op::Say),
        2 => (1usize..4).prop_map(Op::Call),
        2 => (0usize..4).prop_map(Op::ToolAnswer),
        1 => Just(Op::Abandon),
        3 => (0u32..3).prop_map(Op::Withdraw),
        2 => (0u32..3, 0usize..12).prop_map(|(b, n)| Op::Heard(b, n)),
        1 => (0u32..3).prop_map(Op::HeardAll),
        2 => Just(Op::Trim),
        1 => any::<bool>().prop_map(Op::Summarised),
    ]
}

proptest! {
    #[test]
    fn in_every_order_the_rules_hold_and_each_word_of_the_caller_stands_once(
        ops in proptest::collection::vec(op(), 0..60),
        turns in 1usize..6,
        tokens in 20usize..400,
    ) {
        let limits = Limits { turns, tokens };
        let mut h = History::new(limits);
        let mut reply = 0u32;
        let mut word = 0u32;
        let mut ids: Vec<String> = Vec::new();
        // Words of the turn that was taken back last: the next answer has to bring them again.
        let mut again: Vec<String> = Vec::new();
        let mut turn: Vec<String> = Vec::new();
        let mut settled = true;
        let mut dropped = String::new();
        let mut all = 0u32;
        for op in ops {
            match op {
                Op::Answer(n) => {
                    reply += 1;
                    turn = std::mem::take(&mut again);
                    for _ in 0..n {
                        word += 1;
                        turn.push(format!("w{word}"));
                    }
                    all = word;
                    settled = false;
                    h.answer(r(reply), &turn.join("  "));
                }
                Op::Said => h.said("One moment."),
                Op::Note => h.note("keys"),
                Op::Say => h.say(r(reply), "Some words here."),
                Op::Call(n) => {
                    let calls: Vec<ToolCall> =
                        (0..n).map(|_| { ids.push(format!("c{}", ids.len())); call(ids.last().unwrap()) }).collect();
                    h.call_tools(r(reply), &calls);
                }
                Op::ToolAnswer(back) => {
                    if let Some(id) = ids.iter().rev().nth(back) {
                        h.tool_answer(id, &json!({"found": back}));
                    }
                }
                Op::Abandon => h.abandon_calls(r(reply), None, &json!("gone")),
                Op::Withdraw(back) => {
                    h.withdraw(r(reply.saturating_sub(back)));
                    if back == 0 && !settled && reply > 0 {
                        again = turn.clone();
                        settled = true;
                    }
                }
                Op::Heard(back, n) => {
                    let heard = vec!["heard"; n].join(" ");
                    h.heard(r(reply.saturating_sub(back)), &heard);
                    settled |= back == 0;
                }
                Op::HeardAll(back) => {
                    h.heard_all(r(reply.saturating_sub(back)));
                    settled |= back == 0;
                }
                Op::Trim => {
                    h.trim();
                    prop_assert!(h.groups() <= 1 || (h.groups() <= turns && h.tokens() <= tokens));
                    if let Some(text) = h.to_summarise() {
                        dropped.push_str(&text);
                        dropped.push('\n');
                    }
                }
                Op::Summarised(ok) => { h.summarised(ok.then_some("S.")); }
            }
            let messages = h.messages("System.");
            prop_assert_eq!(check(&messages), Ok(()));
        }
        if !again.is_empty() {
            h.answer(r(reply + 1), &again.join(" "));
        }
        // A failed summary repeats dropped words at the head of the next text; only the callers' lines count.
        let mut words = user_words(&h.messages("System."));
        dropped.push_str(&h.dropped);
        words.extend(
            dropped.lines().filter_map(|l| l.strip_prefix("Caller: ")).flat_map(str::split_whitespace).map(str::to_owned),
        );
        words.retain(|w| w.starts_with('w'));
        words.sort();
        let mut expected: Vec<String> = (1..=all).map(|n| format!("w{n}")).collect();
        expected.sort();
        prop_assert_eq!(words, expected);
    }
}
