//! Search by words: FTS5 on SQLite, `tsvector` on PostgreSQL, both kept by triggers. What is found comes newest first,
//! because staff look for the last call in which something was said.

use super::calls::{CallFilter, CallFlag, by_ids};
use super::customers::{self, CustomerDetail};
use super::snippet::{snippet, words};
use super::{Cursor, ListKind, Listed, Page};
use crate::db::calls::CallOverview;
use crate::db::connect::AnyConnection;
use crate::db::error::DbError;
use crate::db::schema::turns;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// Words that are looked for at most; more narrow nothing down.
const MAX_WORDS: usize = 8;

/// Characters of a word that count.
const MAX_WORD_CHARS: usize = 40;

/// Shorter words must be met whole: their beginnings are in every text.
const PREFIX_CHARS: usize = 3;

/// What is looked for: each of these words, the last of them perhaps unfinished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchWords(Vec<String>);

impl SearchWords {
    /// Reads what somebody typed; none if there is no word in it. A telephone number, however written, is one word.
    pub fn parse(text: &str) -> Option<Self> {
        let phone = |c: char| c.is_ascii_digit() || " +-()./".contains(c);
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let mut found = if digits.len() >= 4 && text.chars().all(phone) { vec![digits] } else { words(text) };
        found.truncate(MAX_WORDS);
        for word in &mut found {
            *word = word.chars().take(MAX_WORD_CHARS).collect();
        }
        if found.is_empty() { None } else { Some(Self(found)) }
    }

    fn query(&self, word: impl Fn(&str) -> String, prefix: &str, and: &str) -> String {
        let last = self.0.len().saturating_sub(1);
        let terms: Vec<String> = self
            .0
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let open = i == last && text.chars().count() >= PREFIX_CHARS;
                format!("{}{}", word(text), if open { prefix } else { "" })
            })
            .collect();
        terms.join(and)
    }

    /// As FTS5 takes it. The words hold letters and digits only.
    fn fts5(&self) -> String {
        self.query(|word| format!("\"{word}\""), "*", " AND ")
    }

    /// As `to_tsquery` takes it.
    fn tsquery(&self) -> String {
        self.query(|word| format!("'{word}'"), ":*", " & ")
    }
}

/// A call in which the words were said.
#[derive(Clone, Debug)]
pub struct CallHit {
    /// The call.
    pub call: CallOverview,
    /// The turn, if they stand in one.
    pub turn: Option<u32>,
    /// The text around them.
    pub snippet: String,
}

/// A customer who is known by the words.
#[derive(Clone, Debug)]
pub struct CustomerHit {
    /// The customer.
    pub customer: CustomerDetail,
    /// The text around them.
    pub snippet: String,
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// What of a filter is not words, as SQL over `c`. Words of ours, numbers and a checked telephone number only.
fn conditions(filter: &CallFilter) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(filter.status.map(|status| format!("c.status = '{}'", status.as_str())));
    all.extend(filter.direction.map(|direction| format!("c.direction = '{}'", direction.as_str())));
    all.extend(filter.flags.iter().map(|flag| {
        let column = match flag {
            CallFlag::LeadCaptured => "c.lead_captured",
            CallFlag::AppointmentBooked => "c.appointment_booked",
            CallFlag::MessageTaken => "c.message_taken",
            CallFlag::Transferred => "c.transferred",
            CallFlag::FollowUp => "c.follow_up",
        };
        column.to_owned()
    }));
    all.extend(filter.from.map(|from| format!("c.started_ms >= {}", from.0)));
    all.extend(filter.to.map(|to| format!("c.started_ms < {}", to.0)));
    all.extend(filter.customer_id.map(|id| format!("c.customer_id = {id}")));
    all.extend(filter.phone.as_ref().map(|phone| format!("c.phone_number = '{}'", phone.as_str())));
    all
}

/// Ids of the calls in which all of the words stand, newest first.
pub(super) fn found_calls(
    conn: &mut AnyConnection,
    wanted: &SearchWords,
    filter: &CallFilter,
    page: Page,
) -> Result<Listed<i64>, DbError> {
    let conditions = conditions(filter);
    let (join, and) = if conditions.is_empty() {
        ("", String::new())
    } else {
        ("calls", format!(" AND {}", conditions.join(" AND ")))
    };
    found(conn, "call", join, &and, wanted, page, ListKind::FoundCalls)
}

