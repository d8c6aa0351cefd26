//! What can be signed: a configuration or a command, for one node. Read only from a [`Verified`] payload.

use aimass_core::id::Name;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use crate::config::Domain;
use crate::envelope::{Envelope, Verified};
use crate::error::TrustError;
use crate::key::SecretKey;
use crate::strict_json::strict_json;

/// The largest body, as compact JSON.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// The largest payload: a body, what is around it, and blanks.
pub const MAX_PAYLOAD_BYTES: usize = MAX_BODY_BYTES + 32 * 1024;
/// The longest life of a command, in seconds: so long its nonce is remembered.
pub const MAX_COMMAND_LIFE_S: i64 = 24 * 3600;
/// The shortest and the longest nonce, in characters.
const NONCE_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// Who a statement is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
}

impl Recipient {
    fn check(&self, site: &Name, node: &Name) -> Result<(), TrustError> {
        if (site, node) == (&self.site, &self.node) {
            return Ok(());
        }
        let (meant, here) = (format!("{site}/{node}"), format!("{}/{}", self.site, self.node));
        Err(TrustError::OtherNode { meant, here })
    }
}

/// A configuration for one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigStatement {
    /// `config`.
    pub domain: Domain,
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// Counts up from 1; only a higher one than ever before is accepted.
    pub version: u64,
    /// Not to be accepted after this time, by a board whose clock is right.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// The configuration, without what a push may not change.
    pub body: Value,
}

/// A command for one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandStatement {
    /// `command`.
    pub domain: Domain,
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// Which command; the topic must say the same.
    pub name: Name,
    /// Unique for ever; 16 to 64 of a-z, A-Z, 0-9, `_` and `-`.
    pub nonce: String,
    /// Not to be obeyed after this time; at most a day ahead.
    pub not_after: Timestamp,
    /// The life of the node that it is for. Needed by a board whose clock is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Ulid>,
    /// The command's arguments.
    #[serde(default)]
    pub body: Value,
}

impl ConfigStatement {
    /// Reads a proven payload.
    ///
    /// # Errors
    /// No statement of this kind; version 0; a body that is too large or no object.
    pub fn read(verified: &Verified) -> Result<Self, TrustError> {
        let statement: ConfigStatement = read(&verified.payload, Domain::Config)?;
        statement.sound()?;
        Ok(statement)
    }

    fn sound(&self) -> Result<(), TrustError> {
        if self.version == 0 {
            return Err(TrustError::BadPayload("version: 0 is the node's own file, begin with 1".into()));
        }
        if !self.body.is_object() {
            return Err(TrustError::BadPayload("body: must be an object, as the configuration is".into()));
        }
        check_body(&self.body)
    }

    /// Whether it is for this node and still valid. `now` is `None` where no clock can be relied on.
    ///
    /// # Errors
    /// `OtherNode` or `Expired`.
    pub fn check(&self, here: &Recipient, now: Option<Timestamp>) -> Result<(), TrustError> {
        here.check(&self.site, &self.node)?;
        match (self.not_after, now) {
            (Some(not_after), Some(now)) if now > not_after => Err(TrustError::Expired { not_after, now }),
            _ => Ok(()),
        }
    }

    /// Signs it.
    ///
    /// # Errors
    /// It would be refused for what it says, or for its size.
    pub fn sign(&self, secret: &SecretKey, key: Name) -> Result<Envelope, TrustError> {
        self.sound()?;
        sign(self, self.domain, Domain::Config, secret, key)
    }
}

impl CommandStatement {
    /// Reads a proven payload.
    ///
    /// # Errors
    /// No statement of this kind; a nonce that is none; a body that is too large.
    pub fn read(verified: &Verified) -> Result<Self, TrustError> {
        let statement: CommandStatement = read(&verified.payload, Domain::Command)?;
        statement.sound()?;
        Ok(statement)
    }

    fn sound(&self) -> Result<(), TrustError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !NONCE_CHARS.contains(&self.nonce.len()) || !self.nonce.bytes().all(plain) {
            let text = "nonce: use 16 to 64 of a-z, A-Z, 0-9, '_' and '-', different each time";
            return Err(TrustError::BadPayload(text.into()));
        }
        check_body(&self.body)
    }

    /// Whether it is for this node and its name is that of the topic. Time and nonce are the
    /// [`crate::NonceStore`]'s.
    ///
    /// # Errors
    /// `OtherNode`, or `BadPayload` for another name.
    pub fn check(&self, here: &Recipient, name: &str) -> Result<(), TrustError> {
        here.check(&self.site, &self.node)?;
        if self.name.as_str() != name {
            let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
            let text = format!("name: \"{}\" was signed, but it was sent as \"{shown}\"", self.name);
            return Err(TrustError::BadPayload(text));
        }
        Ok(())
    }

    /// Signs it.
    ///
    /// # Errors
    /// It would be refused for what it says, or for its size.
    pub fn sign(&self, secret: &SecretKey, key: Name) -> Result<Envelope, TrustError> {
        self.sound()?;
        sign(self, self.domain, Domain::Command, secret, key)
    }
}

fn check_body(body: &Value) -> Result<(), TrustError> {
    let bytes = serde_json::to_vec(body).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_BODY_BYTES {
        return Err(TrustError::TooLarge { what: "body", bytes, most: MAX_BODY_BYTES });
    }
    Ok(())
}

fn read<T: DeserializeOwned>(payload: &[u8], wanted: Domain) -> Result<T, TrustError> {
    let tree = strict_json(payload)?;
    // Told before any unknown field: what is wrong is the kind, not its fields.
    match tree.get("domain").and_then(Value::as_str) {
        Some(found) if found != wanted.as_str() => {
            let found = found.chars().take(20).flat_map(char::escape_default).collect();
            return Err(TrustError::WrongDomain { found, wanted });
        }
        _ => {}
    }
    serde_json::from_value(tree).map_err(|e| TrustError::BadPayload(e.to_string()))
}

fn sign<T: Serialize>(
    statement: &T,
    domain: Domain,
    wanted: Domain,
    secret: &SecretKey,
    key: Name,
) -> Result<Envelope, TrustError> {
    if domain != wanted {
        return Err(TrustError::WrongDomain { found: domain.to_string(), wanted });
    }
    let payload = serde_json::to_vec(statement).map_err(|e| TrustError::BadPayload(e.to_string()))?;
    // What we could not read back we do not sign: depth and keys are checked like this.
    strict_json(&payload)?;
    Ok(Envelope::sign(secret, key, &payload))
}
