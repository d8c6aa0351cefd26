//! A node in memory, for tests of whatever holds a [`NodeHandle`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aimass_core::event::Event;
use aimass_core::runtime::clock::SystemClock;
use aimass_store::EventQuery;
use tokio::sync::{broadcast, mpsc, watch};

use super::{Health, History, LogLevel, NodeHandle, Request, SourceList, State};
use crate::config::Config;
use crate::health::document::HealthDocument;
use crate::logging::Logs;
use crate::pipeline::views::{LIVE_EVENTS, SourceView};

/// Stored events, in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryHistory {
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    /// One less each time it is read, as if a broker took an event.
    pub(crate) outbox_depth: Arc<AtomicU64>,
}

impl MemoryHistory {
    fn matching(&self, query: &EventQuery) -> Vec<Event> {
        let fits = |e: &&Event| {
            e.seq > query.after_seq
                && query.since.is_none_or(|s| e.what.time >= s)
                && query.source.as_ref().is_none_or(|s| e.what.source == *s)
                && query.kind.is_none_or(|k| e.what.kind == k)
        };
        self.events.lock().unwrap().iter().filter(fits).cloned().collect()
    }

    pub(super) fn after(&self, query: &EventQuery) -> Vec<Event> {
        self.matching(query).into_iter().take(query.limit).collect()
    }

    pub(super) fn newest(&self, query: &EventQuery) -> Vec<Event> {
        let mut found = self.matching(query);
        found.split_off(found.len().saturating_sub(query.limit))
    }

    pub(super) fn next_outbox_depth(&self) -> u64 {
        let depth = self.outbox_depth.load(Ordering::Relaxed);
        self.outbox_depth.store(depth.saturating_sub(1), Ordering::Relaxed);
        depth
    }
}

/// A node without threads, whose state the test sets.
pub(crate) struct TestNode {
    pub(crate) sources: watch::Sender<SourceList>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) history: MemoryHistory,
    pub(crate) health: Arc<Mutex<HealthDocument>>,
    pub(crate) config: watch::Sender<Arc<Config>>,
}

impl TestNode {
    /// The node, a handle to it, and the requests that are made through the handle.
    pub(crate) fn new(
        sources: Vec<Arc<SourceView>>,
        logs: Option<&'static Logs>,
    ) -> (Self, NodeHandle, mpsc::Receiver<Request>) {
        let config = crate::config::parse("[node]\nsite = \"s\"\nid = \"n\"\n").unwrap();
        let node = TestNode {
            sources: watch::Sender::new(Arc::new(sources)),
            events: broadcast::Sender::new(LIVE_EVENTS),
            history: MemoryHistory::default(),
            health: Arc::new(Mutex::new(crate::health::metrics::tests::health())),
            config: watch::Sender::new(Arc::new(config)),
        };
        let (handle, requests) = NodeHandle::with_state(State {
            sources: node.sources.subscribe(),
            events: node.events.clone(),
            history: History::Memory(node.history.clone()),
            health: Health::Fixed(node.health.clone()),
            config: node.config.subscribe(),
            clock: SystemClock::shared(),
            log_level: LogLevel::new(logs),
        });
        (node, handle, requests)
    }
}

/// Executes requests as the controller does, and notes them: `restart dock`, `analyse dock false`, `close`, `open`.
pub(crate) fn record(mut requests: mpsc::Receiver<Request>) -> Arc<Mutex<Vec<String>>> {
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = done.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let note = |text: String| notes.lock().unwrap().push(text);
            match request {
                Request::RestartSource { source, reply } => {
                    note(format!("restart {source}"));
                    reply.send(Ok(())).ok();
                }
                Request::SetAnalysed { source, analysed, reply } => {
                    note(format!("analyse {source} {analysed}"));
                    reply.send(Ok(())).ok();
                }
                Request::CloseSources { reply } => {
                    note("close".to_owned());
                    reply.send(Ok(())).ok();
                }
                Request::OpenSources { reply } => {
                    note("open".to_owned());
                    reply.send(Ok(())).ok();
                }
                Request::Reload { .. } | Request::Apply { .. } => note("configuration".to_owned()),
            }
        }
    });
    done
}