fn found(
    conn: &mut AnyConnection,
    what: &str,
    join: &str,
    and: &str,
    wanted: &SearchWords,
    page: Page,
    kind: ListKind,
) -> Result<Listed<i64>, DbError> {
    let limit = page.fetch();
    let ids: Vec<Id> = match conn {
        AnyConnection::Sqlite(c) => {
            let join = joined(join, "s.rowid");
            let before = page.after.map(|after| format!(" AND s.rowid < {}", after.id)).unwrap_or_default();
            diesel::sql_query(format!(
                "SELECT s.rowid AS id FROM {what}_search s{join} \
                 WHERE {what}_search MATCH ?{before}{and} ORDER BY s.rowid DESC LIMIT {limit}"
            ))
            .bind::<Text, _>(wanted.fts5())
            .load(c)?
        }
        AnyConnection::Postgres(c) => {
            let id = format!("s.{what}_id");
            let join = joined(join, &id);
            let before = page.after.map(|after| format!(" AND {id} < {}", after.id)).unwrap_or_default();
            diesel::sql_query(format!(
                "SELECT {id} AS id FROM {what}_search s{join} \
                 WHERE s.words @@ to_tsquery('simple', $1){before}{and} ORDER BY {id} DESC LIMIT {limit}"
            ))
            .bind::<Text, _>(wanted.tsquery())
            .load(c)?
        }
    };
    let ids = ids.into_iter().map(|row| row.id).collect();
    Ok(page.cut(ids, |id| Cursor::new(kind, 0, *id)))
}

fn joined(table: &str, id: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" JOIN {table} c ON c.id = {id}") }
}

/// Calls in which all of the words stand, newest first, with what was said.
pub(super) fn calls(
    conn: &mut AnyConnection,
    wanted: &SearchWords,
    page: Page,
) -> Result<Listed<CallHit>, DbError> {
    let ids = found_calls(conn, wanted, &CallFilter::default(), page)?;
    let rows = by_ids(conn, &ids.items)?;
    let said: Vec<(i64, i64, String)> = turns::table
        .filter(turns::call_id.eq_any(ids.items.clone()))
        .order((turns::call_id.asc(), turns::n.asc()))
        .select((turns::call_id, turns::n, turns::said))
        .load(conn)?;
    let items = rows
        .into_iter()
        .map(|call| {
            let turn = said
                .iter()
                .filter(|(id, ..)| *id == call.id)
                .find_map(|(_, n, said)| Some((u32::try_from(*n).ok()?, snippet(said, &wanted.0)?)));
            let (turn, text) = match turn {
                Some((n, text)) => (Some(n), text),
                None => {
                    let texts = [call.summary.as_deref(), call.imported_transcript.as_deref()];
                    let text = texts.into_iter().flatten().find_map(|text| snippet(text, &wanted.0));
                    (None, text.unwrap_or_else(|| call.facts.caller.label().to_owned()))
                }
            };
            CallHit { call, turn, snippet: text }
        })
        .collect();
    Ok(Listed { items, next: ids.next })
}

/// Customers known by all of the words, newest first.
pub(super) fn customers(
    conn: &mut AnyConnection,
    wanted: &SearchWords,
    page: Page,
) -> Result<Listed<CustomerHit>, DbError> {
    let ids = found(conn, "customer", "", "", wanted, page, ListKind::Customers)?;
    let items = customers::by_ids(conn, &ids.items)?
        .into_iter()
        .map(|detail| {
            let customer = &detail.customer;
            let texts = [customer.name.as_deref(), customer.email.as_deref(), customer.notes.as_deref()];
            let text = texts.into_iter().flatten().find_map(|text| snippet(text, &wanted.0));
            let phone = customer.phone.as_ref().map_or("", |phone| phone.as_str());
            let snippet = text.unwrap_or_else(|| phone.to_owned());
            CustomerHit { customer: detail, snippet }
        })
        .collect();
    Ok(Listed { items, next: ids.next })
}
