use super::*;
use crate::config::effective::{describe, markdown_table};
use crate::config::validate::missing_for_serve;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn of_vars(pairs: &[(&str, &str)]) -> Loaded {
    load(&vars(pairs), None)
}

fn of_file(text: &str) -> Loaded {
    load(&BTreeMap::new(), Some(("f.toml", text)))
}

fn messages(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_set_is_no_mistake_and_gives_the_defaults() {
    let loaded = of_vars(&[]);
    assert_eq!(loaded.problems, vec![]);
    assert!(loaded.sources.is_empty());
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
}

#[test]
fn every_default_passes_its_own_check() {
    let config = Config::default();
    for setting in setting::all() {
        assert_eq!(setting.check(&config), Ok(()), "{}", setting.path());
    }
}

#[test]
fn paths_and_variables_are_unique_and_every_setting_has_a_meaning() {
    let all = setting::all();
    let paths: BTreeSet<String> = all.iter().map(|s| s.path()).collect();
    let variables: BTreeSet<String> = all.iter().map(|s| s.variable()).collect();
    assert_eq!((paths.len(), variables.len()), (all.len(), all.len()));
    for setting in &all {
        assert!(setting.meaning().ends_with('.'), "{}: {}", setting.path(), setting.meaning());
    }
}

#[test]
fn every_variable_of_the_prototype_and_ours_is_understood() {
    let loaded = of_vars(&[
        ("PORT", "8080"),
        ("HOST", "0.0.0.0"),
        ("BASE_URL", "https://desk.example.com/"),
        ("TWILIO_ACCOUNT_SID", "AC0123"),
        ("TWILIO_AUTH_TOKEN", "  token \n"),
        ("TWILIO_PHONE_NUMBER", "+12025550143"),
        ("TWILIO_BASE_URL", "http://127.0.0.1:1"),
        ("TWILIO_SHARED_KEY_ID", "id"),
        ("TWILIO_SHARED_KEY", "key"),
        ("DEEPGRAM_API_KEY", "dg"),
        ("DEEPGRAM_BASE_URL", "http://127.0.0.1:2"),
        ("ELEVENLABS_API_KEY", "el"),
        ("ELEVENLABS_BASE_URL", "http://127.0.0.1:3"),
        ("ELEVENLABS_VOICE_ID", "voice"),
        ("OPENAI_API_KEY", "oa"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:4/v1"),
        ("DATABASE_URL", "postgres://u@h/db"),
        ("DATABASE_PATH", "ignored.db"),
        ("BUSINESS_PROFILE", "p.json"),
        ("FRONTDESK_SECRET", "0123456789abcdef0123456789abcdef"),
        ("FRONTDESK_CONFIG", "read by the caller"),
        ("TLS_EXTRA_CA", "ca.pem"),
        ("RUST_LOG", "frontdesk=debug,info"),
        ("MIGRATE", "off"),
        ("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"),
        ("PATH", "/usr/bin"),
    ]);
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let Config { server, database, twilio, stt, tts, llm, .. } = &loaded.config;
    assert_eq!((server.port, server.host.as_str()), (8080, "0.0.0.0"));
    assert_eq!(server.base_url, "https://desk.example.com/");
    assert_eq!((twilio.account_sid.as_str(), twilio.auth_token.expose_secret()), ("AC0123", "token"));
    assert_eq!(twilio.phone_number, "+12025550143");
    assert_eq!(twilio.base_url, "http://127.0.0.1:1");
    assert_eq!(twilio.shared_key_id.as_deref(), Some("id"));
    assert_eq!(twilio.shared_key.as_ref().map(|key| key.expose_secret()), Some("key"));
    assert_eq!((stt.api_key.expose_secret(), stt.base_url.as_str()), ("dg", "http://127.0.0.1:2"));
    assert_eq!((tts.api_key.expose_secret(), tts.base_url.as_str()), ("el", "http://127.0.0.1:3"));
    assert_eq!(tts.voice_id, "voice");
    assert_eq!(llm.primary.api_key.expose_secret(), "oa");
    assert_eq!(llm.primary.base_url, "http://127.0.0.1:4/v1");
    assert_eq!((database.url.as_str(), database.migrate), ("postgres://u@h/db", false));
    assert_eq!(server.business_profile.as_deref(), Some("p.json"));
    assert_eq!(server.secret.as_ref().map(|s| s.expose_secret().len()), Some(32));
    assert_eq!(server.tls_extra_ca.as_deref(), Some("ca.pem"));
    assert_eq!(server.log, "frontdesk=debug,info");
    assert_eq!(loaded.config.limits.proxies().len(), 2);
}

#[test]
fn a_key_in_an_address_that_is_refused_is_not_printed() {
    for (variable, address) in [
        ("DEEPGRAM_BASE_URL", "https://h?key=geheim"),
        ("OPENAI_BASE_URL", "https://geheim@h/v1"),
        ("ELEVENLABS_BASE_URL", "https://h/v1#geheim"),
        ("BASE_URL", "https://name:geheim@h?geheim"),
    ] {
        let told = messages(&of_vars(&[(variable, address)])).join("\n");
        assert!(told.contains(variable) && told.contains("[REDACTED]") && !told.contains("geheim"), "{told}");
    }
}

#[test]
fn replicas_meet_at_a_redis_and_share_a_database_that_can_be_shared() {
    for good in ["redis://h", "redis://h:6380/3", "rediss://:pa%40ss@h:6380", "redis://name:word@[::1]:1/0"] {
        let loaded = of_vars(&[("REDIS_URL", good), ("DATABASE_URL", "postgres://u@h/db")]);
        assert_eq!(messages(&loaded), Vec::<String>::new(), "{good}");
        assert_eq!(loaded.config.cluster.url.as_deref(), Some(good));
    }
    for bad in [
        "h:6379",
        "http://h",
        "unix:///run/redis.sock",
        "redis://",
        "redis://h/name",
        "redis://h?protocol=resp3",
        "rediss://h/#insecure",
        "redis://0.0.0.0",
    ] {
        let loaded = of_vars(&[("REDIS_URL", bad), ("DATABASE_URL", "postgres://u@h/db")]);
        assert!(messages(&loaded).join("\n").starts_with("REDIS_URL: "), "{bad}: {:?}", messages(&loaded));
    }
    let alone = messages(&of_vars(&[("REDIS_URL", "redis://h"), ("DATABASE_PATH", "a.db")])).join("\n");
    assert!(
        alone.contains("REDIS_URL: ") && alone.contains("SQLite") && alone.contains("DATABASE_URL"),
        "{alone}"
    );
    for bad in ["a b", "*", "a\tb", "x".repeat(65).as_str()] {
        assert_eq!(messages(&of_vars(&[("FRONTDESK_CLUSTER_PREFIX", bad)])).len(), 1, "{bad}");
    }
}

#[test]
fn the_password_of_redis_is_never_shown() {
    let address = "rediss://name:ge%2Fheim@h:6380/1";
    let loaded = of_vars(&[("REDIS_URL", address), ("DATABASE_URL", "postgres://u@h/db")]);
    let told = format!("{:?} {}", loaded.config, crate::config::effective::describe(&loaded));
    assert!(told.contains("rediss://name:[REDACTED]@h:6380/1") && !told.contains("heim"), "{told}");
    let secrets: Vec<String> =
        loaded.config.secrets().iter().map(|secret| secret.expose_secret().to_owned()).collect();
    assert!(
        secrets.contains(&"ge%2Fheim".to_owned()) && secrets.contains(&"ge/heim".to_owned()),
        "{secrets:?}"
    );
    let refused = messages(&of_vars(&[("REDIS_URL", "redis://:geheim@h/x")])).join("\n");
    assert!(refused.contains("[REDACTED]") && !refused.contains("geheim"), "{refused}");
}

#[test]
fn an_address_for_metrics_that_is_set_to_nothing_turns_them_off() {
    let listens = |pairs: &[(&str, &str)]| {
        let loaded = of_vars(pairs);
        assert_eq!(messages(&loaded), Vec::<String>::new());
        loaded.config.observe.metrics_listener().map(str::to_owned)
    };
    assert_eq!(listens(&[]).as_deref(), Some("127.0.0.1:9464"));
    assert_eq!(listens(&[("METRICS_ADDR", " ")]), None);
    assert_eq!(listens(&[("METRICS_ADDR", "0.0.0.0:9999")]).as_deref(), Some("0.0.0.0:9999"));
    let told = messages(&of_vars(&[("METRICS_ADDR", "9464"), ("METRICS_TOKEN", "short")])).join("\n");
    assert!(told.contains("METRICS_ADDR") && told.contains("METRICS_TOKEN"), "{told}");
}

#[test]
fn the_bots_audio_runs_ahead_by_at_most_a_second() {
    let loaded = of_vars(&[("FRONTDESK_CALL_PLAYBACK_LEAD_MS", "1001")]);
    assert_eq!(messages(&loaded).len(), 1);
    assert_eq!(of_vars(&[("FRONTDESK_CALL_PLAYBACK_LEAD_MS", "1000")]).config.call.playback_lead_ms, 1_000);
}

#[test]
fn every_setting_can_be_set_by_its_variable_and_by_the_file() {
    let given = Config::default();
    for setting in setting::all() {
        let (path, variable) = (setting.path(), setting.variable());
        // The default itself, or a value that holds, where the default is empty.
        let text = match (path.as_str(), setting.show(&given).unwrap_or_default()) {
            ("server.secret", _) => "0123456789abcdef0123456789abcdef".to_owned(),
            ("twilio.account_sid", _) => "AC1".to_owned(),
            ("outbound.allowed_countries", _) => "US".to_owned(),
            ("limits.trusted_proxies", _) => "127.0.0.1".to_owned(),
            ("cluster.url", _) => "redis://h".to_owned(),
            ("observe.metrics_token", _) => "0123456789abcdef".to_owned(),
            ("observe.statsd_addr", _) => "h:8125".to_owned(),
            ("observe.otlp_endpoint", _) if !cfg!(feature = "otel") => continue,
            ("observe.otlp_endpoint", _) => "http://h:4318".to_owned(),
            ("twilio.phone_number", _) => "+12025550143".to_owned(),
            (path, shown) if path.starts_with(FALLBACK) || shown.is_empty() => match setting.kind() {
                setting::Kind::Number => "100".to_owned(),
                setting::Kind::Decimal => "1.5".to_owned(),
                setting::Kind::Switch => "on".to_owned(),
                _ if path.ends_with("base_url") => "https://h/v1".to_owned(),
                _ if path.ends_with("max_tokens_field") => "max_tokens".to_owned(),
                _ => "word".to_owned(),
            },
            (_, shown) => shown,
        };
        // Some need another beside them: those clashes are not about reading.
        let bad = |loaded: &Loaded| {
            let faults = loaded.problems.iter().filter(|problem| !matches!(problem.fault, Fault::Clash(_)));
            faults.map(ToString::to_string).collect::<Vec<_>>()
        };
        let by_variable = of_vars(&[(&variable, &text)]);
        assert_eq!(bad(&by_variable), Vec::<String>::new(), "{variable}={text}");
        assert_eq!(by_variable.sources.get(&path), Some(&Source::Environment), "{variable}");
        let (section, field) = path.rsplit_once('.').unwrap();
        let value = match setting.kind() {
            setting::Kind::Decimal if text == "none" => format!("{text:?}"),
            setting::Kind::Number | setting::Kind::Decimal => text.clone(),
            setting::Kind::Switch => (text == "on").to_string(),
            setting::Kind::List => format!("[{text:?}]"),
            setting::Kind::Text | setting::Kind::Secret => format!("{text:?}"),
        };
        let by_file = of_file(&format!("[{section}]\n{field} = {value}\n"));
        assert_eq!(bad(&by_file), Vec::<String>::new(), "{path} = {value}");
        assert_eq!(by_file.sources.get(&path), Some(&Source::File), "{path}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let file = "[server]\nport = 4000\nmax_calls = 7\n[call]\nbackchannels = [\"aha\", \" so \"]\n";
    let loaded = load(
        &vars(&[("PORT", "5000"), ("FRONTDESK_CALL_FILLER_MS", "900"), ("HOST", " ")]),
        Some(("f", file)),
    );
    assert_eq!(loaded.problems, vec![]);
    let config = &loaded.config;
    assert_eq!((config.server.port, config.server.max_calls, config.call.filler_ms), (5000, 7, 900));
    assert_eq!(config.server.host, "127.0.0.1");
    assert_eq!(config.call.backchannels, ["aha", "so"]);
    assert_eq!(loaded.sources["server.port"], Source::Environment);
    assert_eq!(loaded.sources["server.max_calls"], Source::File);
    assert_eq!(loaded.sources.get("server.host"), None);
}

#[test]
fn a_database_path_names_a_sqlite_file_unless_there_is_an_address() {
    assert_eq!(of_vars(&[("DATABASE_PATH", "data/x.db")]).config.database.url, "sqlite://data/x.db");
    let both = of_vars(&[("DATABASE_PATH", "x.db"), ("DATABASE_URL", "sqlite://y.db")]);
    assert_eq!(both.config.database.url, "sqlite://y.db");
    assert!(messages(&of_vars(&[("DATABASE_PATH", ":memory:")]))[0].starts_with("DATABASE_PATH: "));
}

#[test]
fn what_cannot_hold_is_refused_with_what_was_expected() {
    for (variable, value, expected) in [
        ("PORT", "abc", "a whole number from 0 to 65535"),
        ("PORT", "0", "a whole number from 1 to 65535"),
        ("PORT", "70000", "a whole number from 0 to 65535"),
        ("PORT", "-1", "a whole number"),
        ("HOST", "1.2.3.4:80", "an IP address"),
        ("BASE_URL", "http://desk.example.com", "https://; http:// is for loopback only"),
        ("BASE_URL", "desk.example.com", "an address like https://"),
        ("BASE_URL", "https://u:p@desk.example.com", "without name, password"),
        ("BASE_URL", "https://desk.example.com/?a=b", "or query"),
        ("BASE_URL", "wss://desk.example.com", "an address like https://"),
        ("DEEPGRAM_BASE_URL", "wss://api.deepgram.com", "that of the WebSocket is derived"),
        ("OPENAI_BASE_URL", "api.openai.com/v1", "an address like https://"),
        ("OPENAI_BASE_URL", "file:///etc/passwd", "an address like https://"),
        ("TWILIO_PHONE_NUMBER", "(202) 555-0143", "E.164"),
        ("TWILIO_ACCOUNT_SID", "SK0123", "begins with AC"),
        ("TWILIO_AUTH_TOKEN", "\"quoted\"", "without quotes"),
        ("DEEPGRAM_API_KEY", "two words", "in one piece"),
        ("ELEVENLABS_API_KEY", "schlüssel", "visible ASCII"),
        ("ELEVENLABS_VOICE_ID", "Rachel the voice", "a voice's id"),
        ("ELEVENLABS_VOICE_ID", "sk_key", "not a name or a key"),
        ("FRONTDESK_SECRET", "short", "at least 32 characters"),
        ("FRONTDESK_SECRET", "0123456789abcdef0123456789abcdef,short", "at least 32 characters"),
        ("DATABASE_URL", "data/frontdesk.db", "sqlite://PATH or postgres://"),
        ("DATABASE_URL", "host=localhost dbname=x", "sqlite://PATH or postgres://"),
        ("DATABASE_URL", "mysql://h/db", "sqlite://PATH or postgres://"),
        ("DATABASE_URL", "sqlite://", "a path after sqlite://"),
        ("DATABASE_URL", "sqlite://:memory:", "a file"),
        ("RUST_LOG", "frontdesk=loud", "a filter like info"),
        ("MIGRATE", "maybe", "`on` or `off`"),
        ("FRONTDESK_STT_UTTERANCE_END_MS", "999", "from 1000 to 5000"),
        ("FRONTDESK_TTS_OUTPUT_FORMAT", "mp3_44100_128", "one of ulaw_8000, pcm_8000"),
        ("FRONTDESK_LLM_PRIMARY_TEMPERATURE", "3", "a number from 0 to 2"),
        ("FRONTDESK_LLM_PRIMARY_TEMPERATURE", "NaN", "a number, or `none`"),
        ("FRONTDESK_LLM_PRIMARY_MAX_TOKENS_FIELD", "tokens", "one of max_completion_tokens"),
        ("FRONTDESK_SERVER_MAX_CALLS", "0", "from 1 to"),
        ("FRONTDESK_DATABASE_POOL", "0", "from 1 to"),
        ("FRONTDESK_TTS_MAX_CONCURRENT", "0", "from 1 to"),
        ("FRONTDESK_CALL_FILLER_MS", "1.5", "a whole number"),
    ] {
        let loaded = of_vars(&[(variable, value)]);
        let [problem] = &loaded.problems[..] else { panic!("{variable}={value}: {:?}", loaded.problems) };
        let Fault::Wrong { expected: told, .. } = &problem.fault else { panic!("{problem}") };
        assert!(problem.subject == variable && told.contains(expected), "{value}: {problem}");
        assert!(loaded.sources.is_empty(), "{variable}={value} must leave the default in place");
        assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let file = "[server]\nport = \"many\"\nprot = 1\n[cal]\nx = 1\n[call]\nfiler_ms = 2\nfiller_ms = 0\n[stt]\nmodel = 5\n";
    let loaded = load(&vars(&[("HOST", "a b"), ("FRONTDESK_STT_MODLE", "x")]), Some(("f.toml", file)));
    let told = messages(&loaded);
    for wanted in [
        "server.port in f.toml: \"many\" was given, expected a whole number",
        "server.prot in f.toml is no setting; did you mean server.port?",
        "cal in f.toml is no setting; did you mean call?",
        "call.filer_ms in f.toml is no setting; did you mean call.filler_ms?",
        "call.filler_ms in f.toml: \"0\" was given, expected a whole number from 100 to 60000",
        "stt.model in f.toml: \"5\" was given, expected text",
        "HOST: \"a b\" was given, expected an IP address",
        "FRONTDESK_STT_MODLE is no setting; did you mean FRONTDESK_STT_MODEL?",
    ] {
        assert!(told.iter().any(|message| message.contains(wanted)), "{wanted}\n{told:#?}");
    }
    assert_eq!(told.len(), 8, "{told:#?}");
}

#[test]
fn a_mistake_in_the_file_is_told_even_where_a_variable_wins() {
    let loaded = load(&vars(&[("PORT", "5000")]), Some(("f.toml", "server.port = true")));
    assert_eq!(loaded.config.server.port, 5000);
    assert_eq!(messages(&loaded).len(), 1);
}

#[test]
fn a_file_that_is_no_toml_is_named_by_line_and_not_quoted() {
    let loaded = of_file("[server]\nport = 1000\n[twilio]\nauth_token = geheim123\n");
    assert_eq!(messages(&loaded), ["f.toml cannot be read: it is no valid TOML in line 4"]);
    let loaded = of_file("server = 5\n");
    assert_eq!(messages(&loaded), ["server in f.toml: \"5\" was given, expected a section, [server]"]);
}

#[test]
fn settings_that_contradict_each_other_are_told_with_both_names() {
    for (pairs, wanted) in [
        (vec![("FRONTDESK_CALL_FILLER_MS", "20000")], "FRONTDESK_CALL_APOLOGY_MS"),
        (vec![("FRONTDESK_STT_RECONNECT_MS", "900")], "FRONTDESK_STT_RECONNECT_MAX_MS"),
        (vec![("FRONTDESK_LLM_SWITCH_MS", "11000")], "FRONTDESK_CALL_APOLOGY_MS"),
        (vec![("FRONTDESK_TWILIO_RESERVATION_MS", "5000")], "FRONTDESK_TWILIO_RESERVATION_MS"),
        (vec![("FRONTDESK_STT_JOIN_MS", "50")], "no multiple of 20"),
        (vec![("FRONTDESK_STT_GAP_BUFFER_MS", "500")], "FRONTDESK_STT_SILENCE_JOIN_MS"),
        (vec![("FRONTDESK_CALL_BARGE_IN_WORDS", "3")], "FRONTDESK_CALL_BARGE_IN_WORDS_ALONE"),
        (vec![("TWILIO_SHARED_KEY_ID", "x")], "needs TWILIO_SHARED_KEY "),
        (vec![("TWILIO_SHARED_KEY", "x")], "needs TWILIO_SHARED_KEY_ID "),
        (vec![("OPENAI_BASE_URL", "https://api.openai.com")], "lacks the version"),
        (vec![("FRONTDESK_LLM_FALLBACK_TOOL_NAME", "off")], "that is no fallback"),
    ] {
        let loaded = of_vars(&pairs);
        let [problem] = &loaded.problems[..] else { panic!("{pairs:?}: {:?}", loaded.problems) };
        assert!(
            matches!(problem.fault, Fault::Clash(_)) && problem.to_string().contains(wanted),
            "{problem}"
        );
    }
    let loaded = of_file("call.filler_ms = 20000");
    assert!(messages(&loaded)[0].starts_with("call.filler_ms in the configuration file: "));
}

#[test]
fn numbers_that_no_call_could_live_with_are_refused() {
    for (variable, value) in [
        ("FRONTDESK_STT_GAP_BUFFER_MS", "0"),
        ("FRONTDESK_STT_STALL_MS", "500"),
        ("FRONTDESK_STT_CONNECT_TIMEOUT_MS", "100"),
        ("FRONTDESK_STT_RECONNECT_MAX_MS", "60000"),
        ("FRONTDESK_TTS_FIRST_AUDIO_MS", "60000"),
        ("FRONTDESK_TTS_GAP_MS", "60000"),
        ("FRONTDESK_CALL_RESTART_MS", "60000"),
        ("FRONTDESK_TWILIO_START_TIMEOUT_MS", "100"),
    ] {
        let told = messages(&of_vars(&[(variable, value)]));
        assert!(
            told.iter().any(|m| m.contains(variable) && m.contains("a whole number from")),
            "{variable}: {told:?}"
        );
    }
}

#[test]
fn a_fallback_is_there_when_any_of_it_is_set_and_is_like_the_primary() {
    assert!(of_vars(&[]).config.llm.fallback.is_none());
    let same_host = of_vars(&[
        ("OPENAI_API_KEY", "oa"),
        ("OPENAI_BASE_URL", "https://h/v1"),
        ("FRONTDESK_LLM_PRIMARY_TOOL_NAME", "off"),
        ("FRONTDESK_LLM_FALLBACK_MODEL", "small"),
    ]);
    assert_eq!(messages(&same_host), Vec::<String>::new());
    let fallback = same_host.config.llm.fallback.unwrap();
    assert_eq!((fallback.model.as_str(), fallback.base_url.as_str()), ("small", "https://h/v1"));
    assert_eq!((fallback.api_key.expose_secret(), fallback.tool_name), ("oa", false));
}

#[test]
fn the_primarys_key_is_not_sent_to_another_host() {
    let file = "[llm.fallback]\nbase_url = \"https://other/v1\"\nmodel = \"m\"\n";
    let loaded = load(&vars(&[("OPENAI_API_KEY", "oa")]), Some(("f", file)));
    assert_eq!(loaded.config.llm.fallback.as_ref().unwrap().api_key.expose_secret(), "");
    let missing = missing_for_serve(&loaded.config);
    assert!(missing.iter().any(|problem| problem.subject == "FRONTDESK_LLM_FALLBACK_API_KEY"), "{missing:?}");
    let own = load(
        &vars(&[("OPENAI_API_KEY", "oa"), ("FRONTDESK_LLM_FALLBACK_API_KEY", "own")]),
        Some(("f", file)),
    );
    assert_eq!(own.config.llm.fallback.unwrap().api_key.expose_secret(), "own");
}

#[test]
fn variables_that_an_orchestrator_makes_for_a_service_are_left_alone() {
    let loaded = of_vars(&[
        ("FRONTDESK_PORT", "tcp://10.0.0.1:3100"),
        ("FRONTDESK_SERVICE_HOST", "10.0.0.1"),
        ("FRONTDESK_DATABASE_SERVICE_HOST", "10.0.0.2"),
        ("FRONTDESK_DATABASE_SERVICE_PORT_POSTGRES", "5432"),
        ("FRONTDESK_DATABASE_PORT", "tcp://10.0.0.2:5432"),
        ("FRONTDESK_DATABASE_PORT_5432_TCP_ADDR", "10.0.0.2"),
        ("FRONTDESK_VERSION", "1"),
    ]);
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let told = messages(&of_vars(&[("FRONTDESK_SERVER_PORT", "80")]));
    assert_eq!(told, ["FRONTDESK_SERVER_PORT is no setting; did you mean PORT?"]);
}

#[test]
fn what_serve_needs_is_named_and_every_message_points_to_the_demo() {
    let missing = missing_for_serve(&of_vars(&[]).config);
    let names: Vec<&str> = missing.iter().map(|problem| problem.subject.as_str()).collect();
    assert_eq!(
        names,
        [
            "BASE_URL",
            "TWILIO_ACCOUNT_SID",
            "TWILIO_AUTH_TOKEN",
            "TWILIO_PHONE_NUMBER",
            "DEEPGRAM_API_KEY",
            "ELEVENLABS_API_KEY",
            "ELEVENLABS_VOICE_ID",
            "OPENAI_API_KEY",
            "BUSINESS_PROFILE"
        ]
    );
    for problem in &missing {
        assert!(
            problem.to_string().ends_with("to see it work without any key, run `frontdesk demo`"),
            "{problem}"
        );
    }
    let names = |pairs: &[(&str, &str)]| -> Vec<String> {
        missing_for_serve(&of_vars(pairs).config).into_iter().map(|problem| problem.subject).collect()
    };
    assert!(names(&[("DATABASE_URL", "postgres://h/db")]).contains(&"FRONTDESK_SECRET".to_owned()));
    assert!(!names(&[("TWILIO_BASE_URL", "http://127.0.0.1:1")]).contains(&"BASE_URL".to_owned()));
}

#[test]
fn no_secret_is_shown_by_debug_by_the_table_or_by_a_problem() {
    let pairs = [
        ("TWILIO_AUTH_TOKEN", "geheim-a"),
        ("TWILIO_SHARED_KEY", "geheim-b"),
        ("DEEPGRAM_API_KEY", "geheim-c"),
        ("ELEVENLABS_API_KEY", "geheim-d"),
        ("OPENAI_API_KEY", "geheim-e"),
        ("FRONTDESK_LLM_FALLBACK_API_KEY", "geheim-f"),
        ("FRONTDESK_SECRET", "geheim-geheim-geheim-geheim-geheim"),
        ("DATABASE_URL", "postgres://u:geheim-g@h/db?password=geheim-h"),
    ];
    let loaded = of_vars(&pairs);
    let shown = format!("{loaded:?}\n{:#?}\n{}", loaded.config, describe(&loaded));
    assert!(!shown.contains("geheim"), "{shown}");
    assert!(loaded.config.secrets().len() >= 9);
    // Refused for a blank or for their scheme.
    let refused = pairs.map(|(name, value)| (name, format!("{} x", value.replace("postgres", "mysql"))));
    let refused: Vec<(&str, &str)> = refused.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let loaded = of_vars(&refused);
    let shown = format!("{loaded:?}\n{:?}", messages(&loaded));
    assert!(loaded.problems.len() >= 7 && !shown.contains("geheim"), "{shown}");
    // Swapped: the token stands where the account belongs.
    let shown = messages(&of_vars(&[("TWILIO_ACCOUNT_SID", "0123456789abcdef0123456789abcdef")])).join("\n");
    assert!(shown.contains("[REDACTED]") && !shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn the_effective_table_tells_value_variable_and_source() {
    let loaded = load(&vars(&[("PORT", "5000")]), Some(("f", "call.filler_ms = 900")));
    let table = describe(&loaded);
    let line = |start: &str| {
        let line = table.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("server.port "), "server.port 5000 PORT environment");
    assert_eq!(line("call.filler_ms "), "call.filler_ms 900 FRONTDESK_CALL_FILLER_MS file");
    assert_eq!(line("server.host "), "server.host 127.0.0.1 HOST default");
    assert_eq!(line("tts.api_key "), "tts.api_key - ELEVENLABS_API_KEY default");
    assert!(!table.contains("llm.fallback"));
}

#[test]
fn the_readmes_table_has_every_setting_once_and_is_always_the_same() {
    let table = markdown_table();
    assert_eq!(table, markdown_table());
    assert_eq!(table.lines().count(), setting::all().len() + 2);
    for line in table.lines() {
        assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
    }
    for wanted in [
        "| `server.port` | `PORT` | number | `3100` | Port to listen on. |",
        "| `twilio.auth_token` | `TWILIO_AUTH_TOKEN` | secret | - |",
        "| `call.max_call_s` | `FRONTDESK_CALL_MAX_CALL_S` | s | `1800` | Longest call, s. |",
        "| `stt.punctuate` | `FRONTDESK_STT_PUNCTUATE` | `on`, `off` | `on` | Punctuation. |",
        "| `llm.fallback.model` | `FRONTDESK_LLM_FALLBACK_MODEL` | text | as `llm.primary` |",
    ] {
        assert!(table.contains(wanted), "{wanted}\n{table}");
    }
}

#[test]
fn the_example_names_every_variable_that_has_a_name_of_its_own_and_loads_without_mistake() {
    let example = include_str!("../../../docker/example.env");
    for setting in setting::all() {
        let variable = setting.variable();
        let own = !variable.starts_with("FRONTDESK_") || variable == "FRONTDESK_SECRET";
        let there =
            example.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{variable}=")));
        assert_eq!(there, own || variable == "FRONTDESK_LLM_FALLBACK_MODEL", "{variable}");
    }
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_uppercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let vars = dotenvy::from_read_iter(uncommented.as_bytes()).map(Result::unwrap).collect();
    let loaded = load(&vars, None);
    assert_eq!(messages(&loaded), Vec::<String>::new());
    for setting in setting::all().iter().filter(|s| s.show(&Config::default()).is_some_and(|d| !d.is_empty()))
    {
        let (path, now) = (setting.path(), setting.show(&loaded.config));
        if path != "server.base_url" {
            assert_eq!(now, setting.show(&Config::default()), "{path}: the example must show the default");
        }
    }
}

proptest! {
    #[test]
    fn any_variables_and_any_file_give_a_configuration_and_problems(
        name in "PORT|BASE_URL|DATABASE_URL|RUST_LOG|FRONTDESK_[A-Z]{3,6}_[A-Z_]{0,10}|OPENAI_BASE_URL",
        value in "\\PC{0,40}",
        text in "\\PC{0,200}|(\\[[a-z.]{0,8}\\]\n)?([a-z_.]{1,10} = (1|\"x\"|true|\\[1\\]|\\{a=1\\}|1.5|1979-05-27)\n){0,5}",
    ) {
        let loaded = load(&vars(&[(&name, &value)]), Some(("f.toml", &text)));
        let _ = (describe(&loaded), messages(&loaded), missing_for_serve(&loaded.config));
        for setting in setting::all() {
            prop_assert_eq!(setting.check(&loaded.config), Ok(()));
        }
    }
}

#[test]
fn tls_of_our_own_needs_certificate_and_key_and_an_address_that_says_so() {
    let https = ("BASE_URL", "https://desk.example.com");
    let (cert, key) = (("TLS_CERT", "c.pem"), ("TLS_KEY", "k.pem"));
    assert_eq!(messages(&of_vars(&[https, cert, key])), Vec::<String>::new());
    for (vars, wanted) in [
        (vec![https, cert], "TLS_CERT: it needs TLS_KEY beside it"),
        (vec![https, key], "TLS_KEY: it needs TLS_CERT beside it"),
        (vec![cert, key], "BASE_URL: it must begin with https://: with TLS_CERT, that is what is spoken"),
        (
            vec![("BASE_URL", "http://127.0.0.1:3100"), cert, key],
            "BASE_URL: it must begin with https://: with TLS_CERT, that is what is spoken",
        ),
    ] {
        assert_eq!(messages(&of_vars(&vars)), [wanted]);
    }
}
