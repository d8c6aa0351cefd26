//! Home Assistant discovery: documents that its own schemas accept, and states that its templates understand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use aimass_core::runtime::files::write_atomically;
use harness::TIMEOUT;
use harness::agent::Agent;
use harness::broker::Broker;
use harness::subscriber::{Message, Subscriber};
use serde_json::Value;

use crate::clip_config;

const TOPIC: &str = "homeassistant/device/aimass_test_board/config";

/// A Python with Home Assistant's schemas; `None` where there is none, as the script says on stderr.
fn python() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("home_assistant/setup.sh");
    let output = Command::new(&script).stderr(Stdio::inherit()).output().unwrap();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        Some(3) => {
            harness::skip("Home Assistant's schemas are not here, its documents were not checked");
            None
        }
        _ => panic!("{} failed: {}", script.display(), output.status),
    }
}

fn config(broker: &str, store: &Path, home_assistant: &str) -> String {
    let more = r#"
[[camera]]
id = "back_yard"
source = "test:"
chain = ["people", "faces"]
[[camera.zone]]
id = "lawn"
polygon = [[0.1,0.1],[0.9,0.1],[0.9,0.9]]
[analyzer.people]
kind = "detect"
labels = ["person", "traffic light"]
"#;
    format!("{}{more}[home_assistant]\n{home_assistant}\n", clip_config(broker, store, "test:"))
}

/// The latest of each retained topic, as a client that comes now gets them.
async fn kept(
    broker: &Broker,
    filter: &str,
    enough: impl Fn(&[Message]) -> bool,
) -> BTreeMap<String, Vec<u8>> {
    let late = Subscriber::on(broker.port(), filter).await;
    let all = late.expect_all("what the broker keeps", TIMEOUT, |all| enough(all)).await;
    all.into_iter().map(|m| (m.topic, m.payload)).collect()
}

#[tokio::test]
async fn home_assistant_accepts_the_discovery_document_and_gets_it_again_at_its_birth_message() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "homeassistant/#").await;
    // Health is not retained, so subscribe before the start.
    let states = Subscriber::on(broker.port(), "aimass/v1/test/board/#").await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("agent.db");
    let wanted = config(&broker.url(), &store, "enabled = true\ncontrols = true");
    let mut agent = Agent::run(&wanted);
    subscriber.expect(|m| m.topic == TOPIC).within(TIMEOUT).await;
    let sighted = |all: &[Message]| {
        let ok = |camera: &str| {
            all.iter().any(|m| m.topic.ends_with(&format!("/{camera}/health")) && m.json() == "ok")
        };
        ok("street") && ok("back_yard") && all.iter().any(|m| m.topic.ends_with("/health"))
    };
    let all = states.expect_all("states and a health message", 2 * TIMEOUT, |all| sighted(all)).await;

    let documents = kept(&broker, "homeassistant/#", |all| !all.is_empty()).await;
    assert_eq!(documents.keys().collect::<Vec<_>>(), [TOPIC], "one document a node");
    if let Some(python) = python() {
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("home_assistant/validate.py"));
        let mut file = |n: String, topic: &str, payload: &[u8]| {
            let path = folder.path().join(n);
            write_atomically(&path, payload).unwrap();
            command.arg(format!("{topic}={}", path.display()));
        };
        for (n, (topic, payload)) in documents.iter().enumerate() {
            file(format!("document{n}"), topic, payload);
        }
        let latest: BTreeMap<&str, &[u8]> = all.iter().map(|m| (m.topic.as_str(), &m.payload[..])).collect();
        for (n, (topic, payload)) in latest.into_iter().filter(|(t, _)| !t.contains("/event/")).enumerate() {
            file(format!("state{n}"), topic, payload);
        }
        let output = command.output().unwrap();
        let (told, problems) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{told}{problems}");
        assert!(told.contains("1 documents, 0 problems"), "{told}");
    }

    let before = subscriber.all().iter().filter(|m| m.topic == TOPIC).count();
    harness::publish::once(broker.port(), "homeassistant/status", "online").await;
    let again = |all: &[Message]| all.iter().filter(|m| m.topic == TOPIC).count() > before;
    let all = subscriber.expect_all("told again at the birth", TIMEOUT, again).await;
    let last: Value = all.iter().rfind(|m| m.topic == TOPIC).unwrap().json();
    assert_eq!(last["device"]["identifiers"][0], "aimass_test_board");

    // The controls.
    let analysis =
        |on: &'static str| move |m: &Message| m.topic.ends_with("/analysis") && m.payload == on.as_bytes();
    states.expect(analysis("true")).within(TIMEOUT).await;
    harness::publish::once(broker.port(), "aimass/v1/test/board/control/street/analysis", "OFF").await;
    states.expect(analysis("false")).within(TIMEOUT).await;
    harness::publish::once(broker.port(), "aimass/v1/test/board/control/street/restart", "PRESS").await;
    let delivers = |l: &str| l.contains("The source delivers") && l.contains("street");
    let times = async || (agent.stderr().all().iter().filter(|l| delivers(l)).count() >= 2).then_some(());
    harness::eventually("the camera is opened anew", TIMEOUT, times).await;

    // The next start has Home Assistant disabled: the retained document is withdrawn.
    agent.kill().await;
    let mut next = Agent::run(&config(&broker.url(), &store, "enabled = false"));
    let emptied =
        |all: &[Message]| all.iter().rfind(|m| m.topic == TOPIC).is_some_and(|m| m.payload.is_empty());
    subscriber.expect_all("emptied", TIMEOUT, emptied).await;
    states.expect(|m: &Message| m.topic.ends_with("/analysis") && m.payload.is_empty()).within(TIMEOUT).await;
    next.terminate();
    assert!(next.wait(TIMEOUT).await.success());
}

#[tokio::test]
async fn a_node_without_home_assistant_enabled_publishes_nothing_for_it() {
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "#").await;
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::run(&clip_config(&broker.url(), &folder.path().join("agent.db"), "test:"));
    subscriber.expect(|m| m.topic.ends_with("/health") && m.json() == "ok").within(TIMEOUT).await;
    harness::publish::once(broker.port(), "homeassistant/status", "online").await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
    let all = subscriber.all();
    let theirs: Vec<&Message> = all
        .iter()
        .filter(|m| m.topic.starts_with("homeassistant/") && m.topic != "homeassistant/status")
        .collect();
    assert!(theirs.is_empty(), "{theirs:?}");
}
