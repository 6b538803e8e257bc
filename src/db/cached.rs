//! Statements that a connection prepares once.
//!
//! Diesel has every UPDATE and every insert with a conflict clause prepared anew, because what it sets may differ from
//! one time to the next; on SQLite that compiles the triggers behind it as well, and costs more than the write itself.
//! What is written while calls go on always reads the same, so it is kept by its text.
//!
//! For the same reason a row of a unique key is asked for by `get_result` and not by `first`: the limit of the latter is a
//! parameter, and with each new value of such a one SQLite prepares the query again.

use super::connect::{AnyConnection, on_either};
use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Bool, HasSqlType, Nullable, Text};

/// A statement whose text is always the same, or one of a few. For [`AnyConnection`] only, which asks the statement itself
/// whether it may be kept; for the connections behind it there is [`Put`].
pub(super) struct Cached<Q>(pub(super) Q);

impl<Q> QueryId for Cached<Q> {
    type QueryId = ();
    // Kept by its text and not by its type: were the texts to differ after all, both would be kept.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Cached<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _backend: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q> RunQueryDsl<AnyConnection> for Cached<Q> {}

/// A value of a [`Put`].
pub(super) enum Value<'a> {
    Number(i64),
    NumberOrNone(Option<i64>),
    Text(&'a str),
    TextOrNone(Option<&'a str>),
    Flag(bool),
}

/// An insert with a conflict clause, which differs between two databases and is thus none of `AnyConnection`'s, in SQL
/// that both understand, with a question mark for each value.
pub(super) struct Put<'a> {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value<'a>>,
}

impl Put<'_> {
    /// Runs it; says how many rows it made or changed.
    pub(super) fn run(self, conn: &mut AnyConnection) -> QueryResult<usize> {
        on_either!(conn, c => self.execute(c))
    }
}

impl QueryId for Put<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB> QueryFragment<DB> for Put<'_>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + HasSqlType<Bool>,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
    bool: ToSql<Bool, DB>,
    Option<i64>: ToSql<Nullable<BigInt>, DB>,
    for<'v> Option<&'v str>: ToSql<Nullable<Text>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut parts = self.sql.split('?');
        out.push_sql(parts.next().unwrap_or_default());
        for (value, part) in self.values.iter().zip(parts) {
            match value {
                Value::Number(number) => out.push_bind_param::<BigInt, i64>(number)?,
                Value::NumberOrNone(number) => {
                    out.push_bind_param::<Nullable<BigInt>, Option<i64>>(number)?;
                }
                Value::Text(text) => out.push_bind_param::<Text, str>(text)?,
                Value::TextOrNone(text) => out.push_bind_param::<Nullable<Text>, Option<&str>>(text)?,
                Value::Flag(flag) => out.push_bind_param::<Bool, bool>(flag)?,
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

impl<C> RunQueryDsl<C> for Put<'_> {}
