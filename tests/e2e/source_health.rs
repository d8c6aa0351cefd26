//! Source health of cameras: on clips with simulated faults, at a real broker.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use harness::TIMEOUT;
use harness::agent::Agent;
use harness::broker::Broker;
use harness::clips::{Picture, decode, encode};
use harness::media::fixture;
use harness::subscriber::{Message, Subscriber};
use harness::wall_clock::WallClock;
use serde_json::Value;

const FPS: u32 = 5;
const SIZE: (usize, usize) = (384, 288);
/// Every picture by itself.
const JPEG: &str = "jpegenc quality=90 ! avimux";
/// Pictures that build on each other, as cameras send them: a frozen picture is encoded again.
const MPEG4: &str = "avenc_mpeg4 bitrate=3000000 gop-size=10 max-bframes=0 ! avimux";

/// A pedestrian precinct: the whole clip, larger than what the camera shows of it.
struct Precinct(Vec<Picture>);

impl Precinct {
    fn new() -> Self {
        Precinct(decode(&fixture("vtest.avi"), (480, 360), FPS))
    }

    /// Frame `n` of the camera, which looks at the middle; `beside` is how far it was turned.
    fn frame(&self, n: usize, beside: (usize, usize)) -> Picture {
        self.0[n % self.0.len()].cropped((48 + beside.0, 36 + beside.1), SIZE)
    }

    /// Segments of so many seconds, one after the other, each with its camera fault.
    fn clip(&self, folder: &Path, name: &str, codec: &str, segments: &[(usize, CameraFault)]) -> PathBuf {
        let mut frames: Vec<Picture> = Vec::new();
        for (seconds, mishap) in segments {
            let begin = frames.len();
            for n in begin..begin + seconds * FPS as usize {
                let frame = match mishap {
                    CameraFault::Moved => self.frame(n, (48, 24)),
                    _ => self.frame(n, (0, 0)),
                };
                frames.push(match mishap {
                    CameraFault::None | CameraFault::Moved => frame,
                    CameraFault::Black => frame.black(),
                    CameraFault::Covered => frame.covered(),
                    CameraFault::Blurred => frame.blurred(2),
                    CameraFault::Frozen => self.frame(begin, (0, 0)),
                    CameraFault::Light(light) => {
                        let factor = light(n - begin);
                        frame.lit(|v| 16.0 + (f32::from(v) - 16.0) * factor)
                    }
                });
            }
        }
        encode(folder, name, codec, FPS, &frames)
    }
}

enum CameraFault {
    None,
    Black,
    Covered,
    Moved,
    Blurred,
    Frozen,
    /// The light's factor by frame.
    Light(fn(usize) -> f32),
}

/// A node whose cameras are these sources; nothing analyses them.
fn config(broker: &Broker, folder: &Path, cameras: &[(&str, String)], sight: &str) -> String {
    let mut text = format!(
        "[node]\nsite = \"test\"\nid = \"board\"\n[broker]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [store]\npath = \"{}\"\n",
        broker.url(),
        folder.join("agent.db").display()
    );
    for (id, source) in cameras {
        write!(
            text,
            "[[camera]]\nid = \"{id}\"\nsource = \"{source}\"\nfps = 5\nchain = []\n[camera.health]\n{sight}\n"
        )
        .unwrap();
    }
    text
}

fn unpaced(path: &Path) -> String {
    format!("file:{}?realtime=false", path.display())
}

fn is_of_sight(message: &Message) -> bool {
    message.topic.contains("/event/") && message.topic.ends_with("/health")
}

/// "began black", "ended black", … of a source.
fn told(all: &[Message], source: &str) -> Vec<String> {
    let events = events(all).into_iter().filter(|e| e["source"] == source);
    let word = |e: &Value, key: &str| e[key].as_str().unwrap().to_owned();
    events.map(|e| format!("{} {}", word(&e, "phase"), word(&e, "label"))).collect()
}

/// The events of sight, each once: what a killed node had not heard of comes again.
fn events(all: &[Message]) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    for event in all.iter().filter(|m| is_of_sight(m)).map(Message::json) {
        if !events.iter().any(|e| e["id"] == event["id"]) {
            events.push(event);
        }
    }
    // Alarms overtake.
    events.sort_by_key(|e| e["seq"].as_u64());
    events
}

fn is_goodbye(message: &Message) -> bool {
    message.topic.ends_with("/status") && message.json()["state"] == "stopping"
}

