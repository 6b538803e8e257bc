//! `frontdesk`: a telephone receptionist made of software.
//!
//! A caller is heard, understood, answered and booked. `ARCHITECTURE.md` shows the actor tree and the way of a call.

pub mod api;
pub mod app;
pub mod audio;
pub mod booking;
pub mod call;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod db;
pub mod dialogue;
pub mod domain;
pub mod jobs;
pub mod net;
pub mod observe;
pub mod provider;
pub mod registry;
pub mod session;
pub mod sim;
pub mod storage;
pub mod twilio;
