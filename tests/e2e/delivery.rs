//! Nothing that the store accepted is lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::TIMEOUT;
use harness::agent::{Agent, binary};
use harness::broker::{Broker, BrokerSetup};
use harness::proxy::Proxy;
use harness::subscriber::{Message, Subscriber};
use serde_json::Value;

use crate::bikes;
use crate::clip_config;

/// Every event of the store, by `seq`.
pub(crate) fn stored(path: &Path) -> BTreeMap<u64, String> {
    let store = path.to_string_lossy();
    let output = Command::new(binary())
        .args(["events", "--store", &store, "--limit", "10000"])
        .output()
        .expect("the agent runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            (event["seq"].as_u64().unwrap(), event["id"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// What arrived, by `seq`; panics if one `seq` or `id` came with two contents.
pub(crate) fn arrived(messages: &[Message]) -> BTreeMap<u64, String> {
    let mut by_seq = BTreeMap::new();
    for event in messages.iter().filter(|m| m.topic.contains("/event/")).map(Message::json) {
        let (seq, id) = (event["seq"].as_u64().unwrap(), event["id"].as_str().unwrap().to_owned());
        if let Some(before) = by_seq.insert(seq, id.clone()) {
            assert_eq!(before, id, "seq {seq} came twice, with different ids");
        }
    }
    by_seq
}

#[tokio::test]
async fn ten_kills_in_a_busy_run_lose_no_event_that_the_store_accepted() {
    let broker = BrokerSetup::new().persistent().start().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("agent.db");
    let config = clip_config(&broker.url(), &store, &bikes("?realtime=false&loop=true"));
    for round in 0..10u64 {
        let before = arrived(&subscriber.all()).len();
        let mut agent = Agent::run(&config);
        // Killed at another point each time: shortly after the first, second or third new event.
        let wanted = before + 1 + round as usize % 3;
        subscriber.expect_all("events", TIMEOUT, |all| arrived(all).len() >= wanted).await;
        tokio::time::sleep(Duration::from_millis(37 * round % 230)).await;
        agent.kill().await;
    }
    // One more start to deliver the rest.
    let mut agent = Agent::run(&clip_config(&broker.url(), &store, "test:"));
    // A program that has just been started does not handle signals yet.
    agent.stderr().expect("the last life", TIMEOUT, |line| line.contains("The node runs.")).await;
    let all = {
        let expected = stored(&store);
        subscriber
            .expect_all("every event", TIMEOUT, |all| {
                let got = arrived(all);
                expected.keys().all(|seq| got.contains_key(seq))
            })
            .await
    };
    let (expected, got) = (stored(&store), arrived(&all));
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    assert!(expected.len() >= 10, "a busy run: {} events", expected.len());
    let seqs: Vec<u64> = expected.keys().copied().collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no gaps over eleven lives");
    for (seq, id) in &expected {
        assert_eq!(got.get(seq), Some(id), "event {seq} was accepted and must arrive");
    }
}

#[tokio::test]
async fn a_broker_that_is_absent_at_start_gets_everything_later_marked_as_replay() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let way = Proxy::to(broker.port()).await;
    way.set(|b| b.refuse = true).await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("agent.db");
    let mut agent = Agent::run(&clip_config(&way.url(), &store, &bikes("?realtime=false")));
    agent.stderr().expect("the clip's end", TIMEOUT, |line| line.contains("The source has ended")).await;
    harness::eventually("events in the store", TIMEOUT, async || (!stored(&store).is_empty()).then_some(()))
        .await;
    assert_eq!(arrived(&subscriber.all()).len(), 0, "nothing passes a closed door");
    let before = stored(&store);
    way.set(|b| b.refuse = false).await;
    let all = subscriber
        .expect_all("what waited", TIMEOUT, |all| before.keys().all(|seq| arrived(all).contains_key(seq)))
        .await;
    for event in all.iter().filter(|m| m.topic.contains("/event/")).map(Message::json) {
        if before.contains_key(&event["seq"].as_u64().unwrap()) {
            assert_eq!(event["replay"], true, "{event}");
        }
    }
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}
