//! The `config/reported` topic: what became of the configuration that was pushed last, and what runs.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::rfc3339_ms;

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The node's own file.
    Local,
    /// A signed push.
    Push,
}

/// What became of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    /// It is in force.
    Applied,
    /// It was rejected; the one before stays in force.
    Rejected,
    /// It ran and did not prove good; the one before runs again.
    RolledBack,
    /// It runs on trial.
    Probation,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigProblem {
    /// Where, as in `camera[0].fps`; empty for the document as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl ConfigProblem {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigProblem { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" | "." => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// The version of the report.
pub const CONFIG_REPORT_SCHEMA: u32 = 2;

/// The document of the `config/reported` topic. It holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigReport {
    /// Version of this document: [`CONFIG_REPORT_SCHEMA`].
    pub schema: u32,
    /// The version that was pushed last; 0 is the node's own file, null if it could not be known.
    pub desired_version: Option<u64>,
    /// The version that runs; 0 is the node's own file.
    pub running_version: u64,
    /// What became of the one that was pushed.
    pub state: ReportState,
    /// Why it is not in force, or what was lost at the start.
    pub errors: Vec<ConfigProblem>,
    /// The configuration that runs, without secrets; left out if it has more than 128 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Value>,
    /// Where what runs comes from.
    pub origin: Origin,
    /// SHA-256 of `effective`, as compact JSON.
    pub digest: String,
    /// The number of what runs in `config history`.
    pub revision: u64,
    /// Since when this is so.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
}
