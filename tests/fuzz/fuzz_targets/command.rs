//! A command below a good signature.
#![no_main]

use aimass_signing::{CommandStatement, Domain, Verified};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let verified = Verified { key: "ops".parse().unwrap(), domain: Domain::Command, payload: bytes.to_vec() };
    if let Ok(command) = CommandStatement::read(&verified) {
        // What was read is written and read again as the same.
        let again = Verified { payload: serde_json::to_vec(&command).unwrap(), ..verified };
        assert_eq!(CommandStatement::read(&again).unwrap(), command);
    }
});
