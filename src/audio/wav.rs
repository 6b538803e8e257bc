//! WAV files: 16-bit PCM, as speech synthesisers write it, is read here; recordings have a form of their own.

pub mod stereo;

/// Audio read from a WAV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wav {
    /// Samples per second.
    pub rate_hz: u32,
    /// The first channel's samples.
    pub samples: Vec<i16>,
}

/// Reads a RIFF WAVE file of 16-bit PCM; anything else gives `None`.
///
/// A data chunk that claims more than the file holds is read to the file's end: programs that write to a pipe cannot
/// know the length beforehand.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Wav> {
    let (riff, rest) = bytes.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (wave, mut rest) = rest.split_first_chunk::<4>()?;
    if riff != b"RIFF" || wave != b"WAVE" {
        return None;
    }
    let mut format = None;
    loop {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let (size, body) = after.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size) as usize;
        match name {
            b"fmt " => format = Some(read_format(body.get(..size)?)?),
            b"data" => {
                let (channels, rate_hz) = format?;
                let data = body.get(..size).unwrap_or(body);
                let (samples, _) = data.as_chunks::<2>();
                let samples =
                    samples.iter().step_by(channels).map(|&pair| i16::from_le_bytes(pair)).collect();
                return Some(Wav { rate_hz, samples });
            }
            _ => {}
        }
        // Chunks begin at even places.
        rest = body.get(size.checked_add(size % 2)?..)?;
    }
}

/// Channels and samples per second of a format chunk, if it is 16-bit PCM.
fn read_format(body: &[u8]) -> Option<(usize, u32)> {
    let &[
        tag_low,
        tag_high,
        channels_low,
        channels_high,
        r0,
        r1,
        r2,
        r3,
        _,
        _,
        _,
        _,
        _,
        _,
        bits_low,
        bits_high,
    ] = body.first_chunk::<16>()?;
    let tag = u16::from_le_bytes([tag_low, tag_high]);
    let channels = u16::from_le_bytes([channels_low, channels_high]);
    let bits = u16::from_le_bytes([bits_low, bits_high]);
    (tag == 1 && bits == 16 && channels > 0)
        .then(|| (usize::from(channels), u32::from_le_bytes([r0, r1, r2, r3])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wav(channels: u16, rate: u32, bits: u16, claimed: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0".to_vec();
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"LIST\x03\0\0\0abc\0data");
        bytes.extend(claimed.to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_file_is_read_past_chunks_it_need_not_know() {
        let read = read(&wav(1, 22_050, 16, 4, &[1, 0, 0xFE, 0xFF, 9, 9])).unwrap();
        assert_eq!(read, Wav { rate_hz: 22_050, samples: vec![1, -2] });
    }

    #[test]
    fn a_file_from_a_pipe_is_read_to_its_end() {
        let read = read(&wav(1, 22_050, 16, 0x7FFF_F000, &[1, 0, 2, 0, 3])).unwrap();
        assert_eq!(read.samples, [1, 2]);
    }

    #[test]
    fn of_several_channels_the_first_is_taken() {
        assert_eq!(read(&wav(2, 8_000, 16, 8, &[1, 0, 2, 0, 3, 0, 4, 0])).unwrap().samples, [1, 3]);
    }

    #[test]
    fn other_formats_are_refused() {
        assert_eq!(read(&wav(1, 8_000, 8, 2, &[1, 2])), None);
        assert_eq!(read(&wav(0, 8_000, 16, 2, &[1, 2])), None);
        assert_eq!(read(b"RIFX"), None);
        assert_eq!(read(b""), None);
    }

    proptest! {
        #[test]
        fn damaged_files_are_taken_without_harm(at in 0_usize..60, byte: u8, cut in 0_usize..70) {
            let mut bytes = wav(1, 22_050, 16, 8, &[1, 0, 2, 0, 3, 0, 4, 0]);
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = read(&bytes);
        }
    }
}
