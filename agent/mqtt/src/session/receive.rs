//! What the broker answers, what it does not answer in time, and what it chokes on.

use std::time::Duration;

use aimass_core::traits::{NeverTaken, Outbox};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet, PubAckReason};
use rumqttc::v5::{ConnectionError, Event as MqttEvent, EventLoop, StateError};
use tokio::time::Instant;

use super::{End, Message, Session, Ticket};
use crate::error::{self, LinkError, LinkErrorKind};
use crate::window::OutOfStep;

/// How often a stopping link looks whether all is delivered.
const STOP_TICK: Duration = Duration::from_millis(20);
/// The reason "packet too large", which MQTT does not allow in a PUBACK and Mosquitto sends there all the same.
const TOO_LARGE: u8 = 0x95;
/// How often a broker may break over the same event before the event is given up.
const STRIKES: u8 = 3;

/// A way that carries less is taken for broken.
const SLOWEST_BYTES_PER_S: u32 = 500;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Delivered,
    /// Later, perhaps. `all`: the broker takes nothing at all for now.
    NotNow {
        all: bool,
    },
    Never,
    /// The broker's view of the session is not ours.
    OutOfStep,
}

/// By when a message must be answered that was handed in at `since`, when the last answer came at `last_ack`.
fn answer_due(since: Instant, last_ack: Instant, bytes: u32, ack_timeout: Duration) -> Instant {
    since.max(last_ack) + ack_timeout + Duration::from_secs(u64::from(bytes / SLOWEST_BYTES_PER_S))
}

fn verdict(reason: PubAckReason) -> Verdict {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Delivered,
        PubAckReason::NotAuthorized
        | PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError => Verdict::NotNow { all: false },
        PubAckReason::QuotaExceeded => Verdict::NotNow { all: true },
        PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => Verdict::Never,
        PubAckReason::PacketIdentifierInUse => Verdict::OutOfStep,
    }
}

fn words(reason: PubAckReason) -> &'static str {
    match reason {
        PubAckReason::NotAuthorized => "not authorised",
        PubAckReason::QuotaExceeded => "quota exceeded",
        PubAckReason::TopicNameInvalid => "topic name invalid",
        PubAckReason::PayloadFormatInvalid => "payload format invalid",
        PubAckReason::ImplementationSpecificError => "a reason of the broker's own",
        _ => "unspecified error",
    }
}

