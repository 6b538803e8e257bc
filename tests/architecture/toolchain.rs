//! The oldest compiler that the README promises builds every library that is used.

use serde_json::Value;
use std::process::Command;

/// `1.89` or `1.89.0` as numbers.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap_or(0))
}

#[test]
fn every_library_is_built_by_the_oldest_compiler_that_is_promised() {
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--all-features", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let wants = |package: &Value| package["rust_version"].as_str().map(version);
    let ours = packages.iter().find(|package| package["name"] == "frontdesk").and_then(wants).unwrap();
    let newer: Vec<String> = packages
        .iter()
        .filter(|package| wants(package).is_some_and(|wanted| wanted > ours))
        .map(|package| {
            format!("{} {} wants {}", package["name"], package["version"], package["rust_version"])
        })
        .collect();
    assert!(newer.is_empty(), "{newer:?}");
}
