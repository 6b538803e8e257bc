//! What lies in `docker/` is true: it can be read, names settings that there are, agrees with itself on ports and times,
//! and a call goes through the load balancer as it is configured.

use crate::support::process::Port;
use crate::support::{Desk, barbershop};
use frontdesk::config::Config;
use frontdesk::config::effective::markdown_table;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Variables of this program that are not in the table.
const ELSEWHERE: [&str; 1] = ["FRONTDESK_CONFIG"];
/// Where Prometheus reads.
const METRICS_PORT: &str = "9464";

fn docker(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(docker(path)).unwrap_or_else(|error| panic!("docker/{path}: {error}"))
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    let read = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let done = Command::new("python3").args(["-c", read]).arg(docker(path)).output();
    let done = done.expect("python3 is there (tests/run installs it)");
    assert!(done.status.success(), "docker/{path}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

/// Every YAML file below `docker/`.
fn yaml_files() -> Vec<String> {
    let mut folders = vec![docker("")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
                files.push(path.strip_prefix(docker("")).unwrap().display().to_string());
            }
        }
    }
    files.sort();
    files
}

/// The variables of all settings.
fn variables() -> BTreeSet<String> {
    let table = markdown_table();
    let rows = table.lines().skip(2).filter_map(|row| row.split('`').nth(3));
    rows.map(str::to_owned).chain(ELSEWHERE.map(str::to_owned)).collect()
}

fn keys(map: &Value) -> Vec<String> {
    map.as_object().unwrap_or(&Map::new()).keys().cloned().collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// The variables that each file sets for the server.
fn used() -> BTreeMap<&'static str, Vec<String>> {
    let compose = yaml("compose.yaml").remove(0);
    let kubernetes = yaml("kubernetes/frontdesk.yaml");
    let secret = yaml("kubernetes/secret.example.yaml");
    let unit = text("systemd/frontdesk.service");
    let unit = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split('=').next());
    let image = text("Dockerfile");
    let image = image
        .lines()
        .skip_while(|line| !line.starts_with("ENV "))
        .take_while(|line| line.starts_with("ENV ") || line.starts_with("    "));
    let image = image.filter_map(|line| line.trim_start_matches("ENV ").trim().split('=').next());
    let example = text("example.env");
    let example = example.lines().filter_map(|line| {
        let name = line.trim_start_matches('#').split_once('=')?.0;
        let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        (is_name && !name.is_empty()).then(|| name.to_owned())
    });
    BTreeMap::from([
        ("compose.yaml", keys(&compose["x-frontdesk"]["environment"])),
        ("kubernetes/frontdesk.yaml", keys(&of_kind(&kubernetes, "ConfigMap")["data"])),
        ("kubernetes/secret.example.yaml", keys(&secret[0]["stringData"])),
        ("systemd/frontdesk.service", unit.map(str::to_owned).collect()),
        ("Dockerfile", image.map(str::to_owned).collect()),
        ("example.env", example.collect()),
    ])
}

#[test]
fn every_yaml_file_can_be_read() {
    let files = yaml_files();
    assert!(files.len() >= 7, "{files:?}");
    for file in &files {
        assert!(yaml(file).iter().all(Value::is_object), "docker/{file}");
    }
}

#[test]
fn every_variable_that_is_set_is_a_setting() {
    let known = variables();
    assert!(known.contains("PORT") && known.contains("FRONTDESK_CALL_FILLER_MS"), "{known:?}");
    for (file, names) in used() {
        assert!(names.len() >= 3, "docker/{file}: {names:?}");
        for name in names {
            assert!(known.contains(&name), "docker/{file} sets {name}, which is no setting");
        }
    }
}