impl Session<'_> {
    /// One thing from the library. An error is the end of the connection.
    pub(super) async fn handle(
        &mut self,
        polled: Result<MqttEvent, ConnectionError>,
        eventloop: &mut EventLoop,
    ) -> Result<(), End> {
        let error = match polled {
            Ok(event) => {
                if self.on_event(event).await.is_err() {
                    return Err(
                        self.lost(LinkErrorKind::Protocol, "the broker acknowledged what was not sent")
                    );
                }
                return Ok(());
            }
            Err(error) => error,
        };
        // Acks that came in before the end count.
        while let Some(event) = eventloop.state.events.pop_front() {
            if self.on_event(event).await.is_err() {
                break;
            }
        }
        self.find_culprit(&error).await;
        Err(End::Lost(error::name(&error, &self.core.at, &self.core.config, &self.core.facts())))
    }

    async fn on_event(&mut self, event: MqttEvent) -> Result<(), OutOfStep> {
        match event {
            MqttEvent::Outgoing(Outgoing::Publish(packet_id)) => {
                self.window.sent(packet_id)?;
                self.core.published();
            }
            MqttEvent::Outgoing(Outgoing::Subscribe(packet_id)) => self.window.sent(packet_id)?,
            MqttEvent::Incoming(Packet::SubAck(ack)) => {
                let ticket = self.window.acked(ack.pkid)?;
                self.last_ack = Instant::now();
                if !matches!(ticket.what, Message::Subscribe) {
                    return Err(OutOfStep);
                }
                self.on_granted(&ack.return_codes);
            }
            MqttEvent::Incoming(Packet::Publish(publish)) => self.on_publish(&publish),
            MqttEvent::Incoming(Packet::PubAck(ack)) => {
                let ticket = self.window.acked(ack.pkid)?;
                self.last_ack = Instant::now();
                self.core.answered(self.window.len());
                // Not for states: however many there are, the events after them still go one by one.
                if matches!(ticket.what, Message::Event { .. }) {
                    self.core.careful = self.core.careful.saturating_sub(1);
                }
                self.probing = false;
                return self.on_answer(ticket, ack.reason).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn on_answer(&mut self, ticket: Ticket, reason: PubAckReason) -> Result<(), OutOfStep> {
        let verdict = verdict(reason);
        let (seq, id, topic) = match ticket.what {
            Message::Event { seq, id, topic } => {
                self.share.acked(ticket.since, Instant::now());
                (seq, id, topic)
            }
            Message::Reply(reply) => {
                if verdict != Verdict::Delivered {
                    tracing::warn!(
                        topic = reply.to.topic(),
                        reason = words(reason),
                        "The broker refused the answer to a command; it is lost."
                    );
                }
                return Ok(());
            }
            // Asked for with SUBSCRIBE, answered with SUBACK.
            Message::Subscribe => return Err(OutOfStep),
            Message::State { topic, version } => {
                if verdict == Verdict::Delivered {
                    self.core.held.accepted(&topic);
                    self.core.board.settled(&topic, version);
                } else if self.core.held.refuse(&topic, Instant::now()) {
                    tracing::warn!(
                        topic = &*topic,
                        reason = words(reason),
                        "The broker refuses a state; it is tried again now and then: check its access list."
                    );
                }
                return Ok(());
            }
            Message::Status => {
                if verdict != Verdict::Delivered {
                    tracing::warn!(
                        reason = words(reason),
                        "The broker refused our status: check its access list."
                    );
                }
                return Ok(());
            }
        };
        match verdict {
            Verdict::Delivered => {
                self.core.acks.delivered(seq).await;
                if self.core.refusals.accepted(&topic, seq) {
                    tracing::info!(topic, "The broker takes events of this topic again.");
                    self.core.tell_refused();
                    if !self.core.refusals.any_refused() {
                        self.core.topic_works();
                    }
                }
            }
            Verdict::NotNow { all } => self.refuse(topic, seq, reason, all),
            Verdict::Never => {
                self.give_up(seq, id, topic, NeverTaken::Refused, words(reason).to_owned()).await
            }
            Verdict::OutOfStep => return Err(OutOfStep),
        }
        Ok(())
    }

    fn refuse(&mut self, topic: String, seq: u64, reason: PubAckReason, all: bool) {
        if self.core.refusals.refuse(&topic, seq) {
            tracing::warn!(
                topic,
                reason = words(reason),
                "The broker refuses events of a topic; they stay in the outbox and are tried again."
            );
        }
        self.paused |= all;
        if self.core.retry_at.is_none() {
            self.core.retry_at = Some(Instant::now() + self.core.refusals.next_wait());
        }
        self.core.tell_refused();
        self.core.failed_topic(LinkError::TopicRefused { topic, reason: words(reason).to_owned() });
    }

    /// By when the broker must have answered. The time runs from the last answer, and a long message has longer: a
    /// slow way that carries on is no broken one. What takes longer than about 45 kB at 1 kB/s the keep-alive ends.
    fn ack_due(&self) -> Option<Instant> {
        let oldest = self.window.oldest()?;
        Some(answer_due(oldest.since, self.last_ack, oldest.bytes, self.core.ack_timeout()))
    }

    /// The moment at which something must happen though nothing came in.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let ack = self.ack_due();
        let renew = (self.renewing && self.window.is_empty()).then_some(now);
        let stop = self.stopping.then(|| self.look_at.unwrap_or(now));
        let files = (!self.stopping && !self.renewing).then_some(self.look_at_files);
        // Only while nothing else keeps the replay back.
        let replay = (self.is_open() && self.share.lets_replay(self.window.len()))
            .then(|| self.rate.next())
            .filter(|at| *at > now);
        let subscribe = if self.has_room() { self.core.subscriptions.due() } else { None };
        let held = self.core.held.due(now);
        [ack, renew, self.core.retry_at, stop, files, replay, subscribe, held].into_iter().flatten().min()
    }

    /// The deadline has passed.
    pub(super) async fn on_time(&mut self, outbox: &impl Outbox) -> Option<End> {
        let now = Instant::now();
        if self.ack_due().is_some_and(|at| at <= now) {
            let problem = format!(
                "no acknowledgement for {} s: a new connection is made and everything unacknowledged is sent again",
                self.core.config.ack_timeout_s
            );
            return Some(self.lost(LinkErrorKind::AckTimeout, &problem));
        }
        for topic in self.core.held.freed(self.looked_at_held, now) {
            self.core.board.due_again(topic);
        }
        self.looked_at_held = now;
        if self.core.retry_at.is_some_and(|at| at <= now) {
            self.paused = false;
            self.core.refusals.begin_round();
            self.core.retry_at =
                self.core.refusals.any_refused().then(|| now + self.core.refusals.next_wait());
        }
        if !self.stopping && !self.renewing && self.look_at_files <= now {
            self.look_at_files = now + self.core.files_every;
            self.renewing = self.files_were_renewed().await;
        }
        if self.renewing && self.window.is_empty() {
            return Some(End::Again);
        }
        if !self.stopping {
            return None;
        }
        if self.core.stop.deadline().is_some_and(|at| at <= now) || self.is_drained(outbox).await {
            return Some(End::Stopped);
        }
        self.look_at = Some(now + STOP_TICK);
        None
    }

    /// Whether the broker has everything that it takes.
    async fn is_drained(&self, outbox: &impl Outbox) -> bool {
        let answers = !self.core.waiting_replies.is_empty() || !self.core.replies_again.is_empty();
        if answers || !self.window.is_empty() || self.announced.is_none() {
            return false;
        }
        self.core.acks.flush().await;
        let refusals = &self.core.refusals;
        let left = outbox.pending(0, refusals.len() + 1).await;
        left.is_ok_and(|left| left.iter().all(|event| refusals.contains(event.seq)))
    }

    /// The connection broke: was it over one of our messages? Then it must not break for ever.
    async fn find_culprit(&mut self, error: &ConnectionError) {
        let ConnectionError::MqttState(error) = error else {
            return;
        };
        let guilty = match error {
            // Answers come in the order of the messages: the one that cannot be read is for the oldest.
            StateError::Deserialization(PacketError::InvalidConnectReturnCode(_)) => {
                self.window.unanswered().find(|t| t.bytes > 0)
            }
            StateError::ServerDisconnect { reason_code: DisconnectReasonCode::PacketTooLarge, .. } => {
                self.window.unanswered().filter(|t| t.bytes > 0).max_by_key(|t| t.bytes)
            }
            _ => return,
        };
        let Some(Ticket { what, bytes, .. }) = guilty else {
            return;
        };
        let unreadable = matches!(error, StateError::Deserialization(PacketError::InvalidConnectReturnCode(code)) if *code != TOO_LARGE);
        if !unreadable {
            tracing::warn!(
                bytes,
                "The broker finds a message too large without having told its limit; from now on we keep below that."
            );
            self.core.learned_max_packet = self.core.learned_max_packet.min(bytes.saturating_sub(1));
            return;
        }
        // The library says the same of a DISCONNECT whose reason it does not know: only an event that was alone on its
        // way is surely the cause.
        if self.window.len() == 1
            && let Message::Event { seq, id, topic, .. } = what
        {
            let (seq, id, topic) = (*seq, *id, topic.clone());
            if self.core.strike(seq) >= STRIKES {
                self.give_up(
                    seq,
                    id,
                    topic,
                    NeverTaken::Refused,
                    format!("the broker answers it with what MQTT does not know ({error})"),
                )
                .await;
            }
        }
    }

    /// The connection is over: a state that was alone on its way when it broke is what it broke over.
    pub(super) fn hold_culprit(&mut self, broke: bool) {
        let mut unanswered = self.window.unanswered().filter(|t| t.bytes > 0);
        if broke
            && let (Some(Ticket { what: Message::State { topic, .. }, .. }), None) =
                (unanswered.next(), unanswered.next())
        {
            self.core.held.refuse(topic, Instant::now());
        }
    }

    fn lost(&self, kind: LinkErrorKind, problem: &str) -> End {
        End::Lost(LinkError::connection(kind, &self.core.at, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_an_answer_runs_from_the_last_answer_and_is_longer_for_long_messages() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        assert_eq!(answer_due(start, start, 200, s(10)), start + s(10));
        assert_eq!(answer_due(start, start + s(7), 200, s(10)), start + s(17), "it carries on");
        assert_eq!(answer_due(start + s(7), start, 5_000, s(10)), start + s(27));
    }

    #[test]
    fn only_a_success_counts_as_delivered_and_only_what_can_never_pass_is_given_up() {
        use PubAckReason as R;
        assert_eq!(verdict(R::Success), Verdict::Delivered);
        assert_eq!(verdict(R::NoMatchingSubscribers), Verdict::Delivered);
        assert_eq!(verdict(R::NotAuthorized), Verdict::NotNow { all: false });
        assert_eq!(verdict(R::QuotaExceeded), Verdict::NotNow { all: true });
        assert_eq!(verdict(R::PayloadFormatInvalid), Verdict::Never);
        assert_eq!(verdict(R::PacketIdentifierInUse), Verdict::OutOfStep);
    }
}
