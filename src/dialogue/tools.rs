//! The tools the model may call: their arguments once validated, and the way there.
//!
//! The model's arguments are text that may be anything. They are read against the same table from which the schemas
//! are made (`schema`); whatever does not fit becomes an answer that tells the model what was expected (TALK-2).

use super::chat::ToolCall;
use super::schema::{self, Field, Tool};
use serde_json::{Map, Value, json};

/// Longest argument text that is read at all, in bytes.
const MAX_ARGUMENTS: usize = 8 * 1024;

/// A tool call whose arguments are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolRequest {
    /// `collect_customer_info(name?, phone?, email?)`: remembers who the caller is.
    CollectCustomerInfo {
        /// Name.
        name: Option<String>,
        /// Telephone number as spoken; normalised at the desk.
        phone: Option<String>,
        /// E-mail address.
        email: Option<String>,
    },
    /// `check_availability(date, staff?, service?)`: free slots on a day.
    CheckAvailability {
        /// The day as the caller said it ("tomorrow", "next Tuesday", "the 3rd", "2026-11-24").
        date: String,
        /// Wanted person.
        staff: Option<String>,
        /// Wanted service, for its duration.
        service: Option<String>,
    },
    /// `book_appointment(service, date, time, staff?, customer_name?, customer_phone?, slot_id?)`.
    BookAppointment {
        /// Service as said.
        service: String,
        /// Day as said.
        date: String,
        /// Time as said ("3 PM", "15:00", "half past two").
        time: String,
        /// Wanted person.
        staff: Option<String>,
        /// Name given for the booking.
        customer_name: Option<String>,
        /// Number given for the booking.
        customer_phone: Option<String>,
        /// The offered slot this is about.
        slot_id: Option<String>,
    },
    /// `get_business_info(topic)`: hours, services, prices, staff, location, policies.
    GetBusinessInfo {
        /// What about.
        topic: String,
    },
    /// `take_message(message, name?, phone?)`: for a call-back.
    TakeMessage {
        /// The message.
        message: String,
        /// Who left it.
        name: Option<String>,
        /// Where to call back.
        phone: Option<String>,
    },
    /// `transfer_to_human(reason?)`.
    TransferToHuman {
        /// Why.
        reason: Option<String>,
    },
    /// `end_call(reason?)`.
    EndCall {
        /// Why.
        reason: Option<String>,
    },
}

impl ToolRequest {
    /// The tool's name, as the model calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CollectCustomerInfo { .. } => "collect_customer_info",
            Self::CheckAvailability { .. } => "check_availability",
            Self::BookAppointment { .. } => "book_appointment",
            Self::GetBusinessInfo { .. } => "get_business_info",
            Self::TakeMessage { .. } => "take_message",
            Self::TransferToHuman { .. } => "transfer_to_human",
            Self::EndCall { .. } => "end_call",
        }
    }

    /// Whether the tool only looks: its answer holds within its turn, and it may be given up at any time.
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::CheckAvailability { .. } | Self::GetBusinessInfo { .. })
    }

    /// Whether a repetition of this very call is answered with what the first one brought. What decides only over the
    /// reply it is made in (hanging up, handing over) is asked anew each time.
    pub const fn is_remembered(&self) -> bool {
        !matches!(self, Self::TransferToHuman { .. } | Self::EndCall { .. })
    }

    /// The arguments that are present, by name.
    pub fn arguments(&self) -> Vec<(&'static str, &str)> {
        let all: Vec<(&'static str, Option<&String>)> = match self {
            Self::CollectCustomerInfo { name, phone, email } => {
                vec![("name", name.as_ref()), ("phone", phone.as_ref()), ("email", email.as_ref())]
            }
            Self::CheckAvailability { date, staff, service } => {
                vec![("date", Some(date)), ("staff", staff.as_ref()), ("service", service.as_ref())]
            }
            Self::BookAppointment { service, date, time, staff, customer_name, customer_phone, slot_id } => {
                vec![
                    ("service", Some(service)),
                    ("date", Some(date)),
                    ("time", Some(time)),
                    ("staff", staff.as_ref()),
                    ("customer_name", customer_name.as_ref()),
                    ("customer_phone", customer_phone.as_ref()),
                    ("slot_id", slot_id.as_ref()),
                ]
            }
            Self::GetBusinessInfo { topic } => vec![("topic", Some(topic))],
            Self::TakeMessage { message, name, phone } => {
                vec![("message", Some(message)), ("name", name.as_ref()), ("phone", phone.as_ref())]
            }
            Self::TransferToHuman { reason } | Self::EndCall { reason } => vec![("reason", reason.as_ref())],
        };
        all.into_iter().filter_map(|(name, value)| Some((name, value?.as_str()))).collect()
    }

    /// The arguments as a JSON object, for the audit trail.
    pub fn to_json(&self) -> Value {
        self.arguments().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }

    /// What makes two calls the same call: the tool and its arguments, without regard to case.
    pub fn key(&self) -> String {
        let mut key = self.name().to_owned();
        for (name, value) in self.arguments() {
            // The separators cannot occur in a value: control characters do not survive `parse`.
            key.push('\u{1e}');
            key.push_str(name);
            key.push('\u{1f}');
            key.push_str(&value.to_lowercase());
        }
        key
    }
}

