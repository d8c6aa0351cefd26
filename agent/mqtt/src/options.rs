//! From a configuration to the MQTT library's options, anew for every connect, so that changed passwords and
//! certificates count at once.
//!
//! Sessions: nothing of ours lives in the broker's session: events that were not acknowledged live in the outbox,
//! states on the board. Both are sent again by us alone, on a new client each time, so that the library never sends
//! anything again by itself and nothing is sent twice for no reason. So sessions start clean and end with the
//! connection, unless `session_expiry_s` asks the broker to keep commands for us.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use aimass_core::runtime::clock::SharedClock;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::LastWill;
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

use crate::address::BrokerAddress;
use crate::config::BrokerConfig;
use crate::error::LinkError;

const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The largest message that we take: a signed configuration of 256 KiB in base64, with room to spare.
const MAX_INCOMING_BYTES: u32 = 512 * 1024;

/// How many messages the broker may send us before we took over the first: a flood waits at the broker.
const MAX_INCOMING: u16 = 8;

/// A connection's options, and what is wrong with our own certificate, if anything is.
pub(crate) struct Built {
    pub(crate) options: MqttOptions,
    pub(crate) own_certificate: Option<rustls::CertificateError>,
}

/// The program's clock, for the dates in certificates.
struct ClockTime(SharedClock);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since_1970 = u64::try_from(self.0.wall().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(since_1970)))
    }
}

/// The last will.
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// Reads files: blocks.
pub(crate) fn build(
    config: &BrokerConfig,
    at: &BrokerAddress,
    client_id: String,
    will: Option<Will>,
    max_in_flight: u16,
    clock: &SharedClock,
) -> Result<Built, LinkError> {
    // Through a web server the library wants the whole URL for a host.
    let host = if at.path.is_some() { at.to_string() } else { at.host.clone() };
    let mut options = MqttOptions::new(client_id, host, at.port);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_clean_start(config.session_expiry_s == 0)
        .set_session_expiry_interval(Some(config.session_expiry_s))
        .set_max_packet_size(Some(MAX_INCOMING_BYTES))
        .set_receive_maximum(Some(MAX_INCOMING))
        .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s.max(5))))
        .set_connection_timeout(u64::from(config.connect_timeout_s))
        .set_outgoing_inflight_upper_limit(max_in_flight)
        .set_network_options(network);
    if let Some(will) = will {
        options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true, None));
    }
    if let Some(username) = &config.username {
        let password = config.password_file.as_deref().map(read_password).transpose()?;
        options.set_credentials(username.clone(), password.unwrap_or_default());
    }
    let mut own_certificate = None;
    let transport = if at.tls {
        let tls = client_config(config, clock)?;
        own_certificate = tls.own_certificate;
        let tls = TlsConfiguration::Rustls(tls.config);
        if at.path.is_some() { Transport::Wss(tls) } else { Transport::tls_with_config(tls) }
    } else if at.path.is_some() {
        Transport::Ws
    } else {
        Transport::Tcp
    };
    options.set_transport(transport);
    Ok(Built { options, own_certificate })
}

fn read_password(path: &Path) -> Result<String, LinkError> {
    let text = fs::read_to_string(path).map_err(|e| file_error("password_file", path, &e))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What TLS is made of.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) own_certificate: Option<rustls::CertificateError>,
}

/// TLS on ring, with the roots of `ca_file` or of the system.
pub(crate) fn client_config(config: &BrokerConfig, clock: &SharedClock) -> Result<Tls, LinkError> {
    let roots = match &config.ca_file {
        Some(path) => read_roots("ca_file", path)?,
        None => {
            let system = Path::new(SYSTEM_CERTIFICATES);
            if !system.exists() {
                let problem = "the system has no trusted certificates: install the package ca-certificates, or set ca_file";
                return Err(file_error("ca_file", system, &problem));
            }
            read_roots("ca_file", system)?
        }
    };
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(|e| LinkError::Config { field: "url", problem: format!("TLS cannot be set up: {e}") })?
        .with_root_certificates(roots.clone());
    let (Some(cert_file), Some(key_file)) = (&config.cert_file, &config.key_file) else {
        return Ok(Tls { config: Arc::new(builder.with_no_client_auth()), own_certificate: None });
    };
    let chain = read_certificates("cert_file", cert_file)?;
    let own_certificate = out_of_date(&chain, roots, clock);
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|e| file_error("key_file", key_file, &format_args!("holds no private key in PEM ({e})")))?;
    let client = builder
        .with_client_auth_cert(chain, key)
        .map_err(|e| file_error("cert_file", cert_file, &format_args!("does not fit to key_file ({e})")))?;
    Ok(Tls { config: Arc::new(client), own_certificate })
}

/// Whether our own certificate is out of its time. What else there is to say about it, the broker says.
fn out_of_date(
    chain: &[CertificateDer<'_>],
    roots: Arc<RootCertStore>,
    clock: &SharedClock,
) -> Option<rustls::CertificateError> {
    use rustls::CertificateError as C;
    let (own, others) = chain.split_first()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().ok()?;
    let now = ClockTime(clock.clone()).current_time()?;
    match verifier.verify_client_cert(own, others, now) {
        Err(rustls::Error::InvalidCertificate(
            error @ (C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }),
        )) => Some(error),
        _ => None,
    }
}

fn read_certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let bytes = fs::read(path).map_err(|e| file_error(field, path, &e))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|e| file_error(field, path, &format_args!("is not PEM ({e})")))?;
    if all.is_empty() {
        return Err(file_error(field, path, &"holds no certificate in PEM"));
    }
    Ok(all)
}

fn read_roots(field: &'static str, path: &Path) -> Result<RootCertStore, LinkError> {
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(read_certificates(field, path)?);
    if good == 0 {
        return Err(file_error(field, path, &"holds no certificate that can be used as a root"));
    }
    Ok(roots)
}

fn file_error(field: &'static str, path: &Path, problem: &dyn std::fmt::Display) -> LinkError {
    LinkError::File { field, path: path.display().to_string(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use aimass_core::runtime::clock::SystemClock;

    use super::*;
    use crate::error::LinkErrorKind;

    #[test]
    fn a_file_that_is_missing_or_no_pem_is_named_with_its_field() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("junk.pem");
        std::fs::File::create(&junk).unwrap();
        for path in [dir.path().join("absent.pem"), junk] {
            let config = BrokerConfig { ca_file: Some(path.clone()), ..BrokerConfig::new("mqtts://h") };
            let error = client_config(&config, &SystemClock::shared()).unwrap_err();
            assert_eq!(error.kind(), LinkErrorKind::File);
            let text = error.to_string();
            assert!(text.contains("ca_file") && text.contains(path.to_str().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_password_is_read_without_its_line_end_but_with_its_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        aimass_core::runtime::files::write_atomically(&path, b" open sesame \r\n").unwrap();
        assert_eq!(read_password(&path).unwrap(), " open sesame ");
    }
}