#[test]
fn all_agree_on_the_ports() {
    let port = Config::default().server.port.to_string();
    let image = text("Dockerfile");
    assert!(
        image.contains(&format!("EXPOSE {port}\n")) && image.contains(&format!("PORT={port} ")),
        "{image}"
    );
    let compose = yaml("compose.yaml").remove(0);
    assert_eq!(compose["x-frontdesk"]["environment"]["PORT"], port.as_str());
    let metrics = format!("0.0.0.0:{METRICS_PORT}");
    assert_eq!(compose["x-frontdesk"]["environment"]["METRICS_ADDR"], metrics.as_str());
    let balancer = text("haproxy/haproxy.cfg");
    let servers: Vec<&str> = balancer.lines().filter(|line| line.trim().starts_with("server ")).collect();
    assert_eq!(servers.len(), 12);
    for server in &servers {
        let name = server.split_whitespace().nth(2).unwrap();
        let (host, to) = name.split_once(':').unwrap();
        assert_eq!(to, port, "{server}");
        assert!(compose["services"][host].is_object(), "{server}");
    }
    let published = compose["services"]["haproxy"]["ports"][0].as_str().unwrap().rsplit(':').next().unwrap();
    assert!(balancer.contains(&format!("bind :{published}\n")), "{published}");
    let scraped = yaml("prometheus/prometheus.yml").remove(0);
    let targets = scraped["scrape_configs"][0]["static_configs"][0]["targets"].as_array().unwrap().clone();
    assert_eq!(targets.len(), 2);
    for target in targets {
        let (host, to) = target.as_str().unwrap().split_once(':').unwrap();
        assert!(compose["services"][host].is_object() && to == METRICS_PORT, "{target}");
    }

    let kubernetes = yaml("kubernetes/frontdesk.yaml");
    let map = &of_kind(&kubernetes, "ConfigMap")["data"];
    assert_eq!(
        (map["PORT"].as_str(), map["METRICS_ADDR"].as_str()),
        (Some(port.as_str()), Some(metrics.as_str()))
    );
    let container = &of_kind(&kubernetes, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let ports: Vec<String> =
        container["ports"].as_array().unwrap().iter().map(|p| p["containerPort"].to_string()).collect();
    assert_eq!(ports, [port.as_str(), METRICS_PORT]);
    let policy = yaml("kubernetes/network-policy.yaml").remove(0);
    let open: Vec<String> = policy["spec"]["ingress"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["ports"][0]["port"].to_string())
        .collect();
    assert_eq!(open, [port.as_str(), METRICS_PORT]);
}

#[test]
fn the_alerts_and_the_dashboard_are_where_they_are_looked_for() {
    let rules = yaml("prometheus/prometheus.yml").remove(0);
    let rules = rules["rule_files"][0].as_str().unwrap().to_owned();
    let compose = yaml("compose.yaml").remove(0);
    let mounted = |service: &str, inside: &str| {
        let volumes = compose["services"][service]["volumes"].as_array().unwrap().clone();
        let mut parts = volumes.iter().map(|v| v.as_str().unwrap().split(':').collect::<Vec<_>>());
        let found = parts.find(|parts| inside.starts_with(parts[1])).map(|parts| parts[0].to_owned());
        let found = found.unwrap_or_else(|| panic!("{service} has no {inside}"));
        docker(found.trim_start_matches("./"))
    };
    let rules = mounted("prometheus", &rules).join(rules.rsplit('/').next().unwrap());
    assert!(rules.exists(), "{}", rules.display());
    let provider = yaml("grafana/provisioning/dashboards/frontdesk.yaml").remove(0);
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap().to_owned();
    let dashboard = std::fs::read_to_string(mounted("grafana", &folder).join("frontdesk.json")).unwrap();
    let source = yaml("grafana/provisioning/datasources/prometheus.yaml").remove(0);
    let source = source["datasources"][0]["uid"].as_str().unwrap().to_owned();
    assert!(dashboard.contains(&format!("\"uid\": \"{source}\"")), "the dashboard asks {source}");
}

/// A time such as `180s`, in seconds.
fn seconds(value: &Value) -> u64 {
    value.as_str().unwrap().trim_end_matches('s').parse().unwrap()
}

#[test]
fn nobody_is_killed_while_calls_are_waited_for() {
    // The wait for calls, then that they let go, then jobs under way and the last writes.
    let needed = |drain_ms: u64| drain_ms / 1_000 + 30;
    let usual = needed(Config::default().server.drain_ms);
    let compose = yaml("compose.yaml").remove(0);
    assert!(seconds(&compose["x-frontdesk"]["stop_grace_period"]) >= usual);
    let unit = text("systemd/frontdesk.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(stop.parse::<u64>().unwrap() >= usual);
    let kubernetes = yaml("kubernetes/frontdesk.yaml");
    let drain = of_kind(&kubernetes, "ConfigMap")["data"]["FRONTDESK_SERVER_DRAIN_MS"].as_str().unwrap();
    let pod = &of_kind(&kubernetes, "Deployment")["spec"]["template"]["spec"];
    let before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= before + needed(drain.parse().unwrap()), "{grace}");
    // The load balancer does not cut what the replicas let go on.
    let balancer = text("haproxy/haproxy.cfg");
    assert!(balancer.contains("timeout tunnel 5h\n"), "longer than Twilio's longest call, 4 h");
    assert!(!balancer.contains("shutdown-sessions"), "a replica that drains keeps its streams");
    // A replica that hangs is given up while Twilio still waits for an answer (15 s).
    for backend in ["webhooks", "webhooks_alive"] {
        let (_, after) = balancer.split_once(&format!("\nbackend {backend}\n")).unwrap();
        let section = after.split("\n\n").next().unwrap();
        assert!(section.contains("timeout server 4s") && section.contains("response-timeout"), "{section}");
    }
    let webhooks = kubernetes.iter().find(|one| one["metadata"]["name"] == "frontdesk-webhooks").unwrap();
    let annotations = &webhooks["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"], "4");
    // Who is about to end says so for long enough: two checks at the slower pace, and a moment.
    let notice = frontdesk::config::server::ServerConfig::default().notice_ms;
    assert!(balancer.contains("inter 1s fastinter 500ms fall 2") && notice >= 2_000, "{notice}");
}

