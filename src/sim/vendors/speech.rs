//! Spoken audio for the vendors that speak: rendered once, kept, and handed out in pieces.

use crate::sim::controls::lock;
use crate::sim::senses::Mouth;
use actix_web::web::{self, Bytes};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Sentences kept; at this many the store is emptied.
const KEPT: usize = 2_048;

/// When and how fast the audio of an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeechTiming {
    /// Milliseconds from the request to the first byte.
    pub first_byte_ms: u64,
    /// Bytes a piece; not a multiple of 160 by default, since pieces carry no meaning.
    pub piece_bytes: usize,
    /// How many times faster than real time the audio comes; 0 is all at once.
    pub speed: u32,
}

impl Default for SpeechTiming {
    fn default() -> Self {
        Self { first_byte_ms: 120, piece_bytes: 1_000, speed: 8 }
    }
}

impl SpeechTiming {
    /// The audio, each piece with its time. The first is small, as of a real vendor.
    pub(crate) fn pieces(self, audio: Bytes) -> impl Iterator<Item = (Duration, Bytes)> + 'static {
        let size = self.piece_bytes.max(1);
        let first = Duration::from_millis(self.first_byte_ms);
        let mut from = 0usize;
        std::iter::from_fn(move || {
            if from >= audio.len() {
                return None;
            }
            let to = from.saturating_add(size).min(audio.len());
            // 8 bytes a millisecond in real time.
            let micros = (from as u64).saturating_mul(125).checked_div(u64::from(self.speed)).unwrap_or(0);
            let piece = (first + Duration::from_micros(micros), audio.slice(from..to));
            from = to;
            Some(piece)
        })
    }
}

type Rendered = HashMap<String, HashMap<String, Bytes>>;

/// The voice behind a store of what it has said.
pub(crate) struct Speech {
    mouth: Arc<dyn Mouth>,
    /// By voice, then by text.
    kept: Mutex<Rendered>,
}

impl Speech {
    pub(crate) fn new(mouth: Arc<dyn Mouth>) -> Self {
        Self { mouth, kept: Mutex::default() }
    }

    /// The mu-law audio of the text.
    pub(crate) async fn render(&self, text: &str, voice: &str) -> Bytes {
        if let Some(audio) = lock(&self.kept).get(voice).and_then(|texts| texts.get(text)) {
            return audio.clone();
        }
        let mouth = Arc::clone(&self.mouth);
        let (text, voice) = (text.to_owned(), voice.to_owned());
        let made = web::block(move || {
            let audio = Bytes::from(mouth.speak(&text, &voice));
            (text, voice, audio)
        })
        .await;
        let Ok((text, voice, audio)) = made else { return Bytes::new() };
        let mut kept = lock(&self.kept);
        if kept.values().map(HashMap::len).sum::<usize>() >= KEPT {
            kept.clear();
        }
        kept.entry(voice).or_default().insert(text, audio.clone());
        audio
    }
}

/// Something that begins like an MP3, for whoever forgot to ask for another format.
pub(crate) fn mp3_of(characters: usize) -> Bytes {
    let mut audio = b"ID3\x04\x00\x00\x00\x00\x00\x00".to_vec();
    let frames = characters.saturating_mul(2).clamp(4, 4_000);
    for n in 0..frames {
        audio.extend_from_slice(&[0xFF, 0xFB, 0x90, 0x64]);
        audio
            .extend((0..413usize).map(|k| (n.wrapping_mul(31).wrapping_add(k.wrapping_mul(17)) % 251) as u8));
    }
    Bytes::from(audio)
}

/// The audio behind a WAV header for mu-law (format 7) at 8 kHz.
pub(crate) fn with_wav_header(mulaw: &Bytes) -> Bytes {
    let mut wav = Vec::with_capacity(mulaw.len().saturating_add(58));
    let size = u32::try_from(mulaw.len()).unwrap_or(u32::MAX);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&size.saturating_add(50).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt ");
    wav.extend_from_slice(&18u32.to_le_bytes());
    wav.extend_from_slice(&7u16.to_le_bytes());
    wav.extend_from_slice(&1u16.to_le_bytes());
    wav.extend_from_slice(&8_000u32.to_le_bytes());
    wav.extend_from_slice(&8_000u32.to_le_bytes());
    wav.extend_from_slice(&1u16.to_le_bytes());
    wav.extend_from_slice(&8u16.to_le_bytes());
    wav.extend_from_slice(&0u16.to_le_bytes());
    wav.extend_from_slice(b"fact");
    wav.extend_from_slice(&4u32.to_le_bytes());
    wav.extend_from_slice(&size.to_le_bytes());
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&size.to_le_bytes());
    wav.extend_from_slice(mulaw);
    Bytes::from(wav)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_audio_in_order_at_the_speed_asked_for() {
        let timing = SpeechTiming { first_byte_ms: 50, piece_bytes: 300, speed: 4 };
        let audio = Bytes::from((0..1_000u32).map(|n| n as u8).collect::<Vec<_>>());
        let pieces: Vec<_> = timing.pieces(audio.clone()).collect();
        let joined: Vec<u8> = pieces.iter().flat_map(|(_, p)| p.to_vec()).collect();
        assert_eq!(joined, audio);
        assert_eq!(pieces[0].0, Duration::from_millis(50));
        assert_eq!(pieces[3].0, Duration::from_millis(50) + Duration::from_micros(900 * 125 / 4));
    }

    #[test]
    fn a_wav_header_has_58_bytes() {
        assert_eq!(with_wav_header(&Bytes::from_static(&[1, 2])).len(), 60);
    }
}
