//! Customers as the staff see and change them.

use super::{Cursor, Either, ListKind, Listed, Page};
use crate::db::connect::{AnyConnection, on_either, write_transaction};
use crate::db::customers as customers_db;
use crate::db::error::DbError;
use crate::db::schema::{appointments, calls, customers};
use crate::domain::appointment::Customer;
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::collections::HashMap;

/// A customer with the times of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomerDetail {
    /// The customer.
    pub customer: Customer,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was changed last.
    pub updated_at: UnixMillis,
}

/// What is to be changed of a customer: what is absent stays, what is given as none is taken away.
#[derive(Clone, Debug, Default)]
pub struct CustomerChange {
    /// Name.
    pub name: Option<Option<String>>,
    /// Number.
    pub phone: Option<Option<PhoneNumber>>,
    /// E-mail address.
    pub email: Option<Option<String>>,
    /// Notes.
    pub notes: Option<Option<String>>,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerOutcome {
    /// Done: the row as it is now, or was.
    Done(CustomerDetail),
    /// There is no such customer.
    Unknown,
    /// Another customer has that number.
    PhoneTaken,
    /// So many appointments are still to come.
    HasAppointments(i64),
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = customers)]
struct Row {
    id: i64,
    name: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    notes: Option<String>,
    created_ms: i64,
    updated_ms: i64,
}

impl From<Row> for CustomerDetail {
    fn from(row: Row) -> Self {
        Self {
            customer: Customer {
                id: row.id,
                name: row.name,
                phone: row.phone.and_then(|phone| PhoneNumber::from_e164(&phone).ok()),
                email: row.email,
                notes: row.notes,
            },
            created_at: UnixMillis(row.created_ms),
            updated_at: UnixMillis(row.updated_ms),
        }
    }
}

/// Customers, newest first.
pub(super) fn list(conn: &mut AnyConnection, page: Page) -> Result<Listed<CustomerDetail>, DbError> {
    let mut query = customers::table
        .select(Row::as_select())
        .order(customers::id.desc())
        .limit(page.fetch())
        .into_boxed::<Either>();
    if let Some(after) = page.after {
        query = query.filter(customers::id.lt(after.id));
    }
    let rows: Vec<Row> = query.load(conn)?;
    let items = rows.into_iter().map(CustomerDetail::from).collect();
    Ok(page.cut(items, |item: &CustomerDetail| Cursor::new(ListKind::Customers, 0, item.customer.id)))
}

/// Customers in the order of their ids, newest first.
pub(super) fn by_ids(conn: &mut AnyConnection, ids: &[i64]) -> Result<Vec<CustomerDetail>, DbError> {
    // Of none, a database may go through all rows to find that out.
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = customers::table
        .filter(customers::id.eq_any(ids.to_vec()))
        .order(customers::id.desc())
        .select(Row::as_select())
        .load(conn)?;
    Ok(rows.into_iter().map(CustomerDetail::from).collect())
}

/// Names, of those that have one.
pub(super) fn names(conn: &mut AnyConnection, ids: Vec<i64>) -> Result<HashMap<i64, String>, DbError> {
    let rows: Vec<(i64, Option<String>)> = customers::table
        .filter(customers::id.eq_any(ids))
        .select((customers::id, customers::name))
        .load(conn)?;
    Ok(rows.into_iter().filter_map(|(id, name)| Some((id, name?))).collect())
}

/// One customer.
pub(super) fn by_id(conn: &mut AnyConnection, id: i64) -> Result<Option<CustomerDetail>, DbError> {
    let row: Option<Row> = customers::table.find(id).select(Row::as_select()).first(conn).optional()?;
    Ok(row.map(CustomerDetail::from))
}

/// A second customer with a number is no failure of the database.
fn number_is_taken(result: Result<CustomerOutcome, DbError>) -> Result<CustomerOutcome, DbError> {
    match result {
        Err(DbError::Query(QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) => {
            Ok(CustomerOutcome::PhoneTaken)
        }
        result => result,
    }
}

/// Makes a customer.
pub(super) fn create(
    conn: &mut AnyConnection,
    new: &CustomerChange,
    now: UnixMillis,
) -> Result<CustomerOutcome, DbError> {
    let phone = new.phone.as_ref().and_then(Option::as_ref);
    let text = |field: &Option<Option<String>>| field.clone().flatten();
    number_is_taken(write_transaction(conn, |conn| {
        let row: Row = on_either!(conn, c => diesel::insert_into(customers::table)
            .values((
                customers::name.eq(text(&new.name)),
                customers::phone.eq(phone.map(PhoneNumber::as_str)),
                customers::email.eq(text(&new.email)),
                customers::notes.eq(text(&new.notes)),
                customers::created_ms.eq(now.0),
                customers::updated_ms.eq(now.0),
            ))
            .returning(Row::as_returning())
            .get_result(c))?;
        Ok(CustomerOutcome::Done(row.into()))
    }))
}

/// Changes a customer.
pub(super) fn change(
    conn: &mut AnyConnection,
    id: i64,
    change: &CustomerChange,
    now: UnixMillis,
) -> Result<CustomerOutcome, DbError> {
    number_is_taken(write_transaction(conn, |conn| {
        // Of two who change different fields, the second sees what the first wrote.
        customers_db::lock(conn, id)?;
        let Some(mut detail) = by_id(conn, id)? else { return Ok(CustomerOutcome::Unknown) };
        let customer = &mut detail.customer;
        let before = customer.clone();
        let set = |field: &mut Option<String>, new: &Option<Option<String>>| {
            if let Some(new) = new {
                field.clone_from(new);
            }
        };
        set(&mut customer.name, &change.name);
        set(&mut customer.email, &change.email);
        set(&mut customer.notes, &change.notes);
        if let Some(phone) = &change.phone {
            customer.phone.clone_from(phone);
        }
        if *customer != before {
            diesel::update(customers::table.find(id))
                .set((
                    customers::name.eq(customer.name.as_deref()),
                    customers::phone.eq(customer.phone.as_ref().map(PhoneNumber::as_str)),
                    customers::email.eq(customer.email.as_deref()),
                    customers::notes.eq(customer.notes.as_deref()),
                    customers::updated_ms.eq(now.0),
                ))
                .execute(conn)?;
            detail.updated_at = now;
        }
        Ok(CustomerOutcome::Done(detail))
    }))
}

/// Removes a customer. Calls and past appointments stay without a name; appointments still to come have to be called
/// off first.
pub(super) fn remove(conn: &mut AnyConnection, id: i64, now: UnixMillis) -> Result<CustomerOutcome, DbError> {
    write_transaction(conn, |conn| {
        // Whoever books for them now waits, and then finds them gone; who was first is counted below.
        customers_db::lock(conn, id)?;
        let Some(detail) = by_id(conn, id)? else { return Ok(CustomerOutcome::Unknown) };
        let coming: i64 = appointments::table
            .filter(appointments::customer_id.eq(id))
            .filter(appointments::starts_ms.ge(now.0))
            .filter(appointments::status.eq("confirmed"))
            .count()
            .get_result(conn)?;
        if coming > 0 {
            return Ok(CustomerOutcome::HasAppointments(coming));
        }
        diesel::update(appointments::table.filter(appointments::customer_id.eq(id)))
            .set(appointments::customer_id.eq(None::<i64>))
            .execute(conn)?;
        diesel::update(calls::table.filter(calls::customer_id.eq(id)))
            .set(calls::customer_id.eq(None::<i64>))
            .execute(conn)?;
        diesel::delete(customers::table.find(id)).execute(conn)?;
        Ok(CustomerOutcome::Done(detail))
    })
}
