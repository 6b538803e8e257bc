//! Twilio's REST API: placing, changing and ending calls, sending a text (`twilio.md` section 5).
//!
//! The client belongs to its thread, like the HTTP client inside. Nothing is sent twice here: a failure says whether
//! it may be ([`RestError::retry`]), since Twilio has no idempotency key.

mod model;

pub use model::{
    CallChange, CallList, CallResource, Instructions, MAX_MESSAGE_CHARS, NewCall, NewMessage, RestError,
    RestErrorKind, RetryAdvice,
};

use crate::config::twilio::TwilioConfig;
use crate::domain::call::CallStatus;
use crate::domain::ids::CallSid;
use crate::domain::phone::PhoneNumber;
use awc::error::{ConnectError, SendRequestError};
use awc::http::Method;
use bytes::Bytes;
use model::Pairs;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// The longest answer that is read, in bytes; a call's is about 2 KiB, a page of them 100.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The version of the interface, a part of every path.
const API_VERSION: &str = "2010-04-01";

/// Calls a page of a list.
const PAGE: &str = "50";

/// A client of the REST API for one account.
#[derive(Clone)]
pub struct TwilioRest {
    http: awc::Client,
    /// `{base}/2010-04-01/Accounts/{sid}`.
    account_url: String,
    account_sid: String,
    auth_token: SecretString,
    timeout: Duration,
}

impl TwilioRest {
    /// A client for the configured account, over an HTTP client of this thread's that follows no redirects.
    pub fn new(http: awc::Client, config: &TwilioConfig) -> Self {
        // Credentials pasted with a blank are refused by Twilio with a misleading message.
        let account_sid = config.account_sid.trim().to_owned();
        let base = config.base_url.trim().trim_end_matches('/');
        Self {
            http,
            account_url: format!("{base}/{API_VERSION}/Accounts/{}", escaped(&account_sid)),
            account_sid,
            auth_token: SecretString::from(config.auth_token.expose_secret().trim().to_owned()),
            timeout: Duration::from_millis(config.timeout_ms),
        }
    }

    /// Places a call. Success means that it is queued.
    pub async fn create_call(&self, new: &NewCall) -> Result<CallResource, RestError> {
        let answer = self.post("/Calls.json", &new.form()?).await?;
        model::call(&answer)
    }

    /// Tells a call to do something else.
    pub async fn update_call(
        &self,
        sid: &CallSid,
        change: CallChange<'_>,
    ) -> Result<CallResource, RestError> {
        let answer = self.post(&call_path(sid), &change.form()?).await?;
        model::call(&answer)
    }

    /// Ends a call; one that is over already is a success.
    pub async fn hang_up(&self, sid: &CallSid) -> Result<(), RestError> {
        match self.post(&call_path(sid), &CallChange::Complete.form()?).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind, RestErrorKind::NotInProgress | RestErrorKind::NotFound) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Asks how a call stands; may lag behind by seconds.
    pub async fn fetch_call(&self, sid: &CallSid) -> Result<CallResource, RestError> {
        let answer = self.get(&call_path(sid)).await?;
        model::call(&answer)
    }

    /// The latest calls from one number to another, at most 20: to see whether a call whose placing failed
    /// halfway exists after all.
    pub async fn recent_calls(
        &self,
        to: &PhoneNumber,
        from: &PhoneNumber,
    ) -> Result<Vec<CallResource>, RestError> {
        let query = encoded(&vec![
            ("To", to.as_str().to_owned()),
            ("From", from.as_str().to_owned()),
            ("PageSize", "20".to_owned()),
        ]);
        let answer = self.get(&format!("/Calls.json?{query}")).await?;
        model::calls(&answer)
    }

