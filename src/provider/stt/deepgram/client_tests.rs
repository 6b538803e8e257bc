use super::{DeepgramStt, KeepRefusals};
use crate::config::stt::SttConfig;
use crate::provider::stt::{SttMessage, SttVendor};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix::{Actor, ActorContext, StreamHandler};
use actix_http::ws::{CloseCode, CloseReason, Item, Message, ProtocolError};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use bytes::Bytes;
use secrecy::SecretString;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

const FINAL: &str = r#"{"type":"Results","start":0,"duration":0.5,"is_final":true,"speech_final":true,
    "channel":{"alternatives":[{"transcript":"hello"}]}}"#;

/// What the server saw of its client.
type Seen = mpsc::Sender<String>;

struct Listener {
    seen: Seen,
}

impl Actor for Listener {
    type Context = ws::WebsocketContext<Self>;
}

impl StreamHandler<Result<Message, ProtocolError>> for Listener {
    fn handle(&mut self, item: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        match item {
            Ok(Message::Binary(audio)) => {
                let _ = self.seen.send(format!("audio {}", audio.len()));
                if audio.len() == 13 {
                    let reason = "No audio. See https://dpgr.am/NET0001";
                    ctx.close(Some(CloseReason { code: CloseCode::Error, description: Some(reason.into()) }));
                    ctx.stop();
                    return;
                }
                ctx.ping(b"are you there");
                // A result in three pieces, with something unknown before it.
                ctx.text(r#"{"type":"SomethingNew"}"#);
                let (a, rest) = FINAL.split_at(20);
                let (b, c) = rest.split_at(50);
                ctx.write_raw(Message::Continuation(Item::FirstText(Bytes::copy_from_slice(a.as_bytes()))));
                ctx.write_raw(Message::Continuation(Item::Continue(Bytes::copy_from_slice(b.as_bytes()))));
                ctx.write_raw(Message::Continuation(Item::Last(Bytes::copy_from_slice(c.as_bytes()))));
            }
            Ok(Message::Pong(payload)) => {
                let _ = self.seen.send(format!("pong {}", String::from_utf8_lossy(&payload)));
            }
            Ok(Message::Text(text)) => {
                let _ = self.seen.send(text.to_string());
                if text.contains("CloseStream") {
                    ctx.text(FINAL);
                    ctx.text(r#"{"type":"Metadata","duration":1.0}"#);
                    ctx.close(Some(CloseCode::Normal.into()));
                    ctx.stop();
                }
            }
            _ => {}
        }
    }
}

async fn listen(
    request: HttpRequest,
    body: web::Payload,
    seen: web::Data<Seen>,
) -> Result<HttpResponse, actix_web::Error> {
    let key = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    match key.as_str() {
        "Token good" => {
            let _ = seen.send(request.query_string().to_owned());
            ws::start(Listener { seen: seen.get_ref().clone() }, &request, body)
        }
        "Token busy" => {
            Ok(HttpResponse::TooManyRequests().insert_header(("retry-after", "7")).body("Too many requests"))
        }
        "Token slow" => {
            actix_web::rt::time::sleep(Duration::from_secs(5)).await;
            Ok(HttpResponse::Ok().finish())
        }
        _ => Ok(HttpResponse::Unauthorized()
            .insert_header(("dg-error", "Invalid credentials."))
            .insert_header(("dg-request-id", "r1"))
            .body(r#"{"err_code":"INVALID_AUTH"}"#)),
    }
}

/// Serves on a free port for as long as the test runs; tells its base.
fn serve() -> (String, mpsc::Receiver<String>) {
    let (seen, sees) = mpsc::channel();
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(seen.clone())).route("/v1/listen", web::get().to(listen))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    actix_web::rt::spawn(server.run());
    (base, sees)
}

fn vendor(base: &str, key: &str) -> DeepgramStt {
    let config = SttConfig {
        base_url: base.into(),
        api_key: SecretString::from(key.to_owned()),
        connect_timeout_ms: 1_000,
        ..SttConfig::default()
    };
    // awc wants to be told which cryptography to use, even where it uses none.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = awc::Client::builder().connector(awc::Connector::new().limit(0)).wrap(KeepRefusals).finish();
    DeepgramStt::new(Rc::new(config), client)
}

async fn refused(base: &str, key: &str) -> ProviderError {
    match vendor(base, key).connect().await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[actix::test]
async fn a_session_runs_over_a_real_socket_from_first_audio_to_orderly_close() {
    let (base, sees) = serve();
    let (mut sender, mut receiver) = vendor(&base, "good").connect().await.unwrap();
    sender.audio(Bytes::new()).await.unwrap();
    sender.keep_alive().await.unwrap();
    sender.audio(Bytes::from_static(&[0xFF; 160])).await.unwrap();
    let heard = receiver.next().await.unwrap().unwrap();
    assert!(
        matches!(&heard, SttMessage::Results { is_final: true, transcript, .. } if transcript == "hello")
    );
    sender.finalize().await.unwrap();
    sender.finish().await.unwrap();
    assert!(matches!(receiver.next().await, Some(Ok(SttMessage::Results { .. }))));
    assert_eq!(receiver.next().await, None);
    assert_eq!(receiver.next().await, None, "over is over");
    let seen: Vec<String> = sees.try_iter().collect();
    assert!(seen[0].contains("encoding=mulaw&sample_rate=8000"), "{seen:?}");
    assert_eq!(
        seen[1..],
        [
            r#"{"type":"KeepAlive"}"#,
            "audio 160",
            "pong are you there",
            r#"{"type":"Finalize"}"#,
            r#"{"type":"CloseStream"}"#
        ]
    );
}

#[actix::test]
async fn a_close_with_a_known_reason_has_its_code() {
    let (base, _sees) = serve();
    let (mut sender, mut receiver) = vendor(&base, "good").connect().await.unwrap();
    sender.audio(Bytes::from_static(&[1; 13])).await.unwrap();
    let error = receiver.next().await.unwrap().unwrap_err();
    assert_eq!(error.code, "net-0001");
    assert!(error.is_retryable());
}

#[actix::test]
async fn refusals_are_told_by_their_status() {
    let (base, _sees) = serve();
    let error = refused(&base, "wrong").await;
    assert_eq!((error.kind.clone(), error.code.as_str()), (ProviderErrorKind::Auth, "http_401"));
    let error = refused(&base, "busy").await;
    let asked = ProviderErrorKind::RateLimited { retry_after: Some(Duration::from_secs(7)) };
    assert_eq!((error.kind, error.code.as_str()), (asked, "http_429"));
    assert_eq!(refused(&base, "slow").await.kind, ProviderErrorKind::Timeout);
    assert_eq!(refused("http://127.0.0.1:1", "good").await.kind, ProviderErrorKind::Unreachable);
    assert_eq!(refused("nonsense", "good").await.code, "bad_url");
    assert_eq!(refused(&base, "line\nbreak").await.code, "bad_key");
}
