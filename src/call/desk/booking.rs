//! Booking an appointment: which one is meant, whether it can be had, and what was committed.

use super::answers::{Refused, date_problem, day_json, join, refused_time, time_problem};
use super::customers::SelfReport;
use super::{Inner, Present};
use crate::booking::availability::{Slot, hours_on, instant, refusal};
use crate::booking::dates::{Wish, local, resolve_date};
use crate::booking::speak::{speak_date, speak_time, weekday_name};
use crate::booking::times::{SpokenTime, TimeProblem, parse_time, resolve_time};
use crate::call::dialogue::messages::ToolOutcome;
use crate::db::{BookOutcome, BookRequest};
use crate::domain::appointment::{Appointment, AppointmentStatus};
use crate::domain::call::Outcome;
use crate::domain::profile::{MinuteOfDay, Service};
use crate::domain::time::UnixMillis;
use jiff::civil::Date;
use serde_json::json;

/// The arguments of a booking, as they came.
pub(super) struct BookingArguments {
    pub(super) service: String,
    pub(super) date: String,
    pub(super) time: String,
    pub(super) staff: Option<String>,
    pub(super) customer_name: Option<String>,
    pub(super) customer_phone: Option<String>,
    pub(super) slot_id: Option<String>,
}

/// What is to be booked, resolved.
struct Target<'a> {
    service: &'a Service,
    staff: Option<String>,
    date: Date,
    minute: MinuteOfDay,
    start: UnixMillis,
}

impl Inner {
    pub(super) async fn book(&self, wanted: BookingArguments) -> Result<ToolOutcome, Refused> {
        let present = self.present()?;
        let target = self.target(&wanted, &present).await?;
        if let Some(same) = self.booked_before(&target).await? {
            self.give_back().await;
            return self.booked(&present, &same, wanted.customer_name.as_deref());
        }
        let free = match self.free(&present, target.service, target.staff.as_deref(), target.date).await? {
            Ok(free) => free,
            Err(why) => {
                let staff = target.staff.as_deref();
                return Err(self.no_times(&present, target.service, staff, target.date, &why).await?);
            }
        };
        let mut candidates: Vec<&Slot> = free.iter().filter(|slot| slot.starts_at == target.start).collect();
        // The person who was named to the caller comes first.
        candidates.sort_by_key(|slot| !self.was_offered(slot));
        if candidates.is_empty() {
            return Err(self.not_free(&present, &target, &free).await?);
        }
        let phone = self.phone(wanted.customer_phone.as_deref())?;
        let known_name = self.known_customer().await?.and_then(|known| known.name);
        if wanted.customer_name.is_none() && known_name.is_none() {
            return Err(Refused::new(
                "a name is missing",
                "Nothing was booked. Ask for the name the appointment is for, then book again with it.",
            ));
        }
        let report = SelfReport { name: wanted.customer_name.clone(), phone, ..SelfReport::default() };
        let customer = self.remember(report).await?;
        for slot in candidates {
            let request = BookRequest {
                call: self.sid(),
                epoch: self.facts.epoch,
                customer_id: customer.as_ref().map(|customer| customer.id),
                service: target.service.name.clone(),
                staff: slot.staff.clone(),
                starts_at: slot.starts_at,
                minutes: target.service.minutes,
                buffer_minutes: self.profile.buffer_minutes,
                now: present.now,
            };
            match self.db.book(request).await? {
                BookOutcome::Booked(row) | BookOutcome::Already(row) => {
                    self.give_back().await;
                    return self.booked(&present, &row, wanted.customer_name.as_deref());
                }
                BookOutcome::Taken => {}
            }
        }
        // Somebody else was quicker.
        let free = self.free(&present, target.service, target.staff.as_deref(), target.date).await?;
        let free: Vec<Slot> = free.unwrap_or_default();
        Err(self.not_free(&present, &target, &free).await?)
    }

    /// Frees the slots that were offered and not chosen.
    async fn give_back(&self) {
        if let Err(error) = self.db.release_holds(self.sid()).await {
            tracing::debug!(code = error.code(), "holds are left to lapse");
        }
    }

    fn was_offered(&self, slot: &Slot) -> bool {
        let state = self.state.borrow();
        state.offers.iter().any(|offered| offered.staff == slot.staff && offered.starts_at == slot.starts_at)
    }

