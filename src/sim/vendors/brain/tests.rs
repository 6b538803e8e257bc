//! The receptionist's conversations.

use super::*;

const TOOLS: [&str; 7] = [
    "collect_customer_info",
    "check_availability",
    "book_appointment",
    "get_business_info",
    "take_message",
    "transfer_to_human",
    "end_call",
];

struct Conversation {
    question: Question,
    ids: u32,
}

impl Conversation {
    fn new() -> Self {
        let tools = TOOLS.iter().map(|t| (*t).to_owned()).collect();
        let messages = vec![Heard::System("You are the receptionist.".into())];
        Self { question: Question { messages, tools, ..Question::default() }, ids: 0 }
    }

    fn ask(&mut self) -> Answer {
        let mut answer = answer(&BrainMode::Receptionist, &self.question);
        for call in &mut answer.calls {
            self.ids += 1;
            call.id = format!("call_{}", self.ids);
        }
        self.question
            .messages
            .push(Heard::Assistant { text: answer.text.clone(), calls: answer.calls.clone() });
        answer
    }

    fn say(&mut self, words: &str) -> Answer {
        self.question.messages.push(Heard::User(words.into()));
        self.ask()
    }

    /// Answers the calls of the last answer, in order.
    fn tools(&mut self, answer: &Answer, results: &[Value]) -> Answer {
        for (call, result) in answer.calls.iter().zip(results) {
            self.question.messages.push(Heard::Tool { id: call.id.clone(), text: result.to_string() });
        }
        self.ask()
    }
}

fn only_call(answer: &Answer) -> (&str, Value) {
    assert_eq!(answer.calls.len(), 1, "{answer:?}");
    (&answer.calls[0].name, serde_json::from_str(&answer.calls[0].arguments).unwrap())
}

#[test]
fn a_haircut_tomorrow_is_looked_up_offered_and_booked() {
    let mut talk = Conversation::new();
    let looked = talk.say("I would like a haircut tomorrow");
    assert_eq!(only_call(&looked), ("check_availability", json!({"date": "tomorrow", "service": "haircut"})));
    let slots = json!({"slots": [
        {"slot_id": "s-1", "time": "3:00 PM", "staff": "Jay"}, {"slot_id": "s-2", "time": "4:00 PM", "staff": "Jay"},
    ]});
    let offered = talk.tools(&looked, &[slots]);
    assert_eq!(offered.text, "For tomorrow I have 3:00 PM or 4:00 PM. Which one would you like?");
    let booked = talk.say("Four p.m. works");
    assert_eq!(
        only_call(&booked),
        (
            "book_appointment",
            json!({"service": "haircut", "date": "tomorrow", "time": "4 PM", "staff": "Jay", "slot_id": "s-2"})
        )
    );
    let done = talk.tools(
        &booked,
        &[json!({"ok": true, "service": "Haircut", "staff": "Jay", "day": "Tuesday", "time": "4:00 PM"})],
    );
    assert_eq!(done.text, "Your Haircut with Jay is booked for Tuesday at 4:00 PM. Is there anything else?");
    let after = talk.say("yes");
    assert!(after.calls.is_empty(), "a booking that is done is not done again: {after:?}");
}

#[test]
fn yes_takes_the_first_offer_and_an_ordinal_its_own() {
    for (words, slot) in [("yes that works", "a"), ("the second one please", "b"), ("book it", "a")] {
        let mut talk = Conversation::new();
        let looked = talk.say("tomorrow");
        talk.tools(
            &looked,
            &[json!({"slots": [{"id": "a", "time": "9:00 AM"}, {"id": "b", "time": "10:00 AM"}]})],
        );
        let booked = talk.say(words);
        assert_eq!(only_call(&booked).1["slot_id"], slot, "{words}");
    }
}

#[test]
fn a_booking_refused_for_want_of_a_name_is_repeated_with_it() {
    let mut talk = Conversation::new();
    let booked = talk.say("book a haircut tomorrow at 3 PM");
    assert_eq!(
        only_call(&booked),
        ("book_appointment", json!({"service": "haircut", "date": "tomorrow", "time": "3 PM"}))
    );
    let asked = talk.tools(&booked, &[json!({"error": "missing_name", "message": "a name is needed"})]);
    assert_eq!(asked.text, "I am sorry, a name is needed. What name shall I put it under?");
    let told = talk.say("Ann Lee");
    assert_eq!(only_call(&told), ("collect_customer_info", json!({"name": "Ann Lee"})));
    let again = talk.tools(&told, &[json!({"ok": true})]);
    assert_eq!(only_call(&again).1["customer_name"], "Ann Lee");
}

#[test]
fn a_name_and_a_wish_in_one_breath_are_two_calls() {
    let mut talk = Conversation::new();
    let both = talk.say("My name is Bob and I need a shave on Friday");
    let names: Vec<&str> = both.calls.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["collect_customer_info", "check_availability"]);
    let spoken = talk.tools(&both, &[json!({"ok": true}), json!({"slots": []})]);
    assert_eq!(spoken.text, "I am sorry, nothing is free Friday. Would another day suit you?");
}

#[test]
fn each_wish_has_its_tool() {
    let cases = [
        ("How much is a haircut?", "get_business_info", "topic", "prices"),
        ("When do you open?", "get_business_info", "topic", "hours"),
        ("Where are you?", "get_business_info", "topic", "location"),
        ("Can I talk to a human?", "transfer_to_human", "reason", "the caller asked for a person"),
        ("That's all, goodbye", "end_call", "reason", "the caller said goodbye"),
        ("Please take a message", "take_message", "message", "Please take a message"),
    ];
    for (words, tool, key, value) in cases {
        let answer = Conversation::new().say(words);
        let (name, arguments) = only_call(&answer);
        assert_eq!((name, arguments[key].as_str()), (tool, Some(value)), "{words}");
    }
}

