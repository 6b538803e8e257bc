//! The voice and the recogniser together, over everything a telephone does to audio.

use proptest::prelude::*;

use super::*;
use crate::audio::mulaw;
use crate::audio::resample::{Resampler, resample};

const FRAME: usize = 160;

fn hear(audio: &[u8]) -> Vec<String> {
    Recogniser::new().feed(audio).into_iter().map(|word| word.text).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Words that the samples from `start` to `end` have no part in.
fn words_outside(rendered: &Rendered, start: usize, end: usize) -> Vec<String> {
    let (start, end) = (start as u64, end as u64);
    let whole = rendered.words.iter().filter(|word| word.end_sample <= start || word.start_sample >= end);
    whole.map(|word| word.word.clone()).collect()
}

/// Whether `heard` is all of `must` and otherwise only words of `may`, in order.
fn between(heard: &[String], must: &[String], may: &[String]) -> bool {
    let within = |inner: &[String], outer: &[String]| {
        let mut outer = outer.iter();
        inner.iter().all(|word| outer.any(|other| other == word))
    };
    within(must, heard) && within(heard, may)
}

struct Noise(u64);

impl Noise {
    /// Evenly spread between -1 and 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// Speech-like audio with hissing up to 4 kHz: pulses through two moving resonances, and noise in turn with them.
fn babble(seconds: usize, seed: u64) -> Vec<i16> {
    let mut noise = Noise(seed | 1);
    let mut state = [[0.0_f64; 2]; 2];
    (0..seconds * 8_000)
        .map(|n| {
            let syllable = n / 1_600;
            let hiss = syllable % 3 == 2;
            let pulse = if n % 67 == 0 { 9_000.0 } else { 0.0 };
            let source = if hiss { 3_000.0 * noise.next() } else { pulse };
            let mut out = 0.0;
            for (formant, state) in state.iter_mut().enumerate() {
                let hz = if hiss {
                    2_900.0
                } else {
                    500.0 + 900.0 * formant as f64 + 70.0 * (syllable % 11) as f64
                };
                let angle = std::f64::consts::TAU * hz / 8_000.0;
                let y = source + 2.0 * 0.95 * angle.cos() * state[0] - 0.95 * 0.95 * state[1];
                *state = [y, state[0]];
                out += y;
            }
            (out * 0.5) as i16
        })
        .collect()
}

const SENTENCE: &str =
    "Hi, I'd like an appointment on Tuesday, at 3:30 PM? My e-mail is jo@example.com — thanks!";

#[test]
fn a_sentence_comes_back_word_by_word_exactly() {
    for tone in [VoiceTone::CALLER, VoiceTone::BOT] {
        assert_eq!(hear(&render(SENTENCE, &tone)), words(SENTENCE));
    }
}

#[test]
fn words_last_about_as_long_as_spoken() {
    let rendered = render_words(SENTENCE, &VoiceTone::CALLER);
    let ms = rendered.audio.len() / 8 / rendered.words.len();
    assert!((250..450).contains(&ms), "{ms} ms per word");
}

#[test]
fn the_heard_places_are_the_rendered_places() {
    let rendered = render_words(SENTENCE, &VoiceTone::BOT);
    let shift = 1_003;
    let mut audio = vec![mulaw::SILENCE; shift];
    audio.extend(&rendered.audio);
    let heard = Recogniser::new().feed(&audio);
    assert_eq!(heard.len(), rendered.words.len());
    for (heard, word) in heard.iter().zip(&rendered.words) {
        assert!(heard.start_sample.abs_diff(word.start_sample + shift as u64) <= 8, "{heard:?} {word:?}");
        assert!(heard.end_sample.abs_diff(word.end_sample + shift as u64) <= 24, "{heard:?} {word:?}");
    }
}

#[test]
fn a_text_without_words_is_no_audio() {
    assert!(render(" \n ", &VoiceTone::BOT).is_empty());
    assert!(render_over_speech("", &[]).is_empty());
}

#[test]
fn senseless_tones_still_carry_the_words() {
    for (pitch_hz, level) in [(f32::NAN, f32::NAN), (0.0, -1.0), (1e9, 1e9), (60.0, 24_000.0)] {
        let tone = VoiceTone { pitch_hz, formant_hz: f32::INFINITY, level };
        assert_eq!(hear(&render("Hello there.", &tone)), ["Hello", "there."]);
    }
}

#[test]
fn a_word_of_many_parts_is_one_word_and_all_or_nothing() {
    let long = "pneumonoultramicroscopicsilicovolcanoconiosis-".repeat(6);
    let text = format!("Say {long} now");
    let rendered = render_words(&text, &VoiceTone::CALLER);
    assert_eq!(hear(&rendered.audio), words(&text));
    for at in (0..rendered.audio.len() - FRAME).step_by(1_111) {
        let mut lossy = rendered.audio.clone();
        lossy.drain(at..at + FRAME);
        let heard = hear(&lossy);
        assert!(between(&heard, &words_outside(&rendered, at, at + FRAME), &words(&text)), "{at}: {heard:?}");
    }
}

#[test]
fn hissing_speech_holds_no_word_and_hides_none() {
    let speech = babble(8, 5);
    assert_eq!(hear(&mulaw::encode_slice(&speech)), Vec::<String>::new());
    let mixed = render_over_speech(SENTENCE, &speech);
    assert_eq!(mixed.len(), speech.len());
    assert_eq!(hear(&mixed), words(SENTENCE));
    let short = render_over_speech(SENTENCE, &speech[..8_000]);
    assert_eq!(hear(&short), words(SENTENCE));
}

#[test]
fn white_noise_holds_no_word() {
    let mut noise = Noise(42);
    let loud: Vec<u8> = (0..80_000).map(|_| mulaw::encode((8_000.0 * noise.next()) as i16)).collect();
    assert_eq!(hear(&loud), Vec::<String>::new());
}

#[test]
fn words_are_heard_through_line_noise_and_loss_of_level() {
    let audio = render(SENTENCE, &VoiceTone::BOT);
    let mut noise = Noise(9);
    for gain in [1.0, 0.5, 0.2] {
        let worse: Vec<u8> = audio
            .iter()
            .map(|&byte| mulaw::encode((f64::from(mulaw::decode(byte)) * gain + 100.0 * noise.next()) as i16))
            .collect();
        assert_eq!(hear(&worse), words(SENTENCE), "gain {gain}");
    }
}

#[test]
fn the_voice_is_timed_for_endpointing() {
    let mut recogniser = Recogniser::new();
    recogniser.feed(&[mulaw::SILENCE; 8_000]);
    assert_eq!((recogniser.voice_since(), recogniser.last_voice_sample()), (None, None));
    assert_eq!((recogniser.voiced_ms(), recogniser.silence_ms()), (0, 1_000));

    let rendered = render_words("Good morning everyone.", &VoiceTone::CALLER);
    recogniser.feed(&rendered.audio);
    let since = recogniser.voice_since().unwrap();
    assert!((8_000..8_160).contains(&since), "{since}");
    let last = recogniser.last_voice_sample().unwrap();
    let spoken = 8_000 + rendered.words[2].end_sample;
    assert!((spoken..spoken + 200).contains(&last), "{last} after {spoken}");
    let sounding = rendered.audio.len() as u64 / 8 - 3 * 60;
    assert!(recogniser.voiced_ms().abs_diff(sounding) < 30, "{} of {sounding}", recogniser.voiced_ms());

    recogniser.feed(&[mulaw::SILENCE; 1_600]);
    assert!(!recogniser.is_voice());
    assert_eq!(recogniser.last_voice_sample(), Some(last));
    recogniser.feed(&rendered.audio);
    assert!(recogniser.voice_since().unwrap() > last);
}

/// Sentences of a few words, with what people write in them and now and then anything else.
fn sentences() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![6 => "[A-Za-z0-9][A-Za-z0-9',.?!:;$&@/-]{0,9}", 1 => "[A-Z]{1,4}[.?!]", 1 => "\\PC{1,6}"],
        1..4,
    )
    .prop_map(|words| words.join(" "))
    // Any character may be a space, and of spaces alone there is nothing to hear.
    .prop_filter("no word", |text| text.split_whitespace().next().is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sentence_comes_back_in_any_chunks(
        text in sentences(), lead in 0_usize..200, cuts in prop::collection::vec(1_usize..400, 1..6),
    ) {
        let mut audio = vec![mulaw::SILENCE; lead];
        audio.extend(render(&text, &VoiceTone::CALLER));
        let mut recogniser = Recogniser::new();
        let mut heard = Vec::new();
        let mut rest = audio.as_slice();
        let mut sizes = cuts.iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            heard.extend(recogniser.feed(now));
            rest = later;
        }
        let texts: Vec<String> = heard.iter().map(|word| word.text.clone()).collect();
        prop_assert_eq!(texts, words(&text));
        prop_assert_eq!(heard, Recogniser::new().feed(&audio));
    }

    #[test]
    fn a_lost_or_repeated_frame_takes_only_the_words_it_overlaps(text in sentences(), place: prop::sample::Index, lead in 0_usize..160) {
        let rendered = render_words(&text, &VoiceTone::BOT);
        let start = place.index(rendered.audio.len());
        let end = (start + FRAME).min(rendered.audio.len());
        let must = words_outside(&rendered, start, end);

        let mut audio = vec![mulaw::SILENCE; lead];
        audio.extend(&rendered.audio);
        let mut silenced = audio.clone();
        silenced[lead + start..lead + end].fill(mulaw::SILENCE);
        let heard = hear(&silenced);
        prop_assert!(between(&heard, &must, &words(&text)), "silenced: {:?}", heard);

        let mut twice = audio.clone();
        twice.splice(lead + start..lead + start, audio[lead + start..lead + end].to_vec());
        let heard = hear(&twice);
        prop_assert!(between(&heard, &must, &words(&text)), "repeated: {:?}", heard);

        audio.drain(lead + start..lead + end);
        let heard = hear(&audio);
        prop_assert!(between(&heard, &must, &words(&text)), "removed: {:?}", heard);
    }

    #[test]
    fn audio_cut_off_anywhere_gives_exactly_the_whole_words(text in sentences(), place: prop::sample::Index) {
        let rendered = render_words(&text, &VoiceTone::CALLER);
        let cut = place.index(rendered.audio.len());
        // The code's last 2 ms are there for safety, so a word may be heard without them.
        let must = words_outside(&rendered, cut, usize::MAX);
        let may = words_outside(&rendered, cut + 17, usize::MAX);
        let heard = hear(&rendered.audio[..cut]);
        prop_assert!(between(&heard, &must, &may), "{:?}", heard);

        let rest = hear(&rendered.audio[cut..]);
        let must = words_outside(&rendered, 0, cut);
        prop_assert!(between(&rest, &must, &words(&text)), "the rest: {:?}", rest);
    }

    #[test]
    fn joined_renders_are_heard_one_after_the_other(first in sentences(), second in sentences(), cut: prop::sample::Index) {
        let mut audio = render(&first, &VoiceTone::CALLER);
        let whole = audio.len();
        audio.extend(render(&second, &VoiceTone::BOT));
        let both = [words(&first), words(&second)].concat();
        prop_assert_eq!(hear(&audio), both.clone());

        // The first one interrupted by the second, without a pause.
        audio.drain(cut.index(whole)..whole);
        let heard = hear(&audio);
        prop_assert!(heard.ends_with(&words(&second)) && between(&heard, &words(&second), &both), "{:?}", heard);
    }

    #[test]
    fn words_survive_sixteen_kilohertz_and_back(text in sentences(), chunk in 1_usize..400) {
        let audio = render(&text, &VoiceTone::CALLER);
        let wide = resample(&mulaw::decode_slice(&audio), 8_000, 16_000).unwrap();
        let mut down = Resampler::new(16_000, 8_000).unwrap();
        let mut narrow = Vec::new();
        for piece in wide.chunks(chunk) {
            down.push(piece, &mut narrow);
        }
        down.finish(&mut narrow);
        prop_assert_eq!(hear(&mulaw::encode_slice(&narrow)), words(&text));
    }

    #[test]
    fn any_bytes_are_taken_without_harm(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20)) {
        let mut recogniser = Recogniser::new();
        for chunk in &chunks {
            prop_assert_eq!(recogniser.feed(chunk), []);
        }
    }
}
