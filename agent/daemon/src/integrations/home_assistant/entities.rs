//! The entities of a node: each what Home Assistant calls a component.
//!
//! Pure. Where a count has no topic before the first thing of its label was seen, the entity is `unknown` until then.

use std::collections::BTreeSet;

use aimass_core::analytics::topic_level;
use aimass_inference::tasks::{AnalyzerConfig, FACE};
use serde_json::{Map, Value, json};

use super::controls;
use crate::config::{CameraConfig, Config, MicrophoneConfig};

/// All values of a camera's `state/<source>/health`.
pub(super) const CAMERA_HEALTH: [&str; 9] =
    ["ok", "stalled", "failed", "ended", "frozen", "black", "covered", "moved", "out_of_focus"];
/// The same of a microphone.
pub(super) const MICROPHONE_HEALTH: [&str; 6] = ["ok", "stalled", "failed", "ended", "dead", "silent"];
/// The health comes once a minute: after three that are missing, nobody knows.
const HEALTH_EXPIRES_S: u32 = 200;

/// One entity.
pub(super) struct Entity {
    /// Its key within the document, and the end of its unique id.
    pub(super) key: String,
    /// All but the unique id.
    pub(super) fields: Map<String, Value>,
}

/// Collects entities below one root.
struct Entities<'a> {
    root: &'a str,
    list: Vec<Entity>,
}

impl Entities<'_> {
    /// `topic` is below the root; `more` are the fields that only this entity has.
    fn add(&mut self, platform: &str, key: &[&str], name: &[&str], topic: &str, more: Value) {
        let mut fields = Map::new();
        fields.insert("platform".to_owned(), platform.into());
        fields.insert("name".to_owned(), words(name).into());
        if !topic.is_empty() {
            fields.insert("state_topic".to_owned(), format!("{}{topic}", self.root).into());
        }
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        // Names hold `-` and `_`, so only another character can keep the parts of a key apart.
        let key: Vec<String> = key.iter().map(|part| part.replace('_', "__")).collect();
        self.list.push(Entity { key: key.join("_"), fields });
    }
}

/// The entities of the whole node.
pub(super) fn all(config: &Config) -> Vec<Entity> {
    let root = crate::config::home_assistant::root(config);
    let mut entities = Entities { root: &root, list: Vec::new() };
    for camera in &config.camera {
        of_camera(&mut entities, config, camera);
        if config.home_assistant.controls {
            controls_of(&mut entities, camera);
        }
    }
    for microphone in &config.microphone {
        of_microphone(&mut entities, microphone);
    }
    of_node(&mut entities);
    entities.list
}

fn of_camera(entities: &mut Entities<'_>, config: &Config, camera: &CameraConfig) {
    let id = camera.id.as_str();
    let topic = |name: &str| format!("state/{id}/{name}");
    entities.add(
        "binary_sensor",
        &[id, "motion"],
        &[id, "motion"],
        &topic("motion"),
        json!({"device_class": "motion", "payload_on": "true", "payload_off": "false"}),
    );
    health(entities, id, &CAMERA_HEALTH, "mdi:eye");
    for zone in &camera.zone {
        let zone_id = zone.id.as_str();
        for label in labels(config, camera, &zone.labels) {
            let level = topic_level(&label);
            let topic = topic(&format!("count/{zone_id}/{level}"));
            entities.add(
                "sensor",
                &[id, "count", zone_id, &level],
                &[id, zone_id, &label, "count"],
                &topic,
                json!({"state_class": "measurement", "icon": "mdi:counter"}),
            );
            entities.add(
                "binary_sensor",
                &[id, "occupancy", zone_id, &level],
                &[id, zone_id, &label],
                &topic,
                json!({
                    "device_class": "occupancy",
                    "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
                }),
            );
        }
    }
    for line in &camera.line {
        let line_id = line.id.as_str();
        for (way, icon) in [("in", "mdi:location-enter"), ("out", "mdi:location-exit")] {
            entities.add(
                "sensor",
                &[id, "line", line_id, way],
                &[id, line_id, way],
                &topic(&format!("line/{line_id}/{way}")),
                json!({"state_class": "total_increasing", "icon": icon}),
            );
        }
    }
}

/// The keys are `sight` since the first release: other keys would be new entities without their history.
fn health(entities: &mut Entities<'_>, id: &str, options: &[&str], icon: &str) {
    let topic = format!("state/{id}/health");
    entities.add(
        "binary_sensor",
        &[id, "sight", "problem"],
        &[id, "health problem"],
        &topic,
        json!({
            "device_class": "problem",
            "entity_category": "diagnostic",
            "value_template": "{{ 'OFF' if value_json == 'ok' else 'ON' }}",
        }),
    );
    entities.add(
        "sensor",
        &[id, "sight"],
        &[id, "health"],
        &topic,
        json!({
            "device_class": "enum",
            "options": options,
            "entity_category": "diagnostic",
            "value_template": "{{ value_json }}",
            "icon": icon,
        }),
    );
}

