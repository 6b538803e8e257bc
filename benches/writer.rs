//! What the database costs while calls go on: their turns and audit rows, through the one writer.
//!
//! SQLite always; PostgreSQL where `TEST_POSTGRES_URL` names a server, in tables of the database it names.

#![expect(clippy::expect_used, reason = "a bench whose database fails should stop")]

use actix::System;
use divan::Bencher;
use divan::counter::ItemsCount;
use frontdesk::config::database::DatabaseConfig;
use frontdesk::db::{Database, Write};
use frontdesk::domain::audit::AuditEvent;
use frontdesk::domain::call::{CallFacts, CallKind, Direction};
use frontdesk::domain::ids::{AdmissionId, CallSid, Epoch};
use frontdesk::domain::phone::CallerId;
use frontdesk::domain::time::UnixMillis;
use frontdesk::domain::turn::{Speaker, StageLatencies, TurnRecord};
use frontdesk::observe::clock::unix_now;

const CALLS: u32 = 40;
const TURNS: u32 = 50;

fn main() {
    divan::main();
}

fn turn(n: u32) -> TurnRecord {
    let text = format!("I would like an appointment on Tuesday, number {n}, if that is possible at all.");
    TurnRecord {
        n,
        speaker: if n.is_multiple_of(2) { Speaker::Bot } else { Speaker::Caller },
        said: text.clone(),
        heard: text,
        interrupted: n.is_multiple_of(10),
        at_ms: u64::from(n) * 1_000,
        latency: StageLatencies {
            end_of_turn_ms: Some(180 + n),
            first_token_ms: Some(400 + n),
            first_sentence_ms: Some(500 + n),
            first_audio_ms: Some(700 + n),
            first_sent_ms: Some(720 + n),
        },
    }
}

fn admitted(sid: &CallSid, at: UnixMillis) -> Write {
    let facts = CallFacts {
        sid: sid.clone(),
        admission: AdmissionId::from("bench"),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Withheld,
        business_number: "+12025550100".into(),
        admitted_at: at,
        epoch: Epoch(1),
    };
    Write::CallAdmitted { facts }
}

/// Forty calls of fifty turns and as many audit rows, all at once: 4,000 writes in batches.
fn conversations(bencher: Bencher<'_, '_>, url: String) {
    let config = DatabaseConfig { url, queue: 10_000, ..DatabaseConfig::default() };
    let system = System::new();
    let db = system.block_on(async {
        Database::open(&config, frontdesk::domain::ids::ReplicaId::from_bits(rand::random()))
            .expect("the database opens")
    });
    let per_run = (2 * CALLS * TURNS) as usize;
    bencher.counter(ItemsCount::new(per_run)).bench_local(|| {
        let now = unix_now();
        let run: u64 = rand::random();
        let sids: Vec<CallSid> =
            (0..CALLS).map(|n| CallSid::from(format!("CA{run:016x}{n}").as_str())).collect();
        for sid in &sids {
            db.record(admitted(sid, now)).expect("there is room");
        }
        for n in 1..=TURNS {
            for sid in &sids {
                let event = AuditEvent::new("reply.begun", serde_json::json!({ "turn": n }));
                db.record(Write::Turn { sid: sid.clone(), epoch: Epoch(1), turn: turn(n) })
                    .expect("there is room");
                db.record(Write::Event { sid: sid.clone(), at: now, event }).expect("there is room");
            }
        }
        system.block_on(db.flush()).expect("all is written");
    });
    assert_eq!(db.stats().failed, 0, "everything was written");
    system.block_on(db.shutdown());
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn sqlite(bencher: Bencher<'_, '_>) {
    let folder = std::env::temp_dir().join(format!("frontdesk-bench-{:016x}", rand::random::<u64>()));
    conversations(bencher, format!("sqlite://{}/bench.db", folder.display()));
    let _ = std::fs::remove_dir_all(folder);
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn postgres(bencher: Bencher<'_, '_>) {
    if let Ok(url) = std::env::var("TEST_POSTGRES_URL")
        && url != "none"
    {
        conversations(bencher, url);
    }
}
