//! What staff may change while the server runs: the profile and some settings. A call keeps what it began with.
//!
//! One owner for the whole process; each worker's thread looks at it when a request comes, and makes its services
//! anew if something has changed.

use crate::config::Config;
use crate::config::load::Problem;
use crate::config::overlay::{self, Changes};
use crate::config::profile::{self, ProfileProblem};
use crate::config::validate::profile_against;
use crate::db::{DbError, DbHandle};
use crate::domain::profile::BusinessProfile;
use std::sync::Arc;
use tokio::sync::watch;

/// The name under which the profile is stored.
pub const PROFILE: &str = "profile";
/// The name under which changed settings are stored.
pub const SETTINGS: &str = "settings";

/// What holds now.
#[derive(Debug)]
pub struct Current {
    /// The configuration.
    pub config: Config,
    /// The business.
    pub profile: Arc<BusinessProfile>,
    /// What staff have changed of the configuration.
    pub changes: Changes,
    /// The version of the stored profile; 0 while it is the configured one.
    pub profile_version: i64,
    /// The version of the stored settings; 0 while nothing was ever changed.
    pub settings_version: i64,
}

/// What staff may change.
#[derive(Clone)]
pub struct Live {
    configured: Arc<Config>,
    sender: Arc<watch::Sender<Arc<Current>>>,
}

impl Live {
    /// As configured.
    pub fn new(config: Config, profile: Arc<BusinessProfile>) -> Self {
        let configured = Arc::new(config.clone());
        let current =
            Current { config, profile, changes: Changes::new(), profile_version: 0, settings_version: 0 };
        Self { configured, sender: Arc::new(watch::Sender::new(Arc::new(current))) }
    }

    /// What holds now.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.sender.borrow())
    }

    /// What file and environment say.
    pub fn configured(&self) -> &Config {
        &self.configured
    }

    /// Tells of changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Current>> {
        self.sender.subscribe()
    }

    /// Reads a profile and checks it against the configuration.
    pub fn read_profile(&self, text: &str) -> Result<BusinessProfile, Vec<ProfileProblem>> {
        let profile = profile::parse(text)?;
        let problems = profile_against(&self.configured, &profile);
        if problems.is_empty() { Ok(profile) } else { Err(problems) }
    }

    /// From now on this profile holds, unless a newer one does already.
    pub fn set_profile(&self, profile: BusinessProfile, version: i64) {
        self.sender.send_if_modified(|current| {
            if current.profile_version >= version {
                return false;
            }
            *current = Arc::new(Current {
                config: current.config.clone(),
                profile: Arc::new(profile),
                changes: current.changes.clone(),
                profile_version: version,
                settings_version: current.settings_version,
            });
            true
        });
    }

    /// The configuration with these changes.
    pub fn read_changes(&self, changes: &Changes) -> Result<Config, Vec<Problem>> {
        overlay::apply(&self.configured, changes)
    }

    /// From now on these changes hold, unless newer ones do already.
    pub fn set_changes(&self, config: Config, changes: Changes, version: i64) {
        self.sender.send_if_modified(|current| {
            if current.settings_version >= version {
                return false;
            }
            *current = Arc::new(Current {
                config,
                profile: Arc::clone(&current.profile),
                changes,
                profile_version: current.profile_version,
                settings_version: version,
            });
            true
        });
    }

    /// Takes over what is stored, if it is newer. What cannot hold any more is left out and logged.
    pub async fn load(&self, db: &DbHandle) -> Result<(), DbError> {
        let known = self.current();
        if let Some(stored) = db.setting(PROFILE).await?
            && stored.version > known.profile_version
        {
            match self.read_profile(&stored.value.to_string()) {
                Ok(profile) => self.set_profile(profile, stored.version),
                Err(problems) => {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    tracing::error!(?problems, "the stored profile cannot be used; the configured one holds");
                }
            }
        }
        if let Some(stored) = db.setting(SETTINGS).await?
            && stored.version > known.settings_version
        {
            let mut changes = Changes::new();
            for (path, value) in serde_json::from_value::<Changes>(stored.value)? {
                let mut tried = changes.clone();
                tried.insert(path.clone(), value);
                match self.read_changes(&tried) {
                    Ok(_) => changes = tried,
                    Err(problems) => tracing::error!(%path, ?problems, "a stored setting cannot be used"),
                }
            }
            if let Ok(config) = self.read_changes(&changes) {
                self.set_changes(config, changes, stored.version);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::TestDb;
    use crate::domain::time::UnixMillis;
    use serde_json::json;

    fn live() -> Live {
        Live::new(Config::default(), Arc::new(profile::parse(profile::BARBERSHOP).unwrap()))
    }

    #[test]
    fn an_older_version_changes_nothing() {
        let live = live();
        let mut watcher = live.watch();
        watcher.mark_unchanged();
        let named =
            |name: &str| BusinessProfile { name: name.into(), ..live.current().profile.as_ref().clone() };
        live.set_profile(named("Second"), 2);
        assert!(watcher.has_changed().unwrap());
        watcher.mark_unchanged();
        live.set_profile(named("First"), 1);
        assert!(!watcher.has_changed().unwrap());
        assert_eq!(live.current().profile.name, "Second");
    }

    #[actix::test]
    async fn what_is_stored_holds_over_what_is_configured_as_far_as_it_can() {
        for test in TestDb::each() {
            let db = test.open();
            let live = live();
            live.load(&db).await.unwrap();
            assert_eq!(live.current().settings_version, 0);
            let put = |name, value| db.put_setting(name, value, None, "ann".into(), UnixMillis(1));
            let stored = json!({ "call.filler_ms": 800, "call.nothing": 1, "call.idle_prompts": 3 });
            put(SETTINGS, stored).await.unwrap();
            put(PROFILE, json!({ "name": "no profile" })).await.unwrap();
            live.load(&db).await.unwrap();
            let current = live.current();
            assert_eq!((current.config.call.filler_ms, current.config.call.idle_prompts), (800, 3));
            assert_eq!((current.changes.len(), current.settings_version), (2, 1));
            assert_eq!(
                (current.profile.name.as_str(), current.profile_version),
                ("Corner Cut Barbershop", 0)
            );
            let mut changed = profile::to_json(&current.profile);
            changed["name"] = json!("Corner Cut Two");
            put(PROFILE, changed).await.unwrap();
            live.load(&db).await.unwrap();
            assert_eq!(live.current().profile.name, "Corner Cut Two");
            db.shutdown().await;
        }
    }
}
