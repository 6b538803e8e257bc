//! Recorded calls: both sides in the file at their times, after the notice, without card numbers, whatever happens.

use crate::support::database::on_both;
use crate::support::process::{Place, Process};
use crate::support::{Desk, barbershop};
use frontdesk::api::secret::fingerprint;
use frontdesk::audio::wav::stereo::{HEADER_BYTES, Side, header, read_header, side};
use frontdesk::db::{DbHandle, JobQuery};
use frontdesk::domain::appointment::CustomerPatch;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::job::JobState;
use frontdesk::domain::phone::PhoneNumber;
use frontdesk::domain::recording::{Recording, RecordingState};
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::domain::turn::Speaker;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::Service;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use frontdesk::sim::voice::Recogniser;
use std::path::{Path, PathBuf};
use std::time::Duration;

on_both!(
    both_sides_of_a_call_are_heard_in_its_recording_at_their_times,
    a_card_number_is_neither_in_the_recording_nor_in_the_transcript,
    the_recording_of_a_killed_process_plays_and_the_call_is_closed_at_the_next_start,
);

/// A folder of a test's own, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("frontdesk-it-rec-{:032x}", rand::random::<u128>())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A word, and when it was said, ms of the recording.
#[derive(Debug)]
struct Said {
    word: String,
    from: u64,
    to: u64,
}

fn words(file: &[u8], of: Side) -> Vec<Said> {
    let heard = Recogniser::new().feed(&side(file, of));
    let plain = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    heard
        .into_iter()
        .map(|w| Said { word: plain(&w.text), from: w.start_sample / 8, to: w.end_sample / 8 })
        .collect()
}

fn text(words: &[Said]) -> String {
    words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ")
}

