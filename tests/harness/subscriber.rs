//! A subscriber that keeps every message in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ports::free_port;

/// One message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before the subscription.
    pub retained: bool,
}

impl Message {
    /// The payload as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> serde_json::Value {
        let shown = String::from_utf8_lossy(&self.payload);
        serde_json::from_slice(&self.payload).unwrap_or_else(|e| panic!("{}: {e}: {shown}", self.topic))
    }
}

type Seen = Arc<Mutex<Vec<Message>>>;

/// A connected subscriber. It connects again by itself; its session outlives a connection where the broker does.
#[derive(Debug)]
pub struct Subscriber {
    seen: Seen,
    grown: watch::Receiver<usize>,
    subscribed: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes to a filter on a broker on loopback, without a user, and waits for the acknowledgement of the broker.
    pub async fn on(port: u16, filter: &str) -> Subscriber {
        Self::with(port, filter, None).await
    }

    /// The same as a user with a password.
    pub async fn as_user(port: u16, filter: &str, name: &str, password: &str) -> Subscriber {
        Self::with(port, filter, Some((name, password))).await
    }

    async fn with(port: u16, filter: &str, user: Option<(&str, &str)>) -> Subscriber {
        // A free port is as good as any unique number.
        let mut options = MqttOptions::new(format!("test-subscriber-{}", free_port()), "127.0.0.1", port);
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(600));
        options.set_max_packet_size(Some(16 << 20));
        options.set_keep_alive(Duration::from_secs(60));
        options.set_outgoing_inflight_upper_limit(16);
        if let Some((name, password)) = user {
            options.set_credentials(name, password);
        }
        let seen = Seen::default();
        let (grown_tx, grown) = watch::channel(0);
        let (subscribed_tx, subscribed) = watch::channel(0);
        let task = tokio::spawn(collect(options, filter.to_owned(), seen.clone(), grown_tx, subscribed_tx));
        let subscriber = Subscriber { seen, grown, subscribed, task };
        subscriber.wait_subscribed(1).await;
        subscriber
    }

    /// How often it subscribed: once for each connection.
    pub fn subscriptions(&self) -> u64 {
        *self.subscribed.borrow()
    }

    /// Waits until it has subscribed so often.
    ///
    /// # Panics
    /// Not within a minute.
    pub async fn wait_subscribed(&self, times: u64) {
        let mut subscribed = self.subscribed.clone();
        let waited = tokio::time::timeout(crate::TIMEOUT, subscribed.wait_for(|n| *n >= times)).await;
        assert!(matches!(waited, Ok(Ok(_))), "the subscriber did not get subscription {times}");
    }

    /// All messages so far, in order.
    pub fn all(&self) -> Vec<Message> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All messages but the first `count`, in order.
    pub fn since(&self, count: usize) -> Vec<Message> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(count..).map(<[Message]>::to_vec).unwrap_or_default()
    }

    /// How many messages came so far.
    pub fn count(&self) -> usize {
        *self.grown.borrow()
    }

    /// Waits until so many messages came, ever.
    ///
    /// # Panics
    /// They do not within the deadline.
    pub async fn wait_count(&self, count: usize, within: Duration) {
        let mut grown = self.grown.clone();
        let waited = tokio::time::timeout(within, grown.wait_for(|n| *n >= count)).await;
        assert!(matches!(waited, Ok(Ok(_))), "not {count} messages within {within:?}; {}", self.summary());
    }

    /// Forgets the messages so far.
    pub fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The first message, old or new, that fits: `subscriber.expect(|m| …).within(…).await`.
    pub fn expect<F: Fn(&Message) -> bool>(&self, fits: F) -> Expectation<'_, F> {
        Expectation { subscriber: self, fits }
    }

    /// Waits until all messages together fit, and returns them.
    ///
    /// # Panics
    /// They do not within the deadline; the message lists the last ones.
    pub async fn expect_all(
        &self,
        what: &str,
        within: Duration,
        fits: impl Fn(&[Message]) -> bool,
    ) -> Vec<Message> {
        let mut grown = self.grown.clone();
        let search = async {
            loop {
                grown.mark_unchanged();
                if fits(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
                    return;
                }
                if grown.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if tokio::time::timeout(within, search).await.is_err() {
            panic!("{what}: not within {within:?}; {}", self.summary());
        }
        self.all()
    }

    fn summary(&self) -> String {
        let all = self.all();
        let last: Vec<String> = all.iter().rev().take(20).rev().map(shown).collect();
        format!("{} messages came, the last ones:\n{}", all.len(), last.join("\n"))
    }
}

fn shown(message: &Message) -> String {
    let text: String = String::from_utf8_lossy(&message.payload).chars().take(200).collect();
    format!("{} {}{text}", message.topic, if message.retained { "(retained) " } else { "" })
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Something that should come.
#[derive(Debug)]
pub struct Expectation<'a, F> {
    subscriber: &'a Subscriber,
    fits: F,
}

impl<F: Fn(&Message) -> bool> Expectation<'_, F> {
    /// Waits for it.
    ///
    /// # Panics
    /// It does not come within the deadline.
    pub async fn within(self, deadline: Duration) -> Message {
        let all = self
            .subscriber
            .expect_all("an expected message", deadline, |all| all.iter().any(&self.fits))
            .await;
        let found = all.into_iter().find(&self.fits);
        found.unwrap_or_else(|| panic!("the expected message was forgotten meanwhile"))
    }
}

async fn collect(
    options: MqttOptions,
    filter: String,
    seen: Seen,
    grown: watch::Sender<usize>,
    subscribed: watch::Sender<u64>,
) {
    let (client, mut eventloop) = AsyncClient::new(options, 16);
    loop {
        match eventloop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                drop(client.try_subscribe(filter.clone(), QoS::AtLeastOnce))
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => subscribed.send_modify(|n| *n += 1),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(Message {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    payload: publish.payload.to_vec(),
                    retained: publish.retain,
                });
                grown.send_modify(|n| *n += 1);
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
