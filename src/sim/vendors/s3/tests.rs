//! The object store against AWS's own example, and over a socket against what must be refused.

use super::signature::check_at;
use super::*;
use crate::sim::vendors::{Vendors, VendorsConfig};
use actix_web::test::TestRequest;
use awc::Client;

/// 2013-05-24T00:00:00Z.
const THEN: i64 = 1_369_353_600;

/// The example "GET Object" of "Authenticating Requests: Using the Authorization Header".
fn example() -> (S3Config, TestRequest) {
    let config = S3Config {
        bucket: "examplebucket".into(),
        access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        ..S3Config::default()
    };
    let request = TestRequest::get()
        .uri("/test.txt")
        .insert_header(("host", "examplebucket.s3.amazonaws.com"))
        .insert_header(("range", "bytes=0-9"))
        .insert_header((
            "x-amz-content-sha256",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ))
        .insert_header(("x-amz-date", "20130524T000000Z"))
        .insert_header((
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ));
    (config, request)
}

fn verdict(config: &S3Config, request: TestRequest, body: &[u8], now: i64) -> &'static str {
    match check_at(config, &request.to_http_request(), body, now) {
        Ok(()) => "good",
        Err(Refused(_, code, _)) => code,
    }
}

#[test]
fn awss_own_example_is_good_and_nothing_else_is() {
    let (config, request) = example();
    assert_eq!(verdict(&config, request, b"", THEN), "good");
    let checked = |change: fn(TestRequest) -> TestRequest, body: &[u8], now| {
        let (config, request) = example();
        verdict(&config, change(request), body, now)
    };
    assert_eq!(checked(|r| r, b"", THEN + 901), "RequestTimeTooSkewed");
    assert_eq!(checked(|r| r, b"x", THEN), "XAmzContentSHA256Mismatch");
    for (change, code) in [
        ((|r| r.uri("/other.txt")) as fn(TestRequest) -> TestRequest, "SignatureDoesNotMatch"),
        (|r| r.uri("/test.txt?acl="), "SignatureDoesNotMatch"),
        (|r| r.method(Method::DELETE), "SignatureDoesNotMatch"),
        (|r| r.insert_header(("range", "bytes=0-8")), "SignatureDoesNotMatch"),
        (|r| r.insert_header(("x-amz-acl", "public-read")), "AccessDenied"),
        (|r| r.insert_header(("authorization", "Basic eDp5")), "AccessDenied"),
        (|r| r.insert_header(("x-amz-date", "yesterday")), "AccessDenied"),
    ] {
        assert_eq!(checked(change, b"", THEN), code);
    }
    let (_, request) = example();
    let other = S3Config { secret_access_key: "other".into(), ..example().0 };
    assert_eq!(verdict(&other, request, b"", THEN), "SignatureDoesNotMatch");
}

#[test]
fn one_range_of_bytes_is_cut_to_what_is_there() {
    for (header, expected) in [
        ("bytes=0-9", Some(0..10)),
        ("bytes=90-", Some(90..100)),
        ("bytes=90-500", Some(90..100)),
        ("bytes=-10", Some(90..100)),
        ("bytes=-500", Some(0..100)),
        ("bytes=100-", None),
        ("bytes=5-4", None),
        ("bytes=-0", None),
        ("bytes=a-", None),
        ("items=0-1", None),
    ] {
        assert_eq!(range(header, 100), expected, "{header}");
    }
}

#[actix::test]
async fn an_unsigned_request_is_refused_and_noted() {
    let sim = Vendors::start(VendorsConfig::immediate(), None).unwrap();
    let url = format!("{}/recordings/calls/x.wav", sim.s3_url);
    // awc wants to be told which cryptography to use, even where it uses none.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut answer = Client::default().put(url).send_body("audio").await.unwrap();
    assert_eq!(answer.status(), 403);
    let body = answer.body().await.unwrap();
    assert!(body.windows(25).any(|w| w == b"<Code>AccessDenied</Code>"), "{body:?}");
    assert!(sim.objects.keys().is_empty());
    assert_eq!(sim.violations().len(), 1);
}
