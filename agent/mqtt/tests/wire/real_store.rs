//! The link with the store that it has in the program.

use std::sync::Arc;

use aimass_core::event::Event;
use aimass_core::runtime::clock::SystemClock;
use aimass_mqtt::Link;
use aimass_store::{EventQuery, Loss, LossReason, Store, StoreConfig};
use harness::broker::BrokerSetup;
use harness::subscriber::Subscriber;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{SOON, config, identity};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_too_large_for_the_broker_is_told_by_a_receipt_and_stays_in_the_store() {
    let broker = BrokerSetup::new().line("max_packet_size 4000").start().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/v1/site/node/event/#").await;
    let folder = tempfile::tempdir().unwrap();
    let at = StoreConfig { path: folder.path().join("agent.db"), ..StoreConfig::default() };
    let template = MemoryOutbox::new().accept("node");
    let (store, _) =
        Store::open(&at, SystemClock::shared(), move |what| Event { what, ..template.clone() }).unwrap();
    let bytes = [0, 0, 8_000, 0];
    let events = bytes.map(|bytes| MemoryOutbox::new().accept_with("dock", bytes));
    let seqs = store.accept(events.to_vec()).await.unwrap();
    let sink = store.sink("mqtt").await.unwrap();
    let link =
        Link::spawn(config(&broker.url()), identity(), sink, Arc::default(), SystemClock::shared(), |_| {})
            .unwrap();

    let receipt = subscriber.expect(|m| m.topic.ends_with("event/node/node")).within(SOON).await;
    let receipt: Event = serde_json::from_slice(&receipt.payload).unwrap();
    let lost = Loss { first_seq: seqs[2], last_seq: seqs[2], count: 1, reason: LossReason::TooLarge };
    assert_eq!(Loss::of(&receipt), Some(lost));
    subscriber.expect_all("all but the large one", SOON, |all| all.len() == 4).await;
    assert_eq!(link.stop(SOON).await.undelivered, 0);
    let history = store.events(EventQuery { limit: 10, ..EventQuery::default() }).await.unwrap();
    assert_eq!(history.len(), 5, "four events and the receipt");
    store.close(SOON).await.unwrap();
}
