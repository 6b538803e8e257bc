//! The checks, on small pieces of source.

use super::*;

fn paths(file: &str, text: &str) -> Vec<String> {
    Source::new(file, text).paths().into_iter().map(|(path, _)| path).collect()
}

fn lines(rule: impl Fn(&Source) -> Vec<Violation>, file: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(file, text)).into_iter().map(|v| v.line).collect()
}

#[test]
fn paths_are_followed_from_the_root() {
    let text = "use crate::{a::{self, b as c, d::*}, e};\nuse super::super::x::Y;\npub(crate) use self::z;";
    let wanted = ["a", "a::b", "a::d::*", "e", "call::x::Y", "call::stt::machine::z"];
    assert_eq!(paths("call/stt/machine.rs", text), wanted);
    assert_eq!(paths("call/stt/mod.rs", "use super::media;"), ["call::media"]);
    assert_eq!(paths("lib.rs", "use crate::app;"), ["app"]);
    assert_eq!(paths("main.rs", "use frontdesk::cli::parse;"), ["cli::parse"]);
    assert_eq!(paths("a/b.rs", "fn f(x: &mut crate::c::D<crate::e::F>) {}"), ["c::D", "e::F"]);
    assert_eq!(paths("a/b.rs", "macro_rules! m { () => { $crate::db::x!() } }"), ["db::x"]);
}

#[test]
fn a_module_within_the_file_has_its_own_parent() {
    let text = "mod inner { use super::x; fn f() { if true { super::y() } } }\nuse super::z;";
    assert_eq!(paths("a/b.rs", text), ["a::b::x", "a::b::y", "a::z"]);
}

