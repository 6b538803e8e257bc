//! Twilio's formats: stream messages, TwiML, webhooks, signatures, and its REST API.
//!
//! All but [`rest`] is pure: bytes and text in, typed values out. Nothing here knows an actor.

pub mod address;
pub mod rest;
pub mod signature;
pub mod stream;
pub mod tolls;
pub mod twiml;
pub mod webhook;
