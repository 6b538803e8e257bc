//! One call leg as Twilio runs it: webhooks and documents. What happens on a stream is in `stream`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::phrase::Phrases;
use super::player::{Do, LineState, Player};
use super::report::{CallReport, DialReport, EndCause, Heard, StreamReport, Violations};
use super::rest::{RestCall, Update};
use super::stream::Speaking;
use super::turns::{TurnKind, Turns};
use super::twiml::{self, Action, Dial, Document, Stream, Verb};
use super::webhook::{Params, Webhooks};
use super::{CallConfig, Line};
use crate::sim::script::{Person, Script};
use crate::sim::voice::Recogniser;

/// Documents run in one call; more is a circle.
const MAX_DOCUMENTS: usize = 100;
/// How long `<Say>` takes for a word.
const SAY_WORD: Duration = Duration::from_millis(300);
/// The pace in which the caller thinks.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// What follows a verb.
pub(super) enum Flow {
    /// The next verb.
    Next,
    /// Another document.
    Run(Document, String),
    /// The end.
    End(EndCause),
}

/// One call in progress.
pub(super) struct Leg {
    pub(super) line: Line,
    pub(super) config: CallConfig,
    script: Arc<Script>,
    pub(super) phrases: Arc<Phrases>,
    pub(super) player: Player,
    pub(super) turns: Turns,
    pub(super) ear: Option<Box<Recogniser>>,
    pub(super) heard: Vec<Heard>,
    pub(super) violations: Violations,
    pub(super) streams: Vec<StreamReport>,
    /// Streams that came up so far.
    pub(super) streams_up: usize,
    /// What the caller is saying.
    pub(super) speaking: Option<Speaking>,
    pub(super) hooks: Webhooks,
    pub(super) sid: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) updates: Option<mpsc::UnboundedReceiver<Update>>,
    said: Vec<String>,
    dials: Vec<DialReport>,
    pub(super) person: Person,
    was_dialled: bool,
    began: Instant,
    reports: Vec<actix_rt::task::JoinHandle<()>>,
}

impl Leg {
    pub(super) fn new(line: &Line, config: &CallConfig, script: Arc<Script>, phrases: Arc<Phrases>) -> Self {
        let began = Instant::now();
        let hooks = Webhooks::new(
            line.http.clone(),
            config.auth_token.clone(),
            &config.base_url,
            config.public_url.as_deref(),
            began,
        );
        Self {
            line: line.clone(),
            config: config.clone(),
            phrases,
            player: Player::new(Arc::clone(&script)),
            turns: Turns::default(),
            ear: config.listen.then(|| Box::new(Recogniser::new())),
            heard: Vec::new(),
            violations: Violations::default(),
            streams: Vec::new(),
            streams_up: 0,
            speaking: None,
            hooks,
            sid: config.sid.clone().unwrap_or_else(|| sid("CA")),
            from: script.from.clone().unwrap_or_else(|| config.from.clone()),
            to: script.to.clone().unwrap_or_else(|| config.to.clone()),
            updates: None,
            said: Vec::new(),
            dials: Vec::new(),
            person: script.person,
            was_dialled: false,
            began,
            reports: Vec::new(),
            script,
        }
    }

