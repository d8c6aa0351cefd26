//! Where the server listens and what protects it. Invariant: no address that others can reach without a token.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The fewest characters that make a token hard to guess.
const MIN_TOKEN_CHARS: usize = 16;
/// A file longer than this is no token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// The HTTP API and the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port to listen on. An address that other machines can reach needs `token_file`.
    pub listen: SocketAddr,
    /// File with the token that every request must carry as `Authorization: Bearer <token>`: at least 16
    /// characters, readable by its owner only (mode 0600), or a credential of the systemd service. Without it,
    /// anybody on this machine may look.
    pub token_file: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8642)), token_file: None }
    }
}

/// Why the server cannot serve with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum HttpConfigError {
    /// Others could reach the address, and nothing protects it.
    #[error(
        "http.listen: {0} can be reached from other machines: set http.token_file, or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    /// The token file cannot be used.
    #[error("http.token_file: {path}: {problem}")]
    Token {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
}

/// The secret that requests must carry.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Compares in a time that depends on the lengths only.
    pub(crate) fn is(&self, offered: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), offered.as_bytes());
        let mut differences = usize::from(ours.len() != theirs.len());
        for (n, byte) in theirs.iter().enumerate() {
            differences |= usize::from(std::hint::black_box(byte ^ ours[n % ours.len()]));
        }
        std::hint::black_box(differences) == 0
    }
}

impl HttpConfig {
    /// Looks whether the server could serve with this, without opening a port.
    ///
    /// # Errors
    /// An address that others can reach without a token file, or a token file that cannot be used.
    pub fn check(&self) -> Result<(), HttpConfigError> {
        self.token().map(drop)
    }

    /// The token, if one is asked for.
    pub(crate) fn token(&self) -> Result<Option<Token>, HttpConfigError> {
        match &self.token_file {
            Some(path) => match read_token(path) {
                Ok(token) => Ok(Some(token)),
                Err(problem) => Err(HttpConfigError::Token { path: path.clone(), problem }),
            },
            None if self.listen.ip().is_loopback() => Ok(None),
            None => Err(HttpConfigError::Unprotected(self.listen)),
        }
    }
}

/// The bits of a secret file's mode that must not be set. systemd lets the service alone into the folder of its
/// credentials, and opens the files there to its user by an access list, which shows as a right of the group.
#[cfg(unix)]
fn not_for_others(path: &Path, credentials: Option<&Path>) -> u32 {
    let inside = |folder: &Path| {
        let (Ok(folder), Ok(file)) = (folder.canonicalize(), path.canonicalize()) else { return false };
        file.parent() == Some(&folder)
    };
    if credentials.is_some_and(inside) { 0o007 } else { 0o077 }
}

fn read_token(path: &Path) -> Result<Token, String> {
    let mut file = File::open(path).map_err(|e| format!("cannot be read ({e}): create it with mode 0600"))?;
    let facts = file.metadata().map_err(|e| e.to_string())?;
    if !facts.is_file() {
        return Err("is not a file".into());
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&facts) & 0o777;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if mode & not_for_others(path, credentials.as_deref()) != 0 {
            return Err(format!("others may read it (mode {mode:04o}): run chmod 600 on it"));
        }
    }
    let mut text = String::new();
    file.by_ref().take(MAX_TOKEN_BYTES + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    let token = text.trim();
    if text.len() as u64 > MAX_TOKEN_BYTES {
        return Err(format!("is longer than {MAX_TOKEN_BYTES} bytes: put nothing but the token there"));
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "holds something else than one word of printable ASCII: put nothing but the token there".into()
        );
    }
    if token.len() < MIN_TOKEN_CHARS {
        return Err(format!(
            "its {} characters are too few: use at least {MIN_TOKEN_CHARS}, such as from: openssl rand -hex 16",
            token.len()
        ));
    }
    Ok(Token(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_token(content: &str, mode: u32) -> (tempfile::TempDir, HttpConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        aimass_core::runtime::files::write_atomically(&path, content.as_bytes()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).unwrap();
        (folder, HttpConfig { listen: "0.0.0.0:0".parse().unwrap(), token_file: Some(path) })
    }

    #[test]
    fn the_default_is_loopback_and_fine() {
        HttpConfig::default().check().unwrap();
        assert_eq!(HttpConfig::default().listen.to_string(), "127.0.0.1:8642");
        assert!(serde_json::from_str::<HttpConfig>(r#"{"listn":"127.0.0.1:1"}"#).is_err());
    }

    #[test]
    fn an_address_for_others_needs_a_token_file() {
        for listen in ["0.0.0.0:8642", "192.168.1.4:80", "[::]:8642"] {
            let config = HttpConfig { listen: listen.parse().unwrap(), token_file: None };
            let error = config.check().unwrap_err();
            assert!(
                error.to_string().contains(listen) && error.to_string().contains("token_file"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_file_must_be_private_and_long_enough() {
        assert!(with_token("0123456789abcdef\n", 0o600).1.check().is_ok());
        for (content, mode, says) in [
            ("0123456789abcdef", 0o640, "chmod 600"),
            ("0123456789abcde", 0o600, "too few"),
            ("", 0o600, "too few"),
            ("two words in one file", 0o600, "one word"),
        ] {
            let (_folder, config) = with_token(content, mode);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("0123456789"), "{error}");
        }
        let missing = HttpConfig { token_file: Some("/nowhere/token".into()), ..HttpConfig::default() };
        assert!(missing.check().unwrap_err().to_string().contains("/nowhere/token"));
    }

    #[test]
    fn a_credential_may_show_a_right_of_the_group_but_none_of_everybody() {
        let (folder, config) = with_token("0123456789abcdef", 0o440);
        let path = config.token_file.as_deref().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(not_for_others(path, Some(folder.path())), 0o007);
        assert_eq!(not_for_others(path, Some(elsewhere.path())), 0o077);
        assert_eq!(not_for_others(path, None), 0o077);
        // A link in the folder to a file that lies elsewhere makes no credential of it.
        let link = elsewhere.path().join("token");
        std::os::unix::fs::symlink(path, &link).unwrap();
        assert_eq!(not_for_others(&link, Some(elsewhere.path())), 0o077);
    }

    #[test]
    fn a_token_is_compared_as_a_whole() {
        let token = Token("0123456789abcdef".into());
        assert!(token.is("0123456789abcdef"));
        for wrong in ["", "0", "0123456789abcdeF", "0123456789abcdef0", "0123456789abcdef0123456789abcdef"] {
            assert!(!token.is(wrong), "{wrong}");
        }
    }
}
