//! `frontdesk simulate load`: many calls at once, for one number of calls or for several, one after the other.

use super::LoadArgs;
use super::cores::Split;
use super::own_server::{OwnServer, OwnServerConfig};
use super::simulate::{running, script};
use crate::sim::caller::CallConfig;
use crate::sim::load::curve::Curve;
use crate::sim::load::over::Over;
use crate::sim::load::report::LoadReport;
use crate::sim::load::{LoadConfig, run_load};
use crate::sim::script::Script;
use anyhow::Context as _;
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;

/// Time between the beginnings of two calls.
const BETWEEN: Duration = Duration::from_millis(25);
/// Shortest time over which all calls begin.
const RAMP: Duration = Duration::from_secs(2);

/// How long a server may keep a place after its caller has hung up, and some: until the recogniser has told the last words.
const LEFT: Duration = Duration::from_millis(2_500);
/// The word for a server that takes no status callbacks.
const NO_STATUS: &str = "none";

/// How a running server is reached, where it is not this one, and how many more ring there than it has places for.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Path of the running server's voice webhook; /voice/incoming if not given. Requests are signed with TWILIO_AUTH_TOKEN
    #[arg(long, value_name = "PATH", requires = "url", value_parser = path)]
    pub voice_path: Option<String>,
    /// Path of its status callback, or "none"; /voice/status if not given
    #[arg(long, value_name = "PATH", requires = "url", value_parser = path_or_none)]
    pub status_path: Option<String>,
    /// Its stream (ws://… or wss://…), opened without any webhook: for a server that speaks Media Streams and nothing else
    #[arg(long, value_name = "URL", requires = "url", conflicts_with = "voice_path", value_parser = stream_url)]
    pub stream_url: Option<String>,
    /// So many percent more callers than --calls, at a running server that has places for --calls only
    ///
    /// Start it with FRONTDESK_SERVER_MAX_CALLS at that number. The calls are placed without the others first. Ends with 1 if
    /// nobody was turned away, anybody without a word, or those who are in were answered later than without the others.
    #[arg(long, value_name = "PERCENT", requires = "url", conflicts_with = "stream_url", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub over: Option<u32>,
}

impl Reach {
    /// The same call by these ways.
    fn apply(&self, mut call: CallConfig) -> CallConfig {
        if let Some(path) = &self.voice_path {
            call.voice_path.clone_from(path);
        }
        if let Some(url) = &self.stream_url {
            call.stream_url = Some(url.clone());
            // Whoever sends no webhooks sends no status either, unless told to.
            call.status_path = None;
        }
        match self.status_path.as_deref() {
            None => {}
            Some(NO_STATUS) => call.status_path = None,
            Some(path) => call.status_path = Some(path.to_owned()),
        }
        call
    }

    /// For so many calls, the callers for whom there is no place: first none.
    fn overs(&self, calls: u32) -> Vec<u32> {
        let more = self.over.map(|percent| {
            let more = u64::from(calls).saturating_mul(u64::from(percent)).div_ceil(100);
            u32::try_from(more).unwrap_or(u32::MAX)
        });
        std::iter::once(0).chain(more).collect()
    }
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path begins with /".to_owned()) }
}

fn path_or_none(text: &str) -> Result<String, String> {
    if text == NO_STATUS { Ok(text.to_owned()) } else { path(text) }
}

fn stream_url(text: &str) -> Result<String, String> {
    let is_stream = text.starts_with("ws://") || text.starts_with("wss://");
    if is_stream {
        Ok(text.to_owned())
    } else {
        Err("a stream's address begins with ws:// or wss://".to_owned())
    }
}

