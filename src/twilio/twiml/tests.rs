use super::xml::legal;
use super::*;
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;
use std::collections::BTreeMap;

const EXPECTED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/twiml_expected.json"));

const BASE: &str = "https://voice.example.com/twilio";
const STREAM: &str = "wss://voice.example.com/twilio/stream";

/// An element as XML means it: attributes without order, text without entities.
#[derive(Debug, Default, PartialEq)]
struct Node {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Node>,
}

fn tree(xml: &str) -> Node {
    fn node(start: &BytesStart<'_>, reader: &Reader<&[u8]>) -> Node {
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.unwrap();
            let value = attribute.decode_and_unescape_value(reader.decoder()).unwrap();
            (String::from_utf8(attribute.key.0.to_vec()).unwrap(), value.into_owned())
        });
        let name = String::from_utf8(start.name().0.to_vec()).unwrap();
        Node { name, attributes: attributes.collect(), ..Node::default() }
    }
    let mut reader = Reader::from_str(xml);
    let mut stack = vec![Node::default()];
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => stack.push(node(&start, &reader)),
            Event::Empty(start) => stack.last_mut().unwrap().children.push(node(&start, &reader)),
            Event::End(_) => {
                let done = stack.pop().unwrap();
                stack.last_mut().unwrap().children.push(done);
            }
            Event::Text(text) => stack.last_mut().unwrap().text.push_str(&text.decode().unwrap()),
            Event::GeneralRef(entity) => {
                let text = &mut stack.last_mut().unwrap().text;
                match entity.resolve_char_ref().unwrap() {
                    Some(c) => text.push(c),
                    None => text.push_str(
                        quick_xml::escape::resolve_predefined_entity(&entity.decode().unwrap()).unwrap(),
                    ),
                }
            }
            Event::Decl(_) => {}
            Event::Eof => break,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!((stack.len(), stack[0].children.len()), (1, 1));
    stack.remove(0).children.remove(0)
}

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).unwrap()
}

fn connect() -> Connect {
    Connect::new(STREAM).unwrap()
}

fn ours(name: &str) -> Option<Twiml> {
    let desk = || Dial::new(number("+12025550177"));
    let own = || number("+12025550100");
    Some(match name {
        "stream_minimal" => Response::new().connect(connect()).render(),
        "stream_params" => connect_stream(
            &format!("{BASE}/after-stream"),
            STREAM,
            &format!("{BASE}/stream-status"),
            &[("session", "s-7f3a"), ("token", "tok-4b1d9c0e")],
        )
        .unwrap(),
        "stream_then_fallback_say" => Response::new()
            .connect(connect())
            .say(Say::new("Sorry, something went wrong. Goodbye."))
            .hangup()
            .render(),
        "say_escaped" => {
            let text = "Tom & Jerry <3 \"quotes\" and 'apostrophes' > none";
            Response::new().say(Say::new(text).language("en-US")).render()
        }
        "param_attr_escaped" => {
            Response::new().connect(connect().parameter("note", "a\"b&c<d>e'f").unwrap()).render()
        }
        "dial_action_query_escaped" => {
            let dial = desk().action(&format!("{BASE}/dial-result?call=1&leg=2")).timeout_s(20);
            transfer(None, dial.caller_id(own()).answer_on_bridge())
        }
        "say_utf8" => Response::new().say(Say::new("Grüße aus Köln – 5 €").language("de-DE")).render(),
        "reject_busy" => reject_busy(),
        "reject_default" => Response::new().reject(RejectReason::Rejected).render(),
        "hangup" => hangup(),
        "empty" => empty(),
        "pause" => Response::new().pause(2).redirect(&format!("{BASE}/voice?attempt=2&x=1")).render(),
        "play_url" => Response::new().play("https://voice.example.com/audio/hold.wav").render(),
        "play_digits" => Response::new().play_digits("ww1234#").render(),
        "transfer_cold" => transfer(
            Some(Say::new("Connecting you now.")),
            desk()
                .action(&format!("{BASE}/dial-result"))
                .timeout_s(20)
                .caller_id(own())
                .status_callback(&format!("{BASE}/status")),
        ),
        "dial_sequence_multi" => transfer(None, desk().and(number("+12025550178")).timeout_s(15)),
        "dial_failed_return_to_agent" => {
            let stream = connect().parameter("session", "s-7f3a").unwrap();
            let stream = stream.parameter("resume", "after-transfer").unwrap();
            Response::new().say(Say::new("Nobody is free right now.")).connect(stream).render()
        }
        _ => return None,
    })
}

