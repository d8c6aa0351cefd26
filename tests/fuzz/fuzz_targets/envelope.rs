//! An envelope from anybody, and a payload below a good signature.
#![no_main]

use aimass_signing::{ConfigStatement, Domain, Envelope, TrustConfig, Verified};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let trust: TrustConfig = serde_json::from_value(serde_json::json!({ "key": [{
        "id": "ops", "public_key": "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    }] }))
    .unwrap();
    assert!(Envelope::open(bytes, &trust, Domain::Config).is_err(), "nobody signed this");
    let verified = Verified { key: "ops".parse().unwrap(), domain: Domain::Config, payload: bytes.to_vec() };
    drop(ConfigStatement::read(&verified));
});
