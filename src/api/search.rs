//! `/api/search`: calls and customers by words.

use super::access::{Access, Read};
use super::calls::{self, CallBody};
use super::common::{Clock, Shared, next, page_of, word_of, words_of};
use super::customers::{self, CustomerBody};
use super::page::{Items, Page, items};
use super::problem::{ApiResult, Problem};
use crate::db::{ListKind, Listed};
use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa_actix_web::service_config::ServiceConfig;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(search);
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Call,
    Customer,
}

/// Something that was found.
#[derive(Serialize, utoipa::ToSchema)]
struct Hit {
    kind: Kind,
    /// The call's or the customer's id.
    id: i64,
    /// The text around the words.
    snippet: String,
    /// The turn in which they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<CallBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<CustomerBody>,
}

/// What is looked for, and where.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Words that all stand in it, the last perhaps unfinished; or a telephone number, or a part of it.
    #[param(required = true, value_type = String, min_length = 1, max_length = 200, example = "umbrella")]
    q: Option<String>,
    /// Among the calls that have ended (if nothing else is said), or among the customers.
    #[param(required = false, value_type = Option<Kind>)]
    kind: Option<String>,
}

/// What is found, newest first.
#[utoipa::path(
    tag = "calls",
    params(Wanted, Page),
    responses((status = 200, description = "What was found", body = Items<Hit>)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/search")]
async fn search(
    services: Shared,
    _: Access<Read>,
    wanted: web::Query<Wanted>,
    page: web::Query<Page>,
) -> ApiResult {
    let kind = |word: &str| match word {
        "call" => Some(Kind::Call),
        "customer" => Some(Kind::Customer),
        _ => None,
    };
    let kind = word_of("kind", wanted.kind.as_deref(), kind, &["call", "customer"])?.unwrap_or(Kind::Call);
    let words = words_of("q", wanted.q.as_deref().unwrap_or_default())?;
    if kind == Kind::Customer {
        let page = page_of(&page, ListKind::Customers)?;
        let Listed { items: hits, next: cursor } = services.db.search_customers(words, page).await?;
        let clock = Clock::of(&services.profile);
        let hits = hits
            .into_iter()
            .map(|hit| Hit {
                kind,
                id: hit.customer.customer.id,
                snippet: hit.snippet,
                turn: None,
                call: None,
                customer: Some(customers::body(&clock, hit.customer)),
            })
            .collect();
        return Ok(items(hits, next(cursor)));
    }
    let page = page_of(&page, ListKind::FoundCalls)?;
    let Listed { items: hits, next: cursor } = services.db.search_calls(words, page).await?;
    let (texts, rows): (Vec<_>, Vec<_>) =
        hits.into_iter().map(|hit| ((hit.snippet, hit.turn), hit.call)).unzip();
    let bodies: Result<Vec<CallBody>, Problem> = calls::bodies(&services, rows).await;
    let hits = bodies?
        .into_iter()
        .zip(texts)
        .map(|(call, (snippet, turn))| Hit {
            kind,
            id: call.id,
            snippet,
            turn,
            call: Some(call),
            customer: None,
        })
        .collect();
    Ok(items(hits, next(cursor)))
}
