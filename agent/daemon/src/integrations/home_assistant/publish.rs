//! Keeps the document at the broker: told at the start, again at Home Assistant's birth, taken back when it is no
//! longer wanted, also by a later life of the program.
//!
//! Owner: the task `home-assistant`. Invariant: whatever may lie at the broker is noted in the store before it is
//! sent, and forgotten only after it was emptied over a connection that held.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::id::Name;
use aimass_mqtt::Notice;
use aimass_store::Store;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::{Control, Document, control_of, controls, document};
use crate::config::Config;
use crate::config::home_assistant::{birth_topic, root};
use crate::handle::NodeHandle;

/// The key of what was published, in the store.
const KEY: &str = "home_assistant";
/// A connection that held so long after something was emptied has carried it.
const CARRIED: Duration = Duration::from_secs(30);

/// Retained values at the broker. None of these waits.
pub trait Documents: Send + Sync + 'static {
    /// Sets a document by its whole topic.
    fn set(&self, topic: &str, payload: Bytes) -> Result<(), String>;
    /// Empties a document.
    fn remove(&self, topic: &str);
    /// Sets a state below the node's root.
    fn set_state(&self, topic: &str, payload: Bytes) -> Result<(), String>;
    /// Empties a state.
    fn remove_state(&self, topic: &str);
    /// Counts connections; `None` while there is none.
    fn connection(&self) -> Option<u64>;
}

/// What may lie at the broker because of us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Published {
    documents: BTreeSet<String>,
    states: BTreeSet<String>,
}

/// Keeps the document at the broker.
pub struct Publisher {
    documents: Arc<dyn Documents>,
    node: NodeHandle,
    store: Store,
    /// What may lie there, as noted in the store.
    noted: Published,
    wanted: Option<Document>,
    config: Arc<Config>,
    /// How often the document was sent in this life.
    sent: u64,
    /// The connection that what is no longer wanted was emptied over.
    emptied_over: Option<u64>,
}

impl Publisher {
    /// Nothing is sent yet.
    pub fn new(config: Arc<Config>, documents: Arc<dyn Documents>, node: NodeHandle, store: Store) -> Self {
        let noted = Published::default();
        Publisher { documents, node, store, noted, wanted: None, config, sent: 0, emptied_over: None }
    }

