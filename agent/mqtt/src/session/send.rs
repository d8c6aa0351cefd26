//! What goes out next, and what is too large to go out.

use aimass_core::event::Event;
use aimass_core::traits::NeverTaken;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::time::Instant;

use super::{Message, Session, Ticket, Undeliverable};
use crate::document::{self, Presence};
use crate::replies::{self, Reply};

/// How many answers to commands may be out: a flood of commands must not fill the window with answers.
const MOST_REPLIES: usize = 4;

impl Session<'_> {
    /// Hands in whatever may go now without waiting.
    pub(super) async fn fill(&mut self) {
        while self.has_room() {
            if self.subscribe() || self.send_state() {
                continue;
            }
            if self.lets_reply()
                && let Some(reply) = self.next_reply()
            {
                self.send_reply(reply);
                continue;
            }
            if !self.is_open() {
                return;
            }
            let now = Instant::now();
            // What is new does not wait behind all that was refused before.
            if !self.asked_again {
                if let Ok(event) = self.lanes.alarms.try_recv() {
                    self.take(event).await;
                    continue;
                }
                if self.share.lets_live(self.window.len())
                    && let Ok(event) = self.lanes.live.try_recv()
                {
                    self.take(event).await;
                    continue;
                }
            }
            self.ask_again();
            if self.asked_again {
                let Ok(event) = self.lanes.again.try_recv() else {
                    return;
                };
                self.take_again(event).await;
            } else if self.lets_replay(now)
                && let Ok(event) = self.lanes.replay.try_recv()
            {
                self.take_replay(event).await;
            } else {
                return;
            }
        }
    }

    /// Whether one more message may be sent. A refused topic is probed alone, see the top of `session.rs`.
    pub(super) fn has_room(&self) -> bool {
        if self.renewing {
            return false;
        }
        if self.core.careful > 0 || self.probing || self.asked_again {
            return self.window.is_empty();
        }
        self.window.room() > 0
    }

    /// Whether events may go: there is room, the states and `status` are out, and the broker takes events.
    pub(super) fn is_open(&self) -> bool {
        self.has_room() && self.announced.is_some() && !self.paused
    }

    pub(super) fn lets_replay(&mut self, now: Instant) -> bool {
        self.share.lets_replay(self.window.len()) && self.rate.lets(now)
    }

    pub(super) fn lets_reply(&self) -> bool {
        self.window.unanswered().filter(|t| matches!(t.what, Message::Reply(_))).count() < MOST_REPLIES
    }

    fn next_reply(&mut self) -> Option<Reply> {
        self.core.replies_again.pop_front().or_else(|| self.core.waiting_replies.try_recv().ok())
    }

    /// Sends an answer, or the word that it is larger than the broker takes, or nothing if that is too large too.
    pub(super) fn send_reply(&mut self, mut reply: Reply) {
        let properties = PublishProperties {
            correlation_data: reply.to.correlation().cloned(),
            ..PublishProperties::default()
        };
        let more = reply.to.correlation().map_or(0, |c| c.len() + 6);
        let topic = reply.to.topic().to_owned();
        let mut bytes = packet_bytes(&topic, reply.payload.len() + more);
        if bytes > self.max_packet() {
            tracing::warn!(
                topic,
                bytes,
                limit = self.max_packet(),
                "An answer is larger than the broker takes."
            );
            let message = format!("the answer has {bytes} bytes, the broker takes {}", self.max_packet());
            reply.payload = replies::error("too_large", &message);
            bytes = packet_bytes(&topic, reply.payload.len() + more);
            if bytes > self.max_packet() {
                return;
            }
        }
        let payload = reply.payload.clone();
        let sent = self.client.try_publish_with_properties(
            topic.clone(),
            QoS::AtLeastOnce,
            false,
            payload,
            properties,
        );
        self.handed_in(Message::Reply(reply), bytes, sent.map_err(|e| e.to_string()));
    }

    /// The connection is over: answers that it took along are sent on the next one, but not for ever.
    pub(super) fn keep_replies(&mut self) {
        for ticket in self.window.unanswered() {
            let Message::Reply(reply) = &ticket.what else { continue };
            match reply.once_more() {
                Some(again) => self.core.replies_again.push_back(again),
                None => tracing::warn!(
                    topic = reply.to.topic(),
                    bytes = ticket.bytes,
                    "An answer did not get through on two connections; it is thrown away."
                ),
            }
        }
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
        if self.core.held.holds(&due.topic, Instant::now()) {
            return true;
        }
        let topic = due.whole_topic(&self.core.root);
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

    /// An event from the lane of alarms or of what happens now.
    pub(super) async fn take(&mut self, event: Event) {
        let replay = event.seq <= self.boundary;
        self.take_as(event, replay).await;
    }

    /// An event from the backlog.
    pub(super) async fn take_replay(&mut self, event: Event) {
        self.rate.take();
        self.take_as(event, true).await;
    }

    async fn take_as(&mut self, event: Event, replay: bool) {
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
                let reason = format!("it cannot be written as JSON: {error}");
                return self.give_up(seq, id, topic, NeverTaken::Refused, reason).await;
            }
        };
        let bytes = packet_bytes(&topic, payload.len());
        if bytes > self.max_packet() {
            let reason = format!("its {bytes} bytes are above the broker's limit of {}", self.max_packet());
            return self.give_up(seq, id, topic, NeverTaken::TooLarge, reason).await;
        }
        let message = Message::Event { seq, id, topic: topic.clone() };
        self.hand_in(topic, payload.into(), false, message);
    }

    fn hand_in(&mut self, topic: String, payload: bytes::Bytes, retain: bool, what: Message) {
        let bytes = packet_bytes(&topic, payload.len());
        let sent = self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload);
        self.handed_in(what, bytes, sent.map_err(|e| e.to_string()));
    }

    /// A message that needs an answer was handed to the library. One that its queue did not take gets no ticket:
    /// tickets are matched in order, and the next ack would count for what was never sent.
    pub(super) fn handed_in(&mut self, what: Message, bytes: u32, sent: Result<(), String>) {
        // The queue holds more than a window, but a broker that sends more than it may fills it with our acks.
        if let Err(error) = sent {
            tracing::warn!(error, "The MQTT client did not take a message; it is sent on a new connection.");
            self.renewing = true;
            if let Message::Reply(reply) = what {
                self.core.replies_again.push_back(reply);
            }
            return;
        }
        self.window.hand_in(Ticket { what, bytes, since: Instant::now() });
        self.core.in_flight(self.window.len());
    }

    /// The broker can never take this event: it must not block what follows. The outbox gives it up with a receipt.
    pub(super) async fn give_up(
        &mut self,
        seq: u64,
        id: ulid::Ulid,
        topic: String,
        why: NeverTaken,
        reason: String,
    ) {
        tracing::error!(seq, %id, topic, reason, "The broker can never take an event; it is given up.");
        self.core.undeliverable(Undeliverable { seq, id, topic, reason });
        self.core.acks.never(seq, why).await;
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