/// What is wrong with one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Which one.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What was expected.
    pub expected: String,
}

/// Why a tool call cannot be carried out as it came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolArgumentError {
    /// There is no such tool.
    #[error("there is no tool of this name")]
    UnknownTool,
    /// The arguments are not a JSON object.
    #[error("the arguments are not a JSON object")]
    NotAnObject {
        /// The arguments the tool takes.
        expected: String,
    },
    /// The arguments are longer than anything the tools take.
    #[error("the arguments are too long")]
    TooLarge,
    /// Arguments are missing, unknown, of the wrong type or too long.
    #[error("some arguments are not acceptable")]
    Fields(Vec<FieldError>),
}

impl ToolArgumentError {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownTool => "unknown_tool",
            Self::NotAnObject { .. } | Self::TooLarge | Self::Fields(_) => "invalid_arguments",
        }
    }

    /// The answer from which the model can correct itself.
    pub fn to_answer(&self) -> Value {
        let mut answer = json!({
            "error": self.code(),
            "message": format!("Nothing was done: {self}. Correct the call and make it again, or go on without it."),
        });
        let detail = match self {
            Self::UnknownTool => Some(("known_tools", json!(schema::names()))),
            Self::NotAnObject { expected } => Some(("expected", json!(expected))),
            Self::TooLarge => Some(("expected", json!(format!("at most {MAX_ARGUMENTS} bytes")))),
            Self::Fields(fields) => Some((
                "fields",
                fields
                    .iter()
                    .map(|f| json!({"field": f.field, "problem": f.problem, "expected": f.expected}))
                    .collect(),
            )),
        };
        if let (Some(object), Some((key, value))) = (answer.as_object_mut(), detail) {
            object.insert(key.to_owned(), value);
        }
        answer
    }
}

/// Reads a tool call. Null and blank arguments count as absent; unknown ones are refused, so that a misnamed argument
/// is corrected rather than lost.
pub fn parse(call: &ToolCall) -> Result<ToolRequest, ToolArgumentError> {
    let tool = schema::find(&call.name).ok_or(ToolArgumentError::UnknownTool)?;
    let mut values = Values::read(tool, &call.arguments)?;
    let request = match tool.name {
        "collect_customer_info" => {
            let (name, phone, email) = (values.take("name"), values.take("phone"), values.take("email"));
            if name.is_none() && phone.is_none() && email.is_none() {
                return Err(ToolArgumentError::Fields(vec![FieldError {
                    field: "name, phone, email".into(),
                    problem: "all are missing".into(),
                    expected: "at least one of them".into(),
                }]));
            }
            ToolRequest::CollectCustomerInfo { name, phone, email }
        }
        "check_availability" => ToolRequest::CheckAvailability {
            date: values.required("date"),
            staff: values.take("staff"),
            service: values.take("service"),
        },
        "book_appointment" => ToolRequest::BookAppointment {
            service: values.required("service"),
            date: values.required("date"),
            time: values.required("time"),
            staff: values.take("staff"),
            customer_name: values.take("customer_name"),
            customer_phone: values.take("customer_phone"),
            slot_id: values.take("slot_id"),
        },
        "get_business_info" => ToolRequest::GetBusinessInfo { topic: values.required("topic") },
        "take_message" => ToolRequest::TakeMessage {
            message: values.required("message"),
            name: values.take("name"),
            phone: values.take("phone"),
        },
        "transfer_to_human" => ToolRequest::TransferToHuman { reason: values.take("reason") },
        "end_call" => ToolRequest::EndCall { reason: values.take("reason") },
        _ => return Err(ToolArgumentError::UnknownTool),
    };
    Ok(request)
}

/// Arguments that were checked against a tool's fields.
struct Values(Map<String, Value>);

impl Values {
    fn read(tool: &Tool, text: &str) -> Result<Self, ToolArgumentError> {
        if text.len() > MAX_ARGUMENTS {
            return Err(ToolArgumentError::TooLarge);
        }
        // Hosts send an empty text for a call without arguments.
        let parsed = if text.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) };
        let Ok(mut given) = parsed else {
            return Err(ToolArgumentError::NotAnObject { expected: tool.expectation() });
        };
        given.retain(|_, value| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty(),
            _ => true,
        });
        let mut wrong = Vec::new();
        for (name, value) in &mut given {
            match tool.field(name) {
                None => wrong.push(FieldError {
                    field: shorten(name, 64),
                    problem: "is not an argument of this tool".into(),
                    expected: tool.expectation(),
                }),
                Some(field) => {
                    if let Err(problem) = tidy(value, field) {
                        wrong.push(field.error(problem));
                    }
                }
            }
        }
        let missing = tool.fields.iter().filter(|f| f.required && !given.contains_key(f.name));
        wrong.extend(missing.map(|f| f.error("is missing".into())));
        if wrong.is_empty() { Ok(Self(given)) } else { Err(ToolArgumentError::Fields(wrong)) }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A field whose presence `read` has checked.
    fn required(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }
}

