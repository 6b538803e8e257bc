//! The command line: what can be asked for. `main` is one `match` over `Command`.

pub mod access;
pub mod api_bench;
pub mod backup;
pub mod chat;
pub mod check_config;
pub mod cores;
pub mod data;
pub mod demo;
pub mod drill;
pub mod environment;
pub mod health;
pub mod load;
pub mod local;
pub mod own_server;
pub mod replicas;
pub mod serve;
pub mod simulate;
pub mod soak;
pub mod stack;

use crate::domain::staff::{Role, Scope};
use clap::{Args, Parser, Subcommand};
use replicas::scenarios::Scenario;
use std::path::PathBuf;

/// Answers a business's telephone.
#[derive(Debug, Parser)]
#[command(name = "frontdesk", version, about, after_help = CONFIGURATION)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const CONFIGURATION: &str = "Settings come from the environment, from a file .env in the current folder, and from a TOML \
file that FRONTDESK_CONFIG names, in this order. `frontdesk check-config` shows what is effective.\n\n\
Without any key, `frontdesk demo` shows the whole thing at work.";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Answer calls (the default)
    ///
    /// Needs the vendors' keys, the business's profile and an address that Twilio reaches; what is missing is named.
    Serve,
    /// Show it at work without any key
    ///
    /// Starts the server against simulated vendors on this machine, places a call in which an appointment is booked,
    /// and shows the call as it goes. Then the server stays up for more, until it is interrupted.
    Demo(DemoArgs),
    /// Run the simulator: the vendors, one call, or many
    #[command(subcommand)]
    Simulate(SimulateCommand),
    /// Talk to the receptionist by keyboard
    ///
    /// The conversation as on the telephone, in text, with the real language model if OPENAI_API_KEY is set, else with
    /// the simulated one.
    Chat(ChatArgs),
    /// Show the effective settings, and every mistake in them and in the profile
    ///
    /// Secrets are never shown. Ends with 1 if `serve` could not start.
    CheckConfig,
    /// Ask a server whether it lives
    ///
    /// The one of these settings on this machine, unless another is named. Ends with 1 if it does not.
    Health(HealthArgs),
    /// Bring the database to this version's shape
    Migrate,
    /// Copy the SQLite database while the server runs
    ///
    /// With it the secret and the waiting messages that lie beside it. PostgreSQL has pg_dump.
    Backup(BackupArgs),
    /// Fill an empty database with examples
    ///
    /// Without options a few, for a first look; with `--calls` very many, to try out how it behaves at that size.
    Seed(SeedArgs),
    /// Take over a prototype's database
    ///
    /// Copies customers, appointments and calls from the prototype's SQLite file. The file itself is never altered.
    Import(ImportArgs),
    /// Make, list or revoke keys of programs that use the API
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Make, list or change users of the dashboard
    #[command(subcommand)]
    Users(UsersCommand),
}

/// What to do with keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it, this once
    Create(NewKeyArgs),
    /// List the keys, without the keys themselves
    List,
    /// Revoke a key, for good
    Revoke(KeyId),
}

/// Options of `keys create`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NewKeyArgs {
    /// What it may do: read, call (change data, act on calls), admin (decide who may do what)
    #[arg(long, value_name = "SCOPE", value_parser = scope)]
    pub scope: Scope,
    /// What it is for
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

/// Which key.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// The key's number, as listed
    #[arg(value_name = "ID")]
    pub id: i64,
}

/// What to do with users.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum UsersCommand {
    /// Make a user and print a one-time password
    Create(NewUserArgs),
    /// List the users
    List,
    /// Give a user a new one-time password and sign them out
    Password(UserName),
    /// Sign a user out and let them in no more
    Disable(UserName),
}

/// Options of `users create`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct NewUserArgs {
    /// The name they sign in with
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What they may do: viewer, staff, admin
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub role: Role,
}

/// Which user.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    /// The name they sign in with
    #[arg(value_name = "NAME")]
    pub name: String,
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::from_word(text).ok_or_else(|| "one of read, call, admin".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_word(text).ok_or_else(|| "one of viewer, staff, admin".to_owned())
}

/// Options of `demo`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoArgs {
    /// End after the first call; 1 if it did not go as it should
    #[arg(long)]
    pub once: bool,
    /// Port to listen on; a free one if not given
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Another business than the barbershop
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
}

/// Options of `health`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthArgs {
    /// Another server, as https://desk.example.com
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Ask whether it can take calls, too
    #[arg(long)]
    pub ready: bool,
}

/// Options of `chat`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatArgs {
    /// Another business than the barbershop
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
}

