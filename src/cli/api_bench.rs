//! `frontdesk simulate api`: how long each route of the API takes when there is very much to find, and whether any of
//! its queries goes through a large table.

use super::environment::Inputs;
use super::stack::Stack;
use super::{ApiArgs, data};
use crate::api::secret::fingerprint;
use crate::config::Config;
use crate::config::database::DatabaseConfig;
use crate::db::plans::{self, Finding};
use crate::db::seed::{Samples, samples};
use crate::db::{AnyConnection, DbHandle, open_connection};
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::domain::staff::Scope;
use crate::observe::clock::unix_now;
use crate::sim::load::stats::Spread;
use crate::sim::vendors::VendorsConfig;
use anyhow::{Context as _, bail, ensure};
use futures_util::StreamExt as _;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What 95 of 100 answers must not exceed, ms.
const LIMIT_MS: f64 = 50.0;
/// How far into a list the deep page lies, rows.
const DEEP_ROWS: usize = 20_000;
/// Rows of a page.
const PAGE: usize = 50;
/// The largest answer that is read, bytes.
const MAX_BODY: usize = 256 << 20;

/// Requests of one kind.
struct Route {
    name: &'static str,
    /// Asked for in turn.
    paths: Vec<String>,
    status: u16,
    /// Whether the time is that of the body's first bytes.
    first_bytes: bool,
}

