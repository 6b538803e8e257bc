//! TLS: vendors behind it, certificates that are not to be trusted, and our own public port with it.

use crate::support::process::{Place, Process};
use crate::support::{Desk, barbershop};
use actix_tls::connect::Connection;
use actix_tls::connect::rustls_0_23::TlsConnector;
use actix_web::dev::Service as _;
use frontdesk::api::secret::fingerprint;
use frontdesk::config::stt::SttConfig;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::observe::feed::FeedEvent;
use frontdesk::provider::ProviderErrorKind;
use frontdesk::provider::http::{self, VendorTls};
use frontdesk::provider::stt::SttVendor as _;
use frontdesk::provider::stt::deepgram::DeepgramStt;
use frontdesk::sim::authority::{Authority, Issued, Trust, Validity, VendorsTls};
use frontdesk::sim::caller::callee::{Reaction, ring};
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::{Vendors, VendorsConfig};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(30);

/// A folder that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("frontdesk-tls-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[actix::test]
async fn a_whole_call_is_heard_answered_and_booked_with_every_vendor_behind_tls() {
    let folder = Folder::new();
    let vendors = VendorsConfig::default().with_tls(&folder.0).unwrap();
    let desk = Desk::with(barbershop(), vendors, |_| {}).await;
    assert!(desk.stack().vendors.deepgram_url.starts_with("https://"));
    let call = desk.call(include_str!("../../src/sim/scripts/booking.toml")).await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    assert_eq!(desk.db().appointments(10).await.unwrap().len(), 1);
    // Connections are used again and again, and later ones take up the session of an earlier one.
    let stats = desk.stack().vendors.stats();
    let requests = stats.openai.requests + stats.elevenlabs.requests;
    assert!(stats.tls_full + stats.tls_resumed < requests, "{stats:?}");
    assert!(stats.tls_resumed > 0, "{stats:?}");
    desk.close().await;
}

#[actix::test]
async fn a_call_is_placed_through_twilios_api_behind_tls() {
    let folder = Folder::new();
    let vendors = VendorsConfig::default().with_tls(&folder.0).unwrap();
    let desk = Desk::with(barbershop(), vendors, |_| {}).await;
    let key = format!("fd_test_{:032x}", rand::random::<u128>());
    desk.db().add_key("test".into(), fingerprint(&key), Scope::Call, UnixMillis(1)).await.unwrap();
    let mut created = desk.stack().vendors.calls.created();
    let caller = desk.stack().caller();
    let rung = actix_rt::spawn(async move {
        let call = created.recv().await.unwrap();
        let script = "name = \"rung\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nhang_up = true\n";
        ring(&caller, &call, Reaction::Answers(Box::new(Script::parse(script).unwrap()))).await
    });
    let mut answer = awc::Client::builder()
        .timeout(LONG)
        .finish()
        .post(format!("{}/api/calls/outbound", desk.stack().base_url))
        .insert_header(("authorization", format!("Bearer {key}")))
        .send_json(&serde_json::json!({"to": "+12025550143", "purpose": "your appointment"}))
        .await
        .unwrap();
    assert_eq!(answer.status(), 201, "{:?}", answer.body().await);
    let rung = rung.await.unwrap();
    assert_eq!(rung.failures, Vec::<String>::new());
    desk.after(rung.report.expect("somebody answered")).await.is_sound();
    desk.close().await;
}

