//! What is asked of every call of a drill: each question was answered once, the transcript holds what was said, the
//! call ended once, and the caller was without the bot only where and as long as that may be. Pure.
//!
//! All times are milliseconds since the call began.

use super::talk::Item;
use crate::domain::call::EndReason;
use crate::domain::turn::{Speaker, TurnRecord};
use crate::sim::caller::report::{CallReport, EndCause};
use crate::sim::caller::turns::TurnKind;
use crate::sim::script::words_of;

/// Something that was done to a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Disturbance {
    /// To which; to all if not given.
    pub replica: Option<String>,
    /// When it began.
    pub from_ms: f64,
    /// When it was over.
    pub until_ms: f64,
    /// Whether its connections stayed as they were: the caller is then alone from its beginning on.
    pub silent: bool,
    /// Whether the replica could not say goodbye: what was heard in the last moment it cannot have written down.
    pub abrupt: bool,
    /// How long a caller may be alone because of it; 0 if nobody may notice it.
    pub allowed_ms: f64,
}

/// What was played in so long a time before a replica died or froze may be said again, ms: Twilio plays 400 ms ahead of
/// what we know, and a mark that comes back has to be written down.
const UNKNOWN_MS: f64 = 1_000.0;

/// What the database holds of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The transcript.
    pub turns: Vec<TurnRecord>,
    /// Why it ended, if it did.
    pub end_reason: Option<EndReason>,
    /// How often its end stands in the audit trail.
    pub ends: usize,
}

/// A time in which a caller was alone, between two streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Which replica had the stream that broke.
    pub from: String,
    /// Which has the next.
    pub to: String,
    /// When the stream broke.
    pub broke_ms: f64,
    /// How long it took until the caller was heard again, and heard the bot where it owed an answer.
    pub ms: f64,
}

/// What there is to say against a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Why the call counts as lost, if it does.
    pub lost: Option<String>,
    /// What was answered or written more often than it was asked.
    pub doubled: Vec<String>,
    /// What was said again because nobody could know that it was heard.
    pub repeated: usize,
    /// What was asked and not answered, or not written.
    pub missing: Vec<String>,
    /// All times alone.
    pub gaps: Vec<Gap>,
    /// Times alone that were too long, that nothing was the reason of, or that were more than one for one reason.
    pub alone: Vec<String>,
    /// Anything else.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Whether there is nothing to say against it.
    pub const fn is_well(&self) -> bool {
        self.lost.is_none()
            && self.doubled.is_empty()
            && self.missing.is_empty()
            && self.alone.is_empty()
            && self.wrong.is_empty()
    }

    /// All that there is to say against it.
    pub fn complaints(&self) -> impl Iterator<Item = String> + '_ {
        self.harm().chain(self.alone.iter().map(|gap| format!("alone: {gap}")))
    }

    /// What there is to say against it but for the times alone: for whoever rings while something is away, and may need a
    /// second stream to be let in.
    pub fn harm(&self) -> impl Iterator<Item = String> + '_ {
        let named = |what: &'static str, all: &'_ [String]| {
            all.iter().map(move |each| format!("{what}: {each}")).collect::<Vec<_>>()
        };
        let lost = self.lost.iter().map(|why| format!("lost: {why}"));
        lost.chain(named("doubled", &self.doubled))
            .chain(named("missing", &self.missing))
            .chain(named("wrong", &self.wrong))
    }
}

/// Judges a call.
pub fn judge(
    report: &CallReport,
    items: &[Item],
    recorded: &Recorded,
    disturbances: &[Disturbance],
) -> Verdict {
    let mut verdict = Verdict { lost: loss(report, recorded), ..Verdict::default() };
    answers(report, items, disturbances, &mut verdict);
    transcript(report, items, recorded, &mut verdict);
    (verdict.gaps, verdict.alone) = alone(report, items, disturbances);
    if recorded.ends > 1 {
        verdict.doubled.push(format!("its end stands there {} times", recorded.ends));
    }
    // That a stream could not be opened is a gap, or the call's loss; it is no rule broken.
    let broken = report.violations.first.iter().filter(|what| !what.starts_with("319"));
    verdict.wrong.extend(broken.cloned());
    if verdict.lost.is_none() {
        verdict.wrong.extend(report.failures.iter().cloned());
    }
    verdict
}

