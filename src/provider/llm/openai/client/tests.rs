//! The client against a small server on a socket, in real time.

use super::*;
use crate::provider::llm::{ChatMessage, FinishReason, ToolChoice, Usage};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const KEY: &str = "sk-very-secret";

/// What the server does with a request.
#[derive(Clone)]
enum Script {
    /// Answers at once.
    Reply { status: u16, headers: Vec<(&'static str, &'static str)>, body: String },
    /// Sends pieces as the test feeds them; `None` breaks the connection; dropping the sender ends the body.
    Feed(Arc<Mutex<Option<mpsc::UnboundedReceiver<Option<String>>>>>),
    /// Never answers.
    Hang,
}

impl Script {
    fn stream(body: impl Into<String>) -> Self {
        Self::Reply { status: 200, headers: vec![("content-type", "text/event-stream")], body: body.into() }
    }

    fn fed() -> (mpsc::UnboundedSender<Option<String>>, Self) {
        let (feed, pieces) = mpsc::unbounded_channel();
        (feed, Self::Feed(Arc::new(Mutex::new(Some(pieces)))))
    }
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
}

#[derive(Clone, Default)]
struct Request {
    /// Method and path.
    line: String,
    authorization: Option<String>,
    accept: Option<String>,
    body: Value,
}

struct Server {
    base: String,
    seen: Arc<Seen>,
}

