//! A connection for one errand: publish something, perhaps wait for the answer, leave. For the command line.
//!
//! Driven by its caller's task; nothing happens between two calls. Messages that come in meanwhile wait in a list of
//! 64; what is more is dropped. One connection only: whatever goes wrong ends the errand.

use std::collections::VecDeque;
use std::time::Duration;

use aimass_core::runtime::clock::SharedClock;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use tokio::time::Instant;

use crate::address::BrokerAddress;
use crate::config::BrokerConfig;
use crate::error::{self, Facts, LinkError, LinkErrorKind};
use crate::options;

/// Messages that wait to be asked for.
const MOST_WAITING: usize = 64;

/// A message to send.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// The broker keeps it for those who come later.
    pub retain: bool,
    /// Where the answer should go.
    pub response_topic: Option<String>,
    /// What the answer should carry, to be told from others.
    pub correlation: Option<Vec<u8>>,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Where it was published.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// The correlation data.
    pub correlation: Option<Vec<u8>>,
}

/// The connection.
pub struct OneShot {
    client: AsyncClient,
    eventloop: EventLoop,
    config: BrokerConfig,
    at: BrokerAddress,
    facts: Facts,
    waiting: VecDeque<Incoming>,
}

impl OneShot {
    /// Connects to the first of the brokers, under a client id that nobody else uses. `clock_ok` tells whether the
    /// clock can be relied on.
    ///
    /// # Errors
    /// The configuration, its files, the network or the broker.
    pub async fn connect(
        config: &BrokerConfig,
        client_id: String,
        clock: SharedClock,
        clock_ok: bool,
    ) -> Result<OneShot, LinkError> {
        let Some(at) = config.validate()?.into_iter().next() else {
            return Err(LinkError::Config { field: "url", problem: "names no broker".into() });
        };
        let (settings, address, now) = (config.clone(), at.clone(), clock.wall());
        let build = move || options::build(&settings, &address, client_id, None, 16, &clock);
        let built = tokio::task::spawn_blocking(build).await;
        let built = built.map_err(|e| LinkError::connection(LinkErrorKind::Config, &at, e.to_string()))??;
        let facts = Facts { now, clock_ok, own_certificate: built.own_certificate };
        let mut options = built.options;
        // Nothing here must be safe on disk before it counts as received.
        options.set_manual_acks(false);
        let (client, eventloop) = AsyncClient::new(options, 16);
        let mut shot =
            OneShot { client, eventloop, config: config.clone(), at, facts, waiting: VecDeque::new() };
        let patience = Duration::from_secs(u64::from(config.connect_timeout_s));
        shot.until(patience, |packet| matches!(packet, Packet::ConnAck(_)).then_some(Ok(()))).await?;
        Ok(shot)
    }

