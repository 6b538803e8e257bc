//! The description of the API, made of the very routes that are registered: as a document, as a page, and as what
//! tells an unknown address from a wrong method.

use super::access::{Access, COOKIE, Read};
use super::gate::routed_path;
use super::page::{KEEP_BUT_ASK, not_modified};
use super::problem::{PROBLEM_JSON, Problem, ProblemBody};
use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, get, web};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, Content, ContentBuilder, Info, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa_actix_web::service_config::ServiceConfig;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(openapi_json).service(docs);
}

/// What every description begins with.
pub fn beginning() -> OpenApi {
    let mut info = Info::new("frontdesk", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The staff's side of the receptionist. A program sends a key (`frontdesk keys create`) as `Authorization: \
         Bearer fd_…`; a user signs in with `POST /api/session` and sends the cookie, and with changing requests the \
         `X-CSRF-Token` of the sign-in. Errors are `application/problem+json`. Times are RFC 3339."
            .to_owned(),
    );
    let mut key = Http::new(HttpAuthScheme::Bearer);
    key.description = Some("An API key, `fd_…`, of scope `read`, `call` or `admin`.".to_owned());
    let session = ApiKeyValue::with_description(
        COOKIE,
        "A user's sign-in; changing requests also bring `X-CSRF-Token`.",
    );
    let mut components = Components::new();
    components.security_schemes.insert("key".to_owned(), RefOr::T(SecurityScheme::Http(key)));
    components
        .security_schemes
        .insert("session".to_owned(), RefOr::T(SecurityScheme::ApiKey(ApiKey::Cookie(session))));
    components.schemas.insert("Problem".to_owned(), ProblemBody::schema());
    components.schemas.insert("FieldError".to_owned(), super::problem::FieldError::schema());
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// The finished description.
pub struct Document {
    json: web::Bytes,
    tag: String,
    page: web::Bytes,
    routes: Vec<(ResourceDef, Vec<(Method, bool)>)>,
}

impl Document {
    /// Finishes what the routes have told: adds the problems that any of them can answer.
    pub fn new(mut api: OpenApi) -> Self {
        for (path, item) in &mut api.paths.paths {
            for (_, operation) in operations(item) {
                add_problems(operation, path.contains('{'));
            }
        }
        let routes = api
            .paths
            .paths
            .iter_mut()
            .map(|(path, item)| {
                let methods = operations(item).into_iter().map(|(method, o)| (method, is_open(o))).collect();
                (ResourceDef::new(path.as_str()), methods)
            })
            .collect();
        let page = page(&mut api);
        let json = api.to_json().unwrap_or_default();
        let tag = format!("W/\"{}\"", super::secret::fingerprint(&json));
        Self { json: json.into(), tag, page: page.into(), routes }
    }

    /// The methods that an address takes; empty if there is no such address.
    fn methods(&self, path: &str) -> Vec<&Method> {
        // An address that is written out is not also an id in another one.
        let written_out = self.routes.iter().any(|(route, _)| route.pattern() == Some(path));
        let found = self.routes.iter().filter(|(route, _)| {
            if written_out { route.pattern() == Some(path) } else { route.is_match(path) }
        });
        found.flat_map(|(_, methods)| methods).map(|(method, _)| method).collect()
    }

    /// Whether a route takes this which only somebody we know may use.
    pub(super) fn is_closed(&self, method: &Method, path: &str) -> bool {
        self.routes.iter().any(|(route, methods)| {
            methods.iter().any(|(own, open)| own == method && !open) && route.is_match(path)
        })
    }
}

/// Whether an operation needs no credential.
fn is_open(operation: &Operation) -> bool {
    operation.security.as_ref().is_some_and(|all| all.iter().any(|one| *one == Default::default()))
}

/// The operations of a path, each with its method.
fn operations(item: &mut PathItem) -> Vec<(Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
    .collect()
}

fn problem_content() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build()
}

fn problem(description: &str) -> RefOr<Response> {
    RefOr::T(ResponseBuilder::new().description(description).content(PROBLEM_JSON, problem_content()).build())
}

