//! The link against a real Mosquitto, through a network that fails on command.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod client;
mod delivery;
mod incoming;
mod memory_outbox;
mod order;
mod real_store;
mod rejecting_broker;
mod rejections;
mod renewal;
mod rig;
mod slow;
mod states;
mod trust;
mod ways;
