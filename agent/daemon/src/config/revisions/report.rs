//! What `config/reported` says. Invariant: no secret stands in it; source addresses are shown as logs show them.

use aimass_media::SourceUri;
pub use aimass_protocol::config::ConfigReport as Report;
use aimass_signing::sha256_hex;
use serde_json::Value;

use super::ConfigManager;
use crate::config::Config;

/// A configuration larger than this is told by its digest only.
const MAX_EFFECTIVE_BYTES: usize = 128 * 1024;

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
