//! A link with an outbox in memory, ready to be pointed at a broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimass_core::runtime::clock::SystemClock;
use aimass_mqtt::{
    BrokerConfig, Extras, Link, LinkHandle, LinkState, LinkStatus, NodeIdentity, Undeliverable,
};
use harness::subscriber::Message;
use ulid::Ulid;

use crate::memory_outbox::MemoryOutbox;

pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) outbox: MemoryOutbox,
    pub(crate) link: LinkHandle,
    pub(crate) undeliverable: Arc<Mutex<Vec<Undeliverable>>>,
}

pub(crate) fn identity() -> NodeIdentity {
    NodeIdentity {
        site: "site".parse().unwrap(),
        node: "node".parse().unwrap(),
        boot: Ulid::from_parts(1, 1),
        version: "0.1.0".into(),
        config_version: 7,
    }
}

pub(crate) fn config(url: &str) -> BrokerConfig {
    // The rate of the replay has tests of its own.
    BrokerConfig { ack_timeout_s: 2, replay_per_s: 0, ..BrokerConfig::new(url) }
}

impl Rig {
    pub(crate) fn at(url: &str) -> Rig {
        Self::with(config(url), MemoryOutbox::new())
    }

    pub(crate) fn with(config: BrokerConfig, outbox: MemoryOutbox) -> Rig {
        Self::with_states(config, outbox, |_| {})
    }

    /// `prepare` sees the link before its task has run.
    pub(crate) fn with_states(
        config: BrokerConfig,
        outbox: MemoryOutbox,
        prepare: impl FnOnce(&LinkHandle),
    ) -> Rig {
        Self::with_extras(config, outbox, Extras::default(), prepare)
    }

    pub(crate) fn with_extras(
        config: BrokerConfig,
        outbox: MemoryOutbox,
        extras: Extras,
        prepare: impl FnOnce(&LinkHandle),
    ) -> Rig {
        let undeliverable: Arc<Mutex<Vec<Undeliverable>>> = Arc::default();
        let told = undeliverable.clone();
        let tell = move |u| told.lock().unwrap().push(u);
        let (board, clock) = (Arc::default(), SystemClock::shared());
        let link = Link::spawn_with(config, identity(), outbox.clone(), board, clock, extras, tell).unwrap();
        prepare(&link);
        Rig { outbox, link, undeliverable }
    }

    pub(crate) async fn online(&self) -> LinkStatus {
        self.status("online", |s| s.state == LinkState::Online).await
    }

    pub(crate) async fn status(&self, what: &str, fits: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
        let mut status = self.link.status();
        let waited = tokio::time::timeout(SOON, status.wait_for(|s| fits(s))).await;
        match waited {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("{what}: not within {SOON:?}; the link says {:?}", self.link.status().borrow()),
        }
    }
}

pub(crate) fn seqs(messages: &[Message]) -> Vec<u64> {
    let events = messages.iter().filter(|m| m.topic.contains("/event/"));
    events.map(|m| m.json()["seq"].as_u64().unwrap()).collect()
}

/// Every number from 1 to `count` came, and whatever came twice carries the same id.
pub(crate) fn assert_all_with_stable_ids(messages: &[Message], count: u64) -> usize {
    let mut ids = std::collections::BTreeMap::new();
    let mut doubles = 0;
    for message in messages.iter().filter(|m| m.topic.contains("/event/")) {
        let event = message.json();
        let (seq, id) = (event["seq"].as_u64().unwrap(), event["id"].as_str().unwrap().to_owned());
        if let Some(before) = ids.insert(seq, id.clone()) {
            assert_eq!(before, id, "event {seq} changed its id");
            doubles += 1;
        }
    }
    let wanted: Vec<u64> = (1..=count).collect();
    assert_eq!(ids.keys().copied().collect::<Vec<_>>(), wanted);
    doubles
}
