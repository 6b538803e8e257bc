//! The summary of a call. Pure.

use super::intent::topic;
use super::talk::Talk;
use super::words::{name_in, service_in, tokens};
use super::{Answer, Heard};
use serde_json::{Value, json};

impl Talk<'_> {
    pub(super) fn wants_summary(&self) -> bool {
        let asks = |text: &str| text.to_lowercase().contains("summar");
        self.question.tools.is_empty()
            && (asks(self.words)
                || self.question.messages.iter().any(|m| matches!(m, Heard::System(text) if asks(text))))
    }

    pub(super) fn summary(&self) -> Answer {
        let text = told(self.words);
        match &self.question.json {
            Some(schema) => {
                let mut value = fill(schema, &text, 0);
                understand(schema, &text, &mut value);
                Answer::say(value.to_string())
            }
            None => Answer::say(text),
        }
    }
}

/// Who called, what for, and what came of it. The conversation has one line for each turn, "Caller: …".
fn told(conversation: &str) -> String {
    let mut callers = Vec::new();
    let mut ours = Vec::new();
    for line in conversation.lines() {
        match line.split_once(": ") {
            Some((who, words)) if who.eq_ignore_ascii_case("caller") => callers.push(words),
            Some((_, words)) => ours.push(words),
            None => {}
        }
    }
    let name = callers.iter().find_map(|words| name_in(words));
    let mut wishes: Vec<String> = Vec::new();
    for words in &callers {
        let said = tokens(words);
        let wish = match (topic(&said), service_in(words)) {
            (Some(topic), _) => format!("asked about {topic}"),
            (None, Some(service)) => format!("wanted an appointment ({service})"),
            (None, None) => continue,
        };
        if !wishes.contains(&wish) {
            wishes.push(wish);
        }
    }
    let who = name.unwrap_or_else(|| "The caller".to_owned());
    let what = match wishes.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "talked to the receptionist".to_owned(),
    };
    let sentences = || ours.iter().flat_map(|words| words.split(['.', '!', '?']));
    let booked = sentences().map(str::trim).find_map(|s| {
        let (service, when) = s.strip_prefix("Your ")?.split_once(" is booked for ")?;
        Some(format!("Booked: {service}, {when}. Nothing is left to do."))
    });
    let result = booked.unwrap_or_else(|| {
        if sentences().any(|s| s.contains("taken your message")) {
            "A message was taken; somebody should call back.".to_owned()
        } else if sentences().any(|s| s.contains("put you through")) {
            "The caller was put through.".to_owned()
        } else {
            "Nothing was booked.".to_owned()
        }
    });
    format!("{who} {what}. {result}")
}

/// A value that fits a JSON schema, with the text wherever a string may stand.
fn fill(schema: &Value, text: &str, depth: u8) -> Value {
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() => "object",
        _ => return json!({ "summary": text }),
    };
    match kind {
        "object" if depth < 8 => Value::Object(
            schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, inner)| (name.clone(), fill(inner, text, depth.saturating_add(1))))
                .collect(),
        ),
        "array" => json!([]),
        "boolean" => json!(false),
        "integer" | "number" => json!(0),
        "null" => Value::Null,
        _ => json!(text),
    }
}

/// Says what the caller wanted, where a field asks for that by name in one word of several.
fn understand(schema: &Value, text: &str, value: &mut Value) {
    let intent = [
        ("Booked: ", "appointment"),
        ("A message was taken", "message"),
        ("was put through", "person"),
        ("wanted an appointment", "appointment"),
        ("asked about", "question"),
    ]
    .into_iter()
    .find_map(|(sign, intent)| text.contains(sign).then_some(intent))
    .unwrap_or("other");
    for (field, word) in [("intent", intent), ("sentiment", "neutral")] {
        let allowed = schema.pointer(&format!("/properties/{field}/enum")).and_then(Value::as_array);
        if allowed.is_some_and(|all| all.iter().any(|one| one == word))
            && let Some(place) = value.get_mut(field)
        {
            *place = json!(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_is_told_with_its_caller_and_wishes() {
        let conversation = "Receptionist: Hello.\nCaller: What are your prices?\nCaller: I would like a haircut tomorrow.\n\
            Caller: The first one. My name is Ann Lee.\n\
            Receptionist: Thank you, Ann Lee. Your Haircut with Jay is booked for Tuesday at 9:00 AM. Anything else?\n";
        assert_eq!(
            told(conversation),
            "Ann Lee asked about prices and wanted an appointment (haircut). Booked: Haircut with Jay, Tuesday at \
             9:00 AM. Nothing is left to do."
        );
        assert_eq!(told("Caller: hello"), "The caller talked to the receptionist. Nothing was booked.");
    }

    #[test]
    fn what_the_caller_wanted_is_said_in_the_schemas_own_words() {
        let schema =
            json!({"properties": {"intent": {"enum": ["appointment", "question"]}, "x": {"type": "string"}}});
        for (text, intent) in [("Ann asked about hours.", "question"), ("Nobody knows.", "appointment")] {
            let mut value = fill(&schema, text, 0);
            understand(&schema, text, &mut value);
            assert_eq!(value, json!({"intent": intent, "x": text}));
        }
    }
}
