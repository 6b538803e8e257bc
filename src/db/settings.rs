//! What staff have set while the server ran: a JSON value by name, with a version that rises with each change.

use super::connect::{AnyConnection, DbUrl, connect, on_either, sqlite_uri, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::settings;
use crate::config::database::DatabaseConfig;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;
use serde_json::Value;

/// A value that was set.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSetting {
    /// The value.
    pub value: Value,
    /// From 1 on.
    pub version: i64,
    /// Who set it.
    pub updated_by: String,
    /// When.
    pub updated_at: UnixMillis,
}

impl DbHandle {
    /// What was set under a name.
    pub async fn setting(&self, name: &'static str) -> Result<Option<StoredSetting>, DbError> {
        self.read(move |conn| find(conn, name)).await
    }

    /// Sets a value. With `expected`, only if that is the version there is (0: none was ever set). Gives the new version;
    /// none if it is another one.
    pub async fn put_setting(
        &self,
        name: &'static str,
        value: Value,
        expected: Option<i64>,
        by: String,
        at: UnixMillis,
    ) -> Result<Option<i64>, DbError> {
        self.read(move |conn| {
            write_transaction(conn, |conn| {
                let text = serde_json::to_string(&value)?;
                let row = |version: i64| {
                    (
                        settings::value.eq(text.as_str()),
                        settings::version.eq(version),
                        settings::updated_by.eq(by.as_str()),
                        settings::updated_ms.eq(at.0),
                    )
                };
                let mut current = current_version(conn, name)?;
                if current.is_none() && expected.is_none_or(|expected| expected == 0) {
                    let first = diesel::insert_into(settings::table)
                        .values((settings::name.eq(name), row(1)))
                        .on_conflict(settings::name)
                        .do_nothing();
                    if on_either!(conn, c => first.execute(c))? > 0 {
                        return Ok(Some(1));
                    }
                    // Somebody else was first.
                    current = current_version(conn, name)?;
                }
                if expected.is_some_and(|expected| expected != current.unwrap_or(0)) {
                    return Ok(None);
                }
                let version = current.unwrap_or(0).saturating_add(1);
                diesel::update(settings::table.find(name)).set(row(version)).execute(conn)?;
                Ok(Some(version))
            })
        })
        .await
    }
}

/// The version there is, kept from changing until the transaction ends: SQLite has one writer, PostgreSQL locks the
/// row; of two first writes the second waits at the primary key.
fn current_version(conn: &mut AnyConnection, name: &str) -> Result<Option<i64>, DbError> {
    let row = settings::table.find(name).select(settings::version);
    let version = match conn {
        AnyConnection::Sqlite(c) => row.first(c).optional()?,
        AnyConnection::Postgres(c) => row.for_update().first(c).optional()?,
    };
    Ok(version)
}

fn find(conn: &mut AnyConnection, name: &str) -> Result<Option<StoredSetting>, DbError> {
    type Row = (String, i64, String, i64);
    let row: Option<Row> = settings::table
        .find(name)
        .select((settings::value, settings::version, settings::updated_by, settings::updated_ms))
        .first(conn)
        .optional()?;
    row.map(|(value, version, updated_by, updated_ms)| {
        Ok(StoredSetting {
            value: serde_json::from_str(&value)?,
            version,
            updated_by,
            updated_at: UnixMillis(updated_ms),
        })
    })
    .transpose()
}

/// What is stored under these names, for a look from outside: no database and no table is made, and none is migrated. None
/// where there is none. Blocks.
pub fn stored_settings<const N: usize>(
    config: &DatabaseConfig,
    names: [&str; N],
) -> Result<[Option<StoredSetting>; N], DbError> {
    let url = DbUrl::parse(&config.url)?;
    let mut conn = match &url {
        DbUrl::Sqlite(path) if !path.exists() => return Ok([const { None }; N]),
        // Even asking for WAL would change the file.
        DbUrl::Sqlite(path) => AnyConnection::Sqlite(SqliteConnection::establish(&sqlite_uri(path, "ro"))?),
        DbUrl::Postgres(_) => connect(&url)?,
    };
    let there = match &mut conn {
        AnyConnection::Sqlite(c) => diesel::sql_query(
            "SELECT count(*) AS n FROM sqlite_master WHERE type = 'table' AND name = 'settings'",
        )
        .get_result::<Count>(c)?,
        AnyConnection::Postgres(c) => {
            diesel::sql_query("SELECT CAST(to_regclass('settings') IS NOT NULL AS INTEGER)::BIGINT AS n")
                .get_result::<Count>(c)?
        }
    };
    let mut found = [const { None }; N];
    if there.n > 0 {
        for (place, name) in found.iter_mut().zip(names) {
            *place = find(&mut conn, name)?;
        }
    }
    Ok(found)
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[cfg(test)]
mod tests {
    use super::stored_settings;
    use crate::db::tests::TestDb;
    use crate::domain::time::UnixMillis;
    use serde_json::json;

    #[actix::test]
    async fn what_is_stored_is_seen_from_outside_and_nothing_is_made_for_it() {
        for test in TestDb::each() {
            let look = || stored_settings(&test.config, ["settings", "profile"]).unwrap();
            assert_eq!(look(), [None, None]);
            if let Some(path) = test.config.sqlite_path() {
                assert!(!std::path::Path::new(path).exists());
            }
            let db = test.open();
            assert_eq!(look(), [None, None]);
            let value = json!({ "call.filler_ms": 900 });
            db.put_setting("settings", value.clone(), None, "ann".into(), UnixMillis(7)).await.unwrap();
            let [settings, profile] = look();
            assert_eq!(settings.map(|stored| (stored.value, stored.updated_by)), Some((value, "ann".into())));
            assert_eq!(profile, None);
            db.shutdown().await;
        }
    }

    #[actix::test]
    async fn a_value_is_changed_only_by_who_has_seen_the_last_one() {
        for test in TestDb::each() {
            let db = test.open();
            assert_eq!(db.setting("profile").await.unwrap(), None);
            let put = |value: i64, expected| {
                db.put_setting("profile", json!({ "a": value }), expected, "ann".into(), UnixMillis(value))
            };
            assert_eq!(put(1, Some(1)).await.unwrap(), None, "there is none yet");
            assert_eq!(put(1, Some(0)).await.unwrap(), Some(1));
            assert_eq!(put(2, Some(0)).await.unwrap(), None);
            assert_eq!(put(2, Some(1)).await.unwrap(), Some(2));
            assert_eq!(put(3, None).await.unwrap(), Some(3));
            let stored = db.setting("profile").await.unwrap().unwrap();
            assert_eq!((stored.value, stored.version), (json!({ "a": 3 }), 3));
            assert_eq!((stored.updated_by.as_str(), stored.updated_at), ("ann", UnixMillis(3)));
            assert_eq!(db.setting("config").await.unwrap(), None);
            db.shutdown().await;
        }
    }
}