    /// Finds out which time is meant, by the slot that was offered or else by what was said.
    async fn target(&self, wanted: &BookingArguments, present: &Present) -> Result<Target<'_>, Refused> {
        let service = self.service(&wanted.service)?;
        let staff = self.wanted_staff(wanted.staff.as_deref())?;
        let offered = wanted.slot_id.as_deref().and_then(|id| self.state.borrow().offers.get(id).cloned());
        if let Some(slot) = offered {
            return self.offered_target(wanted, present, service, staff, &slot);
        }
        // An identifier that was never given out is no harm: what was said is checked like any other wish.
        let day = resolve_date(&wanted.date, present.calendar)
            .map_err(|problem| date_problem(&problem, present))?;
        let hours = match hours_on(&self.profile, day.date) {
            Ok(hours) => hours,
            Err(why) => {
                return Err(self.no_times(present, service, staff.as_deref(), day.date, &why).await?);
            }
        };
        let minute = match resolve_time(&wanted.time, Some(hours)) {
            Ok(minute) => minute,
            Err(TimeProblem::NotUnderstood) => return Err(time_problem(None)),
            Err(TimeProblem::Ambiguous { am, pm } | TimeProblem::Closed { am, pm }) => {
                let offered = |minute: MinuteOfDay| {
                    let state = self.state.borrow();
                    state.offers.iter().any(|o| o.local.date() == day.date && minute_of(o) == minute)
                };
                match (offered(am), offered(pm)) {
                    (true, false) => am,
                    (false, true) => pm,
                    _ => return Err(time_problem(Some([am, pm]))),
                }
            }
        };
        let start = instant(&present.zone, day.date, minute).ok_or_else(Refused::calendar)?;
        Ok(Target { service, staff, date: day.date, minute, start })
    }

    fn offered_target<'a>(
        &self,
        wanted: &BookingArguments,
        present: &Present,
        service: &'a Service,
        staff: Option<String>,
        slot: &Slot,
    ) -> Result<Target<'a>, Refused> {
        let minute = minute_of(slot);
        let other_day =
            resolve_date(&wanted.date, present.calendar).is_ok_and(|day| day.date != slot.local.date());
        let other_time = parse_time(&wanted.time).is_some_and(|time| !time.readings().contains(&minute));
        let other_staff = staff.is_some_and(|staff| staff != slot.staff);
        if other_day || other_time || other_staff {
            let refused = Refused::new(
                "the slot_id belongs to another time",
                "Nothing was booked. Ask the caller which time is meant, then book with the slot_id, date and time that \
                 belong together, or without a slot_id.",
            );
            let date = day_json(slot.local.date(), present.calendar.today);
            return Err(refused.with("slot", join(date, self.slot_json(slot))));
        }
        let (date, start) = (slot.local.date(), slot.starts_at);
        Ok(Target { service, staff: Some(slot.staff.clone()), date, minute, start })
    }

    /// The appointment, if this call has booked this very thing already: asked twice, it is still one.
    async fn booked_before(&self, target: &Target<'_>) -> Result<Option<Appointment>, Refused> {
        let end = UnixMillis(target.start.0.saturating_add(1));
        let sid = self.sid();
        let mut there = self.db.appointments_between(target.start, end).await?;
        there.retain(|row| {
            row.status == AppointmentStatus::Confirmed
                && row.call.as_ref() == Some(&sid)
                && row.service == target.service.name
                && target.staff.as_deref().is_none_or(|staff| row.staff == staff)
        });
        Ok(there.into_iter().next())
    }

    /// Why the wanted time cannot be had, with the nearest that can.
    async fn not_free(
        &self,
        present: &Present,
        target: &Target<'_>,
        free: &[Slot],
    ) -> Result<Refused, Refused> {
        let Target { service, date, minute, .. } = *target;
        let why = refusal(&self.profile, &present.zone, service, date, minute, present.now);
        let (error, message) = refused_time(why, &self.profile);
        let refused = Refused::new(error, &format!("Nothing was booked. {message}"));
        self.give_back().await;
        if free.is_empty() {
            let next = self.next_free(present, service, target.staff.as_deref(), date).await?;
            return Ok(refused.with("slots", json!([])).with("next_free", next));
        }
        let wish = Some(Wish::At(SpokenTime::Exact(minute)));
        let offer = self.offer(present, service, date, free, wish).await?;
        Ok(Refused(join(refused.0, offer)))
    }

    /// Reads back the row as it was committed.
    fn booked(
        &self,
        present: &Present,
        row: &Appointment,
        name: Option<&str>,
    ) -> Result<ToolOutcome, Refused> {
        let at = local(row.starts_at, &present.zone).ok_or_else(Refused::calendar)?;
        let (date, time) = (at.date(), speak_time(at.time()));
        let spoken = speak_date(date, present.calendar.today);
        let (on_record, reachable) = {
            let state = self.state.borrow();
            let customer = state.customer.as_ref();
            let reachable =
                state.contact.is_some() || customer.is_some_and(|customer| customer.phone.is_some());
            (customer.and_then(|customer| customer.name.clone()), reachable)
        };
        let name = name.map(str::to_owned).or_else(|| on_record.clone());
        let price = self.profile.services.iter().find(|s| s.name == row.service).map(|s| s.price);
        let content = json!({
            "booked": true,
            "appointment_id": row.id,
            "service": row.service,
            "date": date.to_string(),
            "weekday": weekday_name(date.weekday()),
            "spoken_date": spoken,
            "time": time,
            "minutes": row.minutes,
            "price": price,
            "name": name,
            "phone_known": reachable,
            "message": "Booked. Read the day, time, service and person back to the caller.",
        });
        let with = if self.profile.staff.is_empty() { String::new() } else { format!(" with {}", row.staff) };
        // The record may be in another name: staff should see whom to expect.
        let whose = match (&name, &on_record) {
            (Some(name), Some(on_record)) if !name.eq_ignore_ascii_case(on_record) => format!(" for {name}"),
            _ => String::new(),
        };
        let fact =
            format!("Booked: {}{whose}{with} on {spoken} at {time} (appointment {})", row.service, row.id);
        let achieved =
            Outcome { appointment_booked: true, lead_captured: name.is_some(), ..Outcome::default() };
        Ok(ToolOutcome { content: join(content, self.staff_json(&row.staff)), achieved, fact: Some(fact) })
    }
}

fn minute_of(slot: &Slot) -> MinuteOfDay {
    let part = |part: i8| u16::from(part.unsigned_abs());
    MinuteOfDay(part(slot.local.hour()) * 60 + part(slot.local.minute()))
}
