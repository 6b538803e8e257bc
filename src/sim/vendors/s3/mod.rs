//! An object store as S3's REST API describes it: one bucket, addressed by path below `/s3`; PUT, GET with a range, HEAD
//! and DELETE of objects, each signed with AWS Signature Version 4.

mod signature;
#[cfg(test)]
mod tests;

use super::{Shared, paced};
use crate::sim::controls::{InFlight, lock};
use crate::sim::faults::{Instead, Service, Struck};
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, RANGE,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::{StreamExt as _, stream};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const SERVICE: Service = Service::S3;
/// The largest object, bytes.
const LARGEST: usize = 64 << 20;
/// Answers are sent in pieces of this size, bytes.
const PIECE: usize = 64 * 1024;

/// How the object store behaves.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The access key's id.
    pub access_key_id: String,
    /// The access key. Not a secret: nothing real accepts it.
    pub secret_access_key: String,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            bucket: "recordings".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "SIMACCESSKEY".to_owned(),
            secret_access_key: "sim-secret-access-key".to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    modified: SystemTime,
}

/// What lies in the bucket. Cheap to clone; may be sent anywhere.
#[derive(Clone, Debug, Default)]
pub struct Objects(Arc<Mutex<BTreeMap<String, Object>>>);

impl Objects {
    /// The keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }

    /// An object's bytes.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.find(key).map(|object| object.bytes)
    }

    fn find(&self, key: &str) -> Option<Object> {
        lock(&self.0).get(key).cloned()
    }
}

/// Adds the routes.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(web::resource("/s3/{bucket}/{key:.*}").route(web::to(object)));
}

/// A refusal: HTTP status, S3's code, message.
struct Refused(u16, &'static str, String);

fn bad(code: &'static str, message: impl Into<String>) -> Refused {
    Refused(400, code, message.into())
}

fn error(shared: &Shared, req: &HttpRequest, status: u16, code: &str, message: &str) -> HttpResponse {
    shared.controls.erred(SERVICE);
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{}</Message>\
         <Resource>{}</Resource><RequestId>{:016X}</RequestId></Error>",
        escape(message),
        escape(req.path()),
        shared.number(),
    );
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .insert_header((CONTENT_TYPE, "application/xml"))
        .body(body)
}

/// A rule was broken.
fn refuse(shared: &Shared, req: &HttpRequest, Refused(status, code, message): &Refused) -> HttpResponse {
    shared.controls.violate(SERVICE, format!("{} {}: {code}: {message}", req.method(), req.path()));
    error(shared, req, *status, code, message)
}

fn refusal(shared: &Shared, req: &HttpRequest, instead: &Instead) -> HttpResponse {
    let (status, code) = match instead {
        Instead::RateLimit(_) => (503, None),
        Instead::Refuse(status, code) => (*status, code.as_deref()),
        // Never answered: see `Shared::enter`.
        Instead::Hang => (500, None),
    };
    let usual = match status {
        403 => "AccessDenied",
        404 => "NoSuchKey",
        503 => "SlowDown",
        _ => "InternalError",
    };
    error(shared, req, status, code.unwrap_or(usual), "Simulated failure.")
}

/// The connection is dropped without an answer.
fn drop_connection() -> HttpResponse {
    let reset = Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset));
    HttpResponse::Ok().streaming(stream::iter([reset]))
}

