//! What sample people are called and say.

use crate::domain::call::EndReason;
use crate::domain::turn::StageLatencies;
use rand::Rng;
use rand::rngs::StdRng;

const FIRST: [&str; 40] = [
    "Maria", "James", "Priya", "Tom", "Chen", "Sarah", "Luis", "Amina", "Oleg", "Grace", "Noah", "Ines",
    "Kofi", "Yuki", "Hanna", "Omar", "Elena", "David", "Zoe", "Ravi", "Lena", "Marco", "Aisha", "Peter",
    "Nina", "Jorge", "Mei", "Samuel", "Iris", "Ahmed", "Clara", "Victor", "Fatima", "Leo", "Rosa", "Ivan",
    "Julia", "Andre", "Sofia", "Daniel",
];
const LAST: [&str; 40] = [
    "Alvarez",
    "Okafor",
    "Raman",
    "Becker",
    "Wei",
    "Lindqvist",
    "Santos",
    "Diallo",
    "Petrov",
    "Kim",
    "Nguyen",
    "Costa",
    "Mensah",
    "Tanaka",
    "Novak",
    "Haddad",
    "Rossi",
    "Cohen",
    "Moreau",
    "Patel",
    "Schmidt",
    "Ricci",
    "Khan",
    "Larsen",
    "Popov",
    "Silva",
    "Zhang",
    "Brown",
    "Walsh",
    "Farah",
    "Weber",
    "Ibarra",
    "Yilmaz",
    "Murphy",
    "Garcia",
    "Sokolov",
    "Hansen",
    "Dubois",
    "Ferrari",
    "Olsen",
];
const ITEMS: [&str; 12] = [
    "umbrella",
    "jacket",
    "scarf",
    "wallet",
    "notebook",
    "gift voucher",
    "invoice",
    "parking permit",
    "receipt",
    "sunglasses",
    "keys",
    "headphones",
];
const DAYS: [&str; 6] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MESSAGES: [&str; 4] = [
    "Left something behind, please call back.",
    "Would like to change a booking, please call back.",
    "Asks for an invoice for the last visit.",
    "Wants to speak about a gift voucher.",
];

fn one<'a>(rng: &mut StdRng, all: &[&'a str]) -> &'a str {
    all.get(rng.random_range(0..all.len().max(1))).copied().unwrap_or_default()
}

pub(super) fn name(rng: &mut StdRng) -> String {
    format!("{} {}", one(rng, &FIRST), one(rng, &LAST))
}

/// The number of sample person `n`: of those set apart for fiction (555-01xx) while there are any of them. Area 202 is
/// left to the few whom every seed has.
pub(super) fn phone(n: u32) -> Option<String> {
    let area = 203 + n / 100;
    (area < 10_000).then(|| format!("+1{area}55501{:02}", n % 100))
}

pub(super) fn message(rng: &mut StdRng) -> &'static str {
    one(rng, &MESSAGES)
}

/// An answer's latencies: most about 0.7 s, a few long.
pub(super) fn latency(rng: &mut StdRng) -> StageLatencies {
    let slow = if rng.random_bool(0.03) { rng.random_range(500..3_000) } else { 0 };
    let token = rng.random_range(180..420) + slow;
    let sentence = token + rng.random_range(60..200);
    let audio = sentence + rng.random_range(90..260);
    StageLatencies {
        end_of_turn_ms: Some(rng.random_range(250..600)),
        first_token_ms: Some(token),
        first_sentence_ms: Some(sentence),
        first_audio_ms: Some(audio),
        first_sent_ms: Some(audio + rng.random_range(2..15)),
    }
}

/// What a sample call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Booking,
    Question,
    Message,
    Transfer,
    Silent,
    Broken,
    Missed,
}

impl Kind {
    pub(super) fn pick(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..=31 => Self::Booking,
            32..=63 => Self::Question,
            64..=77 => Self::Message,
            78..=86 => Self::Transfer,
            87..=90 => Self::Silent,
            91..=92 => Self::Broken,
            _ => Self::Missed,
        }
    }

    pub(super) const fn reason(self) -> EndReason {
        match self {
            Self::Booking | Self::Question => EndReason::Completed,
            Self::Message => EndReason::MessageTaken,
            Self::Transfer => EndReason::Transferred,
            Self::Silent => EndReason::Silence,
            Self::Broken => EndReason::Lost,
            Self::Missed => EndReason::NoAnswer,
        }
    }

    pub(super) const fn is_answered(self) -> bool {
        !matches!(self, Self::Missed)
    }

    /// Whether the caller says anything.
    pub(super) const fn speaks(self) -> bool {
        !matches!(self, Self::Missed | Self::Silent)
    }

    pub(super) const fn summary(self) -> &'static str {
        match self {
            Self::Booking => {
                "The caller asked for an appointment and took one of the times offered. It was booked."
            }
            Self::Question => {
                "The caller asked about opening hours and prices and was told them. Nothing is left to do."
            }
            Self::Message => "The caller left a message and asks to be called back.",
            Self::Transfer => "The caller asked for a person and was put through.",
            Self::Broken => "The connection broke while the caller explained what they wanted.",
            Self::Silent | Self::Missed => "",
        }
    }

    /// The conversation; true marks the bot's lines.
    pub(super) fn lines(self, rng: &mut StdRng, services: &[String]) -> Vec<(bool, String)> {
        let service =
            services.get(rng.random_range(0..services.len().max(1))).map_or("visit", String::as_str);
        let (day, item, who) = (one(rng, &DAYS), one(rng, &ITEMS), name(rng));
        let hour = rng.random_range(9..18);
        let bot = |text: String| (true, text);
        let caller = |text: String| (false, text);
        let hello = bot("Thanks for calling. How can I help you?".to_owned());
        match self {
            Self::Missed => Vec::new(),
            Self::Silent => {
                vec![hello, bot("Are you still there?".to_owned()), bot("Goodbye then.".to_owned())]
            }
            Self::Booking => vec![
                hello,
                caller(format!("Hi, I'd like to book a {service} for {day}.")),
                bot(format!("Of course. On {day} I have {hour} o'clock or half past. Which do you prefer?")),
                caller(format!("{hour} o'clock please. My name is {who}.")),
                bot(format!("Thank you. Shall I book the {service} for {day} at {hour}?")),
                caller("Yes please, that works.".to_owned()),
                bot(format!("You are booked for {day} at {hour}. See you then!")),
                caller("Great, thanks. Bye.".to_owned()),
            ],
            Self::Question => vec![
                hello,
                caller(format!("What time do you close on {day}?")),
                bot(format!("On {day} we close at seven. Can I help you with anything else?")),
                caller(format!("Yes, how much is a {service}?")),
                bot(format!("A {service} is on our price list. Would you like to book one?")),
                caller("Not today, thank you.".to_owned()),
            ],
            Self::Message => vec![
                hello,
                caller(format!("This is {who}. I left my {item} at your place on {day}.")),
                bot("I am sorry to hear that. Shall I take a message? Somebody will call you back."
                    .to_owned()),
                caller("Yes, please do.".to_owned()),
                bot("I have noted that and somebody will call you back.".to_owned()),
            ],
            Self::Transfer => vec![
                hello,
                caller(format!("Could I speak to a person about my {item}?")),
                bot("Of course. I am putting you through.".to_owned()),
            ],
            Self::Broken => {
                vec![hello, caller(format!("Hello, I am calling about the {service} on {day} and"))]
            }
        }
    }
}
