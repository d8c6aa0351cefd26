//! Publishes one message.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use crate::ports::free_port;

/// Publishes to a broker on loopback and waits until the broker has it.
///
/// # Panics
/// Not within a minute.
pub async fn once(port: u16, topic: &str, payload: &str) {
    // A free port is as good as any unique number.
    let options = MqttOptions::new(format!("test-publisher-{}", free_port()), "127.0.0.1", port);
    let (client, mut eventloop) = AsyncClient::new(options, 4);
    let publish = client.publish(topic.to_owned(), QoS::AtLeastOnce, false, payload.to_owned());
    let sent = async {
        publish.await.unwrap_or_else(|e| panic!("{topic}: {e}"));
        loop {
            match eventloop.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => return,
                Ok(_) => {}
                Err(e) => panic!("{topic} cannot be published: {e}"),
            }
        }
    };
    tokio::time::timeout(crate::TIMEOUT, sent)
        .await
        .unwrap_or_else(|_| panic!("{topic}: no word of the broker"));
}
