//! Both sides of a call on one time axis, as they were heard: the caller by arrival, the bot by when it is played.
//!
//! The caller's audio is never early, only late: of each 0.4 s the frame that came soonest after it was spoken tells
//! the delay of all of them, so that a burst after a stall is laid where it belongs and a hole in the stream stays a
//! hole. The bot's frames carry the time at which they are played; what is cleared before its time was never heard.
//! For both, the last moments are kept open until nothing can change in them any more. Silence fills what is left.

use super::mulaw::SILENCE;
use super::wav::stereo::{SAMPLE_BYTES, Side, silence};
use crate::domain::time::CallTime;
use std::collections::VecDeque;

/// Samples in one second.
const SECOND: u64 = 8_000;
/// Longest stretch of the caller's audio that shares one delay, samples (0.4 s). Nothing is handed out while one is open.
/// What comes later than usual may be the first of a burst that ends as early as ever, and has a second ([`Aligner::longest`]).
const RUN: u64 = SECOND * 2 / 5;
/// Audio this much later than the stretch before it did not just travel slowly, samples (200 ms).
const JUMP: i64 = 1_600;
/// Delays that differ by less are the same: no cut is made between two stretches, samples (60 ms).
const SAME: i64 = 480;
/// A delay that falls this much from one frame to the next is that of a burst, samples (10 ms).
const FALLS: i64 = 80;
/// While nothing of the caller comes, what is newer than this is kept open for what may be on its way, samples (5 s).
const LINGER: u64 = 5 * SECOND;
/// What is this old does not change any more, unless the stretch it belongs to is still open, samples (0.25 s).
const HOLD: u64 = 2_000;
/// Room for audio grows by this much, bytes.
const STEP: usize = 1_024;
/// The bot's audio is never played this much later than it is sent, samples (15 s).
const AHEAD: u64 = 15 * SECOND;

