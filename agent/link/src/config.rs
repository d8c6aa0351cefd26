//! Which broker, as whom, and with which trust. Invariant: a password never stands in the configuration itself.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::LinkError;

/// The broker that events, states and status go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// `mqtts://host:8883` (TLS) or `mqtt://host:1883` (plain). The port may be left out. The broker must speak
    /// MQTT 5. User name and password do not belong here.
    pub url: String,
    /// The user name that the broker knows this node by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file that holds the password and nothing else; a line end after it is ignored. Read again on every connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificates that the broker's may be signed by. Default: the system's
    /// (`/etc/ssl/certs/ca-certificates.crt`). Read again on every connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with this node's own certificate (and its chain), for brokers that ask for one. Needs `key_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key to `cert_file`.
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
            username: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            allow_plaintext: false,
            keep_alive_s: default_keep_alive_s(),
            connect_timeout_s: default_connect_timeout_s(),
            ack_timeout_s: default_ack_timeout_s(),
        }
    }

    /// Everything that is wrong, all at once. Files are not opened: they may appear later.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut say = |field, message: &str| found.push(Problem { field, message: message.to_owned() });
        match self.url.parse::<BrokerAddress>() {
            Err(problem) => say("url", &problem),
            Ok(at) if !at.tls && !at.is_loopback() && !self.allow_plaintext => say(
                "url",
                "mqtt:// to another machine is not encrypted: use mqtts://, or set allow_plaintext = true if the network may read along",
            ),
            Ok(at) if !at.tls && (self.ca_file.is_some() || self.cert_file.is_some()) => {
                say("url", "ca_file and cert_file have no effect with mqtt://: use mqtts://");
            }
            Ok(_) => {}
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
        found
    }

    /// The address, once the configuration is known to be right.
    ///
    /// # Errors
    /// The first of [`BrokerConfig::problems`].
    pub fn validate(&self) -> Result<BrokerAddress, LinkError> {
        if let Some(problem) = self.problems().into_iter().next() {
            return Err(LinkError::Config { field: problem.field, problem: problem.message });
        }
        self.url.parse().map_err(|problem| LinkError::Config { field: "url", problem })
    }
}

/// Where a broker listens: what a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
}

impl BrokerAddress {
    /// Whether the address cannot leave this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            return write!(f, "{scheme}://[{}]:{}", self.host, self.port);
        }
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl FromStr for BrokerAddress {
    type Err = String;

    /// The messages repeat no part of the URL behind its scheme: a password may stand there by mistake.
    fn from_str(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("has no scheme: write mqtts://host:8883 or mqtt://host:1883".into());
        };
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => {
                let shown: String = scheme.chars().take(20).flat_map(char::escape_default).collect();
                return Err(format!("unknown scheme \"{shown}\": use mqtts:// (TLS) or mqtt:// (plain)"));
            }
        };
        if rest.contains('@') {
            return Err("holds a user name or password: use username and password_file instead".into());
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err("has something after the port: write only scheme, host and port".into());
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => match v6.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, tail)) => {
                    (host, Some(tail.strip_prefix(':').ok_or("has something between ] and the port")?))
                }
                None => return Err("has a [ without a ]".into()),
            },
            None => match rest.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("write an IPv6 address in brackets: mqtt://[::1]:1883".into());
                }
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err("has no host: write mqtts://host:8883 or mqtt://host:1883".into());
        }
        let bracketed = rest.starts_with('[');
        if bracketed && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("has something in brackets that is no IPv6 address".into());
        }
        if !bracketed && !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err("has a host with characters that no host name has".into());
        }
        let port = match port {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err("has a port that is not 1 to 65535".into()),
            },
        };
        Ok(BrokerAddress { host: host.to_owned(), port, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(url: &str) -> Result<BrokerAddress, String> {
        url.parse()
    }

    #[test]
    fn a_url_gives_host_port_and_tls() {
        let plain = address("mqtt://broker.example").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.tls), ("broker.example", 1883, false));
        let tls = address("mqtts://10.0.0.1:18883/").unwrap();
        assert_eq!((tls.host.as_str(), tls.port, tls.tls), ("10.0.0.1", 18883, true));
        assert_eq!(address("mqtts://[fe80::1]").unwrap().to_string(), "mqtts://[fe80::1]:8883");
    }

    #[test]
    fn a_wrong_url_is_refused_with_what_to_do() {
        for (url, said) in [
            ("broker:1883", "no scheme"),
            ("http://x", "unknown scheme \"http\""),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://h:0", "port"),
            ("mqtt://h:70000", "port"),
            ("mqtt://::1", "brackets"),
            ("mqtt://h/topic", "after the port"),
            ("mqtt://a b", "characters"),
        ] {
            let error = address(url).unwrap_err();
            assert!(error.contains(said), "{url}: {error}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let error = address("mqtts://user:hunter2@host").unwrap_err();
        assert!(error.contains("password_file") && !error.contains("hunter2"), "{error}");
    }

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
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<BrokerConfig>("url = \"mqtt://h\"\npassword = \"x\"").unwrap_err();
        assert!(error.to_string().contains("unknown field `password`"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_what_is_parsed_reads_back(text in "(mqtts?://)?[a-z0-9:@/.\\[\\]#-]{0,30}") {
            if let Ok(at) = text.parse::<BrokerAddress>() {
                prop_assert_eq!(at.to_string().parse::<BrokerAddress>().unwrap(), at);
            }
        }
    }
}
