//! The words and laws of an AI Mass Edge node, without any I/O.
//!
//! Everything that the other crates say to each other is defined here: frames, findings, tracks, events and
//! the ports (traits) through which sources, analyzers and the outbox are reached. Data flows one way:
//! media → findings → events → outbox → broker.

pub mod backoff;
pub mod clock;
pub mod event;
pub mod files;
pub mod finding;
pub mod frame;
pub mod geometry;
pub mod governor;
pub mod id;
pub mod line;
pub mod mask;
pub mod motion;
pub mod permits;
pub mod ports;
pub mod scene;
pub mod sight;
pub mod slot;
pub mod sound;
pub mod stop;
pub mod tracker;
pub mod worker;
pub mod zone;
