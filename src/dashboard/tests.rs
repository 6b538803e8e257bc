use super::*;
use actix_web::http::StatusCode;
use actix_web::{App, test};

async fn get(path: &str, tag: Option<&str>) -> (StatusCode, Vec<(String, String)>, String) {
    let app = test::init_service(App::new().configure(routes)).await;
    let mut request = test::TestRequest::get().uri(path);
    if let Some(tag) = tag {
        request = request.insert_header((header::IF_NONE_MATCH, tag));
    }
    let answer = test::call_service(&app, request.to_request()).await;
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let status = answer.status();
    (status, headers, String::from_utf8(test::read_body(answer).await.to_vec()).unwrap())
}

fn header_of<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
}

#[actix_web::test]
async fn every_page_is_the_same_document() {
    let (status, headers, first) = get("/", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(header_of(&headers, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header_of(&headers, "cache-control"), "no-cache");
    for page in PAGES.split('|').map(str::trim) {
        for path in [format!("/{page}"), format!("/{page}/12"), format!("/{page}/a/b")] {
            assert_eq!(get(&path, None).await.2, first, "{path}");
        }
    }
    for path in ["/nothing", "/api/calls", "/callsign", "/assets/", "/assets/index.html", "/assets/../mod.rs"]
    {
        assert_eq!(get(path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[actix_web::test]
async fn what_the_document_names_is_there_and_kept_for_good() {
    let (_, _, text) = get("/", None).await;
    assert!(!text.contains(FOLDER));
    let named: Vec<&str> = text.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert!(named.len() >= 3, "{named:?}");
    for path in named {
        let (status, headers, body) = get(path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(header_of(&headers, "cache-control"), KEEP.to_str().unwrap(), "{path}");
        assert!(!body.is_empty());
    }
}

#[actix_web::test]
async fn a_known_file_is_not_sent_again() {
    let (_, headers, _) = get("/assets/app.js", None).await;
    assert_eq!(header_of(&headers, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header_of(&headers, "cache-control"), "no-cache");
    let tag = header_of(&headers, "etag").to_owned();
    let (status, headers, body) = get("/assets/app.js", Some(&tag)).await;
    assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(header_of(&headers, "etag"), tag);
    assert_eq!(get("/assets/app.js", Some("\"other\"")).await.0, StatusCode::OK);
}

#[actix_web::test]
async fn a_page_of_an_older_version_still_finds_its_modules() {
    let (status, headers, _) = get("/assets/v0123456789ab/app.js", None).await;
    assert_eq!((status, header_of(&headers, "cache-control")), (StatusCode::OK, "no-cache"));
    assert_eq!(get("/assets/v0123/app.js", None).await.0, StatusCode::NOT_FOUND);
}

#[std::prelude::v1::test]
fn a_version_changes_with_any_file() {
    let of = |body: &str| {
        let files = BTreeMap::from([("a.js".to_owned(), body.as_bytes().to_vec())]);
        Assets::of(&files).version
    };
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
}

/// Every file's text, by path.
fn texts() -> Vec<(String, String)> {
    read().into_iter().map(|(path, body)| (path, String::from_utf8(body).unwrap())).collect()
}

#[std::prelude::v1::test]
fn every_import_leads_to_a_file() {
    let files = read();
    for (path, text) in texts().iter().filter(|(path, _)| path.ends_with(".js")) {
        let named = text.lines().filter_map(|line| {
            let line = line.trim();
            let (_, after) = line.split_once("from '").or_else(|| line.split_once("import('"))?;
            after.split('\'').next()
        });
        for name in named {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
            for part in name.split('/') {
                match part {
                    "." => {}
                    ".." => assert!(parts.pop().is_some(), "{path}: {name}"),
                    part => parts.push(part),
                }
            }
            assert!(files.contains_key(&parts.join("/")), "{path} imports {name}, which is not there");
        }
    }
}

#[std::prelude::v1::test]
fn nothing_needs_another_host_or_an_inline_script() {
    let foreign = [
        "https://",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ];
    for (path, text) in texts() {
        for word in foreign {
            assert!(!text.contains(word), "{path} contains {word}");
        }
        if path.ends_with(".html") {
            for word in [" style=", " onclick=", " onload=", "javascript:", "<style"] {
                assert!(!text.contains(word), "{path} contains {word}");
            }
            for script in text.split("<script").skip(1) {
                assert!(script.split('>').next().unwrap().contains("src="), "{path} has an inline script");
            }
        }
        for (n, line) in text.lines().enumerate().filter(|(_, line)| line.contains("http://")) {
            assert!(line.contains("http://www.w3.org/"), "{path}:{}: {line}", n + 1);
        }
    }
}
