//! What a broker's URL says. Invariant: no message repeats a password that stands in one by mistake.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Where brokers behind a web server are found when the URL names no path.
const DEFAULT_PATH: &str = "/mqtt";

/// Where a broker listens: what a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
    /// Through a web server: the path there, with its slash. `None` speaks MQTT on the bare connection.
    pub path: Option<String>,
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
        let scheme = match (&self.path, self.tls) {
            (None, false) => "mqtt",
            (None, true) => "mqtts",
            (Some(_), false) => "ws",
            (Some(_), true) => "wss",
        };
        let path = self.path.as_deref().unwrap_or_default();
        if self.host.contains(':') {
            return write!(f, "{scheme}://[{}]:{}{path}", self.host, self.port);
        }
        write!(f, "{scheme}://{}:{}{path}", self.host, self.port)
    }
}

impl FromStr for BrokerAddress {
    type Err = String;

    /// The messages repeat no part of the URL behind its scheme: a password may stand there by mistake.
    fn from_str(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("has no scheme: write mqtts://host:8883 or mqtt://host:1883".into());
        };
        let (tls, web) = match scheme {
            "mqtt" => (false, false),
            "mqtts" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => {
                let shown: String = scheme.chars().take(20).flat_map(char::escape_default).collect();
                return Err(format!(
                    "unknown scheme \"{shown}\": use mqtts:// or wss:// (TLS), mqtt:// or ws:// (plain)"
                ));
            }
        };
        if rest.contains('@') {
            return Err("holds a user name or password: use username and password_file instead".into());
        }
        let (rest, path) = match rest.split_once('/') {
            Some((rest, path)) => (rest, path),
            None => (rest, ""),
        };
        if !web && !path.is_empty() || rest.contains(['?', '#']) {
            return Err("has something after the port: write only scheme, host and port".into());
        }
        let path = web.then(|| if path.is_empty() { DEFAULT_PATH.to_owned() } else { format!("/{path}") });
        if path.as_deref().is_some_and(|path| !is_path(path)) {
            return Err(
                "has a path with something else than letters, digits and -._~/: write wss://host/mqtt".into(),
            );
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
            None => match (web, tls) {
                (false, false) => 1883,
                (false, true) => 8883,
                (true, false) => 80,
                (true, true) => 443,
            },
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err("has a port that is not 1 to 65535".into()),
            },
        };
        Ok(BrokerAddress { host: host.to_owned(), port, tls, path })
    }
}

fn is_path(path: &str) -> bool {
    path.len() <= 200
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/'))
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
    fn a_broker_behind_a_web_server_has_a_path() {
        assert_eq!(address("wss://broker.example").unwrap().to_string(), "wss://broker.example:443/mqtt");
        assert_eq!(address("ws://[::1]:9001/").unwrap().to_string(), "ws://[::1]:9001/mqtt");
        let at = address("wss://h:8443/a/b-c").unwrap();
        assert_eq!((at.port, at.tls, at.path.as_deref()), (8443, true, Some("/a/b-c")));
        for bad in ["wss://h/a?b", "ws://h/#x", "ws://h/a b", "ws://h/%41"] {
            assert!(address(bad).unwrap_err().contains("path"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_and_what_is_parsed_reads_back(text in "((mqtts?|wss?)://)?[a-z0-9:@/.\\[\\]#-]{0,30}") {
            if let Ok(at) = text.parse::<BrokerAddress>() {
                prop_assert_eq!(at.to_string().parse::<BrokerAddress>().unwrap(), at);
            }
        }
    }
}
