//! Looking for free times, and offering a few of them.

use super::answers::{Refused, date_problem, day_json, join, told, unavailable};
use super::{Inner, Present};
use crate::booking::availability::{Slot, Unavailable, day_span, free_slots};
use crate::booking::dates::{Wish, plus_days, resolve_date};
use crate::booking::speak::speak_time;
use crate::booking::suggest::{suggest, times};
use crate::call::dialogue::messages::ToolOutcome;
use crate::db::HoldRequest;
use crate::domain::profile::Service;
use jiff::civil::Date;
use serde_json::{Value, json};
use std::time::Duration;

/// How long an offered slot is kept for the call.
const HOLD: Duration = Duration::from_secs(180);

/// How often other times are looked for when somebody else was quicker.
const HOLD_ROUNDS: usize = 3;

/// How many days are searched for the next free time.
const SEARCH_DAYS: i64 = 14;

/// Words that leave the choice of the person to us.
const ANYONE: [&str; 9] =
    ["anyone", "anybody", "any", "whoever", "no preference", "someone", "somebody", "either", "none"];

impl Inner {
    pub(super) async fn availability(
        &self,
        date: &str,
        staff: Option<&str>,
        service: Option<&str>,
    ) -> Result<ToolOutcome, Refused> {
        let present = self.present()?;
        let day = resolve_date(date, present.calendar).map_err(|problem| date_problem(&problem, &present))?;
        let service = match service {
            Some(wanted) => self.service(wanted)?,
            // The shortest fits wherever anything does.
            None => self.profile.services.iter().min_by_key(|s| s.minutes).ok_or_else(Refused::calendar)?,
        };
        let staff = self.wanted_staff(staff)?;
        // What was offered before is not wanted any more.
        self.db.release_holds(self.sid()).await?;
        match self.free(&present, service, staff.as_deref(), day.date).await? {
            Ok(free) if !free.is_empty() => {
                Ok(told(self.offer(&present, service, day.date, &free, day.wish).await?))
            }
            Ok(_) => {
                let content = json!({
                    "service": service.name, "slots": [], "more": 0,
                    "message": "That day is booked up. Say so and offer another day.",
                });
                let content = join(day_json(day.date, present.calendar.today), content);
                let next = self.next_free(&present, service, staff.as_deref(), day.date).await?;
                Ok(told(join(content, json!({"next_free": next}))))
            }
            Err(why) => Err(self.no_times(&present, service, staff.as_deref(), day.date, &why).await?),
        }
    }

    pub(super) fn service(&self, wanted: &str) -> Result<&Service, Refused> {
        self.profile.find_service(wanted).ok_or_else(|| {
            let names = self.profile.services.iter().map(|s| s.name.as_str());
            let part = wanted.trim().to_lowercase();
            let alike: Vec<&str> =
                names.clone().filter(|name| !part.is_empty() && name.to_lowercase().contains(&part)).collect();
            if alike.is_empty() {
                let message = "Tell the caller what is offered and ask which one is meant.";
                return Refused::new("there is no such service", message)
                    .with("services", json!(names.collect::<Vec<_>>()));
            }
            Refused::new(
                "several services fit",
                "Call again with the exact name of the one the caller means; ask the caller if that is not clear.",
            )
            .with("services", json!(alike))
        })
    }

    /// The name of the person wanted, as in the profile; none if anybody will do.
    pub(super) fn wanted_staff(&self, wanted: Option<&str>) -> Result<Option<String>, Refused> {
        let Some(wanted) = wanted.map(str::trim).filter(|wanted| !wanted.is_empty()) else { return Ok(None) };
        if let Some(staff) = self.profile.find_staff(wanted) {
            return Ok(Some(staff.name.clone()));
        }
        let nobody = wanted.to_lowercase();
        let nobody = nobody.trim_end_matches(" one").trim_end_matches(" available");
        if ANYONE.contains(&nobody) || wanted.eq_ignore_ascii_case(self.profile.name.trim()) {
            return Ok(None);
        }
        let names: Vec<&str> = self.profile.staff.iter().map(|s| s.name.as_str()).collect();
        Err(unavailable(&Unavailable::UnknownStaff, Date::MIN).with("staff", json!(names)))
    }

