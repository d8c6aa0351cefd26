//! Cells: a camera is absent, dies, freezes, sends garbage, changes its size, is slow, or has another password.
//! A good camera runs beside it, and the events of both go through the delivery check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aimass_core::runtime::files::write_atomically;
use harness::agent::Agent;
use harness::api::{address_of, source_health};
use harness::delivery::Accepted;
use harness::ports::free_port;
use harness::proxy::{Pictures, Proxy};
use harness::random::SeededRandom;
use harness::{TIMEOUT, by_depth, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::rig::Rig;
use crate::rtsp::{Camera, JPEG, Lock, VP8};

/// A node with a good camera and a faulty one.
struct Node {
    rig: Rig,
    agent: Agent,
    address: String,
}

impl Node {
    /// `lines` configure the faulty camera; it has no chain, because only its delivery is tested.
    async fn with(source: &str, lines: &str) -> Node {
        let mut rig = Rig::new().await;
        let good = "[[camera]]\nid = \"good\"\nsource = \"test:\"\nchain = []\n";
        rig.more = format!(
            "{good}[[camera]]\nid = \"hard\"\nsource = \"{source}\"\nchain = []\ntransport = \"tcp\"\nstall_after_s = 1.5\n{lines}"
        );
        let agent = rig.agent();
        let address = address_of(&agent).await;
        Node { rig, agent, address }
    }

    async fn faulty(&self, what: &str, within: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, within, async || {
            let health = source_health(&self.address, "hard").await;
            fits(&health).then_some(health)
        })
        .await
    }

    /// It delivers, and continues to.
    async fn delivers(&self) -> Value {
        let seen = |health: &Value| health["frames_received_total"].as_u64().unwrap();
        let first = self.faulty("the camera delivers", TIMEOUT, |h| h["state"] == "delivering").await;
        self.faulty("more frames", TIMEOUT, |h| seen(h) > seen(&first) + 5 && h["state"] == "delivering")
            .await
    }

    /// It does not deliver, and reports why in one line.
    async fn fails(&self, word: &str) -> String {
        let health = self
            .faulty(&format!("a failure with `{word}`"), TIMEOUT, |h| {
                h["state"] != "delivering" && h["error"].as_str().is_some_and(|e| e.contains(word))
            })
            .await;
        let error = health["error"].as_str().unwrap().to_owned();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    /// The good camera was not disturbed; everything accepted has arrived.
    async fn finish(mut self) {
        let good = source_health(&self.address, "good").await;
        assert_eq!((&good["state"], &good["reconnects_total"]), (&"delivering".into(), &0.into()), "{good}");
        let before = good["frames_received_total"].as_u64().unwrap();
        eventually("frames of the good camera", TIMEOUT, async || {
            let now = source_health(&self.address, "good").await["frames_received_total"].as_u64().unwrap();
            (now > before + 5).then_some(())
        })
        .await;
        let panicked = self.agent.stderr().all().into_iter().find(|line| line.contains("panicked"));
        assert_eq!(panicked, None);
        let accepted = Accepted::in_store(&self.rig.store());
        self.rig.settle(self.agent, &accepted).await;
    }
}

#[tokio::test]
async fn a_camera_that_is_absent_is_reported_and_starts_when_it_appears() {
    let port = free_port();
    let node = Node::with(&format!("rtsp://127.0.0.1:{port}/stream"), "").await;
    node.fails("check that it is on").await;
    let _camera = Camera::start_at(port.into(), VP8, Lock::Open);
    node.delivers().await;
    node.finish().await;
}

#[tokio::test]
async fn a_camera_that_dies_is_reported_and_recovers() {
    let camera = Camera::start(VP8, Lock::Open);
    let port = camera.port;
    let node = Node::with(&camera.uri("stream"), "").await;
    let mut camera = Some(camera);
    for _ in 0..by_depth(1, 5) {
        node.delivers().await;
        drop(camera.take());
        node.fails("hard").await;
        camera = Some(Camera::start_at(port, VP8, Lock::Open));
    }
    node.delivers().await;
    node.finish().await;
}

#[tokio::test]
async fn a_camera_that_freezes_is_reported_and_reopened() {
    let camera = Camera::start(VP8, Lock::Open);
    let port = camera.port;
    let node = Node::with(&camera.uri("stream"), "").await;
    node.delivers().await;
    camera.freeze();
    node.fails("stopped sending").await;
    let sight = |m: &harness::subscriber::Message| {
        m.topic.ends_with("state/hard/health") && String::from_utf8_lossy(&m.payload).contains("stalled")
    };
    node.rig.subscriber.expect(sight).within(TIMEOUT).await;
    drop(camera);
    let _camera = Camera::start_at(port, VP8, Lock::Open);
    node.delivers().await;
    node.finish().await;
}

#[tokio::test]
async fn random_bytes_in_place_of_a_camera_are_reported_and_do_no_harm() {
    let mut random = SeededRandom::new("random bytes");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(AtomicBool::new(false));
    let told = served.clone();
    let garbage = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 2048];
            drop(stream.read(&mut request).await);
            // Some of it begins like a valid answer.
            let mut bytes =
                if random.range(0, 2) == 0 { b"RTSP/1.0 200 OK\r\n".to_vec() } else { Vec::new() };
            bytes.extend((0..random.range(1, 50_000)).map(|_| random.range(0, 256) as u8));
            drop(stream.write_all(&bytes).await);
            told.store(true, Ordering::Relaxed);
        }
    });
    let node = Node::with(&format!("rtsp://127.0.0.1:{port}/stream"), "open_timeout_s = 2\n").await;
    eventually("bytes were sent", TIMEOUT, async || served.load(Ordering::Relaxed).then_some(())).await;
    node.fails("hard").await;
    node.faulty("more attempts", TIMEOUT, |h| h["reconnects_total"].as_u64() > Some(by_depth(2, 10))).await;
    garbage.abort();
    node.finish().await;
}

