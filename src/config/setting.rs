//! What a setting is: one line of a section says its name, type, default, variable, limits and meaning.
//!
//! The `settings!` macro turns such lines into the section's struct, its `Default`, a `Debug` without secrets, and the
//! table that loading, `check-config` and the README are made of. So none of them can disagree with another.

mod value;

use super::Config;
use super::call::CallConfig;
use super::cluster::ClusterConfig;
use super::database::DatabaseConfig;
use super::jobs::JobsConfig;
use super::limits::LimitsConfig;
use super::llm::{HostConfig, LlmConfig};
use super::observe::ObserveConfig;
use super::outbound::OutboundConfig;
use super::prices::PricesConfig;
use super::recording::RecordingConfig;
use super::retention::RetentionConfig;
use super::server::ServerConfig;
use super::stt::SttConfig;
use super::tts::TtsConfig;
use super::twilio::TwilioConfig;
use secrecy::SecretString;
use std::fmt;

pub(super) use value::words;
pub use value::{Kind, Value};

/// One line of a section.
pub struct Field<S> {
    /// Its name in the struct and in the file.
    pub name: &'static str,
    /// Its variable, if that is not made of section and name.
    pub env: Option<&'static str>,
    /// How it is written.
    pub kind: Kind,
    /// What is expected, for the message about something else.
    pub expected: &'static str,
    /// What it means, line by line.
    pub meaning: &'static [&'static str],
    /// Sets it from a variable's text; `false` if the text cannot be read.
    pub set_text: fn(&mut S, &str) -> bool,
    /// Sets it from a value of the file; `false` if that cannot be read.
    pub set_toml: fn(&mut S, &toml::Value) -> bool,
    /// Shows it, masked.
    pub show: fn(&S) -> String,
    /// The secret in it.
    pub secret: fn(&S) -> Option<&SecretString>,
    /// What was expected, if the value is none that can hold.
    pub check: fn(&S) -> Result<(), String>,
}

/// A section of the configuration.
pub trait Section: Sized + 'static {
    /// Its settings.
    const FIELDS: &'static [Field<Self>];
}

/// Makes a section of its lines: `name: type = default, env "VARIABLE", check rule;`.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $meaning:literal])+
                $field:ident: $type:ty = $default:expr $(, env $env:literal)? $(, check $check:expr)?;
            )*
        }
        $(nested {
            $(
                $(#[doc = $nested_meaning:literal])+
                $nested:ident: $nested_type:ty = $nested_default:expr;
            )*
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone)]
        pub struct $name {
            $(
                $(#[doc = $meaning])+
                $(#[doc = concat!("\n\nVariable: `", $env, "`.")])?
                pub $field: $type,
            )*
            $($(
                $(#[doc = $nested_meaning])+
                pub $nested: $nested_type,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* $($($nested: $nested_default,)*)? }
            }
        }

        /// Secrets and the passwords in addresses are masked.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut out = f.debug_struct(stringify!($name));
                $(out.field(
                    stringify!($field),
                    &format_args!("{}", $crate::config::setting::Value::show(&self.$field)),
                );)*
                $($(out.field(stringify!($nested), &self.$nested);)*)?
                out.finish()
            }
        }

        impl $crate::config::setting::Section for $name {
            const FIELDS: &'static [$crate::config::setting::Field<Self>] = &[$(
                $crate::config::setting::Field {
                    name: stringify!($field),
                    env: $crate::config::setting::first(&[$($env)?]),
                    kind: <$type as $crate::config::setting::Value>::KIND,
                    expected: <$type as $crate::config::setting::Value>::EXPECTED,
                    meaning: &[$($meaning),+],
                    set_text: |section, text| {
                        let value = <$type as $crate::config::setting::Value>::parse(text);
                        value.map(|value| section.$field = value).is_some()
                    },
                    set_toml: |section, value| {
                        let value = <$type as $crate::config::setting::Value>::from_toml(value);
                        value.map(|value| section.$field = value).is_some()
                    },
                    show: |section| $crate::config::setting::Value::show(&section.$field),
                    secret: |section| $crate::config::setting::Value::secret(&section.$field),
                    check: |_section| {
                        $($check(&_section.$field)?;)?
                        Ok(())
                    },
                }
            ),*];
        }
    };
}
pub(super) use settings;

/// The only item, if there is one.
pub(super) const fn first(items: &[&'static str]) -> Option<&'static str> {
    items.first().copied()
}

/// A setting at its place in the configuration.
pub trait Setting {
    /// Its section and name, as in the file: `call.filler_ms`.
    fn path(&self) -> String;
    /// Its variable: `PORT`, `FRONTDESK_CALL_FILLER_MS`.
    fn variable(&self) -> String;
    /// How it is written.
    fn kind(&self) -> Kind;
    /// What is expected, for the message about something else.
    fn expected(&self) -> &'static str;
    /// What it means, in one line.
    fn meaning(&self) -> String;
    /// Sets it from a variable's text; `false` if the text cannot be read.
    fn set_text(&self, config: &mut Config, text: &str) -> bool;
    /// Sets it from a value of the file; `false` if that cannot be read.
    fn set_toml(&self, config: &mut Config, value: &toml::Value) -> bool;
    /// Shows it, masked; `None` if its section is not there.
    fn show(&self, config: &Config) -> Option<String>;
    /// The secret in it.
    fn secret<'c>(&self, config: &'c Config) -> Option<&'c SecretString>;
    /// What was expected, if the value is none that can hold.
    fn check(&self, config: &Config) -> Result<(), String>;
}

impl fmt::Debug for dyn Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// A field, and where its section lies.
struct Bound<S: 'static> {
    section: &'static str,
    env: Option<&'static str>,
    field: &'static Field<S>,
    get: fn(&Config) -> Option<&S>,
    get_mut: fn(&mut Config) -> &mut S,
}

