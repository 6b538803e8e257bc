//! `GET` and `PATCH /api/settings`: what staff may change of the configuration, applied to the next call.

use super::access::{Access, Admin, Read};
use super::body::Json;
use super::page::{KEEP_BUT_ASK, not_modified};
use super::problem::{ApiResult, FieldError, Problem};
use super::profile::{expected, is_known, tag};
use crate::config::load::{self, Fault};
use crate::config::overlay::{self, Changes};
use crate::config::setting::Kind;
use crate::observe::clock::unix_now;
use crate::session::live::{Current, Live, SETTINGS};
use crate::session::services::Services;
use actix_web::http::header::{CACHE_CONTROL, ETAG};
use actix_web::{HttpRequest, HttpResponse, get, patch, web};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(read).service(write);
}

/// A setting's value, by its kind; to give one back to file and environment, `null`.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes values that the settings themselves read")]
enum SettingValue {
    Text(String),
    Number(f64),
    Switch(bool),
    List(Vec<String>),
    Nothing,
}

/// One setting.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SettingView {
    /// Its section and name.
    #[schema(example = "call.filler_ms")]
    pub name: String,
    /// What holds.
    #[schema(value_type = Option<SettingValue>)]
    pub value: Value,
    /// What file and environment say; what holds again if the setting is given `null`.
    #[schema(value_type = Option<SettingValue>)]
    pub configured: Value,
    /// `text`, `number`, `decimal`, `switch` or `list`.
    pub kind: &'static str,
    /// What it means.
    pub meaning: String,
    /// `staff` if it was changed here, else `configuration`.
    pub source: &'static str,
}

/// The settings that staff may change.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SettingsView {
    /// The settings.
    pub items: Vec<SettingView>,
    /// There is only one page.
    pub next_cursor: Option<String>,
}

fn view(live: &Live, current: &Current) -> SettingsView {
    let items = overlay::show(live.configured(), &current.config, &current.changes).into_iter();
    let items = items.map(|shown| SettingView {
        name: shown.name,
        value: shown.value,
        configured: shown.configured,
        kind: match shown.kind {
            Kind::Text | Kind::Secret => "text",
            Kind::Number => "number",
            Kind::Decimal => "decimal",
            Kind::Switch => "switch",
            Kind::List => "list",
        },
        meaning: shown.meaning,
        source: if shown.changed { "staff" } else { "configuration" },
    });
    SettingsView { items: items.collect(), next_cursor: None }
}

fn wrong(problems: Vec<load::Problem>) -> Problem {
    let field = |problem: load::Problem| FieldError {
        message: match &problem.fault {
            Fault::Wrong { expected, .. } => format!("expected {expected}"),
            Fault::Unknown(_) => "is no setting that can be changed here".to_owned(),
            Fault::Missing(text) | Fault::Unreadable(text) | Fault::Clash(text) => text.clone(),
        },
        field: problem.subject,
    };
    Problem::invalid_all(problems.into_iter().map(field).collect())
}

/// Reads the settings that can be changed while the server runs
#[utoipa::path(
    tag = "settings",
    responses(
        (status = 200, description = "The settings", body = SettingsView, headers(("ETag" = String))),
        (status = 304, description = "They have not changed"),
    ),
    security(("key" = []), ("session" = []))
)]
#[get("/api/settings")]
async fn read(services: Shared, request: HttpRequest, _access: Access<Read>) -> ApiResult {
    let current = services.live.current();
    let tag = tag("settings", current.settings_version);
    if is_known(&request, &tag) {
        return Ok(not_modified(&tag));
    }
    Ok(HttpResponse::Ok()
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, KEEP_BUT_ASK))
        .json(view(&services.live, &current)))
}

/// Changes settings
///
/// An object of values by setting; `null` gives one back to file and environment. They hold for calls that begin from
/// now on.
#[utoipa::path(
    tag = "settings",
    params(("If-Match" = Option<String>, Header, description = "The ETag of the settings that are changed")),
    request_body(content = BTreeMap<String, SettingValue>, content_type = "application/json"),
    responses(
        (status = 200, description = "The settings as they hold now", body = SettingsView,
            headers(("ETag" = String))),
        (status = 412, description = "They were changed since they were read"),
    ),
    security(("key" = []), ("session" = []))
)]
#[patch("/api/settings")]
async fn write(
    services: Shared,
    request: HttpRequest,
    access: Access<Admin>,
    body: Json<BTreeMap<String, Value>>,
) -> ApiResult {
    let live = &services.live;
    let wanted = body.into_inner();
    let given = expected(&request, "settings")?;
    let before = live.current();
    if given.is_some_and(|given| given != before.settings_version) {
        return Err(Problem::precondition_failed());
    }
    let mut changes: Changes = before.changes.clone();
    let mut unknown = Changes::new();
    for (path, value) in &wanted {
        if value.is_null() {
            // Whether there is such a setting is told with the others.
            if changes.remove(path).is_none() && !overlay::may_change(path) {
                unknown.insert(path.clone(), value.clone());
            }
        } else {
            changes.insert(path.clone(), value.clone());
        }
    }
    let mut tried = changes.clone();
    tried.extend(unknown);
    let config = live.read_changes(&tried).map_err(wrong)?;
    let who = access.who();
    // For what was there when this was worked out: two who change different settings at once do not undo each other.
    let stored = services
        .db
        .put_setting(SETTINGS, json!(changes), Some(before.settings_version), who.name.clone(), unix_now())
        .await?;
    let Some(version) = stored else {
        live.load(&services.db).await?;
        return Err(Problem::precondition_failed());
    };
    live.set_changes(config, changes, version);
    services.staff_log(who, "settings.change", "settings".to_owned(), json!(wanted)).await?;
    let current = live.current();
    let tag = tag("settings", current.settings_version);
    Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(view(live, &current)))
}
