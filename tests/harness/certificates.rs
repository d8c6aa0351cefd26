//! A certificate authority of the test's own, and what it signs, as PEM files in a folder.

use std::path::{Path, PathBuf};

use aimass_core::runtime::files::write_atomically;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

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
    /// Another certificate for the same client, and its key.
    pub renewed_client: (PathBuf, PathBuf),
    /// A certificate of the client's whose time is over, and its key.
    pub expired_client: (PathBuf, PathBuf),
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    #[default]
    Now,
    /// It was.
    Expired,
    /// It will be.
    NotYet,
}

impl Validity {
    fn years(self) -> Option<(i32, i32)> {
        match self {
            Validity::Now => None,
            Validity::Expired => Some((2001, 2002)),
            Validity::NotYet => Some((2091, 2092)),
        }
    }
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
    pub fn make_for(folder: &Path, names: &[&str]) -> Self {
        Self::make_valid(folder, names, Validity::Now)
    }

    /// The same with a server certificate whose time is over, or has not come.
    ///
    /// # Panics
    /// The folder cannot be written.
    #[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
    pub fn make_valid(folder: &Path, names: &[&str], validity: Validity) -> Self {
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
        let sign = |names: &[&str], years: Option<(i32, i32)>| {
            let key = KeyPair::generate().unwrap();
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            if let Some((first, last)) = years {
                params.not_before = date_time_ymd(first, 1, 1);
                params.not_after = date_time_ymd(last, 1, 1);
            }
            let certificate = params.signed_by(&key, &ca).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (server, server_key) = sign(names, validity.years());
        let (client, client_key) = sign(&["node.example"], None);
        let pair = |name: &str, (certificate, key): (String, String)| {
            (put(&format!("{name}.pem"), certificate), put(&format!("{name}.key"), key))
        };
        Certificates {
            renewed_client: pair("renewed", sign(&["node.example"], None)),
            expired_client: pair("expired", sign(&["node.example"], Validity::Expired.years())),
            ca: put("ca.pem", ca.pem()),
            server: put("server.pem", server),
            server_key: put("server.key", server_key),
            client: put("client.pem", client),
            client_key: put("client.key", client_key),
        }
    }
}