/// Waits until the recording of a call is complete.
async fn complete(db: &DbHandle, sid: &CallSid) -> Recording {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let all = db.recordings_of(sid.clone()).await.expect("readable");
        if let Some(stored) = all.iter().find(|r| r.state == RecordingState::Stored) {
            return stored.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "no recording is complete: {all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn recording_desk(folder: &Path, notice: Option<&str>) -> Desk {
    let mut profile = barbershop();
    profile.recording_notice = notice.map(str::to_owned);
    let url = folder.display().to_string();
    Desk::with(profile, VendorsConfig::default(), |config| {
        config.recording.enabled = true;
        config.recording.url = url;
    })
    .await
}

const HOURS: &str = r#"
    name = "recorded"
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
"#;

/// Somebody who stays on the line, so that nothing but the kill ends the call.
const KILLED: &str = r#"
    name = "killed"
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

/// Asks the API as a program with a key; gives status, headers that matter, and the body.
async fn ask(desk: &Desk, method: &str, path: &str, range: Option<&str>) -> (u16, Option<String>, Vec<u8>) {
    let client = awc::Client::default();
    let url = format!("{}{path}", desk.stack().base_url);
    let method = awc::http::Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = client.request(method, url).insert_header(("Authorization", "Bearer fd_test"));
    if let Some(range) = range {
        request = request.insert_header(("Range", range));
    }
    let mut response = request.timeout(Duration::from_secs(20)).send().await.expect("an answer");
    let part = response.headers().get("content-range").map(|v| v.to_str().expect("text").to_owned());
    let body = response.body().limit(64 << 20).await.expect("a body").to_vec();
    (response.status().as_u16(), part, body)
}

async fn both_sides_of_a_call_are_heard_in_its_recording_at_their_times() {
    let folder = Folder::new();
    let desk = recording_desk(&folder.0, Some("This conversation is being recorded.")).await;
    let mut late = desk.stack().server.feed.watch();
    let call = desk.call(HOURS).await;
    call.is_sound();
    let recording = complete(desk.db(), &call.overview.facts.sid).await;
    assert_eq!(recording.dropped_frames, 0);
    let file = std::fs::read(folder.0.join(&recording.location)).expect("the file is there");
    assert_eq!(read_header(&file).expect("a header").offset_ms, recording.offset_ms);
    assert_eq!(file.len() as u64, recording.bytes);

    let (caller, bot) = (words(&file, Side::Caller), words(&file, Side::Bot));
    assert!(text(&caller).contains("what are your opening hours"), "{caller:?}");
    assert!(text(&caller).contains("that is all goodbye"), "{caller:?}");
    // The notice was heard, but not recorded; what came after it was.
    assert!(call.times_heard("being recorded") == 1, "{}", call.report);
    assert!(!text(&bot).contains("recorded"), "{bot:?}");
    assert!(bot.len() > 5, "{bot:?}");

    // On the axis of the turns: a turn of the caller's is decided on shortly after its last word.
    let turn = call.turns.iter().find(|t| t.said.contains("opening hours")).expect("the question");
    let hours = caller.iter().find(|w| w.word == "hours").expect("its last word");
    let spoken = recording.offset_ms + hours.to;
    assert!((spoken..spoken + 3_000).contains(&turn.at_ms), "turn at {}, word until {spoken}", turn.at_ms);
    // The bot's answer begins after it, and is in the file when it was played, which is when the caller heard it.
    let answer = call.turns.iter().find(|t| t.speaker == Speaker::Bot && t.n > turn.n).expect("the answer");
    let first: String = answer.heard.split_whitespace().next().expect("words").to_lowercase();
    let first = first.trim_matches(|c: char| !c.is_alphanumeric());
    let begins = bot.iter().find(|w| w.from > hours.to && w.word == first).expect("the answer's first word");
    let begins = recording.offset_ms + begins.from;
    assert!((answer.at_ms..answer.at_ms + 3_000).contains(&begins), "{} {begins}", answer.at_ms);
    // Both sides last as long as the call.
    let seconds = call.overview.duration_s.expect("it has ended") * 1_000;
    assert!(recording.offset_ms + recording.ms + 3_000 > seconds, "{recording:?} of {seconds} ms");

    // Staff hear it, in parts too, see it, and delete it; then the person is erased.
    desk.db()
        .add_key("test".into(), fingerprint("fd_test"), Scope::Admin, UnixMillis(0))
        .await
        .expect("a key");
    let path = format!("/api/calls/{}/recording", call.overview.id);
    let (status, part, body) = ask(&desk, "GET", &path, None).await;
    assert_eq!((status, part), (200, None));
    assert!(body == file);
    let (status, part, body) = ask(&desk, "GET", &path, Some("bytes=82-1081")).await;
    assert_eq!((status, part), (206, Some(format!("bytes 82-1081/{}", file.len()))));
    assert!(body == file[HEADER_BYTES..HEADER_BYTES + 1_000]);
    let (status, part, _) = ask(&desk, "GET", &path, Some("bytes=99999999-")).await;
    assert_eq!((status, part), (416, Some(format!("bytes */{}", file.len()))));
    let (status, _, body) = ask(&desk, "GET", &path.replace("recording", "waveform"), None).await;
    let waveform: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, waveform["ms"].as_u64()), (200, Some(recording.ms)));
    assert!(waveform["peaks"]["bot"].as_array().expect("peaks").iter().any(|p| p.as_u64() > Some(5)));

    let number = call.overview.facts.caller.number().expect("a number").as_str().to_owned();
    let patch = CustomerPatch {
        name: Some("Maria".into()),
        phone: PhoneNumber::from_e164(&number).ok(),
        ..CustomerPatch::default()
    };
    let customer = desk.db().upsert_customer(patch, None, UnixMillis(0)).await.expect("stored").id;
    let erase = format!("/api/customers/{customer}/erase?dry_run=");
    let (status, _, body) = ask(&desk, "POST", &format!("{erase}true"), None).await;
    let dry: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &dry["calls"], &dry["recordings"]), (200, &1.into(), &1.into()), "{dry}");
    assert_eq!(ask(&desk, "GET", &path, None).await.0, 200, "a dry run deletes nothing");
    assert_eq!(ask(&desk, "DELETE", &path, None).await.0, 204);
    assert_eq!(ask(&desk, "GET", &path, None).await.0, 404);
    assert!(!folder.0.join(&recording.location).exists());
    let (status, _, body) = ask(&desk, "POST", &format!("{erase}false"), None).await;
    let done: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &done["turns"], &done["recordings"]), (200, &dry["turns"], &0.into()), "{done}");
    assert!(desk.db().turns(call.overview.facts.sid.clone()).await.expect("readable").is_empty());
    assert_eq!(ask(&desk, "POST", &format!("{erase}true"), None).await.0, 404);
    // Nor does somebody who has fallen behind in watching see any of it.
    let mut told = 0;
    while let Ok(event) = late.try_recv() {
        told += 1;
        let event = format!("{event:?}").to_lowercase();
        assert!(!event.contains("opening hours") && !event.contains("recorded"), "{event}");
    }
    assert!(told > 3, "{told} events were left to be seen");
    desk.close().await;
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[actix::test]
async fn nothing_is_recorded_of_a_caller_who_hangs_up_during_the_notice() {
    let folder = Folder::new();
    let notice =
        "This conversation is being recorded, so that we can learn from it. Please say so if you mind that.";
    let desk = recording_desk(&folder.0, Some(notice)).await;
    let call = desk
        .call(
            "name = \"gone\"\n[[step]]\nwait_for = { heard = \"being recorded\" }\n[[step]]\nhang_up = true\n",
        )
        .await;
    assert!(call.report.failures.is_empty(), "{}", call.report);
    // That they rang, and what of the notice they heard, is kept.
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    let heard: Vec<&str> = call.turns.iter().map(|turn| turn.heard.as_str()).collect();
    assert!(heard.len() == 1 && !heard[0].ends_with("if you mind that."), "{heard:?}");
    assert!(call.turns[0].interrupted && call.turns[0].speaker == Speaker::Bot, "{heard:?}");
    assert!(!call.events.iter().any(|code| code == "recording.started"), "{:?}", call.events);
    assert!(desk.db().recordings_of(call.overview.facts.sid.clone()).await.expect("readable").is_empty());
    desk.close().await;
    assert_eq!(files(&folder.0), Vec::<PathBuf>::new());
}

