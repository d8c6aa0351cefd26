//! The hub's side of commands: publishes, sends requests with MQTT 5 response topic and correlation data, waits for replies.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::TIMEOUT;
use crate::ports::free_port;

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The payload.
    pub payload: Vec<u8>,
    /// The correlation data that came with it.
    pub correlation: Vec<u8>,
}

/// A connected client that asks.
#[derive(Debug)]
pub struct Requester {
    client: AsyncClient,
    answers_to: String,
    answers: mpsc::Receiver<Answer>,
    acked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Requester {
    /// Connects to a broker on loopback, without a user, and waits until answers can reach it.
    ///
    /// # Panics
    /// Not within a minute.
    pub async fn on(port: u16) -> Requester {
        let name = format!("test-requester-{}", free_port());
        let answers_to = format!("answers/{name}");
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_max_packet_size(Some(16 << 20));
        let (client, mut eventloop) = AsyncClient::new(options, 64);
        let (answered, answers) = mpsc::channel(1024);
        let (acks, acked) = watch::channel(0);
        let (ready, mut is_ready) = watch::channel(false);
        let (asking, topic) = (client.clone(), answers_to.clone());
        let task = tokio::spawn(async move {
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        drop(asking.try_subscribe(topic.clone(), QoS::AtLeastOnce));
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.send_replace(true)),
                    Ok(Event::Incoming(Packet::PubAck(_))) => acks.send_modify(|n| *n += 1),
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let correlation = publish.properties.and_then(|p| p.correlation_data);
                        let answer = Answer {
                            payload: publish.payload.to_vec(),
                            correlation: correlation.map(|c| c.to_vec()).unwrap_or_default(),
                        };
                        if answered.send(answer).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        let waited = tokio::time::timeout(TIMEOUT, is_ready.wait_for(|r| *r)).await;
        assert!(matches!(waited, Ok(Ok(_))), "the requester could not subscribe");
        Requester { client, answers_to, answers, acked, task }
    }

    /// Publishes and waits until the broker has it.
    ///
    /// # Panics
    /// The broker does not take it within a minute.
    pub async fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        self.send(topic, payload, retain, PublishProperties::default()).await;
    }

    /// Sends a command that wants an answer, and waits until the broker has it.
    ///
    /// # Panics
    /// The broker does not take it within a minute.
    pub async fn ask(&self, topic: &str, payload: &[u8], correlation: &[u8]) {
        let properties = PublishProperties {
            response_topic: Some(self.answers_to.clone()),
            correlation_data: Some(correlation.to_vec().into()),
            ..PublishProperties::default()
        };
        self.send(topic, payload, false, properties).await;
    }

    async fn send(&self, topic: &str, payload: &[u8], retain: bool, properties: PublishProperties) {
        let mut acked = self.acked.clone();
        let before = *acked.borrow_and_update();
        let payload = payload.to_vec();
        let sent =
            self.client.publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties).await;
        assert!(sent.is_ok(), "the requester's client is gone");
        let waited = tokio::time::timeout(TIMEOUT, acked.wait_for(|n| *n > before)).await;
        assert!(matches!(waited, Ok(Ok(_))), "the broker did not take a message on {topic}");
    }

    /// The next answer.
    ///
    /// # Panics
    /// There is none within the deadline.
    pub async fn answer(&mut self, within: Duration) -> Answer {
        match tokio::time::timeout(within, self.answers.recv()).await {
            Ok(Some(answer)) => answer,
            _ => panic!("no answer within {within:?}"),
        }
    }

    /// Publishes messages of so many bytes without acknowledgement, for ever, as fast as the broker takes them.
    pub async fn flood(&self, topic: &str, bytes: usize) {
        let payload = bytes::Bytes::from(vec![b'x'; bytes]);
        while self.client.publish(topic, QoS::AtMostOnce, false, payload.clone()).await.is_ok() {}
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.task.abort();
    }
}
