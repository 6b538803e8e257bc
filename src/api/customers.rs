//! `/api/customers`: the people the business knows.

use super::access::{Access, Act, Read};
use super::body::Json;
use super::common::{Clock, Shared, given, page_of, paged, phone_of, text_of, words_of};
use super::page::{Items, Page, etagged};
use super::problem::{ApiResult, FieldError, Problem};
use crate::db::{CustomerChange, CustomerDetail, CustomerOutcome, ListKind};
use crate::domain::phone::PhoneNumber;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_actix_web::service_config::ServiceConfig;

/// The longest name and the longest notes, characters.
const MAX_NAME: usize = 200;
const MAX_NOTES: usize = 10_000;
/// The longest address that mail knows, characters.
const MAX_EMAIL: usize = 254;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(create).service(one).service(patch_one).service(remove);
}

/// A customer.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Customer)]
pub(super) struct CustomerBody {
    pub(super) id: i64,
    #[schema(required)]
    pub(super) name: Option<String>,
    /// In E.164; no two customers have the same.
    #[schema(required, example = "+12025550143")]
    pub(super) phone: Option<String>,
    #[schema(required)]
    pub(super) email: Option<String>,
    #[schema(required)]
    pub(super) notes: Option<String>,
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
}

/// A customer to be made: a name, a number or an address at least.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCustomer {
    #[schema(max_length = 200)]
    #[serde(default)]
    name: Option<String>,
    /// As people write it; in the business's country if it does not say in which.
    #[schema(example = "+12025550143")]
    #[serde(default)]
    phone: Option<String>,
    #[schema(max_length = 254, example = "maria@example.com")]
    #[serde(default)]
    email: Option<String>,
    #[schema(max_length = 10_000)]
    #[serde(default)]
    notes: Option<String>,
}

/// What is to be changed: what is left out stays, `null` takes away.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerPatch {
    #[schema(value_type = Option<String>, max_length = 200)]
    #[serde(default, deserialize_with = "given")]
    name: Option<Option<String>>,
    #[schema(value_type = Option<String>, example = "+12025550143")]
    #[serde(default, deserialize_with = "given")]
    phone: Option<Option<String>>,
    #[schema(value_type = Option<String>, max_length = 254, example = "maria@example.com")]
    #[serde(default, deserialize_with = "given")]
    email: Option<Option<String>>,
    #[schema(value_type = Option<String>, max_length = 10_000)]
    #[serde(default, deserialize_with = "given")]
    notes: Option<Option<String>>,
}

/// Which customers.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Words of the name, the address or the notes, or how they begin; digits of the number.
    #[param(required = false, max_length = 200)]
    q: Option<String>,
}

pub(super) fn body(clock: &Clock, detail: CustomerDetail) -> CustomerBody {
    let customer = detail.customer;
    CustomerBody {
        id: customer.id,
        name: customer.name,
        phone: customer.phone.map(|phone| phone.as_str().to_owned()),
        email: customer.email,
        notes: customer.notes,
        created_at: clock.stamp(detail.created_at),
        updated_at: clock.stamp(detail.updated_at),
    }
}

/// Checks every field, so that all that is wrong is told at once.
fn checked(services: &Services, patch: CustomerPatch) -> Result<CustomerChange, Problem> {
    let mut wrong: Vec<FieldError> = Vec::new();
    let mut text = |field: &str, value: Option<Option<String>>, most: usize| {
        value.map(|value| match text_of(field, value, most) {
            Ok(text) => text,
            Err(problem) => {
                wrong.extend(problem.into_errors());
                None
            }
        })
    };
    let name = text("name", patch.name, MAX_NAME);
    let notes = text("notes", patch.notes, MAX_NOTES);
    let email = text("email", patch.email, MAX_EMAIL);
    let phone = text("phone", patch.phone, 64);
    if let Some(Some(email)) = &email
        && !is_address(email)
    {
        wrong.extend(Problem::invalid("email", "must be an e-mail address").into_errors());
    }
    let phone: Option<Option<PhoneNumber>> = match phone {
        Some(Some(text)) => match phone_of(&services.profile, "phone", &text) {
            Ok(phone) => Some(Some(phone)),
            Err(problem) => {
                wrong.extend(problem.into_errors());
                None
            }
        },
        Some(None) => Some(None),
        None => None,
    };
    if wrong.is_empty() {
        Ok(CustomerChange { name, phone, email, notes })
    } else {
        Err(Problem::invalid_all(wrong))
    }
}

/// Something before and after one `@`, a dot after it, no blanks.
fn is_address(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control());
    text.split_once('@').is_some_and(|(local, host)| {
        plain(local) && plain(host) && !host.contains('@') && host.trim_matches('.').contains('.')
    })
}