#[test]
fn our_documents_are_the_expected_trees() {
    let file: Value = serde_json::from_str(EXPECTED).unwrap();
    let mut compared = 0;
    for case in file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let Some(document) = ours(name) else { continue };
        assert_eq!(tree(document.as_str()), tree(case["xml"].as_str().unwrap()), "{name}");
        assert!(document.as_str().starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 17);
    assert_eq!(file["content_type"], CONTENT_TYPE);
    assert_eq!(file["max_bytes"], MAX_DOCUMENT_BYTES);
    assert_eq!(file["max_chars_in_Twiml_parameter"], MAX_REST_CHARS);
}

#[test]
fn words_may_be_followed_by_a_hangup_or_by_another_document() {
    let bye = tree(say_and_hangup(Say::new("Goodbye.")).as_str());
    assert_eq!(bye.children.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["Say", "Hangup"]);
    let next = tree(say_and_redirect(Say::new("One moment."), "https://h/next?a=1&b=2").as_str());
    assert_eq!(next.children[1].text, "https://h/next?a=1&b=2");
}

#[test]
fn a_parameter_stays_below_500_characters() {
    assert!(connect().parameter("token", &"é".repeat(494)).is_ok());
    let error = connect().parameter("token", &"x".repeat(495)).unwrap_err();
    assert_eq!(error, TwimlError::ParameterTooLong(500));
    let error = connect_stream(BASE, STREAM, BASE, &[("a", "b"), ("c", &"x".repeat(600))]).unwrap_err();
    assert_eq!(error, TwimlError::ParameterTooLong(601));
}

#[test]
fn a_stream_needs_a_websocket_address_without_a_query() {
    for bad in ["https://h/stream", "wss://h/stream?x=1", "wss://h/stream#x", "/stream", ""] {
        assert_eq!(Connect::new(bad).unwrap_err(), TwimlError::StreamUrl, "{bad}");
    }
    assert!(Connect::new("ws://127.0.0.1:3100/voice/stream").is_ok());
}

#[test]
fn characters_that_xml_cannot_hold_are_taken_out() {
    let say = Say::new("a\u{0}b\u{7}c\u{b}d\te\u{fffe}f\u{ffff}g\u{1f600}").language("en\u{1}-US");
    let tree = tree(Response::new().say(say).render().as_str());
    assert_eq!(tree.children[0].text, "abcd\tefg\u{1f600}");
    assert_eq!(tree.children[0].attributes["language"], "en-US");
}

#[test]
fn a_dial_rings_neither_too_short_nor_too_long() {
    for (wanted, written) in [(0, "5"), (20, "20"), (u16::MAX, "600")] {
        let document = transfer(None, Dial::new(number("+12025550177")).timeout_s(wanted));
        assert_eq!(tree(document.as_str()).children[0].attributes["timeout"], written);
    }
}

#[test]
fn a_long_speech_is_cut_and_stays_within_what_rest_takes() {
    let document = say_and_hangup(Say::new(&"x".repeat(100_000)));
    assert!(document.fits_rest());
    let crowded = say_and_hangup(Say::new(&"&".repeat(3_000)));
    assert!(!crowded.fits_rest());
    assert!(crowded.as_str().len() < MAX_DOCUMENT_BYTES);
}

proptest! {
    #[test]
    fn any_text_survives_as_far_as_xml_can_hold_it(text in any::<String>(), value in any::<String>()) {
        let value: String = value.chars().take(400).collect();
        let response = Response::new().say(Say::new(&text)).connect(connect().parameter("p", &value).unwrap());
        let tree = tree(response.render().as_str());
        // XML itself turns line ends into LF and blanks of attributes into spaces.
        let lines = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
        prop_assert_eq!(lines(&tree.children[0].text), lines(&legal(&text)));
        let spaces = |text: &str| text.replace(['\r', '\n', '\t'], " ");
        let parameter = &tree.children[1].children[0].children[0];
        prop_assert_eq!(spaces(&parameter.attributes["value"]), spaces(&legal(&value)));
    }
}
