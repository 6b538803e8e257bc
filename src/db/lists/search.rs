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

/// How far PostgreSQL's rows are gone through in one way before it is done in another.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// Rows that are gone through one by one, newest first.
    newest: u32,
    /// Calls that are chosen by what is no words, to be looked at one by one.
    chosen: usize,
    /// Rows that are gathered by the index of words to be put in order.
    most: usize,
}

const REACH: Reach = Reach { newest: 4_000, chosen: 8_000, most: 5_000 };

/// What is looked for: each of these words, the last of them perhaps unfinished; or one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchWords {
    words: Vec<String>,
    /// What looks like a telephone number, as one word. Or the words were meant: a date, a number with gaps.
    number: Option<String>,
}

impl SearchWords {
    /// Reads what somebody typed; none if there is no word in it. A telephone number, however written, is one word.
    pub fn parse(text: &str) -> Option<Self> {
        let phone = |c: char| c.is_ascii_digit() || " +-()./".contains(c);
        let short = |word: String| -> String { word.chars().take(MAX_WORD_CHARS).collect() };
        let words: Vec<String> = words(text).into_iter().take(MAX_WORDS).map(short).collect();
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let number = digits.len() >= 4 && words.len() > 1 && text.chars().all(phone);
        let number = number.then(|| short(digits));
        if words.is_empty() { None } else { Some(Self { words, number }) }
    }

    fn query(&self, word: impl Fn(&str) -> String, prefix: &str, and: &str, or: &str) -> String {
        let term = |text: &str, last: bool| {
            let open = last && text.chars().count() >= PREFIX_CHARS;
            format!("{}{}", word(text), if open { prefix } else { "" })
        };
        let last = self.words.len().saturating_sub(1);
        let terms: Vec<String> =
            self.words.iter().enumerate().map(|(i, text)| term(text, i == last)).collect();
        let all = terms.join(and);
        match &self.number {
            Some(number) => format!("{}{or}({all})", term(number, true)),
            None => all,
        }
    }

    /// As FTS5 takes it. The words hold letters and digits only.
    fn fts5(&self) -> String {
        self.query(|word| format!("\"{word}\""), "*", " AND ", " OR ")
    }

    /// As `to_tsquery` takes it.
    fn tsquery(&self) -> String {
        self.query(|word| format!("'{word}'"), ":*", " & ", " | ")
    }

    /// The part of a text in which what is looked for stands.
    fn snippet(&self, text: &str) -> Option<String> {
        snippet(text, &self.words).or_else(|| snippet(text, self.number.as_slice()))
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
            found_by_tsvector(c, what, (join, and), &wanted.tsquery(), page, REACH)?
        }
    };
    let ids = ids.into_iter().map(|row| row.id).collect();
    Ok(page.cut(ids, |id| Cursor::new(kind, 0, *id)))
}

/// The planner cannot know how often a word, or the beginning of one, is met, and guesses wrong both ways: to walk all
/// rows for what is nowhere, or to gather a hundred thousand to sort them. So common words are looked for among the
/// newest rows first, where they are found soon, and whatever is not, by the index of words.
fn found_by_tsvector(
    conn: &mut PgConnection,
    what: &str,
    (join, and): (&str, &str),
    wanted: &str,
    page: Page,
    reach: Reach,
) -> Result<Vec<Id>, DbError> {
    let id = format!("{what}_id");
    let limit = page.fetch();
    let before = page.after.map(|after| format!(" AND s.{id} < {}", after.id)).unwrap_or_default();
    let join = joined(join, &format!("s.{id}"));
    let met = "s.words @@ to_tsquery('simple', $1)";
    let newest: Vec<Id> = diesel::sql_query(format!(
        "SELECT s.{id} AS id FROM (SELECT s.{id}, s.words FROM {what}_search s WHERE true{before} \
         ORDER BY s.{id} DESC LIMIT {}) s{join} WHERE {met}{and} ORDER BY s.{id} DESC LIMIT {limit}",
        reach.newest
    ))
    .bind::<Text, _>(wanted)
    .load(conn)?;
    if i64::try_from(newest.len()).is_ok_and(|found| found >= limit) {
        return Ok(newest);
    }
    if !and.is_empty() {
        // Of the calls that are chosen otherwise there may be few enough to look at each.
        let before = page.after.map(|after| format!(" AND c.id < {}", after.id)).unwrap_or_default();
        let chosen: Vec<Id> = diesel::sql_query(format!(
            "SELECT c.id AS id FROM calls c WHERE true{and}{before} ORDER BY c.id DESC LIMIT {}",
            reach.chosen.saturating_add(1)
        ))
        .load(conn)?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        if chosen.len() <= reach.chosen {
            return Ok(diesel::sql_query(format!(
                "SELECT s.{id} AS id FROM {what}_search s WHERE s.{id} = ANY({}) AND {met} \
                 ORDER BY s.{id} DESC LIMIT {limit}",
                array(&chosen)
            ))
            .bind::<Text, _>(wanted)
            .load(conn)?);
        }
    }
    let mut all: Vec<Id> = diesel::sql_query(format!(
        "SELECT s.{id} AS id FROM {what}_search s WHERE {met}{before} LIMIT {}",
        reach.most.saturating_add(1)
    ))
    .bind::<Text, _>(wanted)
    .load(conn)?;
    if all.len() > reach.most {
        // Very common, but not of late.
        return Ok(diesel::sql_query(format!(
            "SELECT s.{id} AS id FROM {what}_search s{join} WHERE {met}{before}{and} ORDER BY s.{id} DESC LIMIT {limit}"
        ))
        .bind::<Text, _>(wanted)
        .load(conn)?);
    }
    if !and.is_empty() {
        return Ok(diesel::sql_query(format!(
            "SELECT c.id AS id FROM calls c WHERE c.id = ANY({}){and} ORDER BY c.id DESC LIMIT {limit}",
            array(&all)
        ))
        .load(conn)?);
    }
    all.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(all)
}

