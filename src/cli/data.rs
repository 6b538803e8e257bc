//! `frontdesk migrate`, `seed` and `import`: the commands about the database.

use super::environment::{Inputs, read_profile};
use crate::booking::availability::{free_slots, hours_on, instant, resources};
use crate::cli::SeedArgs;
use crate::config::Config;
use crate::config::profile::{self, BARBERSHOP};
use crate::db::import::{ImportRules, import};
use crate::db::seed::{BulkPlan, SeedReport, SeedSlot, bulk, seed};
use crate::db::{AnyConnection, open_connection};
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use anyhow::Context as _;
use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use std::path::Path;
use std::process::ExitCode;

/// Days ahead for which sample appointments are made.
const SEED_DAYS: i64 = 5;

/// The configuration, unless something in it is wrong.
pub(super) fn config(inputs: &Inputs) -> anyhow::Result<Config> {
    let loaded = inputs.load();
    match loaded.problems.first() {
        Some(problem) => Err(anyhow::anyhow!("{problem} (see `frontdesk check-config`)")),
        None => Ok(loaded.config),
    }
}

/// The configured business, else the built-in one.
pub fn business(path: Option<&str>) -> anyhow::Result<BusinessProfile> {
    let (name, read) = match path {
        Some(path) => (path, read_profile(Path::new(path))),
        None => ("the built-in profile", profile::parse(BARBERSHOP)),
    };
    read.map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{name}: {}", lines.join("; "))
    })
}

/// Brings the database to this version's shape.
pub fn migrate(inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let mut config = config(inputs)?;
    config.database.migrate = true;
    open_connection(&config.database).context("the database cannot be migrated")?;
    println!("The database is up to date.");
    Ok(ExitCode::SUCCESS)
}

/// Fills the database with examples.
pub fn fill(args: &SeedArgs, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let config = config(inputs)?;
    let business = business(config.server.business_profile.as_deref())?;
    let now = unix_now();
    let mut connection = open_connection(&config.database).context("the database cannot be opened")?;
    let mut report = seed(&mut connection, now, &sample_slots(&business, now)?)?;
    if args.calls > 0 || args.customers > 0 {
        let many = many(&mut connection, args, &business, now)?;
        report.customers += many.customers;
        report.appointments += many.appointments;
        report.calls += many.calls;
    }
    println!(
        "Added {} customers, {} appointments, {} calls.",
        report.customers, report.appointments, report.calls
    );
    Ok(ExitCode::SUCCESS)
}

/// Very many of everything.
pub(super) fn many(
    connection: &mut AnyConnection,
    args: &SeedArgs,
    business: &BusinessProfile,
    now: UnixMillis,
) -> anyhow::Result<SeedReport> {
    let zone = TimeZone::get(&business.timezone).context("the profile's time zone")?;
    let today = jiff::Timestamp::from_millisecond(now.0)?.to_zoned(zone.clone()).date();
    let opens = |ahead: i64| {
        let date = today.checked_add(ahead.days()).ok()?;
        let hours = hours_on(business, date).ok()?;
        instant(&zone, date, hours.open)
    };
    let staff = staff_names(business);
    let plan = BulkPlan {
        calls: args.calls,
        customers: args.customers,
        now,
        staff,
        services: business.services.iter().map(|service| service.name.clone()).collect(),
        opens: &opens,
    };
    Ok(bulk(connection, &plan)?)
}

/// Who serves, as time is booked under their names.
pub(super) fn staff_names(business: &BusinessProfile) -> Vec<String> {
    resources(business, None).unwrap_or_default().into_iter().map(str::to_owned).collect()
}

/// One time a day for each service in turn.
fn sample_slots(business: &BusinessProfile, now: UnixMillis) -> anyhow::Result<Vec<SeedSlot>> {
    let zone = TimeZone::get(&business.timezone).context("the profile's time zone")?;
    let today = jiff::Timestamp::from_millisecond(now.0)?.to_zoned(zone.clone()).date();
    let mut slots = Vec::new();
    for (ahead, service) in (1..=SEED_DAYS).zip(business.services.iter().cycle()) {
        let date = today.checked_add(ahead.days())?;
        let Ok(free) = free_slots(business, &zone, service, None, date, &[], now) else { continue };
        let Some(slot) = free.get(free.len() / 2) else { continue };
        slots.push(SeedSlot {
            service: service.name.clone(),
            staff: slot.staff.clone(),
            starts_at: slot.starts_at,
            minutes: service.minutes,
        });
    }
    Ok(slots)
}

/// Copies a prototype's database.
pub fn take_over(inputs: &Inputs, old: &Path) -> anyhow::Result<ExitCode> {
    let config = config(inputs)?;
    let business = business(config.server.business_profile.as_deref())?;
    let zone = TimeZone::get(&business.timezone).context("the profile's time zone")?;
    let local = |at: jiff::civil::DateTime| {
        zone.to_ambiguous_zoned(at).compatible().ok().map(|z| UnixMillis(z.timestamp().as_millisecond()))
    };
    let region = business.locale.rsplit_once('-').map_or("US", |(_, region)| region).to_owned();
    let phone = |text: &str| PhoneNumber::parse(text, Some(&region)).ok();
    let staff = business.staff.first().map_or(business.name.as_str(), |s| s.name.as_str());
    let mut connection = open_connection(&config.database).context("the database cannot be opened")?;
    let rules = ImportRules { local: &local, phone: &phone, default_staff: staff, now: unix_now() };
    let report = import(old, &mut connection, &rules)
        .with_context(|| format!("{} cannot be imported; it was not altered", old.display()))?;
    println!(
        "Copied {} customers ({} were here already), {} appointments, {} calls; {} rows had been copied before.",
        report.customers, report.customers_matched, report.appointments, report.calls, report.copied_before
    );
    for problem in &report.problems {
        println!("  {} {}: {}", problem.table, problem.id, problem.what);
    }
    Ok(ExitCode::SUCCESS)
}