    /// The task: begins with the configuration as it is, follows its changes, handles messages. Ends when
    /// the queue of messages is closed.
    pub async fn run(
        mut self,
        mut config: watch::Receiver<Arc<Config>>,
        mut notices: mpsc::Receiver<Notice>,
    ) {
        self.recall().await;
        let first = config.borrow_and_update().clone();
        self.apply(first).await;
        let mut look = tokio::time::interval(CARRIED);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Ok(()) = config.changed() => {
                    let changed = config.borrow_and_update().clone();
                    self.apply(changed).await;
                }
                notice = notices.recv() => match notice {
                    Some(notice) => self.handle(&notice).await,
                    None => return,
                },
                // A node that has nothing to forget is not woken.
                _ = look.tick(), if self.noted != self.current() => self.forget().await,
            }
        }
    }

    /// What earlier lives published.
    async fn recall(&mut self) {
        match self.store.get_value(KEY).await {
            Ok(value) => {
                self.noted = value.and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
            }
            Err(error) => {
                tracing::warn!(%error, "What was told to Home Assistant earlier cannot be read; it may stay at the broker.");
            }
        }
    }

    /// Tells what this configuration wants told, and takes back what it does not.
    async fn apply(&mut self, config: Arc<Config>) {
        self.wanted = document(&config);
        self.config = config;
        let current = self.current();
        let gone = Published {
            documents: self.noted.documents.difference(&current.documents).cloned().collect(),
            states: self.noted.states.difference(&current.states).cloned().collect(),
        };
        let all = Published {
            documents: self.noted.documents.union(&current.documents).cloned().collect(),
            states: self.noted.states.union(&current.states).cloned().collect(),
        };
        if all != self.noted {
            self.note(all).await;
        }
        for topic in &gone.documents {
            // What this life never set is not on the board: it is set, and emptied with the same breath.
            self.told(topic, self.documents.set(topic, Bytes::new()));
            self.documents.remove(topic);
        }
        for topic in &gone.states {
            self.told(topic, self.documents.set_state(topic, Bytes::new()));
            self.documents.remove_state(topic);
        }
        self.emptied_over = None;
        self.send();
        if !current.states.is_empty() {
            let cameras = self.config.camera.iter().map(|c| &c.id);
            cameras.for_each(|id| self.publish_analysis(id, self.is_analysed(id)));
        }
    }

    fn publish_analysis(&self, source: &Name, on: bool) {
        let (state, value) = (controls::analysis_state(source), if on { &b"true"[..] } else { b"false" });
        self.told(&state, self.documents.set_state(&state, Bytes::from_static(value)));
    }

    fn send(&mut self) {
        let Some(document) = &self.wanted else { return };
        let mut payload = document.payload.clone();
        // What is at the broker already is not sent again; a blank at the end makes it another text.
        if !self.sent.is_multiple_of(2) {
            payload.push(b'\n');
        }
        self.sent += 1;
        self.told(&document.topic, self.documents.set(&document.topic, payload.into()));
    }

    fn told(&self, topic: &str, outcome: Result<(), String>) {
        if let Err(error) = outcome {
            tracing::warn!(topic, error, "Home Assistant could not be told.");
        }
    }

    async fn handle(&mut self, notice: &Notice) {
        if notice.topic == birth_topic(&self.config) {
            if &notice.payload[..] == b"online" {
                tracing::info!("Home Assistant has begun to listen: it is told of this node.");
                self.send();
            }
            return;
        }
        if !self.config.home_assistant.controls || self.wanted.is_none() {
            return;
        }
        let topic = notice.topic.as_str();
        let Some(control) = control_of(&root(&self.config), topic, &notice.payload, notice.retained) else {
            tracing::warn!(topic, retained = notice.retained, "A control that makes no sense is ignored.");
            return;
        };
        let outcome = match &control {
            Control::Restart { source } => self.node.restart_source(source.clone()).await,
            Control::Analysis { source, on } => {
                let outcome = self.node.set_analysed(source.clone(), *on).await;
                if outcome.is_ok() {
                    self.publish_analysis(source, *on);
                }
                outcome
            }
        };
        match outcome {
            Ok(()) => tracing::info!(?control, "A control of Home Assistant was executed."),
            Err(error) => tracing::warn!(?control, %error, "A control of Home Assistant was not executed."),
        }
    }

    fn is_analysed(&self, source: &Name) -> bool {
        self.node.source(source.as_str()).is_none_or(|view| view.is_analysed())
    }

    /// Forgets what was emptied, once a connection has held for a while since.
    async fn forget(&mut self) {
        let connection = self.documents.connection();
        if connection.is_some() && connection == self.emptied_over {
            self.note(self.current()).await;
        }
        self.emptied_over = connection;
    }

    async fn note(&mut self, now: Published) {
        let value = match serde_json::to_value(&now) {
            Ok(_) if now == Published::default() => serde_json::Value::Null,
            Ok(value) => value,
            Err(_) => return,
        };
        match self.store.put_value(KEY, &value).await {
            Ok(()) => self.noted = now,
            Err(error) => {
                tracing::warn!(%error, "What is told to Home Assistant could not be noted; it may outlive its use.");
            }
        }
    }

    /// What the configuration wants to lie at the broker.
    fn current(&self) -> Published {
        let Some(document) = &self.wanted else { return Published::default() };
        let controls = self.config.home_assistant.controls;
        let cameras = self.config.camera.iter().filter(|_| controls);
        Published {
            documents: [document.topic.clone()].into(),
            states: cameras.map(|c| controls::analysis_state(&c.id)).collect(),
        }
    }
}
