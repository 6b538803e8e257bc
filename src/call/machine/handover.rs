//! Letting go of the stream, so that another process can go on with the call: at a pause, in which nobody notices.

use super::*;

/// So long after the caller's last sound the recogniser has told of it, if it was a word.
const SILENT: Duration = Duration::from_millis(1_200);
/// Whoever made a sound so lately may be in the middle of a word, whatever they have said before it.
const SPEAKING: Duration = Duration::from_millis(300);
/// How often a pause is looked for: the caller's silence is no event.
const LOOK: Duration = Duration::from_millis(100);
/// After the wait for a pause, the end of a sentence is waited for so long.
const SENTENCE: Duration = Duration::from_secs(2);

/// The wish to be handed over, and how the call came here.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// Until when a pause is waited for, if the call is to be handed over.
    by: Option<CallTime>,
    /// A sentence was heard to its end just now.
    sentence_over: bool,
    /// How long the caller has made no sound.
    silent: Duration,
    /// How the last owner left, until this one has begun; then how this one leaves.
    parting: Parting,
}

impl Handover {
    /// Of a call whose last owner left like this.
    pub(super) fn of(parting: Parting) -> Self {
        Self { parting, ..Self::default() }
    }

    pub(super) fn parting(&self) -> Parting {
        self.parting
    }

    /// The stream broke: there is nothing that this owner, or the last one, left in good order.
    pub(super) fn broke(&mut self) {
        self.parting = Parting::Broke;
    }

    pub(super) fn next_event(&mut self) {
        self.sentence_over = false;
    }

    pub(super) fn sentence_over(&mut self, over: bool) {
        self.sentence_over |= over;
    }

    /// Whether the call goes on from a pause. From now on it is this owner whose leaving counts, should it break.
    pub(super) fn resumes_at_pause(&mut self, fx: &mut Effects) -> bool {
        let before = std::mem::take(&mut self.parting);
        if before != Parting::Broke {
            fx.push(Effect::SaveState);
        }
        before == Parting::AtPause
    }
}

impl CallMachine {
    /// Whether the call is to be handed over: only then is the caller's silence of interest.
    pub fn is_letting_go(&self) -> bool {
        self.handover.by.is_some()
    }

    /// Says how long the caller has made no sound.
    pub fn set_silent(&mut self, silent: Duration) {
        self.handover.silent = silent;
    }

    pub(super) fn wish_to_let_go(&mut self, at: CallTime, within: Duration, fx: &mut Effects) {
        let by = at.after(within);
        // Asked again, the sooner time counts.
        self.handover.by = Some(self.handover.by.map_or(by, |known| known.min(by)));
        self.watch_for_pause(fx);
    }

    pub(super) fn watch_for_pause(&self, fx: &mut Effects) {
        if self.is_letting_go() {
            fx.push(Effect::SetTimer(Timer::LetGo, LOOK));
        }
    }

    /// Lets go, if it is wished and now is the time. Never before the greeting, nor while the caller is told of the
    /// recording, nor once the call is to end or to be put through: that comes first, and soon.
    pub(super) fn let_go_if_may(&mut self, at: CallTime, playback: &mut Playback, fx: &mut Effects) {
        let Some(by) = self.handover.by else { return };
        if self.phase != Phase::Live || self.notice.is_some() || self.is_saying_goodbye() {
            return;
        }
        if !self.is_pause(playback) && (at < by || !self.is_between_sentences(at, by, playback)) {
            return;
        }
        // A turn that is open has been told: what was said last is most likely the end of it.
        let known = if self.open.is_some() { SPEAKING } else { SILENT };
        let at_pause = self.handover.silent >= known && !self.would_interrupt(playback);
        self.handover.parting = if at_pause { Parting::AtPause } else { Parting::Midway };
        fx.push(audit("call.let_go", json!({ "at_pause": at_pause })));
        if playback.is_audible() {
            fx.push(Effect::Clear);
        }
        self.depart(at, Departure::Broke, playback, fx);
    }

    /// Whether nobody says or awaits anything.
    fn is_pause(&self, playback: &Playback) -> bool {
        let unanswered = !self.muted && (self.open.is_some() || !self.pending.is_empty());
        self.replies.is_empty()
            && !unanswered
            && !self.tool_running
            && !self.would_interrupt(playback)
            && self.handover.silent >= SILENT
    }

    /// Whether no sentence is cut off that is worth waiting for, be it the bot's or the caller's.
    fn is_between_sentences(&self, at: CallTime, by: CallTime, playback: &Playback) -> bool {
        let caller_speaks =
            !self.partial.is_empty() || !self.digits.is_empty() || self.handover.silent < SPEAKING;
        let bot_speaks = playback.is_audible() && !self.handover.sentence_over;
        !(caller_speaks || bot_speaks) || at >= by.after(SENTENCE)
    }

    /// Whether whoever leaves now leaves something half said. A turn that waits for its answer is none: the next owner
    /// answers it.
    fn would_interrupt(&self, playback: &Playback) -> bool {
        let begun = |r: &Reply| r.sent || !(Some(r.id) == self.answer || r.kind == Kind::Filler);
        playback.is_audible()
            || self.replies.iter().any(begun)
            || self.deaf
            || self.asks_again
            || !self.partial.is_empty()
            || !self.digits.is_empty()
    }
}
