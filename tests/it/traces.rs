//! Traces of a whole call, as a collector receives them (OTLP over HTTP, protobuf).

use crate::support::process::{Place, Process};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// A message's fields: number and content. Groups are no longer used by anybody.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Number(u64::from(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()))),
            kind => panic!("wire type {kind}"),
        };
        all.push((key >> 3, field));
    }
    all
}

#[derive(Clone, Copy)]
enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Field<'b> {
    fn bytes(self) -> &'b [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(n) => panic!("{n} is no bytes"),
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Number(n) => n,
            Self::Bytes(_) => panic!("bytes are no number"),
        }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number that does not end");
}

fn take<'b>(bytes: &mut &'b [u8], n: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(n);
    *bytes = rest;
    taken
}

/// The fields with this number.
fn all(bytes: &[u8], number: u64) -> Vec<Field<'_>> {
    fields(bytes).into_iter().filter(|(n, _)| *n == number).map(|(_, field)| field).collect()
}

fn one(bytes: &[u8], number: u64) -> Option<Field<'_>> {
    all(bytes, number).first().copied()
}

/// A span, as `opentelemetry.proto.trace.v1.Span` has it.
#[derive(Clone, Debug)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    kind: u64,
    from: u64,
    to: u64,
    attributes: BTreeMap<String, String>,
    events: usize,
}

/// An `AnyValue` as text.
fn value(bytes: &[u8]) -> String {
    match fields(bytes).first() {
        Some((1, text)) => text.text(),
        Some((2, bool)) => (bool.number() == 1).to_string(),
        Some((3, number)) => number.number().to_string(),
        Some((4, number)) => f64::from_bits(number.number()).to_string(),
        Some((5, array)) => {
            let values = all(array.bytes(), 1);
            format!("[{}]", values.into_iter().map(|v| value(v.bytes())).collect::<Vec<_>>().join(","))
        }
        _ => String::new(),
    }
}

fn attributes(of: &[u8], number: u64) -> BTreeMap<String, String> {
    let pair = |pair: Field<'_>| {
        let bytes = pair.bytes();
        (one(bytes, 1).unwrap().text(), one(bytes, 2).map(|v| value(v.bytes())).unwrap_or_default())
    };
    all(of, number).into_iter().map(pair).collect()
}

