//! The link against a real Mosquitto, through a network that fails on command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod delivery;
mod memory_outbox;
mod refusals;
mod rig;
mod states;
mod trust;
