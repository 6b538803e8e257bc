//! Sample data, so that a fresh dashboard has something to show. Seeding twice adds nothing.

mod bulk;
mod texts;

pub use bulk::{BulkPlan, Samples, bulk, samples};

use super::activity::Tally;
use super::bookings::{self, BookOutcome, BookRequest};
use super::connect::{AnyConnection, write_transaction};
use super::customers;
use super::error::DbError;
use super::schema::calls;
use super::write::{Write, apply};
use crate::domain::appointment::CustomerPatch;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallFacts, CallKind, Direction, EndReason, Outcome};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::domain::time::UnixMillis;
use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};
use diesel::prelude::*;

/// Where a sample appointment may lie: a real opening of the business.
#[derive(Clone, Debug)]
pub struct SeedSlot {
    /// Name of the service.
    pub service: String,
    /// Who serves.
    pub staff: String,
    /// When.
    pub starts_at: UnixMillis,
    /// How long, in minutes.
    pub minutes: u32,
}

/// What was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeedReport {
    /// Customers.
    pub customers: usize,
    /// Appointments.
    pub appointments: usize,
    /// Calls.
    pub calls: usize,
}

/// People with numbers set apart for fiction (555-01xx).
const PEOPLE: [(&str, &str, Option<&str>); 6] = [
    ("Maria Alvarez", "+12025550143", Some("maria@example.com")),
    ("James Okafor", "+12025550118", None),
    ("Priya Raman", "+12025550176", Some("priya.raman@example.com")),
    ("Tom Becker", "+12025550102", None),
    ("Chen Wei", "+12025550189", Some("chen.wei@example.com")),
    ("Sarah Lindqvist", "+12025550131", None),
];

/// What the sample calls are about: turns (caller first), summary, reason, message.
struct SampleCall {
    turns: &'static [(Speaker, &'static str)],
    summary: &'static str,
    reason: EndReason,
    message: Option<&'static str>,
    books: bool,
}

use Speaker::{Bot, Caller};

const CALLS: [SampleCall; 3] = [
    SampleCall {
        turns: &[
            (Bot, "Thanks for calling. How can I help you?"),
            (Caller, "Hi, I'd like to book an appointment for this week."),
            (Bot, "Of course. I have found a time for you. Shall I book it?"),
            (Caller, "Yes please, that works."),
            (Bot, "You are booked. See you then!"),
        ],
        summary: "The caller asked for an appointment this week and took the first time offered. It was booked.",
        reason: EndReason::Completed,
        message: None,
        books: true,
    },
    SampleCall {
        turns: &[
            (Bot, "Thanks for calling. How can I help you?"),
            (Caller, "What time do you close on Saturday?"),
            (Bot, "Let me tell you our opening hours."),
            (Caller, "Great, thanks. Bye."),
        ],
        summary: "The caller asked about Saturday's opening hours and was told them.",
        reason: EndReason::Completed,
        message: None,
        books: false,
    },
    SampleCall {
        turns: &[
            (Bot, "Thanks for calling. How can I help you?"),
            (Caller, "I left my umbrella at your place, could somebody call me back?"),
            (Bot, "I have noted that and somebody will call you back."),
        ],
        summary: "The caller left an umbrella behind and asks to be called back.",
        reason: EndReason::MessageTaken,
        message: Some("Left an umbrella behind, please call back."),
        books: false,
    },
];

