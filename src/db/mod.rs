//! The only place with Diesel: schema, ordered writes, reads, bookings.