/// Levels are relative to full scale, so the unit is the plain decibel: Home Assistant's class of sound pressure takes
/// `dB` as a unit, and what is not known renders as `None`, which it understands.
fn of_microphone(entities: &mut Entities<'_>, microphone: &MicrophoneConfig) {
    let id = microphone.id.as_str();
    for (which, name) in [("rms", "level"), ("peak", "peak level")] {
        entities.add(
            "sensor",
            &[id, "level", which],
            &[id, name],
            &format!("state/{id}/level"),
            json!({
                "device_class": "sound_pressure",
                "unit_of_measurement": "dB",
                "state_class": "measurement",
                "suggested_display_precision": 1,
                "value_template": format!("{{{{ value_json.{which}_dbfs }}}}"),
                "expire_after": (microphone.level.repeat_after_s.max(microphone.level.every_s) * 3.0).ceil() as u32 + 20,
            }),
        );
    }
    health(entities, id, &MICROPHONE_HEALTH, "mdi:microphone");
}

fn controls_of(entities: &mut Entities<'_>, camera: &CameraConfig) {
    let id = camera.id.as_str();
    let [analysis, restart] = crate::config::home_assistant::control_topics(entities.root, &camera.id);
    entities.add(
        "switch",
        &[id, "analysis"],
        &[id, "analysis"],
        &controls::analysis_state(&camera.id),
        json!({
            "command_topic": analysis,
            "state_on": "true",
            "state_off": "false",
            "entity_category": "config",
            "icon": "mdi:motion-sensor",
        }),
    );
    entities.add(
        "button",
        &[id, "restart"],
        &["restart", id],
        "",
        json!({"command_topic": restart, "device_class": "restart", "entity_category": "config"}),
    );
}

fn of_node(entities: &mut Entities<'_>) {
    let health = format!("{}health", entities.root);
    let mut diagnostic = |platform: &str, key: &str, name: &str, topic: &str, mut more: Value| {
        more["entity_category"] = "diagnostic".into();
        if topic == "health" {
            more["expire_after"] = HEALTH_EXPIRES_S.into();
        }
        // A camera may be called as one of these; none can be called "node".
        entities.add(platform, &["node", key], &[name], topic, more);
    };
    diagnostic(
        "binary_sensor",
        "problem",
        "problem",
        "health",
        json!({
            "device_class": "problem",
            "value_template": "{{ 'OFF' if value_json.healthy else 'ON' }}",
            "json_attributes_topic": health,
            "json_attributes_template": "{{ {'problems': value_json.problems} | tojson }}",
        }),
    );
    diagnostic(
        "binary_sensor",
        "degraded",
        "held back",
        "health",
        json!({
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.governor.state == 'degraded' else 'OFF' }}",
            "json_attributes_topic": health,
            "json_attributes_template":
                "{{ {'reason': value_json.governor.reason, 'cameras': value_json.governor.cameras} | tojson }}",
        }),
    );
    diagnostic(
        "sensor",
        "version",
        "version",
        "status",
        json!({"value_template": "{{ value_json.version }}", "icon": "mdi:tag"}),
    );
    diagnostic(
        "sensor",
        "config-version",
        "configuration version",
        "status",
        json!({"value_template": "{{ value_json.config_version }}", "icon": "mdi:file-cog"}),
    );
    diagnostic(
        "sensor",
        "uptime",
        "uptime",
        "health",
        json!({
            "device_class": "duration",
            "unit_of_measurement": "s",
            "state_class": "measurement",
            "value_template": "{{ value_json.uptime_s | round(0) | int }}",
        }),
    );
    diagnostic(
        "sensor",
        "outbox",
        "events that wait",
        "health",
        json!({
            "state_class": "measurement",
            "value_template": "{{ value_json.outbox.depth }}",
            "icon": "mdi:tray-full",
        }),
    );
    diagnostic(
        "sensor",
        "temperature",
        "temperature",
        "health",
        json!({
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
            "value_template":
                "{{ (value_json.temperatures_c.values() | max | round(1)) if value_json.temperatures_c else None }}",
        }),
    );
}

/// The labels that may be counted in a zone, as far as the configuration tells: its own, else those that the chain's
/// analyzers name. An analyzer that names none finds whatever its model knows; then there is nothing to name here.
fn labels(config: &Config, camera: &CameraConfig, own: &[String]) -> BTreeSet<String> {
    if !own.is_empty() {
        return own.iter().cloned().collect();
    }
    let analyzers = camera
        .chain
        .iter()
        .filter_map(|name| config.analyzer.get(name).cloned().or_else(|| AnalyzerConfig::named(name)));
    analyzers
        .flat_map(|analyzer| match analyzer {
            AnalyzerConfig::Detect(detect) => detect.labels,
            AnalyzerConfig::Faces(_) => vec![FACE.to_owned()],
        })
        .collect()
}

/// Names as people write them: `["front-door", "motion"]` becomes `Front door motion`.
pub(super) fn words(names: &[&str]) -> String {
    let text = names.join(" ").replace(['-', '_'], " ");
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
