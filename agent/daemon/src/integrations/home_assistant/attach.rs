//! Home Assistant's part of a running node: the publisher's task and what it hangs on.
//!
//! Owner: the supervisor. Invariant: the supervisor never waits for it but at the end.

use std::sync::Arc;

use aimass_core::id::Name;
use aimass_mqtt::{LinkHandle, LinkState, LinkStatus, Notice, RetainedStates};
use aimass_store::Store;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Documents, NodeActions, Publisher};
use crate::config::Config;
use crate::pipeline::processor::Input;
use crate::pipeline::views::SourceView;

/// Messages and requests that may wait. When full, the newest is thrown away.
const WAITING: usize = 16;

/// What the publisher needs of the node.
pub struct Deps {
    /// Where documents and states are told.
    pub board: Arc<RetainedStates>,
    /// What was published before.
    pub store: Store,
    /// The sources.
    pub sources: watch::Receiver<Arc<Vec<Arc<SourceView>>>>,
    /// To the task `events`.
    pub inputs: mpsc::Sender<Input>,
    /// How the link to the broker is doing.
    pub link: watch::Receiver<Option<watch::Receiver<LinkStatus>>>,
}

/// The supervisor's side. The task ends when this is dropped.
pub struct HomeAssistant {
    config: watch::Sender<Arc<Config>>,
    notices: mpsc::Sender<Notice>,
    restarts: mpsc::Receiver<Name>,
}

impl HomeAssistant {
    /// The task, to be started by the caller, and what it hangs on.
    pub fn new(config: &Config, needs: Deps) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let config = Arc::new(config.clone());
        let (asked, restarts) = mpsc::channel(WAITING);
        let restart = move |id: &Name| {
            if asked.try_send(id.clone()).is_err() {
                tracing::warn!(source = %id, "A restart is not carried out: too many are asked for.");
            }
        };
        let actions =
            NodeActions { sources: needs.sources, inputs: needs.inputs, restart: Box::new(restart) };
        let broker = Arc::new(AtBroker { board: needs.board, link: needs.link });
        let publisher = Publisher::new(config.clone(), broker, Arc::new(actions), needs.store);
        let (config, configs) = watch::channel(config);
        let (notices, heard) = mpsc::channel(WAITING);
        (HomeAssistant { config, notices, restarts }, publisher.run(configs, heard))
    }

    /// Another configuration is in force.
    pub fn set_config(&self, config: &Config) {
        self.config.send_replace(Arc::new(config.clone()));
    }

    /// Hears what comes over this link, until it ends.
    pub fn listen(&self, link: &LinkHandle) {
        let Some(mut heard) = link.take_notices() else { return };
        // Weak: the link ends after the publisher, which must not wait for it.
        let notices = self.notices.downgrade();
        tokio::spawn(async move {
            while let Some(notice) = heard.recv().await {
                let Some(notices) = notices.upgrade() else { return };
                if notices.send(notice).await.is_err() {
                    return;
                }
            }
        });
    }

    /// The cameras that are to be opened anew, as they are asked for; closed from the second call on.
    pub fn take_restarts(&mut self) -> mpsc::Receiver<Name> {
        std::mem::replace(&mut self.restarts, mpsc::channel(1).1)
    }
}

/// The board, as the publisher sees it.
struct AtBroker {
    board: Arc<RetainedStates>,
    link: watch::Receiver<Option<watch::Receiver<LinkStatus>>>,
}

impl Documents for AtBroker {
    fn set(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        self.board.set_absolute(topic, payload).map_err(|e| e.to_string())
    }

    fn remove(&self, topic: &str) {
        self.board.remove_absolute(topic);
    }

    fn set_state(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        self.board.set(topic, payload, true).map_err(|e| e.to_string())
    }

    fn remove_state(&self, topic: &str) {
        self.board.remove(topic);
    }

    fn connection(&self) -> Option<u64> {
        let link = self.link.borrow();
        let status = link.as_ref()?.borrow();
        // Each connection has begun at a time of its own.
        (status.state == LinkState::Online).then(|| status.since.as_millisecond() as u64)
    }
}