/// Whatever an operation does not tell itself but can answer, and the shape of every error.
fn add_problems(operation: &mut Operation, named: bool) {
    let open = is_open(operation);
    let body = operation.request_body.is_some();
    let told = &mut operation.responses.responses;
    let mut add = |status: &str, description: &str| {
        told.entry(status.to_owned()).or_insert_with(|| problem(description));
    };
    add("400", "The request is wrong; `errors` names the fields");
    if !open {
        add("401", "No credential, or none that is known");
        add("403", "The scope is not enough, the token is missing, or another site's page asks");
    }
    if named {
        add("404", "There is no such thing");
    }
    if body {
        add("413", "The body is too large");
        add("415", "The body is of another kind");
    }
    add("429", "Too many requests; `Retry-After` says when to come again");
    add("500", "Something went wrong here");
    add("503", "Not now; `Retry-After` says when to come again");
    for (status, answer) in told.iter_mut() {
        let error = status.starts_with(['4', '5']);
        if let RefOr::T(answer) = answer
            && error
            && answer.content.is_empty()
        {
            answer.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem_content()));
        }
    }
}

/// The page: every operation with what it takes and answers, in plain HTML.
fn page(api: &mut OpenApi) -> String {
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            let group = operation.tags.as_ref().and_then(|tags| tags.first()).cloned().unwrap_or_default();
            let html = groups.entry(group).or_default();
            let _ = write!(html, "<h3><code>{method} {}</code></h3>", escaped(path));
            for text in [&operation.summary, &operation.description].into_iter().flatten() {
                let _ = write!(html, "<p>{}</p>", escaped(text));
            }
            html.push_str("<table><thead><tr><th>Takes</th><th>Meaning</th></tr></thead><tbody>");
            for parameter in operation.parameters.iter().flatten() {
                let RefOr::T(parameter) = parameter else { continue };
                let place = serde_json::to_value(&parameter.parameter_in).unwrap_or_default();
                let _ = write!(
                    html,
                    "<tr><td><code>{}</code> ({})</td><td>{}</td></tr>",
                    escaped(&parameter.name),
                    escaped(place.as_str().unwrap_or_default()),
                    escaped(parameter.description.as_deref().unwrap_or_default())
                );
            }
            if operation.request_body.is_some() {
                html.push_str("<tr><td>body</td><td>JSON, as in the document</td></tr>");
            }
            html.push_str(
                "</tbody></table><table><thead><tr><th>Answers</th><th>Meaning</th></tr></thead><tbody>",
            );
            for (status, answer) in &operation.responses.responses {
                let RefOr::T(answer) = answer else { continue };
                let _ = write!(
                    html,
                    "<tr><td>{}</td><td>{}</td></tr>",
                    escaped(status),
                    escaped(&answer.description)
                );
            }
            html.push_str("</tbody></table>");
        }
    }
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>frontdesk API</title></head><body><main>",
    );
    let _ = write!(html, "<h1>frontdesk API {}</h1>", escaped(&api.info.version));
    let _ = write!(html, "<p>{}</p>", escaped(api.info.description.as_deref().unwrap_or_default()));
    html.push_str("<p>The document for programs: <a href=\"openapi.json\">openapi.json</a></p>");
    for (group, text) in groups {
        let _ = write!(html, "<section><h2>{}</h2>{text}</section>", escaped(&group));
    }
    html.push_str("</main></body></html>");
    html
}

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}

/// This description, for programs.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/openapi.json")]
async fn openapi_json(_: Access<Read>, request: HttpRequest, document: web::Data<Document>) -> HttpResponse {
    let known = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.contains(document.tag.as_str())) {
        return not_modified(&document.tag);
    }
    HttpResponse::Ok()
        .insert_header((ETAG, document.tag.as_str()))
        .insert_header((CACHE_CONTROL, KEEP_BUT_ASK))
        .content_type("application/json")
        .body(document.json.clone())
}

/// This description, for people.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "A page", content_type = "text/html", body = String)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/docs")]
async fn docs(_: Access<Read>, document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(document.page.clone())
}

/// Whatever no route has taken: an unknown address, or a known one with another method.
pub async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let document = request.app_data::<web::Data<Document>>();
    let methods = document.map(|document| document.methods(routed_path(&request))).unwrap_or_default();
    if methods.is_empty() {
        return Err(Problem::not_found("address"));
    }
    let allow: Vec<&str> = methods.into_iter().map(Method::as_str).collect();
    Err(Problem::method_not_allowed(allow.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