/// Options of `seed`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedArgs {
    /// Sample calls there are to be
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub calls: u32,
    /// Sample customers there are to be
    #[arg(long, value_name = "M", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=900_000))]
    pub customers: u32,
}

/// Options of `backup`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct BackupArgs {
    /// The file to make; what belongs to it gets its name with another ending
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Options of `import`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ImportArgs {
    /// The prototype's file
    #[arg(value_name = "OLD.db")]
    pub file: PathBuf,
}

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum SimulateCommand {
    /// Run the simulated vendors until interrupted, and print the settings that point to them
    Vendors(VendorsArgs),
    /// Place one call from a script
    Call(CallArgs),
    /// Place many calls at once and report latencies
    Load(LoadArgs),
    /// Place very many short calls and see what is left of them
    ///
    /// Memory, open files, threads and actors after each tenth of the calls, and the database's rows in the end. Ends with
    /// 1 if something is left that should not be.
    Soak(SoakArgs),
    /// Let one call of many meet every fault there is
    Drill(DrillArgs),
    /// Restart, kill, freeze and cut off replicas while callers talk
    ///
    /// Starts everything that is needed: PostgreSQL, Redis, haproxy, the simulated vendors, the replicas, the callers.
    /// Ends with 1 if a call was lost, an answer came twice or not at all, or a caller was alone for too long.
    Replicas(ReplicasArgs),
    /// Ask everything of the API where there is very much to find, and report how long it takes
    ///
    /// On a database of its own that is filled first, or on the sample database that DATABASE_URL names (`frontdesk seed
    /// --calls N --customers N` makes one). Ends with 1 if 5 of 100 answers of a kind take longer than 50 ms.
    Api(ApiArgs),
}

/// Options of `simulate vendors`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct VendorsArgs {
    /// Port to listen on; a free one if not given
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Over TLS, with an authority made at the start
    #[arg(long)]
    pub tls: bool,
}

/// Options of `simulate call`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CallArgs {
    /// What the caller says and expects, in TOML
    #[arg(value_name = "SCRIPT")]
    pub script: PathBuf,
    /// A running server to call; one is started with simulated vendors if not given
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Options of `simulate load`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct LoadArgs {
    /// Calls at once; several numbers, as in 100,400,700, are tried one after the other and compared
    #[arg(long, value_name = "N,…", default_value = "100", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub calls: Vec<u32>,
    /// How long calls are placed once all have begun, in seconds
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// A running server to call; one is started with simulated vendors if not given
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// What each caller does, in TOML; three questions if not given
    #[arg(long, value_name = "SCRIPT")]
    pub script: Option<PathBuf>,
    /// The running server's process, to see what it uses
    #[arg(long, value_name = "PID", requires = "url")]
    pub pid: Option<u32>,
    /// The running server's simulated vendors, to see how they fared
    #[arg(long, value_name = "URL", requires = "url")]
    pub vendors_url: Option<String>,
    /// The server that is started reaches its vendors over TLS
    #[arg(long, conflicts_with = "url")]
    pub tls: bool,
    /// The server that is started records its calls
    #[arg(long, conflicts_with = "url")]
    pub record: bool,
    /// The server that is started has one core to itself, and callers and vendors have the others
    #[arg(long, conflicts_with = "url")]
    pub pin: bool,
    /// How the running server is reached, and how many more ring than it has places for
    #[command(flatten)]
    pub reach: load::Reach,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `simulate soak`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SoakArgs {
    /// Calls in all
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    pub total: u32,
    /// Calls at once
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub calls: u32,
    /// The server reaches its vendors over TLS
    #[arg(long)]
    pub tls: bool,
    /// The server records its calls
    #[arg(long)]
    pub record: bool,
}

/// Options of `simulate drill`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DrillArgs {
    /// Calls beside the one that meets the fault
    #[arg(long, value_name = "N", default_value_t = 99, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub calls: u32,
    /// Only the faults with this in their name; what is usual is measured first all the same
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Reach the vendors over TLS
    #[arg(long)]
    pub tls: bool,
}

/// Options of `simulate replicas`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ReplicasArgs {
    /// Calls at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub calls: u32,
    /// Replicas
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub replicas: u8,
    /// Only this; may be given several times
    #[arg(long, value_enum, value_name = "SCENARIO")]
    pub only: Vec<Scenario>,
    /// An empty PostgreSQL database; a server is started if not given
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// A Redis; one is started if not given
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
    /// The replicas' program; this one if not given
    #[arg(long, value_name = "PROGRAM")]
    pub program: Option<PathBuf>,
    /// The new version's program, for the restart with a new version; the replicas' if not given
    #[arg(long, value_name = "PROGRAM")]
    pub next: Option<PathBuf>,
    /// Where to keep what the programs have printed, if anything went wrong
    #[arg(long, value_name = "FOLDER")]
    pub logs: Option<PathBuf>,
}

