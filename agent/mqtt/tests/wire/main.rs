//! The link against a real Mosquitto, through a network that fails on command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod delivery;
mod incoming;
mod memory_outbox;
mod oneshot;
mod order;
mod real_store;
mod refusals;
mod refusing;
mod renewal;
mod rig;
mod slow;
mod states;
mod trust;
mod ways;
