//! The words and laws of an AI Mass Edge node, without any I/O.
//!
//! Everything that the other crates say to each other is defined here: frames, findings, tracks, events and
//! the ports (traits) through which sources, analyzers and the outbox are reached. Data flows one way:
//! media → findings → events → outbox → broker.

pub mod analytics;
pub mod audio;
pub mod finding;
pub mod frame;
pub mod governor;
pub mod mask;
pub mod motion;
pub mod runtime;
pub mod source_health;
pub mod tracking;
pub mod traits;

pub use aimass_protocol::name as id;
pub use aimass_protocol::{event, geometry};
