use super::*;
use crate::twilio::webhook::Form;
use proptest::prelude::*;
use serde_json::Value;

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/signatures.json"));
const HANDSHAKE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/ws_handshake.json"));
const WEBHOOKS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/webhooks.json"));

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const SHARED_ID: &str = "webhooks_sharedkey_test";
const SHARED_SETTINGS: &str = "key=webhooks_sharedkey_test,algorithm=HMAC_SHA256";

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

fn verifier(base: &str) -> Verifier {
    Verifier::new(base, &secret(TOKEN), None).unwrap()
}

fn shared_verifier(base: &str, key: &str) -> Verifier {
    Verifier::new(base, &secret(TOKEN), Some((SHARED_ID, &secret(key)))).unwrap()
}

/// Splits a URL into the configured address and the request's target.
fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").unwrap() + 3;
    let path = url.bytes().skip(host).position(|byte| byte == b'/').map_or(url.len(), |at| host + at);
    url.split_at(path)
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    value.as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[test]
fn every_vector_gets_the_answer_it_asks_for() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 35);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let token = secret(vector["auth_token"].as_str().unwrap());
        let (base, target) = split(vector["request_url"].as_str().unwrap());
        let mut headers = SignatureHeaders::new(vector["x_twilio_signature"].as_str());
        let params = pairs(&vector["params"]);
        let result = if vector["algorithm"] == "HMAC_SHA256" {
            headers.settings = Some(SHARED_SETTINGS);
            let shared = Verifier::new(base, &secret("another token"), Some((SHARED_ID, &token))).unwrap();
            shared.verify_form(target, &params, headers)
        } else if let Some(host) = base.strip_prefix("wss://") {
            let verifier = Verifier::new(&format!("https://{host}"), &token, None).unwrap();
            verifier.verify_handshake(target, headers)
        } else {
            let verifier = Verifier::new(base, &token, None).unwrap();
            match vector["raw_body"].as_str() {
                Some(body) => verifier.verify_json(target, body.as_bytes(), headers),
                None if params.is_empty() => verifier.verify_get(target, headers),
                None => verifier.verify_form(target, &params, headers),
            }
        };
        assert_eq!(result.is_ok(), vector["valid"].as_bool().unwrap(), "{name}: {result:?}");
    }
}

