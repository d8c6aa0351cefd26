//! The envelope: signed bytes on their way. Opening one proves who wrote the payload, and nothing about what it says.

use aimass_core::id::Name;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::{Domain, TrustConfig};
use crate::error::TrustError;
use crate::key::{PublicKey, SecretKey};
use crate::statement::MAX_PAYLOAD_BYTES;
use crate::strict_json::strict_json;

/// The largest envelope.
pub const MAX_ENVELOPE_BYTES: usize = 400 * 1024;

/// A signed payload, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Whose signature it is.
    pub key: Name,
    /// The signed bytes, in base64.
    pub payload: String,
    /// Ed25519 over those bytes, in base64.
    pub signature: String,
}

/// A payload whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who signed.
    pub key: Name,
    /// What the key may sign, as far as it was asked for.
    pub domain: Domain,
    /// The signed bytes.
    pub payload: Vec<u8>,
}

impl Envelope {
    /// Signs these bytes.
    pub fn sign(secret: &SecretKey, key: Name, payload: &[u8]) -> Envelope {
        let signature = STANDARD.encode(secret.sign(payload));
        Envelope { key, payload: STANDARD.encode(payload), signature }
    }

    /// As it travels.
    pub fn to_json(&self) -> String {
        // Three texts: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads an envelope, still unproven.
    ///
    /// # Errors
    /// Too large, or no envelope.
    pub fn read(bytes: &[u8]) -> Result<Envelope, TrustError> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            let (bytes, most) = (bytes.len(), MAX_ENVELOPE_BYTES);
            return Err(TrustError::TooLarge { what: "envelope", bytes, most });
        }
        let tree = strict_json(bytes).map_err(|e| match e {
            TrustError::BadPayload(text) => TrustError::NotAnEnvelope(text),
            deep => TrustError::NotAnEnvelope(deep.to_string()),
        })?;
        serde_json::from_value(tree).map_err(|e| TrustError::NotAnEnvelope(e.to_string()))
    }

    /// Proves it with one key, whatever its name.
    ///
    /// # Errors
    /// Not base64, or the signature is not good.
    pub fn verify_with(&self, public: &PublicKey, domain: Domain) -> Result<Verified, TrustError> {
        let bytes = |text: &str, what| STANDARD.decode(text).map_err(|_| TrustError::NotBase64(what));
        let payload = bytes(&self.payload, "payload")?;
        let signature = bytes(&self.signature, "signature")?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            let (bytes, most) = (payload.len(), MAX_PAYLOAD_BYTES);
            return Err(TrustError::TooLarge { what: "payload", bytes, most });
        }
        if !public.verifies(&payload, &signature) {
            return Err(TrustError::BadSignature(self.key.clone()));
        }
        Ok(Verified { key: self.key.clone(), domain, payload })
    }

    /// Proves it with the keys that are trusted for this kind of statement.
    ///
    /// # Errors
    /// No key, unknown key, a key for other things; else as [`Envelope::verify_with`].
    pub fn verify(&self, trust: &TrustConfig, domain: Domain) -> Result<Verified, TrustError> {
        if trust.key.is_empty() {
            return Err(TrustError::NoKeys);
        }
        let key = trust.find(&self.key).ok_or_else(|| TrustError::UnknownKey(self.key.clone()))?;
        if !key.allow.contains(&domain) {
            return Err(TrustError::NotAllowed { key: self.key.clone(), domain });
        }
        self.verify_with(&key.public_key, domain)
    }

    /// Reads and proves a message.
    ///
    /// # Errors
    /// See [`Envelope::read`] and [`Envelope::verify`].
    pub fn open(bytes: &[u8], trust: &TrustConfig, domain: Domain) -> Result<Verified, TrustError> {
        Envelope::read(bytes)?.verify(trust, domain)
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