/// Adds customers, one appointment for each slot given (as far as it is free), and calls before `now`. Blocks.
pub fn seed(conn: &mut AnyConnection, now: UnixMillis, slots: &[SeedSlot]) -> Result<SeedReport, DbError> {
    let mut report = SeedReport::default();
    let mut people = Vec::new();
    for (name, phone, email) in PEOPLE {
        let Ok(phone) = PhoneNumber::from_e164(phone) else { continue };
        let known = customers::by_phone(conn, &phone)?;
        let customer = match known {
            Some(customer) => customer,
            None => {
                report.customers += 1;
                let patch = CustomerPatch {
                    name: Some(name.to_owned()),
                    phone: Some(phone.clone()),
                    email: email.map(str::to_owned),
                };
                customers::upsert(conn, &patch, None, now)?
            }
        };
        people.push((customer.id, phone));
    }

    let me = ReplicaId::from_bits(rand::random());
    for (i, (slot, (customer, _))) in slots.iter().zip(people.iter().cycle()).enumerate() {
        let request = BookRequest {
            call: sample_sid(i % CALLS.len()),
            epoch: Epoch(1),
            customer_id: Some(*customer),
            service: slot.service.clone(),
            staff: slot.staff.clone(),
            starts_at: slot.starts_at,
            minutes: slot.minutes,
            buffer_minutes: 0,
            now,
        };
        if let BookOutcome::Booked(_) = bookings::book(conn, &me, &request)? {
            report.appointments += 1;
        }
    }

    for (i, (sample, (customer, phone))) in CALLS.iter().zip(&people).enumerate() {
        let sid = sample_sid(i);
        let known: i64 = calls::table.filter(calls::call_sid.eq(sid.as_str())).count().get_result(conn)?;
        if known > 0 {
            continue;
        }
        let hours_ago = i64::try_from(i).unwrap_or(0) * 3 + 1;
        let began = UnixMillis(now.0.saturating_sub(hours_ago * 3_600_000));
        write_transaction(conn, |conn| {
            let mut tally = Tally::default();
            let writes = sample.writes(&sid, *customer, phone, began);
            writes.iter().try_for_each(|write| apply(conn, &me, write, &mut tally))?;
            // Nobody's: whoever seeds again is somebody else.
            diesel::update(calls::table.filter(calls::call_sid.eq(sid.as_str())))
                .set(calls::replica.eq(None::<&str>))
                .execute(conn)?;
            tally.write(conn)
        })?;
        report.calls += 1;
    }
    Ok(report)
}

fn sample_sid(i: usize) -> CallSid {
    CallSid::new(format!("CA{i:032x}"))
}

impl SampleCall {
    fn writes(&self, sid: &CallSid, customer: i64, phone: &PhoneNumber, began: UnixMillis) -> Vec<Write> {
        const TURN_MS: i64 = 6_000;
        let sid = || sid.clone();
        let epoch = Epoch(1);
        let mut writes = vec![
            Write::CallAdmitted {
                facts: CallFacts {
                    sid: sid(),
                    admission: AdmissionId::new(format!("sample-{}", sid())),
                    kind: CallKind::Simulated,
                    direction: Direction::Inbound,
                    caller: CallerId::Number(phone.clone()),
                    business_number: String::new(),
                    admitted_at: began,
                    epoch,
                },
            },
            Write::CallAnswered { sid: sid(), at: began },
            Write::CallCustomer { sid: sid(), epoch, customer_id: customer },
            Write::Event {
                sid: sid(),
                at: began,
                event: AuditEvent::new("call.seeded", serde_json::json!({})),
            },
        ];
        let mut at = 0;
        for (n, (speaker, said)) in (1..).zip(self.turns) {
            let latency = match speaker {
                Bot => StageLatencies { first_sent_ms: Some(700), ..StageLatencies::default() },
                Caller => StageLatencies::default(),
            };
            let turn = TurnRecord {
                n,
                speaker: *speaker,
                said: (*said).to_owned(),
                heard: (*said).to_owned(),
                interrupted: false,
                at_ms: u64::try_from(at).unwrap_or(0),
                latency,
            };
            writes.push(Write::Turn { sid: sid(), epoch, turn });
            at += TURN_MS;
        }
        let ended = UnixMillis(began.0.saturating_add(at));
        if let Some(text) = self.message {
            writes.push(Write::Message {
                key: None,
                sid: sid(),
                at: ended,
                name: None,
                phone: Some(phone.as_str().to_owned()),
                text: text.to_owned(),
            });
        }
        let outcome = Outcome {
            lead_captured: true,
            appointment_booked: self.books,
            message_taken: self.message.is_some(),
            transferred: false,
            follow_up: self.message.is_some(),
        };
        writes.push(Write::CallEnded { sid: sid(), at: ended, reason: self.reason, outcome });
        writes.push(Write::Summary { sid: sid(), text: self.summary.to_owned() });
        writes
    }
}
