//! Ed25519 keys: made, kept in a file of mode 0600, shown as text. Invariant: the secret half is never shown,
//! logged, or written over.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::error::TrustError;

const PREFIX: &str = "ed25519:";
const TAG: &str = "PRIVATE KEY";
/// No key file is as long as this.
const MAX_FILE_BYTES: u64 = 4096;

/// The public half, as text `ed25519:<base64>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether the signature is this key's over these very bytes.
    pub(crate) fn verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(payload, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let bytes = text.strip_prefix(PREFIX).and_then(|base64| STANDARD.decode(base64).ok());
        bytes.and_then(|b| b.try_into().ok()).map(PublicKey).ok_or_else(|| {
            TrustError::BadKey(
                "not a public key: write ed25519: and 32 bytes in base64, as aimass-agent keygen prints them"
                    .into(),
            )
        })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = TrustError;

    fn try_from(text: String) -> Result<Self, TrustError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

impl JsonSchema for PublicKey {
    fn schema_name() -> Cow<'static, str> {
        "PublicKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^ed25519:[A-Za-z0-9+/]{43}=$" })
    }
}

/// The secret half.
pub struct SecretKey {
    pair: Ed25519KeyPair,
    /// PKCS#8, for the file.
    document: Vec<u8>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl SecretKey {
    /// A new one, from the system's random numbers.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> Result<Self, TrustError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| TrustError::BadKey("the system gives no random numbers".into()))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// As `openssl genpkey -algorithm ed25519` and we write it.
    fn from_pkcs8(document: &[u8]) -> Result<Self, TrustError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document)
            .map_err(|e| TrustError::BadKey(format!("holds no Ed25519 key in PKCS#8 ({e})")))?;
        Ok(SecretKey { pair, document: document.to_vec() })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The signature over these bytes.
    pub(crate) fn sign(&self, payload: &[u8]) -> Vec<u8> {
        self.pair.sign(payload).as_ref().to_vec()
    }

    /// Writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// There is such a file already, or it cannot be written.
    pub fn write_new(&self, path: &Path) -> Result<(), TrustError> {
        let text = pem::encode_config(
            &pem::Pem::new(TAG, self.document.clone()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        );
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| {
                let problem = match e.kind() {
                    io::ErrorKind::AlreadyExists => {
                        "is there already and is not written over: name another".into()
                    }
                    _ => format!("cannot be made: {e}"),
                };
                file_error(path, problem)
            })?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|e| file_error(path, format!("cannot be written: {e}")))
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// No such file, others can read it too, or it holds no Ed25519 key.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let say = |problem: String| file_error(path, problem);
        let file = File::open(path)
            .map_err(|e| say(format!("cannot be read: {e}; aimass-agent keygen makes a key")))?;
        let facts = file.metadata().map_err(|e| say(e.to_string()))?;
        if !facts.is_file() {
            return Err(say("is not a file".into()));
        }
        if facts.mode() & 0o077 != 0 {
            let mode = facts.mode() & 0o777;
            return Err(say(format!("others may read it (mode {mode:04o}): run chmod 600 on it")));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|e| say(e.to_string()))?;
        let found = pem::parse(&bytes).map_err(|e| say(format!("is not PEM: {e}")))?;
        if found.tag() != TAG {
            return Err(say(format!("holds a {}, not a {TAG}", found.tag().to_ascii_uppercase())));
        }
        Self::from_pkcs8(found.contents()).map_err(|e| say(e.to_string()))
    }
}

fn file_error(path: &Path, problem: String) -> TrustError {
    TrustError::KeyFile { path: path.into(), problem }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_its_file_which_only_its_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.key");
        let key = SecretKey::generate().unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = SecretKey::read(&path).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(key.public().verifies(b"x", &again.sign(b"x")));
        assert!(!key.public().verifies(b"y", &again.sign(b"x")));
    }

    #[test]
    fn a_key_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.key");
        let first = SecretKey::generate().unwrap();
        first.write_new(&path).unwrap();
        let error = SecretKey::generate().unwrap().write_new(&path).unwrap_err();
        assert!(error.to_string().contains("not written over"), "{error}");
        assert_eq!(SecretKey::read(&path).unwrap().public(), first.public());
    }

    #[test]
    fn a_key_file_that_others_may_read_or_that_holds_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.key");
        SecretKey::generate().unwrap().write_new(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(SecretKey::read(&path).unwrap_err().to_string().contains("chmod 600"));
        let junk = folder.path().join("junk");
        for (content, says) in [
            ("", "not PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a PRIVATE KEY"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no Ed25519 key"),
        ] {
            aimass_core::runtime::files::write_atomically(&junk, content.as_bytes()).unwrap();
            let error = SecretKey::read(&junk).unwrap_err().to_string();
            assert!(error.contains(says), "{content}: {error}");
        }
        assert!(SecretKey::read(Path::new("/nowhere/x.key")).unwrap_err().to_string().contains("keygen"));
    }

    #[test]
    fn a_key_that_openssl_made_is_read() {
        // openssl genpkey -algorithm ed25519: PKCS#8 version 1, without the public half. RFC 8410, section 10.3.
        let text = "-----BEGIN PRIVATE KEY-----\n\
                    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                    -----END PRIVATE KEY-----\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("openssl.key");
        aimass_core::runtime::files::write_atomically(&path, text.as_bytes()).unwrap();
        let public = SecretKey::read(&path).unwrap().public().to_string();
        assert_eq!(public, "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    }

    #[test]
    fn a_secret_key_does_not_show_itself() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SecretKey of {}", key.public()));
    }
}
