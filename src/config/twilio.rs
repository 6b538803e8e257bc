//! Twilio.

use super::setting::settings;
use super::validate::{account_sid, credential, e164, optional_credential, vendor_base, within};
use secrecy::SecretString;

settings! {
    /// Twilio.
    pub struct TwilioConfig {
        /// Account.
        account_sid: String = String::new(), env "TWILIO_ACCOUNT_SID", check account_sid;
        /// The account's primary token: signs webhooks and authenticates REST.
        auth_token: SecretString = SecretString::default(), env "TWILIO_AUTH_TOKEN", check credential;
        /// The business's number, E.164.
        phone_number: String = String::new(), env "TWILIO_PHONE_NUMBER", check e164;
        /// REST base, without the version.
        base_url: String = "https://api.twilio.com".into(), env "TWILIO_BASE_URL", check vendor_base;
        /// Id of a shared webhook key, where the account uses one.
        shared_key_id: Option<String> = None, env "TWILIO_SHARED_KEY_ID";
        /// That key.
        shared_key: Option<SecretString> = None, env "TWILIO_SHARED_KEY", check optional_credential;
        /// REST time limit, ms.
        timeout_ms: u64 = 5_000, check within(100, 60_000);
        /// How long a stream may take to send `start`, ms.
        start_timeout_ms: u64 = 10_000, check within(1_000, 60_000);
        /// Twilio sends 50 frames a second, silence included: this long without one its stream counts as broken, ms.
        silent_ms: u64 = 10_000, check within(100, 60_000);
        /// How long an admitted call may take to bring its stream, ms.
        reservation_ms: u64 = 60_000, check within(1_000, 600_000);
        /// How long a call whose stream broke is kept for `/voice/continue`, ms.
        suspend_ms: u64 = 30_000, check within(1_000, 600_000);
        /// How many broken streams a call survives before it is given up with an apology.
        max_breaks: u32 = 5, check within(0, 1_000);
        /// How often our live calls are compared with Twilio's own list, ms; 0: never. Calls younger than that are left alone.
        reaper_ms: u64 = 60_000, check within(0, 3_600_000);
    }
}
