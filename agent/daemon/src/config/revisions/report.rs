//! What `config/reported` says. Invariant: no secret stands in it; source addresses are shown as logs show them.

use aimass_protocol::config::CONFIG_REPORT_SCHEMA;
pub use aimass_protocol::config::ConfigReport as Report;
use aimass_signing::sha256_hex;

use super::ConfigManager;
use crate::config;

/// A configuration larger than this is told by its digest only.
const MAX_EFFECTIVE_BYTES: usize = 128 * 1024;

impl ConfigManager {
    /// What `config/reported` should say now.
    pub fn report(&self) -> Report {
        let running = self.running();
        let effective = config::redacted(&running.config);
        let text = serde_json::to_vec(&effective).unwrap_or_default();
        let answer = &self.state.answer;
        Report {
            schema: CONFIG_REPORT_SCHEMA,
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