#[tokio::test]
async fn every_camera_fault_begins_and_ends_as_an_event_with_its_measurements() {
    let folder = tempfile::tempdir().unwrap();
    let clip = Precinct::new().clip(
        folder.path(),
        "mishaps.avi",
        MPEG4,
        &[
            (20, CameraFault::None),
            (14, CameraFault::Black),
            (8, CameraFault::None),
            (14, CameraFault::Covered),
            (8, CameraFault::None),
            (14, CameraFault::Moved),
            (8, CameraFault::None),
            (14, CameraFault::Blurred),
            (8, CameraFault::None),
        ],
    );
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let cameras = [("street", unpaced(&clip))];
    let mut agent = Agent::run(&config(&broker, folder.path(), &cameras, "focus_hold_s = 10"));
    agent.stderr().expect("the clip's end", TIMEOUT, |line| line.contains("The source has ended")).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let is_over = |all: &[Message]| all.iter().any(is_goodbye) && events(all).len() >= 8;
    let all = subscriber.expect_all("the goodbye and all events", TIMEOUT, is_over).await;
    let losses = ["black", "covered", "moved", "out_of_focus"];
    let expected: Vec<String> =
        losses.iter().flat_map(|l| ["began", "ended"].map(|p| format!("{p} {l}"))).collect();
    assert_eq!(told(&all, "street"), expected);

    let events = events(&all);
    for (pair, loss) in events.chunks_exact(2).zip(losses) {
        let (began, ended) = (&pair[0], &pair[1]);
        assert!(
            began["occurrence_id"].is_string() && began["occurrence_id"] == ended["occurrence_id"],
            "{loss}"
        );
        let severity = if loss == "out_of_focus" { "notice" } else { "alarm" };
        assert_eq!((&began["severity"], &ended["severity"]), (&severity.into(), &severity.into()), "{loss}");
        assert_eq!(ended["attributes"]["end_reason"], "recovered", "{loss}");
        // Told ten seconds after it began to be so, over three seconds after it was over.
        let lasted = ended["attributes"]["duration_s"].as_f64().unwrap();
        assert!((5.0..9.5).contains(&lasted), "{loss}: {lasted} s");
    }
    let fact = |n: usize, name: &str| events[n]["attributes"][name].as_f64().unwrap();
    assert!(fact(0, "brightness") < 8.0);
    assert!(fact(2, "edges_missing") > 0.7);
    assert!((fact(4, "shift_x") + 48.0 / 384.0).abs() < 0.04, "{}", events[4]);
    assert!(fact(6, "sharpness") < 0.2);
}

#[tokio::test]
async fn a_frozen_and_a_black_camera_are_a_state_until_they_recover() {
    let folder = tempfile::tempdir().unwrap();
    // A whole picture comes each two seconds, so the frozen one is first known by its second.
    let segments = [
        (3, CameraFault::None),
        (12, CameraFault::Frozen),
        (4, CameraFault::None),
        (4, CameraFault::Black),
        (4, CameraFault::None),
    ];
    let clip = Precinct::new().clip(folder.path(), "frozen.avi", MPEG4, &segments);
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let cameras = [("street", format!("file:{}", clip.display()))];
    let sight = "frozen_after_s = 5\nhold_s = 1\nrecover_s = 1";
    let mut agent = Agent::run(&config(&broker, folder.path(), &cameras, sight));
    agent.stderr().expect("the clip's end", TIMEOUT, |line| line.contains("The source has ended")).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let is_over = |all: &[Message]| all.iter().any(is_goodbye) && events(all).len() >= 4;
    let all = subscriber.expect_all("the goodbye and all events", TIMEOUT, is_over).await;
    assert_eq!(told(&all, "street"), ["began frozen", "ended frozen", "began black", "ended black"]);
    let states = all.iter().filter(|m| m.topic.ends_with("state/street/health")).map(Message::json);
    let states: Vec<Value> = states.collect();
    assert_eq!(states, ["ok", "frozen", "ok", "black", "ok", "ended"]);
    assert!(all.iter().any(|m| m.topic.ends_with("state/node/health")), "the node tells of its own clock");
}

