//! A dead camera never stops another; an idle one costs no inference.

use std::io::Write;

use harness::TIMEOUT;
use harness::agent::Agent;
use harness::media::fixture;
use harness::ports::free_port;
use serde_json::Value;

use crate::http::{address_of, get_json};
use crate::lone_config;

async fn source(agent: &Agent, id: &str) -> Value {
    let sources = get_json(&address_of(agent).await, "/v1/sources").await;
    let list = sources["sources"].as_array().unwrap_or_else(|| panic!("{sources}")).clone();
    list.into_iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("{id} in {sources}"))
}

fn health_of(health: &Value, id: &str) -> Value {
    health["sources"].as_array().unwrap().iter().find(|s| s["id"] == id).unwrap().clone()
}

#[tokio::test]
async fn cameras_that_cannot_work_report_why_and_the_others_continue() {
    let folder = tempfile::tempdir().unwrap();
    let no_video = folder.path().join("notes.mp4");
    std::fs::File::create(&no_video).unwrap().write_all(b"this is no video at all").unwrap();
    let cameras = format!(
        r#"
[[camera]]
id = "good"
source = "test:"
[[camera]]
id = "absent"
source = "file:/nowhere/clip.mp4"
[[camera]]
id = "refusing"
source = "rtsp://127.0.0.1:{}/stream"
[[camera]]
id = "garbage"
source = "file:{}"
[[camera]]
id = "modelless"
source = "test:"
chain = ["other"]
[analyzer.other]
kind = "detect"
model = "no-such-model"
"#,
        free_port(),
        no_video.display()
    );
    let mut agent = Agent::run(&lone_config(folder.path(), &cameras));
    let address = address_of(&agent).await;
    let health = harness::eventually("the good camera, analysed, beside the bad ones", TIMEOUT, async || {
        let health = get_json(&address, "/healthz").await;
        let done = health_of(&health, "good")["frames_analysed_total"].as_u64() > Some(0)
            && ["absent", "refusing", "garbage", "modelless"]
                .iter()
                .all(|id| health_of(&health, id)["error"].is_string());
        done.then_some(health)
    })
    .await;
    assert_eq!(health["healthy"], false);
    for (id, word) in [
        ("absent", "/nowhere/clip.mp4"),
        ("refusing", "rtsp://127.0.0.1"),
        ("garbage", "notes.mp4"),
        ("modelless", "no-such-model"),
    ] {
        let error = health_of(&health, id)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word) && !error.contains('\n'), "{id}: {error}");
    }
    let before = health_of(&health, "good")["frames_received_total"].as_u64().unwrap();
    harness::eventually("more frames of the good camera", TIMEOUT, async || {
        let health = get_json(&address, "/healthz").await;
        (health_of(&health, "good")["frames_received_total"].as_u64().unwrap() > before + 5).then_some(())
    })
    .await;
    assert_eq!(source(&agent, "good").await["id"], "good");
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success(), "{}", agent.stderr().tail());
}

#[tokio::test]
async fn a_still_scene_costs_one_inference_and_then_none() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = format!(
        r#"
[[camera]]
id = "still"
source = "file:{}"
fps = 20
[camera.motion]
look_every_s = 600
"#,
        fixture("coffee.png").display()
    );
    let mut agent = Agent::run(&lone_config(folder.path(), &cameras));
    let address = address_of(&agent).await;
    let still = harness::eventually("sixty idle frames", TIMEOUT, async || {
        let still = health_of(&get_json(&address, "/healthz").await, "still");
        (still["frames_skipped_total"].as_u64() >= Some(60)).then_some(still)
    })
    .await;
    let inferences = still["inferences_total"].as_u64().unwrap();
    assert!(inferences <= 80, "the first look and its lingering only: {still}");
    let again = harness::eventually("sixty more", TIMEOUT, async || {
        let again = health_of(&get_json(&address, "/healthz").await, "still");
        (again["frames_skipped_total"].as_u64() >= Some(still["frames_skipped_total"].as_u64().unwrap() + 60))
            .then_some(again)
    })
    .await;
    assert_eq!(again["inferences_total"].as_u64().unwrap(), inferences, "no inference while nothing moves");
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}

#[tokio::test]
async fn what_a_privacy_mask_covers_is_neither_shown_nor_found() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = format!(
        r#"
[[camera]]
id = "desk"
source = "file:{}"
[[camera.mask]]
polygon = [[0,0],[1,0],[1,1],[0,1]]
[camera.motion]
enabled = false
"#,
        fixture("chelsea.png").display()
    );
    let mut agent = Agent::run(&lone_config(folder.path(), &cameras));
    let address = address_of(&agent).await;
    harness::eventually("ten analysed frames", TIMEOUT, async || {
        let desk = health_of(&get_json(&address, "/healthz").await, "desk");
        (desk["frames_analysed_total"].as_u64() >= Some(10)).then_some(())
    })
    .await;
    let events = get_json(&address, "/v1/events").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(0), "{events}");
    let jpeg = crate::http::get(&address, "/v1/sources/desk/frame.jpg").await;
    assert_eq!(jpeg.status, 200);
    assert!(jpeg.body.len() < 8_000, "a cat would need more than {} bytes", jpeg.body.len());
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}
