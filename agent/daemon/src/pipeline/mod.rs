//! The data path: sources → analyzers → processor → store.

pub mod camera;
pub mod chain;
pub mod microphone;
pub mod persist;
pub mod processor;
pub mod source_health;
pub(crate) mod source_state;
pub mod sources;
pub mod stale_states;
pub mod throttle;
pub mod views;