/// Places many calls and prints what they met with.
pub fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let script = match &args.script {
        Some(path) => script(path)?,
        None => Script::embedded("load").context("the built-in script is missing")?,
    };
    let split = args.pin.then(Split::new).transpose()?;
    let mut reports = Vec::new();
    let sizes = args
        .calls
        .iter()
        .flat_map(|&calls| args.reach.overs(calls).into_iter().map(move |over| (calls, over)));
    for (calls, over) in sizes {
        let report = at_once(args, (calls, over), split.clone(), &script)?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            println!("{report}");
        }
        reports.push(report);
    }
    let mut passed = reports.iter().all(LoadReport::passed);
    if args.reach.over.is_some() {
        for pair in reports.chunks(2) {
            let [alone, over] = pair else { continue };
            let compared = Over::of(alone, over);
            passed &= compared.is_as_soon() && compared.is_as_much();
            if !args.json {
                println!("\n{compared}");
            }
        }
    } else if reports.len() > 1 && !args.json {
        println!("\n{}", Curve::of(&reports));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// So many calls at once, and so many callers more than there are places.
fn at_once(
    args: &LoadArgs,
    (calls, over): (u32, u32),
    pin: Option<Split>,
    script: &Script,
) -> anyhow::Result<LoadReport> {
    let mut own = None;
    let mut config = match &args.url {
        Some(url) => {
            let call = args.reach.apply(running(url)?);
            let mut config = LoadConfig::new(call, script.clone(), calls as usize);
            config.pid = args.pid;
            config.vendors_url = args.vendors_url.clone();
            config
        }
        None => {
            let wanted = OwnServerConfig { calls, tls: args.tls, record: args.record, pin };
            let server = OwnServer::start(&wanted)?;
            let mut config = LoadConfig::new(server.caller()?, script.clone(), calls as usize);
            config.pid = Some(server.pid());
            config.vendors_url = Some(server.vendors.deepgram_url.clone());
            config.vendors = server.times;
            own = Some(server);
            config
        }
    };
    config.over = over as usize;
    if args.reach.over.is_some() {
        config.rest = LEFT;
    }
    config.ramp = BETWEEN.saturating_mul(calls.saturating_add(over)).max(RAMP);
    // Whoever asks for calls at once wants to see them at once.
    config.duration = config.ramp.saturating_add(Duration::from_secs(u64::from(args.seconds)));
    let more = if over > 0 { format!(", and {over} callers without a place,") } else { String::new() };
    eprintln!("{calls} calls at once{more} for {} s against {} …", args.seconds, config.call.base_url);
    let report = run_load(&config)?;
    drop(own);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stack;
    use crate::sim::caller::fake::{Bot, Fake};
    use clap::{CommandFactory as _, Parser};
    use std::collections::BTreeSet;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: LoadArgs,
    }

    fn read(line: &str) -> Result<LoadArgs, clap::Error> {
        Line::try_parse_from(std::iter::once("load").chain(line.split_whitespace())).map(|line| line.args)
    }

    /// One short call to where the flags point.
    fn placed(fake: &Fake, flags: &str) -> LoadReport {
        let args = read(&format!("--url {} {flags}", fake.url)).unwrap();
        let script = "settle_ms = 300\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nhang_up = true";
        let call = args.reach.apply(stack::caller(args.url.as_deref().unwrap()));
        let mut config = LoadConfig::new(call, Script::parse(script).unwrap(), 1);
        config.total = Some(1);
        config.settle = Duration::ZERO;
        run_load(&config).unwrap()
    }

    fn asked(fake: &Fake) -> BTreeSet<String> {
        fake.seen().requests.iter().map(|(path, _)| path.clone()).collect()
    }

    const TALK: &str = "<Response><Connect><Stream url=\"{STREAM}\"/></Connect></Response>";

    #[test]
    fn a_server_with_other_paths_is_called_at_those() {
        let documents = [("/answer", TALK), ("/over", "<Response/>")];
        for (flags, paths) in [
            ("--voice-path /answer --status-path /over", vec!["/answer", "/over"]),
            ("--voice-path /answer --status-path none", vec!["/answer"]),
        ] {
            let fake = Fake::start(&documents, Bot::default());
            let report = placed(&fake, flags);
            assert_eq!((report.ended_well, report.replies_delivered), (1, 1), "{flags} {report}");
            assert_eq!(report.violations, 0, "{flags} {report}");
            assert_eq!(asked(&fake), paths.into_iter().map(str::to_owned).collect(), "{flags}");
            let seen = fake.seen();
            assert_eq!((seen.streams, seen.unsigned), (1, 0), "{flags}");
        }
    }

    #[test]
    fn a_server_that_has_a_stream_and_no_webhooks_is_called_there() {
        let fake = Fake::start(&[], Bot::default());
        let stream = fake.url.replacen("http", "ws", 1);
        let report = placed(&fake, &format!("--stream-url {stream}/stream"));
        assert_eq!((report.replies_delivered, report.violations), (1, 0), "{report}");
        assert!(asked(&fake).is_empty() && fake.seen().streams == 1, "{:?}", asked(&fake));
    }

    #[test]
    fn the_ways_to_another_server_are_read_and_described() {
        let url = "--url http://127.0.0.1:1";
        let usual = read(url).unwrap().reach.apply(stack::caller("http://127.0.0.1:1"));
        assert_eq!(
            (usual.voice_path.as_str(), usual.status_path.as_deref()),
            ("/voice/incoming", Some("/voice/status"))
        );
        for wrong in [
            "--voice-path /a".to_owned(),
            format!("{url} --voice-path a"),
            format!("{url} --status-path a"),
            format!("{url} --stream-url http://127.0.0.1:1/s"),
            format!("{url} --stream-url ws://127.0.0.1:1/s --voice-path /a"),
            format!("{url} --over 0"),
            "--over 50".to_owned(),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        let help = Line::command().render_long_help().to_string();
        for flag in ["--voice-path <PATH>", "--status-path <PATH>", "--stream-url <URL>", "--over <PERCENT>"]
        {
            assert!(help.contains(flag), "{flag} in {help}");
        }
    }

    #[test]
    fn a_percentage_of_callers_without_a_place_is_somebody_and_comes_second() {
        let over = |line: &str, calls| read(line).unwrap().reach.overs(calls);
        assert_eq!(over("", 100), [0]);
        assert_eq!(over("--url http://127.0.0.1:1 --over 50", 200), [0, 100]);
        assert_eq!(over("--url http://127.0.0.1:1 --over 1", 3), [0, 1]);
    }
}
