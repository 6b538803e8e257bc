//! What the bot says without asking a model, in English; a profile's own words come first where it has some.

use crate::domain::profile::BusinessProfile;

/// Said while the answer takes its time.
pub const FILLERS: &[&str] =
    &["One moment, please.", "Just a second.", "Let me see.", "Thanks for waiting, almost there."];

/// Said when the caller's words could not be made out.
pub const NOT_UNDERSTOOD: &str = "Sorry, I didn't catch that. Could you say it again?";

/// Said while nothing that the caller says can be made out, and nobody knows yet for how long.
pub const CANNOT_HEAR: &[&str] = &[
    "One moment, please, I cannot hear you right now.",
    "I still can't hear you, I'm sorry. Please stay on the line.",
];

/// Said once the caller can be heard again, where words may have been lost.
pub const HEARS_AGAIN: &str = "I can hear you again. Could you say that once more, please?";

/// First words after a connection that broke was taken up again.
pub const RESUMED: &str = "Sorry, we were cut off. You were saying?";

/// Said when nothing works and a person is at hand.
pub const APOLOGY_TRANSFER: &str =
    "I'm sorry, I'm having trouble on my end. Let me put you through to somebody who can help.";

/// Said when an answer failed and nobody is at hand: the call goes on to a call-back.
pub const APOLOGY_CALL_BACK: &str = "I'm sorry, I'm having trouble on my end right now. \
     If you tell me your name and what it is about, somebody will call you back.";

/// Said when a call has to be given up.
pub const APOLOGY_GOODBYE: &str =
    "I'm sorry, I'm having technical trouble. Somebody will call you back as soon as possible. Goodbye.";

/// Said before the caller is put through, where the model did not.
pub const TRANSFER: &str = "One moment, I'll put you through.";

/// Said when the person the caller was put through to did not answer.
pub const TRANSFER_FAILED: &str =
    "I'm sorry, nobody can take the call right now. Can I take a message for you?";

/// Said shortly before the longest call is over.
pub const MAX_DURATION: &str =
    "I'm sorry, I have to end this call now. Please call us again if there is anything else. Goodbye.";

/// The bot's first words to a caller; `customer_name` if the caller is known.
pub fn greeting(profile: &BusinessProfile, customer_name: Option<&str>) -> String {
    let name = customer_name.map(first_name).filter(|n| !n.is_empty());
    match (profile.greeting.as_deref().map(str::trim).filter(|g| !g.is_empty()), name) {
        (Some(own), name) => fill(own, &profile.name, name),
        (None, Some(name)) => {
            format!("Hi {name}, welcome back to {}. How can I help you today?", profile.name)
        }
        (None, None) => format!("Thanks for calling {}. How can I help you today?", profile.name),
    }
}

/// The bot's first words to somebody it rang.
pub fn outbound_greeting(profile: &BusinessProfile, name: Option<&str>, purpose: Option<&str>) -> String {
    let hello = match name.map(first_name).filter(|n| !n.is_empty()) {
        Some(name) => format!("Hi {name}, this is the automated assistant of {}", profile.name),
        None => format!("Hello, this is the automated assistant of {}", profile.name),
    };
    match purpose.map(str::trim).filter(|p| !p.is_empty()) {
        Some(purpose) => {
            format!("{hello}, calling about {}. Is now a good time?", purpose.trim_end_matches('.'))
        }
        None => format!("{hello}. Is now a good time?"),
    }
}

/// What is left on a voicemail.
pub fn voicemail(profile: &BusinessProfile, purpose: Option<&str>) -> String {
    let about = match purpose.map(str::trim).filter(|p| !p.is_empty()) {
        Some(purpose) => format!(" about {}", purpose.trim_end_matches('.')),
        None => String::new(),
    };
    let number = match profile.phone.trim() {
        "" => String::new(),
        number => format!(" at {number}"),
    };
    format!(
        "Hello, this is {} calling{about}. Please call us back{number} when it suits you. Thank you, goodbye.",
        profile.name
    )
}

