//! `frontdesk keys` and `frontdesk users`: who may use the API and the dashboard, decided at the server's own machine.

use super::data::config;
use super::environment::Inputs;
use super::{KeysCommand, UsersCommand};
use crate::api::secret::{fingerprint, hash_password, new_key, new_password, user_name};
use crate::db::access::{
    UserChange, UserChanged, add_key, add_staff_action, add_user, change_user, keys, list_users, revoke_key,
    user_by_name,
};
use crate::db::{AnyConnection, open_connection};
use crate::domain::staff::{ONE_TIME_PASSWORD, StaffAction, Who, WhoKind};
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret as _, SecretString};
use std::io::{self, Write};
use std::process::ExitCode;

/// Rows read at once.
const PAGE: u32 = 500;

/// Keys of programs.
pub fn keys_command(inputs: &Inputs, command: &KeysCommand) -> anyhow::Result<ExitCode> {
    let mut conn = open(inputs)?;
    on_keys(&mut conn, command, unix_now(), &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Users of the dashboard.
pub fn users_command(inputs: &Inputs, command: &UsersCommand) -> anyhow::Result<ExitCode> {
    let mut conn = open(inputs)?;
    on_users(&mut conn, command, unix_now(), &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn open(inputs: &Inputs) -> anyhow::Result<AnyConnection> {
    open_connection(&config(inputs)?.database).context("the database cannot be opened")
}

fn on_keys(
    conn: &mut AnyConnection,
    command: &KeysCommand,
    now: UnixMillis,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        KeysCommand::Create(wanted) => {
            let name = wanted.name.trim();
            if name.is_empty() || name.chars().count() > 100 {
                bail!("a key's name has 1 to 100 characters");
            }
            let key = new_key();
            let stored = add_key(conn, name, &fingerprint(key.expose_secret()), wanted.scope, now)?;
            log(conn, "key.create", format!("key {}", stored.id), now)?;
            writeln!(out, "{}", key.expose_secret())?;
            eprintln!(
                "Key {} ({}, {}). It is shown this once.",
                stored.id,
                stored.name,
                stored.scope.as_str()
            );
        }
        KeysCommand::List => {
            let mut before = None;
            loop {
                let page = keys(conn, before, PAGE)?;
                for key in &page {
                    let used =
                        key.last_used_at.map_or("never used".to_owned(), |at| format!("used {}", day(at)));
                    let state = match key.revoked_at {
                        Some(at) => format!("revoked {}", day(at)),
                        None => used,
                    };
                    writeln!(
                        out,
                        "{}\t{}\t{}\tmade {}\t{state}",
                        key.id,
                        key.scope.as_str(),
                        key.name,
                        day(key.created_at)
                    )?;
                }
                match page.last() {
                    Some(last) if page.len() == PAGE as usize => before = Some(last.id),
                    _ => break,
                }
            }
        }
        KeysCommand::Revoke(which) => {
            if !revoke_key(conn, which.id, now)? {
                bail!("there is no key {} that could be revoked", which.id);
            }
            log(conn, "key.revoke", format!("key {}", which.id), now)?;
            writeln!(out, "Key {} is revoked.", which.id)?;
        }
    }
    Ok(())
}

fn on_users(
    conn: &mut AnyConnection,
    command: &UsersCommand,
    now: UnixMillis,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match command {
        UsersCommand::Create(wanted) => {
            let name = user_name(&wanted.name).context("a name has 1 to 64 letters, digits or ._-@+")?;
            let (password, hash) = one_time_password()?;
            let Some(user) = add_user(conn, &name, &hash, wanted.role, true, now)? else {
                bail!("a user {name} is there already");
            };
            log(conn, "user.create", format!("user {}", user.id), now)?;
            writeln!(out, "{}", password.expose_secret())?;
            eprintln!(
                "User {name} ({}) signs in with this password within seven days and then chooses another.",
                user.role.as_str()
            );
        }
        UsersCommand::List => {
            let mut after = None;
            loop {
                let page = list_users(conn, after, PAGE)?;
                for user in &page {
                    let state = if user.disabled { "\tdisabled" } else { "" };
                    writeln!(
                        out,
                        "{}\t{}\t{}\tmade {}{state}",
                        user.id,
                        user.name,
                        user.role.as_str(),
                        day(user.created_at)
                    )?;
                }
                match page.last() {
                    Some(last) if page.len() == PAGE as usize => after = Some(last.id),
                    _ => break,
                }
            }
        }
        UsersCommand::Password(which) => {
            let (password, hash) = one_time_password()?;
            let change = UserChange {
                password: Some((hash, Some(now.after(ONE_TIME_PASSWORD)))),
                ..UserChange::default()
            };
            change_named(conn, &which.name, &change, "user.password", now)?;
            writeln!(out, "{}", password.expose_secret())?;
            eprintln!(
                "{} signs in with this password within seven days and then chooses another.",
                which.name
            );
        }
        UsersCommand::Disable(which) => {
            let change = UserChange { disabled: Some(true), ..UserChange::default() };
            change_named(conn, &which.name, &change, "user.disable", now)?;
            writeln!(out, "{} is signed out and may not sign in any more.", which.name)?;
        }
    }
    Ok(())
}

fn change_named(
    conn: &mut AnyConnection,
    name: &str,
    change: &UserChange,
    action: &'static str,
    now: UnixMillis,
) -> anyhow::Result<()> {
    let found = match user_name(name) {
        Some(name) => user_by_name(conn, &name)?,
        None => None,
    };
    let id = found.with_context(|| format!("there is no user {name}"))?.user.id;
    match change_user(conn, id, change)? {
        UserChanged::Done(_) => log(conn, action, format!("user {id}"), now),
        UserChanged::Unknown => bail!("there is no user {name}"),
        UserChanged::LastAdmin => bail!("{name} is the last who may administer: make another admin first"),
    }
}

fn one_time_password() -> anyhow::Result<(SecretString, String)> {
    let password = new_password();
    let hash = hash_password(&password).context("the password cannot be hashed")?;
    Ok((password, hash))
}

fn log(
    conn: &mut AnyConnection,
    action: &'static str,
    target: String,
    now: UnixMillis,
) -> anyhow::Result<()> {
    let who = Who { kind: WhoKind::Command, id: 0, name: "frontdesk".to_owned() };
    let action = StaffAction { who, action, target, detail: serde_json::json!({}) };
    Ok(add_staff_action(conn, &action, now)?)
}

/// A day in UTC.
fn day(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{KeyId, NewKeyArgs, NewUserArgs, UserName};
    use crate::config::database::DatabaseConfig;
    use crate::domain::staff::{Role, Scope};

    struct Place(std::path::PathBuf);

    impl Place {
        fn new() -> (Self, AnyConnection) {
            let folder = std::env::temp_dir().join(format!("frontdesk-cli-{:032x}", rand::random::<u128>()));
            let url = format!("sqlite://{}/f.db", folder.display());
            let conn = open_connection(&DatabaseConfig { url, ..DatabaseConfig::default() }).unwrap();
            (Self(folder), conn)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const NOW: UnixMillis = UnixMillis(1_760_000_000_000);

    fn said(mut run: impl FnMut(&mut dyn Write) -> anyhow::Result<()>) -> Result<String, String> {
        let mut out = Vec::new();
        run(&mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_key_is_made_shown_once_listed_and_revoked() {
        let (_place, mut conn) = Place::new();
        let create = KeysCommand::Create(NewKeyArgs { scope: Scope::Call, name: "till".into() });
        let key = said(|out| on_keys(&mut conn, &create, NOW, out)).unwrap();
        assert!(key.starts_with("fd_"), "{key}");
        let list = said(|out| on_keys(&mut conn, &KeysCommand::List, NOW, out)).unwrap();
        assert_eq!(list, "1\tcall\ttill\tmade 2025-10-09\tnever used\n");
        let revoke = KeysCommand::Revoke(KeyId { id: 1 });
        said(|out| on_keys(&mut conn, &revoke, NOW, out)).unwrap();
        assert!(said(|out| on_keys(&mut conn, &revoke, NOW, out)).is_err());
        let list = said(|out| on_keys(&mut conn, &KeysCommand::List, NOW, out)).unwrap();
        assert!(list.contains("revoked 2025-10-09") && !list.contains(key.trim()), "{list}");
    }

    #[test]
    fn users_are_made_disabled_and_given_passwords_but_one_admin_stays() {
        let (_place, mut conn) = Place::new();
        let create = |name: &str, role| UsersCommand::Create(NewUserArgs { name: name.into(), role });
        let password = said(|out| on_users(&mut conn, &create("Maria", Role::Admin), NOW, out)).unwrap();
        assert_eq!(password.trim().len(), 20);
        assert!(said(|out| on_users(&mut conn, &create("maria", Role::Viewer), NOW, out)).is_err());
        said(|out| on_users(&mut conn, &create("sam", Role::Staff), NOW, out)).unwrap();
        let disable = |name: &str| UsersCommand::Disable(UserName { name: name.into() });
        let refused = said(|out| on_users(&mut conn, &disable("maria"), NOW, out)).unwrap_err();
        assert!(refused.contains("last"), "{refused}");
        said(|out| on_users(&mut conn, &disable("SAM"), NOW, out)).unwrap();
        assert!(said(|out| on_users(&mut conn, &disable("nobody"), NOW, out)).is_err());
        let again = UsersCommand::Password(UserName { name: "maria".into() });
        assert_ne!(said(|out| on_users(&mut conn, &again, NOW, out)).unwrap(), password);
        let list = said(|out| on_users(&mut conn, &UsersCommand::List, NOW, out)).unwrap();
        assert_eq!(list, "1\tmaria\tadmin\tmade 2025-10-09\n2\tsam\tstaff\tmade 2025-10-09\tdisabled\n");
    }
}
