use super::{TestDb, admitted, caller_turn, facts, phone};
use crate::db::seed::{SeedReport, SeedSlot, seed};
use crate::db::{Database, DbError, Write};
use crate::domain::appointment::CustomerPatch;
use crate::domain::audit::AuditEvent;
use crate::domain::call::SummaryState;
use crate::domain::call::{CallStatus, EndReason, Outcome};
use crate::domain::ids::{AdmissionId, CallSid, Epoch};
use crate::domain::phone::CallerId;
use crate::domain::time::UnixMillis;
use crate::domain::turn::{Parting, ResumeState, Speaker, StageLatencies, TimedDigits, TurnRecord};
use diesel::connection::SimpleConnection;

fn sid() -> CallSid {
    CallSid::from("CA1")
}

fn turn(epoch: u32, turn: TurnRecord) -> Write {
    Write::Turn { sid: sid(), epoch: Epoch(epoch), turn }
}

fn ended(at: i64, reason: EndReason, outcome: Outcome) -> Write {
    Write::CallEnded { sid: sid(), at: UnixMillis(at), reason, outcome }
}

async fn write_all(db: &Database, writes: impl IntoIterator<Item = Write>) {
    for write in writes {
        db.write(write).await.unwrap();
    }
}

#[actix::test]
async fn a_write_by_an_older_epoch_is_refused_and_a_newer_owner_is_taken() {
    for test in TestDb::each() {
        let db = test.open();
        write_all(&db, [admitted("CA1", 1), turn(1, caller_turn(1, "one")), admitted("CA1", 2)]).await;

        let stale =
            |answer| matches!(answer, Err(DbError::StaleEpoch { current: Epoch(2), given: Epoch(1) }));
        assert!(stale(db.write(turn(1, caller_turn(1, "overwritten"))).await));
        assert!(stale(db.write(turn(1, caller_turn(2, "from the dead"))).await));
        let state = ResumeState { breaks: 9, ..ResumeState::default() };
        assert!(stale(db.write(Write::Resume { sid: sid(), epoch: Epoch(1), state }).await));
        assert!(stale(db.write(admitted("CA1", 1)).await));
        let customer = Write::CallCustomer { sid: sid(), epoch: Epoch(1), customer_id: 1 };
        assert!(stale(db.write(customer).await));
        // Written by an owner whose admission is still on its way here.
        db.write(turn(3, caller_turn(2, "two"))).await.unwrap();
        assert!(matches!(
            db.write(turn(2, caller_turn(3, "late"))).await,
            Err(DbError::StaleEpoch { current: Epoch(3), .. })
        ));

        let said: Vec<String> = db.turns(sid()).await.unwrap().into_iter().map(|t| t.said).collect();
        assert_eq!(said, ["one", "two"]);
        let call = db.call_overview(sid()).await.unwrap().unwrap();
        assert_eq!((call.facts.epoch, call.breaks), (Epoch(3), 0));
        db.shutdown().await;
    }
}