/// The bot's last words.
pub fn goodbye(profile: &BusinessProfile) -> String {
    match profile.goodbye.as_deref().map(str::trim).filter(|g| !g.is_empty()) {
        Some(own) => fill(own, &profile.name, None),
        None => format!("Thanks for calling {}. Goodbye!", profile.name),
    }
}

/// The `n`-th filler of a wait.
pub fn filler(n: usize) -> &'static str {
    FILLERS.get(n % FILLERS.len()).copied().unwrap_or("One moment, please.")
}

/// The first filler while the caller waits for a tool, if there is one that fits it.
pub fn tool_filler(tool: &str) -> Option<&'static str> {
    match tool {
        "check_availability" => Some("Let me check the calendar."),
        "book_appointment" => Some("Let me book that for you."),
        "get_business_info" => Some("Let me look that up."),
        "take_message" | "collect_customer_info" => Some("Let me write that down."),
        _ => None,
    }
}

/// The `n`-th question to a caller who has gone silent.
pub fn idle_prompt(n: usize) -> &'static str {
    if n == 0 { "Are you still there?" } else { "Hello? I can't hear you. Are you still on the line?" }
}

/// Last words to a caller who stays silent.
pub fn idle_goodbye(profile: &BusinessProfile) -> String {
    format!("I can't hear anybody, so I'll hang up now. Please call again. {}", goodbye(profile))
}

/// Said over the phone, a first name is enough and a surname is mispronounced.
fn first_name(name: &str) -> &str {
    name.split_whitespace().next().unwrap_or_default()
}

fn fill(template: &str, business: &str, name: Option<&str>) -> String {
    let with_name = match name {
        Some(name) => template.replace("{name}", name),
        // "Hello {name}, welcome" is "Hello, welcome" to a stranger.
        None => template.replace(", {name}", "").replace(" {name}", "").replace("{name}", ""),
    };
    with_name.replace("{business}", business).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::rules::profile;

    #[test]
    fn a_known_customer_is_greeted_by_first_name() {
        let plain = profile();
        assert_eq!(
            greeting(&plain, Some("Ann Lee")),
            "Hi Ann, welcome back to Main Street Barbers. How can I help you today?"
        );
        assert_eq!(
            greeting(&plain, Some("  ")),
            "Thanks for calling Main Street Barbers. How can I help you today?"
        );
    }

    #[test]
    fn a_profiles_greeting_serves_strangers_too() {
        let mut own = profile();
        own.greeting = Some("Hello {name}, this is {business}!".into());
        assert_eq!(greeting(&own, Some("Ann")), "Hello Ann, this is Main Street Barbers!");
        assert_eq!(greeting(&own, None), "Hello, this is Main Street Barbers!");
    }

    #[test]
    fn fillers_go_round() {
        assert_eq!(filler(0), filler(FILLERS.len()));
    }

    #[test]
    fn a_wait_for_a_tool_is_bridged_by_words_about_that_tool() {
        for tool in crate::dialogue::schema::names() {
            let about = match tool {
                "check_availability" => Some("calendar"),
                "book_appointment" => Some("book"),
                "get_business_info" => Some("look"),
                "take_message" | "collect_customer_info" => Some("write"),
                // What they do is said when it is done.
                "transfer_to_human" | "end_call" => None,
                other => panic!("nobody has thought of {other}"),
            };
            match (tool_filler(tool), about) {
                (Some(words), Some(about)) => assert!(words.contains(about), "{tool}: {words}"),
                (words, about) => assert_eq!(words, about, "{tool}"),
            }
        }
    }

    #[test]
    fn an_outbound_call_says_who_rings_and_why() {
        let text = outbound_greeting(&profile(), Some("Ann Lee"), Some("your appointment on Friday."));
        assert_eq!(
            text,
            "Hi Ann, this is the automated assistant of Main Street Barbers, calling about your appointment on \
             Friday. Is now a good time?"
        );
    }
}
