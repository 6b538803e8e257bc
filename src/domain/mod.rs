//! The words of the business: identifiers, telephone numbers, calls, turns, appointments, the profile.
//!
//! Plain data with its own rules. Nothing here knows an actor, a clock, a socket or a database; every other
//! module may import this one, and this one imports none of them.

pub mod appointment;
pub mod audit;
pub mod call;
pub mod card;
pub mod ids;
pub mod insight;
pub mod job;
pub mod lag;
pub mod mask;
pub mod phone;
pub mod profile;
pub mod recording;
pub mod staff;
pub mod time;
pub mod turn;
pub mod usage;
