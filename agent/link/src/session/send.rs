//! What goes out next, and what is too large to go out.

use aimass_core::event::Event;
use rumqttc::v5::mqttbytes::QoS;
use tokio::time::Instant;

use super::{Message, Session, Ticket, Undeliverable};
use crate::document::{self, Presence};

impl Session<'_> {
    /// Hands in whatever may go now without waiting.
    pub(super) async fn fill(&mut self) {
        while self.has_room() {
            if self.send_state() {
                continue;
            }
            if self.announced.is_none() || self.paused {
                return;
            }
            self.ask_again();
            if self.asked_again {
                let Ok(event) = self.lanes.again.try_recv() else {
                    return;
                };
                self.take_again(event).await;
            } else if let Ok(event) = self.lanes.live.try_recv() {
                self.take(event, false).await;
            } else if self.replay_in_flight < self.replay_room
                && let Ok(event) = self.lanes.replay.try_recv()
            {
                self.take(event, true).await;
            } else {
                return;
            }
        }
    }

    /// Whether one more message may be sent. A refused topic is probed alone, see the top of `session.rs`.
    pub(super) fn has_room(&self) -> bool {
        if self.core.careful > 0 || self.probing || self.asked_again {
            return self.window.is_empty();
        }
        self.window.room() > 0
    }

    /// Sends the next state, or `status` when its turn has come. False if there is nothing to tell.
    fn send_state(&mut self) -> bool {
        let config_version = self.core.config_version();
        if self.states_first == 0 && self.announced != Some(config_version) {
            self.announced = Some(config_version);
            let presence = if self.stopping { Presence::Stopping } else { Presence::Online };
            let payload = document::status(&self.core.identity, config_version, presence, self.since);
            self.hand_in(format!("{}status", self.core.root), payload.into(), true, Message::Status);
            return true;
        }
        let due = self.core.board.next_due();
        self.states_first = if due.is_some() { self.states_first.saturating_sub(1) } else { 0 };
        let Some(due) = due else {
            return self.announced != Some(config_version);
        };
        let topic = format!("{}{}", self.core.root, due.topic);
        let bytes = packet_bytes(&topic, due.payload.len());
        if bytes > self.max_packet() {
            tracing::error!(
                topic,
                bytes,
                limit = self.max_packet(),
                "A state is larger than the broker takes; it is not sent."
            );
            self.core.board.settled(&due.topic, due.version);
            return true;
        }
        let ticket = Message::State { topic: due.topic, version: due.version };
        self.hand_in(topic, due.payload, due.retain, ticket);
        true
    }

    /// The feed's answer to a question for one event that was refused before.
    pub(super) async fn take_again(&mut self, answer: Result<Event, u64>) {
        self.asked_again = false;
        match answer {
            Ok(event) => {
                self.probing = true;
                self.send_event(event, true).await;
            }
            Err(seq) => self.core.refusals.forget(seq),
        }
    }

    /// An event from a lane.
    pub(super) async fn take(&mut self, event: Event, replay: bool) {
        let topic = document::event_topic(&self.core.root, &event);
        if self.core.refusals.is_refused(&topic) {
            self.core.refusals.refuse(&topic, event.seq);
            self.core.tell_refused();
            return;
        }
        self.send_event(event, replay).await;
    }

    fn ask_again(&mut self) {
        if !self.asked_again
            && let Some(seq) = self.core.refusals.next()
        {
            self.asked_again = self.lanes.ask_again.try_send(seq).is_ok();
        }
    }

    async fn send_event(&mut self, mut event: Event, replay: bool) {
        let topic = document::event_topic(&self.core.root, &event);
        let (seq, id) = (event.seq, event.id);
        event.replay = replay;
        let payload = match serde_json::to_vec(&event) {
            Ok(payload) => payload,
            Err(error) => {
                return self.give_up(seq, id, topic, format!("it cannot be written as JSON: {error}")).await;
            }
        };
        let bytes = packet_bytes(&topic, payload.len());
        if bytes > self.max_packet() {
            let reason = format!("its {bytes} bytes are above the broker's limit of {}", self.max_packet());
            return self.give_up(seq, id, topic, reason).await;
        }
        self.replay_in_flight += usize::from(replay);
        let message = Message::Event { seq, id, topic: topic.clone(), replay };
        self.hand_in(topic, payload.into(), false, message);
    }

    fn hand_in(&mut self, topic: String, payload: bytes::Bytes, retain: bool, what: Message) {
        let bytes = packet_bytes(&topic, payload.len());
        // The queue holds more than a window, and topics are made of names: a failure would be a bug, and the ack
        // timeout would heal it.
        if let Err(error) = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload) {
            tracing::error!(%error, "The MQTT client did not take a message; it is sent again on the next connection.");
        }
        self.window.hand_in(Ticket { what, bytes, since: Instant::now() });
        self.core.in_flight(self.window.len());
    }

    /// The broker can never take this event: it must not block what follows.
    pub(super) async fn give_up(&mut self, seq: u64, id: ulid::Ulid, topic: String, reason: String) {
        tracing::error!(seq, %id, topic, reason, "The broker can never take an event; it is given up.");
        self.core.undeliverable(Undeliverable { seq, id, topic, reason });
        self.core.acks.delivered(seq).await;
    }

    fn max_packet(&self) -> u32 {
        self.max_packet.min(self.core.learned_max_packet)
    }
}

/// How large a PUBLISH with an ack and without properties is on the wire.
fn packet_bytes(topic: &str, payload_bytes: usize) -> u32 {
    let rest = 2 + topic.len() + 2 + 1 + payload_bytes;
    let length_bytes = match rest {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    };
    u32::try_from(1 + length_bytes + rest).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::v5::mqttbytes::v5::Publish;

    #[test]
    fn the_size_of_a_packet_is_what_the_library_writes() {
        for payload in [0, 1, 100, 127, 128, 16_000, 16_384, 2_100_000] {
            let topic = "aimass/v1/s/n/event/x/object";
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, vec![0; payload], None);
            publish.pkid = 7;
            assert_eq!(packet_bytes(topic, payload) as usize, publish.size(), "{payload}");
        }
    }
}
