//! A certificate authority of the test's own, and what it signs, as PEM files in a folder.

use std::path::{Path, PathBuf};

use aimass_core::files::write_atomically;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A CA and a server certificate for `localhost` and 127.0.0.1.
#[derive(Debug)]
pub struct Certificates {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// A client's certificate, signed by the same CA.
    pub client: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes new ones in a folder.
    ///
    /// # Panics
    /// The folder cannot be written.
    pub fn make(folder: &Path) -> Self {
        Self::make_for(folder, &["localhost", "127.0.0.1"])
    }

    /// The same with a server certificate for other names.
    ///
    /// # Panics
    /// The folder cannot be written.
    #[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
    pub fn make_for(folder: &Path, names: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let put = |name: &str, text: String| {
            let path = folder.join(name);
            write_atomically(&path, text.as_bytes()).unwrap();
            path
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "AI Mass test CA");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let sign = |names: &[&str]| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (server, server_key) = sign(names);
        let (client, client_key) = sign(&["node.example"]);
        Certificates {
            ca: put("ca.pem", ca.pem()),
            server: put("server.pem", server),
            server_key: put("server.key", server_key),
            client: put("client.pem", client),
            client_key: put("client.key", client_key),
        }
    }
}
