//! `/api/users`: who may sign in.

use super::access::{Access, Admin};
use super::body::Json;
use super::gate::Gate;
use super::keys::local;
use super::login::hashed;
use super::page::{IdList, Items, Page, id_cursor, items};
use super::problem::{ApiResult, Problem};
use super::secret::{new_password, password_fault, user_name};
use crate::db::access::{User, UserChange, UserChanged};
use crate::domain::staff::{ONE_TIME_PASSWORD, Role};
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpResponse, delete, get, patch, post, web};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(create).service(change).service(remove);
}

/// A user.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = User)]
struct UserBody {
    id: i64,
    /// In lower case.
    name: String,
    role: Role,
    /// Whether they may not sign in.
    disabled: bool,
    /// Whether the password was made for them and is still to be changed; until then they can do nothing else.
    one_time_password: bool,
    #[schema(format = DateTime)]
    created_at: String,
}

/// A user who is wanted.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// Letters, digits and `._-@+`.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    role: Role,
    /// Their first password; if it is not given, one is made that is good for seven days, until they choose their own.
    #[schema(value_type = Option<String>, format = Password, min_length = 10)]
    #[serde(default)]
    password: Option<SecretString>,
}

/// A user who was made.
#[derive(Serialize, utoipa::ToSchema)]
struct CreatedUser {
    #[serde(flatten)]
    user: UserBody,
    /// The password that was made. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// What is to be changed; what is left out stays as it is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UserPatch {
    #[serde(default)]
    role: Option<Role>,
    /// Locks out, or lets in again.
    #[serde(default)]
    disabled: Option<bool>,
    /// Whether a new one-time password is made.
    #[serde(default)]
    new_password: bool,
}

fn body(services: &Services, user: User) -> UserBody {
    UserBody {
        id: user.id,
        name: user.name,
        role: user.role,
        disabled: user.disabled,
        one_time_password: user.one_time,
        created_at: local(&services.profile.timezone, user.created_at),
    }
}

/// The users.
#[utoipa::path(
    tag = "access",
    params(Page),
    responses((status = 200, description = "The users", body = Items<UserBody>)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/users")]
async fn list(services: Shared, _: Access<Admin>, page: web::Query<Page>) -> ApiResult {
    let users = services.db.users(page.after_id(IdList::Users)?, page.limit.saturating_add(1)).await?;
    let more = users.len() > page.limit as usize;
    let users: Vec<UserBody> =
        users.into_iter().take(page.limit as usize).map(|user| body(&services, user)).collect();
    let next = users.last().filter(|_| more).map(|user| id_cursor(IdList::Users, user.id));
    Ok(items(users, next))
}

/// Make a user.
#[utoipa::path(
    tag = "access",
    request_body = NewUser,
    responses((status = 201, description = "The user; a password that was made is shown this once", body = CreatedUser),
              (status = 409, description = "The name is taken"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/users")]
async fn create(
    services: Shared,
    gate: web::Data<Gate>,
    access: Access<Admin>,
    wanted: Json<NewUser>,
) -> ApiResult {
    let wanted = wanted.into_inner();
    let name = user_name(&wanted.name)
        .ok_or_else(|| Problem::invalid("name", "must have 1 to 64 letters, digits or ._-@+"))?;
    if let Some(fault) = wanted.password.as_ref().and_then(password_fault) {
        return Err(Problem::invalid("password", fault));
    }
    let made = wanted.password.is_none();
    let password = wanted.password.unwrap_or_else(new_password);
    let hash = hashed(&gate, password.clone()).await?;
    let Some(user) = services.db.add_user(name, hash, wanted.role, made, unix_now()).await? else {
        return Err(Problem::conflict("a user of this name is there already"));
    };
    let detail = json!({"name": user.name, "role": user.role});
    services.staff_log(access.who(), "user.create", format!("user {}", user.id), detail).await?;
    let password = made.then(|| password.expose_secret().to_owned());
    Ok(HttpResponse::Created().json(CreatedUser { user: body(&services, user), password }))
}

fn changed(outcome: UserChanged) -> Result<User, Problem> {
    match outcome {
        UserChanged::Done(user) => Ok(user),
        UserChanged::Unknown => Err(Problem::not_found("user")),
        UserChanged::LastAdmin => Err(Problem::conflict("nobody would be left who may administer")),
    }
}

/// Change a user's role, lock them out or let them in, give them a new one-time password.
#[utoipa::path(
    tag = "access",
    params(("id" = i64, Path, description = "The user's id")),
    request_body = UserPatch,
    responses((status = 200, description = "The user; a password that was made is shown this once", body = CreatedUser),
              (status = 404, description = "There is no such user"),
              (status = 409, description = "Nobody would be left who may administer"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[patch("/api/users/{id}")]
async fn change(
    services: Shared,
    gate: web::Data<Gate>,
    access: Access<Admin>,
    id: web::Path<i64>,
    patch: Json<UserPatch>,
) -> ApiResult {
    let password = patch.new_password.then(new_password);
    let hash = match &password {
        Some(password) => {
            Some((hashed(&gate, password.clone()).await?, Some(unix_now().after(ONE_TIME_PASSWORD))))
        }
        None => None,
    };
    let wanted = UserChange { role: patch.role, disabled: patch.disabled, password: hash };
    let user = changed(services.db.change_user(*id, wanted).await?)?;
    let detail = json!({"role": patch.role, "disabled": patch.disabled, "new_password": patch.new_password});
    services.staff_log(access.who(), "user.change", format!("user {id}"), detail).await?;
    let password = password.map(|password| password.expose_secret().to_owned());
    Ok(HttpResponse::Ok().json(CreatedUser { user: body(&services, user), password }))
}

/// Lock a user out. What they did stays in the audit trail, so the user stays too.
#[utoipa::path(
    tag = "access",
    params(("id" = i64, Path, description = "The user's id")),
    responses((status = 204, description = "Locked out, and signed out everywhere"),
              (status = 404, description = "There is no such user"),
              (status = 409, description = "Nobody would be left who may administer")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/users/{id}")]
async fn remove(services: Shared, access: Access<Admin>, id: web::Path<i64>) -> ApiResult {
    let wanted = UserChange { disabled: Some(true), ..UserChange::default() };
    changed(services.db.change_user(*id, wanted).await?)?;
    services.staff_log(access.who(), "user.disable", format!("user {id}"), json!({})).await?;
    Ok(HttpResponse::NoContent().finish())
}
