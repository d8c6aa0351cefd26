//! What goes wrong on the way to the broker, by name. Invariant: no message holds a secret.

use std::error::Error as StdError;
use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};

use crate::address::BrokerAddress;
use crate::config::BrokerConfig;

pub(crate) mod tls;

pub(crate) use tls::Facts;

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
    /// The broker's certificate, or ours, is out of its time: renew it, or set the clock.
    CertificateTime,
    /// There is a web server, and no broker behind it.
    WebServer,
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
pub(crate) fn name(
    error: &ConnectionError,
    at: &BrokerAddress,
    config: &BrokerConfig,
    facts: &Facts,
) -> LinkError {
    let (kind, problem) = match error {
        ConnectionError::Io(e) => from_io(e, facts),
        ConnectionError::Tls(TlsError::Io(e)) => tls::from_io(e, facts),
        ConnectionError::Tls(TlsError::TLS(e)) => tls::from_rustls(e, facts),
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
        ConnectionError::MqttState(e) => from_state(e, config, facts),
        ConnectionError::Websocket(e) => from_web(e, facts),
        ConnectionError::ResponseValidation(e) => (
            LinkErrorKind::WebServer,
            format!("the web server does not pass MQTT on ({e}): check the path and its settings"),
        ),
        ConnectionError::WsConnect(e) => (LinkErrorKind::WebServer, format!("no websocket ({e})")),
        ConnectionError::InvalidUrl(e) => (LinkErrorKind::Config, format!("the URL cannot be used ({e})")),
    };
    LinkError::connection(kind, at, problem)
}

/// What the websocket library says is often what lies below it.
fn from_web(error: &(dyn StdError + 'static), facts: &Facts) -> (LinkErrorKind, String) {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(inner) = current.downcast_ref::<rustls::Error>() {
            return tls::from_rustls(inner, facts);
        }
        if let Some(inner) = current.downcast_ref::<io::Error>() {
            return from_io(inner, facts);
        }
        cause = current.source();
    }
    let problem = format!(
        "the web server does not let MQTT through ({error}): check the path and whether it is ws:// or wss://"
    );
    (LinkErrorKind::WebServer, problem)
}

fn from_io(error: &io::Error, facts: &Facts) -> (LinkErrorKind, String) {
    use io::ErrorKind as K;
    let text = error.to_string();
    if text.contains("lookup address") || text.contains("could not resolve") {
        return (
            LinkErrorKind::Dns,
            format!("the host name has no address ({text}): check broker.url and the name server"),
        );
    }
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return tls::from_io(error, facts);
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
            "the broker does not accept our client id: check its rules against site and node name, or set client_id".into(),
        ),
        R::QuotaExceeded => {
            (LinkErrorKind::Broker, "the broker has no quota left for us: raise it there".into())
        }
        R::ServerBusy | R::ServerUnavailable | R::ServiceUnavailable => {
            (LinkErrorKind::Broker, "the broker is busy or not ready yet: it is tried again".into())
        }
        R::ConnectionRateExceeded => (
            LinkErrorKind::Broker,
            "the broker finds that we connect too often: look for why connections break".into(),
        ),
        R::UseAnotherServer | R::ServerMoved => {
            (LinkErrorKind::Broker, "the broker sends us to another one: set url to where it went".into())
        }
        R::PacketTooLarge => {
            (LinkErrorKind::Broker, "the broker finds our last will too large: raise its packet limit".into())
        }
        other => (LinkErrorKind::Broker, format!("the broker refuses the connection ({other:?})")),
    }
}

pub(crate) const ONLY_OLD_MQTT: &str =
    "the broker does not speak MQTT 5: switch it on there, or use a broker that has it";

fn from_state(error: &StateError, config: &BrokerConfig, facts: &Facts) -> (LinkErrorKind, String) {
    match error {
        StateError::Io(e) | StateError::Deserialization(PacketError::Io(e)) => from_io(e, facts),
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
            (LinkErrorKind::Broker, format!("the broker sent us away: {}", farewell(*reason_code)))
        }
        other => (LinkErrorKind::Protocol, format!("MQTT went wrong ({other})")),
    }
}

fn farewell(code: DisconnectReasonCode) -> String {
    use DisconnectReasonCode as D;
    let words = match code {
        D::PacketTooLarge => "a message of ours was larger than it takes",
        D::QuotaExceeded => "its quota for us is used up: raise it there",
        D::MessageRateTooHigh => "we send too fast for it: lower replay_per_s, or raise its limit",
        D::ServerShuttingDown => "it is shutting down",
        D::ServerBusy => "it is too busy",
        D::AdministrativeAction => "somebody closed the connection there",
        D::KeepAliveTimeout => "it had no sign of life from us in time: is the network overloaded?",
        D::UseAnotherServer | D::ServerMoved => "it sends us to another broker: set url to where it went",
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
