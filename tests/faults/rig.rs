//! The fixture of a cell: a broker, a proxy that can fail, a subscriber beside it, a store, the delivery check.

use std::path::PathBuf;
use std::time::Duration;

use harness::TIMEOUT;
use harness::agent::Agent;
use harness::broker::{Broker, BrokerSetup};
use harness::delivery::{Accepted, DeliveryCheck};
use harness::proxy::Proxy;
use harness::subscriber::Subscriber;
use tempfile::TempDir;

use crate::backlog;

/// Everything that a node sends.
pub(crate) const ALL: &str = "aimass/#";
/// The id that the agent connects with.
pub(crate) const CLIENT_ID: &str = "aimass-test-board";

pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) way: Proxy,
    pub(crate) subscriber: Subscriber,
    pub(crate) delivery: DeliveryCheck,
    pub(crate) folder: TempDir,
    /// OutputLines of `[broker]`.
    pub(crate) broker_lines: String,
    /// More sections.
    pub(crate) more: String,
    /// `mqtts` to the broker itself, or to a proxy.
    pub(crate) url: Option<String>,
    /// Where the store lies, if not in `folder`.
    pub(crate) store: Option<PathBuf>,
}

impl Rig {
    pub(crate) async fn new() -> Rig {
        Self::on(BrokerSetup::new()).await
    }

    pub(crate) async fn on(setup: BrokerSetup) -> Rig {
        let broker = setup.start().await;
        let port = broker.port();
        Self::with(broker, port).await
    }

    /// With a subscriber on another port of the broker.
    pub(crate) async fn with(broker: Broker, subscriber_port: u16) -> Rig {
        let way = Proxy::to(broker.port()).await;
        let subscriber = Subscriber::on(subscriber_port, ALL).await;
        let folder = tempfile::tempdir().unwrap();
        // Short deadlines and a quick replay: faults must be noticed within a test's patience.
        let broker_lines =
            "connect_timeout_s = 2\nack_timeout_s = 2\nkeep_alive_s = 5\nreplay_per_s = 0\n".to_owned();
        let delivery = DeliveryCheck::new();
        let (more, url, store) = (String::new(), None, None);
        Rig { broker, way, subscriber, delivery, folder, broker_lines, more, url, store }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(|| self.folder.path().join("agent.db"))
    }

    pub(crate) async fn fill(&self, count: u64) -> Accepted {
        backlog::fill(&self.store(), count).await
    }

    pub(crate) fn config(&self) -> String {
        format!(
            "[node]\nsite = \"test\"\nid = \"board\"\n[broker]\nurl = \"{}\"\n{}[governor]\nenabled = false\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = \"{}\"\n{}",
            self.url.clone().unwrap_or_else(|| self.way.url()),
            self.broker_lines,
            self.store().display(),
            self.more
        )
    }

    pub(crate) fn agent(&self) -> Agent {
        Agent::run(&self.config())
    }

    /// Waits until the subscriber has so many different events.
    pub(crate) async fn arrived(&mut self, count: usize) {
        let Rig { delivery, subscriber, .. } = self;
        harness::eventually(&format!("{count} events at the subscriber"), TIMEOUT, async || {
            delivery.read(subscriber);
            (delivery.arrived() >= count).then_some(())
        })
        .await;
    }

    /// Everything arrives and is correct, and the agent stops cleanly with an empty outbox.
    pub(crate) async fn settle(&mut self, mut agent: Agent, accepted: &Accepted) {
        self.settle_within(&mut agent, accepted, TIMEOUT).await;
    }

    pub(crate) async fn settle_within(&mut self, agent: &mut Agent, accepted: &Accepted, within: Duration) {
        self.delivery.settle(&self.subscriber, accepted, within).await;
        agent.terminate();
        let ended = agent.wait(TIMEOUT).await;
        assert!(ended.success(), "{ended}:\n{}", agent.stderr().tail());
        let left = agent.stderr().all().into_iter().find(|l| l.contains("Events wait in the store"));
        assert_eq!(left, None, "the outbox is not empty");
        // The store at the end is the reference.
        let all = Accepted::in_store(&self.store());
        self.delivery.settle(&self.subscriber, &all, TIMEOUT).await;
    }

    /// Waits for a line of the agent's log.
    pub(crate) async fn says(agent: &Agent, words: &str) -> String {
        agent.stderr().expect(words, TIMEOUT, |line| line.contains(words)).await
    }
}
