//! Which broker, as whom, and with which trust. Invariant: a password never stands in the configuration itself.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::BrokerAddress;
use crate::error::LinkError;

/// The broker that events, states and status go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// `mqtts://host:8883` (TLS), `mqtt://host:1883` (plain), or the same through a web server:
    /// `wss://host:443/mqtt` (TLS), `ws://host:80/mqtt` (plain). Port and path may be left out. The broker must
    /// speak MQTT 5. User name and password do not belong here.
    pub url: String,
    /// Further brokers in the same form, tried in this order when the one before cannot be used; after the last one
    /// the first is tried again. All are for the same user, password and certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_urls: Vec<String>,
    /// The name that the broker knows this connection by. Default: `aimass-<site>-<node>`. Two clients of one name
    /// push each other out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The user name that the broker knows this node by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file that holds the password and nothing else; a line end after it is ignored. Read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificates that the broker's may be signed by. Default: the system's
    /// (`/etc/ssl/certs/ca-certificates.crt`). Read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with this node's own certificate (and its chain), for brokers that ask for one. Needs `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key to `cert_file`. When both are renewed without a restart, the link goes over to
    /// them once they fit to each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Allows `mqtt://` to another machine: everything, the password too, then crosses the network readable.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Seconds between signs of life while nothing else is sent, 5 to 3600. A dead connection is noticed after
    /// at most twice this time.
    #[serde(default = "default_keep_alive_s")]
    #[schemars(range(min = 5, max = 3600))]
    pub keep_alive_s: u16,
    /// Seconds that the broker may take to answer a connection attempt, 1 to 120.
    #[serde(default = "default_connect_timeout_s")]
    #[schemars(range(min = 1, max = 120))]
    pub connect_timeout_s: u16,
    /// Seconds that the broker may take to acknowledge a message, 1 to 600. After that the connection counts as
    /// broken and everything unacknowledged is sent again on a new one.
    #[serde(default = "default_ack_timeout_s")]
    #[schemars(range(min = 1, max = 600))]
    pub ack_timeout_s: u16,
    /// How many events a second are replayed after the broker was away, 0 to 100,000; 0: as many as go. Alarms and
    /// what happens now go out before them and do not count. A slow network lowers it further by itself.
    #[serde(default = "default_replay_per_s")]
    #[schemars(range(max = 100_000))]
    pub replay_per_s: u32,
    /// Seconds that the broker keeps our session while we are away, 0 to 2,592,000 (30 days). Nothing of ours lives
    /// there: events wait in the store, states are told anew. With 0 commands that are sent while the node is away
    /// are lost; with more the broker keeps them and hands them over on return.
    #[serde(default)]
    #[schemars(range(max = 2_592_000))]
    pub session_expiry_s: u32,
}

fn default_replay_per_s() -> u32 {
    500
}

fn default_keep_alive_s() -> u16 {
    30
}

fn default_connect_timeout_s() -> u16 {
    10
}