impl Server {
    fn start(script: Script) -> Self {
        let seen = Arc::new(Seen::default());
        let (for_app, for_connect) = (Arc::clone(&seen), Arc::clone(&seen));
        let server = HttpServer::new(move || {
            let data = web::Data::new((script.clone(), Arc::clone(&for_app)));
            App::new().app_data(data).default_service(web::to(answer))
        })
        .on_connect(move |_, _| {
            for_connect.connections.fetch_add(1, Ordering::SeqCst);
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let base = format!("http://{}/v1/", server.addrs()[0]);
        actix_rt::spawn(server.run());
        Self { base, seen }
    }

    fn model(&self) -> OpenAiModel {
        model(&self.base, Duration::from_secs(5))
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn answer(
    request: HttpRequest,
    body: Bytes,
    data: web::Data<(Script, Arc<Seen>)>,
) -> actix_web::Result<HttpResponse> {
    let (script, seen) = &**data;
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    seen.requests.lock().unwrap().push(Request {
        line: format!("{} {}", request.method(), request.uri()),
        authorization: header("authorization"),
        accept: header("accept"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    match script.clone() {
        Script::Reply { status, headers, body } => {
            let mut response = HttpResponse::build(status.try_into().unwrap());
            for header in headers {
                response.insert_header(header);
            }
            Ok(response.body(body))
        }
        Script::Feed(pieces) => {
            let pieces = pieces.lock().unwrap().take().unwrap();
            let body = stream::unfold(pieces, |mut pieces| async move {
                let piece = match pieces.recv().await? {
                    Some(text) => Ok(Bytes::from(text)),
                    None => Err(actix_web::error::ErrorInternalServerError("cut")),
                };
                Some((piece, pieces))
            });
            Ok(HttpResponse::Ok().content_type("text/event-stream").streaming(body))
        }
        Script::Hang => std::future::pending().await,
    }
}

fn model(base: &str, limit: Duration) -> OpenAiModel {
    let host = HostConfig {
        base_url: base.into(),
        api_key: SecretString::from(KEY),
        model: "gpt-x".into(),
        ..HostConfig::default()
    };
    OpenAiModel::new(host, Limits { first_byte: limit, gap: limit }, awc::Client::default())
}

fn request() -> ChatRequest {
    ChatRequest {
        messages: vec![ChatMessage::User("Hello?".into())],
        tools: [].into(),
        tool_choice: ToolChoice::Auto,
    }
}

fn event(delta: Value, finish: Option<&str>) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

fn said(text: &str) -> String {
    event(json!({"content": text}), None)
}

fn hi() -> String {
    said("Hi.") + &event(json!({}), Some("stop")) + "data: [DONE]\n\n"
}

fn finished() -> ChatDelta {
    ChatDelta::Finished { tool_calls: vec![], reason: FinishReason::Stop, usage: None }
}

async fn all(model: &OpenAiModel) -> Vec<Result<ChatDelta, ProviderError>> {
    model.chat(&request()).await.unwrap().collect().await
}

/// The error that ends a stream, and the text before it.
async fn text_and_error(model: &OpenAiModel) -> (String, ProviderError) {
    let mut text = String::new();
    let mut deltas = all(model).await;
    let error = deltas.pop().unwrap().unwrap_err();
    for delta in deltas {
        match delta.unwrap() {
            ChatDelta::Text(piece) => text.push_str(&piece),
            other => panic!("{other:?}"),
        }
    }
    (text, error)
}

#[actix::test]
async fn pieces_arrive_as_they_are_sent() {
    let (feed, script) = Script::fed();
    let server = Server::start(script);
    let mut stream = server.model().chat(&request()).await.unwrap();
    let body = said("Øst—") + &said(" and west") + &event(json!({}), Some("stop")) + "data: [DONE]\n\n";
    // Each piece is asked for before the next is sent: nothing can be waiting for the whole.
    let (first, rest) = body.split_at(body.find("Øst").unwrap());
    feed.send(Some(first.into())).unwrap();
    assert!(stream.next().now_or_never().is_none());
    let (second, rest) = rest.split_at(rest.find(" and").unwrap());
    feed.send(Some(second.into())).unwrap();
    assert_eq!(stream.next().await, Some(Ok(ChatDelta::Text("Øst—".into()))));
    feed.send(Some(rest.into())).unwrap();
    assert_eq!(stream.next().await, Some(Ok(ChatDelta::Text(" and west".into()))));
    assert_eq!(stream.next().await, Some(Ok(finished())));
    assert_eq!(stream.next().await, None);
}

#[actix::test]
async fn a_request_carries_key_and_body_and_the_names_do_not_carry_the_key() {
    let server = Server::start(Script::stream(hi()));
    let model = server.model();
    all(&model).await;
    let Request { line, authorization, accept, body } = server.seen.requests.lock().unwrap()[0].clone();
    assert_eq!(line, "POST /v1/chat/completions");
    assert_eq!(authorization.as_deref(), Some("Bearer sk-very-secret"));
    assert_eq!(accept.as_deref(), Some("text/event-stream"));
    assert_eq!((&body["model"], &body["stream"]), (&json!("gpt-x"), &json!(true)));
    assert_eq!(model.name(), "127.0.0.1/gpt-x");
    assert!(!format!("{model:?}").contains(KEY));
}

#[actix::test]
async fn a_host_that_never_answers_is_a_timeout() {
    let server = Server::start(Script::Hang);
    let error = model(&server.base, Duration::from_millis(100)).chat(&request()).await.err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Timeout, "first_byte_timeout"));
}

#[actix::test]
async fn a_stream_that_stalls_is_a_timeout_after_what_was_said() {
    let (feed, script) = Script::fed();
    let server = Server::start(script);
    feed.send(Some(said("We have"))).unwrap();
    let (text, error) = text_and_error(&model(&server.base, Duration::from_millis(1_500))).await;
    assert_eq!(text, "We have");
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Timeout, "gap_timeout"));
    drop(feed);
}

#[actix::test]
async fn a_whole_answer_stands_though_its_stream_stalls_or_breaks() {
    for broken in [false, true] {
        let (feed, script) = Script::fed();
        let server = Server::start(script);
        feed.send(Some(said("Hi.") + &event(json!({}), Some("stop")))).unwrap();
        let mut stream = model(&server.base, Duration::from_millis(1_500)).chat(&request()).await.unwrap();
        assert_eq!(stream.next().await, Some(Ok(ChatDelta::Text("Hi.".into()))));
        if broken {
            feed.send(None).unwrap();
        }
        assert_eq!(stream.next().await, Some(Ok(finished())), "broken: {broken}");
        assert_eq!(stream.next().await, None);
        drop(feed);
    }
}

#[actix::test]
async fn comments_do_not_prolong_a_whole_answer() {
    let (feed, script) = Script::fed();
    let server = Server::start(script);
    feed.send(Some(said("Hi.") + &event(json!({}), Some("stop")))).unwrap();
    let model = server.model();
    let answer = actix_rt::spawn(async move { all(&model).await });
    let chatter = async {
        while feed.send(Some(": still here\n\n".into())).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        deltas = timeout(Duration::from_secs(4), answer) => {
            assert_eq!(deltas.unwrap().unwrap(), [Ok(ChatDelta::Text("Hi.".into())), Ok(finished())]);
        }
        () = chatter => {}
    }
}

#[actix::test]
async fn a_stream_that_is_cut_is_closed() {
    for broken in [true, false] {
        let (feed, script) = Script::fed();
        let server = Server::start(script);
        feed.send(Some(said("We have"))).unwrap();
        let mut stream = server.model().chat(&request()).await.unwrap();
        assert_eq!(stream.next().await, Some(Ok(ChatDelta::Text("We have".into()))));
        if broken {
            feed.send(None).unwrap();
        }
        drop(feed);
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Closed, "broken: {broken}");
        assert_eq!(stream.next().await, None);
    }
}

#[actix::test]
async fn an_error_inside_the_stream_ends_it() {
    let body =
        said("We have") + "data: {\"error\":{\"type\":\"server_error\",\"code\":null}}\n\ndata: [DONE]\n\n";
    let server = Server::start(Script::stream(body));
    let (text, error) = text_and_error(&server.model()).await;
    assert_eq!((text.as_str(), error.kind), ("We have", ProviderErrorKind::Server));
}

#[actix::test]
async fn refusals_are_judged_by_status_headers_and_body() {
    use ProviderErrorKind::{Auth, Quota, RateLimited, Refused, Server as Fault};
    let limited = r#"{"error":{"type":"tokens","code":"rate_limit_exceeded"}}"#;
    let quota = r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let asked = RateLimited { retry_after: Some(Duration::from_millis(1_500)) };
    for (status, headers, body, kind) in [
        (429, vec![("retry-after", "1.5")], limited, asked),
        (429, vec![("retry-after", "1.5")], quota, Quota),
        (401, vec![], "{}", Auth),
        (500, vec![], "", Fault),
        (500, vec![("x-should-retry", "false")], "", Refused),
        (502, vec![("content-type", "text/html")], "<html>", Fault),
        (404, vec![], "{}", Refused),
    ] {
        let server = Server::start(Script::Reply { status, headers, body: body.into() });
        let error = server.model().chat(&request()).await.err().unwrap();
        assert_eq!(error.kind, kind, "{status} {body}");
    }
}

#[actix::test]
async fn a_host_that_is_not_there_is_unreachable() {
    // Bound, so that it is nobody else's, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}/v1", closed.local_addr().unwrap());
    let error = model(&base, Duration::from_secs(5)).chat(&request()).await.err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Unreachable, "connect_failed"));
    for base in ["", "nonsense", "http://", "ftp://127.0.0.1/v1"] {
        let error = model(base, Duration::from_secs(5)).chat(&request()).await.err().unwrap();
        assert!(!error.code.is_empty(), "{base}");
        model(base, Duration::from_secs(5)).warm().await;
    }
}

