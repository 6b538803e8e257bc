//! Messages for a call-back, open and done.

use super::{Cursor, Either, ListKind, Listed, Page};
use crate::db::calls::{StoredMessage, message_kind, message_word};
use crate::db::connect::{AnyConnection, write_transaction};
use crate::db::error::DbError;
use crate::db::schema::messages;
use crate::domain::call::MessageKind;
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;

/// Which messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// Still to be dealt with.
    Open,
    /// Dealt with.
    Done,
}

/// Which messages; all that is given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Whether they are dealt with.
    pub state: Option<MessageState>,
    /// Left, or noted by us.
    pub kind: Option<MessageKind>,
}

/// A message, and who dealt with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageDetail {
    /// The message.
    pub message: StoredMessage,
    /// When it was dealt with.
    pub done_at: Option<UnixMillis>,
    /// By whom.
    pub done_by: Option<String>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = messages)]
struct Row {
    id: i64,
    call_sid: String,
    name: Option<String>,
    phone: Option<String>,
    text: String,
    created_ms: i64,
    done_ms: Option<i64>,
    done_by: Option<String>,
    kind: String,
}

impl From<Row> for MessageDetail {
    fn from(row: Row) -> Self {
        Self {
            message: StoredMessage {
                id: row.id,
                call: CallSid::new(row.call_sid),
                kind: message_kind(&row.kind),
                name: row.name,
                phone: row.phone,
                text: row.text,
                at: UnixMillis(row.created_ms),
            },
            done_at: row.done_ms.map(UnixMillis),
            done_by: row.done_by,
        }
    }
}

/// Messages, newest first.
pub(super) fn list(
    conn: &mut AnyConnection,
    filter: MessageFilter,
    page: Page,
) -> Result<Listed<MessageDetail>, DbError> {
    let mut query = messages::table
        .select(Row::as_select())
        .order(messages::id.desc())
        .limit(page.fetch())
        .into_boxed::<Either>();
    if let Some(kind) = filter.kind {
        query = query.filter(messages::kind.eq(message_word(kind)));
    }
    match filter.state {
        Some(MessageState::Open) => query = query.filter(messages::done_ms.is_null()),
        Some(MessageState::Done) => query = query.filter(messages::done_ms.is_not_null()),
        None => {}
    }
    if let Some(after) = page.after {
        query = query.filter(messages::id.lt(after.id));
    }
    let rows: Vec<Row> = query.load(conn)?;
    let items = rows.into_iter().map(MessageDetail::from).collect();
    Ok(page.cut(items, |item: &MessageDetail| Cursor::new(ListKind::Messages, 0, item.message.id)))
}

/// Marks a message as dealt with, or as open again. Who dealt with it first is the one who stays. None if there is no
/// such message.
pub(super) fn set_done(
    conn: &mut AnyConnection,
    id: i64,
    done: bool,
    by: &str,
    now: UnixMillis,
) -> Result<Option<MessageDetail>, DbError> {
    write_transaction(conn, |conn| {
        let message = messages::table.filter(messages::id.eq(id));
        if done {
            diesel::update(message.filter(messages::done_ms.is_null()))
                .set((messages::done_ms.eq(Some(now.0)), messages::done_by.eq(Some(by))))
                .execute(conn)?;
        } else {
            diesel::update(message)
                .set((messages::done_ms.eq(None::<i64>), messages::done_by.eq(None::<&str>)))
                .execute(conn)?;
        }
        let row: Option<Row> = messages::table.find(id).select(Row::as_select()).first(conn).optional()?;
        Ok(row.map(MessageDetail::from))
    })
}