fn default_ack_timeout_s() -> u16 {
    20
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as in the file.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl BrokerConfig {
    /// A broker at a URL; everything else at its default.
    pub fn new(url: impl Into<String>) -> Self {
        BrokerConfig {
            url: url.into(),
            fallback_urls: Vec::new(),
            client_id: None,
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            allow_plaintext: false,
            keep_alive_s: default_keep_alive_s(),
            connect_timeout_s: default_connect_timeout_s(),
            ack_timeout_s: default_ack_timeout_s(),
            replay_per_s: default_replay_per_s(),
            session_expiry_s: 0,
        }
    }

    /// Everything that is wrong, all at once. Files are not opened: they may appear later.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut say = |field, message: &str| found.push(Problem { field, message: message.to_owned() });
        let fallbacks = self.fallback_urls.iter().map(|url| ("fallback_urls", url));
        for (field, url) in std::iter::once(("url", &self.url)).chain(fallbacks) {
            match url.parse::<BrokerAddress>() {
                Err(problem) => say(field, &problem),
                Ok(at) if !at.tls && !at.is_loopback() && !self.allow_plaintext => say(
                    field,
                    "mqtt:// or ws:// to another machine is not encrypted: use mqtts:// or wss://, or set allow_plaintext = true if the network may read along",
                ),
                Ok(at) if !at.tls && (self.ca_file.is_some() || self.cert_file.is_some()) => {
                    say(field, "ca_file and cert_file have no effect without TLS: use mqtts:// or wss://");
                }
                Ok(_) => {}
            }
        }
        if self.fallback_urls.len() > MOST_FALLBACKS {
            say("fallback_urls", &format!("are more than {MOST_FALLBACKS}: leave some out"));
        }
        if self.client_id.as_ref().is_some_and(|id| !is_client_id(id)) {
            say("client_id", "must be 1 to 128 characters, of ASCII and without spaces");
        }
        if self.password_file.is_some() && self.username.is_none() {
            say("username", "password_file is set without a username: set both or none");
        }
        if self.username.as_deref() == Some("") {
            say("username", "is empty: leave it out, or name the user");
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            say("cert_file", "cert_file and key_file belong together: set both or none");
        }
        for (field, value, low, high) in [
            ("keep_alive_s", self.keep_alive_s, 5, 3600),
            ("connect_timeout_s", self.connect_timeout_s, 1, 120),
            ("ack_timeout_s", self.ack_timeout_s, 1, 600),
        ] {
            if !(low..=high).contains(&value) {
                say(field, &format!("{value} is outside of {low} to {high}"));
            }
        }
        for (field, value, high) in [
            ("replay_per_s", self.replay_per_s, 100_000),
            ("session_expiry_s", self.session_expiry_s, 2_592_000),
        ] {
            if value > high {
                say(field, &format!("{value} is outside of 0 to {high}"));
            }
        }
        found
    }

    /// The addresses in their order, once the configuration is known to be right.
    ///
    /// # Errors
    /// The first of [`BrokerConfig::problems`].
    pub fn validate(&self) -> Result<Vec<BrokerAddress>, LinkError> {
        if let Some(problem) = self.problems().into_iter().next() {
            return Err(LinkError::Config { field: problem.field, problem: problem.message });
        }
        let all = std::iter::once(&self.url).chain(&self.fallback_urls).map(|url| url.parse());
        all.collect::<Result<_, _>>().map_err(|problem| LinkError::Config { field: "url", problem })
    }

    /// The files that a connection is made with.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.password_file, &self.ca_file, &self.cert_file, &self.key_file]
            .into_iter()
            .flatten()
            .map(|p| &**p)
    }
}

/// The most brokers beside the first.
const MOST_FALLBACKS: usize = 8;

fn is_client_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_mqtt_to_another_machine_needs_to_be_allowed() {
        let mut config = BrokerConfig::new("mqtt://broker.example");
        assert!(config.problems()[0].message.contains("allow_plaintext"), "{:?}", config.problems());
        config.allow_plaintext = true;
        assert!(config.problems().is_empty());
        for near in ["mqtt://localhost", "mqtt://127.0.0.9:1", "mqtt://[::1]", "mqtts://broker.example"] {
            assert!(BrokerConfig::new(near).problems().is_empty(), "{near}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let config: BrokerConfig =
            toml::from_str("url = \"mqtt://\"\npassword_file = \"x\"\ncert_file = \"c\"\nkeep_alive_s = 1")
                .unwrap();
        let fields: Vec<_> = config.problems().iter().map(|p| p.field).collect();
        assert_eq!(fields, ["url", "username", "cert_file", "keep_alive_s"]);
    }

    #[test]
    fn each_broker_is_checked_and_they_keep_their_order() {
        let mut config = BrokerConfig::new("mqtts://a");
        config.fallback_urls = vec!["wss://b/mqtt".into(), "mqtts://c".into()];
        let hosts: Vec<_> = config.validate().unwrap().into_iter().map(|at| at.host).collect();
        assert_eq!(hosts, ["a", "b", "c"]);
        config.fallback_urls[1] = "ws://c".into();
        assert_eq!(config.problems()[0].field, "fallback_urls");
        assert!(config.problems()[0].message.contains("allow_plaintext"));
    }

    #[test]
    fn a_client_id_and_figures_beyond_their_bounds_are_refused() {
        let config = BrokerConfig {
            client_id: Some("a b".into()),
            replay_per_s: 100_001,
            session_expiry_s: u32::MAX,
            ..BrokerConfig::new("mqtts://a")
        };
        let fields: Vec<_> = config.problems().iter().map(|p| p.field).collect();
        assert_eq!(fields, ["client_id", "replay_per_s", "session_expiry_s"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<BrokerConfig>("url = \"mqtt://h\"\npassword = \"x\"").unwrap_err();
        assert!(error.to_string().contains("unknown field `password`"), "{error}");
    }
}
