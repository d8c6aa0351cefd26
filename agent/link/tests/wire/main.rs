//! The link against a real Mosquitto, through a network that fails on command.

mod delivery;
mod memory_outbox;
mod refusals;
mod rig;
mod states;
mod trust;
