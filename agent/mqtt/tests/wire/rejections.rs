//! Messages that the broker does not take: for now, or ever.

use aimass_core::traits::NeverTaken;
use aimass_mqtt::{LinkError, LinkErrorKind};
use harness::broker::BrokerSetup;
use harness::subscriber::Subscriber;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, config, seqs};

const OPEN: &str = "topic readwrite #\n";
const GATE_SHUT: &str = "topic readwrite aimass/v1/site/node/status\ntopic readwrite aimass/v1/site/node/event/dock/#\ntopic read #\n";

/// Mosquitto hangs up over several denied messages in a row: until the link is back, the status tells of that instead.
async fn the_refusal(rig: &Rig) -> LinkError {
    let refused = |e: &LinkError| e.kind() == LinkErrorKind::NotAuthorised;
    let status = rig.status("the refusal is told", |s| s.last_error.as_ref().is_some_and(refused)).await;
    status.last_error.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_allowed_keeps_its_events_and_holds_up_no_other() {
    let broker = BrokerSetup::new().acl(GATE_SHUT).start().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let rig = Rig::at(&broker.url());
    rig.online().await;
    for _ in 0..50 {
        rig.outbox.accept("gate");
        rig.outbox.accept("dock");
    }
    rig.outbox.drained_to(50, SOON).await;
    let error = the_refusal(&rig).await;
    assert!(error.to_string().contains("event/gate/object"), "{error}");
    subscriber.expect_all("the others", SOON, |all| seqs(all).len() == 50).await;
    let tried = rig.link.status().borrow().published_total;
    assert!(tried < 100, "{tried} messages: the refused ones are tried in a loop");
    assert_eq!(rig.outbox.left(), 50, "refused is not delivered");

    broker.change_acl(OPEN).await;
    rig.outbox.drained_to(0, SOON).await;
    subscriber.expect_all("all of them", SOON, |all| seqs(all).len() == 100).await;
    rig.status("nothing is wrong any more", |s| s.last_error.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_events_that_the_broker_refuses() {
    let broker = BrokerSetup::new().acl(GATE_SHUT).start().await;
    let rig = Rig::at(&broker.url());
    rig.online().await;
    rig.outbox.accept("gate");
    the_refusal(&rig).await;
    rig.outbox.accept("dock");
    assert_eq!(rig.link.stop(SOON).await.undelivered, 1);
}

/// `limit_line` sets the limit; Mosquitto tells clients about one kind of limit and not about the other.
async fn a_large_one_is_given_up(limit_line: &str) {
    let broker = BrokerSetup::new().line(limit_line).start().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(5);
    outbox.accept_with("dock", 8_000);
    outbox.accept_many(5);
    let rig = Rig::with(config(&broker.url()), outbox);
    rig.outbox.drained_to(0, SOON).await;
    subscriber
        .expect_all("the small ones", SOON, |all| {
            (1..=11).filter(|n| *n != 6).all(|n| seqs(all).contains(&n))
        })
        .await;
    let told = rig.undeliverable.lock().unwrap().clone();
    assert_eq!(told.iter().map(|u| u.seq).collect::<Vec<_>>(), [6]);
    assert!(told[0].reason.contains("limit"), "{}", told[0].reason);
    assert_eq!(rig.outbox.given_up(), [(6, NeverTaken::TooLarge)]);
    assert!(!rig.outbox.acked().contains(&6), "given up is not delivered");
    assert_eq!(rig.link.status().borrow().undeliverable_total, 1);
    // A state that is too large does no harm either.
    rig.link.board().set("snapshot/dock/person", vec![0; 9_000], true).unwrap();
    rig.link.board().set("state/dock/motion", "true", true).unwrap();
    subscriber.expect(|m| m.topic.ends_with("/motion")).within(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_above_the_broker_s_limit_is_given_up_and_told() {
    a_large_one_is_given_up("max_packet_size 4000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_above_a_limit_that_the_broker_keeps_to_itself_is_given_up_and_told() {
    a_large_one_is_given_up("message_size_limit 4000").await;
}