    /// Milliseconds since the call began.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1_000.0
    }

    /// Places the call and sees it to its end.
    pub(super) async fn run(mut self) -> CallReport {
        let mut status_at_rest = None;
        let mut watcher = None;
        if let Some(rest) = RestCall::of(&self.config, &self.line.http, &self.sid) {
            let direction = self.direction();
            rest.register(&self.config.account_sid, &self.from, &self.to, direction).await;
            let (tx, rx) = mpsc::unbounded_channel();
            self.updates = Some(rx);
            watcher = Some(actix_rt::spawn(rest.clone().watch(tx)));
            status_at_rest = Some(rest);
        }
        let end = self.documents().await;
        self.turns.close(self.now());
        if let Some(watcher) = watcher {
            watcher.abort();
        }
        if let Some(rest) = status_at_rest {
            rest.set_status(end.call_status()).await;
        }
        let duration_ms = self.now();
        for n in 0..self.config.status_callbacks {
            self.status_callback(&end, duration_ms, n).await;
        }
        for report in std::mem::take(&mut self.reports) {
            // It only fails when it was aborted, and nobody does that.
            let _ = report.await;
        }
        self.report(end, duration_ms)
    }

    fn direction(&self) -> &'static str {
        if self.config.answer_url.is_some() { "outbound-api" } else { "inbound" }
    }

    async fn documents(&mut self) -> EndCause {
        let first = match (&self.config.stream_url, &self.config.answer_url) {
            (Some(url), _) => {
                let stream = Stream { url: url.clone(), ..Stream::default() };
                let verbs = vec![Verb::Connect { action: None, stream }];
                Ok((Document { verbs, ..Document::default() }, url.clone()))
            }
            (None, Some(url)) => self.fetch(&url.clone(), "POST", "in-progress", Vec::new()).await,
            (None, None) => {
                let url = format!("{}{}", self.hooks.public(), self.config.voice_path);
                self.fetch(&url, "POST", "ringing", Vec::new()).await
            }
        };
        let (mut document, mut url) = match first {
            Ok(first) => first,
            Err(why) => return EndCause::Failed(why),
        };
        'documents: for _ in 0..MAX_DOCUMENTS {
            for verb in std::mem::take(&mut document.verbs) {
                match self.perform(verb, &url).await {
                    Flow::Next => {}
                    Flow::Run(next, from) => {
                        (document, url) = (next, from);
                        continue 'documents;
                    }
                    Flow::End(cause) => return cause,
                }
            }
            return if self.was_dialled { EndCause::Dialled } else { EndCause::Hangup };
        }
        EndCause::Failed(format!("{MAX_DOCUMENTS} documents were run: a circle"))
    }

    /// Parameters that every request has.
    fn params(&self, status: &str) -> Params {
        let mut params: Params = [
            ("CallSid", self.sid.as_str()),
            ("AccountSid", &self.config.account_sid),
            ("From", &self.from),
            ("To", &self.to),
            ("Caller", &self.from),
            ("Called", &self.to),
            ("CallStatus", status),
            ("ApiVersion", "2010-04-01"),
            ("Direction", self.direction()),
            ("FromCity", ""),
            ("FromCountry", "US"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        if self.direction() == "inbound" {
            params.push(("CallToken".to_owned(), "{\"parentCallInfoToken\":\"simulated\"}".to_owned()));
        }
        params
    }

    /// Asks for a document; with a fallback URL once more there.
    async fn fetch(
        &mut self,
        url: &str,
        method: &str,
        status: &str,
        more: Params,
    ) -> Result<(Document, String), String> {
        let mut params = self.params(status);
        params.extend(more);
        let why = match self.document(url, method, &params).await {
            Ok(document) => return Ok((document, url.to_owned())),
            Err(why) => why,
        };
        let Some(path) = &self.config.fallback_path else { return Err(why) };
        let fallback = format!("{}{path}", self.hooks.public());
        let code = why.split(' ').next().unwrap_or_default().to_owned();
        params.push(("ErrorCode".to_owned(), code));
        params.push(("ErrorUrl".to_owned(), url.to_owned()));
        match self.document(&fallback, "POST", &params).await {
            Ok(document) => Ok((document, fallback)),
            Err(again) => Err(format!("{why}; then at the fallback {again}")),
        }
    }

    async fn document(&mut self, url: &str, method: &str, params: &Params) -> Result<Document, String> {
        let answer = self.hooks.send(url, method, params).await?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("11200 {url} answered {}", answer.status));
        }
        match answer.content_type.as_deref() {
            Some("text/xml" | "application/xml" | "text/html") => {}
            Some(other) => return Err(format!("12300 {url} answered with {other}")),
            None => return Err(format!("11200 {url} answered without a content type")),
        }
        self.read(&answer.body)
    }

    fn read(&mut self, body: &[u8]) -> Result<Document, String> {
        let document = twiml::read(body)?;
        for violation in &document.violations {
            self.violations.add(violation);
        }
        Ok(document)
    }

    async fn follow(&mut self, action: &Action, document: &str, more: Params) -> Flow {
        let url = Webhooks::resolve(document, &action.url);
        match self.fetch(&url, &action.method, "in-progress", more).await {
            Ok((document, url)) => Flow::Run(document, url),
            Err(why) => Flow::End(EndCause::Failed(why)),
        }
    }

    async fn perform(&mut self, verb: Verb, document: &str) -> Flow {
        match verb {
            Verb::Connect { action, stream } => {
                if let Some(flow) = self.connect(&stream, document).await {
                    return flow;
                }
                match action {
                    Some(action) => self.follow(&action, document, Vec::new()).await,
                    None => Flow::Next,
                }
            }
            Verb::Say { text } => {
                let words = u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
                self.said.push(text.clone());
                for word in text.split_whitespace() {
                    self.heard.push(Heard { at_ms: self.now(), word: word.to_owned() });
                }
                self.say(&text);
                self.idle(SAY_WORD.saturating_mul(words), true).await.unwrap_or(Flow::Next)
            }
            Verb::Pause { seconds } => {
                self.idle(Duration::from_secs(seconds), false).await.unwrap_or(Flow::Next)
            }
            Verb::Play { .. } => self.idle(Duration::from_secs(1), true).await.unwrap_or(Flow::Next),
            Verb::Dial(dial) => self.dial(dial, document).await,
            Verb::Hangup if self.was_dialled => Flow::End(EndCause::Dialled),
            Verb::Hangup => Flow::End(EndCause::Hangup),
            Verb::Reject { reason } => Flow::End(EndCause::Rejected(reason)),
            Verb::Redirect(action) => self.follow(&action, document, Vec::new()).await,
            Verb::Other { .. } => Flow::Next,
        }
    }

    fn say(&mut self, text: &str) {
        let now = self.now();
        self.turns.opened(now);
        self.turns.ran_dry();
        self.turns.received(1, now);
        self.turns.played(now);
        for word in text.split_whitespace() {
            self.turns.heard(word);
        }
    }

    /// Lets time pass without a stream. The caller may hang up, and the REST API may interfere.
    async fn idle(&mut self, how_long: Duration, speaking: bool) -> Option<Flow> {
        let end = Instant::now() + how_long;
        // What is said while nobody listens is not said.
        if self.speaking.take().is_some() {
            let now = self.now();
            self.turns.said(now);
        }
        loop {
            let now = self.now();
            if speaking {
                self.turns.played(now);
            }
            let line = LineState {
                listening: self.ear.is_some(),
                streams: self.streams_up,
                enough: self.config.enough.load(Ordering::Relaxed),
                ..LineState::default()
            };
            match self.player.tick(now, line, &mut self.turns) {
                Some(Do::HangUp) => return Some(Flow::End(EndCause::CallerHungUp)),
                Some(Do::Person(person)) => self.person = person,
                _ => {}
            }
            if let Some(update) = self.updates.as_mut().and_then(|updates| updates.try_recv().ok()) {
                return Some(self.updated(update).await);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            sleep(left.min(TICK)).await;
        }
    }

    /// The REST API changed the call.
    pub(super) async fn updated(&mut self, update: Update) -> Flow {
        match update {
            Update::Completed => Flow::End(EndCause::Hangup),
            Update::Twiml(text) => match self.read(text.as_bytes()) {
                Ok(document) => Flow::Run(document, self.hooks.public().to_owned()),
                Err(why) => Flow::End(EndCause::Failed(why)),
            },
            Update::Url { url, method } => {
                let action = Action { url, method };
                self.follow(&action, "", Vec::new()).await
            }
        }
    }

    async fn dial(&mut self, dial: Dial, document: &str) -> Flow {
        let leg = self.ring_person(&dial).await;
        let flow = self.dialled(dial, document, leg.as_ref()).await;
        if let Some(leg) = leg {
            leg.set_status("completed").await;
        }
        flow
    }

    /// Makes the dialled person's leg known to the REST API.
    async fn ring_person(&self, dial: &Dial) -> Option<RestCall> {
        let leg = RestCall::of(&self.config, &self.line.http, &sid("CA"))?;
        let to = dial.numbers.first()?;
        leg.register_leg(&self.config.account_sid, &self.from, to, &self.sid).await;
        Some(leg)
    }

    async fn dialled(&mut self, dial: Dial, document: &str, leg: Option<&RestCall>) -> Flow {
        if dial.numbers.is_empty() {
            self.violations.add("13225 <Dial> without a number");
        }
        self.turns.put_through();
        let now = self.now();
        self.turns.began(TurnKind::Dialled, &dial.numbers.join(", "), now, false);
        self.turns.said(now);
        let rings = match self.person {
            Person::Answers | Person::Busy => self.config.ring_ms,
            Person::NoAnswer => (dial.timeout_s.saturating_mul(1_000)).min(self.config.no_answer_ms),
            Person::Failed => 0,
        };
        if let Some(flow) = self.idle(Duration::from_millis(rings), false).await {
            return flow;
        }
        let (status, talks_ms) = match self.person {
            Person::Answers => ("completed", self.config.person_talks_ms),
            Person::Busy => ("busy", 0),
            Person::NoAnswer => ("no-answer", 0),
            Person::Failed => ("failed", 0),
        };
        self.dials.push(DialReport { numbers: dial.numbers.clone(), status: status.to_owned() });
        let bridged = status == "completed";
        if let Some(leg) = leg {
            leg.set_status(if bridged { "in-progress" } else { status }).await;
        }
        self.was_dialled = bridged;
        // Ringing is no silence; a person's voice, or what the server says next, answers.
        let now = self.now();
        self.turns.said(now);
        if bridged {
            self.turns.received(1, now);
        }
        if let Some(flow) = self.idle(Duration::from_millis(talks_ms), bridged).await {
            return match flow {
                Flow::End(EndCause::Hangup) if bridged => Flow::End(EndCause::Dialled),
                other => other,
            };
        }
        if let Some(leg) = leg.filter(|_| bridged) {
            leg.set_status("completed").await;
        }
        let Some(action) = dial.action else { return Flow::Next };
        let mut more = vec![
            ("DialCallStatus".to_owned(), status.to_owned()),
            ("DialBridged".to_owned(), bridged.to_string()),
        ];
        if status != "failed" {
            more.push(("DialCallSid".to_owned(), sid("CA")));
        }
        if bridged {
            more.push(("DialCallDuration".to_owned(), talks_ms.div_ceil(1_000).to_string()));
        }
        self.follow(&action, document, more).await
    }

    /// Posts a stream event beside the call.
    pub(super) fn stream_event(&mut self, stream: &Stream, sid: &str, event: &str, error: Option<&str>) {
        let Some(callback) = stream.status_callback.clone() else { return };
        let mut params: Params = [
            ("AccountSid", self.config.account_sid.as_str()),
            ("CallSid", &self.sid),
            ("StreamSid", sid),
            ("StreamName", stream.name.as_deref().unwrap_or(sid)),
            ("StreamEvent", event),
            ("Timestamp", &jiff::Timestamp::now().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        params.extend(error.map(|error| ("StreamError".to_owned(), error.to_owned())));
        let url = Webhooks::resolve(&format!("{}/", self.hooks.public()), &callback.url);
        let hooks = self.hooks.clone();
        self.reports.push(actix_rt::spawn(async move {
            // The failure is in the log of requests.
            let _ = hooks.send(&url, &callback.method, &params).await;
        }));
    }

    async fn status_callback(&mut self, end: &EndCause, duration_ms: f64, sequence: u32) {
        let Some(path) = self.config.status_path.clone() else { return };
        let seconds = (duration_ms / 1_000.0).round();
        let minutes = (seconds / 60.0).ceil();
        let mut params = self.params(end.call_status());
        let timestamp = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
        for (name, value) in [
            ("Timestamp", timestamp),
            ("CallbackSource", "call-progress-events".to_owned()),
            // A repeated event has the same number.
            ("SequenceNumber", self.config.callbacks_before.to_string()),
            ("CallDuration", format!("{seconds:.0}")),
            ("Duration", format!("{minutes:.0}")),
            ("SipResponseCode", "200".to_owned()),
        ] {
            params.push((name.to_owned(), value));
        }
        let url = format!("{}{path}", self.hooks.public());
        match self.hooks.send(&url, "POST", &params).await {
            Ok(answer) if answer.status < 300 => {}
            Ok(answer) => self.violations.add(format!("{path} answered {} ({sequence})", answer.status)),
            Err(why) => self.violations.add(format!("{path}: {why} ({sequence})")),
        }
    }

    fn report(mut self, end: EndCause, duration_ms: f64) -> CallReport {
        let failures = self.player.finish(end.kind());
        let turns = self.turns.into_turns();
        let expected = turns.iter().filter(|turn| turn.reply_expected);
        CallReport {
            script: self.script.name.clone(),
            call_sid: self.sid,
            from: self.from,
            to: self.to,
            duration_ms,
            end,
            replies_expected: expected.clone().count(),
            replies_delivered: expected.filter(|turn| turn.is_answered()).count(),
            longest_wait_ms: turns.iter().map(|turn| turn.longest_wait_ms).fold(0.0, f64::max),
            turns,
            heard: self.heard,
            said_by_twilio: self.said,
            webhooks: self.hooks.take_log(),
            streams: self.streams,
            dials: self.dials,
            violations: self.violations,
            failures,
            lag: self.line.lag.borrow().report(),
        }
    }
}

/// A new identifier with these two letters.
pub(super) fn sid(prefix: &str) -> String {
    format!("{prefix}{:032x}", rand::random::<u128>())
}
