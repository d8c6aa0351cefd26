//! No event that the outbox has is lost, whatever the broker and the network do.

use aimass_core::runtime::clock::Stopwatch;
use aimass_mqtt::LinkState;
use harness::broker::{Broker, BrokerSetup};
use harness::proxy::Proxy;
use harness::subscriber::Subscriber;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, assert_all_with_stable_ids, config, seqs};

const ALL: &str = "aimass/#";

fn came(count: usize) -> impl Fn(&[harness::subscriber::Message]) -> bool {
    move |all| {
        let mut seen = seqs(all);
        seen.sort_unstable();
        seen.dedup();
        seen.len() >= count
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_in_order_on_their_topics_and_are_acknowledged_once() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let rig = Rig::at(&broker.url());
    rig.online().await;
    rig.outbox.accept_many(300);
    rig.outbox.drained_to(0, SOON).await;
    let all = subscriber.expect_all("300 events", SOON, came(300)).await;
    let wanted: Vec<u64> = (1..=300).collect();
    assert_eq!(seqs(&all), wanted);
    assert_eq!(rig.outbox.acked(), wanted);
    let first = all.iter().find(|m| m.topic == "aimass/v1/site/node/event/dock/object").unwrap();
    assert!(!first.retained);
    assert_eq!(first.json()["label"], "person");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_while_the_broker_was_away_is_marked_as_replayed_and_what_comes_after_is_not() {
    let mut broker = Broker::plain().await;
    broker.stop().await;
    let rig = Rig::at(&broker.url());
    let waiting = rig.status("a named error", |s| s.last_error.is_some()).await;
    assert_eq!(waiting.state, LinkState::Connecting);
    let said = waiting.last_error.unwrap().to_string();
    assert!(said.contains("connection refused") && said.contains(&broker.url()), "{said}");
    rig.outbox.accept_many(40);
    broker.start().await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    rig.outbox.drained_to(0, SOON).await;
    rig.outbox.accept("dock");
    rig.outbox.drained_to(0, SOON).await;
    // The link may have been faster than the subscriber; what is new came to both.
    let last = subscriber.expect(|m| m.topic.contains("/event/") && m.json()["seq"] == 41).within(SOON).await;
    assert_eq!(last.json()["replay"], false);
    for message in subscriber.all().iter().filter(|m| m.topic.contains("/event/") && m.json()["seq"] != 41) {
        assert_eq!(message.json()["replay"], true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_event_does_not_wait_behind_a_long_replay() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(2000);
    // Slow enough that the replay takes a while whatever the machine does.
    proxy.set(|b| b.delay = std::time::Duration::from_millis(5)).await;
    let rig = Rig::with(config(&proxy.url()), outbox);
    subscriber.expect_all("the replay has begun", SOON, |all| !seqs(all).is_empty()).await;
    rig.outbox.accept("gate");
    let all = subscriber.expect_all("the live event", SOON, |all| seqs(all).contains(&2001)).await;
    assert!(seqs(&all).len() < 2000, "the live event came after the whole replay");
    rig.outbox.drained_to(0, SOON).await;
}

async fn outlives_a_broker(setup: BrokerSetup) {
    let mut broker = setup.start().await;
    let proxy = Proxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let rig = Rig::at(&proxy.url());
    rig.online().await;
    for round in 1..=3_u64 {
        rig.outbox.accept_many(500);
        subscriber.expect_all("some events", SOON, came(500 * (round as usize - 1) + 50)).await;
        // The door stays shut until the subscriber is back: what a broker forgets, nobody can count.
        proxy.set(|b| b.refuse = true).await;
        proxy.cut();
        broker.kill().await;
        rig.outbox.accept_many(500);
        broker.start().await;
        subscriber.wait_subscribed(round + 1).await;
        proxy.set(|b| b.refuse = false).await;
        rig.outbox.drained_to(0, SOON).await;
    }
    rig.outbox.accept("dock");
    rig.outbox.drained_to(0, SOON).await;
    let last = rig.outbox.acked().iter().copied().max().unwrap();
    assert_eq!(last, 3001);
    // What the broker acknowledged right before its death it may have passed on to nobody: count the acks.
    let mut acked = rig.outbox.acked();
    acked.sort_unstable();
    acked.dedup();
    assert_eq!(acked.len(), 3001);
    assert_eq!(rig.outbox.left(), 0);
    assert_eq!(rig.link.status().borrow().reconnects, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_forgets_everything_costs_no_event() {
    outlives_a_broker(BrokerSetup::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_remembers_costs_no_event() {
    outlives_a_broker(BrokerSetup::new().persistent()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_acks_nothing_counts_as_delivered_and_everything_is_sent_again_with_the_same_ids() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let rig = Rig::at(&proxy.url());
    rig.online().await;
    rig.outbox.accept_many(20);
    rig.outbox.drained_to(0, SOON).await;

    proxy.set(|b| b.drop_pubacks = true).await;
    rig.outbox.accept_many(80);
    rig.status("the missing acks are noticed", |s| s.reconnects >= 2).await;
    assert_eq!(rig.outbox.left(), 80, "nothing was acknowledged");
    assert!(proxy.dropped_pubacks() > 0);

    proxy.set(|b| b.drop_pubacks = false).await;
    rig.outbox.drained_to(0, SOON).await;
    let all = subscriber.expect_all("100 events", SOON, came(100)).await;
    let doubles = assert_all_with_stable_ids(&all, 100);
    assert!(doubles > 0, "acks were lost, so something must have come twice");
    assert_eq!(rig.outbox.acked().len(), 100, "each is acknowledged once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_with_nothing_in_flight_doubles_nothing() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let rig = Rig::at(&proxy.url());
    for cut in 0..5 {
        rig.status("connected", |s| s.state == LinkState::Online && s.reconnects == cut).await;
        rig.outbox.accept_many(20);
        rig.outbox.drained_to(0, SOON).await;
        proxy.cut();
    }
    let all = subscriber.expect_all("100 events", SOON, came(100)).await;
    assert_eq!(assert_all_with_stable_ids(&all, 100), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_noticed_and_left() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    let rig = Rig::at(&proxy.url());
    rig.online().await;
    proxy.set(|b| b.black_hole = true).await;
    rig.outbox.accept_many(5);
    let told = rig.status("the silence is noticed", |s| s.last_error.is_some()).await;
    assert!(told.last_error.unwrap().to_string().contains("no acknowledgement for 2 s"));
    proxy.set(|b| b.black_hole = false).await;
    rig.outbox.drained_to(0, SOON * 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_cuts_in_mid_stream_lose_nothing_and_double_no_more_than_what_was_in_flight() {
    const CUTS: u64 = 50;
    const EVENTS: u64 = 20_000;
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let rig = Rig::at(&proxy.url());
    rig.online().await;
    for cut in 0..CUTS {
        rig.outbox.accept_many((EVENTS / CUTS) as usize);
        let some = (cut * 100 + 20) as usize;
        subscriber.expect_all("the stream runs", SOON, |all| all.len() >= some).await;
        if cut % 2 == 0 {
            proxy.cut();
        } else {
            proxy.set(|b| b.cut_after_bytes = Some(7_000 + cut * 137)).await;
            rig.status("the byte limit cuts", |_| proxy.cuts() > cut).await;
            proxy.set(|b| b.cut_after_bytes = None).await;
        }
        rig.status("a new connection", |s| s.reconnects > cut).await;
    }
    rig.outbox.drained_to(0, SOON).await;
    let all = subscriber.expect_all("all events", SOON, came(EVENTS as usize)).await;
    let doubles = assert_all_with_stable_ids(&all, EVENTS);
    let connections = proxy.connections();
    println!("{EVENTS} events over {connections} connections: {doubles} doubles");
    assert!(doubles as u64 <= 16 * connections);
    assert_eq!(rig.outbox.acked().len(), EVENTS as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_events_go_through_and_the_rate_is_told() {
    let broker = Broker::plain().await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(20_000);
    let mut watch = Stopwatch::start();
    let rig = Rig::with(config(&broker.url()), outbox);
    rig.outbox.drained_to(0, SOON * 2).await;
    let took = watch.lap();
    println!("20000 events in {took:?}: {:.0} events/s", 20_000.0 / took.as_secs_f64());
    assert_eq!(rig.outbox.acked().len(), 20_000);
    assert_eq!(rig.link.stop(SOON).await.undelivered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_delivers_what_is_there_and_says_so() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), ALL).await;
    let rig = Rig::at(&broker.url());
    rig.online().await;
    rig.outbox.accept_many(500);
    let status = rig.link.status();
    assert_eq!(rig.link.stop(SOON).await.undelivered, 0);
    assert_eq!(rig.outbox.left(), 0);
    assert_eq!(status.borrow().state, LinkState::Stopped);
    subscriber.expect_all("500 events", SOON, came(500)).await;
    let late = Subscriber::on(broker.port(), "aimass/v1/site/node/status").await;
    let word = late.expect(|m| m.retained).within(SOON).await;
    assert_eq!(word.json()["state"], "stopping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_a_broker_counts_what_is_left() {
    let mut broker = Broker::plain().await;
    broker.stop().await;
    let rig = Rig::at(&broker.url());
    rig.outbox.accept_many(3);
    rig.status("no broker", |s| s.last_error.is_some()).await;
    assert_eq!(rig.link.stop(std::time::Duration::from_millis(100)).await.undelivered, 3);
}