#[test]
fn every_replayable_webhook_verifies_from_its_raw_body() {
    let file: Value = serde_json::from_str(WEBHOOKS).unwrap();
    let verifier =
        Verifier::new("https://voice.example.com", &secret(file["auth_token"].as_str().unwrap()), None);
    let verifier = verifier.unwrap();
    let requests = file["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 46);
    for request in requests {
        let (_, target) = split(request["url"].as_str().unwrap());
        let form = Form::parse(request["body"].as_str().unwrap().as_bytes()).unwrap();
        let headers = SignatureHeaders::new(request["headers"]["X-Twilio-Signature"].as_str());
        let name = &request["name"];
        assert_eq!(verifier.verify_form(target, form.pairs(), headers), Ok(()), "{name}");
        let mut tampered = form.pairs().to_vec();
        tampered.push(("Extra".into(), String::new()));
        assert_eq!(verifier.verify_form(target, &tampered, headers), Err(SignatureError::Mismatch), "{name}");
    }
}

#[test]
fn the_upgrade_verifies_with_a_slash_or_the_port_after_it_but_not_as_https() {
    let file: Value = serde_json::from_str(HANDSHAKE).unwrap();
    let verifier = verifier("https://voice.example.com/");
    let target = file["request"]["target"].as_str().unwrap();
    let check = |signature: &Value| {
        verifier.verify_handshake(target, SignatureHeaders::new(Some(signature.as_str().unwrap())))
    };
    assert_eq!(check(&file["request"]["headers"]["x-twilio-signature"]), Ok(()));
    for (name, signature) in file["accepted_signatures"].as_object().unwrap() {
        assert_eq!(check(signature), Ok(()), "{name}");
    }
    for (name, signature) in file["rejected_signatures"].as_object().unwrap() {
        assert_eq!(check(signature), Err(SignatureError::Mismatch), "{name}");
    }
}

/// What Twilio would send for a text: the independent half of the tests below.
fn sign(token: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[test]
fn a_path_prefix_and_a_port_of_the_public_address_are_part_of_what_is_signed() {
    let params = [("CallSid", "CA1")];
    let signature = sign(TOKEN, "https://h.example:8443/bot/voice?x=1CallSidCA1");
    let headers = SignatureHeaders::new(Some(&signature));
    let with_prefix = verifier("https://user:word@h.example:8443/bot/");
    assert_eq!(with_prefix.verify_form("/voice?x=1", &params, headers), Ok(()));
    let without_prefix = verifier("https://h.example:8443");
    assert_eq!(without_prefix.verify_form("/voice?x=1", &params, headers), Err(SignatureError::Mismatch));

    let local = sign(TOKEN, "ws://127.0.0.1:3100/voice/stream");
    let headers = SignatureHeaders::new(Some(&local));
    assert_eq!(verifier("http://127.0.0.1:3100").verify_handshake("/voice/stream", headers), Ok(()));
    let six = sign(TOKEN, "wss://[2001:db8::1]/voice/stream");
    let headers = SignatureHeaders::new(Some(&six));
    assert_eq!(verifier("https://[2001:db8::1]").verify_handshake("/voice/stream", headers), Ok(()));
    assert_eq!(verifier("https://[2001:db8::1]:443").verify_handshake("/voice/stream", headers), Ok(()));
}

#[test]
fn a_request_without_a_signature_is_told_apart_from_one_with_a_wrong_one() {
    let verifier = verifier("https://voice.example.com");
    for absent in [None, Some(""), Some(" ")] {
        let result = verifier.verify_get("/voice", SignatureHeaders::new(absent));
        assert_eq!(result, Err(SignatureError::Missing));
    }
    let headers = SignatureHeaders::new(Some("AAAA"));
    assert_eq!(verifier.verify_get("/voice", headers), Err(SignatureError::Mismatch));
}

#[test]
fn a_json_body_needs_its_hash_in_the_query() {
    let verifier = verifier("https://voice.example.com");
    let signature = sign(TOKEN, "https://voice.example.com/events?x=1");
    let headers = SignatureHeaders::new(Some(&signature));
    assert_eq!(verifier.verify_json("/events?x=1", b"{}", headers), Err(SignatureError::BodyHash));
    assert_eq!(verifier.verify_json("/events", b"{}", headers), Err(SignatureError::BodyHash));
}

#[test]
fn the_settings_header_has_no_say_without_a_shared_key() {
    let signature = sign(TOKEN, "https://voice.example.com/voice");
    for settings in ["key=x,algorithm=HMAC_SHA256", "algorithm=NONE", "nonsense"] {
        let headers = SignatureHeaders { signature: Some(&signature), settings: Some(settings) };
        assert_eq!(verifier("https://voice.example.com").verify_get("/voice", headers), Ok(()));
    }
}

#[test]
fn with_a_shared_key_its_id_and_algorithm_must_be_known() {
    let verifier = shared_verifier("https://voice.example.com", "shared");
    let by_token = sign(TOKEN, "https://voice.example.com/voice");
    let by_shared = sign("shared", "https://voice.example.com/voice");
    let check = |signature: &str, settings| {
        verifier.verify_get("/voice", SignatureHeaders { signature: Some(signature), settings })
    };
    assert_eq!(check(&by_token, None), Ok(()));
    assert_eq!(check(&by_token, Some("key=webhooks_sharedkey_test")), Ok(()));
    assert_eq!(check(&by_shared, Some("key=webhooks_sharedkey_test, algorithm=HMAC_SHA1")), Ok(()));
    assert_eq!(check(&by_shared, None), Err(SignatureError::Mismatch));
    let other = check(&by_shared, Some("key=other,algorithm=HMAC_SHA1"));
    assert_eq!(other, Err(SignatureError::UnknownKey));
    let md5 = check(&by_shared, Some("key=webhooks_sharedkey_test,algorithm=HMAC_MD5"));
    assert_eq!(md5, Err(SignatureError::Algorithm));
}

#[test]
fn an_address_that_is_no_address_and_a_blank_token_are_refused_at_the_start() {
    for base in
        ["", "voice.example.com", "ftp://h", "https://", "https:///path", "https://h?x=1", "https://h#rc=2"]
    {
        let result = Verifier::new(base, &secret(TOKEN), None);
        assert_eq!(result.err(), Some(VerifierError::BaseUrl), "{base}");
    }
    assert_eq!(Verifier::new("https://h", &secret(" "), None).err(), Some(VerifierError::NoToken));
    assert!(Verifier::new("https://h", &secret(&format!(" {TOKEN}\n")), None).is_ok());
}

#[test]
fn a_verifier_prints_no_key() {
    let shown = format!("{:?}", shared_verifier("https://voice.example.com", "sharedsecret"));
    assert!(!shown.contains(TOKEN) && !shown.contains("sharedsecret"), "{shown}");
}

proptest! {
    #[test]
    fn parameters_verify_in_any_order_and_repeated_and_fail_when_one_changes(
        params in proptest::collection::vec(("[A-Za-z]{1,8}", "\\PC{0,12}"), 1..8),
        turn in 0_usize..8,
    ) {
        let verifier = verifier("https://voice.example.com");
        let mut sorted = params.clone();
        sorted.sort();
        sorted.dedup();
        let text: String = sorted.iter().map(|(name, value)| format!("{name}{value}")).collect();
        let signature = sign(TOKEN, &format!("https://voice.example.com/voice{text}"));
        let headers = SignatureHeaders::new(Some(&signature));
        let mut shuffled = params.clone();
        shuffled.rotate_left(turn % params.len());
        shuffled.push(params[0].clone());
        prop_assert_eq!(verifier.verify_form("/voice", &shuffled, headers), Ok(()));
        shuffled[0].1.push('x');
        shuffled.truncate(params.len());
        prop_assert_eq!(verifier.verify_form("/voice", &shuffled, headers), Err(SignatureError::Mismatch));
    }

    #[test]
    fn no_input_makes_the_verifier_panic(
        target in "\\PC{0,40}", signature in "\\PC{0,40}", settings in "\\PC{0,40}", base in "https?://\\PC{0,20}",
    ) {
        let headers = SignatureHeaders { signature: Some(&signature), settings: Some(&settings) };
        let verifier = shared_verifier("https://voice.example.com", "shared");
        prop_assert!(verifier.verify_form(&target, &[("a", "b")], headers).is_err());
        let json = verifier.verify_json(&target, b"{}", headers);
        prop_assert!(json.is_err());
        prop_assert!(verifier.verify_handshake(&target, headers).is_err());
        let _ = Verifier::new(&base, &secret(TOKEN), None);
    }
}
