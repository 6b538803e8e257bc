//! Where a page ends and the next begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest page.
const MAX_LIMIT: u32 = 500;

/// What a cursor belongs to: one of another list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Calls by their start.
    Calls = 1,
    /// Calls found by words.
    FoundCalls = 2,
    /// Turns of a call.
    Turns = 3,
    /// Events of a call.
    Events = 4,
    /// Customers.
    Customers = 5,
    /// Appointments, earliest first.
    AppointmentsForward = 6,
    /// Appointments, latest first.
    AppointmentsBackward = 7,
    /// Messages.
    Messages = 8,
    /// Time off.
    TimeOff = 9,
}

/// The text is no cursor of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a cursor as `next_cursor` of the same list gave it")]
pub struct BadCursor;

/// The last row of a page: its sort key and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    kind: ListKind,
    pub(in crate::db) key: i64,
    pub(in crate::db) id: i64,
}

impl Cursor {
    pub(in crate::db) const fn new(kind: ListKind, key: i64, id: i64) -> Self {
        Self { kind, key, id }
    }

    /// The text for `next_cursor`, without meaning for whoever gets it.
    pub fn encode(self) -> String {
        let mut bytes = vec![self.kind as u8];
        bytes.extend_from_slice(&self.key.to_be_bytes());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a text that `encode` made for the same list.
    pub fn decode(kind: ListKind, text: &str) -> Result<Self, BadCursor> {
        // Decoding is in proportion to the text's length, which is the client's choice.
        if text.len() > 64 {
            return Err(BadCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let (list, rest) = bytes.split_first().ok_or(BadCursor)?;
        let (key, id) = rest.split_at_checked(8).ok_or(BadCursor)?;
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes).map_err(|_| BadCursor);
        if *list == kind as u8 {
            Ok(Self { kind, key: number(key)?, id: number(id)? })
        } else {
            Err(BadCursor)
        }
    }
}

/// How much of a list, and after which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    pub(in crate::db) after: Option<Cursor>,
}

impl Page {
    /// At least 1 row and at most 500.
    pub fn new(limit: u32, after: Option<Cursor>) -> Self {
        Self { limit: limit.clamp(1, MAX_LIMIT), after }
    }

    /// Rows to fetch: one more than is wanted tells whether there are more.
    pub(in crate::db) fn fetch(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts what was fetched to the page.
    pub(in crate::db) fn cut<T>(self, mut items: Vec<T>, cursor: impl Fn(&T) -> Cursor) -> Listed<T> {
        let limit = self.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Listed { items, next }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl<T> Listed<T> {
    pub(in crate::db) fn try_map<U, E>(self, f: impl FnMut(T) -> Result<U, E>) -> Result<Listed<U>, E> {
        let items = self.items.into_iter().map(f).collect::<Result<_, _>>()?;
        Ok(Listed { items, next: self.next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written_and_by_its_own_list_only(key: i64, id: i64) {
            let cursor = Cursor::new(ListKind::Calls, key, id);
            prop_assert_eq!(Cursor::decode(ListKind::Calls, &cursor.encode()), Ok(cursor));
            prop_assert_eq!(Cursor::decode(ListKind::Customers, &cursor.encode()), Err(BadCursor));
        }

        #[test]
        fn no_text_is_worse_than_a_bad_cursor(text: String) {
            let _ = Cursor::decode(ListKind::Calls, &text);
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let text = Cursor::new(ListKind::Calls, 1, 2).encode();
        for bad in ["", "A", "!!!!", text.get(..20).unwrap(), &format!("{text}AAAA"), &"A".repeat(100)] {
            assert_eq!(Cursor::decode(ListKind::Calls, bad), Err(BadCursor), "{bad}");
        }
    }
}