/// A vendors' certificate with something wrong about it, and the file of the authority that the server trusts.
fn flawed(flaw: &str, folder: &Path) -> VendorsTls {
    let (trusted, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (issuer, name, validity) = match flaw {
        "tls_unknown_issuer" => (&stranger, "127.0.0.1", Validity::Current),
        "tls_wrong_name" => (&trusted, "elsewhere.example", Validity::Current),
        "tls_expired" => (&trusted, "127.0.0.1", Validity::Expired),
        other => panic!("no such flaw: {other}"),
    };
    VendorsTls {
        server: issuer.issue(&[name], validity).unwrap().server().unwrap(),
        authority: trusted.write_to(folder).unwrap(),
    }
}

const FLAWS: [&str; 3] = ["tls_unknown_issuer", "tls_wrong_name", "tls_expired"];

#[actix::test]
async fn a_certificate_that_is_not_to_be_trusted_is_a_failure_of_the_vendor_with_its_reason() {
    for flaw in FLAWS {
        let folder = Folder::new();
        let tls = flawed(flaw, &folder.0);
        let vendors =
            Vendors::start(VendorsConfig { tls: Some(tls), ..VendorsConfig::default() }, None).unwrap();
        let pem = std::fs::read(vendors.authority.as_ref().unwrap()).unwrap();
        let clients = http::build(&VendorTls::new(Some(&pem)).unwrap(), Duration::from_secs(2));
        let refused = clients.http.get(&vendors.openai_url).send().await.expect_err("no trust, no answer");
        let refused = http::map_send_error("openai", &refused);
        assert_eq!((refused.kind, refused.code.as_str()), (ProviderErrorKind::Unreachable, flaw));
        let config = SttConfig {
            base_url: vendors.deepgram_url.clone(),
            api_key: "sim-key".to_owned().into(),
            ..SttConfig::default()
        };
        let refused = DeepgramStt::new(Rc::new(config), clients.ws).connect().await.err().unwrap();
        assert_eq!((refused.kind, refused.code.as_str()), (ProviderErrorKind::Unreachable, flaw));
        assert_eq!(vendors.stats().openai.requests + vendors.stats().deepgram_listen.requests, 0);
        vendors.stop();
    }
}

#[actix::test]
async fn a_caller_is_not_left_in_silence_by_vendors_that_cannot_be_trusted_and_no_key_is_told() {
    for flaw in FLAWS {
        let folder = Folder::new();
        let tls = flawed(flaw, &folder.0);
        let place = Place::with(VendorsConfig { tls: Some(tls), ..VendorsConfig::default() });
        let server = Process::start(&place, &[("RUST_LOG", "trace")]);
        let script =
            Script::parse("name = \"mute\"\n[[step]]\nexpect_end = \"hangup\"\nwithin_ms = 20000\n").unwrap();
        let caller = place.caller(&format!("CA{:032x}", rand::random::<u128>()));
        let report = run_call(&caller, &script).await;
        assert!(report.failures.is_empty(), "{flaw}: {report}");
        assert_eq!(report.said_by_twilio.len(), 1, "{flaw}: {report}");
        server.kill();
        let log = std::fs::read_to_string(place.log()).unwrap();
        assert!(log.contains(flaw), "the reason {flaw} is told:\n{log}");
        let told = log.lines().find(|line| line.contains("sim-key"));
        assert!(told.is_none(), "a key is told: {told:?}");
    }
}

/// A desk that speaks TLS itself; its certificate's files are in `folder`.
async fn own_tls(folder: &Folder, authority: &Authority, vendors: VendorsConfig) -> Desk {
    put(folder, &authority.issue(&["127.0.0.1"], Validity::Current).unwrap());
    let vendors = VendorsConfig { tls: Some(authority.for_loopback(&folder.0).unwrap()), ..vendors };
    let path = folder.0.clone();
    Desk::with(barbershop(), vendors, move |config| {
        config.server.base_url = config.server.base_url.replacen("http://", "https://", 1);
        config.server.tls_cert = Some(path.join("cert.pem").display().to_string());
        config.server.tls_key = Some(path.join("key.pem").display().to_string());
        config.server.tls_check_ms = 100;
    })
    .await
}

/// Puts a certificate and its key where the server looks.
fn put(folder: &Folder, issued: &Issued) {
    std::fs::write(folder.0.join("cert.pem"), &issued.certificate_pem).unwrap();
    std::fs::write(folder.0.join("key.pem"), &issued.key_pem).unwrap();
}

/// What a server shows to a new connection: its certificate.
async fn shown(address: SocketAddr, trust: &Trust) -> Vec<u8> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let shaken = TlsConnector::service(trust.config()).call(Connection::new("127.0.0.1", tcp)).await.unwrap();
    let certificates = shaken.io_ref().get_ref().1.peer_certificates().unwrap();
    certificates[0].to_vec()
}

/// Waits until new connections are shown another certificate than `before`.
async fn renewed(address: SocketAddr, trust: &Trust, before: &[u8]) {
    let renewal = async {
        while shown(address, trust).await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, renewal).await.expect("the certificate is renewed");
}

#[actix::test]
async fn a_media_stream_comes_to_our_own_listener_over_tls_and_everything_works_as_without() {
    let folder = Folder::new();
    let authority = Authority::new().unwrap();
    let desk = own_tls(&folder, &authority, VendorsConfig::default()).await;
    assert!(desk.stack().base_url.starts_with("https://"));
    let call = desk.call(include_str!("../../src/sim/scripts/booking.toml")).await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    assert_eq!(desk.db().appointments(10).await.unwrap().len(), 1);
    assert_eq!(call.report.streams.len(), 1);
    desk.close().await;
}

