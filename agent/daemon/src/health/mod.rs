//! The node's health: the document, the task that samples and sends it, and metrics.

pub mod document;
pub mod metrics;
pub mod monitor;

pub use document::*;
