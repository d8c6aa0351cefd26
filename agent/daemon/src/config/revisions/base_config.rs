//! The node's own file, as the keeper sees it: whole, broken, or broken but with a `[trust]` that can be read.

use std::path::{Path, PathBuf};

use aimass_signing::{TrustConfig, sha256_hex};
use aimass_store::StoreConfig;
use serde_json::Value;

use crate::config::{self, Config, ConfigErrors};

/// What was found.
pub(super) struct Local {
    /// Of its bytes; empty if it cannot be read.
    pub(super) digest: String,
    /// `[trust]`, wherever that part by itself is right.
    pub(super) trust: Option<TrustConfig>,
    /// Its tree and what it says, or everything that is wrong with it.
    pub(super) outcome: Result<(Value, Box<Config>), ConfigErrors>,
}

impl Local {
    pub(super) fn read(path: &Path) -> Local {
        let text = match config::read(path) {
            Ok(text) => text,
            Err(errors) => return Local { digest: String::new(), trust: None, outcome: Err(errors) },
        };
        let digest = sha256_hex(text.as_bytes());
        let tree = match config::tree(&text) {
            Ok(tree) => tree,
            Err(errors) => return Local { digest, trust: None, outcome: Err(errors) },
        };
        let trust = match tree.get("trust") {
            None => Some(TrustConfig::default()),
            Some(section) => serde_json::from_value::<TrustConfig>(section.clone()).ok(),
        };
        let trust = trust.filter(|t| t.check().is_empty());
        let outcome = config::from_document(tree.clone()).map(|config| (tree, Box::new(config)));
        Local { digest, trust, outcome }
    }
}

/// Where the store of the node with this file lies, as far as even a broken file still says it.
pub fn store_path(local: &Path) -> PathBuf {
    let text = config::read(local).unwrap_or_default();
    let (table, _errors) = toml::de::DeTable::parse_recoverable(&text);
    let store = table.get_ref().get("store").and_then(|section| section.get_ref().get("path"));
    let told = store.and_then(|path| path.get_ref().as_str());
    told.map_or_else(|| StoreConfig::default().path, PathBuf::from)
}

/// The keeper's folder of the node with this file: `config/` beside the store.
pub fn folder(local: &Path) -> PathBuf {
    let store = store_path(local);
    store.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).join("config")
}