#[tokio::test]
async fn a_stream_of_garbage_does_no_harm_and_the_camera_recovers() {
    for codec in by_depth(vec![VP8], vec![VP8, JPEG]) {
        let camera = Camera::start(codec, Lock::Open);
        let way = Proxy::to(camera.port as u16).await;
        way.set(|b| b.pictures = Some(Pictures::Pass)).await;
        let node = Node::with(&format!("rtsp://127.0.0.1:{}/stream", way.port()), "").await;
        node.delivers().await;
        way.set(|b| b.pictures = Some(Pictures::Garbled)).await;
        node.faulty("no good pictures any more", TIMEOUT, |h| h["state"] != "delivering").await;
        way.set(|b| b.pictures = Some(Pictures::Pass)).await;
        node.delivers().await;
        node.finish().await;
    }
}

#[tokio::test]
async fn a_camera_that_changes_its_size_in_mid_stream_goes_on() {
    for codec in by_depth(vec![VP8], vec![VP8, JPEG]) {
        let camera = Camera::start(codec, Lock::Open);
        let node = Node::with(&camera.uri("stream"), "").await;
        let size = |h: &Value| (h["width"].as_u64().unwrap(), h["height"].as_u64().unwrap());
        assert_eq!(size(&node.delivers().await), (160, 120));
        for (w, h) in [(320, 240), (96, 160)] {
            camera.resize(w, h);
            node.faulty("the new size", TIMEOUT, |health| size(health) == (w as u64, h as u64)).await;
            node.delivers().await;
        }
        node.finish().await;
    }
}

/// The camera answers at once and takes its time to the first picture, on every connection.
async fn first_picture_after(wait: Duration, lines: &str) -> (Node, Proxy, Camera) {
    let camera = Camera::start(VP8, Lock::Open);
    let way = Proxy::to(camera.port as u16).await;
    way.set(|b| b.pictures = Some(Pictures::Vanish)).await;
    let node = Node::with(&format!("rtsp://127.0.0.1:{}/stream", way.port()), lines).await;
    let asked = async || (way.connections() > 0).then_some(());
    eventually("the camera is asked", TIMEOUT, asked).await;
    // The fault itself: it takes so long.
    tokio::time::sleep(wait).await;
    (node, way, camera)
}

#[tokio::test]
async fn a_camera_that_takes_40_s_to_its_first_picture_comes_up_with_a_longer_timeout() {
    let (wait, timeout) = by_depth((2, 6), (40, 60));
    let (node, way, _camera) =
        first_picture_after(Duration::from_secs(wait), &format!("open_timeout_s = {timeout}\n")).await;
    let opening = source_health(&node.address, "hard").await;
    assert_eq!((&opening["state"], &opening["error"]), (&"connecting".into(), &Value::Null), "{opening}");
    way.set(|b| b.pictures = Some(Pictures::Pass)).await;
    let health = node.delivers().await;
    assert_eq!(health["reconnects_total"], 0, "it was waited for: {health}");
    node.finish().await;
}

#[tokio::test]
async fn a_camera_that_is_slower_than_its_timeout_is_reported_with_the_setting_to_raise_and_retried() {
    let (wait, lines) = by_depth((1, "open_timeout_s = 1\n"), (40, ""));
    let (node, way, _camera) = first_picture_after(Duration::from_secs(wait), lines).await;
    let error = node.fails("open_timeout").await;
    assert!(error.contains("raise"), "{error}");
    way.set(|b| b.pictures = Some(Pictures::Pass)).await;
    node.delivers().await;
    node.finish().await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_the_right_one_works_without_a_restart() {
    for lock in by_depth(vec![Lock::Digest], vec![Lock::Digest, Lock::Basic]) {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        write_atomically(&password, b"wr0ng\n").unwrap();
        let camera = Camera::start(VP8, lock);
        let lines = format!("username = \"viewer\"\npassword_file = \"{}\"\n", password.display());
        let node = Node::with(&camera.uri("stream"), &lines).await;
        let error = node.fails("password").await;
        let log = node.agent.stderr().all().join("\n");
        assert!(!error.contains("wr0ng") && !log.contains("wr0ng") && !log.contains("s3cret"), "{log}");
        write_atomically(&password, b"s3cret\n").unwrap();
        node.delivers().await;
        node.finish().await;
    }
}
