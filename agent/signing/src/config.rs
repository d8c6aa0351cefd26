//! `[trust]` in the node's own file: whose word counts, for what. Never part of a push.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use aimass_core::id::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;

/// The most keys of one node.
const MAX_KEYS: usize = 16;

/// What a signature can be good for. It stands inside what is signed, so that none passes for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// A configuration.
    Config,
    /// A command.
    Command,
}

impl Domain {
    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Domain::Config => "config",
            Domain::Command => "command",
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose signed configurations and commands this node obeys. Stands in the node's own file only: no push changes
/// it. Without a key, all of them are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// The trusted keys, 16 at most.
    pub key: Vec<TrustedKey>,
    /// Seconds that a new configuration is watched before it counts as good, 5 to 3600. Workers that fail in it,
    /// cameras that deliver no longer, or a broker that is lost bring the former one back.
    #[schemars(range(min = 5, max = 3600))]
    pub probation_s: u32,
    /// Folders in which a pushed configuration may name password, key and certificate files. Default: the folder
    /// of the node's own configuration file.
    pub secret_folders: Vec<PathBuf>,
}

impl Default for TrustConfig {
    fn default() -> Self {
        TrustConfig { key: Vec::new(), probation_s: 60, secret_folders: Vec::new() }
    }
}

/// A key that counts here. `aimass-agent keygen` prints these lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// What envelopes call it.
    pub id: Name,
    /// Its public half: `ed25519:` and 32 bytes in base64.
    pub public_key: PublicKey,
    /// What it may sign: `config`, `command` or both.
    #[serde(default = "config_only")]
    pub allow: Vec<Domain>,
}

fn config_only() -> Vec<Domain> {
    vec![Domain::Config]
}

impl TrustConfig {
    /// The key of a name.
    pub fn find(&self, id: &Name) -> Option<&TrustedKey> {
        self.key.iter().find(|key| key.id == *id)
    }

    /// What is wrong with these settings: the field, and what to do.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        if self.key.len() > MAX_KEYS {
            wrong.push(("key".into(), format!("{} keys are too many: at most {MAX_KEYS}", self.key.len())));
        }
        let mut seen = HashSet::new();
        for (n, key) in self.key.iter().enumerate() {
            if !seen.insert(&key.id) {
                wrong.push((
                    format!("key[{n}].id"),
                    format!("\"{}\" is used twice: every id must be unique", key.id),
                ));
            }
            if key.allow.is_empty() {
                let message = "is empty, so the key may do nothing: allow something, or take the key out";
                wrong.push((format!("key[{n}].allow"), message.into()));
            }
        }
        if !(5..=3600).contains(&self.probation_s) {
            wrong.push(("probation_s".into(), format!("{} is not within 5..3600", self.probation_s)));
        }
        for (n, folder) in self.secret_folders.iter().enumerate().filter(|(_, f)| !f.is_absolute()) {
            let message = format!("{} is not an absolute path: begin it with /", folder.display());
            wrong.push((format!("secret_folders[{n}]"), message));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_signs_configurations_only_unless_it_says_more() {
        let text = format!("[[key]]\nid = \"ops\"\npublic_key = \"{KEY}\"\n");
        let trust: TrustConfig = toml::from_str(&text).unwrap();
        assert_eq!(trust.key[0].allow, [Domain::Config]);
        assert_eq!((trust.probation_s, trust.check()), (60, vec![]));
        assert!(trust.find(&"ops".parse().unwrap()).is_some());
        assert!(trust.find(&"oops".parse().unwrap()).is_none());
    }

    #[test]
    fn settings_that_cannot_be_are_told_all_at_once() {
        let text = format!(
            "probation_s = 1\nsecret_folders = [\"secrets\"]\n[[key]]\nid = \"a\"\npublic_key = \"{KEY}\"\n\
             [[key]]\nid = \"a\"\npublic_key = \"{KEY}\"\nallow = []\n"
        );
        let trust: TrustConfig = toml::from_str(&text).unwrap();
        let fields: Vec<String> = trust.check().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["key[1].id", "key[1].allow", "probation_s", "secret_folders[0]"]);
    }

    #[test]
    fn unknown_keys_and_texts_that_are_no_public_key_are_refused() {
        for text in [
            "probation = 3",
            "[[key]]\nid = \"a\"\npublic_key = \"ed25519:AAAA\"",
            "[[key]]\nid = \"a\"\npublic_key = \"rsa:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"",
        ] {
            assert!(toml::from_str::<TrustConfig>(text).is_err(), "{text}");
        }
    }
}
