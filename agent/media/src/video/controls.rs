//! How the controls of a V4L2 camera are to be set, as a configuration has it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a control is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "give true, false or a whole number")]
pub enum ControlValue {
    /// A switch.
    Switch(bool),
    /// A number, or the number of a menu's entry.
    Number(i64),
}

/// The settings of a camera's controls, by name.
pub type Controls = BTreeMap<String, ControlValue>;
