//! The dashboard and the alert rules ask for series that exist, and each alert says what to do.

use frontdesk::observe::metrics::{SERIES, Series, find};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(name)).unwrap()
}

/// The series that an expression names, with the labels it chooses them by.
fn named(expr: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = rest.find("frontdesk_") {
        let text = rest.split_at(at).1;
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (name, after) = text.split_at(end);
        let chosen =
            after.strip_prefix('{').and_then(|inner| inner.split_once('}')).map_or("", |(chosen, _)| chosen);
        let labels = chosen.split("\",").filter(|part| !part.trim().is_empty());
        let labels = labels.map(|part| part.split(['=', '!']).next().unwrap().trim().to_owned()).collect();
        found.push((name.to_owned(), labels));
        rest = after;
    }
    found
}

/// The labels an expression groups by.
fn grouped(expr: &str) -> Vec<String> {
    let groups = expr.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    groups.flat_map(|(group, _)| group.split(',').map(|label| label.trim().to_owned())).collect()
}

/// Prometheus's own labels of what it reads.
const ITS_OWN: [&str; 3] = ["job", "instance", "le"];

fn check(what: &str, expr: &str) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::new();
    let series: Vec<&'static Series> = named(expr)
        .into_iter()
        .map(|(name, labels)| {
            let series = find(&name).unwrap_or_else(|| panic!("{what}: there is no series {name}"));
            for label in labels {
                let known = ITS_OWN.contains(&label.as_str()) || series.labels.contains(&label.as_str());
                assert!(known, "{what}: {name} has no label {label}");
            }
            used.insert(series.name);
            series
        })
        .collect();
    for label in grouped(expr) {
        let known = ITS_OWN.contains(&label.as_str())
            || series.iter().all(|series| series.labels.contains(&label.as_str()));
        assert!(known, "{what}: nothing to group by {label} in {expr}");
    }
    assert_eq!(expr.matches('(').count(), expr.matches(')').count(), "{what}: {expr}");
    used
}

#[test]
fn every_panel_shows_series_that_exist_and_every_series_is_shown() {
    let board: serde_json::Value = serde_json::from_str(&read("grafana/frontdesk.json")).unwrap();
    let mut shown = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            let used = check(title, expr);
            assert!(!used.is_empty(), "{title}: {expr}");
            // A legend can only show what the expression leaves.
            for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = label.split("}}").next().unwrap();
                assert!(
                    !expr.contains("by (") || grouped(expr).iter().any(|group| group == label),
                    "{title}: {label} is summed away"
                );
            }
            shown.extend(used);
        }
    }
    let missing: Vec<&str> =
        SERIES.iter().map(|series| series.name).filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

#[test]
fn every_alert_asks_for_series_that_exist_and_has_its_place_in_the_runbook() {
    let (alerts, runbook) = (read("prometheus/alerts.yml"), read("RUNBOOK.md"));
    let chapters: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut told = BTreeSet::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap().trim();
        let value = |key: &str| rule.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
        let expr = value("expr:").unwrap_or_else(|| panic!("{name}: no expression"));
        let used = check(name, expr);
        assert!(!used.is_empty() || expr.starts_with("up{"), "{name}: {expr}");
        assert_eq!(value("runbook:"), Some(format!("RUNBOOK.md#{}", name.to_lowercase()).as_str()), "{name}");
        assert!(chapters.contains(name), "{name} is not in the runbook");
        assert!(value("summary:").is_some_and(|summary| summary.len() > 10), "{name}");
        let severity = value("labels:").unwrap_or_default();
        assert!(severity.contains("page") || severity.contains("ticket"), "{name}");
        assert!(told.insert(name), "{name}: twice");
    }
    assert!(told.len() > 10, "{told:?}");
    assert_eq!(told, chapters, "the runbook and the alerts name the same");
}

#[test]
fn what_does_not_exist_is_found() {
    assert!(std::panic::catch_unwind(|| check("x", "sum(frontdesk_no_such_total)")).is_err());
    assert!(std::panic::catch_unwind(|| check("x", "frontdesk_calls_live{reason=\"x\"}")).is_err());
    assert!(std::panic::catch_unwind(|| check("x", "sum by (reason) (frontdesk_calls_live)")).is_err());
    assert_eq!(check("x", "rate(frontdesk_call_gap_seconds_bucket{job=~\"$job\",le=\"1\"}[5m])").len(), 1);
}

#[test]
fn no_metric_is_named_anywhere_but_in_the_table() {
    for (file, text) in super::routes::sources() {
        if file == "observe/series.rs" {
            continue;
        }
        for series in SERIES {
            assert!(!text.contains(&format!("\"{}\"", series.name)), "src/{file} names {}", series.name);
        }
        let macros = ["counter!(", "gauge!(", "histogram!("].iter().any(|call| text.contains(call));
        let own = ["observe/metrics.rs", "observe/recorder.rs"].contains(&file.as_str());
        assert!(!macros || own, "src/{file} records by itself");
    }
}
