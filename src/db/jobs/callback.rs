//! A place on the staff's list for a conversation that was not finished.

use crate::db::connect::AnyConnection;
use crate::db::error::DbError;
use crate::db::schema::{calls, customers, messages, turns};
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use diesel::dsl::exists;
use diesel::prelude::*;

/// Puts a call on the list, unless it left a message or is on it.
pub(super) fn put(
    conn: &mut AnyConnection,
    sid: &CallSid,
    text: &str,
    quotes: bool,
    now: UnixMillis,
) -> Result<(), DbError> {
    let listed: bool = diesel::select(exists(messages::table.filter(messages::call_sid.eq(sid.as_str()))))
        .get_result(conn)?;
    let call: Option<(i64, String, Option<String>, Option<i64>)> = calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .select((calls::id, calls::caller_kind, calls::phone_number, calls::customer_id))
        .first(conn)
        .optional()?;
    let Some((id, kind, number, customer)) = call.filter(|_| !listed) else { return Ok(()) };
    // What was erased since the note was written must not come back with it.
    let kept: bool = diesel::select(exists(turns::table.filter(turns::call_id.eq(id)))).get_result(conn)?;
    if quotes && !kept {
        return Ok(());
    }
    let name: Option<String> = match customer {
        Some(id) => customers::table.find(id).select(customers::name).first(conn).optional()?.flatten(),
        None => None,
    };
    diesel::insert_into(messages::table)
        .values((
            messages::call_sid.eq(sid.as_str()),
            messages::name.eq(name),
            messages::phone.eq(number.filter(|_| kind == "number")),
            messages::text.eq(text),
            messages::created_ms.eq(now.0),
            messages::kind.eq("callback"),
        ))
        .execute(conn)?;
    diesel::update(calls::table.filter(calls::call_sid.eq(sid.as_str())))
        .set(calls::follow_up.eq(true))
        .execute(conn)?;
    Ok(())
}