/// The position of a time on the call's clock, in samples.
#[must_use]
pub fn samples(at: CallTime) -> u64 {
    u64::try_from(at.0.as_micros().saturating_mul(8) / 1_000).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

/// A stretch of the caller's audio that shares one delay.
#[derive(Debug)]
struct Run {
    /// When its first frame came.
    began: u64,
    /// Where it begins in the caller's audio.
    first: u64,
    /// What its positions lie behind the call's clock; the least that was seen.
    delay: i64,
    audio: Vec<u8>,
}

impl Run {
    /// Where it begins on the call's clock.
    fn place(&self) -> u64 {
        self.first.saturating_add_signed(self.delay)
    }
}

/// What is laid of one side and was not handed out yet. It has room for little more than that: thousands of calls are
/// recorded at once.
#[derive(Debug, Default)]
struct Lane(Vec<u8>);

impl Lane {
    fn lay(&mut self, begin: usize, audio: &[u8]) {
        let end = begin.saturating_add(audio.len());
        if self.0.len() < end {
            grow(&mut self.0, end);
            self.0.resize(end, SILENCE);
        }
        if let Some(place) = self.0.get_mut(begin..end) {
            place.copy_from_slice(audio);
        }
    }

    /// Writes the first samples to every second byte, from `side` on, and forgets them.
    fn hand_out(&mut self, count: usize, side: Side, out: &mut [u8]) {
        let places = out.iter_mut().skip(side.byte()).step_by(SAMPLE_BYTES);
        let count = count.min(self.0.len());
        for (place, byte) in places.zip(self.0.drain(..count)) {
            *place = byte;
        }
        // What a burst once needed is given back.
        if self.0.capacity() > self.0.len().saturating_add(2 * STEP) {
            self.0.shrink_to(self.0.len().next_multiple_of(STEP));
        }
    }
}

/// Makes room for so many bytes in all, to the next [`STEP`].
fn grow(audio: &mut Vec<u8>, wanted: usize) {
    if wanted > audio.capacity() {
        audio.reserve_exact(wanted.next_multiple_of(STEP).saturating_sub(audio.len()));
    }
}

/// Lays both sides of a call beside each other, in samples of two bytes.
#[derive(Debug)]
pub struct Aligner {
    /// The first sample that was not handed out yet, on the call's clock.
    from: u64,
    /// The caller's samples from there on, as far as there are any.
    caller: Lane,
    /// The bot's.
    bot: Lane,
    runs: VecDeque<Run>,
    /// The delay of the stretch that was laid last.
    usual: Option<i64>,
    /// How much of the caller's audio came so far.
    counted: u64,
    /// Where the caller's audio goes on if nothing is lost.
    next: Option<u64>,
    /// What must not be heard: side, first sample, first sample after it.
    muted: Vec<(Side, u64, u64)>,
    /// Samples that came when their time was handed out already.
    late: u64,
}

impl Aligner {
    /// Begins at a time of the call's clock; what was before it is left out.
    #[must_use]
    pub fn new(begin: CallTime) -> Self {
        Self {
            from: samples(begin),
            caller: Lane::default(),
            bot: Lane::default(),
            runs: VecDeque::new(),
            usual: None,
            counted: 0,
            next: None,
            muted: Vec::new(),
            late: 0,
        }
    }

    /// Where the next sample to be handed out lies, on the call's clock.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.from
    }

    /// Samples that came too late to be placed.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Takes audio of the caller that has just arrived.
    pub fn caller(&mut self, arrived: CallTime, audio: &[u8]) {
        let first = self.counted;
        self.counted = first.saturating_add(audio.len() as u64);
        let now = samples(arrived);
        let delay = signed(now).saturating_sub(signed(self.counted));
        let longest = self.runs.back().map_or(RUN, |run| self.longest(run));
        match self.runs.back_mut() {
            // What was held up comes in one go, however much it is: only its end tells the delay.
            Some(run)
                if delay <= run.delay.saturating_add(JUMP)
                    && ((run.audio.len() as u64) < longest || delay.saturating_add(FALLS) < run.delay) =>
            {
                run.delay = run.delay.min(delay);
                let wanted = run.audio.len().saturating_add(audio.len());
                grow(&mut run.audio, wanted);
                run.audio.extend_from_slice(audio);
            }
            _ => self.runs.push_back(Run { began: now, first, delay, audio: audio.to_vec() }),
        }
    }

    /// Takes a frame of the bot that is played from `at` on, unless it is cleared before.
    pub fn bot(&mut self, at: CallTime, frame: &[u8]) {
        self.lay(Side::Bot, samples(at), frame);
    }

    /// The bot was silenced: nothing of it from here on was heard.
    pub fn clear(&mut self, at: CallTime) {
        let skip = samples(at).saturating_sub(self.from);
        self.bot.0.truncate(usize::try_from(skip).unwrap_or(usize::MAX));
    }

    /// Silences a stretch of one side. Returns what of it was handed out already, on the call's clock in samples.
    pub fn mute(&mut self, side: Side, from: CallTime, to: CallTime) -> std::ops::Range<u64> {
        let (from, to) = (samples(from), samples(to));
        if to > self.from {
            self.muted.push((side, from, to));
        }
        from.min(self.from)..to.min(self.from)
    }

    /// Hands out what cannot change any more.
    pub fn advance(&mut self, now: CallTime, out: &mut Vec<u8>) {
        let now = samples(now);
        // However long it is, in a burst it may still grow.
        while self
            .runs
            .front()
            .is_some_and(|run| self.runs.len() > 1 || run.began.saturating_add(self.longest(run)) <= now)
        {
            self.lay_run();
        }
        let open_run = self.runs.front().map_or(u64::MAX, Run::place);
        let heard = self.next.unwrap_or(self.from).max(now.saturating_sub(LINGER));
        self.hand_out(now.saturating_sub(HOLD).min(open_run).min(heard), out);
    }

    /// Hands out all that is left until `end`; what the bot was to say after it was not heard.
    pub fn finish(&mut self, end: CallTime, out: &mut Vec<u8>) {
        while !self.runs.is_empty() {
            self.lay_run();
        }
        self.hand_out(samples(end), out);
        self.caller = Lane::default();
        self.bot = Lane::default();
    }

    /// How long a stretch may become.
    fn longest(&self, run: &Run) -> u64 {
        let is_late = self.usual.is_some_and(|usual| run.delay > usual.saturating_add(SAME));
        if is_late { SECOND } else { RUN }
    }

    fn lay_run(&mut self) {
        let Some(run) = self.runs.pop_front() else { return };
        self.usual = Some(run.delay);
        let place = run.place();
        let at = match self.next {
            Some(next) if signed(place).saturating_sub(signed(next)).abs() <= SAME => next,
            // It was laid too late before: better now than never. The other way round there is a hole.
            Some(next) if place < next && next.saturating_sub(place) <= JUMP.unsigned_abs() => next,
            _ => place,
        };
        self.next = Some(at.saturating_add(run.audio.len() as u64));
        self.lay(Side::Caller, at, &run.audio);
    }

    fn lay(&mut self, side: Side, at: u64, audio: &[u8]) {
        let past = self.from.saturating_sub(at);
        let audio = match usize::try_from(past) {
            Ok(past) => audio.get(past..).unwrap_or_default(),
            Err(_) => &[],
        };
        let at = at.max(self.from).saturating_sub(self.from);
        if side == Side::Bot {
            self.late = self.late.saturating_add(past.min(160));
        }
        if audio.is_empty() || at > AHEAD {
            return;
        }
        let lane = match side {
            Side::Caller => &mut self.caller,
            Side::Bot => &mut self.bot,
        };
        lane.lay(usize::try_from(at).unwrap_or(usize::MAX), audio);
    }

    fn hand_out(&mut self, until: u64, out: &mut Vec<u8>) {
        let count = until.saturating_sub(self.from);
        let bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(SAMPLE_BYTES);
        if bytes == 0 {
            return;
        }
        let begin = out.len();
        let laid = self.caller.0.len().max(self.bot.0.len()).saturating_mul(SAMPLE_BYTES);
        let known = bytes.min(laid);
        // Nobody is silent for longer than a call lasts; a wrong clock must not fill the disk.
        let limit = usize::try_from(AHEAD).unwrap_or(0) * SAMPLE_BYTES * 240;
        out.resize(begin + bytes.min(known.saturating_add(limit)), SILENCE);
        if let Some(both) = out.get_mut(begin..begin + known) {
            self.caller.hand_out(known / SAMPLE_BYTES, Side::Caller, both);
            self.bot.hand_out(known / SAMPLE_BYTES, Side::Bot, both);
        }
        for (side, from, to) in &self.muted {
            let place = |at: u64| {
                let at = at.clamp(self.from, until).saturating_sub(self.from);
                begin.saturating_add(usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(SAMPLE_BYTES))
            };
            if let Some(part) = out.get_mut(place(*from)..place(*to)) {
                silence(part, *side);
            }
        }
        self.from = until;
        self.muted.retain(|(_, _, to)| *to > until);
    }
}

fn signed(samples: u64) -> i64 {
    i64::try_from(samples).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
