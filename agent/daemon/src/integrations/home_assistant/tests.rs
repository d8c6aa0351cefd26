//! The document, its ids and its topics; what is published, repeated and taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_mqtt::Notice;
use aimass_store::{Store, StoreConfig};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::config::home_assistant::{HomeAssistantConfig, subscriptions};
use crate::handle::NodeHandle;
use crate::handle::testing::{TestNode, record};
use crate::identity::Node;
use crate::pipeline::views::{SourceFacts, SourceView};

pub(super) fn config(home_assistant: &str) -> Config {
    let text = format!(
        r#"
        [node]
        site = "ware_house-1"
        id = "dock-3"
        [broker]
        url = "mqtt://127.0.0.1:1883"
        [home_assistant]
        {home_assistant}
        [analyzer.people]
        kind = "detect"
        labels = ["person", "traffic light"]
        [[camera]]
        id = "front_door"
        source = "test:"
        chain = ["people", "faces"]
        [[camera.zone]]
        id = "bay"
        polygon = [[0,0],[1,0],[1,1]]
        labels = ["person"]
        [[camera.zone]]
        id = "yard"
        polygon = [[0,0],[1,0],[1,1]]
        [[camera.line]]
        id = "gate"
        from = [0.1,0.6]
        to = [0.9,0.6]
        [[camera]]
        id = "front"
        source = "test:"
        [[microphone]]
        id = "front-ear"
        source = "test:"
        "#
    );
    crate::config::parse(&text).unwrap()
}

fn parsed(config: &Config) -> (String, Value) {
    let document = document(config).unwrap();
    (document.topic, serde_json::from_slice(&document.payload).unwrap())
}

#[test]
fn without_leave_or_without_a_broker_there_is_no_document_and_nothing_to_listen_to() {
    let mut off = config("");
    assert_eq!((document(&off), subscriptions(&off)), (None, Vec::new()));
    off.home_assistant = HomeAssistantConfig { enabled: true, controls: true, ..Default::default() };
    off.broker = None;
    assert_eq!((document(&off), subscriptions(&off)), (None, Vec::new()));
}

#[test]
fn the_entities_of_a_camera_name_the_topics_that_the_node_tells() {
    let (topic, document) = parsed(&config("enabled = true"));
    assert_eq!(topic, "homeassistant/device/aimass_ware__house-1_dock-3/config");
    let components = document["components"].as_object().unwrap();
    let states: BTreeSet<&str> = components.values().filter_map(|c| c["state_topic"].as_str()).collect();
    let root = "aimass/v1/ware_house-1/dock-3/";
    let camera = |name: &str| format!("{root}state/front_door/{name}");
    for name in [
        "motion",
        "health",
        "count/bay/person",
        "count/yard/person",
        "count/yard/traffic-light",
        "count/yard/face",
        "line/gate/in",
        "line/gate/out",
    ] {
        assert!(states.contains(camera(name).as_str()), "{name} in {states:?}");
    }
    assert!(!states.contains(camera("count/bay/face").as_str()), "a zone's own labels are all it counts");
    assert!(states.contains(format!("{root}health").as_str()));
    assert!(components.values().all(|c| c.get("command_topic").is_none()), "no controls without leave");
    assert_eq!(document["availability"][0]["topic"], format!("{root}status"));
    let occupancy = &components["front__door_occupancy_bay_person"];
    assert_eq!(occupancy["name"], "Front door bay person");
    assert_eq!(occupancy["unique_id"], "aimass_ware__house-1_dock-3_front__door_occupancy_bay_person");
}

#[test]
fn a_microphone_has_levels_and_a_sight_but_no_motion() {
    let (_, document) = parsed(&config("enabled = true\ncontrols = true"));
    let components = document["components"].as_object().unwrap();
    let of_microphone: BTreeSet<&String> =
        components.keys().filter(|k| k.starts_with("front-ear_")).collect();
    let keys = ["level_peak", "level_rms", "sight", "sight_problem"].map(|key| format!("front-ear_{key}"));
    assert_eq!(of_microphone, keys.iter().collect::<BTreeSet<_>>());
    let level = &components["front-ear_level_rms"];
    assert_eq!(level["state_topic"], "aimass/v1/ware_house-1/dock-3/state/front-ear/level");
    assert_eq!(
        (&level["value_template"], &level["unit_of_measurement"]),
        (&json!("{{ value_json.rms_dbfs }}"), &json!("dB"))
    );
    assert_eq!(level["expire_after"], 200, "three times as long as an unchanged level is told again");
}