#[actix::test]
async fn a_card_number_that_a_broken_stream_divides_is_silenced_in_both_parts() {
    let folder = Folder::new();
    let desk = recording_desk(&folder.0, None).await;
    let call = desk
        .call(
            r#"
            name = "divided card"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "Hello, my card number is 4111 1111"
            [[step]]
            wait_for = "reply"
            [[step]]
            drop_socket = true
            [[step]]
            wait_for = "reply"
            [[step]]
            say = "1111 1111 and that was all of it."
            [[step]]
            wait_for = "reply"
            [[step]]
            say = "That is all, goodbye."
            [[step]]
            expect_end = "hangup"
            "#,
        )
        .await;
    call.is_sound().has_event("call.resumed").has_event("card.masked");
    assert_eq!(call.report.streams.len(), 2, "{}", call.report);
    let said = call.caller_said();
    assert!(!said.contains("1111") && said.matches("[card number]").count() == 2, "{said}");
    let recording = complete(desk.db(), &call.overview.facts.sid).await;
    let file = std::fs::read(folder.0.join(&recording.location)).expect("the file is there");
    let heard = text(&words(&file, Side::Caller));
    assert!(heard.contains("hello my card") && heard.contains("that was all of it"), "{heard}");
    assert!(!heard.contains("1111"), "{heard}");
    desk.close().await;
}

async fn a_card_number_is_neither_in_the_recording_nor_in_the_transcript() {
    let folder = Folder::new();
    let desk = recording_desk(&folder.0, None).await;
    let call = desk
        .call(
            r#"
            name = "card"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "Hello, my card number is 4111 1111 1111 1111 by the way."
            [[step]]
            wait_for = "reply"
            [[step]]
            say = "That is all, goodbye."
            [[step]]
            expect_end = "hangup"
            "#,
        )
        .await;
    call.is_sound().has_event("card.masked").has_event("recording.started");
    let said = call.caller_said();
    assert!(said.contains("[card number]") && !said.contains("1111"), "{said}");
    for event in desk.db().events(call.overview.facts.sid.clone()).await.expect("readable") {
        assert!(!event.event.detail.to_string().contains("1111"), "{event:?}");
    }
    let recording = complete(desk.db(), &call.overview.facts.sid).await;
    let file = std::fs::read(folder.0.join(&recording.location)).expect("the file is there");
    let caller = words(&file, Side::Caller);
    let heard = text(&caller);
    assert!(heard.contains("hello my card") && heard.contains("that is all goodbye"), "{heard}");
    assert!(!heard.contains("1111"), "{heard}");
    // Silence where the number was: between what was said before it and after it, for longer than any pause.
    let before = caller.iter().find(|w| w.word == "card").expect("said before");
    let after = caller.iter().find(|w| w.from > before.to && w.word == "by").expect("said after");
    let left = side(&file, Side::Caller);
    let between = &left[before.to as usize * 8..after.from as usize * 8];
    let longest = between.split(|b| *b != 0xFF).map(<[u8]>::len).max().unwrap_or(0);
    assert!(longest > 8_000, "{longest} samples of silence at most");
    desk.close().await;
}

