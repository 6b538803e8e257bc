//! The README tells the truth about the settings, and what it promises by them. `FRONTDESK_BLESS=1` writes the table anew.

use frontdesk::cli::replicas::scenarios::{FREEZE, KILL, RESTART};
use frontdesk::config::Config;
use frontdesk::config::effective::markdown_table;
use std::time::Duration;

const BEGIN: &str = "<!-- settings -->";
const END: &str = "<!-- /settings -->";

#[test]
fn the_readme_lists_every_setting_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the table's beginning is marked");
    let (table, after) = rest.split_once(END).expect("the table's end is marked");
    let expected = format!("\n{}\n", markdown_table().trim());
    if std::env::var_os("FRONTDESK_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(table == expected, "README.md is behind the settings: run the tests once with FRONTDESK_BLESS=1");
}

#[test]
fn the_guarantees_name_the_times_and_numbers_that_hold_without_settings() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, rest) = readme.split_once("\n## What is guaranteed\n").expect("it is said what is guaranteed");
    let section: Vec<&str> = rest.split("\n## ").next().unwrap().split_whitespace().collect();
    let (section, config) = (section.join(" "), Config::default());
    let numbers = [
        (config.server.handover_ms, 10_000, "after ten seconds (`server.handover_ms`)"),
        (config.server.notice_ms, 2_000, "for two more seconds (`server.notice_ms`)"),
        (config.server.drain_ms, 120_000, "for up to two minutes (`server.drain_ms`)"),
        (config.cluster.lease_ms, 6_000, "After six seconds of silence (`cluster.lease_ms`)"),
        (config.twilio.suspend_ms, 30_000, "within half a minute (`twilio.suspend_ms`)"),
        (config.twilio.max_breaks.into(), 5, "five broken streams of one call (`twilio.max_breaks`)"),
        (config.database.queue as u64, 10_000, "10,000 writes at most (`database.queue`)"),
    ];
    for (is, told, words) in numbers {
        assert_eq!(is, told, "the README says otherwise: {words}");
        assert!(section.contains(words), "{words:?} is not in {section}");
    }
    // What the drills hold replicas to.
    let lease = Duration::from_millis(config.cluster.lease_ms);
    for (is, told, words) in [
        (RESTART, Duration::from_secs(3), "one gap of at most 3 s"),
        (KILL, Duration::from_secs(5), "a gap of at most 5 s"),
        (FREEZE, lease + Duration::from_secs(5), "a gap of at most the lease and 5 s"),
    ] {
        assert_eq!(is, told, "the README says otherwise: {words}");
        assert!(section.contains(words), "{words:?} is not in {section}");
    }
}
