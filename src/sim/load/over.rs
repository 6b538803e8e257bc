//! A load with more callers than the server lets in, beside the same load without them: whoever is turned away costs those
//! who are in nothing. Pure.

use std::fmt;

use super::report::LoadReport;

/// How much longer a turn may take because others are turned away, in milliseconds (95th percentile).
pub const WORSE_MS: f64 = 20.0;

/// Two runs of one size.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    alone: &'a LoadReport,
    over: &'a LoadReport,
}

impl<'a> Over<'a> {
    /// `alone` without and `over` with callers for whom there is no place.
    #[must_use]
    pub const fn of(alone: &'a LoadReport, over: &'a LoadReport) -> Self {
        Self { alone, over }
    }

    /// Whether those who are in are answered as soon as without the others.
    #[must_use]
    pub fn is_as_soon(&self) -> bool {
        self.over.stages.turn_added.p95 - self.alone.stages.turn_added.p95 < WORSE_MS
    }

    /// Whether about as many replies were heard: the places that there are were taken, and none was lost to those who rang in
    /// vain.
    #[must_use]
    pub fn is_as_much(&self) -> bool {
        self.over.replies_delivered * 10 >= self.alone.replies_delivered * 9
            && self.over.replies_delivered > 0
    }
}

impl fmt::Display for Over<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [alone, over] = [self.alone, self.over].map(|report| report.stages.turn_added);
        write!(
            f,
            "{} calls, and {} callers for whom there is no place: {} calls turned away with words; replies {}/{} ({}/{} without \
             them); added to a turn p50 {:.1} ({:.1}), p95 {:.1} ({:.1}) ms: {}",
            self.over.calls,
            self.over.over,
            self.over.refused,
            self.over.replies_delivered,
            self.over.replies_expected,
            self.alone.replies_delivered,
            self.alone.replies_expected,
            over.p50,
            alone.p50,
            over.p95,
            alone.p95,
            match (self.is_as_much(), self.is_as_soon()) {
                (true, true) => "as soon as without them",
                (true, false) => "LATER than without them",
                (false, _) => "FEWER than without them",
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::load::collect::Collected;

    #[test]
    fn a_load_that_answers_later_because_it_turns_others_away_is_told_from_one_that_does_not() {
        let alone = Collected::default().report(700.0);
        let alone = LoadReport { replies_delivered: 400, ..alone };
        let mut over = LoadReport { calls: 100, over: 50, refused: 70, ..alone.clone() };
        over.stages.turn_added.p95 = WORSE_MS - 0.1;
        assert!(Over::of(&alone, &over).is_as_soon());
        let text = Over::of(&alone, &over).to_string();
        assert!(text.contains("50 callers") && text.contains("70 calls turned away"), "{text}");
        over.stages.turn_added.p95 = WORSE_MS;
        assert!(!Over::of(&alone, &over).is_as_soon());
        assert!(Over::of(&alone, &over).to_string().contains("LATER"));
        assert!(Over::of(&alone, &over).is_as_much());
        over.replies_delivered = 359;
        assert!(!Over::of(&alone, &over).is_as_much());
        assert!(Over::of(&alone, &over).to_string().contains("FEWER"));
        let nobody = LoadReport { replies_delivered: 0, ..alone.clone() };
        assert!(!Over::of(&nobody, &nobody).is_as_much(), "nothing was shown");
    }
}
