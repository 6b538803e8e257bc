//! What the server answers over HTTP: Twilio's webhooks and streams, and the health check.

pub mod health;
pub mod voice;
