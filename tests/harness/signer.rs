//! The centre, as far as tests need it: a key that a node trusts, statements signed with it, messages published.

use std::time::Duration;

use aimass_core::id::Name;
use aimass_trust::{CommandStatement, ConfigStatement, Domain, SecretKey};
use jiff::Timestamp;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::Value;

use crate::PATIENCE;
use crate::ports::free_port;

/// Somebody with a key.
#[derive(Debug)]
pub struct Signer {
    id: Name,
    secret: SecretKey,
}

#[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
impl Signer {
    /// A new key of this name.
    ///
    /// # Panics
    /// The system has no randomness to give.
    pub fn new(id: &str) -> Signer {
        Signer { id: id.parse().unwrap(), secret: SecretKey::generate().unwrap() }
    }

    /// The lines of `[trust]` that make a node trust it, for configurations and commands, with the shortest
    /// probation.
    pub fn trusted(&self) -> String {
        format!(
            "[trust]\nprobation_s = 5\n[[trust.key]]\nid = \"{}\"\npublic_key = \"{}\"\nallow = [\"config\", \"command\"]\n",
            self.id,
            self.secret.public()
        )
    }

    /// A configuration for `test/board`, as an envelope.
    ///
    /// # Panics
    /// The body is no TOML, or too large to be signed.
    pub fn config(&self, version: u64, body: &str) -> Vec<u8> {
        self.config_for("board", version, toml::from_str(body).unwrap())
    }

    /// A configuration for any node of the site `test`.
    ///
    /// # Panics
    /// The body is too large to be signed.
    pub fn config_for(&self, node: &str, version: u64, body: Value) -> Vec<u8> {
        let statement = ConfigStatement {
            domain: Domain::Config,
            site: "test".parse().unwrap(),
            node: node.parse().unwrap(),
            version,
            not_after: None,
            body,
        };
        statement.sign(&self.secret, self.id.clone()).unwrap().to_json().into_bytes()
    }

    /// A command for `test/board` that is good for a minute, as an envelope.
    ///
    /// # Panics
    /// It cannot be signed.
    pub fn command(&self, name: &str, body: Value) -> Vec<u8> {
        let clock = aimass_core::clock::SystemClock::new();
        let statement = CommandStatement {
            domain: Domain::Command,
            site: "test".parse().unwrap(),
            node: "board".parse().unwrap(),
            name: name.parse().unwrap(),
            nonce: format!(
                "nonce-{:0>20}-{}",
                free_port(),
                aimass_core::clock::Clock::wall(&clock).as_nanosecond()
            ),
            not_after: in_a_minute(&clock),
            boot: None,
            body,
        };
        statement.sign(&self.secret, self.id.clone()).unwrap().to_json().into_bytes()
    }
}

fn in_a_minute(clock: &dyn aimass_core::clock::Clock) -> Timestamp {
    clock.wall() + Duration::from_secs(60)
}

/// Publishes one message to a broker on loopback and waits for its acknowledgement.
///
/// # Panics
/// The broker does not take it.
pub async fn publish(port: u16, topic: &str, payload: Vec<u8>, retain: bool) {
    let mut options = MqttOptions::new(format!("test-publisher-{}", free_port()), "127.0.0.1", port);
    options.set_max_packet_size(Some(16 << 20));
    let (client, mut eventloop) = AsyncClient::new(options, 4);
    client.try_publish(topic, QoS::AtLeastOnce, retain, payload).unwrap_or_else(|e| panic!("{topic}: {e}"));
    let acknowledged = async {
        loop {
            match eventloop.poll().await {
                Ok(Event::Incoming(Packet::PubAck(ack))) => return ack.reason,
                Ok(_) => {}
                Err(error) => panic!("{topic}: {error}"),
            }
        }
    };
    let reason = tokio::time::timeout(PATIENCE, acknowledged).await;
    let reason = reason.unwrap_or_else(|_| panic!("{topic}: no acknowledgement"));
    assert!(
        matches!(reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers),
        "{topic}: {reason:?}"
    );
}
