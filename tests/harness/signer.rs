//! The hub's key for tests: the trust configuration of a node, and statements signed with the key.

use std::time::Duration;

use aimass_core::id::Name;
use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_signing::{CommandStatement, ConfigStatement, Domain, SecretKey};
use serde_json::Value;

use crate::ports::free_port;

/// A holder of a signing key.
#[derive(Debug)]
pub struct Signer {
    id: Name,
    secret: SecretKey,
}

#[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
impl Signer {
    /// A new key of this name.
    ///
    /// # Panics
    /// The system has no randomness to give.
    pub fn new(id: &str) -> Signer {
        Signer { id: id.parse().unwrap(), secret: SecretKey::generate().unwrap() }
    }

    /// The lines of `[trust]` that make a node trust it, for configurations and commands, with the shortest
    /// probation.
    pub fn trusted(&self) -> String {
        format!(
            "[trust]\nprobation_s = 5\n[[trust.key]]\nid = \"{}\"\npublic_key = \"{}\"\nallow = [\"config\", \"command\"]\n",
            self.id,
            self.secret.public()
        )
    }

    /// A configuration for `test/board`, as an envelope.
    ///
    /// # Panics
    /// The body is no TOML, or too large to be signed.
    pub fn config(&self, version: u64, body: &str) -> Vec<u8> {
        self.config_for("board", version, toml::from_str(body).unwrap())
    }

    /// A configuration for any node of the site `test`.
    ///
    /// # Panics
    /// The body is too large to be signed.
    pub fn config_for(&self, node: &str, version: u64, body: Value) -> Vec<u8> {
        let statement = ConfigStatement {
            domain: Domain::Config,
            site: "test".parse().unwrap(),
            node: node.parse().unwrap(),
            version,
            not_after: None,
            body,
        };
        statement.sign(&self.secret, self.id.clone()).unwrap().to_json().into_bytes()
    }

    /// A command for `test/board` that is good for a minute, as an envelope.
    ///
    /// # Panics
    /// It cannot be signed.
    pub fn command(&self, name: &str, body: Value) -> Vec<u8> {
        let now = SystemClock::new().wall();
        let statement = CommandStatement {
            domain: Domain::Command,
            site: "test".parse().unwrap(),
            node: "board".parse().unwrap(),
            name: name.parse().unwrap(),
            nonce: format!("nonce-{:0>20}-{}", free_port(), now.as_nanosecond()),
            not_after: now + Duration::from_secs(60),
            boot: None,
            body,
        };
        statement.sign(&self.secret, self.id.clone()).unwrap().to_json().into_bytes()
    }
}