impl<S: 'static> Setting for Bound<S> {
    fn path(&self) -> String {
        format!("{}.{}", self.section, self.field.name)
    }

    fn variable(&self) -> String {
        match self.env {
            Some(name) => name.to_owned(),
            None => general_variable(&self.path()),
        }
    }

    fn kind(&self) -> Kind {
        self.field.kind
    }

    fn expected(&self) -> &'static str {
        self.field.expected
    }

    fn meaning(&self) -> String {
        self.field.meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    fn set_text(&self, config: &mut Config, text: &str) -> bool {
        (self.field.set_text)((self.get_mut)(config), text)
    }

    fn set_toml(&self, config: &mut Config, value: &toml::Value) -> bool {
        (self.field.set_toml)((self.get_mut)(config), value)
    }

    fn show(&self, config: &Config) -> Option<String> {
        (self.get)(config).map(self.field.show)
    }

    fn secret<'c>(&self, config: &'c Config) -> Option<&'c SecretString> {
        (self.get)(config).and_then(self.field.secret)
    }

    fn check(&self, config: &Config) -> Result<(), String> {
        (self.get)(config).map_or(Ok(()), self.field.check)
    }
}

/// The variable of a setting that has none of its own: `FRONTDESK_CALL_FILLER_MS` for `call.filler_ms`.
pub(super) fn general_variable(path: &str) -> String {
    format!("FRONTDESK_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// Names of the fallback's section, whose defaults are the primary's values.
pub(super) const FALLBACK: &str = "llm.fallback";

/// Every setting, in the order in which they are shown. The primary host comes before the fallback, which copies it.
pub fn all() -> Vec<Box<dyn Setting>> {
    let mut all: Vec<Box<dyn Setting>> = Vec::new();
    bind::<ServerConfig>(&mut all, "server", |c| Some(&c.server), |c| &mut c.server);
    bind::<DatabaseConfig>(&mut all, "database", |c| Some(&c.database), |c| &mut c.database);
    bind::<ClusterConfig>(&mut all, "cluster", |c| Some(&c.cluster), |c| &mut c.cluster);
    bind::<TwilioConfig>(&mut all, "twilio", |c| Some(&c.twilio), |c| &mut c.twilio);
    bind::<SttConfig>(&mut all, "stt", |c| Some(&c.stt), |c| &mut c.stt);
    bind::<TtsConfig>(&mut all, "tts", |c| Some(&c.tts), |c| &mut c.tts);
    bind::<HostConfig>(&mut all, "llm.primary", |c| Some(&c.llm.primary), |c| &mut c.llm.primary);
    bind::<HostConfig>(
        &mut all,
        FALLBACK,
        |c| c.llm.fallback.as_ref(),
        |c| {
            let primary = &c.llm.primary;
            c.llm.fallback.get_or_insert_with(|| primary.clone())
        },
    );
    bind::<LlmConfig>(&mut all, "llm", |c| Some(&c.llm), |c| &mut c.llm);
    bind::<CallConfig>(&mut all, "call", |c| Some(&c.call), |c| &mut c.call);
    bind::<OutboundConfig>(&mut all, "outbound", |c| Some(&c.outbound), |c| &mut c.outbound);
    bind::<LimitsConfig>(&mut all, "limits", |c| Some(&c.limits), |c| &mut c.limits);
    bind::<RecordingConfig>(&mut all, "recording", |c| Some(&c.recording), |c| &mut c.recording);
    bind::<JobsConfig>(&mut all, "jobs", |c| Some(&c.jobs), |c| &mut c.jobs);
    bind::<RetentionConfig>(&mut all, "retention", |c| Some(&c.retention), |c| &mut c.retention);
    bind::<PricesConfig>(&mut all, "prices", |c| Some(&c.prices), |c| &mut c.prices);
    bind::<ObserveConfig>(&mut all, "observe", |c| Some(&c.observe), |c| &mut c.observe);
    all
}

fn bind<S: Section>(
    all: &mut Vec<Box<dyn Setting>>,
    section: &'static str,
    get: fn(&Config) -> Option<&S>,
    get_mut: fn(&mut Config) -> &mut S,
) {
    for field in S::FIELDS {
        // The hosts share one type; the well-known variables are the first one's.
        let env = match (section, field.name) {
            ("llm.primary", "base_url") => Some("OPENAI_BASE_URL"),
            ("llm.primary", "api_key") => Some("OPENAI_API_KEY"),
            _ => field.env,
        };
        all.push(Box::new(Bound { section, env, field, get, get_mut }));
    }
}