#[test]
fn goodbye_and_transfer_are_said_along_with_their_tools() {
    assert_eq!(Conversation::new().say("bye").text, GOODBYE);
    assert_eq!(Conversation::new().say("a person please").text, TRANSFER);
}

#[test]
fn without_tools_none_is_called() {
    let mut talk = Conversation::new();
    talk.question.tools.clear();
    for words in ["a haircut tomorrow", "goodbye", "a human", "my name is Ann"] {
        assert!(talk.say(words).calls.is_empty(), "{words}");
    }
}

#[test]
fn anything_else_is_echoed() {
    assert_eq!(Conversation::new().say("The weather is nice").text, "You said: The weather is nice.");
}

#[test]
fn an_error_is_told_with_the_alternatives() {
    let mut talk = Conversation::new();
    let booked = talk.say("book tomorrow at 3 PM");
    let told = talk.tools(
        &booked,
        &[json!({"error": "slot_taken", "message": "that time is taken", "alternatives": ["4 PM", "5 PM"]})],
    );
    assert_eq!(
        told.text,
        "I am sorry, that time is taken. I could offer 4 PM or 5 PM. Would one of these suit you?"
    );
    let booked = talk.say("five PM then");
    assert_eq!(only_call(&booked).1["time"], "5 PM");
}

#[test]
fn a_malformed_call_is_made_again_as_it_should_be_and_only_the_first_is_malformed() {
    let mut talk = Conversation::new();
    talk.question.messages.push(Heard::User("When do you open?".into()));
    let mut first = answer(&BrainMode::MalformedArguments, &talk.question);
    first.calls[0].id = "bad".into();
    talk.question.messages.push(Heard::Assistant { text: String::new(), calls: first.calls });
    let refused = json!({"error": "invalid_arguments", "message": "Nothing was done. Correct the call."});
    talk.question.messages.push(Heard::Tool { id: "bad".into(), text: refused.to_string() });
    let again = answer(&BrainMode::MalformedArguments, &talk.question);
    assert_eq!(only_call(&again), ("get_business_info", json!({"topic": "hours"})));
    talk.question.messages.push(Heard::User("That is all, goodbye.".into()));
    assert_eq!(answer(&BrainMode::MalformedArguments, &talk.question).text, GOODBYE);
}

#[test]
fn a_summary_is_text_or_fits_the_schema() {
    let messages = vec![Heard::System("Summarise this call.".into()), Heard::User("caller: hello".into())];
    let mut question = Question { messages, ..Question::default() };
    assert!(answer(&BrainMode::Receptionist, &question).text.contains("receptionist"));
    question.json = Some(json!({"type": "object", "properties": {
        "summary": {"type": "string"}, "booked": {"type": "boolean"}, "mood": {"enum": ["good", "bad"]},
    }}));
    let filled: Value = serde_json::from_str(&answer(&BrainMode::Receptionist, &question).text).unwrap();
    assert_eq!((filled["booked"].clone(), filled["mood"].clone()), (json!(false), json!("good")));
}

#[test]
fn a_script_answers_by_its_rules_and_then_falls_back() {
    let script = Script::from_toml(
        r#"
        [[rules]]
        when_contains = "Pizza"
        say = "One moment."
        then = "We have no pizza."
        tools = [{ name = "get_business_info", arguments = { topic = "menu" } }]
        "#,
    )
    .unwrap();
    let mode = BrainMode::Script(script);
    let mut talk = Conversation::new();
    talk.question.messages.push(Heard::User("a pizza, please".into()));
    let first = answer(&mode, &talk.question);
    assert_eq!((first.text.as_str(), first.calls[0].name.as_str()), ("One moment.", "get_business_info"));
    let calls = vec![Call { id: "call_1".into(), ..first.calls[0].clone() }];
    talk.question.messages.push(Heard::Assistant { text: first.text, calls });
    talk.question.messages.push(Heard::Tool { id: "call_1".into(), text: "{}".into() });
    assert_eq!(answer(&mode, &talk.question).text, "We have no pizza.");
    talk.question.messages.push(Heard::User("hello".into()));
    assert_eq!(answer(&mode, &talk.question).text, "Hello. How can I help you today?");
}

#[test]
fn the_special_modes_do_what_their_names_say() {
    let mut talk = Conversation::new();
    talk.question.messages.push(Heard::User("hello".into()));
    let of = |mode| answer(&mode, &talk.question);
    assert_eq!(of(BrainMode::EmptyReply), Answer::default());
    assert_eq!(of(BrainMode::EndlessTools).calls.len(), 1);
    assert_eq!(of(BrainMode::ParallelCalls).calls.len(), 3);
    assert!(of(BrainMode::LongReply).text.len() > 2_000);
    let malformed = of(BrainMode::MalformedArguments);
    assert!(serde_json::from_str::<Value>(&malformed.calls[0].arguments).is_err());
}

proptest::proptest! {
    #[test]
    fn no_tool_result_upsets_it(result in "\\PC{0,60}", words in "\\PC{0,60}") {
        let mut talk = Conversation::new();
        let looked = talk.say("tomorrow please");
        for call in &looked.calls {
            talk.question.messages.push(Heard::Tool { id: call.id.clone(), text: result.clone() });
        }
        talk.ask();
        talk.say(&words);
    }
}
