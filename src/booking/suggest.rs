//! Which few of many free times are said.

use super::availability::Slot;
use super::dates::Wish;
use super::times::SpokenTime;
use jiff::civil::DateTime;

/// How many times are said at once; a caller remembers no more.
pub const SPOKEN: usize = 3;

/// At most three of the slots, in the order of time, no time twice: the ones nearest to a wanted time, else spread over
/// the wanted part of the day or, if that has none, over the day. `slots` are in the order of time.
pub fn suggest(slots: &[Slot], wish: Option<Wish>) -> Vec<Slot> {
    let mut times: Vec<&Slot> = Vec::new();
    for slot in slots {
        // The clocks may say the same time twice: both are one to the ear.
        if times.last().is_none_or(|last| last.local != slot.local) {
            times.push(slot);
        }
    }
    let in_part: Vec<&Slot> =
        times.iter().copied().filter(|slot| wish.is_none_or(|wish| suits(slot.local, wish))).collect();
    let from = if in_part.is_empty() { times } else { in_part };
    let mut chosen: Vec<&Slot> = match wish {
        Some(Wish::At(time)) => {
            let mut near = from;
            near.sort_by_key(|slot| (distance(slot.local, time), slot.starts_at));
            near.into_iter().take(SPOKEN).collect()
        }
        _ => spread(&from),
    };
    chosen.sort_by_key(|slot| slot.starts_at);
    chosen.into_iter().cloned().collect()
}

/// How many different times there are.
pub fn times(slots: &[Slot]) -> usize {
    let mut count = 0_usize;
    let mut last = None;
    for slot in slots {
        if last != Some(slot.local) {
            count = count.saturating_add(1);
            last = Some(slot.local);
        }
    }
    count
}

fn suits(local: DateTime, wish: Wish) -> bool {
    match wish {
        Wish::Morning => local.hour() < 12,
        Wish::Afternoon => (12..17).contains(&local.hour()),
        Wish::Evening => local.hour() >= 17,
        Wish::At(_) => true,
    }
}

fn distance(local: DateTime, time: SpokenTime) -> u32 {
    let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
    let [a, b] = time.readings().map(|reading| minute.abs_diff(i32::from(reading.0)));
    a.min(b)
}

/// First, middle and last.
fn spread<'a>(times: &[&'a Slot]) -> Vec<&'a Slot> {
    if times.len() <= SPOKEN {
        return times.to_vec();
    }
    let last = times.len().saturating_sub(1);
    [0, last / 2, last].iter().filter_map(|at| times.get(*at).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::MinuteOfDay;
    use crate::domain::time::UnixMillis;
    use jiff::civil::date;

    fn slots(hours: &[(i8, i8)]) -> Vec<Slot> {
        let mut all = Vec::new();
        for &(hour, minute) in hours {
            for staff in ["Sam", "Kim"] {
                let starts_at = UnixMillis((i64::from(hour) * 60 + i64::from(minute)) * 60_000);
                let ends_at = UnixMillis(starts_at.0 + 1);
                let local = date(2026, 11, 24).at(hour, minute, 0, 0);
                all.push(Slot { staff: staff.into(), starts_at, ends_at, local });
            }
        }
        all
    }

    fn said(slots: &[Slot], wish: Option<Wish>) -> Vec<(i8, i8)> {
        suggest(slots, wish).iter().map(|slot| (slot.local.hour(), slot.local.minute())).collect()
    }

    #[test]
    fn three_times_are_spread_over_the_day_or_the_wanted_part_of_it() {
        let all = slots(&[(9, 0), (9, 15), (11, 0), (12, 0), (13, 0), (15, 30), (16, 0), (18, 0)]);
        assert_eq!(times(&all), 8);
        assert_eq!(said(&all, None), [(9, 0), (12, 0), (18, 0)]);
        assert_eq!(said(&all, Some(Wish::Morning)), [(9, 0), (9, 15), (11, 0)]);
        assert_eq!(said(&all, Some(Wish::Afternoon)), [(12, 0), (13, 0), (16, 0)]);
        assert_eq!(said(&all, Some(Wish::Evening)), [(18, 0)]);
        assert_eq!(said(&slots(&[(9, 0), (10, 0)]), Some(Wish::Evening)), [(9, 0), (10, 0)]);
        assert_eq!(said(&[], None), []);
    }

    #[test]
    fn the_times_nearest_to_a_wanted_one_are_said_in_order() {
        let all = slots(&[(9, 0), (11, 0), (12, 0), (14, 45), (15, 30), (17, 0)]);
        let three_pm = Wish::At(SpokenTime::Exact(MinuteOfDay(15 * 60)));
        assert_eq!(said(&all, Some(three_pm)), [(14, 45), (15, 30), (17, 0)]);
        let three = Wish::At(SpokenTime::HalfDay(MinuteOfDay(3 * 60)));
        assert_eq!(said(&all, Some(three)), [(14, 45), (15, 30), (17, 0)]);
    }
}
