//! How much a replica may trust its own view of the others, and what follows from it for one that is silent. Pure: times come
//! in, in milliseconds of a clock that only runs forward.
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

/// What becomes of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was heard of within a lease: it is there.
    There,
    /// It is silent, and it is not for us to judge: we may have been away ourselves.
    Undecided,
    /// It is silent: it is asked whether it is there all the same.
    Asked,
    /// It only does not reach the database: whoever talks with its callers goes on, and writes it down later.
    Kept,
    /// It is gone: its calls are taken over.
    Lost,
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

    /// Whether it is for us to say that others are gone. `exclusive`: the database is a file of ours, and nobody else is at it,
    /// so that whoever stands in it is dead.
    pub fn judges(&self, now: u64, exclusive: bool) -> bool {
        exclusive || self.is_steady(now)
    }

    /// Whether a replica is there that was heard of `age` ms ago, by the database's clock.
    pub const fn is_there(&self, age: u64) -> bool {
        age <= self.rhythm.lease
    }

    /// What becomes of a replica that was heard of `age` ms ago, and which, if it was asked, `answers` or not.
    pub const fn fate(&self, judges: bool, age: u64, answers: Option<bool>) -> Fate {
        match (self.is_there(age), judges, answers) {
            (true, _, _) => Fate::There,
            (false, false, _) => Fate::Undecided,
            (false, true, None) => Fate::Asked,
            (false, true, Some(true)) => Fate::Kept,
            (false, true, Some(false)) => Fate::Lost,
        }
    }

    /// Whether an open call that nobody has had since `since`, as far as we see, is to be had. One that is just being brought
    /// to us, or taken by another, is nobody's for a moment; `buried`: it is of somebody who is dead for certain.
    pub const fn is_left(&self, since: u64, now: u64, buried: bool) -> bool {
        buried || now.saturating_sub(since) >= self.rhythm.lease
    }

    /// Whether our heartbeats have been on time for a lease.
    fn is_steady(&self, now: u64) -> bool {
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

/// Something that fails, again and again for as long as what it needs is away, and is told of once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outage {
    lasts: bool,
}

impl Outage {
    /// It failed; whether it went well the last time.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.lasts, true)
    }

    /// It went well; whether it failed the last time.
    pub fn ends(&mut self) -> bool {
        std::mem::take(&mut self.lasts)
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
    fn what_becomes_of_another_is_decided_by_its_age_our_own_steadiness_and_its_answer() {
        let watch = Watch::new(RHYTHM);
        for (age, judges, answers, fate) in [
            (0, true, None, Fate::There),
            (6_000, true, None, Fate::There),
            (6_000, false, None, Fate::There),
            (1_000, true, Some(false), Fate::There),
            (6_001, false, None, Fate::Undecided),
            (6_001, false, Some(false), Fate::Undecided),
            (u64::MAX, false, Some(true), Fate::Undecided),
            (6_001, true, None, Fate::Asked),
            (6_001, true, Some(true), Fate::Kept),
            (u64::MAX, true, Some(true), Fate::Kept),
            (6_001, true, Some(false), Fate::Lost),
        ] {
            assert_eq!(watch.fate(judges, age, answers), fate, "{age} ms, {judges}, {answers:?}");
        }
    }

    #[test]
    fn whoever_has_the_database_to_himself_judges_from_the_start_and_others_once_they_are_steady() {
        let mut watch = Watch::new(RHYTHM);
        assert!(watch.judges(0, true) && !watch.judges(0, false));
        for at in (0..=6_000).step_by(2_000) {
            watch.beaten(at);
            assert_eq!(watch.judges(at, false), at == 6_000, "{at}");
        }
        watch.failed();
        assert!(watch.judges(6_000, true) && !watch.judges(6_000, false));
    }

    #[test]
    fn a_call_that_nobody_has_is_to_be_had_after_a_lease_or_where_its_owner_is_dead_for_certain() {
        let watch = Watch::new(RHYTHM);
        for (since, now, buried, left) in [
            (1_000, 1_000, false, false),
            (1_000, 6_999, false, false),
            (1_000, 7_000, false, true),
            (1_000, 1_000, true, true),
            (7_000, 1_000, false, false),
        ] {
            assert_eq!(watch.is_left(since, now, buried), left, "{since} to {now}, {buried}");
        }
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_ends() {
        let mut outage = Outage::default();
        assert!(!outage.ends(), "there was none");
        assert_eq!([outage.begins(), outage.begins(), outage.begins()], [true, false, false]);
        assert_eq!([outage.ends(), outage.ends()], [true, false]);
        assert!(outage.begins(), "another one");
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
