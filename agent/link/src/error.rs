//! What goes wrong on the way to the broker, by name. Invariant: no message holds a secret.

use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};

use crate::config::{BrokerAddress, BrokerConfig};

/// What kind of thing went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkErrorKind {
    /// The configuration asks for what cannot be.
    Config,
    /// A password, certificate or key file cannot be used.
    File,
    /// The host name has no address.
    Dns,
    /// Nothing listens on that port.
    Refused,
    /// The network leads nowhere, or nobody answers in time.
    Unreachable,
    /// The certificates do not fit, or the peer speaks no TLS.
    Tls,
    /// Wrong user name or password.
    BadCredentials,
    /// The broker knows us and does not allow it.
    NotAuthorised,
    /// The broker does not speak MQTT 5.
    ProtocolVersion,
    /// The broker refuses for a reason of its own: busy, full, banned, moved.
    Broker,
    /// The connection was there and broke.
    Lost,
    /// The broker did not acknowledge in time.
    AckTimeout,
    /// The peer broke the rules of MQTT.
    Protocol,
}

/// Why there is no connection, or why the broker does not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The configuration asks for what cannot be.
    #[error("broker.{field}: {problem}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that the connection needs.
    #[error("broker.{field}: {path}: {problem}")]
    File {
        /// The field that names it.
        field: &'static str,
        /// Where it should be.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Anything that the network or the broker says.
    #[error("{broker}: {problem}")]
    Connection {
        /// What kind.
        kind: LinkErrorKind,
        /// Which broker.
        broker: String,
        /// What went wrong and what to do.
        problem: String,
    },
    /// The broker does not take messages on a topic.
    #[error(
        "topic {topic}: the broker refused the message ({reason}): its events stay in the outbox and are tried again; check the broker's access list and limits"
    )]
    TopicRefused {
        /// The topic.
        topic: String,
        /// The broker's reason.
        reason: String,
    },
}

impl LinkError {
    /// For programs.
    pub fn kind(&self) -> LinkErrorKind {
        match self {
            LinkError::Config { .. } => LinkErrorKind::Config,
            LinkError::File { .. } => LinkErrorKind::File,
            LinkError::Connection { kind, .. } => *kind,
            LinkError::TopicRefused { .. } => LinkErrorKind::NotAuthorised,
        }
    }

    pub(crate) fn connection(kind: LinkErrorKind, at: &BrokerAddress, problem: impl Into<String>) -> Self {
        LinkError::Connection { kind, broker: at.to_string(), problem: problem.into() }
    }
}

/// Names what the MQTT library says.
pub(crate) fn name(error: &ConnectionError, at: &BrokerAddress, config: &BrokerConfig) -> LinkError {
    let (kind, problem) = match error {
        ConnectionError::Io(e) => from_io(e),
        ConnectionError::Tls(TlsError::Io(e)) => from_tls_io(e),
        ConnectionError::Tls(TlsError::TLS(e)) => from_rustls(e),
        ConnectionError::Tls(e) => (LinkErrorKind::Tls, format!("TLS: {e}")),
        ConnectionError::Timeout(_) => (
            LinkErrorKind::Unreachable,
            format!(
                "no answer within {} s: check host, port, firewall and whether it is mqtt:// or mqtts://",
                config.connect_timeout_s
            ),
        ),
        ConnectionError::ConnectionRefused(code) => from_code(*code, config),
        ConnectionError::NotConnAck(_) => {
            (LinkErrorKind::Protocol, "answered CONNECT with something else: is it an MQTT broker?".into())
        }
        ConnectionError::RequestsDone => (LinkErrorKind::Lost, "the client was closed".into()),
        ConnectionError::MqttState(e) => from_state(e, config),
    };
    LinkError::connection(kind, at, problem)
}

fn from_io(error: &io::Error) -> (LinkErrorKind, String) {
    use io::ErrorKind as K;
    let text = error.to_string();
    if text.contains("lookup address") || text.contains("could not resolve") {
        return (
            LinkErrorKind::Dns,
            format!("the host name has no address ({text}): check broker.url and the name server"),
        );
    }
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return from_tls_io(error);
    }
    match error.kind() {
        K::ConnectionRefused => (
            LinkErrorKind::Refused,
            "connection refused: nothing listens there; is the broker running and the port right?".into(),
        ),
        K::TimedOut | K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown | K::AddrNotAvailable => {
            (LinkErrorKind::Unreachable, format!("{text}: check the network and the host"))
        }
        _ => (LinkErrorKind::Lost, format!("the connection broke ({text})")),
    }
}

