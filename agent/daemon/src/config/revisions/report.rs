//! What `config/reported` says. Invariant: no secret stands in it; source addresses are shown as logs show them.

use aimass_media::SourceUri;
use aimass_signing::sha256_hex;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::ConfigManager;
use super::state::{Origin, ReportState};
use crate::config::{Config, Problem};

/// A configuration larger than this is told by its digest only.
const MAX_EFFECTIVE_BYTES: usize = 128 * 1024;

/// The answer to what was offered last, and what runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The version that was offered last; 0 is the node's own file, `None` if it could not be known.
    pub desired_version: Option<u64>,
    /// The version that runs; 0 is the node's own file.
    pub running_version: u64,
    /// What became of what was offered.
    pub state: ReportState,
    /// Why it is not in force; or what was lost at start.
    pub errors: Vec<Problem>,
    /// The configuration that runs, without secrets; left out if it is large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Value>,
    /// Where what runs came from.
    pub origin: Origin,
    /// SHA-256 of `effective`, as compact JSON.
    pub digest: String,
    /// The number of what runs in `config history`.
    pub revision: u64,
    /// When this became so.
    #[serde(with = "aimass_core::event::rfc3339_ms")]
    pub time: Timestamp,
}

impl ConfigManager {
    /// What `config/reported` should say now.
    pub fn report(&self) -> Report {
        let running = self.running();
        let effective = shown(&running.config);
        let text = serde_json::to_vec(&effective).unwrap_or_default();
        let answer = &self.state.answer;
        Report {
            desired_version: answer.desired_version,
            running_version: running.version,
            state: answer.state,
            errors: answer.errors.clone(),
            effective: (text.len() <= MAX_EFFECTIVE_BYTES).then_some(effective),
            origin: running.origin,
            digest: sha256_hex(&text),
            revision: running.revision,
            time: answer.time,
        }
    }
}

/// A configuration as it may be shown: a source address can hold a token, everything else names files at most.
pub(super) fn shown(config: &Config) -> Value {
    // By way of text: a value would show 0.3, which is kept as f32, as 0.30000001192092896.
    let text = serde_json::to_string(config).unwrap_or_default();
    let mut tree: Value = serde_json::from_str(&text).unwrap_or_default();
    for camera in tree.get_mut("camera").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(source) = camera.get_mut("source")
            && let Some(uri) = source.as_str().and_then(|text| text.parse::<SourceUri>().ok())
        {
            *source = Value::from(uri.to_string());
        }
    }
    tree
}
