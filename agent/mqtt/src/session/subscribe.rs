//! What we ask the broker to send, and what it sends; and whether the files of the connection are still the same.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, SubscribeReasonCode};
use tokio::time::Instant;

use super::{Message, Session};
use crate::incoming::{self, Outcome};
use crate::replies::{self, Reply};

/// The most answers `busy` that wait for their turn; those beyond get none.
const MOST_BUSY: usize = 16;

impl Session<'_> {
    /// Asks for what is not granted yet. True if a SUBSCRIBE went out; it takes a place in the window, because the
    /// library counts its packet id among those of messages.
    pub(super) fn subscribe(&mut self) -> bool {
        let filters = self.core.subscriptions.ask(Instant::now());
        if filters.is_empty() {
            return false;
        }
        let filters = filters.into_iter().map(|topic| {
            let mut filter = Filter::new(topic, QoS::AtLeastOnce);
            // A retained command is to be known as such while it is passed on, too.
            filter.preserve_retain = filter.path.ends_with("/+");
            filter
        });
        let sent = self.client.try_subscribe_many(filters);
        self.handed_in(Message::Subscribe, 0, sent.map_err(|e| e.to_string()));
        // What the client did not take is asked for on the next connection.
        true
    }

    /// The broker's answers to a SUBSCRIBE.
    pub(super) fn on_granted(&mut self, codes: &[SubscribeReasonCode]) {
        let answers = codes.iter().map(|code| match code {
            SubscribeReasonCode::Success(_) => Ok(()),
            SubscribeReasonCode::NotAuthorized => Err("not authorised"),
            SubscribeReasonCode::QuotaExceeded => Err("quota exceeded"),
            SubscribeReasonCode::TopicFilterInvalid => Err("topic invalid"),
            SubscribeReasonCode::WildcardSubscriptionsNotSupported => Err("wildcards not supported"),
            _ => Err("refused without a reason"),
        });
        self.core.subscriptions.answered(Instant::now(), answers);
        self.core.tell_subscriptions();
    }

    /// A message from the broker. It is acknowledged once it is taken over, which happens at once or never.
    pub(super) fn on_publish(&mut self, publish: &Publish) {
        let properties = publish.properties.as_ref();
        let message = incoming::Message {
            topic: &publish.topic,
            payload: &publish.payload,
            retained: publish.retain,
            response_topic: properties.and_then(|p| p.response_topic.as_deref()),
            correlation: properties.and_then(|p| p.correlation_data.as_ref()),
        };
        if let Outcome::Busy(to) = self.core.inbox.take(&message, Instant::now())
            && self.core.replies_again.len() < MOST_BUSY
        {
            let payload = replies::error("busy", "too many commands wait already: ask again later");
            self.core.replies_again.push_back(Reply::new(to, payload));
        }
        // The broker may send no more than the queue has room for. One that does all the same gets no answer, and on a
        // new connection sends it again.
        if publish.qos != QoS::AtMostOnce
            && let Err(error) = self.client.try_ack(publish)
        {
            tracing::debug!(%error, "A message from the broker could not be acknowledged; a new connection is made.");
            self.renewing = true;
        }
    }

    /// Whether password, certificates or keys are others now, and can be used.
    pub(super) async fn files_were_renewed(&mut self) -> bool {
        let now = self.core.look_at_files().await;
        if now == self.files || self.core.files_refused.as_ref() == Some(&now) {
            return false;
        }
        match self.core.build().await {
            Ok(_) => {
                tracing::info!("Password or certificates were renewed: connecting anew with them.");
                self.core.files_refused = None;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "Password or certificates were changed and cannot be used; the connection goes on with the old ones.");
                self.core.files_refused = Some(now);
                false
            }
        }
    }
}