#[test]
fn nothing_runs_as_root_or_writes_beside_its_data() {
    assert!(text("Dockerfile").contains("\nUSER 65532:65532\n"));
    let compose = yaml("compose.yaml").remove(0);
    let server = &compose["x-frontdesk"];
    assert_eq!((&server["read_only"], server["user"].as_str()), (&Value::Bool(true), Some("65532:65532")));
    assert_eq!(server["cap_drop"][0], "ALL");
    let kubernetes = yaml("kubernetes/frontdesk.yaml");
    let pod = &of_kind(&kubernetes, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["securityContext"]["runAsNonRoot"], &pod["securityContext"]["runAsUser"]),
        (&true.into(), &65532.into())
    );
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert!(container[probe]["httpGet"]["path"].is_string(), "{probe}");
    }
    assert_eq!(of_kind(&kubernetes, "PodDisruptionBudget")["spec"]["minAvailable"], 1);
    // No secret stands in a file that is shared.
    let secret = yaml("kubernetes/secret.example.yaml").remove(0);
    for name in
        ["FRONTDESK_SECRET", "TWILIO_AUTH_TOKEN", "DEEPGRAM_API_KEY", "ELEVENLABS_API_KEY", "OPENAI_API_KEY"]
    {
        assert_eq!(secret["stringData"][name], "", "{name}");
    }
}

