use super::*;
use crate::domain::phone::PhoneNumber;
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;

const WEBHOOKS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/webhooks.json"));

fn body(name: &str) -> Vec<u8> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/forms"));
    std::fs::read(folder.join(format!("{name}.form"))).unwrap()
}

fn form(name: &str) -> Form {
    Form::parse(&body(name)).unwrap()
}

fn voice(name: &str) -> VoiceRequest {
    VoiceRequest::from_form(&form(name)).unwrap()
}

fn number(text: &str) -> CallerId {
    CallerId::Number(PhoneNumber::from_e164(text).unwrap())
}

#[test]
fn every_recorded_form_decodes_to_its_parameters_and_to_a_typed_request() {
    let file: Value = serde_json::from_str(WEBHOOKS).unwrap();
    let requests = file["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 46);
    for request in requests {
        let name = request["name"].as_str().unwrap();
        let form = form(name);
        assert_eq!(form, Form::parse(request["body"].as_str().unwrap().as_bytes()).unwrap(), "{name}");
        let params = request["params"].as_object().unwrap();
        assert_eq!(form.pairs().len(), params.len(), "{name}");
        for (key, value) in params {
            assert_eq!(form.get(key), value.as_str(), "{name} {key}");
        }
        match request["kind"].as_str().unwrap() {
            "stream-status-callback" => {
                let status = StreamStatus::from_form(&form).unwrap();
                assert_eq!(status.call_sid.as_str(), params["CallSid"], "{name}");
            }
            "sms-status" | "sms-request" => {
                let error = VoiceRequest::from_form(&form).unwrap_err();
                assert_eq!(error, WebhookError::Missing("CallSid"), "{name}");
            }
            _ => {
                let voice = VoiceRequest::from_form(&form).unwrap();
                assert_eq!(voice.call_sid.as_str(), params["CallSid"], "{name}");
                assert_eq!(voice.account_sid, params["AccountSid"].as_str().unwrap(), "{name}");
                assert_eq!(voice.status.is_some(), params.contains_key("CallStatus"), "{name}");
            }
        }
    }
}

#[test]
fn an_incoming_call_names_its_caller_and_our_number() {
    let call = voice("incoming_call");
    assert_eq!(call.from, number("+12025550143"));
    assert_eq!(call.to, number("+12025550100"));
    assert_eq!(call.other_party(), &call.from);
    assert_eq!(call.own_party(), &call.to);
    assert_eq!(call.status, Some(CallStatus::Ringing));
    assert_eq!(call.direction, Some(LegDirection::Inbound));
    assert_eq!(call.stir_verstat.as_deref(), Some("TN-Validation-Passed-A"));
    assert_eq!(call.sequence_number, None);

    assert_eq!(voice("incoming_call_anonymous").from, CallerId::Withheld);
    assert_eq!(voice("incoming_call_anonymous_keypad").from, CallerId::Withheld);
    assert_eq!(voice("incoming_call_sip").from, CallerId::Sip("alice".into()));
    assert_eq!(voice("incoming_call_client").from, CallerId::Client("jane".into()));
    assert_eq!(voice("incoming_call_client").to, CallerId::Withheld);
    assert_eq!(voice("incoming_call_forwarded").forwarded_from, Some(number("+12025550188")));
    assert_eq!(voice("incoming_call_caller_name").caller_name.as_deref(), Some("JANE DOE"));
}

#[test]
fn an_outbound_call_has_the_other_party_in_to() {
    let call = voice("outbound_answered_amd");
    assert_eq!(call.direction, Some(LegDirection::OutboundApi));
    assert_eq!(call.other_party(), &number("+12025550143"));
    assert_eq!(call.own_party(), &number("+12025550100"));
    assert_eq!(call.answered_by, Some(AnsweredBy::Human));
    assert_eq!(call.machine_detection_ms, Some(2_210));
}

#[test]
fn status_callbacks_carry_status_order_and_length() {
    for (name, status, sequence) in [
        ("status_queued", CallStatus::Queued, None),
        ("status_initiated", CallStatus::Queued, Some(0)),
        ("status_ringing", CallStatus::Ringing, Some(1)),
        ("status_answered_in-progress", CallStatus::InProgress, Some(2)),
        ("status_completed", CallStatus::Completed, Some(3)),
        ("status_busy", CallStatus::Busy, Some(2)),
        ("status_no-answer", CallStatus::NoAnswer, Some(2)),
        ("status_failed", CallStatus::Failed, None),
        ("status_canceled", CallStatus::Canceled, None),
    ] {
        let call = voice(name);
        assert_eq!(call.status, Some(status), "{name}");
        if sequence.is_some() {
            assert_eq!(call.sequence_number, sequence, "{name}");
        }
    }
    let over = voice("status_inbound_completed");
    assert_eq!((over.call_duration, over.sip_response_code), (Some(312), Some(200)));
    let child = voice("status_child_dial_completed");
    assert_eq!(child.direction, Some(LegDirection::OutboundDial));
    assert_eq!(child.parent_call_sid, Some("CA000000000000000000000000000000c1".into()));
}

#[test]
fn the_result_of_a_dial_tells_whether_the_caller_was_joined() {
    let joined = voice("dial_action_completed");
    assert_eq!(joined.dial_call_status, Some(DialStatus::Completed));
    assert_eq!(joined.dial_bridged, Some(true));
    assert_eq!(joined.dial_call_duration, Some(30));
    assert_eq!(joined.dial_call_sid, Some("CA000000000000000000000000000000c2".into()));
    assert!(joined.was_bridged());
    for (name, status) in [
        ("dial_action_busy", DialStatus::Busy),
        ("dial_action_no-answer", DialStatus::NoAnswer),
        ("dial_action_failed", DialStatus::Failed),
        ("dial_action_canceled", DialStatus::Canceled),
    ] {
        let call = voice(name);
        assert_eq!(call.dial_call_status, Some(status), "{name}");
        assert!(!call.was_bridged(), "{name}");
    }
    // Answered, but gone before the caller was put through.
    let left = VoiceRequest { dial_bridged: Some(false), ..joined };
    assert!(!left.was_bridged());
    assert_eq!(voice("connect_action").dial_call_status, None);
}

#[test]
fn verdicts_on_who_answered_are_told_apart() {
    for (name, verdict, machine, message) in [
        ("amd_async_human", AnsweredBy::Human, false, false),
        ("amd_async_unknown", AnsweredBy::Unknown, false, false),
        ("amd_async_fax", AnsweredBy::Fax, false, false),
        ("amd_async_machine_start", AnsweredBy::MachineStart, true, false),
        ("amd_async_machine_end_beep", AnsweredBy::MachineEndBeep, true, true),
        ("amd_async_machine_end_silence", AnsweredBy::MachineEndSilence, true, true),
        ("amd_async_machine_end_other", AnsweredBy::MachineEndOther, true, true),
    ] {
        let by = voice(name).answered_by.unwrap();
        assert_eq!((by, by.is_machine(), by.greeting_ended()), (verdict, machine, message), "{name}");
    }
}

#[test]
fn a_request_to_the_fallback_says_what_failed() {
    let call = voice("fallback_request");
    assert_eq!(call.error_code, Some(11_200));
    assert_eq!(call.error_url.as_deref(), Some("https://voice.example.com/twilio/voice"));
    assert_eq!(voice("gather_digits").digits.as_deref(), form("gather_digits").get("Digits"));
}

#[test]
fn stream_callbacks_are_read() {
    let failed = StreamStatus::from_form(&form("stream_status_error")).unwrap();
    assert_eq!(failed.event, StreamEvent::Error);
    assert_eq!(failed.error.as_deref(), Some("Stream - WebSocket - Handshake Error"));
    assert_eq!(failed.timestamp.as_deref(), Some("2026-03-03T14:00:01.123Z"));
    let started = StreamStatus::from_form(&form("stream_status_started")).unwrap();
    assert_eq!((started.event, started.error), (StreamEvent::Started, None));
    assert_eq!(started.stream_sid.as_str(), "MZ000000000000000000000000000000e1");
    let stopped = StreamStatus::from_form(&form("stream_status_stopped")).unwrap();
    assert_eq!(stopped.event, StreamEvent::Stopped);
}

#[test]
fn an_error_names_the_parameter() {
    let read = |body: &str| VoiceRequest::from_form(&Form::parse(body.as_bytes()).unwrap());
    assert_eq!(read("AccountSid=AC1"), Err(WebhookError::Missing("CallSid")));
    assert_eq!(read("CallSid=&AccountSid=AC1"), Err(WebhookError::Missing("CallSid")));
    assert_eq!(read("CallSid=CA1"), Err(WebhookError::Missing("AccountSid")));
    assert_eq!(read("CallSid=CA%0A1&AccountSid=AC1"), Err(WebhookError::Identifier("CallSid")));
    let long = "x".repeat(129);
    assert_eq!(read(&format!("CallSid={long}&AccountSid=AC1")), Err(WebhookError::Identifier("CallSid")));
    let parent = read("CallSid=CA1&AccountSid=AC1&ParentCallSid=a%20b");
    assert_eq!(parent, Err(WebhookError::Identifier("ParentCallSid")));
    assert!(WebhookError::Missing("CallSid").to_string().contains("CallSid"));
    let stream = Form::parse(b"CallSid=CA1&AccountSid=AC1&StreamSid=MZ1").unwrap();
    assert_eq!(StreamStatus::from_form(&stream), Err(WebhookError::Missing("StreamEvent")));
}

#[test]
fn odd_numbers_and_unknown_words_do_not_cost_the_rest_of_a_callback() {
    let body = b"CallSid=CA1&AccountSid=AC1&CallStatus=paused%0A&SequenceNumber=two&CallDuration=-1&Direction=sideways";
    let call = VoiceRequest::from_form(&Form::parse(body).unwrap()).unwrap();
    assert_eq!((call.status, call.status_word.as_deref()), (None, Some("paused")));
    assert_eq!((call.sequence_number, call.call_duration), (None, None));
    assert_eq!(call.direction, Some(LegDirection::Other));
}

#[test]
fn empty_and_repeated_parameters_are_kept_and_text_is_cut() {
    let form = Form::parse(b"A=1&A=2&B=&C&A=1&D=%C3%A9+%2B").unwrap();
    let pairs: Vec<_> = form.pairs().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(pairs, [("A", "1"), ("A", "2"), ("B", ""), ("C", ""), ("A", "1"), ("D", "é +")]);
    assert_eq!(form.all("A").collect::<Vec<_>>(), ["1", "2", "1"]);
    assert_eq!((form.get("B"), form.get("Z")), (Some(""), None));

    let long = format!("CallSid=CA1&AccountSid=AC1&CallerName={}", "é".repeat(1_000));
    let call = VoiceRequest::from_form(&Form::parse(long.as_bytes()).unwrap()).unwrap();
    assert_eq!(call.caller_name.unwrap().chars().count(), 256);
}

#[test]
fn a_body_beyond_all_measure_is_refused() {
    let large = vec![b'a'; MAX_BODY_BYTES + 1];
    assert_eq!(Form::parse(&large), Err(WebhookError::BodyTooLarge(MAX_BODY_BYTES + 1)));
    assert_eq!(Form::parse("a&".repeat(513).as_bytes()), Err(WebhookError::TooManyParameters));
    assert_eq!(Form::parse("a&".repeat(512).as_bytes()).unwrap().pairs().len(), 512);
}

#[test]
fn a_form_prints_no_values() {
    assert!(!format!("{:?}", form("incoming_call")).contains("5550143"));
}

proptest! {
    #[test]
    fn any_body_gives_requests_or_errors(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(form) = Form::parse(&body) {
            let _ = VoiceRequest::from_form(&form);
            let _ = StreamStatus::from_form(&form);
        }
    }

    #[test]
    fn a_request_with_odd_values_is_read_as_long_as_its_identifiers_are_sound(
        name in prop::sample::select(vec!["From", "To", "CallStatus", "SequenceNumber", "DialBridged", "AnsweredBy", "Digits"]),
        value in "\\PC{0,60}",
    ) {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("CallSid", "CA1").append_pair("AccountSid", "AC1").append_pair(name, &value);
        let form = Form::parse(body.finish().as_bytes()).unwrap();
        prop_assert!(VoiceRequest::from_form(&form).is_ok());
    }
}
