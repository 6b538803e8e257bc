//! What staff want of a live call: the word, silence, a person, the end.

use super::*;
use crate::domain::phone::PhoneNumber;

impl CallMachine {
    /// Whether an order is carried out as the call stands now. That it is to end is true of one that is ending already.
    pub fn takes(&self, order: &StaffOrder) -> bool {
        let goes_on = matches!(self.phase, Phase::New | Phase::Live) && !self.is_leaving();
        goes_on || matches!(order, StaffOrder::End { .. })
    }

    pub(super) fn on_staff(
        &mut self,
        at: CallTime,
        order: StaffOrder,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        // The last words of the call are being said: it is too late for any of it.
        if self.is_leaving() {
            return;
        }
        match order {
            StaffOrder::Mute(muted) => self.set_muted(at, muted, playback, fx),
            StaffOrder::Say(text) => self.say_for_staff(at, text, playback, fx),
            StaffOrder::Transfer { to } => {
                let to = to.as_ref().map(PhoneNumber::as_str);
                fx.push(audit("staff.transfer", json!({ "to": to })));
                let words = self.setup.phrases.transfer.clone();
                let after = After::Leave { next: NextStep::Dial { say: None }, reason: None };
                self.take_the_word(at, playback, fx);
                self.say(at, words, after, false, fx);
            }
            StaffOrder::End { goodbye } => {
                fx.push(audit("staff.end", json!({ "goodbye": goodbye })));
                if !goodbye {
                    self.depart(at, Departure::Ended { reason: EndReason::Ended }, playback, fx);
                    return;
                }
                let words = self.setup.phrases.goodbye.clone();
                let next = NextStep::HangUp { say: None };
                let after = After::Leave { next, reason: Some(EndReason::Ended) };
                self.take_the_word(at, playback, fx);
                self.say(at, words, after, false, fx);
            }
        }
    }

    fn set_muted(&mut self, at: CallTime, muted: bool, playback: &mut Playback, fx: &mut Effects) {
        if self.muted == muted {
            return;
        }
        self.muted = muted;
        fx.push(audit(if muted { "staff.muted" } else { "staff.unmuted" }, json!({})));
        // Whoever goes on with the call has to know.
        fx.push(Effect::SaveState);
        if muted {
            self.take_the_word(at, playback, fx);
            fx.push(Effect::CancelTimer(Timer::Idle));
        } else if self.phase == Phase::Live {
            // What the caller said meanwhile and nobody answered is answered now.
            self.settle(at, playback, fx);
        }
    }

    /// Says a sentence of the staff's. It stands for the bot's answer to whatever the caller has said so far.
    fn say_for_staff(&mut self, at: CallTime, text: String, playback: &mut Playback, fx: &mut Effects) {
        fx.push(audit("staff.say", json!({ "words": text.split_whitespace().count() })));
        self.take_the_word(at, playback, fx);
        if self.muted && !self.pending.is_empty() {
            self.begin_turn(at, fx);
        }
        if self.muted
            && let Some(open) = self.open.take()
        {
            fx.push(Effect::Overheard { text: open.text });
        }
        self.start_own(at, Kind::Staff, text, After::Listen, true, fx);
    }

    /// Stops what the bot is saying, except what has to be heard to its end (a notice).
    fn take_the_word(&mut self, at: CallTime, playback: &mut Playback, fx: &mut Effects) {
        self.cancel_waits(fx);
        if self.is_bound() {
            let behind = |r: &&Reply| r.interruptible && !r.sent;
            for reply in self.replies.iter().filter(behind) {
                playback.withdraw(reply.id);
                fx.push(Effect::StopSpeech(reply.id));
            }
            self.replies.retain(|r| !r.interruptible || r.sent);
            return;
        }
        if self.replies.is_empty() && !playback.is_audible() {
            return;
        }
        fx.push(Effect::Clear);
        self.stop_all(at, true, playback, fx);
    }
}