#[tokio::test]
async fn ordinary_changes_of_a_scene_are_not_faults() {
    let folder = tempfile::tempdir().unwrap();
    let precinct = Precinct::new();
    // A day and a night in a minute and a half; a lamp that flickers; one that is switched off and on.
    let fade = |n: usize| 0.52 + 0.48 * (n as f32 / 450.0 * std::f32::consts::TAU).cos();
    let flicker = |n: usize| if n.is_multiple_of(2) { 0.75 } else { 1.15 };
    let switched = |n: usize| if (n / 100).is_multiple_of(2) { 1.0 } else { 0.35 };
    let made = |name: &str, light: fn(usize) -> f32| {
        let segments = [(15, CameraFault::None), (90, CameraFault::Light(light)), (15, CameraFault::None)];
        precinct.clip(folder.path(), name, JPEG, &segments)
    };
    let clips = [
        ("street", fixture("vtest.avi")),
        ("bikes", fixture("bikes.mp4")),
        ("day", made("day.avi", fade)),
        ("flicker", made("flicker.avi", flicker)),
        ("lamp", made("lamp.avi", switched)),
    ];
    let mut cameras: Vec<(&str, String)> = clips.iter().map(|(id, path)| (*id, unpaced(path))).collect();
    cameras.push(("still", format!("file:{}", fixture("coffee.png").display())));
    cameras.push(("test", "test:".to_owned()));
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    // A still and a test picture may show one picture for as long as they like.
    let mut agent = Agent::run(&config(&broker, folder.path(), &cameras, "hold_s = 5\nfrozen_after_s = 1"));
    for (id, _) in &clips {
        let over =
            |line: &str| line.contains("The source has ended") && line.contains(&format!("source={id}"));
        agent.stderr().expect("a clip's end", TIMEOUT, over).await;
    }
    let ok = |id: &'static str| {
        move |m: &Message| m.topic.ends_with(&format!("state/{id}/health")) && m.json() == "ok"
    };
    subscriber.expect(ok("still")).within(TIMEOUT).await;
    subscriber.expect(ok("test")).within(TIMEOUT).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let all = subscriber.expect_all("the goodbye", TIMEOUT, |all| all.iter().any(is_goodbye)).await;
    let events = events(&all);
    assert_eq!(events, Vec::<Value>::new());
}

#[tokio::test]
async fn a_camera_that_is_absent_is_reported_across_kills_and_stops_and_each_fault_ends_once() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("late.avi");
    let cameras = [("dock", format!("file:{}?loop=true", clip.display()))];
    let text = config(&broker, folder.path(), &cameras, "away_after_s = 0");
    let told_so_far = |count: usize| move |all: &[Message]| told(all, "dock").len() >= count;

    let mut agent = Agent::run(&text);
    subscriber.expect_all("the loss", TIMEOUT, told_so_far(1)).await;
    agent.kill().await;
    let mut agent = Agent::run(&text);
    subscriber.expect_all("the end of the former, and the next", TIMEOUT, told_so_far(3)).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let mut agent = Agent::run(&text);
    subscriber.expect_all("the end at the stop, and the next", TIMEOUT, told_so_far(5)).await;
    std::fs::copy(fixture("vtest.avi"), &clip).unwrap();
    subscriber.expect_all("the camera that came", TIMEOUT, told_so_far(6)).await;
    let delivers = |m: &Message| m.topic.ends_with("state/dock/health") && m.json() == "ok";
    subscriber.expect(delivers).within(TIMEOUT).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());

    let all = subscriber.all();
    let events = events(&all);
    assert_eq!(told(&all, "dock"), ["began failed", "ended failed"].repeat(3));
    for (pair, reason) in events.chunks_exact(2).zip(["restarted", "node_stopping", "recovered"]) {
        assert_eq!(pair[0]["occurrence_id"], pair[1]["occurrence_id"]);
        assert_eq!(pair[1]["attributes"]["end_reason"], reason);
        assert!(pair[0]["attributes"]["error"].as_str().unwrap().contains("late.avi"));
    }
    assert_ne!(events[0]["occurrence_id"], events[2]["occurrence_id"]);
}

#[tokio::test]
async fn a_node_whose_clock_is_not_set_says_so_until_it_is() {
    let Some(clock) = WallClock::new() else { return };
    clock.jump("-20y");
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/v1/test/board/state/node/health").await;
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::run_with(&config(&broker, folder.path(), &[], ""), &clock.environment());
    let states = |all: &[Message]| all.iter().map(Message::json).collect::<Vec<Value>>();
    subscriber.expect_all("the wrong clock", TIMEOUT, |all| states(all) == ["clock_not_synchronized"]).await;
    clock.jump("+0d");
    subscriber
        .expect_all("the right clock", TIMEOUT, |all| states(all) == ["clock_not_synchronized", "ok"])
        .await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}
