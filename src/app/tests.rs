//! The server at its edges: raw sockets and signed requests.

use super::*;
use crate::cli::stack::{local_config, use_vendors};
use crate::config::profile;
use crate::domain::call::{CallFacts, CallKind, Direction, EndReason};
use crate::domain::ids::Epoch;
use crate::domain::phone::CallerId;
use crate::domain::usage::{Item, Used};
use crate::registry::messages::ListLive;
use crate::sim::caller::sign::sign;
use crate::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// Long against an answer on loopback, short against the second that a forgotten socket lingers.
const PROMPT: Duration = Duration::from_millis(900);

/// A server of a test's own with simulated vendors.
struct Desk {
    server: Server,
    vendors: VendorsHandle,
    folder: PathBuf,
}

impl Desk {
    async fn open(person: bool) -> Self {
        Self::at(&fresh_folder(), person, |_| {}).await
    }

    async fn at(folder: &Path, person: bool, change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut config = local_config(&address, &folder.join("test.db"));
        config.server.workers = 1;
        config.server.secret = Some(SecretString::from("a secret that both processes know".to_owned()));
        let vendors = Vendors::start(VendorsConfig::default(), None).unwrap();
        use_vendors(&mut config, &vendors);
        change(&mut config);
        let mut profile = profile::parse(profile::BARBERSHOP).unwrap();
        profile.transfer_number = person.then(|| "+12025550177".to_owned());
        let server = run(config, profile, listener).await.unwrap();
        Self { server, vendors, folder: folder.to_owned() }
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.server.address)
    }

    /// What a signed request is answered.
    async fn post(&self, path: &str, more: &[(&str, &str)]) -> (u16, String) {
        let mut form = vec![("AccountSid", ACCOUNT), ("CallSid", "CA1"), ("From", "+12025550143")];
        form.extend([("To", "+12025550100"), ("Direction", "inbound")]);
        form.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        form.extend_from_slice(more);
        let url = self.url("http", path);
        let request = awc::Client::new()
            .post(&url)
            .insert_header(("X-Twilio-Signature", sign(TOKEN, &url, form.iter().copied())));
        let mut answer = request.send_form(&form).await.unwrap();
        let body = answer.body().await.unwrap();
        (answer.status().as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }

    async fn document(&self, path: &str, more: &[(&str, &str)]) -> String {
        let (status, body) = self.post(path, more).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn socket(&self) -> Socket {
        Socket::open(self).await
    }

    /// A call whose stream is up.
    async fn live(&self) -> Socket {
        let document = self.document("/voice/incoming", &[("CallStatus", "ringing")]).await;
        let mut socket = self.socket().await;
        socket.start(Some(&token_of(&document)), "MZ1").await;
        self.state("live").await;
        socket
    }

    /// Waits until the one call there is stands so.
    async fn state(&self, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let list = self.server.registry.send(ListLive).await.unwrap();
            if list.first().is_some_and(|call| call.state == word) {
                return;
            }
            assert!(Instant::now() < deadline, "{list:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ended(&self) -> EndReason {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.server.db.flush().await.unwrap();
            let call = self.server.db.call_overview("CA1".into()).await.unwrap();
            if let Some(reason) = call.and_then(|c| c.end_reason) {
                return reason;
            }
            assert!(Instant::now() < deadline, "the call does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn close(self) {
        self.server.stop().await;
        self.vendors.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn fresh_folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("frontdesk-app-{:032x}", rand::random::<u128>()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn token_of(document: &str) -> String {
    let (_, rest) = document.split_once("name=\"token\" value=\"").expect(document);
    rest.split_once('"').unwrap().0.to_owned()
}

/// Twilio's end of a stream, byte by byte.
struct Socket {
    io: TcpStream,
    read: Vec<u8>,
}

impl Socket {
    async fn open(desk: &Desk) -> Self {
        let mut io = TcpStream::connect(desk.server.address).await.unwrap();
        let signature = sign(TOKEN, &desk.url("ws", "/voice/stream"), []);
        let request = format!(
            "GET /voice/stream HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             X-Twilio-Signature: {signature}\r\n\r\n",
            desk.server.address
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut this = Self { io, read: Vec::new() };
        let head = loop {
            if let Some(at) = this.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break this.read.drain(..at + 4).collect::<Vec<u8>>();
            }
            assert!(this.more().await, "no answer to the handshake");
        };
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        this
    }

    /// Reads on; false at the end.
    async fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let n = tokio::time::timeout(Duration::from_secs(20), self.io.read(&mut piece)).await;
        let n = n.expect("the socket stands still").unwrap_or(0);
        self.read.extend_from_slice(&piece[..n]);
        n > 0
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()).unwrap() {
            n @ 0..=125 => frame.push(0x80 | n as u8),
            n => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&n.to_be_bytes());
            }
        }
        // A mask of zeros changes nothing.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        // A peer that is gone already shows when it is read from.
        let _ = self.io.write_all(&frame).await;
    }

    async fn text(&mut self, message: serde_json::Value) {
        self.send(1, message.to_string().as_bytes()).await;
    }

    async fn start(&mut self, token: Option<&str>, sid: &str) {
        let parameters = token.map(|t| serde_json::json!({ "token": t })).unwrap_or(serde_json::json!({}));
        self.text(serde_json::json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" })).await;
        self.start_again(parameters, sid).await;
    }

    async fn start_again(&mut self, parameters: serde_json::Value, sid: &str) {
        self.text(serde_json::json!({
            "event": "start", "sequenceNumber": "1", "streamSid": sid,
            "start": {
                "accountSid": ACCOUNT, "streamSid": sid, "callSid": "CA1", "tracks": ["inbound"],
                "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
                "customParameters": parameters,
            },
        }))
        .await;
    }

    /// The next frame, unless the socket is at its end.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [first, second, rest @ ..] = self.read.as_slice() {
                let (start, length) = match (second & 0x7f, rest) {
                    (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
                    (126, _) => (4, usize::MAX - 4),
                    (n, _) => (2, usize::from(n)),
                };
                if self.read.len() >= start + length {
                    let opcode = first & 0x0f;
                    let frame: Vec<u8> = self.read.drain(..start + length).collect();
                    return Some((opcode, frame[start..].to_vec()));
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The code it is closed with, which is answered; checks that the connection ends at once after it.
    async fn closed(mut self) -> u16 {
        self.close_and_answer(true).await
    }

    async fn close_and_answer(&mut self, answer: bool) -> u16 {
        loop {
            let (opcode, payload) = self.frame().await.expect("a close comes before the end");
            if opcode == 8 {
                if answer {
                    self.send(8, &payload).await;
                }
                let at = Instant::now();
                assert_eq!(self.frame().await, None, "nothing follows a close");
                assert!(at.elapsed() < PROMPT, "the connection ended {:?} after the close", at.elapsed());
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

#[actix::test]
async fn a_stream_that_breaks_the_rules_is_closed_and_its_connection_ends() {
    let desk = Desk::open(false).await;
    let mut socket = desk.socket().await;
    socket.start(None, "MZ1").await;
    assert_eq!(socket.closed().await, 1008, "no token");
    // A peer that does not answer the close is not waited for either.
    let mut socket = desk.socket().await;
    socket.start(None, "MZ1").await;
    assert_eq!(socket.close_and_answer(false).await, 1008);

    let mut socket = desk.live().await;
    socket.start_again(serde_json::json!({}), "MZ2").await;
    assert_eq!(socket.closed().await, 1008, "a second start, though of another stream");
    desk.state("suspended").await;
    desk.close().await;
}

#[actix::test]
async fn a_peers_close_is_answered_and_the_call_is_suspended() {
    let desk = Desk::open(false).await;
    let mut socket = desk.live().await;
    // What is not the caller's own voice is no defect either, however often it comes.
    for _ in 0..60 {
        let media =
            serde_json::json!({ "track": "outbound", "chunk": "1", "timestamp": "1", "payload": "//8=" });
        socket.text(serde_json::json!({ "event": "media", "streamSid": "MZ1", "media": media })).await;
    }
    socket.send(8, &1000u16.to_be_bytes()).await;
    assert_eq!(socket.closed().await, 1000);
    desk.state("suspended").await;
    desk.close().await;
}

#[actix::test]
async fn a_peer_that_is_dead_is_let_go_and_its_call_goes_on_with_the_next_stream() {
    let silent = Duration::from_millis(3_000);
    let desk = Desk::at(&fresh_folder(), false, |c| c.twilio.silent_ms = silent.as_millis() as u64).await;
    let mut socket = desk.live().await;
    // As long as anything comes the peer lives, for longer than it may be silent.
    let begun = Instant::now();
    while begun.elapsed() < silent * 2 {
        let media =
            serde_json::json!({ "track": "inbound", "chunk": "1", "timestamp": "1", "payload": "//8=" });
        socket.text(serde_json::json!({ "event": "media", "streamSid": "MZ1", "media": media })).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    desk.state("live").await;
    // Then nothing more: no frame, no close, not even the end of the connection.
    let begun = Instant::now();
    assert_eq!(socket.close_and_answer(false).await, 1011);
    assert!(begun.elapsed() + Duration::from_millis(500) > silent, "{:?}", begun.elapsed());
    desk.state("suspended").await;
    let document = desk.document("/voice/continue", &[("CallStatus", "in-progress")]).await;
    let mut socket = desk.socket().await;
    socket.start(Some(&token_of(&document)), "MZ2").await;
    desk.state("live").await;
    desk.close().await;
}

#[actix::test]
async fn a_stream_that_ends_while_its_call_is_asked_for_gives_the_call_back() {
    let desk = Desk::at(&fresh_folder(), false, |c| c.twilio.max_breaks = 1_000).await;
    let mut document = desk.document("/voice/incoming", &[("CallStatus", "ringing")]).await;
    // The stop comes before the answer to the claim, after it, and all times between.
    for pause in 0..30 {
        let mut socket = desk.socket().await;
        socket.start(Some(&token_of(&document)), "MZ1").await;
        for _ in 0..pause {
            tokio::task::yield_now().await;
        }
        socket.send(8, &1000u16.to_be_bytes()).await;
        assert_eq!(socket.closed().await, 1000);
        let deadline = Instant::now() + Duration::from_secs(4);
        loop {
            let list = desk.server.registry.send(ListLive).await.unwrap();
            if list.iter().all(|call| call.state != "live") {
                break;
            }
            assert!(Instant::now() < deadline, "still live in round {pause}");
            tokio::task::yield_now().await;
        }
        document = desk.document("/voice/continue", &[("CallStatus", "in-progress")]).await;
    }
    let mut socket = desk.socket().await;
    socket.start(Some(&token_of(&document)), "MZ2").await;
    desk.state("live").await;
    desk.close().await;
}

#[actix::test]
async fn a_stopped_server_leaves_its_calls_to_the_next_one() {
    let folder = fresh_folder();
    let desk = Desk::at(&folder, false, |_| {}).await;
    let socket = desk.live().await;
    let begun = Instant::now();
    let (code, ()) = tokio::join!(socket.closed(), desk.server.stop());
    assert_eq!(code, 1000);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());

    let desk = Desk::at(&folder, false, |_| {}).await;
    let document = desk.document("/voice/continue", &[("CallStatus", "in-progress")]).await;
    let mut socket = desk.socket().await;
    socket.start(Some(&token_of(&document)), "MZ1").await;
    desk.state("live").await;
    let (status, _) = desk.post("/voice/status", &[("CallStatus", "completed")]).await;
    assert_eq!(status, 204);
    assert_eq!(socket.closed().await, 1000);
    assert_eq!(desk.ended().await, EndReason::Completed);
    desk.close().await;
}

const UNANSWERED: &[(&str, &str)] =
    &[("CallStatus", "in-progress"), ("DialCallStatus", "no-answer"), ("DialBridged", "false")];

#[actix::test]
async fn a_caller_for_whom_there_is_no_room_is_put_through_or_told_so() {
    // No room here, or none at the recogniser: whoever is let in is heard.
    let full: [fn(&mut Config); 2] = [|c| c.server.max_calls = 1, |c| c.stt.max_concurrent = 1];
    for (person, full) in [(true, full[0]), (false, full[0]), (true, full[1]), (false, full[1])] {
        let desk = Desk::at(&fresh_folder(), person, full).await;
        desk.document("/voice/incoming", &[("CallSid", "CA9"), ("CallStatus", "ringing")]).await;
        let document = desk.document("/voice/incoming", &[("CallStatus", "ringing")]).await;
        if person {
            assert!(document.contains("put you through") && document.contains("+12025550177"), "{document}");
            assert!(document.contains("/voice/continue?last=1#"), "{document}");
            let document = desk.document("/voice/continue?last=1", UNANSWERED).await;
            assert!(document.contains("call you back") && document.contains("<Hangup"), "{document}");
            // Nor is anybody hung up on without a word at the usual address.
            let document = desk.document("/voice/continue", UNANSWERED).await;
            assert!(document.contains("call you back"), "{document}");
        } else {
            assert!(document.contains("busy") && !document.contains("<Dial"), "{document}");
        }
        desk.close().await;
    }
}

#[actix::test]
async fn the_fallback_rings_a_person_and_is_the_last_word() {
    let desk = Desk::open(true).await;
    desk.document("/voice/incoming", &[("CallStatus", "ringing")]).await;
    let failed = [("CallStatus", "in-progress"), ("ErrorCode", "11200"), ("ErrorUrl", "http://x/")];
    let document = desk.document("/voice/fallback", &failed).await;
    assert!(document.contains("put you through") && document.contains("<Dial"), "{document}");
    let document = desk.document("/voice/continue?last=1", UNANSWERED).await;
    assert!(document.contains("call you back") && document.contains("<Hangup"), "{document}");
    assert_eq!(desk.ended().await, EndReason::Apology);
    desk.close().await;
}

#[actix::test]
async fn a_call_that_breaks_too_often_gets_a_person_and_then_an_apology() {
    let desk = Desk::at(&fresh_folder(), true, |c| c.twilio.max_breaks = 0).await;
    desk.document("/voice/incoming", &[("CallStatus", "ringing")]).await;
    let document = desk.document("/voice/continue", &[("CallStatus", "in-progress")]).await;
    assert!(document.contains("put you through") && document.contains("last=1"), "{document}");
    let document = desk.document("/voice/continue?last=1", UNANSWERED).await;
    assert!(document.contains("call you back"), "{document}");
    assert_eq!(desk.ended().await, EndReason::Apology);
    desk.close().await;
}

#[actix::test]
async fn a_webhook_of_another_account_is_refused() {
    let desk = Desk::open(false).await;
    let stream = [("StreamSid", "MZ1"), ("StreamEvent", "stream-error"), ("StreamError", "31920")];
    assert_eq!(desk.post("/voice/stream-status", &stream).await.0, 204);
    let mut foreign = stream.to_vec();
    foreign.push(("AccountSid", "AC00000000000000000000000000000002"));
    assert_eq!(desk.post("/voice/stream-status", &foreign).await.0, 403);
    let foreign = [("AccountSid", "AC00000000000000000000000000000002"), ("CallStatus", "completed")];
    assert_eq!(desk.post("/voice/status", &foreign).await.0, 403);
    desk.close().await;
}

#[actix::test]
async fn health_counts_the_calls_that_are_not_over() {
    let desk = Desk::open(false).await;
    desk.document("/voice/incoming", &[("CallStatus", "ringing")]).await;
    let mut answer = awc::Client::new().get(desk.url("http", "/api/health")).send().await.unwrap();
    let health: serde_json::Value = serde_json::from_slice(&answer.body().await.unwrap()).unwrap();
    assert_eq!((&health["status"], &health["activeCalls"]), (&"ok".into(), &1.into()));
    desk.close().await;
}

/// Has a call with this number have cost so much today.
async fn spend(desk: &Desk, sid: &str, number: &str, micros: i64) {
    let facts = CallFacts {
        sid: sid.into(),
        admission: "a".into(),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Number(PhoneNumber::from_e164(number).unwrap()),
        business_number: "+12025550100".into(),
        admitted_at: unix_now(),
        epoch: Epoch(1),
    };
    let used = vec![Used { item: Item::TtsChars, model: "m".into(), amount: 1, micros }];
    let db = &desk.server.db;
    db.write(Write::CallAdmitted { facts }).await.unwrap();
    db.write(Write::Usage { sid: sid.into(), at: unix_now(), used }).await.unwrap();
}

#[actix::test]
async fn no_call_is_let_in_on_a_day_that_has_cost_what_it_may() {
    let desk = Desk::at(&fresh_folder(), true, |c| c.prices.day_cap = Some(2.0)).await;
    let ring = |sid: &'static str| [("CallSid", sid), ("CallStatus", "ringing")];
    spend(&desk, "CA8", "+12025550188", 1_999_999).await;
    assert!(desk.document("/voice/incoming", &ring("CA1")).await.contains("<Stream"));
    spend(&desk, "CA9", "+12025550188", 1).await;
    let document = desk.document("/voice/incoming", &ring("CA2")).await;
    assert!(document.contains("cannot take any more calls today"), "{document}");
    assert!(document.contains("<Hangup") && !document.contains("<Dial") && !document.contains("<Stream"));
    // One that was let in before is asked about again: it goes on.
    assert!(desk.document("/voice/incoming", &ring("CA1")).await.contains("<Stream"));
    desk.server.db.flush().await.unwrap();
    let trail = desk.server.db.events("CA2".into()).await.unwrap();
    assert_eq!((trail.len(), trail[0].event.code.as_str()), (1, "call.refused"));
    assert_eq!(trail[0].event.detail["spend_limit"], "day");
    assert!(desk.server.db.call_overview("CA2".into()).await.unwrap().is_none());
    desk.close().await;
}

#[actix::test]
async fn a_number_whose_calls_have_cost_what_they_may_is_refused_and_others_are_not() {
    let desk = Desk::at(&fresh_folder(), false, |c| c.prices.number_cap = Some(0.5)).await;
    spend(&desk, "CA8", "+12025550143", 500_000).await;
    let ring =
        |sid: &'static str, from: &'static str| [("CallSid", sid), ("From", from), ("CallStatus", "ringing")];
    let document = desk.document("/voice/incoming", &ring("CA1", "+12025550143")).await;
    assert!(document.contains("cannot take any more calls today"), "{document}");
    for (sid, from) in [("CA2", "+12025550144"), ("CA3", "anonymous")] {
        let document = desk.document("/voice/incoming", &ring(sid, from)).await;
        assert!(document.contains("<Stream"), "{from}: {document}");
    }
    desk.close().await;
}
