//! Slots that were offered in this call, under identifiers that mean nothing elsewhere.

use crate::booking::availability::Slot;
use crate::domain::ids::SlotId;
use rand::Rng;
use std::collections::VecDeque;

/// How many offers are remembered; the oldest are forgotten first.
const KEPT: usize = 60;

/// Letters and digits that are not mistaken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789x";

/// What was offered in this call.
#[derive(Default)]
pub(super) struct Offers(VecDeque<(SlotId, Slot)>);

impl Offers {
    /// Remembers an offer; the same slot keeps its identifier.
    pub(super) fn add(&mut self, slot: &Slot) -> SlotId {
        let same = |offered: &Slot| offered.staff == slot.staff && offered.starts_at == slot.starts_at;
        if let Some((id, _)) = self.0.iter().find(|(_, offered)| same(offered)) {
            return id.clone();
        }
        let mut id = opaque();
        while self.get(id.as_str()).is_some() {
            id = opaque();
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((id.clone(), slot.clone()));
        id
    }

    pub(super) fn get(&self, id: &str) -> Option<&Slot> {
        let id = id.trim();
        self.0.iter().find(|(offered, _)| offered.as_str().eq_ignore_ascii_case(id)).map(|(_, slot)| slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().map(|(_, slot)| slot)
    }
}

fn opaque() -> SlotId {
    let mut rng = rand::rng();
    let letter = |at: u8| ALPHABET.get(usize::from(at & 31)).copied().map_or('x', char::from);
    let text: String = (0..8).map(|_| letter(rng.random())).collect();
    SlotId::new(text)
}
