//! The governor: a board that is too hot or too slow analyses less, reports it, and recovers.

use std::path::Path;

use aimass_core::runtime::files::write_atomically;
use harness::TIMEOUT;
use harness::agent::Agent;
use harness::broker::Broker;
use harness::subscriber::{Message, Subscriber};
use serde_json::Value;

use crate::http::{address_of, get, get_json};

fn config(broker: &str, folder: &Path, late_share: f32, camera: &str) -> String {
    format!(
        r#"
[node]
site = "test"
id = "board"
[broker]
url = "{broker}"
[http]
listen = "127.0.0.1:0"
[store]
path = "{}"
[governor]
period_s = 0.5
step_down_after_s = 1
step_up_after_s = 1
longest_wait_s = 4
late_share = {late_share}
[[camera]]
id = "street"
{camera}
"#,
        folder.join("agent.db").display()
    )
}

const FACES: &str = r#"
source = "test:?pattern=snow"
fps = 4
chain = ["faces"]
[[camera.mask]]
polygon = [[0,0],[1,0],[1,1],[0,1]]
[camera.motion]
enabled = false
[analyzer.faces]
model = "centerface"
smaller_model = "blazeface-back"
"#;

/// A simulated `/sys` tree below this folder, and its temperature.
fn tree(folder: &Path) -> (String, String) {
    std::fs::create_dir_all(folder.join("class/thermal/thermal_zone0")).unwrap();
    write_atomically(&folder.join("class/thermal/thermal_zone0/type"), b"cpu-thermal\n").unwrap();
    heat(folder, 45.0);
    ("AIMASS_TEST_SYS_ROOT".to_owned(), folder.display().to_string())
}

fn heat(folder: &Path, celsius: f32) {
    let file = folder.join("class/thermal/thermal_zone0/temp");
    write_atomically(&file, format!("{:.0}\n", celsius * 1000.0).as_bytes()).unwrap();
}

/// The events `degraded` that came, in order; once each, as a kill may have them sent again.
fn degraded(all: &[Message]) -> Vec<Value> {
    let of_node = all.iter().filter(|m| m.topic == "aimass/v1/test/board/event/node/node").map(Message::json);
    let mut events: Vec<Value> = Vec::new();
    for event in of_node.filter(|event| event["label"] == "degraded") {
        if !events.iter().any(|known| known["id"] == event["id"]) {
            events.push(event);
        }
    }
    events
}

async fn phase(subscriber: &Subscriber, phase: &str) -> Value {
    let has = |all: &[Message]| degraded(all).iter().any(|event| event["phase"] == phase);
    let all = subscriber.expect_all(phase, TIMEOUT, has).await;
    degraded(&all).into_iter().find(|event| event["phase"] == phase).unwrap()
}

async fn until(address: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    harness::eventually(what, TIMEOUT, async || {
        let health = get_json(address, "/healthz").await;
        fits(&health).then_some(health)
    })
    .await
}

