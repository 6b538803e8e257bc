//! Recordings: stereo mu-law at 8 kHz (format tag 7), the caller left, the bot right.
//!
//! The data is the last chunk and its length is the file's: whatever the header claims, a file that was cut anywhere
//! after its header is read to its end. A chunk of our own (`fdsk`, which other programs skip) says when the first
//! sample was, so that a file can be gone on with, and placed beside the turns of its call, without a database.

use crate::audio::mulaw;

/// Bytes of the header: RIFF, `fmt ` with an empty extension, `fact`, `fdsk`, and the head of `data`.
pub const HEADER_BYTES: usize = 12 + 26 + 12 + 24 + 8;

/// Bytes of one sample of both sides.
pub const SAMPLE_BYTES: usize = 2;

/// Bytes of both sides in one millisecond.
pub const BYTES_PER_MS: usize = 16;

/// G.711 mu-law in WAVE's list of formats.
const FORMAT_MULAW: u16 = 7;
/// Samples per second.
const RATE_HZ: u32 = 8_000;

/// One side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller: the left channel.
    Caller,
    /// The bot: the right channel.
    Bot,
}

impl Side {
    /// Which byte of a sample is this side's.
    #[must_use]
    pub const fn byte(self) -> usize {
        match self {
            Self::Caller => 0,
            Self::Bot => 1,
        }
    }
}

/// What a recording says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// When its first sample was, Unix ms.
    pub started_ms: i64,
    /// The same in milliseconds since the call's start, as turns are timed.
    pub offset_ms: u64,
}

/// The header of a file with so many bytes of data.
#[must_use]
pub fn header(about: About, data_bytes: u64) -> [u8; HEADER_BYTES] {
    let around = u64::try_from(HEADER_BYTES - 8).unwrap_or(0);
    // Four gigabytes are three days of one call; beyond them the file's own length has to do.
    let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = [0; HEADER_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        for (slot, byte) in out.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
        at += bytes.len();
    };
    put(b"RIFF");
    put(&size(data_bytes.saturating_add(around)));
    put(b"WAVEfmt ");
    put(&18_u32.to_le_bytes());
    put(&FORMAT_MULAW.to_le_bytes());
    put(&2_u16.to_le_bytes());
    put(&RATE_HZ.to_le_bytes());
    put(&(RATE_HZ * 2).to_le_bytes());
    put(&2_u16.to_le_bytes());
    put(&8_u16.to_le_bytes());
    put(&0_u16.to_le_bytes());
    put(b"fact");
    put(&4_u32.to_le_bytes());
    put(&size(data_bytes / 2));
    put(b"fdsk");
    put(&16_u32.to_le_bytes());
    put(&about.started_ms.to_le_bytes());
    put(&about.offset_ms.to_le_bytes());
    put(b"data");
    put(&size(data_bytes));
    out
}

/// Reads the header of a recording of ours; `None` if it is anything else.
#[must_use]
pub fn read_header(bytes: &[u8]) -> Option<About> {
    let head = bytes.first_chunk::<HEADER_BYTES>()?;
    let (before, tail) = head.split_at_checked(HEADER_BYTES - 24)?;
    let (started, tail) = tail.split_first_chunk::<8>()?;
    let (offset, _) = tail.split_first_chunk::<8>()?;
    let about = About { started_ms: i64::from_le_bytes(*started), offset_ms: u64::from_le_bytes(*offset) };
    // Everything but the sizes has to be as we write it.
    let ours = header(about, 0);
    let is_size = |i: usize| (4..8).contains(&i) || (46..50).contains(&i);
    let same = before.iter().zip(&ours).enumerate().all(|(i, (a, b))| is_size(i) || a == b);
    (same && head.get(HEADER_BYTES - 8..HEADER_BYTES - 4) == Some(b"data".as_slice())).then_some(about)
}

/// One side of a recording's bytes, header included; empty if there is no header.
#[must_use]
pub fn side(bytes: &[u8], side: Side) -> Vec<u8> {
    let data = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let (samples, _) = data.as_chunks::<SAMPLE_BYTES>();
    samples.iter().filter_map(|sample| sample.get(side.byte()).copied()).collect()
}