/// Why a call is lost, if it is.
fn loss(report: &CallReport, recorded: &Recorded) -> Option<String> {
    match &report.end {
        EndCause::Failed(why) => return Some(why.clone()),
        EndCause::Hangup => {}
        other => return Some(format!("it ended by {}", other.kind())),
    }
    if let Some(why) = report.failures.iter().find(|why| why.contains("the call ended before")) {
        return Some(why.clone());
    }
    match recorded.end_reason {
        Some(EndReason::Completed | EndReason::MessageTaken) => None,
        Some(other) => Some(format!("it is recorded as {}", other.as_str())),
        None => Some("its end is not recorded".to_owned()),
    }
}

/// How often a caller began to ask something.
fn asked(report: &CallReport, item: &Item) -> usize {
    let spoken = report.turns.iter().filter(|turn| turn.kind == TurnKind::Spoken);
    spoken.filter(|turn| turn.said == item.question).count()
}

fn holds(text: &str, word: &str) -> bool {
    words_of(text).iter().any(|each| each == word)
}

/// What the caller's ear says.
fn answers(report: &CallReport, items: &[Item], disturbances: &[Disturbance], verdict: &mut Verdict) {
    for item in items {
        let asked = asked(report, item);
        let heard: Vec<f64> = report
            .heard
            .iter()
            .filter(|heard| holds(&heard.word, &item.answered_by))
            .map(|heard| heard.at_ms)
            .collect();
        match (asked, heard.len()) {
            (0, 0) | (1.., 1) => {}
            (1.., 0) => verdict.missing.push(format!("no answer about {}", item.asked_by)),
            (1.., 2) if heard.first().is_some_and(|at| was_unknown(*at, disturbances)) => {
                verdict.repeated += 1
            }
            (0, _) => verdict.doubled.push(format!("an answer that nobody asked for, {}", item.answered_by)),
            (_, times) => verdict.doubled.push(format!("{times} answers about {}", item.asked_by)),
        }
    }
}

/// Whether what was heard then cannot have been known to have been heard.
fn was_unknown(at_ms: f64, disturbances: &[Disturbance]) -> bool {
    disturbances
        .iter()
        .any(|d| d.abrupt && (d.from_ms - UNKNOWN_MS..=d.from_ms + UNKNOWN_MS).contains(&at_ms))
}

/// What the database says.
fn transcript(report: &CallReport, items: &[Item], recorded: &Recorded, verdict: &mut Verdict) {
    let turns = |speaker: Speaker| recorded.turns.iter().filter(move |turn| turn.speaker == speaker);
    let mut last = 0;
    for item in items {
        let asked = asked(report, item);
        let written: Vec<u32> = turns(Speaker::Caller)
            .filter(|turn| holds(&turn.said, &item.asked_by))
            .map(|turn| turn.n)
            .collect();
        if written.len() > asked {
            verdict.doubled.push(format!(
                "{} stands {} times in the transcript",
                item.asked_by,
                written.len()
            ));
        }
        if asked == 0 {
            continue;
        }
        match written.first() {
            None => verdict.missing.push(format!("{} is not in the transcript", item.asked_by)),
            Some(&n) if n < last => {
                verdict.wrong.push(format!("{} stands at the wrong place of the transcript", item.asked_by));
            }
            Some(&n) => last = n,
        }
        let answer = |text: &str| holds(text, &item.answered_by);
        if !turns(Speaker::Bot).any(|turn| answer(&turn.said)) {
            verdict.missing.push(format!("the answer {} is not in the transcript", item.answered_by));
        }
        let heard = turns(Speaker::Bot).filter(|turn| answer(&turn.heard)).count();
        if heard > 1 {
            verdict.doubled.push(format!("the answer {} was heard {heard} times", item.answered_by));
        }
    }
}

