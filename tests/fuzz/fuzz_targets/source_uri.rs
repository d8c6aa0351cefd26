//! A camera's address.
#![no_main]

use aimass_media::SourceUri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(uri) = text.parse::<SourceUri>() {
        // What is shown reads back: as the same, or, where a secret was hidden, as the same kind.
        let shown = uri.to_string();
        if let Ok(again) = shown.parse::<SourceUri>() {
            assert_eq!(again.kind(), uri.kind());
        }
    }
});