fn done(outcome: CustomerOutcome) -> Result<CustomerDetail, Problem> {
    match outcome {
        CustomerOutcome::Done(detail) => Ok(detail),
        CustomerOutcome::Unknown => Err(Problem::not_found("customer")),
        CustomerOutcome::PhoneTaken => Err(Problem::conflict("another customer has this number")),
        CustomerOutcome::HasAppointments(n) => {
            Err(Problem::conflict(format!("{n} appointments are still to come: call them off first")))
        }
    }
}

/// The customers, newest first.
#[utoipa::path(
    tag = "customers",
    params(Filter, Page),
    responses((status = 200, description = "The customers", body = Items<CustomerBody>),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/customers")]
async fn list(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    filter: web::Query<Filter>,
    page: web::Query<Page>,
) -> ApiResult {
    let clock = Clock::of(&services.profile);
    let page = page_of(&page, ListKind::Customers)?;
    let q = filter.q.as_deref().filter(|text| !text.trim().is_empty());
    let (items, cursor): (Vec<CustomerDetail>, _) = match q {
        Some(text) => {
            let found = services.db.search_customers(words_of("q", text)?, page).await?;
            (found.items.into_iter().map(|hit| hit.customer).collect(), found.next)
        }
        None => {
            let listed = services.db.list_customers(page).await?;
            (listed.items, listed.next)
        }
    };
    let items: Vec<CustomerBody> = items.into_iter().map(|detail| body(&clock, detail)).collect();
    Ok(paged(&request, items, cursor))
}

/// Make a customer.
#[utoipa::path(
    tag = "customers",
    request_body = NewCustomer,
    responses((status = 201, description = "The customer", body = CustomerBody),
              (status = 409, description = "Another customer has this number"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/customers")]
async fn create(services: Shared, access: Access<Act>, new: Json<NewCustomer>) -> ApiResult {
    let new = new.into_inner();
    let patch = CustomerPatch {
        name: Some(new.name),
        phone: Some(new.phone),
        email: Some(new.email),
        notes: Some(new.notes),
    };
    let change = checked(&services, patch)?;
    let known = |field: &Option<Option<String>>| field.as_ref().is_some_and(Option::is_some);
    if !known(&change.name) && !known(&change.email) && change.phone.as_ref().is_none_or(Option::is_none) {
        return Err(Problem::invalid("name", "a name, a number or an e-mail address is needed"));
    }
    let detail = done(services.db.create_customer(change, unix_now()).await?)?;
    services
        .staff_log(access.who(), "customer.create", format!("customer {}", detail.customer.id), json!({}))
        .await?;
    Ok(HttpResponse::Created().json(body(&Clock::of(&services.profile), detail)))
}

/// A customer.
#[utoipa::path(
    tag = "customers",
    params(("id" = i64, Path, description = "The customer's id")),
    responses((status = 200, description = "The customer", body = CustomerBody),
              (status = 304, description = "Not changed"),
              (status = 404, description = "There is no such customer")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/customers/{id}")]
async fn one(services: Shared, _: Access<Read>, request: HttpRequest, id: web::Path<i64>) -> ApiResult {
    let detail = services.db.customer_detail(*id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    Ok(etagged(&request, &body(&Clock::of(&services.profile), detail)))
}

/// Change a customer.
#[utoipa::path(
    tag = "customers",
    params(("id" = i64, Path, description = "The customer's id")),
    request_body = CustomerPatch,
    responses((status = 200, description = "The customer as it is now", body = CustomerBody),
              (status = 404, description = "There is no such customer"),
              (status = 409, description = "Another customer has this number"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[patch("/api/customers/{id}")]
async fn patch_one(
    services: Shared,
    access: Access<Act>,
    id: web::Path<i64>,
    patch: Json<CustomerPatch>,
) -> ApiResult {
    let change = checked(&services, patch.into_inner())?;
    let fields: Vec<&str> = [
        ("name", change.name.is_some()),
        ("phone", change.phone.is_some()),
        ("email", change.email.is_some()),
        ("notes", change.notes.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, given)| given.then_some(field))
    .collect();
    let detail = done(services.db.change_customer(*id, change, unix_now()).await?)?;
    services
        .staff_log(access.who(), "customer.change", format!("customer {id}"), json!({ "fields": fields }))
        .await?;
    Ok(HttpResponse::Ok().json(body(&Clock::of(&services.profile), detail)))
}

/// Remove a customer. Calls and past appointments stay without a name; appointments still to come must be called off
/// first.
#[utoipa::path(
    tag = "customers",
    params(("id" = i64, Path, description = "The customer's id")),
    responses((status = 204, description = "Removed"),
              (status = 404, description = "There is no such customer"),
              (status = 409, description = "Appointments are still to come")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/customers/{id}")]
async fn remove(services: Shared, access: Access<Act>, id: web::Path<i64>) -> ApiResult {
    done(services.db.remove_customer(*id, unix_now()).await?)?;
    services.staff_log(access.who(), "customer.remove", format!("customer {id}"), json!({})).await?;
    Ok(HttpResponse::NoContent().finish())
}
