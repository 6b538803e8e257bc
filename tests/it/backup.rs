//! What an operator relies on: a back-up made while calls are written is whole and serves, and secrets are changed
//! without anybody noticing.

use crate::support::database::{TestDatabase, use_postgres};
use crate::support::process::{Place, Process};
use crate::support::{Desk, barbershop};
use frontdesk::api::secret::{fingerprint, hash_password};
use frontdesk::db::{DbHandle, Write};
use frontdesk::domain::call::{CallFacts, CallKind, Direction, EndReason, Outcome};
use frontdesk::domain::ids::{AdmissionId, CallSid, Epoch};
use frontdesk::domain::phone::CallerId;
use frontdesk::domain::staff::{Role, Scope};
use frontdesk::domain::time::UnixMillis;
use frontdesk::domain::turn::{Speaker, TurnRecord};
use frontdesk::observe::clock::unix_now;
use frontdesk::registry::token::{Claims, Tokens};
use frontdesk::sim::caller::run_call;
use frontdesk::sim::caller::sign::sign;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::time::Duration;

const ASK: &str = r#"
    name = "asks"
    limit_ms = 60000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "That is all, goodbye."
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

fn sid() -> String {
    format!("CA{:032x}", rand::random::<u128>())
}

/// A short call of somebody with something to search for, written turn by turn.
async fn write_call(db: &DbHandle, n: usize) {
    let sid = CallSid::from(sid().as_str());
    let facts = CallFacts {
        sid: sid.clone(),
        admission: AdmissionId::new(format!("{:032x}", rand::random::<u128>())),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::classify("+12025550143"),
        business_number: "+12025550100".to_owned(),
        admitted_at: unix_now(),
        epoch: Epoch(1),
    };
    let turn = TurnRecord {
        n: 1,
        speaker: Speaker::Caller,
        said: format!("Word{n} xylophone"),
        heard: format!("Word{n} xylophone"),
        interrupted: false,
        at_ms: 5,
        latency: Default::default(),
    };
    db.record(Write::CallAdmitted { facts }).unwrap();
    db.record(Write::CallAnswered { sid: sid.clone(), at: unix_now() }).unwrap();
    db.record(Write::Turn { sid: sid.clone(), epoch: Epoch(1), turn }).unwrap();
    let (at, reason, outcome) = (unix_now(), EndReason::Completed, Outcome::default());
    db.write(Write::CallEnded { sid, at, reason, outcome }).await.unwrap();
}

/// Goes on writing calls until it is told to stop; says how many it wrote.
fn keep_writing(db: DbHandle) -> (Rc<Cell<bool>>, actix_rt::task::JoinHandle<usize>) {
    let stop = Rc::new(Cell::new(false));
    let told = Rc::clone(&stop);
    let writing = actix_rt::spawn(async move {
        let mut n = 0;
        while !told.get() {
            write_call(&db, n).await;
            n += 1;
        }
        n
    });
    (stop, writing)
}

async fn run(mut command: Command) -> Output {
    actix_web::web::block(move || command.output()).await.unwrap().expect("it can be run")
}

async fn must(command: Command) -> Output {
    let done = run(command).await;
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    done
}

fn frontdesk(url: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    command.env_clear().env("DATABASE_URL", url).current_dir(folder);
    command
}

/// Lets a server start on a database that was restored, shows what the old one wrote, and takes a call.
async fn serves(place: &Place, url: &str, key: &str, at_least: usize) {
    let server = Process::start(place, &[("DATABASE_URL", url)]);
    let base = format!("http://127.0.0.1:{}", place.port);
    let get = async |path: &str| -> Value {
        let request = awc::Client::default().get(format!("{base}{path}"));
        let request = request.insert_header(("Authorization", format!("Bearer {key}")));
        let mut answer = request.timeout(Duration::from_secs(20)).send().await.unwrap();
        let body = answer.body().limit(8 << 20).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    };
    // Each call that had ended by then is there, and what was said in it is found.
    let hits = get("/api/search?q=xylophone&limit=100").await["items"].as_array().unwrap().clone();
    assert!(hits.len() >= at_least.min(100) - 2, "{} of {at_least}", hits.len());
    let call = get(&format!("/api/calls/{}", hits[0]["id"])).await.to_string();
    assert!(call.contains("xylophone"), "{call}");
    // And it takes calls.
    let script = Script::parse(ASK).unwrap();
    let report = run_call(&place.caller(&sid()), &script).await;
    assert!(report.failures.is_empty(), "{report}");
    drop(server);
}

async fn with_key(db: &DbHandle) -> String {
    let key = format!("fd_test_{:032x}", rand::random::<u128>());
    db.add_key("test".into(), fingerprint(&key), Scope::Read, UnixMillis(1)).await.unwrap();
    key
}