/// Silences one side in whole samples of both.
pub fn silence(samples: &mut [u8], side: Side) {
    for byte in samples.iter_mut().skip(side.byte()).step_by(SAMPLE_BYTES) {
        *byte = mulaw::SILENCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_one_that_every_player_knows() {
        let header = header(About { started_ms: 5, offset_ms: 6 }, 320);
        assert_eq!(&header[..16], b"RIFF\x8a\x01\0\0WAVEfmt ");
        // 18 bytes of format: mu-law, 2 channels, 8,000 Hz, 16,000 bytes a second, 2 a sample, 8 bits, no extension.
        assert_eq!(&header[16..38], b"\x12\0\0\0\x07\0\x02\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x08\0\0\0");
        assert_eq!(&header[38..50], b"fact\x04\0\0\0\xa0\0\0\0");
        assert_eq!(&header[50..58], b"fdsk\x10\0\0\0");
        assert_eq!(&header[74..], b"data\x40\x01\0\0");
    }

    #[test]
    fn a_side_is_silenced_without_the_other() {
        let mut samples = vec![1, 2, 3, 4];
        silence(&mut samples, Side::Caller);
        assert_eq!(samples, [0xFF, 2, 0xFF, 4]);
        silence(&mut samples, Side::Bot);
        assert_eq!(samples, [0xFF; 4]);
    }

    /// Reads a file as a player does: chunk by chunk, data to the file's end if it claims more.
    fn play(bytes: &[u8]) -> Option<(u16, u16, u32, Vec<u8>)> {
        assert_eq!((&bytes[..4], &bytes[8..12]), (b"RIFF".as_slice(), b"WAVE".as_slice()));
        let mut format = None;
        let mut at = 12;
        loop {
            let name = bytes.get(at..at + 4)?;
            let size = u32::from_le_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?) as usize;
            let body = &bytes[at + 8..];
            match name {
                b"fmt " => {
                    let word = |i: usize| u16::from_le_bytes([body[i], body[i + 1]]);
                    format = Some((word(0), word(2), u32::from_le_bytes(body[4..8].try_into().ok()?)));
                }
                b"data" => {
                    let (tag, channels, rate) = format?;
                    return Some((tag, channels, rate, body[..size.min(body.len())].to_vec()));
                }
                _ => {}
            }
            at += 8 + size + size % 2;
        }
    }

    proptest! {
        #[test]
        fn a_file_cut_anywhere_after_its_header_plays(
            data in prop::collection::vec(any::<u8>(), 0..2_000),
            patched in 0_usize..2_000,
            cut in 0_usize..2_100,
            started_ms: i64,
            offset_ms: u64,
        ) {
            let about = About { started_ms, offset_ms };
            // The header was written when so much data was there.
            let claimed = patched.min(data.len());
            let mut file = header(about, claimed as u64).to_vec();
            file.extend(&data);
            file.truncate(HEADER_BYTES + cut);
            prop_assert_eq!(read_header(&file), Some(about));
            let kept = &file[HEADER_BYTES..];
            let (tag, channels, rate, played) = play(&file).expect("it plays");
            prop_assert_eq!((tag, channels, rate), (7, 2, 8_000));
            prop_assert_eq!(&played[..], &kept[..claimed.min(kept.len())]);
            // What the header does not know of yet is there for who knows that the data goes to the end.
            let (left, right) = (side(&file, Side::Caller), side(&file, Side::Bot));
            prop_assert_eq!(left.len(), kept.len() / 2);
            prop_assert_eq!(right.len(), kept.len() / 2);
            prop_assert!(left.iter().zip(&right).zip(kept.chunks_exact(2)).all(|((l, r), s)| [*l, *r] == s));
        }

        #[test]
        fn damaged_headers_are_taken_without_harm(at in 0_usize..HEADER_BYTES, byte: u8, cut in 0_usize..100) {
            let mut file = header(About::default(), 18).to_vec();
            file.extend([0; 18]);
            file[at] = byte;
            file.truncate(cut);
            let _ = read_header(&file);
            let _ = side(&file, Side::Bot);
        }
    }
}
