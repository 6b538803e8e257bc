//! Customers: recognised by their number, never wiped.

use super::connect::{AnyConnection, on_either, write_transaction};
use super::error::DbError;
use super::schema::customers;
use crate::domain::appointment::{Customer, CustomerPatch};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};

#[derive(Queryable, Selectable)]
#[diesel(table_name = customers)]
struct CustomerRow {
    id: i64,
    name: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    notes: Option<String>,
}

impl From<CustomerRow> for Customer {
    fn from(row: CustomerRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            phone: row.phone.and_then(|phone| PhoneNumber::from_e164(&phone).ok()),
            email: row.email,
            notes: row.notes,
        }
    }
}

pub(super) fn by_phone(conn: &mut AnyConnection, phone: &PhoneNumber) -> Result<Option<Customer>, DbError> {
    let row: Option<CustomerRow> = customers::table
        .filter(customers::phone.eq(phone.as_str()))
        .select(CustomerRow::as_select())
        .get_result(conn)
        .optional()?;
    Ok(row.map(Customer::from))
}

pub(super) fn by_id(conn: &mut AnyConnection, id: i64) -> Result<Option<Customer>, DbError> {
    let row: Option<CustomerRow> =
        customers::table.find(id).select(CustomerRow::as_select()).get_result(conn).optional()?;
    Ok(row.map(Customer::from))
}

/// The customer with an id, whose row nobody else changes or removes until the transaction ends. SQLite's transaction
/// holds the whole database already.
fn locked(conn: &mut AnyConnection, id: i64) -> Result<Option<Customer>, DbError> {
    let found = customers::table.find(id);
    let row: Option<CustomerRow> = match conn {
        AnyConnection::Sqlite(c) => found.select(CustomerRow::as_select()).get_result(c).optional()?,
        AnyConnection::Postgres(c) => {
            found.select(CustomerRow::as_select()).for_update().get_result(c).optional()?
        }
    };
    Ok(row.map(Customer::from))
}

/// The same by the number.
fn locked_by_phone(conn: &mut AnyConnection, phone: &PhoneNumber) -> Result<Option<Customer>, DbError> {
    let found = customers::table.filter(customers::phone.eq(phone.as_str()));
    let row: Option<CustomerRow> = match conn {
        AnyConnection::Sqlite(c) => found.select(CustomerRow::as_select()).get_result(c).optional()?,
        AnyConnection::Postgres(c) => {
            found.select(CustomerRow::as_select()).for_update().get_result(c).optional()?
        }
    };
    Ok(row.map(Customer::from))
}

/// Locks a customer's row until the transaction ends, for who changes or removes it; false if there is none.
pub(super) fn lock(conn: &mut AnyConnection, id: i64) -> Result<bool, DbError> {
    Ok(locked(conn, id)?.is_some())
}

/// Keeps a customer from being removed until the transaction ends, for who is to point to it; false if there is none.
pub(super) fn keep(conn: &mut AnyConnection, id: i64) -> Result<bool, DbError> {
    let query = customers::table.find(id).select(customers::id);
    let found: Option<i64> = match conn {
        AnyConnection::Sqlite(c) => query.get_result(c).optional()?,
        AnyConnection::Postgres(c) => query.for_key_share().get_result(c).optional()?,
    };
    Ok(found.is_some())
}

/// The customer with a number, kept in the same way.
pub(super) fn keep_by_phone(conn: &mut AnyConnection, phone: &str) -> Result<Option<i64>, DbError> {
    let query = customers::table.filter(customers::phone.eq(phone)).select(customers::id);
    Ok(match conn {
        AnyConnection::Sqlite(c) => query.get_result(c).optional()?,
        AnyConnection::Postgres(c) => query.for_key_share().get_result(c).optional()?,
    })
}

pub(super) fn recent(conn: &mut AnyConnection, limit: u32) -> Result<Vec<Customer>, DbError> {
    let rows: Vec<CustomerRow> = customers::table
        .order(customers::id.desc())
        .limit(i64::from(limit))
        .select(CustomerRow::as_select())
        .load(conn)?;
    Ok(rows.into_iter().map(Customer::from).collect())
}

/// Remembers what is said of a customer: found by the number, else by `known` (the call's customer), else made.
pub(super) fn upsert(
    conn: &mut AnyConnection,
    patch: &CustomerPatch,
    known: Option<i64>,
    at: UnixMillis,
) -> Result<Customer, DbError> {
    match write_transaction(conn, |conn| upsert_within(conn, patch, known, at)) {
        // Another replica made the same customer in between: now there is one to find.
        Err(DbError::Query(QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) => {
            write_transaction(conn, |conn| upsert_within(conn, patch, known, at))
        }
        result => result,
    }
}

/// The same inside a transaction of the caller's.
pub(super) fn upsert_within(
    conn: &mut AnyConnection,
    patch: &CustomerPatch,
    known: Option<i64>,
    at: UnixMillis,
) -> Result<Customer, DbError> {
    let name = given(patch.name.as_deref());
    let email = given(patch.email.as_deref());
    let phone = patch.phone.as_ref();

    let mut found = match phone {
        Some(phone) => locked_by_phone(conn, phone)?,
        None => None,
    };
    if found.is_none()
        && let Some(id) = known
    {
        // Somebody known under another number is another person.
        found = locked(conn, id)?.filter(|customer| phone.is_none() || customer.phone.is_none());
    }
    let Some(mut customer) = found else {
        let row: CustomerRow = on_either!(conn, c => diesel::insert_into(customers::table)
            .values((
                customers::name.eq(name),
                customers::phone.eq(phone.map(PhoneNumber::as_str)),
                customers::email.eq(email),
                customers::created_ms.eq(at.0),
                customers::updated_ms.eq(at.0),
            ))
            .returning(CustomerRow::as_returning())
            .get_result(c))?;
        return Ok(row.into());
    };
    let before = customer.clone();
    customer.name = name.map(str::to_owned).or(customer.name);
    customer.email = email.map(str::to_owned).or(customer.email);
    customer.phone = phone.cloned().or(customer.phone);
    if customer != before {
        diesel::update(customers::table.find(customer.id))
            .set((
                customers::name.eq(customer.name.as_deref()),
                customers::email.eq(customer.email.as_deref()),
                customers::phone.eq(customer.phone.as_ref().map(PhoneNumber::as_str)),
                customers::updated_ms.eq(at.0),
            ))
            .execute(conn)?;
    }
    Ok(customer)
}

/// A blank answer is no answer.
fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}
