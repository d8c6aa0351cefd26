//! Access to the running node for the API, commands and integrations.
//!
//! [`NodeHandle`] is cheap to clone. Its queries read the node and never wait for the controller. Its requests go through
//! one bounded queue to the controller, the only task that changes the node; while that queue is full they fail with
//! [`RequestError::Busy`].

mod log_level;
mod request;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::Event;
use aimass_core::id::Name;
use aimass_core::runtime::clock::SharedClock;
use aimass_store::{EventQuery, Store, StoreError};
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::config::Config;
use crate::health::document::HealthDocument;
use crate::health::monitor::Monitor;
use crate::logging::Logs;
use crate::pipeline::views::SourceView;

use log_level::LogLevel;
pub use request::{ConfigOutcome, Reply, Request, RequestError};

/// Requests that may wait for the controller.
const REQUEST_QUEUE: usize = 16;
pub use crate::health::MQTT_SINK;

/// The sources, in the order of the configuration. Replaced as a whole when the configuration changes.
pub type SourceList = Arc<Vec<Arc<SourceView>>>;

/// What a handle reads.
pub struct Parts {
    /// The sources.
    pub sources: watch::Receiver<SourceList>,
    /// Events as they are stored.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Stored events and the outbox.
    pub store: Store,
    /// Collects the health.
    pub monitor: Monitor,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// The program's clock.
    pub clock: SharedClock,
    /// The log filter; `None` where logging was not set up.
    pub logs: Option<&'static Logs>,
}

/// Access to the running node.
#[derive(Clone)]
pub struct NodeHandle {
    state: Arc<State>,
    requests: mpsc::Sender<Request>,
}

struct State {
    sources: watch::Receiver<SourceList>,
    events: broadcast::Sender<Arc<Event>>,
    history: History,
    health: Health,
    config: watch::Receiver<Arc<Config>>,
    clock: SharedClock,
    log_level: LogLevel,
}

/// Where stored events are read.
enum History {
    Store(Store),
    #[cfg(test)]
    Memory(testing::MemoryHistory),
}

/// Where the health comes from.
enum Health {
    Monitor(Monitor),
    #[cfg(test)]
    Fixed(Arc<std::sync::Mutex<HealthDocument>>),
}

impl NodeHandle {
    /// A handle, and the queue that the controller serves. While nobody has the queue, requests fail.
    pub fn new(parts: Parts) -> (Self, mpsc::Receiver<Request>) {
        let Parts { sources, events, store, monitor, config, clock, logs } = parts;
        let (history, health) = (History::Store(store), Health::Monitor(monitor));
        Self::with_state(State {
            sources,
            events,
            history,
            health,
            config,
            clock,
            log_level: LogLevel::new(logs),
        })
    }

