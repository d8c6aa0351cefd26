//! From happenings to accepted events: the task `accept` owns the way to disk.
//!
//! Invariants: happenings are accepted in the order in which they were told; none is dropped: when the store is slow
//! or its disk is full, this task waits, and with it who tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::{Event, EventData};
use aimass_store::{ErrorKind, Store, StoreError};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use crate::identity::Node;

/// Moments that may wait for the store.
const WAITING: usize = 64;
/// How long the store's disk is left alone after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// What a scene has told at one moment, on its way to disk.
pub struct EventBatch {
    /// What happened, in order.
    pub happenings: Vec<EventData>,
    /// Keys and values that outlive restarts: line totals, committed together with the crossings that they count,
    /// and the names of states.
    pub values: Vec<(String, serde_json::Value)>,
}

/// The queue in front of the task.
pub fn queue() -> (mpsc::Sender<EventBatch>, mpsc::Receiver<EventBatch>) {
    mpsc::channel(WAITING)
}

/// The task `accept`: stores what happened, in order, then shows it to viewers. Ends when its queue is closed.
pub async fn run(
    node: Node,
    mut queue: mpsc::Receiver<EventBatch>,
    store: Store,
    viewers: broadcast::Sender<Arc<Event>>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, WAITING).await > 0 {
        let (mut events, mut values) = (Vec::new(), BTreeMap::new());
        for told in batch.drain(..) {
            events.extend(told.happenings.into_iter().map(|what| node.event(what)));
            values.extend(told.values);
        }
        // Requested together, they are committed together.
        let (seqs, ()) = tokio::join!(keep(&store, &events), keep_values(&store, values));
        for (event, seq) in events.iter_mut().zip(seqs) {
            event.seq = seq.unwrap_or(0);
        }
        for event in events.into_iter().filter(|e| e.seq > 0) {
            // An error only says that nobody looks.
            viewers.send(Arc::new(event)).ok();
        }
    }
}

/// Keeps values, all at once: one after the other each would wait for a commit of its own.
async fn keep_values(store: &Store, values: BTreeMap<String, serde_json::Value>) {
    let mut puts = JoinSet::new();
    for (key, value) in values {
        let store = store.clone();
        puts.spawn(async move {
            while let Err(error) = store.put_value(&key, &value).await {
                if !may_pass(&error) {
                    tracing::warn!(key, %error, "A value could not be kept for the next start.");
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        });
    }
    puts.join_all().await;
}

/// Whether the disk may come back: then waiting helps.
fn may_pass(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::ReadOnly | ErrorKind::Io)
}

/// Stores the events, however long the disk takes to come back; `None` for one that can never be stored.
async fn keep(store: &Store, events: &[Event]) -> Vec<Option<u64>> {
    let mut told = false;
    loop {
        match store.accept(events.to_vec()).await {
            Ok(seqs) => return seqs.into_iter().map(Some).collect(),
            Err(error) if may_pass(&error) => {
                if !told {
                    tracing::error!(%error, waiting = events.len(), "Events cannot be stored; trying until they can.");
                }
                told = true;
                tokio::time::sleep(RETRY).await;
            }
            // One of them is too large: the others must not be lost with it.
            Err(error) if error.kind() == ErrorKind::Refused && events.len() > 1 => {
                let mut seqs = Vec::with_capacity(events.len());
                for event in events {
                    seqs.extend(Box::pin(keep(store, std::slice::from_ref(event))).await);
                }
                return seqs;
            }
            Err(error) => {
                tracing::error!(%error, lost = events.len(), "Events cannot be stored and are lost.");
                return vec![None; events.len()];
            }
        }
    }
}
