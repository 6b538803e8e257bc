//! `GET /metrics`: everything that is measured, as Prometheus reads it.
//!
//! On a listener of its own without a credential (`app`), and here only for whoever shows `METRICS_TOKEN`.

use crate::observe::recorder;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Brings up to date what is asked for and not told of.
pub type Refresh = Arc<dyn Fn() -> LocalBoxFuture<'static, ()> + Send + Sync>;

/// How metrics are read.
#[derive(Clone)]
pub struct Scrape {
    /// Done before.
    pub refresh: Refresh,
    /// What has to be shown; nothing on a listener that only the own network reaches.
    pub token: Option<SecretString>,
}

/// Adds the route.
pub fn routes(config: &mut web::ServiceConfig, scrape: Scrape) {
    config.service(web::resource("/metrics").app_data(web::Data::new(scrape)).route(web::get().to(metrics)));
}

async fn metrics(scrape: web::Data<Scrape>, request: HttpRequest) -> HttpResponse {
    if scrape.token.as_ref().is_some_and(|token| !shows(request.headers(), token)) {
        return HttpResponse::Unauthorized().insert_header((WWW_AUTHENTICATE, "Bearer")).finish();
    }
    (scrape.refresh)().await;
    HttpResponse::Ok()
        .content_type(recorder::CONTENT_TYPE)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(recorder::render())
}

/// Whether a request shows the token; how long it is can be told from the time this takes, what it is cannot.
fn shows(headers: &HeaderMap, token: &SecretString) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|text| text.split_once(' '));
    shown.is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case("bearer")
            && bool::from(shown.trim().as_bytes().ct_eq(token.expose_secret().as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn only_the_whole_token_behind_bearer_opens() {
        let token = SecretString::from("0123456789abcdef");
        for (header, opens) in [
            (Some("Bearer 0123456789abcdef"), true),
            (Some("bearer  0123456789abcdef "), true),
            (Some("Bearer 0123456789abcde"), false),
            (Some("Bearer 0123456789abcdeff"), false),
            (Some("Bearer "), false),
            (Some("Basic 0123456789abcdef"), false),
            (Some("0123456789abcdef"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, HeaderValue::from_static(header));
            }
            assert_eq!(shows(&headers, &token), opens, "{header:?}");
        }
    }
}