#[test]
fn comments_literals_and_lifetimes_are_no_code() {
    let text = r####"
        //! [`crate::a::B`]
        /* crate::c /* crate::d */ crate::e */
        fn f<'a>(x: &'a str) -> char { let _ = "crate::f \" crate::g"; let _ = r#"crate::h " "#; b"crate::i"; '"' }
        fn g() { let _ = '\''; let _ = b'"'; let r#mod = crate::j; }
    "####;
    assert_eq!(paths("a/b.rs", text), ["j"]);
}

#[test]
fn test_code_is_left_out() {
    let text = "
        #[cfg(test)] use crate::{a, b};
        #[cfg(test)] type Job = Box<dyn Fn(&mut crate::c::D) -> Result<(), ()>>;
        enum E { #[cfg(test)] T(crate::d::F), U(crate::live::A) }
        struct S { #[cfg(test)] pub t: Option<crate::e::G>, u: crate::live::B }
        fn f(e: E) { match e { #[cfg(test)] E::T(_) => crate::f::x(), E::U(u) => crate::live::c(u) } }
        #[cfg(test)] #[path = \"x.rs\"] mod tests;
        #[cfg(test)] pub(crate) fn helper<A, B>() -> [crate::g::H; 2] { crate::g::i() }
        #[actix::test] async fn t() { crate::h::i() }
        #[cfg(not(test))] use crate::live::D;
        #[cfg(test)] mod tests { use super::*; use crate::i::J; }
    ";
    let wanted = ["live::A", "live::B", "live::c", "live::D"];
    assert_eq!(paths("a/b.rs", text), wanted);
    assert_eq!(paths("a/b.rs", "#![cfg(test)]\nuse crate::a;"), Vec::<String>::new());
}

#[test]
fn an_upward_import_is_found_with_its_line() {
    let found = import_violations(&Source::new("db/write.rs", "//! x\nuse crate::call::messages::EndCall;"));
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["src/db/write.rs:2: imports `call::messages::EndCall`: `db` imports only config, domain, observe"]
    );
}

#[test]
fn imports_are_judged_by_layer_sibling_and_narrow_rules() {
    let table = [
        ("call/actor.rs", "crate::dialogue::phrases", true),
        ("call/actor.rs", "crate::observe::clock::unix_now", true),
        ("call/actor.rs", "super::super::registry::messages::Admit", false),
        ("call/actor.rs", "crate::session::services::Services", false),
        ("domain/turn.rs", "crate::config::Config", false),
        ("domain/turn.rs", "super::call::Outcome", true),
        ("config/load.rs", "crate::observe::log", false),
        ("observe/log.rs", "crate::config::server::ServerConfig", true),
        ("dialogue/prompt.rs", "crate::booking::speak", false),
        ("dialogue/prompt.rs", "crate::provider::llm::ToolCall", false),
        ("dialogue/chat.rs", "crate::provider::llm::{ToolCall, ToolSpec}", true),
        ("dialogue/chat.rs", "crate::provider::http", false),
        ("provider/stt/mod.rs", "crate::db::DbHandle", false),
        ("twilio/rest.rs", "crate::config::twilio::TwilioConfig", true),
        ("sim/vendors/ws.rs", "crate::twilio::stream::StreamMessage", false),
        ("sim/vendors/ws.rs", "crate::audio::mulaw", true),
        ("session/actor.rs", "crate::call::actor::CallActor", true),
        ("session/actor.rs", "crate::call::machine::CallMachine", false),
        ("session/actor.rs", "crate::call", false),
        ("session/actor.rs", "crate::registry::roster::{Claimed, Roster}", false),
        ("session/actor.rs", "crate::api::voice", false),
        ("api/voice.rs", "crate::session::actor::StreamSession", true),
        ("api/voice.rs", "crate::registry::roster::Onward", true),
        ("api/voice.rs", "crate::registry::roster::*", false),
        ("api/voice.rs", "crate::registry::actor::Registry", false),
        ("api/voice.rs", "crate::call::messages::EndCall", false),
        ("registry/actor.rs", "crate::call::messages::CallLeft", true),
        ("registry/actor.rs", "crate::call::actor::CallActor", false),
        ("jobs/summary.rs", "crate::registry::messages::ListLive", false),
        ("app.rs", "crate::call::machine::Phrases", true),
        ("main.rs", "frontdesk::app::run", true),
        ("app.rs", "crate::cli::parse", false),
        ("nobody/knows.rs", "crate::domain::time", false),
    ];
    for (file, path, allowed) in table {
        let found = import_violations(&Source::new(file, &format!("use {path};")));
        assert_eq!(found.is_empty(), allowed, "{file} imports {path}: {found:?}");
    }
}

#[test]
fn every_name_in_the_tables_is_in_a_layer() {
    let siblings = SIBLINGS.iter().flat_map(|(a, b)| [*a, *b]);
    let only = ONLY.iter().flat_map(|(a, bs)| [*a].into_iter().chain(bs.iter().copied()));
    let narrow = NARROW.iter().flat_map(|(a, b, _)| [*a, *b]);
    for name in siblings.chain(only).chain(narrow).chain(PURE_FOLDERS.iter().copied()) {
        assert!(layer(name).is_some(), "{name}");
    }
}

#[test]
fn what_a_pure_file_must_not_touch_is_found() {
    for bad in [
        "use actix::Actor;",
        "fn f() { actix_rt::spawn(async {}) }",
        "use tokio::time::Duration;",
        "use awc::Client;",
        "use diesel::prelude::*;",
        "fn f() { std::time::Instant::now(); }",
        "fn f() { SystemTime::now(); }",
        "fn f() -> u8 { rand::random() }",
        "fn f() { rand::thread_rng(); }",
        "use std::{fmt, fs};",
        "use std::net::IpAddr;",
        "use crate::observe::clock::unix_now;",
    ] {
        for file in
            ["audio/vad.rs", "call/machine.rs", "call/dialogue/machine/rounds.rs", "twilio/stream/wire.rs"]
        {
            assert_eq!(lines(purity_violations, file, &format!("//! x\n{bad}")), [2], "{file}: {bad}");
        }
        assert!(lines(purity_violations, "call/actor.rs", bad).is_empty(), "{bad}");
    }
    for good in [
        "use std::time::{Duration, Instant};",
        "use std::fmt;",
        "/// Unlike `tokio::time::sleep`.\nfn f() -> &'static str { \"awc\" }",
        "#[cfg(test)] mod tests { use tokio::time; }",
        "fn f(rng: &mut impl rand::Rng) {}",
    ] {
        assert!(lines(purity_violations, "call/machine.rs", good).is_empty(), "{good}");
    }
}

#[test]
fn strays_of_libraries_are_found_and_diesel_in_tests_too() {
    let text = "#[cfg(test)]\nmod tests { use diesel_migrations::x; use actix_web_actors::ws; }";
    assert_eq!(lines(home_violations, "api/health.rs", text), [2]);
    assert!(lines(home_violations, "db/tests.rs", text).is_empty());
    assert_eq!(lines(home_violations, "api/voice.rs", "use actix_web_actors::ws;"), [1]);
    assert!(lines(home_violations, "session/actor.rs", "use actix_web_actors::ws;").is_empty());
}

#[test]
fn an_open_wire_module_is_found() {
    assert_eq!(lines(wire_violations, "provider/stt/deepgram/mod.rs", "//! x\npub mod wire;"), [2]);
    for good in ["mod wire;", "pub(super) mod wire;", "pub mod wires;"] {
        assert!(lines(wire_violations, "provider/stt/deepgram/mod.rs", good).is_empty(), "{good}");
    }
}

#[test]
fn files_are_found_in_a_document() {
    let text = "See `call/machine.rs`, `sim/vendors/` and `a b.rs`, any `mod.rs`; not `/voice/` nor `x`.\n```\na/b.rs\n```\n\
                `tests/run` and `docker/x.env`, but not `data/x.db`.";
    assert_eq!(named_files(text), ["call/machine.rs", "sim/vendors/", "tests/run", "docker/x.env"]);
}

#[test]
fn links_and_headings_are_found_in_a_document() {
    let text = "# A\n## What it *does*, well\n[a](x.md), [b](#a) and [c](https://d.e/f).";
    assert_eq!(links(text), ["x.md", "#a", "https://d.e/f"]);
    assert_eq!(anchors(text), BTreeSet::from(["#a".to_owned(), "#what-it-does-well".to_owned()]));
}

#[test]
fn long_files_and_files_without_a_word_are_found() {
    assert!(lines(length_violations, "a.rs", &"\n".repeat(700)).is_empty());
    assert_eq!(lines(length_violations, "a.rs", &"\n".repeat(701)), [1]);
    assert!(lines(opening_violations, "a.rs", "\n//! What lives here.\n").is_empty());
    assert_eq!(lines(opening_violations, "a.rs", "// Not for readers.\nuse b;"), [1]);
}

#[test]
fn files_are_reached_through_their_declarations() {
    let sources = [
        Source::new("lib.rs", "pub mod a;\nmod c;"),
        Source::new("a/mod.rs", "mod b;\n#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod tests;"),
        Source::new("a/b.rs", "mod inner { mod deep; }"),
        Source::new("a/b/inner/deep.rs", ""),
        Source::new("a/b_tests.rs", "mod more;"),
        Source::new("a/b_tests/more.rs", ""),
        Source::new("c.rs", "#[cfg(test)] mod tests { mod support; }"),
        Source::new("c/tests/support.rs", ""),
        Source::new("a/left.rs", ""),
    ];
    let (known, lost) = reached(&sources);
    let test: Vec<&str> = known.iter().filter(|(_, test)| **test).map(|(file, _)| file.as_str()).collect();
    assert_eq!(test, ["a/b_tests.rs", "a/b_tests/more.rs", "c/tests/support.rs"]);
    assert_eq!(lost.iter().map(|v| v.file.as_str()).collect::<Vec<_>>(), ["a/left.rs"]);
}