/// The spans of an `ExportTraceServiceRequest`, each of the service that is expected.
fn spans(body: &[u8], service: &str) -> Vec<Span> {
    let mut found = Vec::new();
    for resource in all(body, 1) {
        let told = attributes(one(resource.bytes(), 1).unwrap().bytes(), 1);
        assert_eq!(told.get("service.name").map(String::as_str), Some(service), "{told:?}");
        for scope in all(resource.bytes(), 2) {
            for span in all(scope.bytes(), 2) {
                let bytes = span.bytes();
                let id = |n| one(bytes, n).map(|field| field.bytes().to_vec()).unwrap_or_default();
                let number = |n| one(bytes, n).map_or(0, Field::number);
                found.push(Span {
                    trace: id(1),
                    id: id(2),
                    parent: id(4),
                    name: one(bytes, 5).unwrap().text(),
                    kind: number(6),
                    from: number(7),
                    to: number(8),
                    attributes: attributes(bytes, 9),
                    events: all(bytes, 11).len(),
                });
            }
        }
    }
    found
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// A collector that takes whatever comes.
fn collector() -> (SocketAddr, Bodies) {
    let bodies = Bodies::default();
    let kept = Arc::clone(&bodies);
    let server = HttpServer::new(move || {
        let kept = Arc::clone(&kept);
        App::new().app_data(web::PayloadConfig::new(16 << 20)).route(
            "/v1/traces",
            web::post().to(move |request: HttpRequest, body: web::Bytes| {
                let kind = request.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
                assert_eq!(kind, "application/x-protobuf");
                kept.lock().unwrap().push(body.to_vec());
                async { HttpResponse::Ok().content_type("application/x-protobuf").finish() }
            }),
        )
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    actix_rt::spawn(server.run());
    (address, bodies)
}

const BOOK: &str = include_str!("../../src/sim/scripts/booking.toml");

#[actix::test]
async fn the_spans_of_a_whole_call_reach_the_collector_with_the_names_of_the_convention() {
    let (address, bodies) = collector();
    let place = Place::new();
    let endpoint = format!("http://{address}");
    let server = Process::start(
        &place,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_SERVICE_NAME", "shop"),
            // What is sent is what is flushed at the end.
            ("FRONTDESK_OBSERVE_OTLP_MS", "60000"),
        ],
    );
    let sid = format!("CA{:032x}", rand::random::<u128>());
    let report = run_call(&place.caller(&sid), &Script::parse(BOOK).unwrap()).await;
    assert!(report.violations.count == 0, "{report}");
    actix_web::web::block(move || server.terminate()).await.unwrap();

    let bodies = bodies.lock().unwrap().clone();
    let spans: Vec<Span> = bodies.iter().flat_map(|body| spans(body, "shop")).collect();
    let named =
        |name: &str| -> Vec<Span> { spans.iter().filter(|span| span.name == name).cloned().collect() };
    let has = |span: &Span, key: &str, want: &str| {
        assert_eq!(span.attributes.get(key).map(String::as_str), Some(want), "{key} of {span:?}");
    };
    let calls = named("call");
    let [call] = calls.as_slice() else { panic!("one call: {spans:#?}") };
    assert!(call.parent.is_empty() && call.trace.len() == 16, "{call:?}");
    has(call, "gen_ai.conversation.id", &sid);
    assert!(
        spans.iter().all(|span| span.trace == call.trace || span.name.starts_with("chat ")),
        "{spans:#?}"
    );
    let turns = named("turn");
    assert!(turns.len() >= 3, "{spans:#?}");
    for turn in &turns {
        assert_eq!(turn.parent, call.id, "{turn:?}");
        assert!(turn.from >= call.from && turn.to >= turn.from, "{turn:?}");
    }
    assert!(
        turns.iter().any(|turn| turn.attributes.contains_key("conversation.turn_latency_seconds")),
        "{turns:#?}"
    );
    let models: Vec<&Span> = spans.iter().filter(|span| span.name.starts_with("chat ")).collect();
    let in_turns: Vec<&&Span> =
        models.iter().filter(|span| turns.iter().any(|turn| turn.id == span.parent)).collect();
    assert!(in_turns.len() >= 3, "{spans:#?}");
    for model in &in_turns {
        assert_eq!(model.kind, 3, "CLIENT: {model:?}");
        has(model, "gen_ai.operation.name", "chat");
        has(model, "gen_ai.provider.name", "openai");
        has(model, "gen_ai.conversation.id", &sid);
        assert!(model.name.ends_with(&model.attributes["gen_ai.request.model"]), "{model:?}");
    }
    assert!(
        models
            .iter()
            .any(|model| model.attributes.get("gen_ai.usage.input_tokens").is_some_and(|n| n != "0"))
    );
    let finished = |word: &str| {
        let want = format!("[{word}]");
        models.iter().any(|m| m.attributes.get("gen_ai.response.finish_reasons") == Some(&want))
    };
    assert!(finished("stop") && finished("tool_call"), "{models:#?}");
    let tools = named("execute_tool book_appointment");
    assert!(!tools.is_empty(), "{spans:#?}");
    has(&tools[0], "gen_ai.tool.name", "book_appointment");
    assert_eq!(tools[0].kind, 1, "INTERNAL");
    assert!(turns.iter().any(|turn| turn.id == tools[0].parent), "{tools:?}");
    let (ear, voice) = (named("transcribe"), named("speak"));
    assert!(!ear.is_empty() && !voice.is_empty(), "{spans:#?}");
    assert!(ear.iter().chain(&voice).all(|span| span.parent == call.id), "{ear:?} {voice:?}");
    // Not a word that was spoken, and no number.
    assert!(spans.iter().all(|span| span.events == 0), "{spans:#?}");
    let told = format!("{spans:?}");
    assert!(!told.contains("haircut") && !told.contains("+1202"), "{told}");
}