/// The times alone, and what there is to say against them. Each disturbance excuses one gap of those whose call its replica
/// held: so nobody may hear more gaps than there were restarts of replicas that held the call.
fn alone(report: &CallReport, items: &[Item], disturbances: &[Disturbance]) -> (Vec<Gap>, Vec<String>) {
    let mut left: Vec<Option<&Disturbance>> = disturbances.iter().map(Some).collect();
    let gaps = gaps(report, items, disturbances);
    let mut against = Vec::new();
    for gap in &gaps {
        let due = left.iter_mut().find(|slot| slot.is_some_and(|d| explains(d, gap)));
        let why = match due.and_then(Option::take) {
            Some(cause) if gap.ms <= cause.allowed_ms => continue,
            Some(cause) => format!("not {:.0} at most", cause.allowed_ms),
            None if disturbances.iter().any(|d| explains(d, gap)) => {
                "a second time because of one and the same".to_owned()
            }
            None => "for no reason".to_owned(),
        };
        let at_s = gap.broke_ms / 1_000.0;
        against.push(format!("{:.0} ms at {at_s:.1} s, between {} and {}, {why}", gap.ms, gap.from, gap.to));
    }
    (gaps, against)
}

/// The most gaps in one of several spans of time, which begin then and follow each other, ms.
pub fn most_within_one(gaps: &[Gap], spans_ms: &[f64]) -> usize {
    let ends = spans_ms.iter().copied().skip(1).chain(std::iter::once(f64::INFINITY));
    let within = |from: f64, to: f64| gaps.iter().filter(|gap| (from..to).contains(&gap.broke_ms)).count();
    spans_ms.iter().zip(ends).map(|(from, to)| within(*from, to)).max().unwrap_or_default()
}

/// The times between the streams.
fn gaps(report: &CallReport, items: &[Item], disturbances: &[Disturbance]) -> Vec<Gap> {
    let up: Vec<_> = report.streams.iter().filter_map(|stream| Some((stream.up_ms?, stream))).collect();
    let name = |by: &Option<String>| by.clone().unwrap_or_else(|| "?".to_owned());
    let pairs = up.iter().zip(up.iter().skip(1));
    let between = pairs.map(|((before_up, before), (up_ms, next))| {
        let from = name(&before.served_by);
        // A frozen replica says nothing from the first moment on.
        let frozen = disturbances.iter().find(|d| {
            d.silent
                && d.replica.as_ref().is_none_or(|replica| *replica == from)
                && *before_up < d.from_ms
                && d.from_ms < before.ended_ms
        });
        let broke_ms = frozen.map_or(before.ended_ms, |d| d.from_ms);
        let voice = next.first_voice_ms.map(|ms| up_ms + ms);
        let end = match voice {
            Some(voice) if owed(report, items, broke_ms) => voice,
            _ => *up_ms,
        };
        Gap { from, to: name(&next.served_by), broke_ms, ms: end - broke_ms }
    });
    between.collect()
}

/// Whether the caller was waiting for an answer at that moment.
fn owed(report: &CallReport, items: &[Item], at_ms: f64) -> bool {
    let before = report.turns.iter().rfind(|turn| turn.kind == TurnKind::Spoken && turn.from_ms < at_ms);
    // Who still speaks speaks on, over the next stream.
    let Some(turn) = before.filter(|turn| turn.until_ms.is_some_and(|until| until <= at_ms)) else {
        return false;
    };
    let Some(item) = items.iter().find(|item| item.question == turn.said) else { return false };
    !report.heard.iter().any(|heard| {
        heard.at_ms >= turn.from_ms && heard.at_ms <= at_ms && holds(&heard.word, &item.answered_by)
    })
}

fn explains(disturbance: &Disturbance, gap: &Gap) -> bool {
    disturbance.allowed_ms > 0.0
        && disturbance.replica.as_ref().is_none_or(|replica| *replica == gap.from)
        && (disturbance.from_ms..=disturbance.until_ms).contains(&gap.broke_ms)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
