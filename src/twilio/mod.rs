//! Twilio's formats: stream messages, TwiML, webhooks, signatures, and its REST API.