#[actix::test]
async fn one_connection_serves_warming_answers_and_errors() {
    let server = Server::start(Script::stream(hi()));
    let model = server.model();
    model.warm().await;
    assert_eq!(server.connections(), 1);
    for _ in 0..3 {
        // Dropped at its end without being asked for more, as the dialogue does.
        let mut stream = model.chat(&request()).await.unwrap();
        assert_eq!(stream.next().await, Some(Ok(ChatDelta::Text("Hi.".into()))));
        assert_eq!(stream.next().await, Some(Ok(finished())));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(server.seen.requests.lock().unwrap()[0].line, "GET /v1/models");
}

#[actix::test]
async fn what_follows_the_answer_is_read_to_its_end_when_it_comes_later() {
    let (feed, mut pieces) = mpsc::unbounded_channel::<Bytes>();
    let (ended, end_was_read) = tokio::sync::oneshot::channel();
    let mut ended = Some(ended);
    let body = stream::poll_fn(move |context| {
        let polled = pieces.poll_recv(context).map(|piece| piece.map(Ok));
        if matches!(polled, std::task::Poll::Ready(None)) {
            ended.take().unwrap().send(()).unwrap();
        }
        polled
    });
    feed.send(Bytes::from_static(b"\n")).unwrap();
    release(body.boxed_local());
    feed.send(Bytes::from_static(b": bye\n\n")).unwrap();
    drop(feed);
    timeout(Duration::from_secs(5), end_was_read).await.unwrap().unwrap();
}

#[actix::test]
async fn dropping_a_stream_hangs_up_on_the_host() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let host = actix_rt::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let piece = said("We have");
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(format!("{head}{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        // Ends when the client closes; a broken connection is as good.
        let _ = socket.read_to_end(&mut vec![]).await;
    });
    let mut stream = model(&base, Duration::from_secs(5)).chat(&request()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert!(!host.is_finished());
    drop(stream);
    timeout(Duration::from_secs(5), host).await.unwrap().unwrap();
}

#[actix::test]
async fn a_summary_is_one_json_body_from_the_summary_model() {
    let body = include_str!("../../../../../tests/fixtures/openai/completion_text.json").to_owned();
    let server = Server::start(Script::Reply {
        status: 200,
        headers: vec![("content-type", "application/json")],
        body,
    });
    let completion = server.model().with_summary_model("gpt-mini").complete(&request()).await.unwrap();
    let usage = Some(Usage { input_tokens: 52, output_tokens: 11 });
    assert_eq!(completion, Completion { text: "Good evening.".into(), usage });
    let Request { accept, body: sent, .. } = server.seen.requests.lock().unwrap()[0].clone();
    assert_eq!((&sent["model"], sent.get("stream")), (&json!("gpt-mini"), None));
    assert_eq!(accept.as_deref(), Some("application/json"));
}

#[actix::test]
async fn messages_that_break_the_rules_are_not_sent() {
    let server = Server::start(Script::stream(hi()));
    let orphan = ChatMessage::Tool { id: "a".into(), name: "f".into(), content: "x".into() };
    let request = ChatRequest { messages: vec![orphan], ..request() };
    let error = server.model().chat(&request).await.err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Refused, "invalid_messages"));
    assert_eq!(server.connections(), 0);
}

#[actix::test]
async fn a_key_that_no_header_can_hold_is_told_without_being_shown() {
    let host = HostConfig { api_key: SecretString::from("sk-\nx"), ..HostConfig::default() };
    let limits = Limits::from(&LlmConfig::default());
    let error = OpenAiModel::new(host, limits, awc::Client::default()).chat(&request()).await.err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Auth, "unusable_key"));
}

#[test]
fn paths_are_put_before_the_query() {
    for (base, expected) in [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/models"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/models"),
        ("https://x.azure.com/openai/v1?api-version=1", "https://x.azure.com/openai/v1/models?api-version=1"),
    ] {
        assert_eq!(url_below(base, "models"), expected);
    }
}

proptest! {
    #[test]
    fn any_base_and_key_make_a_model(base in ".*", key in ".*") {
        let host = HostConfig { base_url: base, api_key: SecretString::from(key), ..HostConfig::default() };
        let _ = authorization(&host);
        let _ = url_below(&host.base_url, "models");
    }
}
