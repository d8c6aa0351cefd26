//! Home Assistant finds the node and all that it tells by itself: one retained document for MQTT device discovery.
//!
//! The document is a pure function of the configuration; `publish` keeps it at the broker and takes it back when it
//! is no longer wanted. Invariants: every state topic that it names is one that the node tells; ids never change
//! while site, node, camera, zone, line and label keep their names; without `controls` it names no topic that the
//! node listens to.

use aimass_core::id::Name;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::home_assistant::{is_wanted, root};
use crate::identity::VERSION;

mod attach;
mod controls;
mod entities;
mod publish;

pub use attach::{Deps, HomeAssistant};
pub use controls::{Control, control_of};
pub use publish::{Documents, Publisher};

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
    if !is_wanted(config) {
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
    let topic = format!("{}/device/{id}/config", config.home_assistant.discovery_prefix);
    Some(Document { topic, payload: document.to_string().into_bytes() })
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
