//! The task with a node in memory: authentication, parsing, replies, limits.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimass_core::frame::{CaptureTime, Frame, Picture, TimeSource};
use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_signing::TrustConfig;
use base64::Engine;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::*;
use crate::handle::testing::{TestNode, record};
use crate::logging::Logs;
use crate::pipeline::views::{SourceFacts, SourceView};

/// Takes the payload itself for the body.
struct Unsigned;

impl Authenticate for Unsigned {
    fn authenticate(&self, _name: &str, payload: &[u8]) -> Result<Value, CommandError> {
        match payload {
            b"unsigned" => Err(CommandError::new("no_keys", "no key is trusted here")),
            body => serde_json::from_slice(body).map_err(|e| CommandError::new("bad_payload", e.to_string())),
        }
    }
}

/// A node with the source `dock`, and the running task.
struct Rig {
    queue: mpsc::Sender<CommandRequest>,
    task: tokio::task::JoinHandle<()>,
    node: TestNode,
    /// The requests that reached the controller.
    done: Arc<Mutex<Vec<String>>>,
    view: Arc<SourceView>,
    folder: tempfile::TempDir,
    _trust: watch::Sender<TrustConfig>,
}

impl Rig {
    fn start() -> Rig {
        Self::with_logs(None)
    }

    fn with_logs(logs: Option<&'static Logs>) -> Rig {
        let now = SystemClock::new().wall();
        let view = Arc::new(SourceView::new("dock".parse().unwrap(), SourceFacts::default(), now));
        let (node, handle, requests) = TestNode::new(vec![view.clone()], logs);
        let done = record(requests);
        let folder = tempfile::tempdir().unwrap();
        let (trust, in_force) = watch::channel(TrustConfig::default());
        let secret_folders = SecretFolders { trust: in_force, config_file: folder.path().join("agent.toml") };
        let (queue, task) = start(Deps { authenticator: Arc::new(Unsigned), secret_folders, node: handle });
        Rig { queue, task: tokio::spawn(task), node, done, view, folder, _trust: trust }
    }

    async fn send(&self, name: &str, payload: impl Into<Bytes>) -> oneshot::Receiver<Value> {
        let (tx, rx) = oneshot::channel();
        let reply: SendReply = Box::new(move |text| tx.send(serde_json::from_slice(&text).unwrap()).unwrap());
        let command = CommandRequest { name: name.to_owned(), payload: payload.into(), reply: Some(reply) };
        self.queue.send(command).await.unwrap();
        rx
    }

    async fn ask(&self, name: &str, payload: impl Into<Bytes>) -> Value {
        answer_of(self.send(name, payload).await).await
    }

    /// Closes the queue and waits for the task; the requests that reached the controller.
    async fn end(self) -> Vec<String> {
        drop(self.queue);
        self.task.await.unwrap();
        self.done.lock().unwrap().clone()
    }
}

async fn answer_of(answer: oneshot::Receiver<Value>) -> Value {
    tokio::time::timeout(Duration::from_secs(60), answer)
        .await
        .expect("an answer in time")
        .expect("an answer")
}

fn jpeg_size(picture: &Value) -> (u32, u32) {
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(picture["jpeg_base64"].as_str().unwrap()).unwrap();
    assert!(bytes.len() <= snapshot::MAX_JPEG_BYTES, "{} bytes", bytes.len());
    let decoded = image::load_from_memory(&bytes).unwrap();
    assert_eq!(
        (picture["width"].as_u64(), picture["height"].as_u64()),
        (Some(decoded.width().into()), Some(decoded.height().into()))
    );
    (decoded.width(), decoded.height())
}