    /// Subscribes to a topic and waits for the broker's word.
    ///
    /// # Errors
    /// The broker refuses, or the connection breaks.
    pub async fn subscribe(&mut self, topic: &str) -> Result<(), LinkError> {
        self.client.subscribe(topic, QoS::AtLeastOnce).await.map_err(|e| self.closed(&e))?;
        let granted = self
            .until(self.patience(), |packet| match packet {
                Packet::SubAck(ack) => Some(Ok(ack.return_codes.clone())),
                _ => None,
            })
            .await?;
        match granted.first() {
            Some(SubscribeReasonCode::Success(_)) => Ok(()),
            other => {
                let reason = other.map_or("no reason".to_owned(), |code| format!("{code:?}"));
                let text = format!(
                    "topic {topic}: the broker refused the subscription ({reason}): check its access list"
                );
                Err(LinkError::connection(LinkErrorKind::NotAuthorised, &self.at, text))
            }
        }
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    ///
    /// # Errors
    /// The broker refuses, does not answer in time, or the connection breaks.
    pub async fn publish(&mut self, message: Outgoing) -> Result<(), LinkError> {
        let properties = PublishProperties {
            response_topic: message.response_topic,
            correlation_data: message.correlation.map(Bytes::from),
            ..PublishProperties::default()
        };
        let topic = message.topic.clone();
        self.client
            .publish_with_properties(
                message.topic,
                QoS::AtLeastOnce,
                message.retain,
                message.payload,
                properties,
            )
            .await
            .map_err(|e| self.closed(&e))?;
        let reason = self
            .until(self.patience(), |packet| match packet {
                Packet::PubAck(ack) => Some(Ok(ack.reason)),
                _ => None,
            })
            .await;
        let reason = reason.map_err(|error| match error.kind() {
            // Mosquitto 2.0.11 often hangs up over a message that it denies, instead of saying so.
            LinkErrorKind::Lost | LinkErrorKind::Protocol => {
                let text = format!(
                    "topic {topic}: the connection ended over the message ({error}): does the broker's access list allow it?"
                );
                LinkError::connection(error.kind(), &self.at, text)
            }
            _ => error,
        })?;
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
            refused => {
                let text = format!(
                    "topic {topic}: the broker refused the message ({refused:?}): check its access list"
                );
                Err(LinkError::connection(LinkErrorKind::NotAuthorised, &self.at, text))
            }
        }
    }

    /// The next message that fits, or `None` when the deadline has passed. The others go on waiting.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn expect(
        &mut self,
        within: Duration,
        fits: impl Fn(&Incoming) -> bool,
    ) -> Result<Option<Incoming>, LinkError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(message) = take_first(&mut self.waiting, &fits) {
                return Ok(Some(message));
            }
            match tokio::time::timeout_at(deadline, self.step()).await {
                Ok(step) => drop(step?),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let leave = async {
            if self.client.disconnect().await.is_ok() {
                while self.eventloop.poll().await.is_ok() {}
            }
        };
        // All that mattered was acknowledged before.
        tokio::time::timeout(Duration::from_secs(2), leave).await.ok();
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.config.ack_timeout_s))
    }

    fn closed(&self, error: &dyn std::fmt::Display) -> LinkError {
        LinkError::connection(LinkErrorKind::Lost, &self.at, error.to_string())
    }

    /// Goes on until a packet answers.
    async fn until<T>(
        &mut self,
        within: Duration,
        answer: impl Fn(&Packet) -> Option<Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let deadline = Instant::now() + within;
        loop {
            match tokio::time::timeout_at(deadline, self.step()).await {
                Ok(step) => {
                    if let Some(found) = step?.as_ref().and_then(&answer) {
                        return found;
                    }
                }
                Err(_) => {
                    let text = format!("no answer within {} s: is the broker overloaded?", within.as_secs());
                    return Err(LinkError::connection(LinkErrorKind::AckTimeout, &self.at, text));
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Packet>, LinkError> {
        match self.eventloop.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if self.waiting.len() < MOST_WAITING {
                    let correlation = publish.properties.as_ref().and_then(|p| p.correlation_data.clone());
                    self.waiting.push_back(Incoming {
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        payload: publish.payload.to_vec(),
                        retained: publish.retain,
                        correlation: correlation.map(|data| data.to_vec()),
                    });
                }
                Ok(None)
            }
            Ok(Event::Incoming(packet)) => Ok(Some(packet)),
            Ok(Event::Outgoing(_)) => Ok(None),
            Err(error) => Err(error::name(&error, &self.at, &self.config, &self.facts)),
        }
    }
}

/// Takes out the first that fits.
fn take_first<T>(waiting: &mut VecDeque<T>, fits: impl Fn(&T) -> bool) -> Option<T> {
    let place = waiting.iter().position(fits)?;
    waiting.remove(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_goes_on_waiting() {
        let mut waiting = VecDeque::from([1, 2, 3]);
        assert_eq!(take_first(&mut waiting, |n| *n == 2), Some(2));
        assert_eq!(take_first(&mut waiting, |n| *n == 2), None);
        assert_eq!(waiting, [1, 3]);
    }
}
