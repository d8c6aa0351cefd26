//! Signed commands over MQTT: executed, rejected, answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::TIMEOUT;
use harness::paho::Paho;
use harness::signer::Signer;
use serde_json::{Value, json};

use crate::bikes;
use crate::hub::Rig;

fn jpeg(picture: &Value) -> Vec<u8> {
    let bytes = STANDARD.decode(picture["jpeg_base64"].as_str().unwrap()).unwrap();
    assert_eq!(&bytes[..3], b"\xff\xd8\xff", "a JPEG");
    bytes
}

#[tokio::test]
async fn a_source_is_tried_before_it_is_saved() {
    let mut rig = Rig::start().await;
    let answer = rig.command("probe", json!({"source": bikes("")})).await;
    assert_eq!(answer["ok"], true, "{answer}");
    let result = &answer["result"];
    assert!(result["width"].as_u64() > Some(100) && result["fps"].as_f64() > Some(1.0), "{result}");
    jpeg(&result["picture"]);

    let nothing = rig.command("probe", json!({"source": "rtsp://127.0.0.1:9/none", "timeout_s": 5.0})).await;
    assert_eq!(nothing["ok"], false, "{nothing}");
    let pipeline = rig.command("probe", json!({"source": "gst:videotestsrc"})).await;
    assert_eq!(pipeline["ok"], false, "a pipeline is a program: {pipeline}");
    let secret = json!({"source": "rtsp://127.0.0.1:9/x", "username": "u", "password_file": "/etc/shadow"});
    let stolen = rig.command("probe", secret).await;
    assert_eq!(
        (&stolen["ok"], &stolen["error"]["path"]),
        (&json!(false), &json!("password_file")),
        "{stolen}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_picture_is_sent_and_a_source_restarted_alone() {
    let mut rig = Rig::start().await;
    let (dock, yard) = (rig.delivers("dock").await, rig.delivers("yard").await);
    let answer = rig.command("snapshot", json!({"source": "dock"})).await;
    assert_eq!(answer["ok"], true, "{answer}");
    jpeg(&answer["result"]["picture"]);
    let answer = rig.command("restart-source", json!({"source": "dock"})).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_ne!(rig.delivers("dock").await, dock);
    assert_eq!(rig.delivers("yard").await, yard);
    let unknown = rig.command("restart-source", json!({"source": "attic"})).await;
    assert_eq!(unknown["error"]["kind"], "unknown_source", "{unknown}");
    rig.stop().await;
}

#[tokio::test]
async fn a_drained_node_stays_so_until_it_is_resumed() {
    let mut rig = Rig::start().await;
    let answer = rig.command("drain", json!({"timeout_s": 30})).await;
    assert_eq!((&answer["ok"], &answer["result"]["events_pending"]), (&json!(true), &json!(0)), "{answer}");
    let seen = harness::api::source_health(&rig.api, "dock").await["frames_received_total"].as_u64();
    let level = rig.command("set-log-level", json!({"level": "debug", "duration_s": 60})).await;
    assert_eq!(level["ok"], true, "{level}");
    let later = harness::api::source_health(&rig.api, "dock").await["frames_received_total"].as_u64();
    assert_eq!(later, seen, "no camera is looked at");
    assert_eq!(rig.command("resume", json!({})).await["ok"], true);
    harness::eventually("frames again", TIMEOUT, async || {
        let now = harness::api::source_health(&rig.api, "dock").await["frames_received_total"].as_u64();
        (now > seen).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn a_command_without_authority_is_rejected_and_changes_nothing() {
    let mut rig = Rig::start().await;
    let since = rig.delivers("dock").await;
    let good = rig.signer.command("snapshot", json!({"source": "dock"}));
    assert_eq!(rig.ask("snapshot", &good).await["ok"], true);
    let stranger = Signer::new("stranger");
    let cases = [
        ("the same again", "snapshot", good, "replayed"),
        ("unsigned", "restart-source", b"{\"source\":\"dock\"}".to_vec(), "not_an_envelope"),
        ("a stranger", "drain", stranger.command("drain", json!({"timeout_s": 1})), "unknown_key"),
        ("another name", "drain", rig.signer.command("resume", json!({})), "bad_payload"),
        ("a configuration", "drain", rig.signer.config(1, ""), ""),
        (
            "an unknown command",
            "self-destruct",
            rig.signer.command("self-destruct", json!({})),
            "unknown_command",
        ),
        ("a wrong field", "snapshot", rig.signer.command("snapshot", json!({"sorce": "dock"})), "bad_body"),
    ];
    for (what, name, payload, kind) in cases {
        let answer = rig.ask(name, &payload).await;
        assert_eq!(answer["ok"], false, "{what}: {answer}");
        assert!(answer["error"]["kind"].as_str().unwrap().contains(kind), "{what}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty(), "{what}: {answer}");
    }
    assert_eq!(rig.delivers("dock").await, since);
    rig.stop().await;
}

#[tokio::test]
async fn eclipse_paho_sends_a_command_and_gets_its_reply() {
    let rig = Rig::start().await;
    let envelope = rig.signer.command("snapshot", json!({"source": "dock", "max_side_px": 64}));
    let topic = "aimass/v1/test/board/command/snapshot";
    let answer = Paho::request(rig.broker.port(), topic, &envelope).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    jpeg(&answer["result"]["picture"]);
    rig.stop().await;
}