#[actix::test]
async fn a_sqlite_back_up_made_while_calls_are_written_is_whole_and_serves() {
    let place = Place::new();
    let server = Process::start(&place, &[]);
    let database = place.database().await;
    let key = with_key(&database).await;
    let (stop, writing) = keep_writing(database.handle());
    let script = Script::parse(ASK).unwrap();
    let caller = place.caller(&sid());
    let calling = actix_rt::spawn(async move { run_call(&caller, &script).await });
    while database.counts().await.unwrap().calls < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let url = format!("sqlite://{}", place.folder.join("test.db").display());
    let backup = place.folder.join("backup.db");
    let before = usize::try_from(database.counts().await.unwrap().calls).unwrap();
    let mut command = frontdesk(&url, &place.folder);
    command.arg("backup").arg(&backup);
    let told = must(command).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains("backup.db"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&backup).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    // What is there already is never written over.
    let mut again = frontdesk(&url, &place.folder);
    again.arg("backup").arg(&backup);
    let refused = run(again).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("backup.db cannot be made"), "{refused:?}");

    stop.set(true);
    writing.await.unwrap();
    let report = calling.await.unwrap();
    assert!(report.failures.is_empty(), "the calls did not notice: {report}");
    server.kill();
    database.shutdown().await;

    // The machine is lost: all there is is the back-up.
    let restored = Place::new();
    std::fs::copy(&backup, restored.folder.join("restored.db")).unwrap();
    let url = format!("sqlite://{}", restored.folder.join("restored.db").display());
    let mut check = Command::new("sqlite3");
    check.arg(restored.folder.join("restored.db")).arg("PRAGMA integrity_check");
    if let Ok(Ok(checked)) = actix_web::web::block(move || check.output()).await {
        assert_eq!(String::from_utf8_lossy(&checked.stdout).trim(), "ok", "{checked:?}");
    }
    serves(&restored, &url, &key, before).await;
}

#[actix::test]
async fn a_back_up_takes_the_secret_along_and_says_why_there_can_be_none() {
    let place = Place::new();
    let url = format!("sqlite://{}", place.folder.join("own.db").display());
    let mut command = frontdesk(&url, &place.folder);
    command.arg("backup").arg("copy.db");
    let none = run(command).await;
    assert!(
        !none.status.success() && String::from_utf8_lossy(&none.stderr).contains("there is no"),
        "{none:?}"
    );
    let mut command = frontdesk("postgres://h/db", &place.folder);
    command.arg("backup").arg("copy.db");
    let other = run(command).await;
    assert!(
        !other.status.success() && String::from_utf8_lossy(&other.stderr).contains("pg_dump"),
        "{other:?}"
    );

    let mut command = frontdesk(&url, &place.folder);
    command.arg("migrate");
    must(command).await;
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", place.folder.join("own.db").display()));
    std::fs::write(beside(".secret"), "a secret of no less than thirty-two characters\n").unwrap();
    std::fs::write(beside(".messages"), "{}\n").unwrap();
    let mut command = frontdesk(&url, &place.folder);
    command.arg("backup").arg("copy.db");
    must(command).await;
    for ending in [".secret", ".messages"] {
        let copy = place.folder.join(format!("copy.db{ending}"));
        assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(beside(ending)).unwrap(), "{ending}");
    }
    // A back-up that fails leaves nothing that looks like one.
    std::fs::write(beside(""), "no database, and long enough to be told from an empty one").unwrap();
    let mut command = frontdesk(&url, &place.folder);
    command.arg("backup").arg("broken.db");
    assert!(!run(command).await.status.success());
    let left = std::fs::read_dir(&place.folder).unwrap().filter_map(Result::ok);
    let left: Vec<String> = left.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    assert!(left.iter().all(|name| !name.starts_with("broken")), "{left:?}");
}

/// One of PostgreSQL's programs, where Debian keeps them.
fn postgres_program(name: &str) -> Command {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = found.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    Command::new(found.pop().unwrap_or_else(|| PathBuf::from(name)))
}

#[actix::test]
async fn a_postgresql_dump_made_while_calls_are_written_is_restored_and_serves() {
    if !use_postgres() {
        return;
    }
    let place = Place::new();
    let server = Process::start(&place, &[]);
    let database = place.database().await;
    let key = with_key(&database).await;
    let (stop, writing) = keep_writing(database.handle());
    while database.counts().await.unwrap().calls < 20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = usize::try_from(database.counts().await.unwrap().calls).unwrap();
    let dump = place.folder.join("frontdesk.dump");
    let mut command = postgres_program("pg_dump");
    command.args(["--format=custom", "--no-owner", "--file"]).arg(&dump).arg(place.database_url());
    must(command).await;
    stop.set(true);
    writing.await.unwrap();
    server.kill();
    database.shutdown().await;

    let restored = Place::new();
    let own = TestDatabase::new(&restored.folder);
    let mut command = postgres_program("pg_restore");
    command.args(["--no-owner", "--exit-on-error", "--dbname", &own.url]).arg(&dump);
    must(command).await;
    serves(&restored, &own.url, &key, before).await;
}

