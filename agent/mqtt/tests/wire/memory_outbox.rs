//! An outbox that forgets nothing but what is acknowledged, in memory.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimass_core::event::{EVENT_SCHEMA, Event, EventData, Kind, Phase, Severity};
use aimass_core::finding::Attributes;
use aimass_core::frame::TimeSource;
use aimass_core::traits::{NeverTaken, Outbox, OutboxError};
use tokio::sync::watch;
use ulid::Ulid;

#[derive(Clone)]
pub(crate) struct MemoryOutbox {
    pending: Arc<Mutex<BTreeMap<u64, Event>>>,
    acked: Arc<Mutex<Vec<u64>>>,
    given_up: Arc<Mutex<Vec<(u64, NeverTaken)>>>,
    newest: watch::Sender<u64>,
    left: watch::Sender<usize>,
}

impl MemoryOutbox {
    pub(crate) fn new() -> Self {
        MemoryOutbox {
            pending: Arc::default(),
            acked: Arc::default(),
            given_up: Arc::default(),
            newest: watch::Sender::new(0),
            left: watch::Sender::new(0),
        }
    }

    /// Accepts an event of a source and returns it with its number.
    pub(crate) fn accept(&self, source: &str) -> Event {
        self.accept_with(source, 0)
    }

    /// The same with so many bytes of attributes.
    pub(crate) fn accept_with(&self, source: &str, bytes: usize) -> Event {
        self.accept_as(source, bytes, Severity::Info)
    }

    /// The same of a severity.
    pub(crate) fn accept_as(&self, source: &str, bytes: usize, severity: Severity) -> Event {
        let mut pending = self.pending.lock().unwrap();
        let seq = *self.newest.borrow() + 1;
        let mut attributes = Attributes::default();
        if bytes > 0 {
            attributes.insert("text".into(), "x".repeat(bytes).into());
        }
        let event = Event {
            schema: EVENT_SCHEMA,
            id: Ulid::from_parts(1_700_000_000_000, u128::from(seq)),
            boot: Ulid::from_parts(1, 1),
            seq,
            replay: false,
            clock_synchronized: true,
            site: "site".parse().unwrap(),
            node: "node".parse().unwrap(),
            config_version: 1,
            what: EventData {
                time: "2026-11-23T08:15:30.123Z".parse().unwrap(),
                time_source: TimeSource::Clock,
                source: source.parse().unwrap(),
                kind: Kind::Object,
                phase: Phase::Once,
                severity,
                label: "person".into(),
                score: Some(0.5),
                region: None,
                track: None,
                occurrence_id: None,
                zone: None,
                line: None,
                attributes,
                model: None,
                evidence: None,
            },
        };
        pending.insert(seq, event.clone());
        self.left.send_replace(pending.len());
        self.newest.send_replace(seq);
        event
    }

    pub(crate) fn accept_many(&self, count: usize) {
        (0..count).for_each(|_| drop(self.accept("dock")));
    }

    /// Waits until at most so many events are left.
    pub(crate) async fn drained_to(&self, count: usize, within: Duration) {
        let mut left = self.left.subscribe();
        let waited = tokio::time::timeout(within, left.wait_for(|n| *n <= count)).await.map(drop);
        assert!(waited.is_ok(), "{} events are left in the outbox after {within:?}", *self.left.borrow());
    }

    pub(crate) fn left(&self) -> usize {
        *self.left.borrow()
    }

    /// What was given up, and why.
    pub(crate) fn given_up(&self) -> Vec<(u64, NeverTaken)> {
        self.given_up.lock().unwrap().clone()
    }

    fn remove(&self, seq: u64) {
        let mut pending = self.pending.lock().unwrap();
        pending.remove(&seq);
        self.left.send_replace(pending.len());
    }

    /// The acknowledgements in their order.
    pub(crate) fn acked(&self) -> Vec<u64> {
        self.acked.lock().unwrap().clone()
    }
}

impl Outbox for MemoryOutbox {
    fn pending(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, OutboxError>> + Send {
        self.pending_of(Severity::Info, after, limit)
    }

    fn pending_of(
        &self,
        least: Severity,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, OutboxError>> + Send {
        let pending = self.pending.lock().unwrap();
        let fits = pending.range(after + 1..).filter(|(_, e)| e.what.severity >= least);
        std::future::ready(Ok(fits.take(limit).map(|(_, e)| e.clone()).collect()))
    }

    fn give_up(&self, seq: u64, why: NeverTaken) -> impl Future<Output = Result<(), OutboxError>> + Send {
        self.given_up.lock().unwrap().push((seq, why));
        self.remove(seq);
        std::future::ready(Ok(()))
    }

    fn acknowledge(&self, seq: u64) -> impl Future<Output = Result<(), OutboxError>> + Send {
        self.acked.lock().unwrap().push(seq);
        self.remove(seq);
        std::future::ready(Ok(()))
    }

    async fn wait_beyond(&self, after: u64) {
        let mut newest = self.newest.subscribe();
        newest.wait_for(|n| *n > after).await.map(drop).unwrap();
    }

    fn newest(&self) -> u64 {
        *self.newest.borrow()
    }
}