    pub(super) async fn free(
        &self,
        present: &Present,
        service: &Service,
        staff: Option<&str>,
        date: Date,
    ) -> Result<Result<Vec<Slot>, Unavailable>, Refused> {
        let (from, to) = day_span(&present.zone, date, date).ok_or_else(Refused::calendar)?;
        let busy = self.db.busy(from, to, Some(self.sid()), present.now).await?;
        Ok(free_slots(&self.profile, &present.zone, service, staff, date, &busy, present.now))
    }

    /// Holds the few slots that are to be said, and tells them.
    pub(super) async fn offer(
        &self,
        present: &Present,
        service: &Service,
        date: Date,
        free: &[Slot],
        wish: Option<Wish>,
    ) -> Result<Value, Refused> {
        let mut free = free.to_vec();
        let mut held: Vec<Slot> = Vec::new();
        let mut chosen = Vec::new();
        for _ in 0..HOLD_ROUNDS {
            chosen = suggest(&free, wish);
            let mut lost = Vec::new();
            for slot in chosen.iter().filter(|slot| !held.contains(slot)).cloned().collect::<Vec<_>>() {
                if self.hold(present, service, &slot).await? { held.push(slot) } else { lost.push(slot) }
            }
            if lost.is_empty() {
                break;
            }
            free.retain(|slot| !lost.contains(slot));
        }
        chosen.retain(|slot| held.contains(slot));
        let slots: Vec<Value> = chosen.iter().map(|slot| self.slot_json(slot)).collect();
        let more = times(&free).saturating_sub(slots.len());
        let content = json!({"service": service.name, "slots": slots, "more": more});
        Ok(join(day_json(date, present.calendar.today), content))
    }

    async fn hold(&self, present: &Present, service: &Service, slot: &Slot) -> Result<bool, Refused> {
        let request = HoldRequest {
            call: self.sid(),
            epoch: self.facts.epoch,
            staff: slot.staff.clone(),
            starts_at: slot.starts_at,
            minutes: service.minutes.saturating_add(self.profile.buffer_minutes),
            until: present.now.after(HOLD),
            now: present.now,
        };
        Ok(self.db.hold(request).await?)
    }

    pub(super) fn slot_json(&self, slot: &Slot) -> Value {
        let id = self.state.borrow_mut().offers.add(slot);
        let content = json!({"slot_id": id, "time": speak_time(slot.local.time())});
        join(content, self.staff_json(&slot.staff))
    }

    /// Who serves, unless that is the business as a whole.
    pub(super) fn staff_json(&self, staff: &str) -> Value {
        if self.profile.staff.is_empty() { json!({}) } else { json!({"staff": staff}) }
    }

    /// The first later day on which something is free, its times held; null if there is none for long.
    pub(super) async fn next_free(
        &self,
        present: &Present,
        service: &Service,
        staff: Option<&str>,
        after: Date,
    ) -> Result<Value, Refused> {
        let after = after.max(plus_days(present.calendar.today, -1).unwrap_or(after));
        let days: Vec<Date> = (1..=SEARCH_DAYS).filter_map(|ahead| plus_days(after, ahead)).collect();
        let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(Value::Null) };
        let Some((from, to)) = day_span(&present.zone, *first, *last) else { return Ok(Value::Null) };
        let busy = self.db.busy(from, to, Some(self.sid()), present.now).await?;
        for date in days {
            match free_slots(&self.profile, &present.zone, service, staff, date, &busy, present.now) {
                Ok(free) if !free.is_empty() => return self.offer(present, service, date, &free, None).await,
                Err(Unavailable::TooFar { .. }) => break,
                Ok(_) | Err(_) => {}
            }
        }
        Ok(Value::Null)
    }

    /// Why a day has no times, with the next one that has.
    pub(super) async fn no_times(
        &self,
        present: &Present,
        service: &Service,
        staff: Option<&str>,
        date: Date,
        why: &Unavailable,
    ) -> Result<Refused, Refused> {
        let today = present.calendar.today;
        let refused = unavailable(why, today).with("day", day_json(date, today));
        if matches!(why, Unavailable::TooFar { .. } | Unavailable::NoSuchTime) {
            return Ok(refused);
        }
        Ok(refused.with("next_free", self.next_free(present, service, staff, date).await?))
    }
}