#[actix::test]
async fn a_certificate_is_renewed_while_a_call_goes_on() {
    let folder = Folder::new();
    let authority = Authority::new().unwrap();
    let desk = own_tls(&folder, &authority, VendorsConfig::default()).await;
    let (address, trust) = (desk.stack().server.address, desk.stack().caller().trust);
    let before = shown(address, &trust).await;
    let mut feed = desk.stack().server.feed.watch();
    let caller = desk.stack().caller();
    let call = actix_rt::spawn(async move {
        let script = Script::parse(
            r#"
            name = "through a renewal"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "What are your opening hours?"
            [[step]]
            wait_for = "reply"
            [[step]]
            say = "And where are you?"
            [[step]]
            wait_for = "reply"
            [[step]]
            say = "That is all, goodbye."
            [[step]]
            expect_end = "hangup"
            "#,
        );
        run_call(&caller, &script.unwrap()).await
    });
    let first_turn = async { while !matches!(feed.recv().await.unwrap(), FeedEvent::Turn { .. }) {} };
    tokio::time::timeout(LONG, first_turn).await.expect("a turn is told");
    // Half of it first: certificate and key do not belong together.
    let new = authority.issue(&["127.0.0.1"], Validity::Current).unwrap();
    std::fs::write(folder.0.join("cert.pem"), &new.certificate_pem).unwrap();
    assert_eq!(shown(address, &trust).await, before);
    put(&folder, &new);
    renewed(address, &trust, &before).await;
    assert!(!call.is_finished(), "the call goes on");
    let call = desk.after(call.await.unwrap()).await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    assert_eq!(call.report.streams.len(), 1, "on the stream that it began with");
    desk.close().await;
}

#[actix::test]
async fn a_process_that_is_told_to_looks_at_its_certificate_again_at_once() {
    let folder = Folder::new();
    let authority = Authority::new().unwrap();
    put(&folder, &authority.issue(&["127.0.0.1"], Validity::Current).unwrap());
    let trust = Trust::with(&authority.write_to(&folder.0).unwrap()).unwrap();
    let place = Place::new();
    let (cert, key) = (folder.0.join("cert.pem"), folder.0.join("key.pem"));
    let base_url = format!("https://127.0.0.1:{}", place.port);
    let server = Process::start(
        &place,
        &[
            ("BASE_URL", &base_url),
            ("TLS_CERT", cert.to_str().unwrap()),
            ("TLS_KEY", key.to_str().unwrap()),
            ("FRONTDESK_SERVER_TLS_CHECK_MS", "86400000"),
        ],
    );
    let address = SocketAddr::from(([127, 0, 0, 1], place.port));
    let before = shown(address, &trust).await;
    put(&folder, &authority.issue(&["127.0.0.1"], Validity::Current).unwrap());
    server.hang_up();
    renewed(address, &trust, &before).await;
    server.kill();
}

#[actix::test]
async fn peers_that_begin_a_handshake_and_no_more_keep_nobody_out() {
    let folder = Folder::new();
    let authority = Authority::new().unwrap();
    let desk = own_tls(&folder, &authority, VendorsConfig::default()).await;
    let (address, trust) = (desk.stack().server.address, desk.stack().caller().trust);
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    // Not so long that those who were first are given up.
    let patience = Duration::from_secs(4);
    tokio::time::timeout(patience, shown(address, &trust)).await.expect("there is room for an honest peer");
    drop(idle);
    desk.close().await;
}

#[actix::test]
async fn the_health_check_asks_over_tls_by_the_name_that_the_certificate_is_for() {
    let folder = Folder::new();
    let authority = Authority::new().unwrap();
    let desk = own_tls(&folder, &authority, VendorsConfig::default()).await;
    let before = shown(desk.stack().server.address, &desk.stack().caller().trust).await;
    // A public name, which leads elsewhere or nowhere.
    put(&folder, &authority.issue(&["desk.example.com", "127.0.0.1"], Validity::Current).unwrap());
    renewed(desk.stack().server.address, &desk.stack().caller().trust, &before).await;
    let ask = async |trust: Option<&Path>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        command
            .arg("health")
            .env_clear()
            .env("PORT", desk.stack().server.address.port().to_string())
            .env("BASE_URL", "https://desk.example.com")
            .env("TLS_CERT", folder.0.join("cert.pem"))
            .env("TLS_KEY", folder.0.join("key.pem"))
            .envs(trust.map(|path| ("TLS_EXTRA_CA", path)))
            .current_dir(&folder.0);
        actix_web::web::block(move || command.output()).await.unwrap().unwrap()
    };
    let known = ask(desk.stack().vendors.authority.as_deref()).await;
    assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
    let unknown = ask(None).await;
    assert!(!unknown.status.success(), "an authority of nobody's");
    desk.close().await;
}