#[test]
fn whoever_has_no_room_is_still_asked_and_whoever_ends_is_started_again() {
    // Kubernetes falls back on nobody: one that is full, or without its database, says so itself.
    let kubernetes = yaml("kubernetes/frontdesk.yaml");
    let container = &of_kind(&kubernetes, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/api/health");
    assert!(text("kubernetes/frontdesk.yaml").contains("Kubernetes 1.30 or newer"), "for preStop.sleep");
    // haproxy falls back on those that live.
    let balancer = text("haproxy/haproxy.cfg");
    let (_, alive) = balancer.split_once("\nbackend alive\n").unwrap();
    assert!(balancer.contains("default_backend alive\n") && alive.contains("httpchk GET /api/health\n"));
    // Also if it ends again and again, because its database comes up later than it does.
    let unit = text("systemd/frontdesk.service");
    for line in ["Restart=on-failure", "StartLimitIntervalSec=0"] {
        assert!(unit.lines().any(|has| has == line), "{line}");
    }
    let compose = yaml("compose.yaml").remove(0);
    for (name, service) in compose["services"].as_object().unwrap() {
        let own = if name.starts_with("frontdesk-") { &compose["x-frontdesk"] } else { service };
        assert_eq!(own["restart"], "unless-stopped", "{name}");
        assert_eq!(own["logging"]["driver"], "local", "{name}: a log that grows fills the disk");
    }
}

// --- the load balancer ----------------------------------------------------------------------------------------------

/// haproxy, gone with the value.
struct Balancer(Child);

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn haproxy() -> Command {
    let debian = Path::new("/usr/sbin/haproxy");
    Command::new(if debian.exists() { debian } else { Path::new("haproxy") })
}

#[test]
fn the_load_balancers_configuration_is_valid() {
    let done = haproxy().args(["-c", "-f"]).arg(docker("haproxy/haproxy.cfg")).output();
    let done = done.expect("haproxy is there (tests/run installs it)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[actix::test]
async fn a_call_goes_through_the_load_balancer_and_another_one_when_a_replica_is_gone() {
    let (front, nobodys) = (Port::hold(), Port::hold());
    let (port, public) = (front.number(), format!("http://{}", front.address()));
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        config.server.base_url.clone_from(&public);
        config.limits.trusted_proxies = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let folder = std::env::temp_dir().join(format!("frontdesk-balancer-{:032x}", rand::random::<u128>()));
    std::fs::create_dir_all(&folder).unwrap();
    // As it is, with addresses of this machine. The second replica is not there.
    let here = desk.stack().server.address.to_string();
    let config = text("haproxy/haproxy.cfg")
        .replace("bind :8080", &format!("bind 127.0.0.1:{port}"))
        .replace("frontdesk-a:3100", &nobodys.address())
        .replace("frontdesk-b:3100", &here);
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = haproxy()
        .args(["-db", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("haproxy starts");
    let balancer = Balancer(child);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(tokio::time::Instant::now() < deadline, "haproxy does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut caller = desk.stack().caller();
    caller.base_url.clone_from(&public);
    let script = Script::parse(include_str!("../calls/prices.toml")).unwrap();
    // At first both count as there: whoever is sent to the one that is not is sent on.
    for _ in 0..3 {
        let report = run_call(&caller, &script).await;
        desk.after(report).await.is_sound();
    }
    // What is not for strangers stays inside.
    let metrics = awc::Client::default().get(format!("{public}/metrics")).send().await.unwrap();
    assert_eq!(metrics.status(), 404);
    drop(balancer);
    desk.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

// --- the health check -----------------------------------------------------------------------------------------------

#[actix::test]
async fn the_health_check_tells_a_server_that_lives_from_one_that_does_not() {
    let desk = Desk::open().await;
    let ask = async |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        command.arg("health").args(args).env_clear().current_dir(std::env::temp_dir());
        command.envs(env.iter().copied());
        actix_web::web::block(move || command.output()).await.unwrap().unwrap()
    };
    let port = desk.stack().server.address.port().to_string();
    let alive = ask(&[], &[("PORT", &port), ("HOST", "0.0.0.0")]).await;
    assert!(alive.status.success(), "{}", String::from_utf8_lossy(&alive.stderr));
    assert!(String::from_utf8_lossy(&alive.stdout).contains("\"ok\""), "{alive:?}");
    let ready = ask(&["--ready", "--url", &desk.stack().base_url], &[]).await;
    assert!(String::from_utf8_lossy(&ready.stdout).contains("\"ready\""), "{ready:?}");
    let closed = Port::hold();
    let nobody = ask(&[], &[("PORT", &closed.number().to_string())]).await;
    assert!(!nobody.status.success() && !nobody.stderr.is_empty(), "{nobody:?}");
    let stuck = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = stuck.local_addr().unwrap().port().to_string();
    let silent = ask(&[], &[("PORT", &port)]).await;
    assert!(!silent.status.success(), "one that accepts and does not answer is not well");
    desk.close().await;
}