/// How one kind of request fared.
struct Measured {
    name: &'static str,
    times: Spread,
    bytes: usize,
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures, and reports one table. 1 if a route is too slow or a query scans.
pub fn run(args: &ApiArgs, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let config = data::config(inputs)?;
    let business = data::business(config.server.business_profile.as_deref())?;
    let folder = Folder(std::env::temp_dir().join(format!("frontdesk-api-{:032x}", rand::random::<u128>())));
    std::fs::create_dir_all(&folder.0).context("no temporary folder")?;
    // Only a database that was named is somebody's: else one of our own is filled and thrown away.
    let given = inputs.load().sources.contains_key("database.url");
    let mut database = config.database.clone();
    if !given {
        database.url = format!("sqlite://{}", folder.0.join("samples.db").display());
    }
    let mut connection = open_connection(&database).context("the database cannot be opened")?;
    let there = ready(&mut connection, args, &business, given)?;
    let kind = match connection {
        AnyConnection::Sqlite(_) => "SQLite",
        AnyConnection::Postgres(_) => "PostgreSQL",
    };
    println!("{kind}: {} calls, {} customers", there.calls, there.customers);
    if args.explain {
        return explain(&mut connection);
    }
    drop(connection);
    let folder = &folder.0;
    let measured = actix_web::rt::System::new().block_on(measure(args, database, business, folder))?;
    print!("{}", table(kind, &measured));
    let slow: Vec<&str> = measured.iter().filter(|m| m.times.p95 > LIMIT_MS).map(|m| m.name).collect();
    if slow.is_empty() {
        println!("Each route has its 95th percentile within {LIMIT_MS} ms.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("Slower than {LIMIT_MS} ms in more than 5 of 100 requests: {}", slow.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Sees to it that there is enough to find. A database that was given is not filled, and must hold samples only: the
/// server that is started here would do its jobs with simulated vendors.
fn ready(
    connection: &mut AnyConnection,
    args: &ApiArgs,
    business: &BusinessProfile,
    given: bool,
) -> anyhow::Result<Samples> {
    if !given {
        let begun = Instant::now();
        let wanted = super::SeedArgs { calls: args.calls, customers: args.customers };
        data::many(connection, &wanted, business, unix_now())?;
        println!("Filled a database of its own in {:.0} s.", begun.elapsed().as_secs_f64());
    }
    let there = samples(connection)?;
    if there.real {
        bail!(
            "DATABASE_URL names a database with calls that are no samples: this is for sample databases only"
        );
    }
    ensure!(
        there.calls >= i64::from(args.calls) && there.customers >= i64::from(args.customers),
        "DATABASE_URL names a database with {} calls and {} customers: fill it with `frontdesk seed --calls {} --customers {}`",
        there.calls,
        there.customers,
        args.calls,
        args.customers
    );
    Ok(there)
}

fn explain(connection: &mut AnyConnection) -> anyhow::Result<ExitCode> {
    let findings = plans::look(connection, unix_now())?;
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.scans).collect();
    for finding in &bad {
        println!("{}\n    {}\n", finding.query, finding.plan.join("\n    "));
    }
    println!("{} queries, {} of them go through a large table.", findings.len(), bad.len());
    Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(
    args: &ApiArgs,
    database: DatabaseConfig,
    business: BusinessProfile,
    folder: &Path,
) -> anyhow::Result<Vec<Measured>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    let settings = |config: &mut Config| {
        config.database = database;
        config.limits.who_per_minute = u32::MAX;
        config.limits.address_per_minute = u32::MAX;
        config.recording.url = folder.join("recordings").display().to_string();
        config.retention.calls_days = 0;
        config.retention.jobs_days = 0;
    };
    let staff = data::staff_names(&business);
    let own = folder.join("unused.db");
    let stack = Stack::start(listener, &own, business, VendorsConfig::default(), settings).await?;
    let db = stack.server.db.clone();
    let key = format!("fd_{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    let stored = db.add_key("simulate api".into(), fingerprint(&key), Scope::Admin, unix_now()).await?;
    let result = ask_all(args, &stack.base_url, &key, &db, staff.first().map(String::as_str)).await;
    db.revoke_key(stored.id, unix_now()).await?;
    stack.stop().await;
    result
}

async fn ask_all(
    args: &ApiArgs,
    base: &str,
    key: &str,
    db: &DbHandle,
    staff: Option<&str>,
) -> anyhow::Result<Vec<Measured>> {
    let http = awc::Client::builder().timeout(Duration::from_secs(60)).finish();
    let client = Client { http, base: base.to_owned(), key: format!("Bearer {key}") };
    let routes = routes(&client, db, staff).await?;
    let mut measured = Vec::new();
    for route in &routes {
        let mut times = Vec::new();
        let mut bytes = 0;
        for path in route.paths.iter().cycle().take(args.requests as usize) {
            let begun = Instant::now();
            let (status, length) = client.fetch(path, route.first_bytes).await?;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
            ensure!(status == route.status, "{path} was answered with {status}, not {}", route.status);
            bytes = bytes.max(length);
        }
        measured.push(Measured { name: route.name, times: Spread::of(&times), bytes });
    }
    Ok(measured)
}

struct Client {
    http: awc::Client,
    base: String,
    key: String,
}

impl Client {
    /// Asks, and reads the answer to its end or only its beginning: status and bytes.
    async fn fetch(&self, path: &str, first_bytes: bool) -> anyhow::Result<(u16, usize)> {
        let request = self.http.get(format!("{}{path}", self.base));
        let sent = request.insert_header(("authorization", self.key.as_str())).send().await;
        let mut answer = sent.map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        let status = answer.status().as_u16();
        let mut bytes = 0;
        while let Some(piece) = answer.next().await {
            bytes += piece.map_err(|error| anyhow::anyhow!("{path}: {error}"))?.len();
            if first_bytes {
                break;
            }
        }
        Ok((status, bytes))
    }

    async fn json(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base));
        let sent = request.insert_header(("authorization", self.key.as_str())).send().await;
        let mut answer = sent.map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        let status = answer.status();
        ensure!(status.is_success(), "{path} was answered with {status}");
        let body = answer.body().limit(MAX_BODY).await.map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// The address of a page deep in a list; that of its end if the list is shorter.
    async fn deep(&self, path: &str) -> anyhow::Result<String> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let mut last = path.to_owned();
        let mut rows = 0;
        while rows < DEEP_ROWS {
            let separator = if last.contains('?') { '&' } else { '?' };
            let page = self.json(&format!("{last}{separator}limit=500")).await?;
            rows += page.get("items").and_then(Value::as_array).map_or(0, Vec::len);
            let Some(next) = page.get("next_cursor").and_then(Value::as_str) else { break };
            last = format!("{path}{glue}cursor={next}");
        }
        Ok(last)
    }

    /// Rows of a list.
    async fn rows(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.json(path).await?;
        Ok(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
    }
}

fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().filter_map(|row| row.get("id")?.as_i64()).collect()
}

fn texts(rows: &[Value], field: &str) -> Vec<String> {
    rows.iter().filter_map(|row| Some(row.get(field)?.as_str()?.to_owned())).collect()
}

fn escaped(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn date(days_ago: i64) -> String {
    let now = jiff::Timestamp::from_millisecond(unix_now().0).unwrap_or_default();
    let then = now.checked_sub(jiff::SignedDuration::from_hours(24 * days_ago)).unwrap_or(now);
    then.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

/// What is asked for: every list with each filter, first and deep pages, and everything else that is read.
async fn routes(client: &Client, db: &DbHandle, staff: Option<&str>) -> anyhow::Result<Vec<Route>> {
    let calls = client.rows(&format!("/api/calls?limit={PAGE}")).await?;
    let customers = client.rows(&format!("/api/customers?limit={PAGE}")).await?;
    let appointments = client.rows(&format!("/api/appointments?limit={PAGE}")).await?;
    let callers = client.rows("/api/calls?limit=500").await?;
    let called: Vec<i64> =
        callers.iter().filter_map(|row| row.get("customer_id")?.as_i64()).take(PAGE).collect();
    let mut all = Vec::new();
    let mut add = |name, paths: Vec<String>, status| {
        if !paths.is_empty() {
            all.push(Route { name, paths, status, first_bytes: false });
        }
    };
    let each = |before: &str, items: &[String]| {
        items.iter().map(|item| format!("{before}{item}")).collect::<Vec<_>>()
    };
    let of = |before: &str, ids: &[i64], after: &str| {
        ids.iter().map(|id| format!("{before}{id}{after}")).collect::<Vec<_>>()
    };
    let words = |all: &[&str]| all.iter().map(|word| escaped(word)).collect::<Vec<_>>();
    let text = |all: &[&str]| all.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();

    add("dashboard", text(&["/api/dashboard"]), 200);
    add("live calls", text(&["/api/live"]), 200);
    add("calls", text(&["/api/calls"]), 200);
    add("calls, 500 a page", text(&["/api/calls?limit=500"]), 200);
    add("calls, deep page", vec![client.deep("/api/calls").await?], 200);
    let statuses = ["completed", "failed", "busy", "no-answer", "canceled", "in-progress"];
    add("calls by status", each("/api/calls?status=", &words(&statuses)), 200);
    add("calls by status, deep", vec![client.deep("/api/calls?status=completed").await?], 200);
    add("calls by direction", each("/api/calls?direction=", &words(&["inbound", "outbound"])), 200);
    let flags = ["lead_captured", "appointment_booked", "message_taken", "transferred", "follow_up"];
    add("calls by outcome", each("/api/calls?outcome=", &words(&flags)), 200);
    add("calls by outcome, deep", vec![client.deep("/api/calls?outcome=lead_captured").await?], 200);
    let ranges = [(0, 0), (7, 0), (90, 60), (365, 360), (400, 0)];
    let ranges: Vec<String> =
        ranges.iter().map(|(from, to)| format!("from={}&to={}", date(*from), date(*to))).collect();
    add("calls by time", each("/api/calls?", &ranges), 200);
    add("calls by customer", of("/api/calls?customer=", &called, ""), 200);
    // Not every number set apart for fiction lies in an area that there is.
    let numbers: Vec<String> = texts(&callers, "phone_number")
        .iter()
        .filter(|number| PhoneNumber::parse(number, None).is_ok())
        .map(|number| escaped(number))
        .take(20)
        .collect();
    add("calls by number", each("/api/calls?phone=", &numbers), 200);
    add(
        "calls by several things",
        vec![
            "/api/calls?status=completed&direction=outbound&outcome=message_taken,follow_up".to_owned(),
            format!("/api/calls?status=no-answer&from={}&to={}", date(90), date(60)),
            format!("/api/calls?outcome=transferred&direction=outbound&from={}", date(300)),
            "/api/calls?status=failed&outcome=appointment_booked".to_owned(),
        ],
        200,
    );
    let common = ["thanks", "you", "appointment", "the", "thanks for call"];
    let selective = ["umbrella", "lindqvist", "scarf umb", "parasol", "nothing at all like it"];
    let mixed = ["thanks umbrella", "haircut mon", "thanks zzz", "appointment tues"];
    let digits = ["0143", "202555", "+1 202 555 0143", "5550", "4155550199"];
    add("calls by words", each("/api/calls?q=", &words(&common)), 200);
    add("calls by words, deep", vec![client.deep("/api/calls?q=thanks").await?], 200);
    add(
        "calls by words and status",
        vec![
            "/api/calls?q=thanks&status=no-answer".to_owned(),
            "/api/calls?q=thanks&status=failed".to_owned(),
            "/api/calls?q=the&outcome=transferred".to_owned(),
            "/api/calls?q=umbrella&direction=outbound".to_owned(),
        ],
        200,
    );
    add("search, common words", each("/api/search?q=", &words(&common)), 200);
    add("search, selective words", each("/api/search?q=", &words(&selective)), 200);
    add("search, several words", each("/api/search?q=", &words(&mixed)), 200);
    add("search, numbers", each("/api/search?q=", &words(&digits)), 200);
    let names = texts(&customers, "name");
    let mut found: Vec<String> = names.iter().take(10).map(|name| escaped(name)).collect();
    found.extend(words(&["mar", "example", "com", "0143", "2025", "+12025550143", "nobody at all"]));
    add("search, customers", each("/api/search?kind=customer&q=", &found), 200);

    let ids_of_calls = ids(&calls);
    add("call", of("/api/calls/", &ids_of_calls, ""), 200);
    add("call by Twilio's id", each("/api/calls/", &texts(&calls, "call_sid")), 200);
    add("call's turns", of("/api/calls/", &ids_of_calls, "/turns"), 200);
    add("call's events", of("/api/calls/", &ids_of_calls, "/events"), 200);
    add("call's cost", of("/api/calls/", &ids_of_calls, "/cost"), 200);
    let mut told = Vec::new();
    for id in &ids_of_calls {
        if db.call_outcome(*id).await?.is_some() {
            told.push(*id);
        }
    }
    add("call's outcome", of("/api/calls/", &told, "/outcome"), 200);
    add("call's recording (none)", of("/api/calls/", &ids_of_calls, "/recording"), 404);
    add("call's waveform (none)", of("/api/calls/", &ids_of_calls, "/waveform"), 404);

    add("customers", text(&["/api/customers"]), 200);
    add("customers, deep page", vec![client.deep("/api/customers").await?], 200);
    add("customers by words", each("/api/customers?q=", &found), 200);
    add("customer", of("/api/customers/", &ids(&customers), ""), 200);
    add("appointments", text(&["/api/appointments"]), 200);
    add("appointments, deep page", vec![client.deep("/api/appointments").await?], 200);
    let week = format!("/api/appointments?from={}&to={}", date(3), date(-4));
    add("appointments of a week", vec![format!("{week}&limit=500")], 200);
    add(
        "appointments from a day on, deep",
        vec![client.deep(&format!("/api/appointments?from={}", date(365))).await?],
        200,
    );
    add("appointments of a customer", of("/api/appointments?customer=", &called, ""), 200);
    add(
        "appointments by status",
        each("/api/appointments?status=", &words(&["confirmed", "cancelled"])),
        200,
    );
    if let Some(staff) = staff {
        let staff = escaped(staff);
        add(
            "appointments of a person",
            vec![format!("/api/appointments?staff={staff}"), format!("{week}&staff={staff}")],
            200,
        );
        add(
            "appointments of a person, deep",
            vec![client.deep(&format!("/api/appointments?staff={staff}")).await?],
            200,
        );
    }
    add("appointment", of("/api/appointments/", &ids(&appointments), ""), 200);
    add("time off", vec!["/api/time-off".to_owned(), format!("/api/time-off?from={}", date(30))], 200);
    add("messages", text(&["/api/messages"]), 200);
    add("messages, deep page", vec![client.deep("/api/messages").await?], 200);
    add(
        "messages by state and kind",
        text(&[
            "/api/messages?state=open",
            "/api/messages?state=done",
            "/api/messages?kind=call-back",
            "/api/messages?kind=message",
            "/api/messages?kind=call-back&state=open",
            "/api/messages?kind=message&state=done",
        ]),
        200,
    );
    add("messages by kind, deep", vec![client.deep("/api/messages?kind=message").await?], 200);
    add("jobs", text(&["/api/jobs"]), 200);
    add("jobs, deep page", vec![client.deep("/api/jobs").await?], 200);
    add("jobs by state", each("/api/jobs?state=", &words(&["queued", "leased", "done", "dead"])), 200);
    add("audit", text(&["/api/audit"]), 200);
    add("audit, deep page", vec![client.deep("/api/audit").await?], 200);

    let days = |back: i64| format!("/api/analytics?bucket=day&from={}", date(back));
    add("analytics, 30 days", vec![days(29)], 200);
    add("analytics, 400 days", vec![days(398)], 200);
    add("analytics, hours of 2 days", vec!["/api/analytics?bucket=hour".to_owned()], 200);
    add("analytics, hours of 30 days", vec![format!("/api/analytics?bucket=hour&from={}", date(29))], 200);
    for (name, subject) in [
        ("chart of volume", "volume"),
        ("chart of outcomes", "outcomes"),
        ("chart of latency", "latency"),
        ("chart of errors", "errors"),
    ] {
        let paths = [13, 1, 89, 398]
            .map(|back| format!("/api/charts/{subject}.svg?from={}&to={}", date(back), date(0)));
        add(name, paths.to_vec(), 200);
    }
    add("costs", vec!["/api/costs".to_owned(), format!("/api/costs?from={}", date(364))], 200);
    add("settings and profile", text(&["/api/settings", "/api/profile"]), 200);
    add("keys and users", text(&["/api/keys", "/api/users"]), 200);
    let files = [
        "calls.csv",
        "calls.json",
        "customers.csv",
        "customers.json",
        "appointments.csv",
        "appointments.json",
    ];
    let mut paths = each("/api/export/", &words(&files));
    paths.push("/api/export/calls.csv?outcome=follow_up".to_owned());
    all.push(Route { name: "exports, first bytes", paths, status: 200, first_bytes: true });
    Ok(all)
}

fn table(kind: &str, measured: &[Measured]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{kind:34} {:>8} {:>8} {:>8} {:>10}", "p50 ms", "p95 ms", "max ms", "bytes");
    for one in measured {
        let slow = if one.times.p95 > LIMIT_MS { "  slow" } else { "" };
        let Spread { p50, p95, max, .. } = one.times;
        let _ = writeln!(out, "{:34} {p50:8.1} {p95:8.1} {max:8.1} {:10}{slow}", one.name, one.bytes);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_route_is_marked() {
        let of = |name, ms: f64| Measured { name, times: Spread::of(&[ms]), bytes: 12 };
        let text = table("SQLite", &[of("quick", 3.0), of("sluggish", 51.0)]);
        let slow: Vec<&str> = text.lines().filter(|line| line.ends_with("slow")).collect();
        assert_eq!(slow.len(), 1, "{text}");
        assert!(slow[0].starts_with("sluggish"), "{text}");
    }
}