#[actix::test]
async fn the_first_end_of_a_call_is_the_one_that_stays() {
    for test in TestDb::each() {
        let db = test.open();
        let booked = Outcome { appointment_booked: true, ..Outcome::default() };
        write_all(
            &db,
            [
                admitted("CA1", 1),
                Write::CallAnswered { sid: sid(), at: UnixMillis(1_002_000) },
                Write::CallAnswered { sid: sid(), at: UnixMillis(1_009_000) },
                turn(1, caller_turn(1, "bye")),
                ended(1_012_900, EndReason::Transferred, booked),
                ended(1_099_000, EndReason::Lost, Outcome::default()),
                Write::CallAnswered { sid: sid(), at: UnixMillis(1_100_000) },
            ],
        )
        .await;
        let call = db.call_overview(sid()).await.unwrap().unwrap();
        assert_eq!(call.end_reason, Some(EndReason::Transferred));
        assert_eq!(call.status, CallStatus::Completed);
        assert_eq!(call.answered_at, Some(UnixMillis(1_002_000)));
        assert_eq!(call.ended_at, Some(UnixMillis(1_012_900)));
        assert_eq!(call.duration_s, Some(10));
        assert_eq!(call.outcome, booked);
        assert_eq!(call.summary_state, SummaryState::Pending);
        assert!(db.open_calls().await.unwrap().is_empty());

        db.write(Write::Summary { sid: sid(), text: "They said goodbye.".into() }).await.unwrap();
        let call = db.call_overview(sid()).await.unwrap().unwrap();
        assert_eq!(call.summary.as_deref(), Some("They said goodbye."));
        assert_eq!(call.summary_state, SummaryState::Done);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_call_that_nobody_answered_lasted_no_time_and_wants_no_summary() {
    for test in TestDb::each() {
        let db = test.open();
        write_all(&db, [admitted("CA1", 1), ended(1_030_000, EndReason::NoAnswer, Outcome::default())]).await;
        let call = db.call_overview(sid()).await.unwrap().unwrap();
        assert_eq!((call.status, call.duration_s), (CallStatus::NoAnswer, Some(0)));
        assert_eq!(call.summary_state, SummaryState::None);
        db.shutdown().await;
    }
}

#[actix::test]
async fn whoever_sweeps_up_a_lost_call_does_not_wipe_what_it_achieved() {
    for test in TestDb::each() {
        let db = test.open();
        let outcome = Outcome { lead_captured: true, ..Outcome::default() };
        let state = ResumeState { outcome, ..ResumeState::default() };
        write_all(&db, [admitted("CA1", 1), Write::Resume { sid: sid(), epoch: Epoch(1), state }]).await;
        let open = db.open_calls().await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].facts.sid, sid());
        db.write(ended(2_000_000, EndReason::Lost, Outcome::default())).await.unwrap();
        assert_eq!(db.call_overview(sid()).await.unwrap().unwrap().outcome, outcome);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_call_is_read_back_as_it_was_admitted_and_admitting_it_twice_changes_nothing() {
    for test in TestDb::each() {
        let db = test.open();
        let number = phone("+12025550143");
        for caller in [
            CallerId::Number(number.clone()),
            CallerId::Withheld,
            CallerId::Sip("bob".into()),
            CallerId::Client("kiosk".into()),
            CallerId::ShortCode("12345".into()),
            CallerId::Raw("+0 what".into()),
        ] {
            let mut facts = facts(&format!("CA{caller:?}"), 1);
            facts.caller = caller;
            db.write(Write::CallAdmitted { facts: facts.clone() }).await.unwrap();
            let mut again = facts.clone();
            again.admitted_at = UnixMillis(9_999_999);
            db.write(Write::CallAdmitted { facts: again }).await.unwrap();
            let call = db.call_overview(facts.sid.clone()).await.unwrap().unwrap();
            assert_eq!(format!("{:?}", call.facts), format!("{facts:?}"));
            assert_eq!((call.facts.caller, call.status), (facts.caller, CallStatus::Ringing));
        }
        assert_eq!(db.counts().await.unwrap().calls, 6);
        assert_eq!(db.recent_calls(4).await.unwrap().len(), 4);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_known_caller_is_recognised_at_admission() {
    for test in TestDb::each() {
        let db = test.open();
        let patch = CustomerPatch { phone: Some(phone("+12025550143")), ..CustomerPatch::default() };
        let customer = db.upsert_customer(patch, None, UnixMillis(1)).await.unwrap();
        db.write(admitted("CA1", 1)).await.unwrap();
        let call = db.call_overview(sid()).await.unwrap().unwrap();
        assert_eq!(call.customer_id, Some(customer.id));
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_conversation_can_be_resumed_with_its_last_turns() {
    for test in TestDb::each() {
        let db = test.open();
        assert_eq!(db.resume_state(sid(), 3).await.unwrap(), None);
        db.write(admitted("CA1", 1)).await.unwrap();
        assert_eq!(db.resume_state(sid(), 3).await.unwrap(), Some(ResumeState::default()));

        let latency = StageLatencies { first_token_ms: Some(321), ..StageLatencies::default() };
        let bot = TurnRecord {
            speaker: Speaker::Bot,
            heard: "You are bo".into(),
            interrupted: true,
            latency,
            ..caller_turn(5, "You are booked.")
        };
        let mut state = ResumeState {
            turns: vec![caller_turn(99, "ignored")],
            summary: Some("They want a haircut.".into()),
            outcome: Outcome { follow_up: true, ..Outcome::default() },
            facts: vec!["name: Maria".into()],
            elapsed_ms: 4_200,
            breaks: 2,
            notified: true,
            muted: true,
            parting: Parting::AtPause,
            idle_prompts: 1,
            digits: vec![TimedDigits { digits: "4111".into(), from_ms: 10, to_ms: 400 }],
        };
        for n in 1..5 {
            db.write(turn(1, caller_turn(n, "well"))).await.unwrap();
        }
        db.write(Write::Resume { sid: sid(), epoch: Epoch(1), state: state.clone() }).await.unwrap();
        // First as generated, then as far as it was heard.
        db.write(turn(1, TurnRecord { heard: String::new(), ..bot.clone() })).await.unwrap();
        db.write(turn(1, bot.clone())).await.unwrap();

        state.turns = vec![caller_turn(3, "well"), caller_turn(4, "well"), bot];
        state.elapsed_ms = 5_000;
        assert_eq!(db.resume_state(sid(), 3).await.unwrap(), Some(state));

        db.write(ended(2_000_000, EndReason::Completed, Outcome::default())).await.unwrap();
        assert_eq!(db.resume_state(sid(), 3).await.unwrap(), None, "what has ended is not resumed");
        assert_eq!(db.turns(sid()).await.unwrap().len(), 5);
        db.shutdown().await;
    }
}

#[actix::test]
async fn messages_and_audit_rows_do_not_need_a_known_call_and_audit_rows_never_change() {
    for test in TestDb::each() {
        let db = test.open();
        write_all(
            &db,
            [
                Write::Message {
                    key: None,
                    sid: CallSid::from("CA-unknown"),
                    at: UnixMillis(7),
                    name: Some("Maria".into()),
                    phone: Some("two oh two".into()),
                    text: "Please call back.".into(),
                },
                Write::Event {
                    sid: CallSid::from("CA-unknown"),
                    at: UnixMillis(8),
                    event: AuditEvent::new("call.refused", serde_json::json!({"ceiling": 500})),
                },
            ],
        )
        .await;
        let messages = db.messages(10).await.unwrap();
        assert_eq!(messages[0].text, "Please call back.");
        assert_eq!((messages[0].phone.as_deref(), messages[0].at), (Some("two oh two"), UnixMillis(7)));
        let events = db.events(CallSid::from("CA-unknown")).await.unwrap();
        assert_eq!(events[0].event.detail, serde_json::json!({"ceiling": 500}));

        let changed = db.read(|conn| Ok(conn.batch_execute("UPDATE call_events SET code = 'x'")?)).await;
        assert!(changed.is_err());
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_customer_is_found_by_number_and_what_is_known_is_never_wiped() {
    for test in TestDb::each() {
        let db = test.open();
        let number = phone("+12025550143");
        let upsert = |name: Option<&str>, number: Option<&str>, email: Option<&str>, known| {
            let patch = CustomerPatch {
                name: name.map(str::to_owned),
                phone: number.map(phone),
                email: email.map(str::to_owned),
            };
            let db = db.handle();
            async move { db.upsert_customer(patch, known, UnixMillis(1)).await.unwrap() }
        };
        let known = Some("+12025550143");
        let first = upsert(Some("Maria"), known, Some("m@example.com"), None).await;
        let same = upsert(None, known, None, None).await;
        assert_eq!(same, first);
        let same = upsert(Some("  "), known, Some(""), None).await;
        assert_eq!(same, first, "a blank answer is no answer");
        let renamed = upsert(Some("Maria Alvarez"), known, None, None).await;
        assert_eq!((renamed.id, renamed.name.as_deref()), (first.id, Some("Maria Alvarez")));
        assert_eq!(renamed.email.as_deref(), Some("m@example.com"));
        let by_call = upsert(None, None, Some("new@example.com"), Some(first.id)).await;
        assert_eq!((by_call.id, by_call.email.as_deref()), (first.id, Some("new@example.com")));
        assert_eq!(db.customer_by_phone(number).await.unwrap(), Some(by_call.clone()));
        assert_eq!(db.customer(first.id).await.unwrap(), Some(by_call));

        let withheld = upsert(Some("Tom"), None, None, None).await;
        assert_ne!(withheld.id, first.id);
        let numbered = upsert(None, Some("+12025550102"), None, Some(withheld.id)).await;
        assert_eq!(numbered.id, withheld.id, "the number belongs to the customer of the call");
        let other = upsert(Some("Ann"), Some("+12025550199"), None, Some(withheld.id)).await;
        assert_ne!(other.id, withheld.id, "somebody with another number is somebody else");
        assert_eq!(db.customers(10).await.unwrap().len(), 3);
        db.shutdown().await;
    }
}

#[actix::test]
async fn many_upserts_of_one_number_at_once_make_one_customer() {
    for test in TestDb::each() {
        let db = test.open();
        let upserts = (0..24).map(|_| {
            let patch = CustomerPatch { phone: Some(phone("+12025550143")), ..CustomerPatch::default() };
            db.upsert_customer(patch, None, UnixMillis(1))
        });
        for customer in futures_util::future::join_all(upserts).await {
            customer.unwrap();
        }
        assert_eq!(db.counts().await.unwrap().customers, 1);
        db.shutdown().await;
    }
}

#[actix::test]
async fn seeding_twice_adds_nothing() {
    for test in TestDb::each() {
        let slot = |minute: i64| SeedSlot {
            service: "Haircut".into(),
            staff: "Marcus".into(),
            starts_at: UnixMillis(1_800_000_000_000 + minute * 60_000),
            minutes: 30,
        };
        let slots = [slot(0), slot(60), slot(70)];
        let now = UnixMillis(1_799_000_000_000);
        let mut conn = test.connection();
        let report = seed(&mut conn, now, &slots).unwrap();
        assert_eq!(report, SeedReport { customers: 6, appointments: 2, calls: 3 });
        assert_eq!(seed(&mut conn, now, &slots).unwrap(), SeedReport::default());
        drop(conn);
        let db = test.open();
        let counts = db.counts().await.unwrap();
        assert_eq!((counts.calls, counts.open_calls, counts.summaries, counts.messages), (3, 0, 3, 1));
        db.shutdown().await;
    }
}

#[test]
fn a_write_prints_without_what_was_said() {
    let mut facts = facts("CA1", 1);
    facts.admission = AdmissionId::from("a");
    assert_eq!(format!("{:?}", turn(1, caller_turn(1, "my secret"))), "turn(CA1)");
    assert_eq!(format!("{:?}", Write::CallAdmitted { facts }), "call_admitted(CA1)");
}
