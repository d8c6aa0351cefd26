//! A model's manifest.
#![no_main]

use aimass_inference::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    drop(Manifest::parse(text));
});
