//! Is it the audio that was asked for? Judged by media type and first bytes, before any of it is played.
//!
//! Played as mu-law, MP3 is loud noise, a WAV header a click, and a JSON error a crackle.

use crate::provider::{ProviderError, ProviderErrorKind};

/// Bytes that are enough for a judgement.
pub(super) const ENOUGH: usize = 4;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// mu-law, 8 kHz, headerless.
    Mulaw,
    /// 16 bit signed little-endian samples, headerless.
    Pcm,
}

/// Judges the beginning of an answer. `first` may be shorter than [`ENOUGH`] only if the whole answer is.
pub(super) fn check(
    vendor: &'static str,
    wanted: Encoding,
    media_type: &str,
    first: &[u8],
) -> Result<(), ProviderError> {
    let code = if wrong_media_type(media_type)
        || wrong_magic(first)
        || looks_like_mp3(wanted, media_type, first)
    {
        "format_mismatch"
    } else if media_type == "application/json" || media_type.starts_with("text/") || first.starts_with(b"{\"")
    {
        "not_audio"
    } else {
        return Ok(());
    };
    Err(ProviderError::new(vendor, ProviderErrorKind::Protocol, code))
}

fn wrong_media_type(media_type: &str) -> bool {
    matches!(
        media_type,
        "audio/mpeg" | "audio/mp3" | "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/ogg" | "audio/flac"
    )
}

fn wrong_magic(first: &[u8]) -> bool {
    [b"ID3".as_slice(), b"RIFF", b"OggS", b"fLaC"].iter().any(|magic| first.starts_with(magic))
}

/// An MP3 frame header (11 bits of sync, layer III, a bit rate, a sample rate). Quiet mu-law may begin with the
/// same sync, hence the other fields, and hence the trust in a media type that says mu-law.
fn looks_like_mp3(wanted: Encoding, media_type: &str, first: &[u8]) -> bool {
    let [0xFF, second, third, ..] = first else { return false };
    let says_mulaw = matches!(media_type, "audio/basic" | "audio/mulaw" | "audio/x-mulaw" | "audio/pcmu");
    let layer_three = matches!(second, 0xFA | 0xFB | 0xF2 | 0xF3 | 0xE2 | 0xE3);
    let bit_rate = third >> 4;
    let sample_rate = (third >> 2) & 0b11;
    wanted == Encoding::Mulaw
        && !says_mulaw
        && layer_three
        && bit_rate != 0
        && bit_rate != 0b1111
        && sample_rate != 0b11
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn anything_but_the_audio_asked_for_is_refused() {
        let table: &[(&str, &[u8], Option<&str>)] = &[
            ("audio/basic", &[0xFF, 0xFF, 0xFF, 0xFF], None),
            ("audio/mulaw", &[0xFF, 0xFB, 0x90, 0x64], None),
            ("", &[0x7F, 0xFF, 0x7E, 0xFE], None),
            ("", &[], None),
            ("", &[0xFF, 0xFB, 0xFE, 0xFF], None),
            ("application/octet-stream", &[0xFF, 0xFB, 0x90, 0x64], Some("format_mismatch")),
            ("", &[0xFF, 0xF3, 0x44, 0xC4], Some("format_mismatch")),
            ("audio/mpeg", &[0xFF, 0xFF, 0xFF, 0xFF], Some("format_mismatch")),
            ("audio/basic", b"ID3\x04", Some("format_mismatch")),
            ("audio/mulaw", b"RIFF", Some("format_mismatch")),
            ("", b"OggS", Some("format_mismatch")),
            ("application/json", b"", Some("not_audio")),
            ("text/html", b"<htm", Some("not_audio")),
            ("", b"{\"de", Some("not_audio")),
            ("", b"{{{{", None),
        ];
        for (media_type, first, expected) in table {
            let code = check("v", Encoding::Mulaw, media_type, first).err().map(|error| error.code);
            assert_eq!(code.as_deref(), *expected, "{media_type} {first:?}");
        }
    }

    #[test]
    fn samples_that_resemble_an_mp3_header_pass_as_pcm() {
        assert!(check("v", Encoding::Pcm, "", &[0xFF, 0xFB, 0x90, 0x64]).is_ok());
        assert!(check("v", Encoding::Pcm, "audio/mpeg", &[0, 0, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn quiet_mulaw_is_never_taken_for_mp3_when_the_vendor_names_it(
            first in prop::collection::vec(0xE0u8..=0xFF, 0..8),
        ) {
            prop_assert!(check("v", Encoding::Mulaw, "audio/basic", &first).is_ok());
        }
    }
}
