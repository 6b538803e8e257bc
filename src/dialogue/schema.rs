//! The table of tools: one source for the schemas the model sees and for the check of what it sends.

use super::chat::ToolSpec;
use crate::domain::profile::BusinessProfile;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// One argument. All arguments are texts: times, dates and names are understood at the desk, as they were said.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) max_chars: usize,
    pub(super) about: &'static str,
}

/// One tool.
pub(super) struct Tool {
    pub(super) name: &'static str,
    about: &'static str,
    pub(super) fields: &'static [Field],
}

const fn need(name: &'static str, max_chars: usize, about: &'static str) -> Field {
    Field { name, required: true, max_chars, about }
}

const fn may(name: &'static str, max_chars: usize, about: &'static str) -> Field {
    Field { name, required: false, max_chars, about }
}

const NAME: usize = 120;
const PHONE: usize = 60;
const WHEN: usize = 80;

const TOOLS: [Tool; 7] = [
    Tool {
        name: "collect_customer_info",
        about: "Remembers who the caller is. Call it as soon as the caller tells their name, number or e-mail \
                address; give only what was told.",
        fields: &[
            may("name", NAME, "the caller's name"),
            may("phone", PHONE, "the caller's telephone number, in digits"),
            may("email", 254, "the caller's e-mail address"),
        ],
    },
    Tool {
        name: "check_availability",
        about: "Looks up free times on one day. Always call it before offering a time. Offer at most three of the \
                times it returns, and no others.",
        fields: &[
            need(
                "date",
                WHEN,
                "the day, as the caller said it (tomorrow, next Tuesday, the 3rd) or as YYYY-MM-DD",
            ),
            may("staff", NAME, "the person the caller wants, if they named one"),
            may("service", NAME, "the service the caller wants, for its duration"),
        ],
    },
    Tool {
        name: "book_appointment",
        about: "Books an appointment at a time the caller has agreed to. Only its success makes it a booking; read \
                back what it returns.",
        fields: &[
            need("service", NAME, "the service"),
            need("date", WHEN, "the day, as agreed or as YYYY-MM-DD"),
            need("time", WHEN, "the time of day, such as 3:30 PM"),
            may("staff", NAME, "the person, if agreed"),
            may("customer_name", NAME, "the name the appointment is for"),
            may("customer_phone", PHONE, "a telephone number for it, if the caller gave one"),
            may("slot_id", 200, "the slot_id of the chosen time, exactly as check_availability returned it"),
        ],
    },
    Tool {
        name: "get_business_info",
        about: "Looks up facts about the business.",
        fields: &[need(
            "topic",
            NAME,
            "what about: hours, services, prices, staff, location, policies, or another word",
        )],
    },
    Tool {
        name: "take_message",
        about: "Takes a message, so that somebody calls back.",
        fields: &[
            need("message", 2_000, "the message, in the caller's words"),
            may("name", NAME, "who left it"),
            may("phone", PHONE, "where to call back, if not the number they ring from"),
        ],
    },
    Tool {
        name: "transfer_to_human",
        about: "Puts the caller through to a person, when they ask for one or you cannot help.",
        fields: &[may("reason", 300, "why")],
    },
    Tool {
        name: "end_call",
        about: "Hangs up. Call it only once the caller has nothing more to ask, together with your goodbye.",
        fields: &[may("reason", 300, "why")],
    },
];

impl Tool {
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The arguments in one line, for an answer that explains what was expected.
    pub(super) fn expectation(&self) -> String {
        let fields: Vec<String> =
            self.fields.iter().map(|f| format!("{}{}", f.name, if f.required { "" } else { "?" })).collect();
        format!("a JSON object with these texts: {}", fields.join(", "))
    }
}

/// The tool of this name.
pub(super) fn find(name: &str) -> Option<&'static Tool> {
    const ALL: &[Tool] = &TOOLS;
    ALL.iter().find(|t| t.name == name)
}

/// The names of all tools.
pub fn names() -> [&'static str; 7] {
    TOOLS.map(|t| t.name)
}

/// The tools as the model sees them at this business.
pub fn specs(profile: &BusinessProfile) -> Arc<[ToolSpec]> {
    let services: Vec<&str> = profile.services.iter().map(|s| s.name.as_str()).collect();
    let staff: Vec<&str> = profile.staff.iter().map(|s| s.name.as_str()).collect();
    TOOLS
        .iter()
        .map(|tool| ToolSpec {
            name: tool.name,
            description: tool.about.to_owned(),
            parameters: parameters(tool, &services, &staff),
        })
        .collect()
}

fn parameters(tool: &Tool, services: &[&str], staff: &[&str]) -> Value {
    let properties: Map<String, Value> = tool
        .fields
        .iter()
        .map(|field| {
            let choice = match field.name {
                "service" => services,
                "staff" => staff,
                _ => &[],
            };
            let about = match choice {
                [] => field.about.to_owned(),
                some => format!("{}; one of: {}", field.about, some.join(", ")),
            };
            (field.name.to_owned(), json!({"type": "string", "description": about}))
        })
        .collect();
    let required: Vec<&str> = tool.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::rules::profile;

    #[test]
    fn the_seven_tools_have_valid_names_and_object_schemas() {
        let specs = specs(&profile());
        assert_eq!(specs.len(), 7);
        for spec in specs.iter() {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            assert!(spec.name.len() <= 64 && spec.name.chars().all(fits));
            assert_eq!(spec.parameters["type"], "object");
            let properties = spec.parameters["properties"].as_object().unwrap();
            for required in spec.parameters["required"].as_array().unwrap() {
                assert!(properties.contains_key(required.as_str().unwrap()));
            }
        }
    }

    #[test]
    fn the_schema_names_the_services_and_people_of_the_business() {
        let specs = specs(&profile());
        let book = specs.iter().find(|s| s.name == "book_appointment").unwrap();
        let service = book.parameters["properties"]["service"]["description"].as_str().unwrap();
        let staff = book.parameters["properties"]["staff"]["description"].as_str().unwrap();
        assert!(
            service.contains("Haircut, Beard Trim") && staff.contains("Marcus, Jay"),
            "{service} {staff}"
        );
    }
}
