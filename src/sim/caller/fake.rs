//! A tiny server that speaks Media Streams, for tests of the caller: it answers webhooks with what it is given, and its
//! bot repeats what it hears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_codec::{Decoder, Encoder};
use actix_http::ws::{CloseCode, CloseReason, Codec, Frame, Message};
use actix_web::web::{self, Bytes, BytesMut, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::sign::sign;
use crate::sim::voice::{Recogniser, VoiceTone, render};

pub(crate) const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// How the bot behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bot {
    /// Does not clear when it is spoken over.
    pub(crate) rude: bool,
    /// Goes on sending its old reply after the clear.
    pub(crate) stale: bool,
    /// Never replies.
    pub(crate) mute: bool,
    /// Sent as they are after the greeting; `SID` is replaced by the streamSid.
    pub(crate) junk: Vec<String>,
    /// Sends a binary frame as well.
    pub(crate) binary: bool,
    /// Speaks before `start`.
    pub(crate) early: bool,
    /// Refuses the upgrade.
    pub(crate) refuse: bool,
    /// The status of the next answers on a path, before the document.
    pub(crate) failures: HashMap<String, Vec<u16>>,
}

/// What the server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests: path and parameters.
    pub(crate) requests: Vec<(String, HashMap<String, String>)>,
    /// Messages of all streams.
    pub(crate) messages: Vec<Value>,
    /// Streams opened.
    pub(crate) streams: usize,
    /// Requests whose signature was wrong.
    pub(crate) unsigned: usize,
}

/// A running server.
pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

struct Shared {
    url: String,
    documents: HashMap<String, String>,
    bot: Bot,
    failures: Mutex<HashMap<String, Vec<u16>>>,
    seen: Arc<Mutex<Seen>>,
}

impl Fake {
    /// Starts in a thread that lives as long as the test. `{STREAM}` in documents is the stream's URL, `{BASE}` the
    /// server's.
    pub(crate) fn start(documents: &[(&str, &str)], bot: Bot) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let stream = format!("ws://{address}/stream");
        let documents = documents
            .iter()
            .map(|(path, text)| {
                let text = text.replace("{STREAM}", &stream).replace("{BASE}", &url);
                ((*path).to_owned(), text)
            })
            .collect();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = web::Data::new(Shared {
            url: url.clone(),
            documents,
            failures: Mutex::new(bot.failures.clone()),
            bot,
            seen: Arc::clone(&seen),
        });
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                HttpServer::new(move || {
                    App::new()
                        .app_data(shared.clone())
                        .route("/stream", web::get().to(stream_route))
                        .default_service(web::to(document))
                })
                .workers(1)
                .disable_signals()
                .listen(listener)
                .unwrap()
                .run()
                .await
            })
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

