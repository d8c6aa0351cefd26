//! The publisher's task in a running node: what it is made of, and what feeds it.
//!
//! Invariant: the node never waits for this task, except when it ends.

use std::sync::Arc;

use aimass_mqtt::{LinkHandle, LinkState, LinkStatus, Notice, RetainedStates};
use aimass_store::Store;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Documents, Publisher};
use crate::handle::NodeHandle;

/// Messages that may wait; while the queue is full, further ones wait in the link.
const WAITING: usize = 16;

/// What the publisher needs.
pub struct Deps {
    /// Retained values at the broker.
    pub retained: Arc<RetainedStates>,
    /// What was published before.
    pub store: Store,
    /// The node.
    pub node: NodeHandle,
    /// How the link to the broker is doing.
    pub link: watch::Receiver<Option<watch::Receiver<LinkStatus>>>,
}

/// The side of the node's owner. The task ends when this and the configuration's sender are dropped.
pub struct HomeAssistant {
    notices: mpsc::Sender<Notice>,
}

impl HomeAssistant {
    /// The task, to be started by the caller, and what feeds it.
    pub fn new(deps: Deps) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let configs = deps.node.config();
        let broker = Arc::new(AtBroker { retained: deps.retained, link: deps.link });
        let publisher = Publisher::new(configs.borrow().clone(), broker, deps.node, deps.store);
        let (notices, inbound) = mpsc::channel(WAITING);
        (HomeAssistant { notices }, publisher.run(configs, inbound))
    }

    /// Forwards the messages of this link to the task until the link ends.
    pub fn forward(&self, link: &LinkHandle) {
        let Some(mut inbound) = link.take_notices() else { return };
        // Weak: the link ends after the publisher, which must not wait for it.
        let notices = self.notices.downgrade();
        tokio::spawn(async move {
            while let Some(notice) = inbound.recv().await {
                let Some(notices) = notices.upgrade() else { return };
                if notices.send(notice).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The retained values of the node's link.
struct AtBroker {
    retained: Arc<RetainedStates>,
    link: watch::Receiver<Option<watch::Receiver<LinkStatus>>>,
}

impl Documents for AtBroker {
    fn set(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        self.retained.set_absolute(topic, payload).map_err(|e| e.to_string())
    }

    fn remove(&self, topic: &str) {
        self.retained.remove_absolute(topic);
    }

    fn set_state(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        self.retained.set(topic, payload, true).map_err(|e| e.to_string())
    }

    fn remove_state(&self, topic: &str) {
        self.retained.remove(topic);
    }

    fn connection(&self) -> Option<u64> {
        let link = self.link.borrow();
        let status = link.as_ref()?.borrow();
        // Each connection has begun at a time of its own.
        (status.state == LinkState::Online).then(|| status.since.as_millisecond() as u64)
    }
}