    fn with_state(state: State) -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        (NodeHandle { state: Arc::new(state), requests }, queue)
    }

    /// The sources, in the order of the configuration.
    pub fn sources(&self) -> SourceList {
        self.state.sources.borrow().clone()
    }

    /// The sources, and each later list of them.
    pub fn watch_sources(&self) -> watch::Receiver<SourceList> {
        self.state.sources.clone()
    }

    /// The source of this name, if there is one.
    pub fn source(&self, id: &str) -> Option<Arc<SourceView>> {
        self.state.sources.borrow().iter().find(|s| s.id.as_str() == id).cloned()
    }

    /// The error for a source that does not exist: it lists those that do.
    pub fn unknown_source(&self, id: &str) -> RequestError {
        let known = self.state.sources.borrow().iter().map(|s| s.id.to_string()).collect();
        RequestError::UnknownSource { id: id.to_owned(), known }
    }

    /// Events as they are stored, from now on.
    pub fn subscribe_events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.state.events.subscribe()
    }

    /// Stored events after `query.after_seq`, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        match &self.state.history {
            History::Store(store) => store.events(query).await,
            #[cfg(test)]
            History::Memory(events) => Ok(events.after(&query)),
        }
    }

    /// The newest stored events, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn newest_events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        match &self.state.history {
            History::Store(store) => {
                let mut events = store.recent(query).await?;
                events.reverse();
                Ok(events)
            }
            #[cfg(test)]
            History::Memory(events) => Ok(events.newest(&query)),
        }
    }

    /// Events that wait for the broker; 0 without a broker.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn outbox_depth(&self) -> Result<u64, StoreError> {
        match &self.state.history {
            History::Store(store) => {
                let stats = store.stats().await?;
                Ok(stats.sinks.get(MQTT_SINK).map_or(0, |sink| sink.depth))
            }
            #[cfg(test)]
            History::Memory(events) => Ok(events.next_outbox_depth()),
        }
    }

    /// The health of the node now. The outbox's figures are at most one sample old.
    pub fn health(&self) -> HealthDocument {
        match &self.state.health {
            Health::Monitor(monitor) => monitor.collect(),
            #[cfg(test)]
            Health::Fixed(health) => health.lock().unwrap().clone(),
        }
    }

    /// The configuration in force, and each later one.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.state.config.clone()
    }

    /// The program's clock.
    pub fn clock(&self) -> &SharedClock {
        &self.state.clock
    }

    /// Logs the program's own messages from this level on, for so long.
    ///
    /// # Errors
    /// `Unavailable` where logging was not set up.
    pub fn set_log_level(&self, level: &str, period: Duration) -> Result<(), RequestError> {
        self.state.log_level.set(level, period)
    }

    /// Closes a source and opens it again with the configuration in force.
    ///
    /// # Errors
    /// There is no such source, the node is drained, or the source cannot be built.
    pub async fn restart_source(&self, source: Name) -> Result<(), RequestError> {
        self.require_source(&source)?;
        self.request(|reply| Request::RestartSource { source, reply }).await
    }

    /// Analyses a source, or only shows it, until the program ends.
    ///
    /// # Errors
    /// There is no such source.
    pub async fn set_analysed(&self, source: Name, analysed: bool) -> Result<(), RequestError> {
        self.require_source(&source)?;
        self.request(|reply| Request::SetAnalysed { source, analysed, reply }).await
    }

    /// Closes all sources and ends what was in view of them. They stay closed until [`Self::open_sources`], another
    /// configuration, or the next start of the program.
    ///
    /// # Errors
    /// Busy or stopping.
    pub async fn close_sources(&self) -> Result<(), RequestError> {
        self.request(|reply| Request::CloseSources { reply }).await
    }

    /// Opens all sources again.
    ///
    /// # Errors
    /// A source cannot be built.
    pub async fn open_sources(&self) -> Result<(), RequestError> {
        self.request(|reply| Request::OpenSources { reply }).await
    }

    /// Reads the configuration file again, as SIGHUP does.
    ///
    /// # Errors
    /// Busy or stopping. A configuration that is rejected is an outcome.
    pub async fn reload(&self) -> Result<ConfigOutcome, RequestError> {
        self.request(|reply| Request::Reload { reply }).await
    }

    /// Submits a signed configuration, as a push from the broker.
    ///
    /// # Errors
    /// Busy or stopping. A configuration that is rejected is an outcome.
    pub async fn apply(&self, envelope: Bytes) -> Result<ConfigOutcome, RequestError> {
        self.request(|reply| Request::Apply { envelope, reply }).await
    }

    fn require_source(&self, source: &Name) -> Result<(), RequestError> {
        self.source(source.as_str()).map(drop).ok_or_else(|| self.unknown_source(source.as_str()))
    }

    async fn request<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, RequestError> {
        use mpsc::error::TrySendError;
        let (reply, outcome) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|error| match error {
            TrySendError::Full(_) => RequestError::Busy,
            TrySendError::Closed(_) => RequestError::Stopping,
        })?;
        outcome.await.unwrap_or(Err(RequestError::Stopping))
    }
}

#[cfg(test)]
mod tests;