    /// The calls in progress at Twilio with this number at either end, of each at most so many pages of 50.
    pub async fn calls_in_progress(&self, number: &PhoneNumber, pages: usize) -> Result<CallList, RestError> {
        let mut list = CallList { calls: Vec::new(), whole: true };
        for end in ["To", "From"] {
            let query = vec![
                ("Status", "in-progress".to_owned()),
                (end, number.as_str().to_owned()),
                ("PageSize", PAGE.to_owned()),
            ];
            let mut next = Some(format!("/Calls.json?{}", encoded(&query)));
            for _ in 0..pages {
                let Some(path) = next.take() else { break };
                let page = model::page(&self.get(&path).await?)?;
                list.calls.extend(page.calls);
                next = page.next.as_deref().map(|uri| self.within_account(uri)).transpose()?;
            }
            list.whole = list.whole && next.is_none();
        }
        Ok(list)
    }

    /// Whether a person is rung for a call, or speaks to its caller: it has another leg that is not over.
    pub async fn has_other_leg(&self, parent: &CallSid) -> Result<bool, RestError> {
        let query = vec![("ParentCallSid", parent.as_str().to_owned()), ("PageSize", PAGE.to_owned())];
        let legs = model::page(&self.get(&format!("/Calls.json?{}", encoded(&query))).await?)?;
        Ok(legs.calls.iter().any(|leg| !leg.status.is_some_and(CallStatus::is_terminal)))
    }

    /// The path of a list's next page, which has to lie within this account: the credentials go there.
    fn within_account(&self, uri: &str) -> Result<String, RestError> {
        let account = format!("/{API_VERSION}/Accounts/{}", escaped(&self.account_sid));
        match uri.strip_prefix(&account) {
            Some(path) if path.starts_with("/Calls.json?") => Ok(path.to_owned()),
            _ => Err(RestError::of(RestErrorKind::Protocol)),
        }
    }

    /// Sends a text message; gives its identifier.
    pub async fn send_message(&self, new: &NewMessage<'_>) -> Result<String, RestError> {
        let answer = self.post("/Messages.json", &new.form()?).await?;
        model::message(&answer)
    }

    async fn get(&self, path: &str) -> Result<Bytes, RestError> {
        self.exchange(Method::GET, path, String::new()).await
    }

    async fn post(&self, path: &str, form: &Pairs) -> Result<Bytes, RestError> {
        self.exchange(Method::POST, path, encoded(form)).await
    }

    /// One request and its whole answer, within the time limit: the client's own covers the answer's head only.
    async fn exchange(&self, method: Method, path: &str, form: String) -> Result<Bytes, RestError> {
        let post = method == Method::POST;
        let request = self
            .http
            .request(method, format!("{}{path}", self.account_url))
            .timeout(self.timeout)
            .basic_auth(&self.account_sid, self.auth_token.expose_secret())
            .insert_header(("Accept", "application/json"));
        let exchange = async {
            let sent = if post {
                request.content_type("application/x-www-form-urlencoded").send_body(form).await
            } else {
                request.send().await
            };
            let mut answer = sent.map_err(|error| RestError::of(failure(&error)))?;
            let status = answer.status();
            let body = answer.body().limit(MAX_ANSWER_BYTES).await;
            if !status.is_success() {
                return Err(RestError::from_answer(status.as_u16(), &body.unwrap_or_default()));
            }
            body.map_err(|_| RestError {
                status: Some(status.as_u16()),
                ..RestError::of(RestErrorKind::Broken)
            })
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(RestError::of(RestErrorKind::Timeout)))
    }
}

/// What kind of failure a request without an answer met.
fn failure(error: &SendRequestError) -> RestErrorKind {
    match error {
        SendRequestError::Url(_) | SendRequestError::Http(_) => RestErrorKind::Request,
        SendRequestError::Connect(
            // The client's word for a connection that was closed after the request had gone out.
            ConnectError::Disconnected | ConnectError::H2(_),
        ) => RestErrorKind::Broken,
        SendRequestError::Connect(_) => RestErrorKind::Connect,
        SendRequestError::Timeout => RestErrorKind::Timeout,
        _ => RestErrorKind::Broken,
    }
}

fn call_path(sid: &CallSid) -> String {
    format!("/Calls/{}.json", escaped(sid.as_str()))
}

fn escaped(segment: &str) -> String {
    form_urlencoded::byte_serialize(segment.as_bytes()).collect()
}

fn encoded(pairs: &Pairs) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests;