impl Field {
    fn error(&self, problem: String) -> FieldError {
        FieldError { field: self.name.to_owned(), problem, expected: format!("a text: {}", self.about) }
    }
}

/// Makes a value a plain line of text, or says what is wrong with it.
fn tidy(value: &mut Value, field: &Field) -> Result<(), String> {
    let Value::String(text) = value else {
        let found = match value {
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Array(_) => "a list",
            _ => "an object",
        };
        return Err(format!("is {found}, not a text"));
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = line.chars().count();
    if length > field.max_chars {
        return Err(format!("has {length} characters, at most {} are allowed", field.max_chars));
    }
    *text = line;
    Ok(())
}

/// The first `max` characters.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: "c".into(), name: name.into(), arguments: arguments.into() }
    }

    fn fields(result: Result<ToolRequest, ToolArgumentError>) -> Vec<(String, String)> {
        match result {
            Err(ToolArgumentError::Fields(fields)) => {
                fields.into_iter().map(|f| (f.field, f.problem)).collect()
            }
            other => panic!("fields expected, got {other:?}"),
        }
    }

    #[test]
    fn a_booking_is_read_with_blank_and_null_as_absent() {
        let parsed = parse(&call(
            "book_appointment",
            r#"{"service":" Haircut ","date":"tomorrow","time":"3 PM","staff":"","slot_id":null,"customer_name":"Ann\nLee"}"#,
        ));
        let expected = ToolRequest::BookAppointment {
            service: "Haircut".into(),
            date: "tomorrow".into(),
            time: "3 PM".into(),
            staff: None,
            customer_name: Some("Ann Lee".into()),
            customer_phone: None,
            slot_id: None,
        };
        assert_eq!(parsed, Ok(expected));
    }

    #[test]
    fn every_wrong_argument_is_named_at_once() {
        let wrong = fields(parse(&call("book_appointment", r#"{"service":7,"date":" ","tyme":"3 PM"}"#)));
        let names: Vec<&str> = wrong.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(names, ["service", "tyme", "date", "time"]);
        assert_eq!(wrong[0].1, "is a number, not a text");
    }

    #[test]
    fn a_text_over_its_limit_is_refused() {
        let long = "x".repeat(2_001);
        let wrong = fields(parse(&call("take_message", &format!(r#"{{"message":"{long}"}}"#))));
        assert_eq!(wrong[0], ("message".into(), "has 2001 characters, at most 2000 are allowed".into()));
    }

    #[test]
    fn nothing_to_collect_is_an_error_the_model_can_correct() {
        let answer = parse(&call("collect_customer_info", r#"{"name":""}"#)).unwrap_err().to_answer();
        assert_eq!(answer["error"], "invalid_arguments");
        assert_eq!(answer["fields"][0]["expected"], "at least one of them");
    }

    #[test]
    fn an_unknown_tool_and_text_that_is_no_object_are_refused() {
        let unknown = parse(&call("drop_tables", "{}")).unwrap_err();
        assert_eq!(unknown.to_answer()["error"], "unknown_tool");
        for text in ["[1]", "{\"date\":", "\"tomorrow\"", "nonsense"] {
            let error = parse(&call("check_availability", text)).unwrap_err();
            assert!(matches!(error, ToolArgumentError::NotAnObject { .. }), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_call_without_arguments_may_come_as_an_empty_text() {
        assert_eq!(parse(&call("end_call", "")), Ok(ToolRequest::EndCall { reason: None }));
    }

    #[test]
    fn case_does_not_make_two_calls_different_but_a_value_does() {
        let at = |time: &str| {
            let text = format!(r#"{{"service":"Cut","date":"friday","time":"{time}"}}"#);
            parse(&call("book_appointment", &text)).unwrap().key()
        };
        assert_eq!(at("3 PM"), at("3 pm"));
        assert_ne!(at("3 PM"), at("4 PM"));
    }

    proptest! {
        #[test]
        fn no_text_panics(name in "[a-z_]{0,24}", text in any::<String>(), which in 0usize..7) {
            let _ = parse(&call(&name, &text));
            if let Err(error) = parse(&call(schema::names()[which], &text)) {
                prop_assert!(error.to_answer().is_object());
            }
        }

        #[test]
        fn any_object_gives_a_request_or_named_fields(
            object in proptest::collection::btree_map("[a-z_]{1,12}", "\\PC{0,20}", 0..6),
            which in 0usize..7,
        ) {
            let text = serde_json::to_string(&object).unwrap();
            match parse(&call(schema::names()[which], &text)) {
                Ok(request) => prop_assert_eq!(request.name(), schema::names()[which]),
                Err(ToolArgumentError::Fields(fields)) => prop_assert!(!fields.is_empty()),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
