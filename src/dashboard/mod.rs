//! The dashboard: a page for browsers, made of plain modules that are embedded in the binary. It is a client of the
//! REST API and of nothing else: no file here sees a call, the database or a vendor.
//!
//! Every page of the dashboard is the same document; which page it shows follows from the address, in the browser. The
//! document names its modules under a folder with their common digest (`/assets/v…/app.js`), so that browsers keep them
//! for as long as they like and a new version is still seen at once.

#[cfg(test)]
mod tests;

use actix_web::http::header::{self, ETag, EntityTag, Header as _, HeaderValue, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// The pages' first path segments, beside `/` itself. What is not among them is no page and is answered 404.
const PAGES: &str = "live|calls|calendar|customers|messages|analytics|outbound|test-call|jobs|settings|access|audit|\
                     search|sign-in";

/// Stands in the document for the folder of the assets.
const FOLDER: &str = "{{assets}}";

/// The document that is every page.
const DOCUMENT: &str = "index.html";

/// Kept by browsers, asked about each time.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");
/// Kept by browsers for good: the address changes with the content.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

#[derive(RustEmbed)]
#[folder = "src/dashboard/assets/"]
struct Files;

/// A file as it is served.
struct Asset {
    body: Bytes,
    mime: String,
    etag: EntityTag,
}

/// All files, read once.
struct Assets {
    /// `v` and the beginning of their common digest.
    version: String,
    files: BTreeMap<String, Asset>,
}

fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets::of(&read()))
}

/// What is embedded, by path.
fn read() -> BTreeMap<String, Vec<u8>> {
    Files::iter().filter_map(|path| Some((path.to_string(), Files::get(&path)?.data.into_owned()))).collect()
}

impl Assets {
    fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut all = Sha256::new();
        for (path, body) in files {
            all.update(path.as_bytes());
            all.update([0]);
            all.update(Sha256::digest(body));
        }
        let version = format!("v{}", hex(&all.finalize(), 6));
        let files = files
            .iter()
            .map(|(path, body)| {
                let body = if path == DOCUMENT {
                    let text = String::from_utf8_lossy(body);
                    Bytes::from(text.replace(FOLDER, &format!("/assets/{version}")))
                } else {
                    Bytes::from(body.clone())
                };
                let etag = EntityTag::new_strong(hex(&Sha256::digest(&body), 12));
                (path.clone(), Asset { body, mime: mime(path), etag })
            })
            .collect();
        Self { version, files }
    }

    /// The file at a path below `/assets/`, and how long it may be kept.
    fn find(&self, path: &str) -> Option<(&Asset, HeaderValue)> {
        let (path, kept) = match path.strip_prefix(&*self.version).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => (rest, KEEP),
            None => (path.split_once('/').filter(|(v, _)| is_version(v)).map_or(path, |(_, rest)| rest), ASK),
        };
        // The document is no asset: with its address in `/assets/` it would be kept for good.
        if path == DOCUMENT {
            return None;
        }
        Some((self.files.get(path)?, kept))
    }
}

/// Whether a folder is that of another version: a page that was opened before an update still finds its modules.
fn is_version(folder: &str) -> bool {
    folder.strip_prefix('v').is_some_and(|hex| hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn hex(bytes: &[u8], most: usize) -> String {
    bytes.iter().take(most).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn mime(path: &str) -> String {
    let kind = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        // Modules are refused by browsers under any other type.
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    };
    kind.to_owned()
}

/// Adds the routes: `/`, every page's address, `/assets/`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(document))
        .route("/", web::head().to(document))
        .route(&format!("/{{page:{PAGES}}}"), web::get().to(document))
        .route(&format!("/{{page:{PAGES}}}/{{rest:.*}}"), web::get().to(document))
        .route("/assets/{path:.*}", web::get().to(asset))
        .route("/assets/{path:.*}", web::head().to(asset))
        .route("/favicon.ico", web::get().to(icon));
}

async fn document(request: HttpRequest) -> HttpResponse {
    match assets().files.get(DOCUMENT) {
        Some(document) => answer(&request, document, ASK),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn asset(request: HttpRequest, path: web::Path<String>) -> HttpResponse {
    match assets().find(&path) {
        Some((asset, kept)) => answer(&request, asset, kept),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn icon(request: HttpRequest) -> HttpResponse {
    match assets().files.get("icon.svg") {
        Some(icon) => answer(&request, icon, ASK),
        None => HttpResponse::NotFound().finish(),
    }
}

fn answer(request: &HttpRequest, asset: &Asset, kept: HeaderValue) -> HttpResponse {
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key(header::IF_NONE_MATCH),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&asset.etag)),
        Err(_) => false,
    };
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header(ETag(asset.etag.clone())).insert_header((header::CACHE_CONTROL, kept));
    if known {
        return answer.finish();
    }
    answer.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    answer.content_type(asset.mime.as_str()).body(asset.body.clone())
}
