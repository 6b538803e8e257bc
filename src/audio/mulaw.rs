//! G.711 mu-law: the symmetric 16-bit encoder and the decoder (ITU-T G.711, restated).

/// The mu-law byte of digital silence (`+0`). A zero byte is nearly full scale and must never pad audio.
pub const SILENCE: u8 = 0xFF;

/// What G.711 adds to a magnitude so that every segment's top bit is set.
const BIAS: i32 = 132;

/// The largest magnitude that still fits after the bias.
const CLIP: i32 = 32_635;

static DECODED: [i16; 256] = decode_table();

/// Encodes one 16-bit sample.
#[must_use]
pub const fn encode(sample: i16) -> u8 {
    // In i32, because the magnitude of -32768 does not fit an i16.
    let wide = sample as i32;
    let sign = if wide < 0 { 0x80 } else { 0 };
    let magnitude = if wide < 0 { -wide } else { wide };
    let biased = (if magnitude > CLIP { CLIP } else { magnitude }) + BIAS;
    let exponent = 24 - biased.leading_zeros() as i32;
    let mantissa = (biased >> (exponent + 3)) & 0x0F;
    !((sign | (exponent << 4) | mantissa) as u8)
}

/// Decodes one byte by the rule; the table is built from it.
pub(super) const fn decode_by_rule(byte: u8) -> i16 {
    let code = !byte as i32;
    let exponent = (code >> 4) & 7;
    let magnitude = ((((code & 0x0F) << 3) + BIAS) << exponent) - BIAS;
    (if code & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

#[expect(
    clippy::indexing_slicing,
    reason = "the index stays below the table's length, and this runs at compile time"
)]
const fn decode_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = decode_by_rule(byte as u8);
        byte += 1;
    }
    table
}

/// Decodes one byte to a 16-bit sample between -32124 and 32124.
#[must_use]
#[inline]
#[expect(clippy::indexing_slicing, reason = "a byte cannot exceed a table of 256 entries")]
pub fn decode(byte: u8) -> i16 {
    DECODED[usize::from(byte)]
}

/// Encodes samples, appending one byte each to `out`.
pub fn encode_into(samples: &[i16], out: &mut Vec<u8>) {
    out.extend(samples.iter().map(|&sample| encode(sample)));
}

/// Decodes bytes, appending one sample each to `out`.
pub fn decode_into(bytes: &[u8], out: &mut Vec<i16>) {
    out.extend(bytes.iter().map(|&byte| decode(byte)));
}

/// Encodes samples into a new vector.
#[must_use]
pub fn encode_slice(samples: &[i16]) -> Vec<u8> {
    samples.iter().map(|&sample| encode(sample)).collect()
}

/// Decodes bytes into a new vector.
#[must_use]
pub fn decode_slice(bytes: &[u8]) -> Vec<i16> {
    bytes.iter().map(|&byte| decode(byte)).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/twilio/mulaw.json")).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_sample_encodes_as_in_the_vectors() {
        let vectors = vectors();
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let sum = hex(&Sha256::digest(encode_slice(&all)));
        assert_eq!(sum, vectors["encode_all_sha256"]["symmetric"].as_str().unwrap());
        for entry in vectors["encode"].as_array().unwrap() {
            let pcm = i16::try_from(entry["pcm"].as_i64().unwrap()).unwrap();
            assert_eq!(u64::from(encode(pcm)), entry["symmetric"].as_u64().unwrap(), "pcm {pcm}");
        }
    }

    #[test]
    fn every_byte_decodes_as_in_the_vectors() {
        let vectors = vectors();
        let all: Vec<u8> = (0..=255).collect();
        let decoded = decode_slice(&all);
        let table: Vec<i16> = vectors["decode_table_u8_to_i16"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_i64().unwrap() as i16)
            .collect();
        assert_eq!(decoded, table);
        let bytes: Vec<u8> = decoded.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(hex(&Sha256::digest(bytes)), vectors["decode_all_sha256"]["sha256"].as_str().unwrap());
    }

    #[test]
    fn a_byte_survives_the_round_trip_but_for_negative_zero() {
        for byte in 0..=255_u8 {
            let expected = if byte == 0x7F { SILENCE } else { byte };
            assert_eq!(encode(decode(byte)), expected);
        }
    }

    #[test]
    fn silence_is_the_code_of_zero() {
        assert_eq!(encode(0), SILENCE);
        assert_eq!(decode(SILENCE), 0);
    }

    #[test]
    fn whole_frames_encode_as_in_the_vectors() {
        let vectors = vectors();
        let frame = |name: &str| {
            vectors["frames"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone()
        };
        let silence = STANDARD.decode(frame("silence_20ms")["mulaw_base64"].as_str().unwrap()).unwrap();
        assert_eq!(encode_slice(&[0; 160]), silence);

        let step = 2.0 * std::f64::consts::PI * 440.0 / 8_000.0;
        let sine: Vec<i16> =
            (0..160).map(|n| (8_000.0 * (step * f64::from(n)).sin()).round() as i16).collect();
        let expected = frame("sine_440hz_amp8000_20ms");
        assert_eq!(
            STANDARD.encode(encode_slice(&sine)),
            expected["mulaw_base64_symmetric"].as_str().unwrap()
        );

        let ramp: Vec<i16> = (0..256).map(|n| (-32_768 + 257 * n) as i16).collect();
        let expected = frame("ramp_full_scale");
        assert_eq!(hex(&encode_slice(&ramp)), expected["mulaw_hex_symmetric"].as_str().unwrap());
    }
}
