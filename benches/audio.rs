//! What audio costs per 20 ms frame.

#![expect(clippy::expect_used, reason = "a bench whose rates are wrong should stop")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use frontdesk::audio::frame::{Framer, SILENT_FRAME};
use frontdesk::audio::mulaw;
use frontdesk::audio::resample::{PcmToMulaw, Resampler};
use frontdesk::audio::vad::{Vad, VadState};
use frontdesk::call::media::Media;
use frontdesk::call::stt::messages::CallerAudio as _;
use frontdesk::config::call::CallConfig;
use frontdesk::config::stt::SttConfig;
use frontdesk::sim::voice::{Recogniser, VoiceTone, render};

const TEXT: &str = "Hi, I'd like an appointment on Tuesday at 3:30 PM, if that is possible.";

fn main() {
    divan::main();
}

fn samples(count: usize) -> Vec<i16> {
    (0..count).map(|n| (12_000.0 * (n as f32 * 0.3).sin()) as i16).collect()
}

/// Frames of speech, over and over.
fn speech() -> impl Iterator<Item = [u8; 160]> {
    let audio = render(TEXT, &VoiceTone::CALLER);
    let frames = audio.as_chunks::<160>().0.to_vec();
    frames.into_iter().cycle()
}

#[divan::bench]
fn mulaw_encode(bencher: Bencher) {
    let samples = samples(160);
    let mut out = Vec::with_capacity(160);
    bencher.counter(BytesCount::new(160_usize)).bench_local(|| {
        out.clear();
        mulaw::encode_into(black_box(&samples), &mut out);
        black_box(&out);
    });
}

#[divan::bench]
fn mulaw_decode(bencher: Bencher) {
    let bytes = mulaw::encode_slice(&samples(160));
    let mut out = Vec::with_capacity(160);
    bencher.counter(BytesCount::new(160_usize)).bench_local(|| {
        out.clear();
        mulaw::decode_into(black_box(&bytes), &mut out);
        black_box(&out);
    });
}

#[divan::bench(args = [(16_000, 8_000), (24_000, 8_000), (8_000, 16_000)])]
fn resample(bencher: Bencher, (from, to): (u32, u32)) {
    let mut resampler = Resampler::new(from, to).expect("the rates are supported");
    let input = samples(from as usize / 50);
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        resampler.push(black_box(&input), &mut out);
        black_box(&out);
    });
}

#[divan::bench]
fn pcm_24k_bytes_to_mulaw(bencher: Bencher) {
    let mut converter = PcmToMulaw::new(24_000).expect("the rate is supported");
    let input: Vec<u8> = samples(480).iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        converter.push(black_box(&input), &mut out);
        black_box(&out);
    });
}

#[divan::bench(args = [37, 160, 8_000])]
fn framer(bencher: Bencher, chunk: usize) {
    let mut framer = Framer::new();
    let input = vec![0x55; chunk];
    bencher.counter(BytesCount::new(chunk)).bench_local(|| {
        framer.push(black_box(&input), |frame| {
            black_box(frame);
        });
    });
}

/// The caller's frames through the call's ring, taken 40 ms at a time as the ear does in the middle of speech.
#[divan::bench]
fn caller_ring(bencher: Bencher) {
    let media = Media::new(&SttConfig::default(), &CallConfig::default());
    let sound = VadState { voiced: true, loud: true };
    bencher.counter(BytesCount::new(320_usize)).bench_local(|| {
        media.hear(black_box(&SILENT_FRAME), sound);
        media.hear(black_box(&SILENT_FRAME), sound);
        black_box(media.take(usize::MAX));
    });
}

/// The same when nobody takes them: the oldest go.
#[divan::bench]
fn caller_ring_that_is_full(bencher: Bencher) {
    let media = Media::new(&SttConfig::default(), &CallConfig::default());
    let sound = VadState { voiced: true, loud: true };
    bencher.counter(BytesCount::new(160_usize)).bench_local(|| media.hear(black_box(&SILENT_FRAME), sound));
}

#[divan::bench]
fn vad(bencher: Bencher) {
    let mut vad = Vad::new();
    let mut frames = speech();
    bencher.bench_local(|| vad.on_frame(black_box(&frames.next().unwrap_or(SILENT_FRAME))));
}

#[divan::bench]
fn recogniser_on_speech(bencher: Bencher) {
    let mut recogniser = Recogniser::new();
    let mut frames = speech();
    bencher.bench_local(|| recogniser.feed(black_box(&frames.next().unwrap_or(SILENT_FRAME))));
}

#[divan::bench]
fn recogniser_on_silence(bencher: Bencher) {
    let mut recogniser = Recogniser::new();
    bencher.bench_local(|| recogniser.feed(black_box(&SILENT_FRAME)));
}

#[divan::bench]
fn render_sentence(bencher: Bencher) {
    bencher.bench_local(|| render(black_box(TEXT), &VoiceTone::BOT));
}
