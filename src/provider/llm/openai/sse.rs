//! Server-sent events, from bytes to the data of whole events (the WHATWG standard's "event stream interpretation").
//!
//! Bytes are buffered and decoded per event, so a read may end anywhere, also inside a UTF-8 character or between CR
//! and LF. Event names, ids and retry times are not used by chat completions and are dropped.

/// The largest event that is accepted, bytes.
pub(super) const MAX_EVENT: usize = 1 << 20;

/// An event grew beyond [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT} bytes")]
pub(super) struct EventTooLarge;

/// Splits a stream of bytes into events.
#[derive(Debug, Default)]
pub(super) struct SseDecoder {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The first line, which may open with a byte order mark, is behind us.
    begun: bool,
}

impl SseDecoder {
    /// Takes bytes and appends the data of every event they complete. After an error the rest of the stream is lost.
    pub(super) fn push(&mut self, mut bytes: &[u8], events: &mut Vec<String>) -> Result<(), EventTooLarge> {
        while let Some((&first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.extend(bytes);
            };
            let (head, tail) = bytes.split_at(end);
            self.extend(head)?;
            self.end_line(events);
            if let Some((&terminator, rest)) = tail.split_first() {
                self.after_cr = terminator == b'\r';
                bytes = rest;
            }
        }
        Ok(())
    }

    /// Takes the end of the stream and appends what was not closed by an empty line. The standard drops it; here the
    /// caller decides, because some servers end with `data: [DONE]` and nothing more.
    pub(super) fn finish(&mut self, events: &mut Vec<String>) {
        if !self.line.is_empty() {
            self.end_line(events);
        }
        self.dispatch(events);
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), EventTooLarge> {
        if self.line.len() + self.data.len() + bytes.len() > MAX_EVENT {
            return Err(EventTooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) {
        let mut taken = std::mem::take(&mut self.line);
        let mut line = taken.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(events);
        } else {
            let mut parts = line.splitn(2, |&byte| byte == b':');
            let field = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default();
            // A comment is a line with an empty field name.
            if field == b"data" {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            }
        }
        taken.clear();
        self.line = taken;
    }

    fn dispatch(&mut self, events: &mut Vec<String>) {
        if std::mem::take(&mut self.has_data) {
            events.push(String::from_utf8_lossy(&self.data).into_owned());
            self.data.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Vec<String> {
        let mut events = vec![];
        let mut decoder = SseDecoder::default();
        decoder.push(bytes, &mut events).unwrap();
        decoder.finish(&mut events);
        events
    }

    #[test]
    fn events_are_split_as_the_standard_says() {
        let table: [(&[u8], &[&str]); 16] = [
            (b"data: a\n\n", &["a"]),
            (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", &["a", "b", "c"]),
            (b"data: a\r\ndata: b\r\n\r\n", &["a\nb"]),
            (b"data:a\n\n", &["a"]),
            (b"data:  a\n\n", &[" a"]),
            (b"data: a: b\n\n", &["a: b"]),
            (b"data\n\n", &[""]),
            (b"data\ndata\n\n", &["\n"]),
            (b": comment\n\ndata: a\n\n", &["a"]),
            (b"event: x\nid: 7\nretry: 3\ndata: a\n\n", &["a"]),
            (b"event: x\n\n", &[]),
            (b"\n\n\n", &[]),
            (b"\xEF\xBB\xBFdata: a\n\n", &["a"]),
            (b"data: \xFF\n\n", &["\u{FFFD}"]),
            (b"dataset: a\n\n<html>\n\n", &[]),
            (b"data: [DONE]", &["[DONE]"]),
        ];
        for (bytes, expected) in table {
            assert_eq!(whole(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_event_is_given_as_soon_as_its_empty_line_begins() {
        let mut events = vec![];
        let mut decoder = SseDecoder::default();
        decoder.push(b"data: a\r\n\r", &mut events).unwrap();
        assert_eq!(events, ["a"]);
        decoder.push(b"\ndata: b\n\n", &mut events).unwrap();
        assert_eq!(events, ["a", "b"]);
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused_in_one_line_or_many() {
        let mut decoder = SseDecoder::default();
        assert_eq!(decoder.push(&vec![b'x'; MAX_EVENT + 1], &mut vec![]), Err(EventTooLarge));

        let line = format!("data: {}\n", "x".repeat(1_000));
        let mut decoder = SseDecoder::default();
        let lines = (0..2_000).take_while(|_| decoder.push(line.as_bytes(), &mut vec![]).is_ok()).count();
        assert!((1_000..1_100).contains(&lines), "{lines} lines of 1,000 bytes were taken");
    }

    proptest! {
        #[test]
        fn a_stream_gives_the_same_events_wherever_it_is_cut(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("data: ".to_owned()), Just("\n".to_owned()), Just("\r".to_owned()), Just("\r\n".to_owned()),
                    Just(":".to_owned()), Just("Ø—🙂".to_owned()), "[a-z ]{0,4}",
                ],
                0..40,
            ),
            size in 1_usize..7,
        ) {
            let bytes = parts.concat().into_bytes();
            let mut events = vec![];
            let mut decoder = SseDecoder::default();
            for piece in bytes.chunks(size) {
                decoder.push(piece, &mut events).unwrap();
            }
            decoder.finish(&mut events);
            prop_assert_eq!(events, whole(&bytes));
        }
    }
}
