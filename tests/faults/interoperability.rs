//! Third-party software: Eclipse Paho as client, rumqttd and NATS as brokers beside Mosquitto.

use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;
use std::time::Duration;

use aimass_core::runtime::files::write_atomically;
use harness::agent::Agent;
use harness::broker::Broker;
use harness::delivery::{Accepted, DeliveryCheck};
use harness::lines::OutputLines;
use harness::paho::Paho;
use harness::ports::free_port;
use harness::proxy::Proxy;
use harness::{TIMEOUT, eventually};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::backlog;

const ROOT: &str = "aimass/v1/test/board/";

fn config(url: &str, folder: &TempDir) -> String {
    format!(
        "[node]\nsite = \"test\"\nid = \"board\"\n[broker]\nurl = \"{url}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [[camera]]\nid = \"a\"\nsource = \"test:\"\nchain = []\n[store]\npath = \"{}\"\n",
        folder.path().join("agent.db").display()
    )
}

fn status(messages: &[(String, String, bool)]) -> Vec<Value> {
    let of_status = messages.iter().filter(|(topic, ..)| topic == &format!("{ROOT}status"));
    of_status.map(|(_, payload, _)| serde_json::from_str(payload).unwrap()).collect()
}

/// The smoke test that every broker must pass, observed by Paho: birth, backlog, states, retained values for who comes later,
/// the last will of a node that dies.
async fn smoke(port: u16) {
    let folder = tempfile::tempdir().unwrap();
    let accepted = backlog::fill(&folder.path().join("agent.db"), 120).await;
    let early = Paho::subscribe(port, "aimass/#").await;
    let mut agent = Agent::run(&config(&format!("mqtt://127.0.0.1:{port}"), &folder));
    early.expect("\\\"online\\\"").await;
    let all = eventually("the whole backlog at Paho", TIMEOUT, async || {
        let all = early.messages();
        let events = all.iter().filter(|(topic, ..)| topic.contains("/event/")).count();
        (events >= accepted.len()).then_some(all)
    })
    .await;
    let mut delivery = DeliveryCheck::new();
    for (topic, payload, retained) in all.iter().filter(|(topic, ..)| topic.contains("/event/")) {
        assert!(!retained, "{topic}");
        delivery.take(topic, serde_json::from_str(payload).unwrap());
    }
    delivery.check(&accepted);
    early.expect("state/a/health").await;

    // A later subscriber receives the retained values and no event.
    let late = Paho::subscribe(port, "aimass/#").await;
    for topic in ["state/a/health", "board/status"] {
        late.expect(topic).await;
    }
    let kept = late.messages();
    let topics: BTreeSet<&str> = kept.iter().filter(|m| m.2).map(|m| m.0.as_str()).collect();
    assert!(topics.contains("aimass/v1/test/board/status"), "{topics:?}");
    assert!(topics.iter().all(|topic| !topic.contains("/event/")), "{topics:?}");

    agent.kill().await;
    let death = eventually("the last will", TIMEOUT, async || {
        status(&early.messages()).into_iter().find(|s| s["state"] == "offline")
    })
    .await;
    let birth = status(&early.messages()).into_iter().find(|s| s["state"] == "online").unwrap();
    assert_eq!(death["boot"], birth["boot"]);

    let mut next = Agent::run(&config(&format!("mqtt://127.0.0.1:{port}"), &folder));
    eventually("the next life", TIMEOUT, async || {
        let alive = status(&early.messages()).into_iter().filter(|s| s["state"] == "online");
        (alive.count() >= 2).then_some(())
    })
    .await;
    next.terminate();
    assert!(next.wait(TIMEOUT).await.success(), "{}", next.stderr().tail());
    early.expect("\\\"stopping\\\"").await;
    let all = Accepted::in_store(&folder.path().join("agent.db"));
    delivery.check(&all);
}

#[tokio::test]
async fn paho_and_mosquitto_understand_us() {
    let broker = Broker::plain().await;
    smoke(broker.port()).await;
}

/// rumqttd in this process; it ends with it.
async fn rumqttd() -> u16 {
    let port = free_port();
    let server = rumqttd::ServerSettings {
        name: "test".to_owned(),
        listen: ([127, 0, 0, 1], port).into(),
        tls: None,
        next_connection_delay_ms: 1,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: 1 << 20,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 32,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 8,
            ..Default::default()
        },
        v5: Some(HashMap::from([("test".to_owned(), server)])),
        ..Default::default()
    };
    let start = move || rumqttd::Broker::new(config).start().map_err(|e| e.to_string());
    std::thread::Builder::new().name("rumqttd".into()).spawn(start).unwrap();
    eventually("rumqttd accepts connections", TIMEOUT, async || {
        TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
    })
    .await;
    port
}

#[tokio::test]
async fn paho_and_rumqttd_understand_us() {
    smoke(rumqttd().await).await;
}

/// Debian's NATS, whose MQTT is 3.1.1. Killed when dropped.
struct Nats {
    port: u16,
    _child: Child,
    _folder: TempDir,
}

impl Nats {
    async fn start() -> Option<Nats> {
        let folder = tempfile::tempdir().unwrap();
        let (port, client_port) = (free_port(), free_port());
        let file = folder.path().join("nats.conf");
        let text = format!(
            "server_name: test\nlisten: \"127.0.0.1:{client_port}\"\njetstream {{ store_dir: \"{}\" }}\n\
             mqtt {{ listen: \"127.0.0.1:{port}\" }}\n",
            folder.path().display()
        );
        write_atomically(&file, text.as_bytes()).unwrap();
        let program = ["/usr/sbin/nats-server", "/usr/bin/nats-server"]
            .into_iter()
            .find(|p| std::fs::exists(p).unwrap());
        let Some(program) = program else {
            harness::skip("nats-server is not installed: apt install nats-server");
            return None;
        };
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = OutputLines::collect(child.stderr.take().unwrap());
        log.expect("NATS is ready", TIMEOUT, |line| line.contains("Server is ready")).await;
        Some(Nats { port, _child: child, _folder: folder })
    }
}

#[tokio::test]
async fn a_broker_without_mqtt_5_is_reported_retried_with_backoff_and_replaced_when_one_has_it() {
    let Some(nats) = Nats::start().await else { return };
    let way = Proxy::to(nats.port).await;
    let folder = tempfile::tempdir().unwrap();
    let accepted = backlog::fill(&folder.path().join("agent.db"), 50).await;
    let mut agent = Agent::run(&config(&way.url(), &folder));
    let said =
        agent.stderr().expect("the reason", TIMEOUT, |line| line.contains("does not speak MQTT 5")).await;
    assert!(said.contains(&format!("127.0.0.1:{}", way.port())), "{said}");
    // The first waits are half a second and grow: each try is one connection, and one that asks why.
    let before = way.connections();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let tries = way.connections() - before;
    assert!(tries <= 16, "{tries} connections in four seconds");
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success(), "{}", agent.stderr().tail());

    // Nothing was lost by it.
    let broker = Broker::plain().await;
    let subscriber = harness::subscriber::Subscriber::on(broker.port(), "aimass/#").await;
    let mut agent = Agent::run(&config(&broker.url(), &folder));
    DeliveryCheck::new().settle(&subscriber, &accepted, TIMEOUT).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}