#[tokio::test]
async fn heat_reduces_the_frame_rate_then_the_model_size_and_cooling_restores_both() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    let mut agent = Agent::run_with(&config(&broker.url(), folder.path(), 1.0, FACES), &[root]);
    let address = address_of(&agent).await;
    let share = |health: &Value| health["governor"]["cameras"][0].clone();
    let health = until(&address, "frames analysed, board watched", |h| {
        h["sources"][0]["frames_analysed_total"].as_u64() > Some(0) && h["governor"]["state"] == "normal"
    })
    .await;
    assert_eq!(health["governor"]["hottest_zone"]["temperature_c"], 45.0);
    assert_eq!(
        (share(&health)["fps_allowed"].as_f64(), health["governor"]["max_level"].as_u64()),
        (Some(4.0), Some(3))
    );

    heat(folder.path(), 91.0);
    let began = phase(&subscriber, "began").await;
    assert_eq!(
        (&began["kind"], &began["source"], &began["severity"]),
        (&"node".into(), &"node".into(), &"notice".into())
    );
    assert_eq!(began["attributes"]["reason"], "overheating", "{began}");
    let held = &began["attributes"]["cameras"][0];
    assert_eq!(
        (&held["id"], held["fps_configured"].as_f64(), held["fps_allowed"].as_f64()),
        (&"street".into(), Some(4.0), Some(2.0))
    );
    let low = until(&address, "the floor, and the smaller model at work", |h| {
        share(h)["models"][0] == "blazeface-back"
            && h["sources"][0]["fps_received"].as_f64().is_some_and(|fps| fps < 1.7)
    })
    .await;
    assert_eq!(
        (share(&low)["fps_allowed"].as_f64(), low["governor"]["level"].as_u64()),
        (Some(1.0), Some(3))
    );
    let ready = |smaller: &'static str| {
        move |line: &str| line.contains("The chain is ready") && line.contains(&format!("smaller={smaller}"))
    };
    agent.stderr().expect("the smaller model", TIMEOUT, ready("true")).await;
    let before = low["sources"][0]["frames_analysed_total"].as_u64().unwrap();
    until(&address, "still analysed", |h| {
        h["sources"][0]["frames_analysed_total"].as_u64() > Some(before + 1)
    })
    .await;
    let metrics = String::from_utf8(get(&address, "/metrics").await.body).unwrap();
    assert!(metrics.contains("aimass_governor_level_count 3\n"), "{metrics}");
    assert!(metrics.contains("aimass_source_given_fps{source=\"street\"} 1\n"), "{metrics}");
    let picture = get(&address, "/v1/sources/street/frame.jpg").await;
    assert!(
        picture.status == 200 && picture.body.len() < 8_000,
        "the mask holds: {} bytes",
        picture.body.len()
    );

    heat(folder.path(), 50.0);
    let ended = phase(&subscriber, "ended").await;
    assert_eq!(
        (&ended["occurrence_id"], &ended["attributes"]["end_reason"]),
        (&began["occurrence_id"], &"recovered".into())
    );
    let whole = until(&address, "everything again", |h| {
        h["governor"]["state"] == "normal"
            && h["sources"][0]["fps_received"].as_f64().is_some_and(|fps| fps > 3.0)
    })
    .await;
    assert_eq!(share(&whole)["models"][0], "centerface");
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success(), "{}", agent.stderr().tail());
    let all = degraded(&subscriber.all());
    let count = |phase: &str| all.iter().filter(|event| event["phase"] == phase).count();
    assert_eq!((count("began"), count("ended")), (1, 1), "{all:?}");
    assert!(count("updated") >= 3, "two more rungs down, one at least up: {all:?}");
    assert!(all.iter().all(|event| event["occurrence_id"] == began["occurrence_id"]));
}

#[tokio::test]
async fn an_episode_left_open_by_a_crash_is_ended_by_the_next_start_and_a_clean_stop_ends_its_own() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    let camera = "source = \"test:\"\nfps = 4\nchain = [\"detect\"]";
    let config = config(&broker.url(), folder.path(), 1.0, camera);
    heat(folder.path(), 90.0);
    let mut agent = Agent::run_with(&config, std::slice::from_ref(&root));
    let began = phase(&subscriber, "began").await;
    agent.kill().await;
    let mut agent = Agent::run_with(&config, &[root]);
    let ended = phase(&subscriber, "ended").await;
    assert_eq!(
        (&ended["occurrence_id"], &ended["attributes"]["end_reason"]),
        (&began["occurrence_id"], &"restarted".into())
    );
    let twice = |all: &[Message]| degraded(all).iter().filter(|event| event["phase"] == "began").count() == 2;
    subscriber.expect_all("still hot", TIMEOUT, twice).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success(), "{}", agent.stderr().tail());
    let stopped = |all: &[Message]| {
        degraded(all).last().is_some_and(|event| event["attributes"]["end_reason"] == "node_stopping")
    };
    subscriber.expect_all("ended by the stop", TIMEOUT, stopped).await;
}

#[tokio::test]
async fn a_chain_that_is_too_slow_for_its_camera_is_slowed_down_to_its_capacity() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path());
    let camera = "source = \"test:?fps=60\"\nfps = 60\nchain = [\"faces\"]\n[camera.motion]\nenabled = false";
    let mut agent = Agent::run_with(&config(&broker.url(), folder.path(), 0.25, camera), &[root]);
    let began = phase(&subscriber, "began").await;
    assert_eq!(began["attributes"]["reason"], "overloaded", "{began}");
    let address = address_of(&agent).await;
    let health = until(&address, "slowed to what it can do", |h| {
        let source = &h["sources"][0];
        let of = |name: &str| source[name].as_f64().unwrap();
        let (given, analysed) = (of("fps_allowed"), of("fps_analysed"));
        // On a very busy machine even the minimum is too much; less is never allocated.
        given < 60.0 && (analysed > 0.6 * given || given <= 1.0)
    })
    .await;
    assert_eq!(health["governor"]["reason"], "overloaded");
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success(), "{}", agent.stderr().tail());
}
