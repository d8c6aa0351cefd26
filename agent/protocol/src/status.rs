//! The `status` topic: whether a node is there. Retained; the last will is one of these documents.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::event::rfc3339_ms;

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// All retained states are sent; events follow.
    Online,
    /// The node is being stopped. The last document of a node that was stopped in good order.
    Stopping,
    /// The last will: the connection was lost.
    Offline,
}

/// The version of the status document.
pub const STATUS_SCHEMA: u32 = 2;

/// The document of the `status` topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of this document: [`STATUS_SCHEMA`].
    pub schema: u32,
    /// Whether the node is there.
    pub state: Presence,
    /// This run of the program.
    #[schemars(with = "String")]
    pub boot: Ulid,
    /// The program's version.
    pub version: String,
    /// The version of the configuration in force; 0 for the local file.
    pub config_version: u64,
    /// Since when. In a last will: the time of the connect that it belongs to. The node was lost after it.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub since: Timestamp,
}
