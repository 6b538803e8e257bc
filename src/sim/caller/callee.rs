//! Somebody who is rung: an outbound call from the moment the REST API made it to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::web;
use tokio::time::{Instant, sleep};

use super::phrase::Phrases;
use super::report::CallReport;
use super::rest::RestCall;
use super::webhook::{Params, Webhooks};
use super::{CallConfig, Line, run_rendered};
use crate::sim::script::Script;
use crate::sim::vendors::twilio_calls::SimCall;

/// How the one who is rung reacts.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Answers, and plays this script.
    Answers(Box<Script>),
    /// Does not; the call ends with this status (`busy`, `no-answer`, `failed`).
    Ends(&'static str),
}

/// What became of it.
#[derive(Debug)]
pub struct Rung {
    /// The conversation, if there was one.
    pub report: Option<CallReport>,
    /// Callbacks that the server did not take.
    pub failures: Vec<String>,
}

/// Lets the telephone ring that `call` is about, as Twilio does: the callbacks that were asked for, and once somebody
/// answers, the webhook. `config` says how the server is reached; whom the call is about is taken from `call`.
pub async fn ring(config: &CallConfig, call: &SimCall, reaction: Reaction) -> Rung {
    let line = Line::new(&config.trust);
    let hooks = Webhooks::new(
        line.http.clone(),
        config.auth_token.clone(),
        &config.base_url,
        config.public_url.as_deref(),
        Instant::now(),
    );
    let mut ringing = Ringing { config, call, hooks, sequence: 0, failures: Vec::new() };
    ringing.tell("initiated").await;
    ringing.tell("ringing").await;
    sleep(Duration::from_millis(config.ring_ms)).await;
    let rest = RestCall::of(config, &line.http, &call.sid);
    let given_up = match &rest {
        Some(rest) => rest.is_over().await,
        None => false,
    };
    let script = match reaction {
        Reaction::Answers(script) if !given_up => script,
        reaction => {
            let status = match reaction {
                Reaction::Ends(status) if !given_up => status,
                _ => "canceled",
            };
            if let Some(rest) = &rest {
                rest.set_status(status).await;
            }
            ringing.tell(status).await;
            return Rung { report: None, failures: ringing.failures };
        }
    };
    ringing.tell("in-progress").await;
    let leg = CallConfig {
        sid: Some(call.sid.clone()),
        from: call.from.clone(),
        to: call.to.clone(),
        answer_url: call.parameter("Url").map(str::to_owned),
        status_path: ringing.callback_path(),
        callbacks_before: ringing.sequence,
        ..config.clone()
    };
    let script = Arc::<Script>::from(script);
    let (rendered, voice) = (Arc::clone(&script), leg.voice);
    let phrases = web::block(move || Phrases::render(&rendered, voice)).await.unwrap_or_default();
    let report = run_rendered(&line, &leg, script, Arc::new(phrases)).await;
    Rung { report: Some(report), failures: ringing.failures }
}

struct Ringing<'a> {
    config: &'a CallConfig,
    call: &'a SimCall,
    hooks: Webhooks,
    sequence: u32,
    failures: Vec<String>,
}

impl Ringing<'_> {
    /// The callback's address without the server's own, as a leg wants it.
    fn callback_path(&self) -> Option<String> {
        let url = self.call.parameter("StatusCallback")?;
        url.strip_prefix(self.hooks.public()).map(str::to_owned)
    }

    /// Reports a state, if somebody wants to know of it.
    async fn tell(&mut self, status: &str) {
        let event = match status {
            "initiated" | "ringing" => status,
            "in-progress" => "answered",
            _ => "completed",
        };
        let wanted = self.call.parameters.iter().any(|(n, v)| n == "StatusCallbackEvent" && v == event);
        // Without a list, only the end is told.
        let lists = self.call.parameter("StatusCallbackEvent").is_some();
        let Some(url) =
            self.call.parameter("StatusCallback").filter(|_| wanted || (!lists && event == "completed"))
        else {
            return;
        };
        let sequence = self.sequence.to_string();
        let timestamp = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
        let mut params: Params = [
            ("CallSid", self.call.sid.as_str()),
            ("AccountSid", &self.config.account_sid),
            ("From", &self.call.from),
            ("To", &self.call.to),
            ("Caller", &self.call.from),
            ("Called", &self.call.to),
            ("CallStatus", status),
            ("ApiVersion", "2010-04-01"),
            ("Direction", "outbound-api"),
            ("CallbackSource", "call-progress-events"),
            ("SequenceNumber", &sequence),
            ("Timestamp", &timestamp),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        if event == "completed" {
            params.push(("CallDuration".to_owned(), "0".to_owned()));
            params.push(("Duration".to_owned(), "0".to_owned()));
        }
        self.sequence = self.sequence.saturating_add(1);
        match self.hooks.send(url, "POST", &params).await {
            Ok(answer) if answer.status < 300 => {}
            Ok(answer) => self.failures.push(format!("{status}: answered {}", answer.status)),
            Err(why) => self.failures.push(format!("{status}: {why}")),
        }
    }
}
