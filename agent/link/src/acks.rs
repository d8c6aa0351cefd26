//! What became of events, on its way into the outbox. Runs inside the link's task for its whole life, beside the
//! sessions: an ack that the broker gave is written down even if the connection broke right after it.

use std::time::Duration;

use aimass_core::ports::{NeverTaken, Outbox};
use tokio::sync::{mpsc, oneshot};

/// How many may wait for the outbox; when full, the session waits and so the broker does.
const WAITING: usize = 256;
const RETRY: Duration = Duration::from_secs(1);

enum Message {
    Delivered(u64),
    Never(u64, NeverTaken),
    Flush(oneshot::Sender<()>),
}

/// The session's side.
#[derive(Clone)]
pub(crate) struct Acks(mpsc::Sender<Message>);

/// The outbox's side.
pub(crate) struct AckWriter(mpsc::Receiver<Message>);

pub(crate) fn acks() -> (Acks, AckWriter) {
    let (tx, rx) = mpsc::channel(WAITING);
    (Acks(tx), AckWriter(rx))
}

impl Acks {
    /// The broker has this event.
    pub(crate) async fn delivered(&self, seq: u64) {
        // The writer lives as long as the link's task: a failure means that the task is ending.
        drop(self.0.send(Message::Delivered(seq)).await);
    }

    /// The broker can never take this event.
    pub(crate) async fn never(&self, seq: u64, why: NeverTaken) {
        drop(self.0.send(Message::Never(seq, why)).await);
    }

    /// Returns once the outbox knows of everything so far.
    pub(crate) async fn flush(&self) {
        let (tx, rx) = oneshot::channel();
        if self.0.send(Message::Flush(tx)).await.is_ok() {
            drop(rx.await);
        }
    }
}

impl AckWriter {
    /// Writes until all senders are gone.
    pub(crate) async fn run(mut self, outbox: &impl Outbox) {
        while let Some(message) = self.0.recv().await {
            let (seq, never) = match message {
                Message::Flush(done) => {
                    done.send(()).ok();
                    continue;
                }
                Message::Delivered(seq) => (seq, None),
                Message::Never(seq, why) => (seq, Some(why)),
            };
            loop {
                let told = match never {
                    None => outbox.acknowledge(seq).await,
                    Some(why) => outbox.give_up(seq, why).await,
                };
                let Err(error) = told else { break };
                tracing::warn!(seq, %error, "The outbox did not take an acknowledgement; it is told again in a second.");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
