//! What a subscriber receives from a node: birth message, events, states, end.

use std::collections::{BTreeMap, BTreeSet};

use harness::TIMEOUT;
use harness::agent::Agent;
use harness::broker::Broker;
use harness::subscriber::{Message, Subscriber};
use serde_json::Value;

use crate::bikes;
use crate::clip_config;
use crate::lone_config;

fn is_event(message: &Message) -> bool {
    message.topic.starts_with("aimass/v1/test/board/event/")
}

#[tokio::test]
async fn a_clip_becomes_events_states_and_a_status_as_documented() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let config = clip_config(&broker.url(), &folder.path().join("agent.db"), &bikes("?realtime=false"));
    let mut agent = Agent::run(&config);
    agent.stderr().expect("the clip's end", TIMEOUT, |line| line.contains("The source has ended")).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let all = subscriber
        .expect_all("the goodbye", TIMEOUT, |all| {
            all.iter().any(|m| m.topic.ends_with("/status") && m.json()["state"] == "stopping")
        })
        .await;

    let birth = all.iter().find(|m| m.topic.ends_with("/status")).unwrap().json();
    assert_eq!(birth["state"], "online");
    let events: Vec<Value> = all.iter().filter(|m| is_event(m)).map(Message::json).collect();
    let seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>(), "without gaps, in order, once each");
    for (event, message) in events.iter().zip(all.iter().filter(|m| is_event(m))) {
        let topic = format!(
            "aimass/v1/test/board/event/{}/{}",
            event["source"].as_str().unwrap(),
            event["kind"].as_str().unwrap()
        );
        assert_eq!(message.topic, topic);
        assert_eq!((&event["schema"], &event["boot"]), (&Value::from(2), &birth["boot"]));
        assert_eq!(event["replay"], false);
        assert!(event["time"].as_str().unwrap().ends_with('Z'));
        assert!((0.0..=1.0).contains(&event["region"]["x"].as_f64().unwrap_or(0.0)));
        assert!(!message.retained);
    }
    let labels: BTreeSet<&str> = events.iter().map(|e| e["label"].as_str().unwrap()).collect();
    assert!(labels.contains("person"), "{labels:?}");
    assert!(labels.contains("car") || labels.contains("bus"), "vehicles too: {labels:?}");

    // Everything that began has ended, once.
    let things = |phase: &str| {
        let of_phase = events.iter().filter(|e| e["phase"] == phase);
        let mut things: Vec<&str> = of_phase.map(|e| e["occurrence_id"].as_str().unwrap()).collect();
        things.sort_unstable();
        things
    };
    assert_eq!(things("began"), things("ended"));
    assert!(!things("began").is_empty());

    let states: BTreeSet<&str> =
        all.iter().filter_map(|m| m.topic.strip_prefix("aimass/v1/test/board/state/street/")).collect();
    for state in ["motion", "health", "line/middle/in", "line/middle/out"] {
        assert!(states.contains(state), "{state} in {states:?}");
    }
    assert!(states.iter().any(|s| s.starts_with("count/road/")), "{states:?}");
    assert!(all.iter().any(|m| m.topic.ends_with("/health") && m.json()["sources"][0]["id"] == "street"));
}

#[tokio::test]
async fn a_stop_signal_to_the_program_and_to_its_group_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent =
        Agent::run(&lone_config(folder.path(), "[[camera]]\nid = \"street\"\nsource = \"test:\"\n"));
    agent.stderr().expect("a picture", TIMEOUT, |line| line.contains("The source delivers")).await;
    agent.terminate();
    agent.interrupt();
    assert!(agent.wait(TIMEOUT).await.success());
    agent.stderr().expect("an orderly end", TIMEOUT, |line| line.contains("Stopped.")).await;
}

#[tokio::test]
async fn a_node_that_dies_is_declared_offline_by_the_broker_with_the_boot_of_its_birth() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::run(&clip_config(&broker.url(), &folder.path().join("agent.db"), "test:"));
    let status =
        |state: &'static str| move |m: &Message| m.topic.ends_with("/status") && m.json()["state"] == state;
    let birth = subscriber.expect(status("online")).within(TIMEOUT).await.json();
    agent.kill().await;
    let death = subscriber.expect(status("offline")).within(TIMEOUT).await.json();
    assert_eq!(birth["boot"], death["boot"]);
}

#[tokio::test]
async fn line_totals_go_on_after_a_restart() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/v1/test/board/state/street/line/#").await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("agent.db");
    let street = format!("file:{}?realtime=false", harness::media::fixture("vtest.avi").display());
    let mut agent = Agent::run(&clip_config(&broker.url(), &store, &street));
    let crossed = |m: &Message| m.json().as_u64() > Some(0);
    subscriber.expect(crossed).within(TIMEOUT).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let totals = |all: &[Message]| -> BTreeMap<String, u64> {
        all.iter().map(|m| (m.topic.clone(), m.json().as_u64().unwrap())).collect()
    };
    let before = totals(&subscriber.all());
    assert_eq!(before.len(), 2, "in and out: {before:?}");

    // No object crosses a line in a test picture: the first totals after the restart come from the store.
    subscriber.forget();
    let mut next = Agent::run(&clip_config(&broker.url(), &store, "test:"));
    let all = subscriber.expect_all("both totals", TIMEOUT, |all| totals(all).len() == 2).await;
    assert_eq!(totals(&all), before);
    next.terminate();
    assert!(next.wait(TIMEOUT).await.success());
}
