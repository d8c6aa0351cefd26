//! What became of events, on its way into the outbox. Runs inside the link's task for its whole life, beside the
//! sessions: an ack that the broker gave is written down even if the connection broke right after it.

use std::collections::VecDeque;
use std::time::Duration;

use aimass_core::traits::{NeverTaken, Outbox};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// How many may wait for the outbox; when full, the session waits and so the broker does.
const WAITING: usize = 256;
const RETRY: Duration = Duration::from_secs(1);
/// Events to give up that the outbox could not note, on a full disk say. When full, the next one is dropped: it is
/// still pending, so the next connection offers it again.
const MOST_OWED: usize = 256;

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
    /// Writes until all senders are gone. What the outbox refuses waits beside the others and holds none up.
    pub(crate) async fn run(mut self, outbox: &impl Outbox) {
        let mut owed: VecDeque<(u64, Option<NeverTaken>)> = VecDeque::new();
        let mut again_at = Instant::now();
        loop {
            let message = tokio::select! {
                message = self.0.recv() => message,
                () = sleep_until(again_at), if !owed.is_empty() => {
                    // Up to the first that fails: the others would fail for the same reason.
                    while let Some((seq, never)) = owed.front().copied()
                        && tell(outbox, seq, never).await
                    {
                        owed.pop_front();
                    }
                    again_at = Instant::now() + RETRY;
                    continue;
                }
            };
            let (seq, never) = match message {
                None => return,
                Some(Message::Flush(done)) => {
                    done.send(()).ok();
                    continue;
                }
                Some(Message::Delivered(seq)) => (seq, None),
                Some(Message::Never(seq, why)) => (seq, Some(why)),
            };
            if !tell(outbox, seq, never).await {
                if owed.is_empty() {
                    again_at = Instant::now() + RETRY;
                }
                if owed.len() < MOST_OWED && owed.iter().all(|(known, _)| *known != seq) {
                    owed.push_back((seq, never));
                }
            }
        }
    }
}

/// Tells the outbox what became of an event. False if it could not take note.
async fn tell(outbox: &impl Outbox, seq: u64, never: Option<NeverTaken>) -> bool {
    let told = match never {
        None => outbox.acknowledge(seq).await,
        Some(why) => outbox.give_up(seq, why).await,
    };
    if let Err(error) = &told {
        tracing::warn!(seq, %error, "The outbox did not take an acknowledgement; it is told again in a second.");
    }
    told.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use aimass_core::event::{Event, Severity};
    use aimass_core::traits::OutboxError;
    use tokio::sync::watch;

    use super::*;

    /// Takes note of acknowledgements, and of what is given up once its disk has room.
    #[derive(Default)]
    struct FullDisk {
        has_room: AtomicBool,
        acked: Mutex<Vec<u64>>,
        given_up: watch::Sender<Vec<u64>>,
    }

    impl Outbox for FullDisk {
        async fn pending(&self, _: u64, _: usize) -> Result<Vec<Event>, OutboxError> {
            Ok(Vec::new())
        }

        async fn pending_of(&self, _: Severity, _: u64, _: usize) -> Result<Vec<Event>, OutboxError> {
            Ok(Vec::new())
        }

        async fn acknowledge(&self, seq: u64) -> Result<(), OutboxError> {
            self.acked.lock().unwrap().push(seq);
            Ok(())
        }

        async fn give_up(&self, seq: u64, _: NeverTaken) -> Result<(), OutboxError> {
            if !self.has_room.load(Ordering::Relaxed) {
                return Err(OutboxError("the disk is full".into()));
            }
            self.given_up.send_modify(|all| all.push(seq));
            Ok(())
        }

        async fn wait_beyond(&self, _: u64) {
            std::future::pending().await
        }

        fn newest(&self) -> u64 {
            0
        }
    }

    #[tokio::test]
    async fn what_cannot_be_given_up_yet_holds_up_no_acknowledgement_and_is_told_again() {
        let outbox = FullDisk::default();
        let (acks, writer) = acks();
        let work = async {
            for seq in 1..=1000 {
                acks.never(seq, NeverTaken::TooLarge).await;
                acks.never(seq, NeverTaken::TooLarge).await;
                acks.delivered(seq + 5000).await;
            }
            acks.flush().await;
            assert_eq!(outbox.acked.lock().unwrap().len(), 1000);
            outbox.has_room.store(true, Ordering::Relaxed);
            let mut given_up = outbox.given_up.subscribe();
            let told: Vec<u64> = (1..=MOST_OWED as u64).collect();
            let all = given_up.wait_for(|all| *all == told);
            tokio::time::timeout(Duration::from_secs(60), all).await.expect("in order, each once").unwrap();
        };
        tokio::select! {
            () = work => {}
            () = writer.run(&outbox) => unreachable!("a sender is left"),
        }
    }
}
