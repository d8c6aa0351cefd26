//! The node's health: the document, the task that samples and sends it, and metrics.

pub mod metrics;
pub mod monitor;

pub use aimass_protocol::health as document;
pub use document::*;
