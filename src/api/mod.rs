//! What the server answers over HTTP: Twilio's webhooks and streams, and the staff's API.
//!
//! A route of the API is registered with its description, so that none can be missing from `/api/openapi.json`.

pub mod access;
mod analytics;
mod appointments;
mod audit;
pub mod body;
mod calls;
pub mod charts;
mod common;
mod costs;
mod customers;
mod dashboard;
mod export;
pub mod gate;
mod health;
mod jobs;
mod keys;
mod live;
mod login;
mod messages;
pub mod metrics;
pub mod openapi;
mod outbound;
pub mod page;
pub mod problem;
mod profile;
mod recordings;
mod search;
pub mod secret;
mod settings;
mod spend;
mod stream;
mod test_calls;
mod throttle;
mod time_off;
mod users;
pub mod voice;

use actix_web::error::{PathError, QueryPayloadError};
use actix_web::{HttpRequest, web};
use problem::Problem;
use utoipa_actix_web::service_config::ServiceConfig;

/// Adds every route of the API.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .app_data(web::PathConfig::default().error_handler(wrong_path))
        .app_data(web::QueryConfig::default().error_handler(wrong_query))
        .configure(health::routes)
        .configure(openapi::routes)
        .configure(login::routes)
        .configure(keys::routes)
        .configure(users::routes)
        .configure(recordings::routes)
        .configure(audit::routes)
        .configure(dashboard::routes)
        .configure(calls::routes)
        .configure(customers::routes)
        .configure(appointments::routes)
        .configure(time_off::routes)
        .configure(messages::routes)
        .configure(search::routes)
        .configure(analytics::routes)
        .configure(export::routes)
        .configure(jobs::routes)
        .configure(costs::routes)
        .configure(live::routes)
        .configure(stream::routes)
        .configure(outbound::routes)
        .configure(test_calls::routes)
        .configure(profile::routes)
        .configure(settings::routes)
        .configure(charts::routes);
}

/// An id that is none names nothing.
fn wrong_path(_: PathError, _: &HttpRequest) -> actix_web::Error {
    Problem::not_found("address").into()
}

/// A query that cannot be read, told by the parameter's name where the message begins with it or quotes it.
fn wrong_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let QueryPayloadError::Deserialize(error) = &error else {
        return Problem::invalid("query", "cannot be read").into();
    };
    let text = error.to_string();
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some((name, message)) = text.split_once(": ").filter(|(name, _)| plain(name)) {
        return Problem::invalid(name, message).into();
    }
    let quoted = text.split('`').nth(1).filter(|_| text.contains("field `"));
    Problem::invalid(quoted.unwrap_or("query"), text.as_str()).into()
}