async fn object(
    req: HttpRequest,
    path: web::Path<(String, String)>,
    mut payload: web::Payload,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let (bucket, key) = path.into_inner();
    let (flight, struck) = shared.enter(&req, SERVICE, &format!("{} {}", req.method(), req.path())).await;
    if let Some(instead) = &struck.instead {
        return refusal(&shared, &req, instead);
    }
    let writes = req.method() == Method::PUT;
    let cut = struck.cut.filter(|_| writes);
    let mut body = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let Ok(piece) = piece else { return drop_connection() };
        shared.controls.received(SERVICE, piece.len());
        body.extend_from_slice(&piece);
        if body.len() > LARGEST {
            return refuse(&shared, &req, &bad("EntityTooLarge", "more than this store takes"));
        }
        if cut.is_some_and(|cut| cut.reached(body.len() as u64, 0, Duration::ZERO)) {
            return drop_connection();
        }
    }
    if !struck.slow.is_zero() {
        tokio::time::sleep(struck.slow).await;
    }
    if let Err(refused) = signature::check(&shared.config.s3, &req, &body) {
        return refuse(&shared, &req, &refused);
    }
    if bucket != shared.config.s3.bucket {
        return refuse(&shared, &req, &Refused(404, "NoSuchBucket", format!("there is no bucket {bucket}")));
    }
    if key.is_empty() || !req.query_string().is_empty() {
        return refuse(&shared, &req, &Refused(501, "NotImplemented", req.query_string().to_owned()));
    }
    match req.method().as_str() {
        "PUT" => {
            let answer = put(&shared, &req, key, body.freeze());
            if cut.is_some() {
                // It is there, but nobody is told.
                return drop_connection();
            }
            flight.finish();
            answer
        }
        "GET" => get(&shared, &req, &key, &struck, flight),
        "HEAD" => {
            flight.finish();
            match shared.objects.find(&key) {
                Some(object) => {
                    let mut response = HttpResponse::Ok();
                    describe(&mut response, &object);
                    // As long as the object, and not sent.
                    response.body(object.bytes)
                }
                None => HttpResponse::NotFound().finish(),
            }
        }
        "DELETE" => {
            lock(&shared.objects.0).remove(&key);
            flight.finish();
            HttpResponse::NoContent().finish()
        }
        other => refuse(&shared, &req, &Refused(405, "MethodNotAllowed", other.to_owned())),
    }
}

fn put(shared: &Shared, req: &HttpRequest, key: String, bytes: Bytes) -> HttpResponse {
    let told = req.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if told != Some(bytes.len()) {
        let missing = Refused(411, "MissingContentLength", "the length must be told".to_owned());
        return refuse(shared, req, &missing);
    }
    let object = Object { bytes, modified: SystemTime::now() };
    let tag = tag(&object);
    lock(&shared.objects.0).insert(key, object);
    HttpResponse::Ok().insert_header((ETAG, tag)).finish()
}

/// S3 has a digest here; whoever reads it may only compare it.
fn tag(object: &Object) -> String {
    let digest = signature::hex_digest(&object.bytes);
    format!("\"{}\"", digest.get(..32).unwrap_or_default())
}

fn describe(response: &mut actix_web::HttpResponseBuilder, object: &Object) {
    response
        .insert_header((ETAG, tag(object)))
        .insert_header((LAST_MODIFIED, httpdate::fmt_http_date(object.modified)))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((CONTENT_TYPE, "application/octet-stream"));
}

fn get(shared: &Shared, req: &HttpRequest, key: &str, struck: &Struck, flight: InFlight) -> HttpResponse {
    let Some(object) = shared.objects.find(key) else {
        return error(shared, req, 404, "NoSuchKey", "The specified key does not exist.");
    };
    let length = object.bytes.len();
    let asked = req.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let range = match asked.map(|header| range(header, length)) {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => {
            return error(shared, req, 416, "InvalidRange", "The requested range is not satisfiable");
        }
    };
    let mut response = HttpResponse::build(match range {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    });
    describe(&mut response, &object);
    let part = range.unwrap_or(0..length);
    if asked.is_some() {
        let last = part.end.saturating_sub(1);
        response.insert_header((CONTENT_RANGE, format!("bytes {}-{last}/{length}", part.start)));
    }
    let bytes = object.bytes.slice(part);
    let size = bytes.len() as u64;
    let pieces: Vec<Bytes> = (0..bytes.len())
        .step_by(PIECE)
        .map(|from| bytes.slice(from..from.saturating_add(PIECE).min(bytes.len())))
        .collect();
    // What is slow was so before.
    let struck = Struck { slow: Duration::ZERO, ..struck.clone() };
    let body = paced::body(pieces.into_iter().map(|piece| (Duration::ZERO, piece)), &struck, flight);
    response.body(actix_web::body::SizedStream::new(size, Box::pin(body)))
}

/// One range of bytes (RFC 9110, 14.1.2); none if nothing of it is there.
fn range(header: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let count: usize = last.parse().ok().filter(|n| *n > 0)?;
        return (length > 0).then(|| length.saturating_sub(count)..length);
    }
    let first: usize = first.parse().ok()?;
    let end = match last {
        "" => length,
        last => last.parse::<usize>().ok()?.saturating_add(1).min(length),
    };
    (first < end).then_some(first..end)
}