#[tokio::test]
async fn every_refusal_is_answered_with_its_kind_and_where_it_lies() {
    let rig = Rig::start();
    for (name, payload, kind, path) in [
        ("snapshot", "unsigned", "no_keys", None),
        ("snapshot", "{", "bad_payload", None),
        ("reboot", "{}", "unknown_command", None),
        ("snapshot", "{}", "bad_body", Some("body")),
        ("snapshot", r#"{"source":"Dock"}"#, "bad_body", Some("source")),
        ("snapshot", r#"{"source":"dock","mask":false}"#, "bad_body", Some("mask")),
        ("snapshot", r#"{"source":"dock","max_side_px":4000}"#, "bad_body", Some("max_side_px")),
        ("snapshot", r#"{"source":"yard"}"#, "unknown_source", None),
        ("snapshot", r#"{"source":"dock"}"#, "no_picture", None),
        ("restart-source", r#"{"source":"yard"}"#, "unknown_source", None),
        ("set-log-level", r#"{"level":"trace"}"#, "bad_body", Some("level")),
        ("set-log-level", r#"{"level":"debug","duration_s":7200}"#, "bad_body", Some("duration_s")),
        ("set-log-level", r#"{"level":"debug"}"#, "unavailable", None),
        ("drain", r#"{"timeout_s":301}"#, "bad_body", Some("timeout_s")),
        ("resume", r#"{"now":1}"#, "bad_body", Some("now")),
        ("probe", r#"{"source":"gst:filesrc location=/etc/shadow"}"#, "bad_body", Some("source")),
        ("probe", r#"{"source":"what"}"#, "bad_body", Some("source")),
        ("probe", r#"{"source":"file:/nowhere/clip.mp4"}"#, "not_found", None),
        ("probe", r#"{"source":"test:","timeout_s":0.5}"#, "bad_body", Some("timeout_s")),
    ] {
        let answer = rig.ask(name, payload).await;
        assert_eq!(answer["ok"], false, "{name} {payload}: {answer}");
        assert_eq!(answer["error"]["kind"], kind, "{name} {payload}: {answer}");
        assert_eq!(answer["error"]["path"].as_str(), path, "{name} {payload}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 5, "{answer}");
    }
    assert!(rig.end().await.is_empty(), "nothing reached the controller");
}

#[tokio::test]
async fn a_snapshot_is_the_newest_frame_and_no_larger_than_asked_for() {
    let rig = Rig::start();
    for seq in 1..=2 {
        let capture_time = CaptureTime {
            wall: Timestamp::UNIX_EPOCH,
            wall_source: TimeSource::Clock,
            elapsed: Duration::ZERO,
        };
        let picture = Picture::from_rgb((640, 480), vec![90; 640 * 480 * 3]).unwrap();
        rig.view.show_frame(Frame { source: "dock".parse().unwrap(), seq, capture_time, picture });
    }
    let answer = rig.ask("snapshot", r#"{"source":"dock","max_side_px":320}"#).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(
        (&answer["result"]["frame"], &answer["result"]["time"]),
        (&2.into(), &"1970-01-01T00:00:00.000Z".into())
    );
    assert_eq!(jpeg_size(&answer["result"]["picture"]), (320, 240));
}

#[tokio::test]
async fn a_picture_that_compresses_badly_is_made_smaller_until_it_fits_an_answer() {
    let rig = Rig::start();
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let picture = Picture::from_rgb((1920, 1080), noise.take(1920 * 1080 * 3).collect()).unwrap();
    let capture_time =
        CaptureTime { wall: Timestamp::UNIX_EPOCH, wall_source: TimeSource::Clock, elapsed: Duration::ZERO };
    rig.view.show_frame(Frame { source: "dock".parse().unwrap(), seq: 1, capture_time, picture });
    let answer = rig.ask("snapshot", r#"{"source":"dock","max_side_px":1920}"#).await;
    let (width, _) = jpeg_size(&answer["result"]["picture"]);
    assert!(width < 1920, "{width}");
}

#[tokio::test]
async fn a_probe_tells_what_the_source_is_and_shows_its_first_picture() {
    let rig = Rig::start();
    let answer = rig.ask("probe", r#"{"source":"test:","max_side_px":160}"#).await;
    assert_eq!(answer["ok"], true, "{answer}");
    let found = &answer["result"];
    assert!(found["width"].as_u64() > Some(0) && found["fps"].as_f64() > Some(0.0), "{found}");
    let (width, height) = jpeg_size(&found["picture"]);
    assert!(width.max(height) <= 160, "{width}x{height}");

    // A password that lies elsewhere is not even opened.
    let outside = r#"{"source":"rtsp://127.0.0.1:9/x","username":"a","password_file":"/etc/hostname"}"#;
    let answer = rig.ask("probe", outside).await;
    assert_eq!(answer["error"]["path"], "password_file", "{answer}");
    let secret = rig.folder.path().join("password");
    aimass_core::runtime::files::write_atomically(&secret, b"secret").unwrap();
    let inside =
        json!({"source": "rtsp://127.0.0.1:9/x", "username": "a", "password_file": secret, "timeout_s": 5});
    let answer = rig.ask("probe", inside.to_string()).await;
    assert_eq!(answer["error"]["kind"], "unavailable", "a port where nobody listens: {answer}");
}

#[tokio::test]
async fn slow_probes_hold_nobody_up_and_a_third_one_finds_no_room() {
    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/x", silent.local_addr().unwrap());
    let rig = Rig::start();
    let probe = json!({"source": url, "transport": "tcp", "timeout_s": 3}).to_string();
    let mut slow = [rig.send("probe", probe.clone()).await, rig.send("probe", probe.clone()).await];
    assert_eq!(rig.ask("probe", probe).await["error"]["kind"], "busy");
    assert_eq!(rig.ask("restart-source", r#"{"source":"dock"}"#).await["ok"], true);
    assert!(slow.iter_mut().all(|s| s.try_recv().is_err()), "both still wait for the camera");
    for slow in slow {
        let answer = answer_of(slow).await;
        assert_eq!(answer["ok"], false, "{answer}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_drain_closes_the_sources_and_tells_what_is_left_and_resume_opens_them() {
    let rig = Rig::start();
    rig.node.history.outbox_depth.store(3, Ordering::Relaxed);
    let answer = rig.ask("drain", r#"{"timeout_s":60}"#).await;
    assert_eq!(answer["result"], json!({"drained": true, "events_pending": 0}), "{answer}");
    assert_eq!(*rig.done.lock().unwrap(), ["close"]);
    rig.node.history.outbox_depth.store(1000, Ordering::Relaxed);
    let answer = rig.ask("drain", r#"{"timeout_s":0}"#).await;
    assert!(
        answer["result"]["events_pending"].as_u64() > Some(900),
        "out of time is told, not hidden: {answer}"
    );
    assert_eq!(rig.ask("resume", "null").await["ok"], true);
    assert_eq!(*rig.done.lock().unwrap(), ["close", "close", "open"]);
}

#[tokio::test]
async fn a_log_level_is_set_back_by_itself_and_an_earlier_end_does_not_undo_a_later_change() {
    let filters = Arc::new(Mutex::new(Vec::new()));
    let put = filters.clone();
    let logs: &'static Logs = Box::leak(Box::new(Logs::new("info,rumqttd=off", move |filter| {
        put.lock().unwrap().push(filter.to_string());
        Ok(())
    })));
    let rig = Rig::with_logs(Some(logs));
    assert_eq!(rig.ask("set-log-level", r#"{"level":"debug","duration_s":1}"#).await["ok"], true);
    let answer = rig.ask("set-log-level", r#"{"level":"error","duration_s":2}"#).await;
    assert_eq!(answer["result"]["level"], "error", "{answer}");
    let until = async {
        while filters.lock().unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until).await.expect("set back");
    let seen = filters.lock().unwrap().clone();
    assert!(seen[0].contains("aimass=debug") && seen[1].contains("aimass=error"), "{seen:?}");
    assert!(!seen[2].contains("aimass"), "as at the start: {seen:?}");
}