fn from_tls_io(error: &io::Error) -> (LinkErrorKind, String) {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => from_rustls(inner),
        None => (
            LinkErrorKind::Tls,
            format!("TLS: the peer broke off the handshake ({error}): is this its TLS port?"),
        ),
    }
}

fn from_rustls(error: &rustls::Error) -> (LinkErrorKind, String) {
    use rustls::{AlertDescription as A, CertificateError as C, Error as E};
    let problem = match error {
        // A bad signature is what another CA of the same name looks like.
        E::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => {
            "the broker's certificate is signed by nobody we trust: set ca_file to the CA that signed it"
                .into()
        }
        E::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "the broker's certificate has expired: renew it, or set this board's clock".into()
        }
        E::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "the broker's certificate is not valid yet: is this board's clock right?".into()
        }
        E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "the broker's certificate is for another name: use the name that stands in it".into()
        }
        E::InvalidCertificate(other) => format!("the broker's certificate is not acceptable ({other})"),
        E::AlertReceived(A::CertificateRequired) => {
            "the broker asks for a client certificate: set cert_file and key_file".into()
        }
        E::AlertReceived(alert) => {
            format!("the broker refused our side of TLS ({alert:?}): check cert_file and key_file")
        }
        E::InvalidMessage(_) => "the peer does not speak TLS: is this its TLS port?".into(),
        other => format!("{other}"),
    };
    (LinkErrorKind::Tls, format!("TLS: {problem}"))
}

fn from_code(code: ConnectReturnCode, config: &BrokerConfig) -> (LinkErrorKind, String) {
    use ConnectReturnCode as R;
    let user =
        config.username.as_deref().map_or("without a user name".to_owned(), |u| format!("as user \"{u}\""));
    match code {
        R::BadUserNamePassword => (
            LinkErrorKind::BadCredentials,
            format!("wrong user name or password ({user}): check username and password_file"),
        ),
        R::NotAuthorized | R::Banned => (
            LinkErrorKind::NotAuthorised,
            format!(
                "not authorised to connect {user}: check username, password_file and the broker's access list"
            ),
        ),
        R::UnsupportedProtocolVersion | R::RefusedProtocolVersion => {
            (LinkErrorKind::ProtocolVersion, ONLY_OLD_MQTT.into())
        }
        R::ClientIdentifierNotValid | R::BadClientId => (
            LinkErrorKind::Broker,
            "the broker does not accept our client id: check its rules against site and node name".into(),
        ),
        other => (LinkErrorKind::Broker, format!("the broker refuses the connection ({other:?})")),
    }
}

pub(crate) const ONLY_OLD_MQTT: &str =
    "the broker does not speak MQTT 5: switch it on there, or use a broker that has it";

fn from_state(error: &StateError, config: &BrokerConfig) -> (LinkErrorKind, String) {
    match error {
        StateError::Io(e) | StateError::Deserialization(PacketError::Io(e)) => from_io(e),
        StateError::ConnectionAborted => (LinkErrorKind::Lost, "the broker closed the connection".into()),
        StateError::AwaitPingResp => (
            LinkErrorKind::Lost,
            format!("no sign of life for {} s: the connection is dead", 2 * u32::from(config.keep_alive_s)),
        ),
        StateError::ConnFail { reason } => from_code(*reason, config),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => (
            LinkErrorKind::Broker,
            "another client connected with our id: does a second agent run with the same site and node name?"
                .into(),
        ),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::NotAuthorized, .. } => {
            (LinkErrorKind::NotAuthorised, "the broker sent us away (not authorised)".into())
        }
        StateError::ServerDisconnect { reason_code, .. } => {
            (LinkErrorKind::Broker, format!("the broker sent us away ({reason_code:?})"))
        }
        other => (LinkErrorKind::Protocol, format!("MQTT went wrong ({other})")),
    }
}