#[test]
fn every_entity_has_an_id_and_a_name_of_its_own() {
    let (_, document) = parsed(&config("enabled = true\ncontrols = true"));
    let components = document["components"].as_object().unwrap();
    let all = |field: &str| -> Vec<String> {
        components.values().map(|c| format!("{}/{}", c["platform"], c[field])).collect()
    };
    for field in ["unique_id", "name"] {
        let values = all(field);
        let unique: BTreeSet<&String> = values.iter().collect();
        assert_eq!(unique.len(), values.len(), "{field}: {values:?}");
    }
    assert!(components.len() > 20, "{}", components.len());
}

#[test]
fn ids_of_nodes_whose_names_run_into_each_other_differ() {
    let id = |site: &str, node: &str| device_id(&site.parse().unwrap(), &node.parse().unwrap());
    assert_ne!(id("a_b", "c"), id("a", "b_c"));
    assert_ne!(id("a_", "b"), id("a", "b"));
    assert_eq!(id("warehouse-1", "dock-3"), "aimass_warehouse-1_dock-3");
}

#[test]
fn controls_are_heard_by_their_exact_words_only() {
    let config = config("enabled = true\ncontrols = true");
    let topics = subscriptions(&config);
    assert_eq!(topics.len(), 1 + 2 * 2, "{topics:?}");
    let (root, source) = (root(&config), "front".parse::<Name>().unwrap());
    let ask =
        |topic: &str, payload: &str| control_of(&root, &format!("{root}{topic}"), payload.as_bytes(), false);
    let off = Some(Control::Analysis { source: source.clone(), on: false });
    assert_eq!(ask("control/front/analysis", "OFF"), off);
    assert_eq!(ask("control/front/restart", "PRESS"), Some(Control::Restart { source }));
    for (topic, payload) in [
        ("control/front/analysis", "off"),
        ("control/front/restart", ""),
        ("control/front/more", "ON"),
        ("control/../restart", "PRESS"),
        ("command/front/restart", "PRESS"),
    ] {
        assert_eq!(ask(topic, payload), None, "{topic} {payload}");
    }
    let retained = format!("{root}control/front/restart");
    assert_eq!(control_of(&root, &retained, b"PRESS", true), None, "it would come again at every connect");
}

#[test]
fn prefixes_that_are_no_topics_or_are_ours_are_refused() {
    for bad in ["", "/a", "a/", "a/+/b", "#", "aimass", "aimass/v1", "$SYS", "a\nb", &"x".repeat(101)] {
        let config = HomeAssistantConfig { discovery_prefix: bad.to_owned(), ..Default::default() };
        assert_eq!(config.check().len(), 1, "{bad:?}");
    }
    assert_eq!(HomeAssistantConfig::default().check(), []);
}

/// A broker's retained values, as far as they were told.
#[derive(Default)]
struct Shelf {
    now: Mutex<BTreeMap<String, Bytes>>,
    sent: watch::Sender<Vec<(String, Bytes)>>,
}

impl Shelf {
    fn put(&self, topic: &str, payload: Bytes) {
        if payload.is_empty() {
            self.now.lock().unwrap().remove(topic);
        } else {
            self.now.lock().unwrap().insert(topic.to_owned(), payload.clone());
        }
        self.sent.send_modify(|sent| sent.push((topic.to_owned(), payload)));
    }

    async fn until(&self, what: &str, fits: impl Fn(&[(String, Bytes)]) -> bool) {
        let mut sent = self.sent.subscribe();
        let wait = sent.wait_for(|sent| fits(sent));
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(waited.is_ok_and(|w| w.is_ok()), "{what}: {:?}", self.now.lock().unwrap());
    }
}

impl Documents for Shelf {
    fn set(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        self.put(topic, payload);
        Ok(())
    }

    fn remove(&self, topic: &str) {
        self.put(topic, Bytes::new());
    }

    fn set_state(&self, topic: &str, payload: Bytes) -> Result<(), String> {
        self.put(topic, payload);
        Ok(())
    }

    fn remove_state(&self, topic: &str) {
        self.put(topic, Bytes::new());
    }

    fn connection(&self) -> Option<u64> {
        Some(1)
    }
}

