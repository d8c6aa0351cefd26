//! Acknowledgements on their way into the outbox. Runs inside the link's task for its whole life, beside the
//! sessions: an ack that the broker gave is written down even if the connection broke right after it.

use std::time::Duration;

use aimass_core::ports::Outbox;
use tokio::sync::{mpsc, oneshot};

/// How many acks may wait for the outbox; when full, the session waits and so the broker does.
const WAITING: usize = 256;
const RETRY: Duration = Duration::from_secs(1);

enum Message {
    Delivered(u64),
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

    /// Returns once the outbox knows of every ack so far.
    pub(crate) async fn flush(&self) {
        let (tx, rx) = oneshot::channel();
        if self.0.send(Message::Flush(tx)).await.is_ok() {
            drop(rx.await);
        }
    }
}

impl AckWriter {
    /// Writes acks until all senders are gone.
    pub(crate) async fn run(mut self, outbox: &impl Outbox) {
        while let Some(message) = self.0.recv().await {
            match message {
                Message::Flush(done) => drop(done.send(())),
                Message::Delivered(seq) => {
                    while let Err(error) = outbox.acknowledge(seq).await {
                        tracing::warn!(seq, %error, "The outbox did not take an acknowledgement; it is told again in a second.");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }
}
