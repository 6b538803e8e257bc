//! Keys, users, sign-ins and the staff's audit trail. What is secret lies here as a hash only.

use super::connect::{AnyConnection, on_either, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{api_keys, login_sessions, staff_actions, users};
use crate::domain::staff::{ONE_TIME_PASSWORD, Role, Scope, StaffAction, Who, WhoKind};
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as QueryError};

/// How often a use is written down, at most, ms.
const TOUCH_MS: i64 = 60_000;

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Id.
    pub id: i64,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last used, to the minute.
    pub last_used_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

/// A user of the dashboard, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: i64,
    /// The name they sign in with, in lower case.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// Whether the password was made for them and is still to be changed.
    pub one_time: bool,
    /// Whether they may not sign in any more.
    pub disabled: bool,
    /// When they were made.
    pub created_at: UnixMillis,
}

/// By what somebody was recognised, as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A key.
    Key(String),
    /// A sign-in's cookie.
    SignIn(String),
}

/// A user who signed in, and their request token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// What a changing request has to bring in a header.
    pub csrf: String,
}

/// What a sign-in needs to know of a user.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Who.
    pub user: User,
    /// The password's hash, in PHC form.
    pub hash: String,
    /// Until when the password is good, if it was made for them.
    pub good_until: Option<UnixMillis>,
    /// Signed-in sessions of another generation are void.
    pub generation: i64,
}

/// A sign-in to be stored.
#[derive(Clone, Debug)]
pub struct NewSignIn {
    /// Hash of the cookie's random value.
    pub hash: String,
    /// Whose.
    pub user_id: i64,
    /// The user's generation when the password was checked.
    pub generation: i64,
    /// The request token.
    pub csrf: String,
    /// When.
    pub now: UnixMillis,
    /// When it lapses unless it is used.
    pub expires: UnixMillis,
}

/// A change to a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Another role.
    pub role: Option<Role>,
    /// Locked out, or let in again.
    pub disabled: Option<bool>,
    /// Another password's hash, and until when it is good if it was made for them and is still to be changed.
    pub password: Option<(String, Option<UnixMillis>)>,
}

/// What became of a change to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChanged {
    /// It was made.
    Done(User),
    /// There is no such user.
    Unknown,
    /// Nobody would be left who decides who may do what.
    LastAdmin,
}

/// A row of the staff's audit trail, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredStaffAction {
    /// Id; later rows have higher ones.
    pub id: i64,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub who: Who,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// What else is to be known.
    pub detail: serde_json::Value,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct KeyRow {
    id: i64,
    name: String,
    scope: String,
    created_ms: i64,
    last_used_ms: Option<i64>,
    revoked_ms: Option<i64>,
}

