//! Presence and states, as subscribers see them.

use harness::broker::Broker;
use harness::proxy::Proxy;
use harness::subscriber::Subscriber;
use ulid::Ulid;

use crate::memory_outbox::MemoryOutbox;
use crate::rig::{Rig, SOON, config};

const ROOT: &str = "aimass/v1/site/node/";

fn topics(subscriber: &Subscriber) -> Vec<String> {
    subscriber.all().iter().map(|m| m.topic.trim_start_matches(ROOT).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_every_connect_all_states_come_before_online_and_events_after_it() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let outbox = MemoryOutbox::new();
    outbox.accept("dock");
    proxy.set(|b| b.refuse = true).await;
    let rig = Rig::with_states(config(&proxy.url()), outbox, |link| {
        link.board().set("state/dock/motion", "true", true).unwrap();
        link.board().set("state/dock/health", "\"ok\"", true).unwrap();
    });
    rig.status("the door is shut", |s| s.last_error.is_some()).await;
    proxy.set(|b| b.refuse = false).await;
    rig.outbox.drained_to(0, SOON).await;
    subscriber.expect_all("four messages", SOON, |all| all.len() >= 4).await;
    let first = ["state/dock/health", "state/dock/motion", "status", "event/dock/object"];
    assert_eq!(topics(&subscriber), first);

    subscriber.forget();
    proxy.set(|b| b.refuse = true).await;
    proxy.cut();
    subscriber.expect(|m| m.topic.ends_with("status") && m.json()["state"] == "offline").within(SOON).await;
    subscriber.forget();
    rig.link.board().set("state/dock/motion", "false", true).unwrap();
    rig.outbox.accept("dock");
    proxy.set(|b| b.refuse = false).await;
    rig.outbox.drained_to(0, SOON).await;
    subscriber.expect_all("four messages", SOON, |all| all.len() >= 4).await;
    assert_eq!(topics(&subscriber), first);
    assert_eq!(subscriber.all()[1].payload, b"false");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_will_carries_the_boot_of_the_birth_that_it_ends() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/v1/site/node/status").await;
    let rig = Rig::at(&broker.url());
    let birth = subscriber.expect(|m| m.json()["state"] == "online").within(SOON).await.json();
    assert_eq!(birth["boot"], Ulid::from_parts(1, 1).to_string());
    assert_eq!((&birth["version"], &birth["config_version"]), (&"0.1.0".into(), &7.into()));
    assert!(birth["since"].as_str().unwrap().ends_with('Z'));

    rig.link.set_config_version(8);
    subscriber
        .expect(|m| m.json()["state"] == "online" && m.json()["config_version"] == 8)
        .within(SOON)
        .await;

    drop(rig.link); // Without a goodbye.
    let will = subscriber.expect(|m| m.json()["state"] == "offline").within(SOON).await.json();
    assert_eq!(will["boot"], birth["boot"]);
    let late = Subscriber::on(broker.port(), "aimass/v1/site/node/status").await;
    assert_eq!(late.expect(|m| m.retained).within(SOON).await.json()["state"], "offline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_changes_is_sent_one_that_does_not_is_not_and_a_removed_one_is_emptied() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let rig = Rig::at(&broker.url());
    subscriber.expect(|m| m.topic.ends_with("/status")).within(SOON).await;
    let board = rig.link.board().clone();
    for value in ["1", "1", "2"] {
        board.set("state/dock/motion", value, true).unwrap();
        subscriber.expect(|m| m.payload == value.as_bytes()).within(SOON).await;
    }
    board.set("health", "{}", false).unwrap();
    subscriber.expect(|m| m.topic.ends_with("/health")).within(SOON).await;
    board.remove("state/dock/motion");
    subscriber.expect(|m| m.topic.ends_with("/motion") && m.payload.is_empty()).within(SOON).await;
    assert_eq!(
        topics(&subscriber),
        ["status", "state/dock/motion", "state/dock/motion", "health", "state/dock/motion"]
    );
    let late = Subscriber::on(broker.port(), "aimass/#").await;
    late.expect(|m| m.topic.ends_with("/status") && m.retained).within(SOON).await;
    assert_eq!(late.count(), 1, "neither health nor the removed state is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_does_not_wait_behind_a_backlog_of_events() {
    let broker = Broker::plain().await;
    let proxy = Proxy::to(broker.port()).await;
    proxy.set(|b| b.delay = std::time::Duration::from_millis(5)).await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let outbox = MemoryOutbox::new();
    outbox.accept_many(2000);
    let rig = Rig::with(config(&proxy.url()), outbox);
    subscriber.expect(|m| m.topic.contains("/event/")).within(SOON).await;
    rig.link.board().set("state/dock/motion", "true", true).unwrap();
    let all =
        subscriber.expect_all("the state", SOON, |all| all.iter().any(|m| m.topic.contains("/state/"))).await;
    assert!(all.len() < 2000, "the state came after the backlog");
    rig.outbox.drained_to(0, SOON).await;
}
