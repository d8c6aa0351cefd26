//! Events on their way out of the outbox. Runs inside the link's task, once for each connection.
//!
//! Three lanes: *alarms* carries alarms, loss receipts among them, whenever they were accepted; *replay* what else
//! was accepted before this connection began; *live* what else came after; each oldest first. A fourth one fetches
//! single events that the broker refused before. Invariant: on one connection each event is in one lane, and a lane
//! reads it once, so an event is sent once unless the broker refuses it.

use std::time::Duration;

use aimass_core::event::{Event, Severity};
use aimass_core::traits::Outbox;
use tokio::sync::mpsc;

const BATCH: usize = 64;
/// Events that wait in memory between outbox and window, for each lane.
const READ_AHEAD: usize = 32;
const RETRY: Duration = Duration::from_secs(1);

/// The session's side of the lanes.
pub(crate) struct Lanes {
    pub(crate) alarms: mpsc::Receiver<Event>,
    pub(crate) replay: mpsc::Receiver<Event>,
    pub(crate) live: mpsc::Receiver<Event>,
    pub(crate) again: mpsc::Receiver<Result<Event, u64>>,
    pub(crate) ask_again: mpsc::Sender<u64>,
}

/// The outbox's side of the lanes.
pub(crate) struct Feed {
    alarms: mpsc::Sender<Event>,
    replay: mpsc::Sender<Event>,
    live: mpsc::Sender<Event>,
    again: mpsc::Sender<Result<Event, u64>>,
    asked_again: mpsc::Receiver<u64>,
    boundary: u64,
}

/// `boundary` is the newest event at the moment of the connect: it and all before it are replayed.
pub(crate) fn feed(boundary: u64) -> (Feed, Lanes) {
    let (alarms_tx, alarms) = mpsc::channel(READ_AHEAD);
    let (replay_tx, replay) = mpsc::channel(READ_AHEAD);
    let (live_tx, live) = mpsc::channel(READ_AHEAD);
    let (again_tx, again) = mpsc::channel(1);
    let (ask_again, asked_again) = mpsc::channel(1);
    let feed =
        Feed { alarms: alarms_tx, replay: replay_tx, live: live_tx, again: again_tx, asked_again, boundary };
    (feed, Lanes { alarms, replay, live, again, ask_again })
}

impl Feed {
    /// Reads until the session's side is gone.
    pub(crate) async fn run(self, outbox: &impl Outbox) {
        let Feed { alarms, replay, live, again, asked_again, boundary } = self;
        tokio::join!(
            read_alarms(outbox, alarms),
            read_replay(outbox, boundary, replay),
            read_live(outbox, boundary, live),
            read_again(outbox, asked_again, again)
        );
    }
}

fn is_alarm(event: &Event) -> bool {
    event.what.severity >= Severity::Alarm
}

async fn read_alarms(outbox: &impl Outbox, lane: mpsc::Sender<Event>) {
    let mut after = 0;
    loop {
        let newest = outbox.newest();
        let batch = pending(outbox, Severity::Alarm, after, BATCH).await;
        if batch.is_empty() {
            after = after.max(newest);
            tokio::select! {
                () = outbox.wait_beyond(after) => {}
                () = lane.closed() => return,
            }
        }
        for event in batch {
            after = event.seq;
            if lane.send(event).await.is_err() {
                return;
            }
        }
    }
}

async fn read_replay(outbox: &impl Outbox, boundary: u64, lane: mpsc::Sender<Event>) {
    let mut after = 0;
    while after < boundary {
        let batch = pending(outbox, Severity::Info, after, BATCH).await;
        if batch.is_empty() {
            return;
        }
        for event in batch {
            if event.seq > boundary {
                return;
            }
            after = event.seq;
            if !is_alarm(&event) && lane.send(event).await.is_err() {
                return;
            }
        }
    }
}

async fn read_live(outbox: &impl Outbox, boundary: u64, lane: mpsc::Sender<Event>) {
    let mut after = boundary;
    loop {
        tokio::select! {
            () = outbox.wait_beyond(after) => {}
            () = lane.closed() => return,
        }
        let newest = outbox.newest();
        let batch = pending(outbox, Severity::Info, after, BATCH).await;
        if batch.is_empty() {
            // All of them are delivered or were given up: do not look at them again.
            after = after.max(newest);
        }
        for event in batch {
            after = event.seq;
            if !is_alarm(&event) && lane.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// An asked-for event that is no longer pending comes back as its number.
async fn read_again(
    outbox: &impl Outbox,
    mut asked: mpsc::Receiver<u64>,
    lane: mpsc::Sender<Result<Event, u64>>,
) {
    while let Some(seq) = asked.recv().await {
        let found = pending(outbox, Severity::Info, seq.saturating_sub(1), 1)
            .await
            .into_iter()
            .find(|e| e.seq == seq);
        if lane.send(found.ok_or(seq)).await.is_err() {
            return;
        }
    }
}

async fn pending(outbox: &impl Outbox, least: Severity, after: u64, limit: usize) -> Vec<Event> {
    loop {
        match outbox.pending_of(least, after, limit).await {
            Ok(batch) => return batch,
            Err(error) => {
                tracing::warn!(%error, "The outbox cannot be read; it is asked again in a second.");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
