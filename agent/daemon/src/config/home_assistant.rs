//! `[home_assistant]`, and the topics that the node subscribes to because of it.

use aimass_core::id::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// The longest discovery prefix, in bytes.
const MAX_PREFIX_BYTES: usize = 100;

/// Home Assistant's MQTT discovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HomeAssistantConfig {
    /// Whether the node describes itself to Home Assistant over the broker. The broker must allow the node to
    /// write `<discovery_prefix>/device/…` and to read `<discovery_prefix>/status`. Zones are counted by label: name
    /// the `labels` of a zone, or of the analyzers in the camera's chain, so that there is an entity for each.
    pub enabled: bool,
    /// The discovery prefix as set in Home Assistant.
    pub discovery_prefix: String,
    /// Whether Home Assistant may switch a camera's analysis off and on and restart a camera. These messages bear no
    /// signature: everybody whom the broker lets write below this node's `control/` can do the same.
    pub controls: bool,
}

impl Default for HomeAssistantConfig {
    fn default() -> Self {
        HomeAssistantConfig { enabled: false, discovery_prefix: "homeassistant".to_owned(), controls: false }
    }
}

impl HomeAssistantConfig {
    /// What is wrong: the field, and what to do.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let prefix = self.discovery_prefix.as_str();
        let good = (1..=MAX_PREFIX_BYTES).contains(&prefix.len())
            && !prefix.contains(|c: char| c == '+' || c == '#' || c.is_control())
            && !prefix.starts_with(['/', '$'])
            && !prefix.ends_with('/')
            && prefix != "aimass"
            && !prefix.starts_with("aimass/");
        if good {
            return Vec::new();
        }
        let shown = prefix.escape_debug();
        vec![(
            "discovery_prefix",
            format!(
                "\"{shown}\" is no topic prefix: give 1 to {MAX_PREFIX_BYTES} bytes without +, # and control characters, not beginning with /, $ or aimass/, not ending with /"
            ),
        )]
    }
}

/// Whether the node describes itself to Home Assistant: enabled, and there is a broker to do so.
pub fn is_wanted(config: &Config) -> bool {
    config.home_assistant.enabled && config.broker.is_some()
}

/// Topics outside of `command/` and `config/` that the node listens to for Home Assistant's sake: its birth, and the
/// controls. Empty if it is not wanted.
pub fn subscriptions(config: &Config) -> Vec<String> {
    if !is_wanted(config) {
        return Vec::new();
    }
    let mut topics = vec![birth_topic(config)];
    if config.home_assistant.controls {
        topics.extend(config.camera.iter().flat_map(|c| control_topics(&root(config), &c.id)));
    }
    topics
}

/// Where Home Assistant says that it has begun to listen.
pub fn birth_topic(config: &Config) -> String {
    format!("{}/status", config.home_assistant.discovery_prefix)
}

/// The root of the node's topics, with the slash.
pub fn root(config: &Config) -> String {
    format!("aimass/v1/{}/{}/", config.node.site, config.node.id)
}

/// The topics of a source: analysis, restart. `root` ends with a slash.
pub fn control_topics(root: &str, source: &Name) -> [String; 2] {
    [format!("{root}control/{source}/analysis"), format!("{root}control/{source}/restart")]
}
