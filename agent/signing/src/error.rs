//! Why a signed message is not obeyed, by name. Invariant: no message repeats secrets or more than a few words of
//! what came from outside.

use std::path::PathBuf;

use aimass_core::id::Name;
use jiff::Timestamp;

use crate::config::Domain;

/// What kind of thing is wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustErrorKind {
    /// Not an envelope at all.
    NotAnEnvelope,
    /// Larger than anything that is accepted.
    TooLarge,
    /// This node trusts no key.
    NoKeys,
    /// Signed by a key that is not trusted here.
    UnknownKey,
    /// Signed by a key that is trusted for other things.
    NotAllowed,
    /// Payload or signature is not base64.
    NotBase64,
    /// The signature is not one of this key over these bytes.
    BadSignature,
    /// The payload is not the JSON that it should be.
    BadPayload,
    /// The payload is nested too deeply.
    TooDeep,
    /// The statement is of another kind.
    WrongDomain,
    /// The statement is for another node.
    OtherNode,
    /// The statement was valid until some time ago.
    Expired,
    /// The statement is valid for too long to remember it.
    TooLong,
    /// The version is not above the highest accepted.
    OldVersion,
    /// The command was accepted before.
    Replayed,
    /// The command is for another life of this node, or names none though it must.
    OtherBoot,
    /// The command cannot be remembered, so it is not obeyed.
    NotRemembered,
    /// A key or its file cannot be used.
    Key,
}

impl TrustErrorKind {
    /// As in documents: `unknown_key`.
    pub fn as_str(self) -> &'static str {
        match self {
            TrustErrorKind::NotAnEnvelope => "not_an_envelope",
            TrustErrorKind::TooLarge => "too_large",
            TrustErrorKind::NoKeys => "no_keys",
            TrustErrorKind::UnknownKey => "unknown_key",
            TrustErrorKind::NotAllowed => "key_not_allowed",
            TrustErrorKind::NotBase64 => "not_base64",
            TrustErrorKind::BadSignature => "bad_signature",
            TrustErrorKind::BadPayload => "bad_payload",
            TrustErrorKind::TooDeep => "too_deep",
            TrustErrorKind::WrongDomain => "wrong_domain",
            TrustErrorKind::OtherNode => "other_node",
            TrustErrorKind::Expired => "expired",
            TrustErrorKind::TooLong => "valid_too_long",
            TrustErrorKind::OldVersion => "old_version",
            TrustErrorKind::Replayed => "replayed",
            TrustErrorKind::OtherBoot => "other_boot",
            TrustErrorKind::NotRemembered => "not_remembered",
            TrustErrorKind::Key => "key",
        }
    }
}

/// Why a signed message is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not an envelope.
    #[error("not a signed envelope ({0}): make one with aimass-agent sign")]
    NotAnEnvelope(String),
    /// Too large.
    #[error("the {what} has {bytes} bytes: at most {most} are accepted")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// Nobody is trusted.
    #[error("no key is trusted here: add [[trust.key]] to the node's own configuration file")]
    NoKeys,
    /// A stranger.
    #[error(
        "signed by \"{0}\", which is not trusted here: add that key to the node's own file, or sign with one of its keys"
    )]
    UnknownKey(Name),
    /// Known, for other things.
    #[error("the key \"{key}\" may not sign a {domain}: its allow list in the node's own file leaves it out")]
    NotAllowed {
        /// Whose signature.
        key: Name,
        /// For what.
        domain: Domain,
    },
    /// Not base64.
    #[error("the {0} is not base64 (standard alphabet, with padding)")]
    NotBase64(&'static str),
    /// Forged, damaged, or signed with another key of the same name.
    #[error(
        "the signature is not one of \"{0}\" over this payload: was it changed on the way, or signed with another key of that name?"
    )]
    BadSignature(Name),
    /// JSON that it should not be.
    #[error("the payload is not as it should be: {0}")]
    BadPayload(String),
    /// A tower of brackets.
    #[error("nested more than {0} levels deep")]
    TooDeep(usize),
    /// A configuration where a command should be, or the reverse.
    #[error("a signed {found}, where a {wanted} is expected")]
    WrongDomain {
        /// What it says that it is.
        found: String,
        /// What it should be.
        wanted: Domain,
    },
    /// For another node.
    #[error("meant for {meant}, but this node is {here}")]
    OtherNode {
        /// `site/node` of the statement.
        meant: String,
        /// `site/node` here.
        here: String,
    },
    /// Too late.
    #[error("was valid until {not_after}, now it is {now}: sign it anew")]
    Expired {
        /// Its end.
        not_after: Timestamp,
        /// This board's time.
        now: Timestamp,
    },
    /// A command that never ends.
    #[error(
        "the command is valid until {not_after}, more than {most_s} s from now ({now}): give it a shorter life, or set this board's clock"
    )]
    TooLong {
        /// Its end.
        not_after: Timestamp,
        /// This board's time.
        now: Timestamp,
        /// The longest life, in seconds.
        most_s: i64,
    },
    /// Not newer.
    #[error("version {version} is not above {highest}, the highest that was ever accepted: sign it with --version {} or more", .highest.saturating_add(1))]
    OldVersion {
        /// The statement's.
        version: u64,
        /// The node's.
        highest: u64,
    },
    /// A second time.
    #[error("this command was accepted before: each needs a nonce of its own")]
    Replayed,
    /// For another life.
    #[error("{0}")]
    OtherBoot(String),
    /// No place to remember it.
    #[error("the command is not obeyed because it cannot be remembered: {0}")]
    NotRemembered(String),
    /// A key that is none.
    #[error("{0}")]
    BadKey(String),
    /// A key file that cannot be used.
    #[error("key file {path}: {problem}", path = .path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl TrustError {
    /// For programs.
    pub fn kind(&self) -> TrustErrorKind {
        match self {
            TrustError::NotAnEnvelope(_) => TrustErrorKind::NotAnEnvelope,
            TrustError::TooLarge { .. } => TrustErrorKind::TooLarge,
            TrustError::NoKeys => TrustErrorKind::NoKeys,
            TrustError::UnknownKey(_) => TrustErrorKind::UnknownKey,
            TrustError::NotAllowed { .. } => TrustErrorKind::NotAllowed,
            TrustError::NotBase64(_) => TrustErrorKind::NotBase64,
            TrustError::BadSignature(_) => TrustErrorKind::BadSignature,
            TrustError::BadPayload(_) => TrustErrorKind::BadPayload,
            TrustError::TooDeep(_) => TrustErrorKind::TooDeep,
            TrustError::WrongDomain { .. } => TrustErrorKind::WrongDomain,
            TrustError::OtherNode { .. } => TrustErrorKind::OtherNode,
            TrustError::Expired { .. } => TrustErrorKind::Expired,
            TrustError::TooLong { .. } => TrustErrorKind::TooLong,
            TrustError::OldVersion { .. } => TrustErrorKind::OldVersion,
            TrustError::Replayed => TrustErrorKind::Replayed,
            TrustError::OtherBoot(_) => TrustErrorKind::OtherBoot,
            TrustError::NotRemembered(_) => TrustErrorKind::NotRemembered,
            TrustError::BadKey(_) | TrustError::KeyFile { .. } => TrustErrorKind::Key,
        }
    }
}
