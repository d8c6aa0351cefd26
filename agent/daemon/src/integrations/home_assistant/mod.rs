//! Home Assistant finds the node and all that it tells by itself: one retained document for MQTT device discovery.
//!
//! The document is a pure function of the configuration; `publish` keeps it at the broker and takes it back when it
//! is no longer wanted. Invariants: every state topic that it names is one that the node tells; ids never change
//! while site, node, camera, zone, line and label keep their names; without `controls` it names no topic that the
//! node listens to.

use aimass_core::id::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::identity::VERSION;

mod actions;
mod attach;
mod controls;
mod entities;
mod publish;

pub use actions::NodeActions;
pub use attach::{Deps, HomeAssistant};
pub use controls::{Control, control_of};
pub use publish::{Actions, Documents, Publisher};

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

/// What the broker keeps for Home Assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its whole topic.
    pub topic: String,
    /// JSON.
    pub payload: Vec<u8>,
}

/// The node's document; `None` if it is not wanted, or there is no broker that it could go to.
pub fn document(config: &Config) -> Option<Document> {
    let settings = &config.home_assistant;
    if !settings.enabled || config.broker.is_none() {
        return None;
    }
    let (site, node) = (&config.node.site, &config.node.id);
    let id = device_id(site, node);
    let root = root(config);
    let mut components = Map::new();
    for entity in entities::all(config) {
        let key = entity.key;
        let mut component = entity.fields;
        component.insert("unique_id".to_owned(), format!("{id}_{key}").into());
        components.insert(key, Value::Object(component));
    }
    let document = json!({
        "device": {
            "identifiers": [id],
            "name": entities::words(&[site.as_str(), node.as_str()]),
            "manufacturer": "AI Mass Edge",
            "model": "aimass-agent",
            "sw_version": VERSION,
        },
        "origin": { "name": "aimass-agent", "sw_version": VERSION },
        // A node that stops in order says `stopping`, and that word stays.
        "availability": [{
            "topic": format!("{root}status"),
            "value_template": "{{ 'online' if value_json.state == 'online' else 'offline' }}",
        }],
        "components": components,
    });
    let topic = format!("{}/device/{id}/config", settings.discovery_prefix);
    Some(Document { topic, payload: document.to_string().into_bytes() })
}

/// Topics outside of `command/` and `config/` that the node listens to for Home Assistant's sake: its birth, and the
/// controls. Empty if it is not wanted.
pub fn listens_to(config: &Config) -> Vec<String> {
    if document(config).is_none() {
        return Vec::new();
    }
    let mut topics = vec![birth_topic(config)];
    if config.home_assistant.controls {
        topics.extend(config.camera.iter().flat_map(|c| controls::topics(&root(config), &c.id)));
    }
    topics
}

/// Where Home Assistant says that it has begun to listen.
fn birth_topic(config: &Config) -> String {
    format!("{}/status", config.home_assistant.discovery_prefix)
}

/// The root of the node's topics, with the slash.
fn root(config: &Config) -> String {
    format!("aimass/v1/{}/{}/", config.node.site, config.node.id)
}

/// `aimass_<site>_<node>`. An underscore within a name is doubled, so that no two nodes share an id.
fn device_id(site: &Name, node: &Name) -> String {
    let level = |name: &Name| name.as_str().replace('_', "__");
    format!("aimass_{}_{}", level(site), level(node))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod schema_tests;
