//! How much a replica may trust its own view of the others. Pure: times come in, in milliseconds of a clock that only runs
//! forward.
//!
//! A process that was frozen, or cut off from the database, sees everybody else as late although it was itself. So it takes
//! nobody over until it has been on time for one whole lease, and ends nothing before it has looked whether its calls are
//! still its own.

/// How often, and how long one is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Between two heartbeats, ms.
    pub heartbeat: u64,
    /// How long a replica may be silent before its calls are taken over, ms.
    pub lease: u64,
}

/// What is known of our own heartbeats.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    rhythm: Rhythm,
    /// When the last one succeeded.
    beaten: Option<u64>,
    /// Since when all have been on time.
    steady: Option<u64>,
    /// How often there was reason to think that our calls are another's by now.
    doubts: u64,
    /// How many of these were looked into.
    settled: u64,
    ticked: Option<u64>,
}

impl Watch {
    /// No heartbeat yet.
    pub fn new(rhythm: Rhythm) -> Self {
        Self { rhythm, beaten: None, steady: None, doubts: 0, settled: 0, ticked: None }
    }

    /// A heartbeat stands.
    pub fn beaten(&mut self, now: u64) {
        if let Some(last) = self.beaten {
            let gap = now.saturating_sub(last);
            if gap > self.latest() {
                self.steady = None;
            }
            if gap > self.rhythm.lease {
                self.doubt();
            }
        }
        self.beaten = Some(now);
        self.steady.get_or_insert(now);
    }

    /// One failed.
    pub fn failed(&mut self) {
        self.steady = None;
    }

    /// Time goes on; called often.
    pub fn tick(&mut self, now: u64) {
        let asleep = self.ticked.is_some_and(|last| now.saturating_sub(last) > self.rhythm.lease);
        let cut_off = self.beaten.is_some_and(|last| now.saturating_sub(last) > self.rhythm.lease);
        if asleep || cut_off {
            self.steady = None;
            self.doubt();
        }
        self.ticked = Some(now);
    }

    /// Whether others may be taken over.
    pub fn is_steady(&self, now: u64) -> bool {
        self.steady.is_some_and(|since| now.saturating_sub(since) >= self.rhythm.lease)
            && self.beaten.is_some_and(|last| now.saturating_sub(last) <= self.latest())
    }

    /// Whether the last heartbeat that stands is no older than a lease.
    pub fn is_heard(&self, now: u64) -> bool {
        self.beaten.is_some_and(|last| now.saturating_sub(last) <= self.rhythm.lease)
    }

    /// Whether our calls may be another's.
    pub fn is_doubtful(&self) -> bool {
        self.doubts > self.settled
    }

    /// How many reasons for doubt there were so far: to be asked before it is looked up whose our calls are.
    pub fn doubts(&self) -> u64 {
        self.doubts
    }

    /// It was looked up whose our calls are, after so many reasons for doubt. One that came meanwhile stands: whoever was
    /// frozen in the middle of looking knows nothing.
    pub fn reassure(&mut self, doubts: u64) {
        self.settled = self.settled.max(doubts);
    }

    fn doubt(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
    }

    /// A heartbeat that comes later than this after the one before is late.
    fn latest(&self) -> u64 {
        let Rhythm { heartbeat, lease } = self.rhythm;
        lease.saturating_sub(heartbeat).max(heartbeat.saturating_add(heartbeat / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { heartbeat: 2_000, lease: 6_000 };

    #[test]
    fn nobody_is_taken_over_before_a_whole_lease_on_time() {
        let mut watch = Watch::new(RHYTHM);
        assert!(!watch.is_steady(100_000), "it has never been heard of");
        for at in [1_000, 3_000, 5_000, 6_900] {
            watch.beaten(at);
            assert!(!watch.is_steady(at), "{at}");
        }
        watch.beaten(7_000);
        assert!(watch.is_steady(7_000));
        assert!(!watch.is_steady(12_000), "its last heartbeat is too long ago");
        assert!(watch.is_heard(13_000) && !watch.is_heard(13_001));
    }

    #[test]
    fn one_that_was_late_or_failed_waits_for_a_lease() {
        for late in [true, false] {
            let mut watch = Watch::new(RHYTHM);
            for at in (0..=8_000).step_by(2_000) {
                watch.beaten(at);
            }
            assert!(watch.is_steady(8_000));
            let back = if late { 12_500 } else { 10_000 };
            if !late {
                watch.failed();
                assert!(!watch.is_steady(8_000));
            }
            watch.beaten(back);
            assert!(!watch.is_steady(back));
            for after in [2_000, 4_000, 5_900] {
                watch.beaten(back + after);
                assert!(!watch.is_steady(back + after));
            }
            watch.beaten(back + 6_000);
            assert!(watch.is_steady(back + 6_000));
            assert!(!watch.is_doubtful(), "nobody had the time to take its calls");
        }
    }

    #[test]
    fn whoever_slept_or_was_cut_off_for_a_lease_doubts_its_own_calls() {
        // Frozen: nothing happened at all.
        let mut watch = Watch::new(RHYTHM);
        watch.tick(0);
        watch.beaten(0);
        watch.tick(1_000);
        assert!(!watch.is_doubtful());
        watch.tick(8_000);
        assert!(watch.is_doubtful() && !watch.is_steady(8_000));
        watch.beaten(8_100);
        assert!(watch.is_doubtful(), "until it has looked");
        watch.reassure(watch.doubts());
        watch.tick(9_000);
        assert!(!watch.is_doubtful());
        // Cut off: time goes on, heartbeats fail.
        for at in (10_000..=15_000).step_by(1_000) {
            watch.tick(at);
        }
        assert_eq!(watch.is_doubtful(), 15_000 - 8_100 > 6_000);
        watch.reassure(watch.doubts());
        watch.tick(16_000);
        assert!(watch.is_doubtful(), "still cut off");
    }

    #[test]
    fn a_doubt_that_comes_while_it_is_looked_stands() {
        let mut watch = Watch::new(RHYTHM);
        watch.beaten(0);
        watch.beaten(8_000);
        let looking = watch.doubts();
        watch.tick(8_000);
        // Frozen again before the answer is read.
        watch.tick(16_000);
        watch.reassure(looking);
        assert!(watch.is_doubtful());
        watch.reassure(watch.doubts());
        assert!(!watch.is_doubtful());
    }

    #[test]
    fn one_that_is_silent_from_the_start_doubts_nothing() {
        let mut watch = Watch::new(RHYTHM);
        for at in (0..=20_000).step_by(1_000) {
            watch.tick(at);
        }
        assert!(!watch.is_doubtful());
    }
}