async fn the_recording_of_a_killed_process_plays_and_the_call_is_closed_at_the_next_start() {
    let place = Place::new();
    let folder = place.folder.join("recordings");
    let url = folder.display().to_string();
    let settings =
        [("FRONTDESK_TWILIO_SUSPEND_MS", "1000"), ("RECORDING", "on"), ("RECORDINGS_URL", url.as_str())];
    let server = Process::start(&place, &settings);
    let sid = format!("CA{:032x}", rand::random::<u128>());
    let script = Script::parse(KILLED).expect("a script");
    let caller = place.caller(&sid);
    let calling = actix_rt::spawn(async move { run_call(&caller, &script).await });
    let database = place.database().await;
    let sid = CallSid::from(sid.as_str());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let begun = loop {
        // Until the caller's words are on record and have been on the disk for a while.
        let turns = database.turns(sid.clone()).await.unwrap_or_default();
        let asked = turns.iter().position(|t| t.said.contains("opening hours"));
        if asked.is_some_and(|at| turns.iter().skip(at).any(|t| t.speaker == Speaker::Bot)) {
            break database.recordings_of(sid.clone()).await.expect("readable").remove(0);
        }
        assert!(tokio::time::Instant::now() < deadline, "no answer is recorded: {turns:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    server.kill();
    calling.await.expect("the caller is told");
    assert_eq!(begun.state, RecordingState::Recording);
    let part = std::fs::read(folder.join(format!("{}.part", begun.location))).expect("the file is there");
    assert!(read_header(&part).is_some());
    let heard = text(&words(&part, Side::Caller));
    assert!(heard.contains("what are your opening hours"), "{heard}");

    let server = Process::start(&place, &settings);
    let recording = complete(&database, &sid).await;
    let file = std::fs::read(folder.join(&recording.location)).expect("the file is there");
    assert_eq!(file.len() as u64, recording.bytes);
    assert!(file[HEADER_BYTES..] == part[HEADER_BYTES..file.len()]);
    let about = read_header(&file).expect("a header");
    assert_eq!(file[..HEADER_BYTES], header(about, (file.len() - HEADER_BYTES) as u64), "sizes as they are");
    // Aligned: the question ends before the turn that it became, and the greeting began before the question.
    let turns = database.turns(sid.clone()).await.expect("readable");
    let turn = turns.iter().find(|t| t.said.contains("opening hours")).expect("the question");
    let (caller, bot) = (words(&file, Side::Caller), words(&file, Side::Bot));
    let hours = caller.iter().find(|w| w.word == "hours").expect("its last word");
    let spoken = recording.offset_ms + hours.to;
    assert!((spoken..spoken + 3_000).contains(&turn.at_ms), "turn at {}, word until {spoken}", turn.at_ms);
    assert!(bot.first().is_some_and(|first| first.from < hours.from), "{bot:?}");
    loop {
        let call = database.call_overview(sid.clone()).await.expect("readable");
        if let Some(reason) = call.and_then(|c| c.end_reason) {
            assert_eq!(reason, EndReason::Lost);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline + Duration::from_secs(60), "the call is not closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What the broken conversation is owed comes about, once each.
    let owed = [format!("summary:{sid}"), format!("callback:{sid}")];
    let done = loop {
        let jobs = database.jobs(JobQuery { limit: 100, ..JobQuery::default() }).await.expect("readable");
        let of_call = jobs.into_iter().filter(|job| owed.contains(&job.key));
        let done: Vec<_> = of_call.filter(|job| job.state == JobState::Done).collect();
        if done.len() == 2 {
            break done;
        }
        assert!(tokio::time::Instant::now() < deadline + Duration::from_secs(120), "not done: {done:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(done.iter().all(|job| job.attempts == 1), "{done:?}");
    let call = database.call_overview(sid.clone()).await.expect("readable").expect("there");
    assert!(call.summary.is_some() && call.outcome.follow_up, "{call:?}");
    assert_eq!(database.messages(9).await.expect("readable").len(), 1);
    let written = place.vendors.faults.seen(Service::Openai);
    assert_eq!(written.iter().filter(|asked| asked.contains("You summarise phone calls")).count(), 1);
    server.kill();
    database.shutdown().await;
}
