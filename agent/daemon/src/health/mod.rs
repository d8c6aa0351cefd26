//! The node's health: the document, the task that samples and sends it, and metrics.

pub mod metrics;
pub mod monitor;

/// The name of the broker among the store's sinks.
pub const MQTT_SINK: &str = "mqtt";

pub use aimass_protocol::health as document;
pub use document::*;
