//! What replicas send each other through Redis: a line of JSON, then the body as it is.
//!
//! Replicas of two versions run side by side while they are replaced one by one. So `v`, `k`, `f` and `n` keep their meaning
//! for ever, fields that are not known are passed over, and a question of another version is refused, not ignored.

use super::Topic;
use crate::domain::ids::ReplicaId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version that is written.
const VERSION: u32 = 1;
/// Longest head that is read, in bytes.
const HEAD: usize = 1_024;
/// Longest identifier of a replica that is believed, in characters.
const ID: usize = 64;

#[derive(Serialize, Deserialize)]
struct Head {
    /// Version.
    v: u32,
    /// Kind.
    k: String,
    /// From whom.
    f: ReplicaId,
    /// The question's number.
    #[serde(default)]
    n: u64,
    /// Topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<String>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A question.
    Question(Bytes),
    /// A question that only another version understands.
    Foreign,
    /// The answer to a question, or that there is none.
    Answer(Option<Bytes>),
    /// News.
    News(Topic, Bytes),
    /// A sign of life, for oneself.
    Beat,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Whose it is.
    pub from: ReplicaId,
    /// The question's number, given by whoever asks.
    pub number: u64,
    /// What it says.
    pub content: Content,
}

/// The name of a topic, in messages and channels.
pub(super) fn topic_name(topic: Topic) -> &'static str {
    match topic {
        Topic::Feed => "feed",
        Topic::Presence => "presence",
    }
}

impl Message {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, topic, body) = match &self.content {
            Content::Question(body) => ("ask", None, body.as_ref()),
            // Never sent by this version; refused by whoever hears it.
            Content::Foreign => ("ask", None, &[][..]),
            Content::Answer(Some(body)) => ("answer", None, body.as_ref()),
            Content::Answer(None) => ("none", None, &[][..]),
            Content::News(topic, body) => ("tell", Some(topic_name(*topic).to_owned()), body.as_ref()),
            Content::Beat => ("beat", None, &[][..]),
        };
        let head = Head { v: VERSION, k: kind.to_owned(), f: self.from.clone(), n: self.number, t: topic };
        // A struct of numbers and texts can always be written.
        let mut message = serde_json::to_vec(&head).unwrap_or_default();
        message.reserve(body.len().saturating_add(1));
        message.push(b'\n');
        message.extend_from_slice(body);
        message
    }

    /// Reads what was sent; none if it is nothing that concerns us.
    pub fn decode(message: Bytes) -> Option<Self> {
        let end = message.iter().take(HEAD).position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(message.get(..end)?).ok()?;
        // It becomes a part of a channel's name.
        let plain = |id: &str| {
            !id.is_empty() && id.len() <= ID && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !plain(head.f.as_str()) {
            return None;
        }
        let body = message.slice(end.saturating_add(1)..);
        let known = head.v == VERSION;
        let content = match head.k.as_str() {
            "ask" if known => Content::Question(body),
            "ask" => Content::Foreign,
            "answer" if known => Content::Answer(Some(body)),
            "answer" | "none" => Content::Answer(None),
            "beat" if known => Content::Beat,
            "tell" if known => {
                let topics = [Topic::Feed, Topic::Presence];
                let topic = topics.into_iter().find(|topic| head.t.as_deref() == Some(topic_name(*topic)))?;
                Content::News(topic, body)
            }
            _ => return None,
        };
        Some(Self { from: head.f, number: head.n, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &str) -> Option<Content> {
        Message::decode(Bytes::copy_from_slice(text.as_bytes())).map(|message| message.content)
    }

    #[test]
    fn another_version_is_refused_but_not_ignored_and_fields_it_adds_are_passed_over() {
        let body = || Bytes::from_static(b"x");
        let known = r#"{"v":1,"k":"ask","f":"aa","n":7,"new":[1,{"a":2}]}"#;
        assert_eq!(decoded(&format!("{known}\nx")), Some(Content::Question(body())));
        for (kind, want) in [
            ("ask", Some(Content::Foreign)),
            ("answer", Some(Content::Answer(None))),
            ("none", Some(Content::Answer(None))),
            ("tell", None),
            ("beat", None),
            ("hum", None),
        ] {
            let text = format!("{{\"v\":2,\"k\":\"{kind}\",\"f\":\"aa\",\"n\":7,\"t\":\"feed\"}}\nx");
            assert_eq!(decoded(&text), want, "{kind}");
        }
    }

    #[test]
    fn what_is_no_message_is_dropped() {
        for text in [
            "",
            "\n",
            "{}\n",
            "no line",
            "{\"v\":1,\"k\":\"ask\",\"f\":\"\",\"n\":1}\n",
            "{\"v\":1,\"k\":\"ask\",\"f\":\"a b\",\"n\":1}\n",
            "{\"v\":1,\"k\":\"hum\",\"f\":\"aa\",\"n\":1}\n",
            "{\"v\":1,\"k\":\"tell\",\"f\":\"aa\",\"t\":\"weather\"}\n",
            "{\"v\":1,\"k\":\"ask\",\"f\":\"aa\",\"n\":-1}\n",
            "{\"v\":1,\"k\":\"ask\",\"f\":\"aa\",\"n\":1}",
        ] {
            assert_eq!(decoded(text), None, "{text}");
        }
        let long = format!("{{\"v\":1,\"k\":\"ask\",\"f\":\"aa\",\"pad\":\"{}\"}}\n", "x".repeat(HEAD));
        assert_eq!(decoded(&long), None, "a head without end");
    }

    fn contents() -> impl Strategy<Value = Content> {
        let body = || proptest::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
        prop_oneof![
            body().prop_map(Content::Question),
            body().prop_map(|body| Content::Answer(Some(body))),
            Just(Content::Answer(None)),
            Just(Content::Beat),
            body().prop_map(|body| Content::News(Topic::Feed, body)),
            body().prop_map(|body| Content::News(Topic::Presence, body)),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_sent_arrives_as_it_was(bits in any::<u64>(), number in any::<u64>(), content in contents()) {
            let message = Message { from: ReplicaId::from_bits(bits), number, content };
            prop_assert_eq!(Message::decode(message.encode().into()), Some(message));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(bytes.into());
        }
    }
}