/// A node with the camera `front`.
fn node() -> (TestNode, NodeHandle, Arc<Mutex<Vec<String>>>) {
    let now = SystemClock::new().wall();
    let view = SourceView::new("front".parse().unwrap(), SourceFacts::default(), now);
    let (node, handle, requests) = TestNode::new(vec![Arc::new(view)], None);
    (node, handle, record(requests))
}

async fn store(folder: &std::path::Path) -> Store {
    let settings = StoreConfig { path: folder.join("a.db"), ..StoreConfig::default() };
    let node = Node::new("s".parse().unwrap(), "n".parse().unwrap(), SystemClock::shared());
    let opened = tokio::task::spawn_blocking(move || {
        Store::open(&settings, SystemClock::shared(), move |what| node.event(what))
    });
    opened.await.unwrap().unwrap().0
}

#[tokio::test]
async fn the_document_is_repeated_at_birth_and_taken_back_by_the_next_life_that_does_not_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let shelf = Arc::new(Shelf::default());
    let (_node, handle, done) = node();
    let wanted = Arc::new(config("enabled = true\ncontrols = true"));
    let topic = document(&wanted).unwrap().topic;
    let begin = |config: &Arc<Config>| {
        let publisher = Publisher::new(config.clone(), shelf.clone(), handle.clone(), store.clone());
        let (config, configs) = watch::channel(config.clone());
        let (notices, heard) = mpsc::channel(4);
        (tokio::spawn(publisher.run(configs, heard)), config, notices)
    };

    let (life, change, notices) = begin(&wanted);
    let times = |n: usize| {
        let topic = topic.clone();
        move |sent: &[(String, Bytes)]| sent.iter().filter(|(t, p)| *t == topic && !p.is_empty()).count() == n
    };
    shelf.until("told at the start", times(1)).await;
    let notice = |topic: &str, payload: &'static str| Notice {
        topic: topic.to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
        retained: false,
    };
    notices.send(notice("homeassistant/status", "offline")).await.unwrap();
    notices.send(notice("homeassistant/status", "online")).await.unwrap();
    shelf.until("told at the birth, not at the death", times(2)).await;
    let sent = shelf.sent.borrow().clone();
    let texts: BTreeSet<&Bytes> = sent.iter().filter(|(t, _)| *t == topic).map(|(_, p)| p).collect();
    assert_eq!(texts.len(), 2, "another text, or the board would not send it again");

    let root = root(&wanted);
    notices.send(notice(&format!("{root}control/front/analysis"), "OFF")).await.unwrap();
    let off = ("state/front/analysis".to_owned(), Bytes::from_static(b"false"));
    shelf.until("the switch is off", |sent| sent.contains(&off)).await;
    assert_eq!(*done.lock().unwrap(), ["analyse front false"]);

    // It ends as by a power cut; the next life is to have no part in Home Assistant.
    drop((change, notices));
    life.await.unwrap();
    assert!(shelf.now.lock().unwrap().contains_key(&topic));
    let (life, change, notices) = begin(&Arc::new(config("enabled = false")));
    shelf.until("emptied", |sent| sent.last().is_some_and(|(_, p)| p.is_empty()) && sent.len() > 6).await;
    drop((change, notices));
    life.await.unwrap();
    assert!(shelf.now.lock().unwrap().is_empty(), "{:?}", shelf.now.lock().unwrap().keys());
    store.close(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn another_prefix_moves_the_document_while_the_node_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let shelf = Arc::new(Shelf::default());
    let before = Arc::new(config("enabled = true"));
    let after = Arc::new(config("enabled = true\ndiscovery_prefix = \"ha\""));
    let (old, new) = (document(&before).unwrap().topic, document(&after).unwrap().topic);
    let publisher = Publisher::new(before.clone(), shelf.clone(), node().1, store.clone());
    let (change, configs) = watch::channel(before);
    let (notices, heard) = mpsc::channel(1);
    let life = tokio::spawn(publisher.run(configs, heard));
    shelf.until("the old one", |sent| sent.iter().any(|(t, _)| *t == old)).await;
    change.send_replace(after);
    shelf.until("the new one", |sent| sent.iter().any(|(t, _)| *t == new)).await;
    drop((change, notices));
    life.await.unwrap();
    assert_eq!(shelf.now.lock().unwrap().keys().collect::<Vec<_>>(), [&new]);
    store.close(Duration::from_secs(10)).await.unwrap();
}
