//! What the stages of a call cost that know no socket: a frame of the stream, a message of the recogniser, a delta of the
//! model, a frame of playback, a request to the model, a look into the calendar, a signature. Each figure is for one of
//! them; a call has 50 frames a second in each direction, and about one answer in five seconds.

#![expect(clippy::expect_used, reason = "a bench whose samples are wrong should stop")]

use bytes::Bytes;
use divan::{Bencher, black_box};
use frontdesk::audio::frame::SILENT_FRAME;
use frontdesk::booking::availability::free_slots;
use frontdesk::booking::dates;
use frontdesk::call::playback::{Outgoing, Playback};
use frontdesk::call::stt::machine::{EarMachine, EarSettings, Event};
use frontdesk::config::call::CallConfig;
use frontdesk::config::profile::{self, BARBERSHOP};
use frontdesk::config::stt::SttConfig;
use frontdesk::dialogue::history::{History, Limits};
use frontdesk::dialogue::prompt::{CallerFacts, PromptContext, system_prompt};
use frontdesk::dialogue::schema;
use frontdesk::dialogue::sentences::Splitter;
use frontdesk::domain::ids::{ReplyId, StreamSid};
use frontdesk::domain::profile::BusinessProfile;
use frontdesk::domain::time::{CallTime, UnixMillis};
use frontdesk::provider::llm::openai::reader::AnswerReader;
use frontdesk::provider::stt::SttMessage;
use frontdesk::provider::stt::deepgram;
use frontdesk::twilio::signature::{SignatureHeaders, Verifier};

use frontdesk::twilio::stream::{StreamMessage, StreamWriter, decode_payload};
use secrecy::SecretString;
use std::sync::Arc;
use std::time::Duration;

const STREAM: &str = include_str!("../tests/fixtures/twilio/inbound_call_ws.jsonl");
const RECOGNISER: &str = include_str!("../tests/fixtures/deepgram/live_three_utterances.jsonl");
const MODEL: &str = include_str!("../tests/fixtures/openai/text_usage.sse");
const ANSWER: &str = "We are open from nine in the morning until seven in the evening, Tuesday to Saturday. ";

fn main() {
    divan::main();
}

fn business() -> BusinessProfile {
    profile::parse(BARBERSHOP).expect("the built-in business")
}

/// One of Twilio's `media` messages, from its text to 160 bytes of audio.
#[divan::bench]
fn frame_of_the_caller(bencher: Bencher) {
    let frame = STREAM.lines().find(|line| line.contains("\"media\"")).expect("a frame of audio");
    let mut audio = Vec::with_capacity(256);
    bencher.bench_local(|| {
        audio.clear();
        if let Ok(StreamMessage::Media { payload_b64, .. }) =
            StreamMessage::parse(black_box(frame.as_bytes()))
        {
            decode_payload(&payload_b64, &mut audio).expect("base64");
        }
        black_box(&audio);
    });
    assert_eq!(audio.len(), SILENT_FRAME.len());
}

/// One of ours, from 160 bytes of audio to its text.
#[divan::bench]
fn frame_to_the_caller(bencher: Bencher) {
    let writer = StreamWriter::new(&StreamSid::from("MZ000000000000000000000000000000e1"));
    let mut text = String::with_capacity(384);
    bencher.bench_local(|| {
        text.clear();
        writer.media(black_box(&SILENT_FRAME), &mut text);
        black_box(&text);
    });
}

/// A frame through the queue of what the caller hears: 40 ms in, then out at the pace at which it is played.
#[divan::bench]
fn playback(bencher: Bencher) {
    let mut playback = Playback::new(Duration::from_millis(400), 4_000);
    playback.begin_sentence(ReplyId(1), 0, ANSWER);
    let piece = Bytes::from(vec![0x55; 320]);
    let mut now = 0;
    bencher.bench_local(|| {
        playback.audio(ReplyId(1), 0, piece.clone());
        now += 40;
        playback.pull(CallTime::from_millis(now), |outgoing| {
            if let Outgoing::Frame(frame) = outgoing {
                black_box(frame);
            }
        });
    });
}

