//! Twilio.

use secrecy::SecretString;
use serde::Deserialize;

/// Twilio.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioConfig {
    /// Account (`TWILIO_ACCOUNT_SID`).
    pub account_sid: String,
    /// The account's primary token: signs webhooks and authenticates REST (`TWILIO_AUTH_TOKEN`).
    pub auth_token: SecretString,
    /// The business's number, E.164 (`TWILIO_PHONE_NUMBER`).
    pub phone_number: String,
    /// REST base, without the version (`TWILIO_BASE_URL`).
    pub base_url: String,
    /// Id of a shared webhook key, where the account uses one (`TWILIO_SHARED_KEY_ID`).
    pub shared_key_id: Option<String>,
    /// That key (`TWILIO_SHARED_KEY`).
    pub shared_key: Option<SecretString>,
    /// REST time limit, ms.
    pub timeout_ms: u64,
    /// How long a stream may take to send `start`, ms.
    pub start_timeout_ms: u64,
    /// How long an admitted call may take to bring its stream, ms.
    pub reservation_ms: u64,
    /// How long a call whose stream broke is kept for `/voice/continue`, ms.
    pub suspend_ms: u64,
    /// How many broken streams a call survives before it is given up with an apology.
    pub max_breaks: u32,
}

impl Default for TwilioConfig {
    fn default() -> Self {
        Self {
            account_sid: String::new(),
            auth_token: SecretString::from(String::new()),
            phone_number: String::new(),
            base_url: "https://api.twilio.com".into(),
            shared_key_id: None,
            shared_key: None,
            timeout_ms: 5_000,
            start_timeout_ms: 10_000,
            reservation_ms: 60_000,
            suspend_ms: 30_000,
            max_breaks: 5,
        }
    }
}
