//! `keygen`, `sign`, `verify`, `reload`, `config`: the commands for signing.

use std::path::{Path, PathBuf};

use harness::TIMEOUT;
use harness::broker::{Broker, BrokerSetup};
use harness::subscriber::Subscriber;
use serde_json::Value;

use crate::analyze::{agent, stderr};

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// A key `ops`, and a node's file that trusts it.
    fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        let output = agent(&["keygen", "--out", &desk.at("ops.key"), "--id", "ops"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let trust = String::from_utf8(output.stdout).unwrap();
        desk.write("agent.toml", &format!("{}{trust}", desk.node(3)));
        desk
    }

    fn node(&self, fps: u32) -> String {
        let store = self.folder.path().join("agent.db");
        format!(
            "[node]\nsite = \"s\"\nid = \"n\"\n[store]\npath = \"{}\"\n[[camera]]\nid = \"c\"\nsource = \"test:\"\nfps = {fps}\n",
            store.display()
        )
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        aimass_core::runtime::files::write_atomically(&path, text.as_bytes()).unwrap();
        path
    }

    fn sign(&self, more: &[&str]) -> std::process::Output {
        let key = self.at("ops.key");
        let mut arguments = vec!["sign", "--key", &key, "--id", "ops"];
        arguments.extend(more);
        agent(&arguments)
    }
}

fn answer(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn what_is_signed_here_is_verified_there_and_a_changed_byte_is_noticed() {
    let desk = Desk::new();
    let (config, envelope) = (desk.at("agent.toml"), desk.at("push.json"));
    let output = desk.sign(&["--version", "8", &config, "--out", &envelope]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = agent(&["verify", "--config", &config, &envelope]);
    assert!(told.status.success(), "{}", stderr(&told));
    let told = answer(&told);
    assert_eq!((&told["valid"], &told["key"], &told["version"]), (&true.into(), &"ops".into(), &8.into()));
    assert_eq!((&told["site"], &told["node"], &told["domain"]), (&"s".into(), &"n".into(), &"config".into()));
    let mut text = std::fs::read_to_string(&envelope).unwrap();
    let at = text.find("\"payload\":\"").unwrap() + 60;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    text.replace_range(at..=at, other);
    desk.write("changed.json", &text);
    let told = agent(&["verify", "--config", &config, &desk.at("changed.json")]);
    assert_eq!(told.status.code(), Some(65));
    assert!(stderr(&told).contains("signature"), "{}", stderr(&told));
}

#[test]
fn a_key_is_not_written_over_and_a_wrong_configuration_is_not_signed() {
    let desk = Desk::new();
    let output = agent(&["keygen", "--out", &desk.at("ops.key"), "--id", "ops"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("not written over"), "{}", stderr(&output));
    let bad = desk.write("bad.toml", &desk.node(3).replace("fps = 3", "fps = 0\nfpss = 1"));
    let output = desk.sign(&["--version", "8", &bad.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(65));
    let told = stderr(&output);
    assert!(told.contains("camera[0].fpss") && told.contains("camera[0].fps"), "{told}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_body_that_the_node_would_reject_is_reported_before_it_is_sent() {
    let desk = Desk::new();
    let gst = desk.write("gst.toml", &desk.node(3).replace("test:", "gst:videotestsrc ! videoconvert"));
    let envelope = desk.at("push.json");
    assert!(desk.sign(&["--version", "8", &gst.to_string_lossy(), "--out", &envelope]).status.success());
    let told = agent(&["verify", "--config", &desk.at("agent.toml"), &envelope]);
    assert_eq!(told.status.code(), Some(65));
    assert_eq!(answer(&told)["errors"][0]["path"], "camera[0].source");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_push_is_retained_and_the_node_s_answer_decides_how_the_command_ends() {
    let desk = Desk::new();
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let (url, config) = (broker.url(), desk.at("agent.toml"));
    let output = desk.sign(&["--version", "8", &config, "--publish", &url]);
    assert!(output.status.success(), "{}", stderr(&output));
    let sent = subscriber.expect(|m| m.topic == "aimass/v1/s/n/config/desired").within(TIMEOUT).await;
    assert_eq!(sent.json()["key"], "ops");
    // Nobody is there to answer.
    let output = desk.sign(&["--version", "9", &config, "--publish", &url, "--wait", "--wait-s", "1"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("is the node online?"), "{}", stderr(&output));
    let command = ["--command", "drain", "--site", "s", "--node", "n", "--publish", &url];
    assert!(desk.sign(&command).status.success());
    let sent = subscriber.expect(|m| m.topic == "aimass/v1/s/n/command/drain").within(TIMEOUT).await;
    assert!(!sent.retained && sent.json()["key"] == "ops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_presents_a_client_certificate_to_a_broker_that_requires_one() {
    let desk = Desk::new();
    let broker = BrokerSetup::new().client_certificates().start().await;
    let c = broker.certificates();
    let (ca, cert, key) =
        (c.ca.to_string_lossy(), c.client.to_string_lossy(), c.client_key.to_string_lossy());
    let config = desk.at("agent.toml");
    let url = broker.url();
    let plain = ["--version", "8", &config, "--publish", &url, "--ca-file", &ca];
    assert_eq!(desk.sign(&plain).status.code(), Some(69), "without one it is turned away");
    let output = desk.sign(&[&plain[..], &["--cert-file", &cert, "--key-file", &key]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn errors_about_the_broker_of_a_push_name_the_command_line_options() {
    let desk = Desk::new();
    let output =
        desk.sign(&["--version", "8", &desk.at("agent.toml"), "--publish", "mqtt://broker.example:1883"]);
    assert_eq!(output.status.code(), Some(64));
    let told = stderr(&output);
    assert!(told.contains("--publish: ") && told.contains("give --allow-plaintext"), "{told}");
}

#[test]
fn without_a_node_that_ran_there_is_no_history_and_nothing_to_reload() {
    let desk = Desk::new();
    let config = desk.at("agent.toml");
    for command in
        [&["config", "history", "--config"][..], &["config", "rollback", "--config"], &["reload", "--config"]]
    {
        let mut arguments = command.to_vec();
        arguments.push(&config);
        let output = agent(&arguments);
        assert_eq!(output.status.code(), Some(69), "{command:?}: {}", stderr(&output));
    }
    assert!(Path::new(&config).exists());
}