async fn document(req: HttpRequest, body: String, shared: web::Data<Shared>) -> HttpResponse {
    let params: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let url = format!("{}{}", shared.url, req.uri());
    let expected = sign(TOKEN, &url, params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut seen = shared.seen.lock().unwrap();
    if req.headers().get("x-twilio-signature").map(|value| value.as_bytes()) != Some(expected.as_bytes()) {
        seen.unsigned += 1;
        return HttpResponse::Forbidden().finish();
    }
    seen.requests.push((req.path().to_owned(), params.into_iter().collect()));
    let failure = shared.failures.lock().unwrap().get_mut(req.path()).and_then(Vec::pop);
    if let Some(status) = failure {
        return HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap()).finish();
    }
    match shared.documents.get(req.path()) {
        Some(text) => HttpResponse::Ok().content_type("text/xml").body(text.clone()),
        None if req.path() == "/voice/status" => HttpResponse::NoContent().finish(),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn stream_route(
    req: HttpRequest,
    payload: Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, actix_web::Error> {
    let url = format!("{}{}", shared.url.replacen("http", "ws", 1), req.uri());
    let signature = req.headers().get("x-twilio-signature").map(|value| value.as_bytes());
    if signature != Some(sign(TOKEN, &url, []).as_bytes()) {
        shared.seen.lock().unwrap().unsigned += 1;
        return Ok(HttpResponse::Forbidden().finish());
    }
    if shared.bot.refuse {
        return Ok(HttpResponse::ServiceUnavailable().finish());
    }
    let mut response = actix_web_actors::ws::handshake(&req)?;
    let (out, sent) = mpsc::unbounded_channel::<Bytes>();
    shared.seen.lock().unwrap().streams += 1;
    actix_web::rt::spawn(Talk::new(shared, out).run(payload));
    let sent = futures_util::stream::unfold(sent, async |mut sent| {
        let bytes = sent.recv().await?;
        Some((Ok::<_, actix_web::Error>(bytes), sent))
    });
    Ok(response.streaming(sent))
}

struct Talk {
    shared: web::Data<Shared>,
    out: mpsc::UnboundedSender<Bytes>,
    codec: Codec,
    sid: String,
    ear: Recogniser,
    words: Vec<String>,
    marks: usize,
    marks_open: usize,
    closing: bool,
    cleared: bool,
}

impl Talk {
    fn new(shared: web::Data<Shared>, out: mpsc::UnboundedSender<Bytes>) -> Self {
        Self {
            shared,
            out,
            codec: Codec::new().max_size(1 << 20),
            sid: String::new(),
            ear: Recogniser::new(),
            words: Vec::new(),
            marks: 0,
            marks_open: 0,
            closing: false,
            cleared: false,
        }
    }

    fn send(&mut self, message: Message) {
        let mut bytes = BytesMut::new();
        self.codec.encode(message, &mut bytes).unwrap();
        let _ = self.out.send(bytes.freeze());
    }

    fn json(&mut self, message: Value) {
        self.send(Message::Text(message.to_string().into()));
    }

    fn say(&mut self, text: &str) {
        for chunk in render(text, &VoiceTone::BOT).chunks(160) {
            let payload = STANDARD.encode(chunk);
            self.json(json!({"event": "media", "streamSid": self.sid, "media": {"payload": payload}}));
        }
        self.marks += 1;
        self.marks_open += 1;
        let name = format!("reply {}", self.marks);
        self.json(json!({"event": "mark", "streamSid": self.sid, "mark": {"name": name}}));
    }

    async fn run(mut self, mut payload: Payload) {
        let mut inbound = BytesMut::new();
        if self.shared.bot.early {
            self.json(json!({"event": "clear", "streamSid": "MZ0"}));
        }
        while let Some(Ok(bytes)) = payload.next().await {
            inbound.extend_from_slice(&bytes);
            while let Ok(Some(frame)) = self.codec.decode(&mut inbound) {
                let Frame::Text(text) = frame else {
                    if matches!(frame, Frame::Close(_)) {
                        return;
                    }
                    continue;
                };
                let message: Value = serde_json::from_slice(&text).unwrap();
                self.hear(&message);
                self.shared.seen.lock().unwrap().messages.push(message);
                if self.closing && self.marks_open == 0 {
                    self.send(Message::Close(Some(CloseReason::from(CloseCode::Normal))));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return;
                }
            }
        }
    }

    fn hear(&mut self, message: &Value) {
        match message["event"].as_str().unwrap() {
            "start" => {
                self.sid = message["streamSid"].as_str().unwrap().to_owned();
                self.say("Hello there");
                for junk in self.shared.bot.junk.clone() {
                    let text = junk.replace("SID", &self.sid);
                    self.send(Message::Text(text.into()));
                }
                if self.shared.bot.binary {
                    self.send(Message::Binary(Bytes::from_static(b"{}")));
                }
            }
            "mark" => self.marks_open -= 1,
            "dtmf" => self.say(&format!("key {}", message["dtmf"]["digit"].as_str().unwrap())),
            "media" => {
                let audio = STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap();
                let words = self.ear.feed(&audio);
                let spoken_over = !words.is_empty() && self.marks_open > 0;
                self.words.extend(words.into_iter().map(|word| word.text));
                if spoken_over && !self.shared.bot.rude && !self.cleared {
                    self.cleared = true;
                    self.json(json!({"event": "clear", "streamSid": self.sid}));
                    if self.shared.bot.stale {
                        self.say("old");
                    }
                }
                let quiet =
                    self.ear.last_voice_sample().is_some_and(|last| self.ear.position() - last > 2_400);
                if quiet && !self.words.is_empty() {
                    self.cleared = false;
                    let said = std::mem::take(&mut self.words).join(" ");
                    match said.as_str() {
                        _ if self.shared.bot.mute => {}
                        "bye" => {
                            self.say("Goodbye");
                            self.closing = true;
                        }
                        "leave" => self.closing = true,
                        "story" => self.say("one two three four five six seven eight nine ten"),
                        _ => self.say(&format!("You said {said}")),
                    }
                }
            }
            _ => {}
        }
    }
}
