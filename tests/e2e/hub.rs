//! A node that trusts a key, and the hub that holds it.

use std::path::Path;

use harness::agent::Agent;
use harness::api;
use harness::broker::Broker;
use harness::requester::Requester;
use harness::signer::Signer;
use harness::subscriber::{Message, Subscriber};
use harness::{TIMEOUT, eventually};
use serde_json::Value;

const DESIRED: &str = "aimass/v1/test/board/config/desired";
pub(crate) const ZONE: &str =
    "[[camera.zone]]\nid = \"bay\"\npolygon = [[0,0],[0.5,0],[0.5,1]]\nlabels = [\"person\"]\n";

/// Cameras that only show a test picture.
pub(crate) fn camera(id: &str, more: &str) -> String {
    format!("[[camera]]\nid = \"{id}\"\nsource = \"test:\"\nchain = []\n{more}")
}

/// The node's own file.
pub(crate) fn base_config(broker: &Broker, folder: &Path, signer: &Signer, cameras: &str) -> String {
    format!(
        "[node]\nsite = \"test\"\nid = \"board\"\n[broker]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [store]\npath = \"{}\"\n{}{cameras}",
        broker.url(),
        folder.join("agent.db").display(),
        signer.trusted()
    )
}

/// A node with the cameras `dock` and `yard`, both delivering, and a subscriber.
pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) subscriber: Subscriber,
    pub(crate) requester: Requester,
    pub(crate) signer: Signer,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) agent: Agent,
    pub(crate) api: String,
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        let broker = Broker::plain().await;
        let subscriber = Subscriber::on(broker.port(), "aimass/v1/test/board/#").await;
        let requester = Requester::on(broker.port()).await;
        let signer = Signer::new("ops");
        let folder = tempfile::tempdir().unwrap();
        let cameras = camera("dock", "") + &camera("yard", "");
        let agent = Agent::run(&base_config(&broker, folder.path(), &signer, &cameras));
        let api = api::address_of(&agent).await;
        let rig = Rig { broker, subscriber, requester, signer, folder, agent, api };
        rig.delivers("dock").await;
        rig.delivers("yard").await;
        rig
    }

    /// Waits until a camera delivers; returns since when.
    pub(crate) async fn delivers(&self, id: &str) -> String {
        let path = format!("/v1/sources/{id}");
        eventually("the camera delivers", TIMEOUT, async || {
            let source = api::get_json(&self.api, &path).await;
            let status = &source["status"];
            (status["state"] == "delivering").then(|| status["since"].as_str().unwrap().to_owned())
        })
        .await
    }

    pub(crate) async fn push(&self, envelope: Vec<u8>) {
        self.requester.publish(DESIRED, &envelope, true).await;
    }

    /// The first report, after those that are forgotten, in this state.
    pub(crate) async fn reported(&self, state: &str) -> Value {
        let fits = |m: &Message| m.topic.ends_with("/config/reported") && m.json()["state"] == state;
        self.subscriber.expect(fits).within(TIMEOUT).await.json()
    }

    /// The first report of a push that is in force.
    pub(crate) async fn applied(&self, version: u64) -> Value {
        let fits = |m: &Message| {
            m.topic.ends_with("/config/reported")
                && m.json()["state"] == "applied"
                && m.json()["running_version"] == version
        };
        self.subscriber.expect(fits).within(TIMEOUT).await.json()
    }

    /// Sends a command, signed or not, and waits for its answer.
    pub(crate) async fn ask(&mut self, name: &str, payload: &[u8]) -> Value {
        let topic = format!("aimass/v1/test/board/command/{name}");
        self.requester.ask(&topic, payload, name.as_bytes()).await;
        let answer = self.requester.answer(TIMEOUT).await;
        assert_eq!(answer.correlation, name.as_bytes());
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// Sends a signed command and waits for its answer.
    pub(crate) async fn command(&mut self, name: &str, body: Value) -> Value {
        let envelope = self.signer.command(name, body);
        self.ask(name, &envelope).await
    }

    pub(crate) async fn stop_agent(&mut self) {
        self.agent.terminate();
        assert!(self.agent.wait(TIMEOUT).await.success());
    }

    /// Starts the agent again with these cameras in its base configuration; earlier messages are dropped.
    pub(crate) async fn start_agent(&mut self, cameras: &str) {
        self.subscriber.forget();
        self.agent = Agent::run(&base_config(&self.broker, self.folder.path(), &self.signer, cameras));
        self.api = api::address_of(&self.agent).await;
    }

    pub(crate) async fn stop(mut self) {
        self.stop_agent().await;
    }
}
