//! Authentication of commands: an envelope in, the command's body out.
//!
//! Blocking: a nonce is on the disk before its command is executed. Owner: the task `commands`, one command at a time.

use std::sync::{Mutex, PoisonError};

use aimass_core::runtime::clock::SharedClock;
use aimass_signing::{
    CommandStatement, Domain, Envelope, Life, NonceStore, Recipient, TrustConfig, TrustError,
};
use serde_json::Value;
use tokio::sync::watch;
use ulid::Ulid;

use super::CommandError;
use crate::identity::clock_ok;

fn rejected(error: TrustError) -> CommandError {
    CommandError::new(error.kind().as_str(), error.to_string())
}

/// Decides whether a command may be executed.
pub trait Authenticate: Send + Sync {
    /// The body of the command `name`. Called on a blocking thread, one command at a time.
    ///
    /// # Errors
    /// The command must not be executed.
    fn authenticate(&self, name: &str, envelope: &[u8]) -> Result<Value, CommandError>;
}

/// Authentication by signature, recipient, validity and nonce.
pub struct Authenticator {
    /// `[trust]` in force.
    pub trust: watch::Receiver<TrustConfig>,
    /// This node.
    pub recipient: Recipient,
    /// This run of the program.
    pub boot: Ulid,
    /// The program's clock.
    pub clock: SharedClock,
    /// Nonces that were used.
    pub nonces: Mutex<NonceStore>,
}

impl Authenticate for Authenticator {
    fn authenticate(&self, name: &str, envelope: &[u8]) -> Result<Value, CommandError> {
        let verified = Envelope::open(envelope, &self.trust.borrow(), Domain::Command).map_err(rejected)?;
        let statement = CommandStatement::read(&verified).map_err(rejected)?;
        statement.check(&self.recipient, name).map_err(rejected)?;
        let now = self.clock.wall();
        let validity = Life { boot: self.boot, now: clock_ok(now).then_some(now) };
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.admit(&statement, &verified.key, validity).map_err(rejected)?;
        Ok(statement.body)
    }
}

#[cfg(test)]
mod tests {
    use aimass_core::runtime::clock::SystemClock;
    use aimass_signing::{SecretKey, TrustedKey};

    use super::*;

    fn command(secret: &SecretKey, node: &str, nonce: &str) -> Vec<u8> {
        let statement = CommandStatement {
            domain: Domain::Command,
            site: "s".parse().unwrap(),
            node: node.parse().unwrap(),
            name: "resume".parse().unwrap(),
            nonce: nonce.to_owned(),
            not_after: SystemClock::shared().wall() + std::time::Duration::from_secs(60),
            boot: Some(Ulid::from_parts(7, 7)),
            body: serde_json::json!({}),
        };
        statement.sign(secret, "ops".parse().unwrap()).unwrap().to_json().into_bytes()
    }

    #[test]
    fn a_command_passes_once_if_a_trusted_key_signed_it_for_this_node() {
        let secret = SecretKey::generate().unwrap();
        let key = TrustedKey {
            id: "ops".parse().unwrap(),
            public_key: secret.public(),
            allow: vec![Domain::Command],
        };
        let trust = TrustConfig { key: vec![key], ..TrustConfig::default() };
        let (trust, in_force) = watch::channel(trust);
        let authenticator = Authenticator {
            trust: in_force,
            recipient: Recipient { site: "s".parse().unwrap(), node: "n".parse().unwrap() },
            boot: Ulid::from_parts(7, 7),
            clock: SystemClock::shared(),
            nonces: Mutex::new(NonceStore::in_memory()),
        };
        let kind = |name: &str, bytes: &[u8]| {
            authenticator.authenticate(name, bytes).map_err(|e| e.kind.into_owned())
        };

        let good = command(&secret, "n", "0123456789abcdef");
        assert_eq!(kind("drain", &good), Err("bad_payload".into()), "a name that was not signed");
        assert_eq!(kind("resume", &good), Ok(serde_json::json!({})));
        assert_eq!(kind("resume", &good), Err("replayed".into()));
        assert_eq!(kind("resume", &command(&secret, "m", "0123456789abcdeg")), Err("other_node".into()));
        let stranger = SecretKey::generate().unwrap();
        assert_eq!(kind("resume", &command(&stranger, "n", "0123456789abcdeh")), Err("bad_signature".into()));
        assert_eq!(kind("resume", b"{\"now\":true}"), Err("not_an_envelope".into()));
        trust.send_replace(TrustConfig::default());
        let late = command(&secret, "n", "0123456789abcdei");
        assert_eq!(
            kind("resume", &late),
            Err("no_keys".into()),
            "a key that was removed is not trusted any longer"
        );
    }
}
