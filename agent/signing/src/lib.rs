//! Who may tell a node what to do: keys, signed envelopes, and what a signature is good for.
//!
//! A **statement** (a configuration, a command) is written as JSON, signed as those very bytes, and travels in an
//! **envelope** `{"key","payload","signature"}`. The node looks at it in this order, and the first thing that is
//! wrong ends it, by name ([`TrustErrorKind`]): size → envelope → key known here → key allowed for this kind of
//! statement → signature over the exact bytes → JSON (strict: no key twice, no unknown field, no deep nesting,
//! nothing behind it) → meant for this node → still valid → not said before.
//!
//! Invariant: no byte of a payload is parsed before its signature was found good.
//!
//! **Time.** Boards have no battery for their clock. A configuration is ordered by its `version` alone; `not_after`
//! is optional there and judged only by a clock that is known to be right. A command always carries a `nonce`,
//! which is accepted once ([`NonceStore`]), and `not_after`, so that a nonce need not be remembered for ever. A
//! board whose clock is not set takes only commands that name its present `boot`, which no later life accepts.
//!
//! Pure but for [`SecretKey`]'s file and the book's file; no thread of its own. The hub uses the same code.

#![forbid(unsafe_code)]

mod config;
mod envelope;
mod error;
mod key;
mod nonce;
mod statement;
mod strict_json;

pub use config::{Domain, TrustConfig, TrustedKey};
pub use envelope::{Envelope, MAX_ENVELOPE_BYTES, Verified};
pub use error::{TrustError, TrustErrorKind};
pub use key::{PublicKey, SecretKey};
pub use nonce::{Life, NonceStore};
pub use statement::{
    CommandStatement, ConfigStatement, MAX_BODY_BYTES, MAX_COMMAND_LIFE_S, MAX_PAYLOAD_BYTES, Recipient,
};
pub use strict_json::{MAX_DEPTH, strict_json};

/// SHA-256 in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