// --- secrets --------------------------------------------------------------------------------------------------------

const OLD: &str = "the-secret-that-was-there-before-0001";
const NEW: &str = "the-secret-that-takes-its-place-00002";

/// Whether a stream that shows a token of this secret is let in to a call that waits for its stream.
async fn is_let_in(desk: &Desk, secret: &str) -> bool {
    let config = desk.stack().caller();
    let sid = sid();
    let form = [
        ("AccountSid", config.account_sid.as_str()),
        ("CallSid", &sid),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("From", &config.from),
        ("To", &config.to),
    ];
    let token = secrecy::ExposeSecret::expose_secret(&config.auth_token);
    let url = format!("{}/voice/incoming", config.base_url);
    let request = awc::Client::default().post(&url);
    let request = request.insert_header(("X-Twilio-Signature", sign(token, &url, form)));
    assert!(request.send_form(&form).await.unwrap().status().is_success());
    desk.db().flush().await.unwrap();
    let call = desk.db().call_overview(sid.as_str().into()).await.unwrap().expect("it is admitted");

    let claims = Claims::of(&call.facts, unix_now().after(Duration::from_secs(60)));
    let shown = Tokens::new(&[SecretString::from(secret)]).sign(&claims).unwrap();
    let url = format!("{}/voice/stream", config.base_url.replace("http://", "ws://"));
    let ws = awc::Client::default().ws(&url).set_header("X-Twilio-Signature", sign(token, &url, []));
    let (_, mut socket) = ws.connect().await.expect("the handshake");
    let connected = json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" });
    let start = json!({
        "event": "start", "sequenceNumber": "1", "streamSid": "MZ1",
        "start": {
            "accountSid": config.account_sid, "callSid": sid, "streamSid": "MZ1", "tracks": ["inbound"],
            "customParameters": { "token": shown },
            "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
        },
    });
    for message in [connected, start] {
        socket.send(awc::ws::Message::Text(message.to_string().into())).await.unwrap();
    }
    // The greeting, or the door.
    loop {
        match tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("an answer") {
            Some(Ok(awc::ws::Frame::Text(text))) if text.windows(7).any(|w| w == b"\"media\"") => {
                return true;
            }
            Some(Ok(awc::ws::Frame::Close(_)) | Err(_)) | None => return false,
            Some(Ok(_)) => {}
        }
    }
}

#[actix::test]
async fn tokens_of_the_old_secret_are_good_while_it_is_the_second_and_refused_afterwards() {
    // Replicas learn the new one before any of them signs with it.
    let steps = [(format!("{OLD},{NEW}"), true), (format!("{NEW},{OLD}"), true), (NEW.to_owned(), false)];
    for (secrets, old_is_good) in steps {
        let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
            config.server.secret = Some(SecretString::from(secrets));
        })
        .await;
        assert!(is_let_in(&desk, NEW).await);
        assert_eq!(is_let_in(&desk, OLD).await, old_is_good);
        assert!(!is_let_in(&desk, "somebody-elses-secret-of-some-length").await);
        // The server's own tokens are of the first.
        let call = desk.call("[[step]]\nwait_for = \"greeting\"\n[[step]]\nhang_up = true").await;
        call.is_sound();
        desk.close().await;
    }
}

#[actix::test]
async fn staff_stay_signed_in_while_the_secret_is_changed() {
    let place = Place::new();
    let database = place.database().await;
    let password = "a long enough password";
    let hash = hash_password(&SecretString::from(password)).unwrap();
    database.add_user("ann".into(), hash, Role::Staff, false, UnixMillis(1)).await.unwrap();
    let base = format!("http://127.0.0.1:{}", place.port);

    let server = Process::start(&place, &[("FRONTDESK_SECRET", OLD)]);
    let body = json!({ "name": "ann", "password": password });
    let answer = awc::Client::default().post(format!("{base}/api/session")).send_json(&body).await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let cookie = answer.headers().get("set-cookie").unwrap().to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    server.kill();
    for secrets in [format!("{NEW},{OLD}"), NEW.to_owned()] {
        let server = Process::start(&place, &[("FRONTDESK_SECRET", &secrets)]);
        let request = awc::Client::default().get(format!("{base}/api/calls"));
        let answer = request.insert_header(("Cookie", cookie.as_str())).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        server.kill();
    }
    database.shutdown().await;
}