impl KeyRow {
    fn key(self) -> Result<ApiKey, DbError> {
        Ok(ApiKey {
            id: self.id,
            name: self.name,
            scope: Scope::from_word(&self.scope).ok_or(DbError::Word { column: "api_keys.scope" })?,
            created_at: UnixMillis(self.created_ms),
            last_used_at: self.last_used_ms.map(UnixMillis),
            revoked_at: self.revoked_ms.map(UnixMillis),
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: i64,
    name: String,
    hash: String,
    role: String,
    generation: i64,
    one_time: bool,
    disabled: bool,
    created_ms: i64,
    one_time_until_ms: Option<i64>,
}

impl UserRow {
    fn credentials(self) -> Result<Credentials, DbError> {
        let user = User {
            id: self.id,
            name: self.name,
            role: Role::from_word(&self.role).ok_or(DbError::Word { column: "users.role" })?,
            one_time: self.one_time,
            disabled: self.disabled,
            created_at: UnixMillis(self.created_ms),
        };
        // A server of an earlier version writes no end: then the password is as old as its user.
        let until = || UnixMillis(self.created_ms).after(ONE_TIME_PASSWORD);
        let good_until = self.one_time.then(|| self.one_time_until_ms.map_or_else(until, UnixMillis));
        Ok(Credentials { user, hash: self.hash, good_until, generation: self.generation })
    }

    fn user(self) -> Result<User, DbError> {
        Ok(self.credentials()?.user)
    }
}

/// Adds a key.
pub fn add_key(
    conn: &mut AnyConnection,
    name: &str,
    hash: &str,
    scope: Scope,
    at: UnixMillis,
) -> Result<ApiKey, DbError> {
    let row: KeyRow = on_either!(conn, c => diesel::insert_into(api_keys::table)
        .values((
            api_keys::name.eq(name),
            api_keys::hash.eq(hash),
            api_keys::scope.eq(scope.as_str()),
            api_keys::created_ms.eq(at.0),
        ))
        .returning(KeyRow::as_returning())
        .get_result(c))?;
    row.key()
}

/// Keys, newest first, those before `before` if given; revoked ones too.
pub fn keys(conn: &mut AnyConnection, before: Option<i64>, limit: u32) -> Result<Vec<ApiKey>, DbError> {
    let rows: Vec<KeyRow> = api_keys::table
        .filter(api_keys::id.lt(before.unwrap_or(i64::MAX)))
        .order(api_keys::id.desc())
        .limit(i64::from(limit))
        .select(KeyRow::as_select())
        .load(conn)?;
    rows.into_iter().map(KeyRow::key).collect()
}

/// Revokes a key for good; false if there is none that could be.
pub fn revoke_key(conn: &mut AnyConnection, id: i64, at: UnixMillis) -> Result<bool, DbError> {
    let changed = diesel::update(api_keys::table.find(id).filter(api_keys::revoked_ms.is_null()))
        .set(api_keys::revoked_ms.eq(Some(at.0)))
        .execute(conn)?;
    Ok(changed > 0)
}

/// The key with a hash, unless it was revoked. Its use is remembered.
fn key_by_hash(conn: &mut AnyConnection, hash: &str, now: UnixMillis) -> Result<Option<ApiKey>, DbError> {
    let row: Option<KeyRow> = api_keys::table
        .filter(api_keys::hash.eq(hash))
        .filter(api_keys::revoked_ms.is_null())
        .select(KeyRow::as_select())
        .get_result(conn)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    if row.last_used_ms.is_none_or(|last| now.0.saturating_sub(last) >= TOUCH_MS) {
        diesel::update(api_keys::table.find(row.id))
            .set(api_keys::last_used_ms.eq(Some(now.0)))
            .execute(conn)?;
    }
    row.key().map(Some)
}

/// Adds a user; none if the name is taken.
pub fn add_user(
    conn: &mut AnyConnection,
    name: &str,
    hash: &str,
    role: Role,
    one_time: bool,
    at: UnixMillis,
) -> Result<Option<User>, DbError> {
    let row: Result<UserRow, QueryError> = on_either!(conn, c => diesel::insert_into(users::table)
        .values((
            users::name.eq(name),
            users::hash.eq(hash),
            users::role.eq(role.as_str()),
            users::one_time.eq(one_time),
            users::one_time_until_ms.eq(one_time.then(|| at.after(ONE_TIME_PASSWORD).0)),
            users::created_ms.eq(at.0),
        ))
        .returning(UserRow::as_returning())
        .get_result(c));
    match row {
        Ok(row) => row.user().map(Some),
        Err(QueryError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Users by id, those after `after` if given.
pub fn list_users(conn: &mut AnyConnection, after: Option<i64>, limit: u32) -> Result<Vec<User>, DbError> {
    let rows: Vec<UserRow> = users::table
        .filter(users::id.gt(after.unwrap_or(i64::MIN)))
        .order(users::id)
        .limit(i64::from(limit))
        .select(UserRow::as_select())
        .load(conn)?;
    rows.into_iter().map(UserRow::user).collect()
}

/// The user of a name.
pub fn user_by_name(conn: &mut AnyConnection, name: &str) -> Result<Option<Credentials>, DbError> {
    let row: Option<UserRow> =
        users::table.filter(users::name.eq(name)).select(UserRow::as_select()).get_result(conn).optional()?;
    row.map(UserRow::credentials).transpose()
}

/// The user with an id.
fn user_by_id(conn: &mut AnyConnection, id: i64) -> Result<Option<Credentials>, DbError> {
    let row: Option<UserRow> =
        users::table.find(id).select(UserRow::as_select()).get_result(conn).optional()?;
    row.map(UserRow::credentials).transpose()
}

/// Changes a user. Whoever is signed in as them is signed out, unless nothing but the role has changed.
pub fn change_user(conn: &mut AnyConnection, id: i64, change: &UserChange) -> Result<UserChanged, DbError> {
    write_transaction(conn, |conn| {
        // All admins are locked: of two requests that each leave the other's admin, the second has to see the first.
        let query = users::table
            .filter(users::role.eq(Role::Admin.as_str()))
            .filter(users::disabled.eq(false))
            .order(users::id)
            .select(users::id);
        let admins: Vec<i64> = match conn {
            AnyConnection::Sqlite(c) => query.load(c)?,
            AnyConnection::Postgres(c) => query.for_update().load(c)?,
        };
        // And the user: of two requests that change different things, neither undoes the other's.
        if let AnyConnection::Postgres(c) = conn {
            users::table.find(id).select(users::id).for_no_key_update().get_result::<i64>(c).optional()?;
        }
        let Some(now) = user_by_id(conn, id)? else { return Ok(UserChanged::Unknown) };
        let stays = change.role.unwrap_or(now.user.role) == Role::Admin
            && !change.disabled.unwrap_or(now.user.disabled);
        if admins == [id] && !stays {
            return Ok(UserChanged::LastAdmin);
        }
        let signs_out = change.password.is_some() || change.disabled == Some(true);
        let (hash, until) = change.password.clone().unwrap_or((now.hash, now.good_until));
        diesel::update(users::table.find(id))
            .set((
                users::role.eq(change.role.unwrap_or(now.user.role).as_str()),
                users::disabled.eq(change.disabled.unwrap_or(now.user.disabled)),
                users::hash.eq(hash),
                users::one_time.eq(until.is_some()),
                users::one_time_until_ms.eq(until.map(|until| until.0)),
                users::generation.eq(now.generation.saturating_add(i64::from(signs_out))),
            ))
            .execute(conn)?;
        if signs_out {
            diesel::delete(login_sessions::table.filter(login_sessions::user_id.eq(id))).execute(conn)?;
        }
        let after = user_by_id(conn, id)?;
        Ok(after.map_or(UserChanged::Unknown, |after| UserChanged::Done(after.user)))
    })
}

/// Stores a sign-in and forgets those that have lapsed.
fn add_sign_in(conn: &mut AnyConnection, new: &NewSignIn) -> Result<(), DbError> {
    diesel::delete(login_sessions::table.filter(login_sessions::expires_ms.lt(new.now.0))).execute(conn)?;
    diesel::insert_into(login_sessions::table)
        .values((
            login_sessions::hash.eq(&new.hash),
            login_sessions::user_id.eq(new.user_id),
            login_sessions::generation.eq(new.generation),
            login_sessions::csrf.eq(&new.csrf),
            login_sessions::created_ms.eq(new.now.0),
            login_sessions::seen_ms.eq(new.now.0),
            login_sessions::expires_ms.eq(new.expires.0),
        ))
        .execute(conn)?;
    Ok(())
}

/// Who signed in with a cookie, if that still holds. Its use moves its end.
fn signed_in(
    conn: &mut AnyConnection,
    hash: &str,
    now: UnixMillis,
    expires: UnixMillis,
) -> Result<Option<SignedIn>, DbError> {
    let found: Option<(UserRow, String, i64)> = login_sessions::table
        .inner_join(users::table)
        .filter(login_sessions::hash.eq(hash))
        .filter(login_sessions::expires_ms.gt(now.0))
        .filter(login_sessions::generation.eq(users::generation))
        .filter(users::disabled.eq(false))
        .select((UserRow::as_select(), login_sessions::csrf, login_sessions::seen_ms))
        .get_result(conn)
        .optional()?;
    let Some((row, csrf, seen)) = found else { return Ok(None) };
    if now.0.saturating_sub(seen) >= TOUCH_MS {
        diesel::update(login_sessions::table.find(hash))
            .set((login_sessions::seen_ms.eq(now.0), login_sessions::expires_ms.eq(expires.0)))
            .execute(conn)?;
    }
    Ok(Some(SignedIn { user: row.user()?, csrf }))
}

/// Whether what somebody was recognised by still holds. That it is asked is no use of it.
fn credential_holds(
    conn: &mut AnyConnection,
    credential: &Credential,
    now: UnixMillis,
) -> Result<bool, DbError> {
    let found: i64 = match credential {
        Credential::Key(hash) => api_keys::table
            .filter(api_keys::hash.eq(hash))
            .filter(api_keys::revoked_ms.is_null())
            .count()
            .get_result(conn)?,
        Credential::SignIn(hash) => login_sessions::table
            .inner_join(users::table)
            .filter(login_sessions::hash.eq(hash))
            .filter(login_sessions::expires_ms.gt(now.0))
            .filter(login_sessions::generation.eq(users::generation))
            .filter(users::disabled.eq(false))
            .count()
            .get_result(conn)?,
    };
    Ok(found > 0)
}

/// Ends a sign-in; says whose it was, if it was there.
fn sign_out(conn: &mut AnyConnection, hash: &str) -> Result<Option<User>, DbError> {
    let row: Option<UserRow> = login_sessions::table
        .inner_join(users::table)
        .filter(login_sessions::hash.eq(hash))
        .select(UserRow::as_select())
        .first(conn)
        .optional()?;
    let ended = diesel::delete(login_sessions::table.find(hash)).execute(conn)?;
    row.filter(|_| ended > 0).map(UserRow::user).transpose()
}

/// Adds a row to the staff's audit trail.
pub fn add_staff_action(
    conn: &mut AnyConnection,
    action: &StaffAction,
    at: UnixMillis,
) -> Result<(), DbError> {
    diesel::insert_into(staff_actions::table)
        .values((
            staff_actions::at_ms.eq(at.0),
            staff_actions::who_kind.eq(action.who.kind.as_str()),
            staff_actions::who_id.eq(action.who.id),
            staff_actions::who_name.eq(&action.who.name),
            staff_actions::action.eq(action.action),
            staff_actions::target.eq(&action.target),
            staff_actions::detail.eq(serde_json::to_string(&action.detail)?),
        ))
        .execute(conn)?;
    Ok(())
}

type ActionRow = (i64, i64, String, i64, String, String, String, String);

pub(super) fn staff_actions_before(
    conn: &mut AnyConnection,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<StoredStaffAction>, DbError> {
    let rows: Vec<ActionRow> = staff_actions::table
        .filter(staff_actions::id.lt(before.unwrap_or(i64::MAX)))
        .order(staff_actions::id.desc())
        .limit(i64::from(limit))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, at, kind, who, name, action, target, detail)| {
            let kind = WhoKind::from_word(&kind).ok_or(DbError::Word { column: "staff_actions.who_kind" })?;
            Ok(StoredStaffAction {
                id,
                at: UnixMillis(at),
                who: Who { kind, id: who, name },
                action,
                target,
                detail: serde_json::from_str(&detail)?,
            })
        })
        .collect()
}

impl DbHandle {
    /// Asks the database for a sign of life.
    pub async fn answers(&self) -> Result<(), DbError> {
        self.read(|conn| {
            users::table.select(users::id).limit(1).load::<i64>(conn)?;
            Ok(())
        })
        .await
    }

    /// Adds a key by its hash.
    pub async fn add_key(
        &self,
        name: String,
        hash: String,
        scope: Scope,
        at: UnixMillis,
    ) -> Result<ApiKey, DbError> {
        self.read(move |conn| add_key(conn, &name, &hash, scope, at)).await
    }

    /// Keys, newest first, those before `before` if given; revoked ones too.
    pub async fn api_keys(&self, before: Option<i64>, limit: u32) -> Result<Vec<ApiKey>, DbError> {
        self.read(move |conn| keys(conn, before, limit)).await
    }

    /// Revokes a key for good; false if there is none that could be.
    pub async fn revoke_key(&self, id: i64, at: UnixMillis) -> Result<bool, DbError> {
        self.read(move |conn| revoke_key(conn, id, at)).await
    }

    /// The key with a hash, unless it was revoked. Its use is remembered, at most once a minute.
    pub async fn key_by_hash(&self, hash: String, now: UnixMillis) -> Result<Option<ApiKey>, DbError> {
        self.read(move |conn| key_by_hash(conn, &hash, now)).await
    }

    /// Adds a user; none if the name is taken.
    pub async fn add_user(
        &self,
        name: String,
        hash: String,
        role: Role,
        one_time: bool,
        at: UnixMillis,
    ) -> Result<Option<User>, DbError> {
        self.read(move |conn| add_user(conn, &name, &hash, role, one_time, at)).await
    }

    /// Users by id, those after `after` if given.
    pub async fn users(&self, after: Option<i64>, limit: u32) -> Result<Vec<User>, DbError> {
        self.read(move |conn| list_users(conn, after, limit)).await
    }

    /// The user of a name, with what a sign-in needs.
    pub async fn user_by_name(&self, name: String) -> Result<Option<Credentials>, DbError> {
        self.read(move |conn| user_by_name(conn, &name)).await
    }

    /// Changes a user. Another password and being disabled sign them out everywhere.
    pub async fn change_user(&self, id: i64, change: UserChange) -> Result<UserChanged, DbError> {
        self.read(move |conn| change_user(conn, id, &change)).await
    }

    /// Stores a sign-in.
    pub async fn add_sign_in(&self, new: NewSignIn) -> Result<(), DbError> {
        self.read(move |conn| add_sign_in(conn, &new)).await
    }

    /// Who signed in with a cookie's hash, if that still holds. Its use moves its end to `expires`, at most once a
    /// minute.
    pub async fn signed_in(
        &self,
        hash: String,
        now: UnixMillis,
        expires: UnixMillis,
    ) -> Result<Option<SignedIn>, DbError> {
        self.read(move |conn| signed_in(conn, &hash, now, expires)).await
    }

    /// Ends a sign-in; says whose it was, if it was there.
    pub async fn sign_out(&self, hash: String) -> Result<Option<User>, DbError> {
        self.read(move |conn| sign_out(conn, &hash)).await
    }

    /// Whether what somebody was recognised by still holds. That it is asked is no use of it.
    pub async fn credential_holds(&self, credential: Credential, now: UnixMillis) -> Result<bool, DbError> {
        self.read(move |conn| credential_holds(conn, &credential, now)).await
    }

    /// The staff's audit trail, newest first, rows before `before` if given.
    pub async fn staff_actions(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StoredStaffAction>, DbError> {
        self.read(move |conn| staff_actions_before(conn, before, limit)).await
    }
}
