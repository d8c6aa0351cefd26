//! A configuration as TOML, as JSON, and as the body of a push.
#![no_main]

use std::path::Path;

use aimass_agent::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(read) = config::parse(text) {
            let tree = serde_json::to_value(&read).unwrap();
            assert_eq!(config::from_document(tree).unwrap(), read);
        }
    }
    if let Ok(tree) = aimass_signing::strict_json(bytes) {
        drop(config::from_document(tree.clone()));
        let local = serde_json::json!({ "node": { "site": "s", "id": "n" } });
        if let Ok(read) = config::effective(&local, &tree, Path::new("/etc/aimass")) {
            assert_eq!((read.node.site.as_str(), read.trust.key.len()), ("s", 0));
            assert!(read.camera.iter().all(|c| !c.source.trim().to_lowercase().starts_with("gst:")));
        }
    }
});
