//! Audio of texts that every call hears: greetings, fillers, prompts. Bounded; the longest unused goes first.

use bytes::Bytes;
use std::collections::HashMap;

/// Which audio: the voice (vendor, voice, model) and the words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpeechKey {
    /// The voice, as its vendor names it, with its model.
    pub voice: String,
    /// The words.
    pub text: String,
}

#[derive(Debug)]
struct Entry {
    audio: Bytes,
    used: u64,
}

/// Finished audio (mu-law, 8 kHz) by voice and text.
#[derive(Debug)]
pub struct SpeechCache {
    entries: HashMap<SpeechKey, Entry>,
    bytes: usize,
    clock: u64,
    max_entries: usize,
    max_bytes: usize,
}

impl SpeechCache {
    /// An empty cache of at most `max_entries` texts and `max_bytes` bytes of audio.
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, clock: 0, max_entries, max_bytes }
    }

    /// The audio of a text, if it is here.
    pub fn get(&mut self, key: &SpeechKey) -> Option<Bytes> {
        self.clock = self.clock.wrapping_add(1);
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.audio.clone())
    }

    /// Keeps audio; drops what was not used for longest until it fits. What can never fit is not kept.
    pub fn insert(&mut self, key: SpeechKey, audio: Bytes) {
        self.remove(&key);
        if audio.len() > self.max_bytes || self.max_entries == 0 {
            return;
        }
        while self.entries.len() >= self.max_entries
            || self.bytes.saturating_add(audio.len()) > self.max_bytes
        {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.clock = self.clock.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(audio.len());
        self.entries.insert(key, Entry { audio, used: self.clock });
    }

    /// How many texts are here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, key: &SpeechKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.audio.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &str) -> SpeechKey {
        SpeechKey { voice: "v".into(), text: text.into() }
    }

    #[test]
    fn the_longest_unused_text_goes_first() {
        let mut cache = SpeechCache::new(2, 100);
        cache.insert(key("a"), Bytes::from_static(b"aa"));
        cache.insert(key("b"), Bytes::from_static(b"bb"));
        assert!(cache.get(&key("a")).is_some());
        cache.insert(key("c"), Bytes::from_static(b"cc"));
        assert_eq!(cache.get(&key("b")), None);
        assert_eq!(cache.get(&key("a")), Some(Bytes::from_static(b"aa")));
        assert_eq!(cache.get(&SpeechKey { voice: "other".into(), text: "a".into() }), None);
    }

    proptest! {
        #[test]
        fn it_never_exceeds_its_bounds(steps in prop::collection::vec((0u8..12, 0usize..40), 0..80)) {
            let mut cache = SpeechCache::new(5, 60);
            for (name, size) in steps {
                cache.insert(key(&name.to_string()), Bytes::from(vec![0; size]));
                let held: usize = cache.entries.values().map(|entry| entry.audio.len()).sum();
                prop_assert_eq!(held, cache.bytes);
                prop_assert!(held <= 60 && cache.len() <= 5);
                prop_assert_eq!(cache.get(&key(&name.to_string())).map(|audio| audio.len()), Some(size));
            }
        }
    }
}