/// 40 ms of the caller through the ear, with a transcript each second that settles what came before.
#[divan::bench]
fn ear(bencher: Bencher) {
    let mut ear = EarMachine::new(EarSettings::new(&SttConfig::default(), &CallConfig::default()), 7);
    let mut out = Vec::new();
    ear.on(CallTime::ZERO, Event::Start, &mut out);
    ear.on(CallTime::ZERO, Event::Connected, &mut out);
    ear.on(CallTime::ZERO, Event::Voice(true), &mut out);
    let audio = Bytes::from(vec![0x55; 320]);
    let mut now = 0;
    bencher.bench_local(|| {
        now += 40;
        ear.on(CallTime::from_millis(now), Event::Audio(audio.clone()), &mut out);
        if now % 1_000 == 0 {
            let message = SttMessage::Results {
                start: (now - 1_000) as f64 / 1_000.0,
                duration: 1.0,
                is_final: true,
                speech_final: true,
                from_finalize: false,
                transcript: "an appointment on Tuesday".into(),
                words: Vec::new(),
            };
            ear.on(CallTime::from_millis(now), Event::Message(message), &mut out);
        }
        black_box(&out);
        out.clear();
    });
}

/// One message of the recogniser, read.
#[divan::bench]
fn message_of_the_recogniser(bencher: Bencher) {
    let text = RECOGNISER.lines().max_by_key(|line| line.len()).expect("messages");
    bencher.bench_local(|| black_box(deepgram::parse(black_box(text.as_bytes()))));
}

/// A whole streamed answer of the model, as it comes from the socket.
#[divan::bench]
fn answer_of_the_model(bencher: Bencher) {
    let mut out = Vec::new();
    bencher.bench_local(|| {
        let mut reader = AnswerReader::new(7);
        for piece in MODEL.as_bytes().chunks(600) {
            reader.push(black_box(piece), &mut out).expect("a good answer");
        }
        reader.end(&mut out).expect("a whole answer");
        black_box(&out);
        out.clear();
    });
}

/// An answer cut into sentences, a word at a time.
#[divan::bench]
fn sentences(bencher: Bencher) {
    let words: Vec<&str> = ANSWER.split_inclusive(' ').collect();
    bencher.bench_local(|| {
        let mut splitter = Splitter::default();
        for word in &words {
            black_box(splitter.push(black_box(word)));
        }
        black_box(splitter.finish());
    });
}

/// What the model is asked with after twenty turns: instructions and history.
#[divan::bench]
fn question_to_the_model(bencher: Bencher) {
    let profile = Arc::new(business());
    let tools = schema::specs(&profile);
    let context =
        PromptContext { profile, tools, caller: CallerFacts::default(), outbound: None, resumed: false };
    let mut history = History::new(Limits { turns: 40, tokens: 6_000 });
    for n in 0..20 {
        history.answer(ReplyId(n), "Do you have anything on Tuesday afternoon?");
        history.say(ReplyId(n), ANSWER);
        history.heard_all(ReplyId(n));
    }
    bencher.bench_local(|| {
        let system = system_prompt(black_box(&context), "Tuesday, 3 November 2026, 10:15 AM", &[]);
        black_box(history.messages(&system));
    });
}

/// All free times of a day with everybody.
#[divan::bench]
fn calendar(bencher: Bencher) {
    let profile = business();
    let zone = dates::zone_of(&profile).expect("its time zone");
    let service = profile.services.first().expect("a service");
    let now = UnixMillis(1_793_620_800_000);
    let today = jiff::Timestamp::from_millisecond(now.0).expect("a time").to_zoned(zone.clone()).date();
    let day = (1..8)
        .filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok())
        .find(|day| free_slots(&profile, &zone, service, None, *day, &[], now).is_ok())
        .expect("an open day");
    bencher.bench_local(|| {
        black_box(free_slots(&profile, &zone, service, None, black_box(day), &[], now).is_ok())
    });
}

/// The signature of a webhook with twelve fields, which is wrong: it is computed all the same.
#[divan::bench]
fn signature(bencher: Bencher) {
    let token = SecretString::from("00112233445566778899aabbccddeeff".to_owned());
    let verifier = Verifier::new("https://desk.example.com", &token, None).expect("a verifier");
    let form: Vec<(String, String)> =
        (0..12).map(|n| (format!("Field{n}"), "CA000000000000000000000000000000c1".to_owned())).collect();
    let headers = SignatureHeaders::new(Some("AAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    bencher.bench_local(|| {
        black_box(verifier.verify_form("/voice/incoming", black_box(&form), headers).is_err())
    });
}
