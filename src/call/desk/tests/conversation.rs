//! The simulated receptionist at the real desk, without a telephone: the demonstration books on every day.

use super::*;
use crate::config::profile::{self as business, BARBERSHOP};
use crate::dialogue::tools::parse;
use crate::provider::llm::ToolCall;
use crate::sim::script::{Act, Script, WaitFor};
use crate::sim::vendors::brain::{BrainMode, Call, Heard, Question, answer};
use jiff::ToSpan;
use jiff::tz::TimeZone;

/// A conversation in writing.
struct Chat {
    question: Question,
    desk: BookingDesk,
    calls: usize,
}

impl Chat {
    fn new(desk: BookingDesk) -> Self {
        let tools = crate::dialogue::schema::names().map(str::to_owned).into();
        let messages = vec![Heard::System("You are the receptionist.".into())];
        Self { question: Question { messages, tools, ..Question::default() }, desk, calls: 0 }
    }

    /// What the receptionist says to these words, the tools' work included.
    async fn say(&mut self, words: &str) -> String {
        self.question.messages.push(Heard::User(words.into()));
        let mut said = String::new();
        for _ in 0..6 {
            let mut reply = answer(&BrainMode::Receptionist, &self.question);
            for call in &mut reply.calls {
                self.calls += 1;
                call.id = format!("call_{}", self.calls);
            }
            said.push_str(&reply.text);
            let calls: Vec<Call> = reply.calls.clone();
            self.question.messages.push(Heard::Assistant { text: reply.text, calls: reply.calls });
            for call in &calls {
                let wanted = ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    arguments: call.arguments.clone(),
                };
                let result = self.desk.run(parse(&wanted).unwrap()).await.content;
                self.question.messages.push(Heard::Tool { id: call.id.clone(), text: result.to_string() });
            }
            if calls.is_empty() || calls.iter().any(|call| call.name == "end_call") {
                return said;
            }
        }
        panic!("no end of tools after {words:?}: {:?}", self.question.messages);
    }
}

fn barbershop() -> BusinessProfile {
    business::parse(BARBERSHOP).unwrap()
}

/// Times on every day of two weeks with holidays in them: before opening, at work, near closing, at night.
fn moments() -> Vec<UnixMillis> {
    let zone = TimeZone::get("America/New_York").unwrap();
    let mut all = Vec::new();
    for first in [date(2026, 11, 22), date(2026, 12, 20)] {
        for day in 0..14 {
            for (hour, minute) in [(0, 5), (8, 0), (13, 10), (18, 50), (23, 55)] {
                let at = first.checked_add(day.days()).unwrap().at(hour, minute, 0, 0);
                let at = at.to_zoned(zone.clone()).unwrap().timestamp();
                all.push(UnixMillis(at.as_millisecond()));
            }
        }
    }
    all
}

#[actix::test]
async fn the_demonstration_books_at_any_time_of_any_day() {
    let script = Script::embedded("booking").unwrap();
    for now in moments() {
        let world = World::new(barbershop());
        world.now.set(now);
        let mut chat = Chat::new(world.desk("CA1", ANN));
        let mut last = String::new();
        for step in &script.steps {
            if let Some(Act::Say(words)) = &step.act {
                last = chat.say(words).await;
            }
            let waits = match &step.wait_for {
                Some(WaitFor::Heard(text)) => Some(text),
                _ => None,
            };
            for wanted in step.expect_heard.iter().chain(waits) {
                let heard = last.to_lowercase().contains(&wanted.to_lowercase());
                assert!(heard, "{now:?}: {wanted:?} is missing in {last:?}");
            }
        }
        let all = world.confirmed().await;
        assert_eq!(all.len(), 1, "{now:?}");
        assert_eq!(all[0].service, "Classic Haircut");
        world.end().await;
    }
}

#[actix::test]
async fn callers_of_all_kinds_get_answers_that_lead_on() {
    // Sunday, November 22, in the morning: the shop opens at ten, and is closed on Monday.
    let conversations: [&[(&str, &str)]; 9] = [
        &[
            ("How much is a skin fade?", "The Skin Fade is 45 dollars."),
            ("Are you open tomorrow?", "Tomorrow, Monday, we are closed."),
            ("Where are you?", "48 Orchard Street"),
            ("Can I pay by card?", "We take cash, credit and debit cards and Apple Pay."),
            ("What if I am late?", "We hold your chair for ten minutes."),
            ("Who works there?", "Marcus, owner and master barber"),
            ("No thanks", "Goodbye"),
        ],
        &[
            ("I would like to book a haircut on Tuesday", "On Tuesday, November 24, I have 9:00 AM"),
            ("Do you have something in the afternoon on Tuesday?", "12:00 PM"),
            ("At 3 PM please.", "What name shall I put it under?"),
            ("Ada Jones.", "Your Classic Haircut with Marcus is booked for Tuesday, November 24 at 3:00 PM."),
            ("No.", "Goodbye"),
        ],
        &[
            ("I need an appointment tomorrow", "What would you like to come in for?"),
            ("A beard trim.", "we are closed on Monday, November 23. The next free times are on Tuesday"),
            ("Yes, the first one. My name is Bob.", "Your Beard Trim with Marcus is booked for Tuesday"),
        ],
        &[
            ("My name is Cleo and I want a shave on Friday", "On Friday, November 27, I have"),
            ("None of these", "Which other day or time would you like?"),
            ("Saturday then, with Elena", "On Saturday, November 28, I have 8:00 AM"),
            ("The last one", "Your Hot Towel Shave with Elena is booked for Saturday, November 28"),
        ],
        &[
            (
                "Book a haircut on Thursday at 3 PM",
                "we are closed on Thursday, November 26 for Thanksgiving.",
            ),
            ("Okay, the second one, and the name is Dan", "is booked for Friday, November 27"),
        ],
        &[
            ("Book a massage on Friday", "We offer Classic Haircut, Skin Fade"),
            ("A skin fade then", "On Friday, November 27, I have"),
            ("Three o'clock", "What name"),
            ("It's Eve", "Your Skin Fade with"),
        ],
        &[(
            "A kids' cut with Gustav on Friday",
            "nobody of that name works here. We have Marcus, Elena and Theo.",
        )],
        &[
            ("Can I talk to a human?", "nobody is available right now. May I take a message?"),
            ("Yes please", "What shall I pass on?"),
            ("My parcel is with you", "I have taken your message."),
        ],
        &[
            ("A haircut as soon as possible please", "On Sunday, November 22, I have 10:00 AM"),
            ("The first one, my name is Flo", "is booked for Sunday, November 22 at 10:00 AM."),
        ],
    ];
    for (n, turns) in conversations.into_iter().enumerate() {
        let world = World::new(barbershop());
        world.now.set(at(22, 7, 0));
        let mut chat = Chat::new(world.desk(&format!("CA{n}"), ANN));
        for (words, wanted) in turns {
            let said = chat.say(words).await;
            assert!(said.contains(wanted), "{words:?}: {said:?}");
        }
        world.end().await;
    }
}

#[actix::test]
async fn a_service_that_fits_several_is_handed_back_with_those() {
    let world = World::new(barbershop());
    let desk = world.desk("CA1", ANN);
    let answer = ask(&desk, check("tomorrow", None, Some("haircut"))).await;
    assert_eq!(answer["error"], "several services fit");
    assert_eq!(answer["services"], json!(["Classic Haircut", "Haircut and Beard"]));
    let policies = ask(&desk, ToolRequest::GetBusinessInfo { topic: "policies".into() }).await;
    assert_eq!(policies["payment"][0], "cash");
    world.end().await;
}