/// Options of `simulate api`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ApiArgs {
    /// Sample calls there must be
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub calls: u32,
    /// Customers there must be
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    pub customers: u32,
    /// Requests of each kind
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub requests: u32,
    /// Instead, explain each query: 1 if one goes through a large table
    #[arg(long)]
    pub explain: bool,
}

/// Reads the command line; ends the process with a message if it is wrong or asks for help.
pub fn parse() -> Command {
    Cli::parse().command.unwrap_or(Command::Serve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn read(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("frontdesk").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.command.unwrap_or(Command::Serve))
    }

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_read_and_serve_is_the_default() {
        let load = LoadArgs {
            calls: vec![7, 70],
            seconds: 60,
            url: None,
            script: None,
            pid: None,
            vendors_url: None,
            tls: false,
            record: false,
            pin: true,
            reach: load::Reach::default(),
            json: false,
        };
        let soak = SoakArgs { total: 20_000, calls: 200, tls: false, record: true };
        let drill = DrillArgs { calls: 9, only: None, tls: true };
        let replicas = ReplicasArgs {
            calls: 9,
            replicas: 3,
            only: vec![Scenario::Rolling, Scenario::RedisCut],
            database_url: None,
            redis_url: None,
            program: None,
            next: None,
            logs: None,
        };
        let call = CallArgs { script: "a.toml".into(), url: Some("http://127.0.0.1:1".into()) };
        for (line, want) in [
            ("", Command::Serve),
            ("serve", Command::Serve),
            ("demo", Command::Demo(DemoArgs::default())),
            (
                "demo --once --port 4000",
                Command::Demo(DemoArgs { once: true, port: Some(4000), profile: None }),
            ),
            ("simulate vendors", Command::Simulate(SimulateCommand::Vendors(VendorsArgs::default()))),
            (
                "simulate vendors --tls",
                Command::Simulate(SimulateCommand::Vendors(VendorsArgs { port: 0, tls: true })),
            ),
            ("simulate drill --calls 9 --tls", Command::Simulate(SimulateCommand::Drill(drill))),
            (
                "simulate replicas --calls 9 --only rolling --only redis-cut",
                Command::Simulate(SimulateCommand::Replicas(replicas)),
            ),
            ("simulate call a.toml --url http://127.0.0.1:1", Command::Simulate(SimulateCommand::Call(call))),
            ("simulate soak --record", Command::Simulate(SimulateCommand::Soak(soak))),
            ("simulate load --calls 7,70 --pin", Command::Simulate(SimulateCommand::Load(load))),
            (
                "simulate api --explain",
                Command::Simulate(SimulateCommand::Api(ApiArgs {
                    calls: 100_000,
                    customers: 50_000,
                    requests: 40,
                    explain: true,
                })),
            ),
            ("chat --profile p.json", Command::Chat(ChatArgs { profile: Some("p.json".into()) })),
            ("check-config", Command::CheckConfig),
            ("migrate", Command::Migrate),
            ("seed", Command::Seed(SeedArgs::default())),
            ("seed --calls 9 --customers 4", Command::Seed(SeedArgs { calls: 9, customers: 4 })),
            ("import old.db", Command::Import(ImportArgs { file: "old.db".into() })),
            (
                "keys create --scope read --name till",
                Command::Keys(KeysCommand::Create(NewKeyArgs { scope: Scope::Read, name: "till".into() })),
            ),
            ("keys list", Command::Keys(KeysCommand::List)),
            ("keys revoke 3", Command::Keys(KeysCommand::Revoke(KeyId { id: 3 }))),
            (
                "users create maria --role admin",
                Command::Users(UsersCommand::Create(NewUserArgs { name: "maria".into(), role: Role::Admin })),
            ),
            ("users list", Command::Users(UsersCommand::List)),
            (
                "users password maria",
                Command::Users(UsersCommand::Password(UserName { name: "maria".into() })),
            ),
            ("users disable maria", Command::Users(UsersCommand::Disable(UserName { name: "maria".into() }))),
        ] {
            assert_eq!(read(line).unwrap(), want, "{line}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for line in [
            "keys create --scope all --name x",
            "users create x",
            "sing",
            "import",
            "simulate",
            "simulate call",
            "simulate load --calls 0",
            "simulate load --tls --url http://127.0.0.1:1",
            "demo --port 70000",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
