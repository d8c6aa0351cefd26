//! Whose word counts: a command's envelope in, its body out.
//!
//! Blocking: a nonce is on the disk before its command is obeyed. Owner: the task `commands`, one command at a time.

use std::sync::{Arc, Mutex, PoisonError};

use aimass_core::runtime::clock::SharedClock;
use aimass_signing::{
    CommandStatement, Domain, Envelope, Life, NonceStore, Recipient, TrustConfig, TrustError,
};
use serde_json::Value;
use tokio::sync::watch;
use ulid::Ulid;

use super::{CommandError, Prove};
use crate::identity::clock_ok;

fn refused(error: TrustError) -> CommandError {
    CommandError::new(error.kind().as_str(), error.to_string())
}

/// The proof by signature, recipient, life time and nonce. `trust` is `[trust]` as it counts at each command.
pub fn prover(
    trust: watch::Receiver<TrustConfig>,
    here: Recipient,
    boot: Ulid,
    clock: SharedClock,
    book: NonceStore,
) -> Arc<Prove> {
    let book = Mutex::new(book);
    Arc::new(move |name: &str, envelope: &[u8]| -> Result<Value, CommandError> {
        let verified = Envelope::open(envelope, &trust.borrow(), Domain::Command).map_err(refused)?;
        let statement = CommandStatement::read(&verified).map_err(refused)?;
        statement.check(&here, name).map_err(refused)?;
        let now = clock.wall();
        let life = Life { boot, now: clock_ok(now).then_some(now) };
        let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
        book.admit(&statement, &verified.key, life).map_err(refused)?;
        Ok(statement.body)
    })
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
    fn only_a_trusted_key_s_command_for_this_node_passes_and_only_once() {
        let secret = SecretKey::generate().unwrap();
        let key = TrustedKey {
            id: "ops".parse().unwrap(),
            public_key: secret.public(),
            allow: vec![Domain::Command],
        };
        let trust = TrustConfig { key: vec![key], ..TrustConfig::default() };
        let here = Recipient { site: "s".parse().unwrap(), node: "n".parse().unwrap() };
        let boot = Ulid::from_parts(7, 7);
        let (trust, known) = watch::channel(trust);
        let prove = prover(known, here, boot, SystemClock::shared(), NonceStore::in_memory());
        let kind = |name: &str, bytes: &[u8]| prove(name, bytes).map_err(|e| e.kind.into_owned());

        let good = command(&secret, "n", "0123456789abcdef");
        assert_eq!(kind("drain", &good), Err("bad_payload".into()), "another name than was signed");
        assert_eq!(kind("resume", &good), Ok(serde_json::json!({})));
        assert_eq!(kind("resume", &good), Err("replayed".into()));
        assert_eq!(kind("resume", &command(&secret, "m", "0123456789abcdeg")), Err("other_node".into()));
        let stranger = SecretKey::generate().unwrap();
        assert_eq!(kind("resume", &command(&stranger, "n", "0123456789abcdeh")), Err("bad_signature".into()));
        assert_eq!(kind("resume", b"{\"now\":true}"), Err("not_an_envelope".into()));
        trust.send_replace(TrustConfig::default());
        let late = command(&secret, "n", "0123456789abcdei");
        assert_eq!(kind("resume", &late), Err("no_keys".into()), "a key that was taken out counts no more");
    }
}
