//! `/api/audit`: what staff and programs did.

use super::access::{Access, Admin, WhoKind};
use super::keys::local;
use super::page::{IdList, Items, Page, id_cursor, items};
use super::problem::ApiResult;
use crate::session::services::Services;
use actix_web::{get, web};
use serde::Serialize;
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list);
}

/// Who did something.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Who)]
struct WhoBody {
    kind: WhoKind,
    /// The key's or the user's id; 0 for the command line.
    id: i64,
    name: String,
}

/// Something that was done.
#[derive(Serialize, utoipa::ToSchema)]
struct StaffAction {
    id: i64,
    #[schema(format = DateTime)]
    at: String,
    who: WhoBody,
    /// What was done: `appointment.cancel`.
    action: String,
    /// What it was done to: `appointment 17`.
    target: String,
    /// What else is to be known.
    detail: serde_json::Value,
}

/// The audit trail, newest first.
#[utoipa::path(
    tag = "access",
    params(Page),
    responses((status = 200, description = "What was done", body = Items<StaffAction>)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/audit")]
async fn list(services: web::Data<Rc<Services>>, _: Access<Admin>, page: web::Query<Page>) -> ApiResult {
    // What was done a moment ago is to be seen: notes are written a little later.
    services.db.flush().await?;
    let rows = services.db.staff_actions(page.after_id(IdList::Audit)?, page.limit.saturating_add(1)).await?;
    let more = rows.len() > page.limit as usize;
    let rows: Vec<StaffAction> = rows
        .into_iter()
        .take(page.limit as usize)
        .map(|row| StaffAction {
            id: row.id,
            at: local(&services.profile.timezone, row.at),
            who: WhoBody { kind: row.who.kind, id: row.who.id, name: row.who.name },
            action: row.action,
            target: row.target,
            detail: row.detail,
        })
        .collect();
    let next = rows.last().filter(|_| more).map(|row| id_cursor(IdList::Audit, row.id));
    Ok(items(rows, next))
}