/// Ids as PostgreSQL writes them.
fn array(rows: &[Id]) -> String {
    let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    format!("'{{{}}}'::bigint[]", ids.join(","))
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
    if ids.items.is_empty() {
        return Ok(Listed { items: Vec::new(), next: None });
    }
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
                .find_map(|(_, n, said)| Some((u32::try_from(*n).ok()?, wanted.snippet(said)?)));
            let (turn, text) = match turn {
                Some((n, text)) => (Some(n), text),
                None => {
                    let texts = [call.summary.as_deref(), call.imported_transcript.as_deref()];
                    let text = texts.into_iter().flatten().find_map(|text| wanted.snippet(text));
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
            let text = texts.into_iter().flatten().find_map(|text| wanted.snippet(text));
            let phone = customer.phone.as_ref().map_or("", |phone| phone.as_str());
            let snippet = text.unwrap_or_else(|| phone.to_owned());
            CustomerHit { customer: detail, snippet }
        })
        .collect();
    Ok(Listed { items, next: ids.next })
}

#[cfg(test)]
mod tests {
    use super::super::tests::fill;
    use super::*;
    use crate::db::tests::TestDb;
    use crate::domain::call::CallStatus;

    #[test]
    fn whichever_way_rows_are_found_they_are_the_same_rows() {
        for test in TestDb::each() {
            let AnyConnection::Postgres(mut conn) = test.connection() else { continue };
            fill(&test, 400, 40);
            let far = Reach { newest: 1_000_000, chosen: 0, most: 0 };
            let completed = CallFilter { status: Some(CallStatus::Completed), ..CallFilter::default() };
            for text in ["thanks", "appointment", "umb", "the", "nowhere", "0143", "thanks for call"] {
                let wanted = SearchWords::parse(text).unwrap().tsquery();
                for filter in [None, Some(&completed)] {
                    let and =
                        filter.map_or_else(String::new, |f| format!(" AND {}", conditions(f).join(" AND ")));
                    let join = if filter.is_some() { "calls" } else { "" };
                    let mut ask = |page, reach| -> Vec<i64> {
                        let rows = found_by_tsvector(&mut conn, "call", (join, &and), &wanted, page, reach);
                        rows.unwrap().into_iter().map(|row| row.id).collect()
                    };
                    for after in [None, Some(Cursor::new(ListKind::FoundCalls, 0, 200))] {
                        let page = Page::new(20, after);
                        let all = ask(page, far);
                        for (newest, chosen, most) in
                            [(4_000, 8_000, 5_000), (5, 8_000, 5_000), (5, 10, 5_000), (5, 0, 10), (1, 0, 0)]
                        {
                            let reach = Reach { newest, chosen, most };
                            assert_eq!(ask(page, reach), all, "{text} {newest} {chosen} {most}");
                        }
                    }
                }
            }
        }
    }
}
