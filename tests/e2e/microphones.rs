//! Microphones of a whole node: levels and faults at a real broker, and changes that affect nothing else.

use harness::TIMEOUT;
use harness::agent::Agent;
use harness::api;
use harness::broker::Broker;
use harness::sound_server::SoundServer;
use harness::sounds::{tone, wav};
use harness::subscriber::{Message, Subscriber};
use serde_json::{Value, json};

use crate::lone_config;

/// A node with a broker and these tables.
fn config(broker: &Broker, folder: &std::path::Path, tables: &str) -> String {
    lone_config(folder, &format!("[broker]\nurl = \"{}\"\n{tables}", broker.url()))
}

fn microphone(id: &str, source: &str, more: &str) -> String {
    format!("[[microphone]]\nid = \"{id}\"\nsource = \"{source}\"\n{more}\n")
}

fn states<'a>(all: &'a [Message], name: &'a str) -> impl Iterator<Item = Value> + 'a {
    all.iter().filter(move |m| m.topic.ends_with(&format!("/state/{name}"))).map(Message::json)
}

#[tokio::test]
async fn a_microphone_publishes_its_level_on_change_and_shows_it_in_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let quiet_then_loud = [tone(10.0, 0.01), tone(10.0, 0.5)].concat();
    let sound = wav(folder.path(), "sound.wav", &quiet_then_loud);
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let level = "[microphone.level]\nevery_s = 2";
    let tables = microphone("door", &format!("file:{}?realtime=false", sound.display()), level)
        + &microphone("room", "test:?volume=0.1", "");
    let mut agent = Agent::run(&config(&broker, folder.path(), &tables));
    let over = |all: &[Message]| {
        let ended = states(all, "door/health").any(|s| s == "ended");
        ended && states(all, "room/level").next().is_some()
    };
    let all = subscriber.expect_all("the end of the file, and a level", TIMEOUT, over).await;
    let told: Vec<Value> = states(&all, "door/level").collect();
    // Quiet, then loud, then unknown: no other change was published.
    let rms = |n: usize| told[n]["rms_dbfs"].as_f64().unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!((rms(0) + 43.0).abs() < 0.5 && (rms(1) + 9.0).abs() < 0.5, "{told:?}");
    assert!((told[1]["peak_dbfs"].as_f64().unwrap() + 6.0).abs() < 0.5, "{told:?}");
    assert_eq!(told[2], json!({"rms_dbfs": null, "peak_dbfs": null}));

    let address = api::address_of(&agent).await;
    let source = api::get_json(&address, "/v1/sources/room").await;
    assert_eq!((&source["kind"], &source["status"]["state"]), (&json!("microphone"), &json!("delivering")));
    let level = &source["metrics"]["level"];
    assert!((level["rms_dbfs"].as_f64().unwrap() + 23.0).abs() < 0.5, "{source}");
    let metrics = String::from_utf8(api::get(&address, "/metrics").await.body).unwrap();
    assert!(metrics.contains("aimass_source_rms_dbfs{source=\"room\"} -23"), "{metrics}");
    let picture = api::get(&address, "/v1/sources/room/frame.jpg").await;
    assert_eq!(picture.status, 404, "a microphone has no pictures");
    assert!(String::from_utf8_lossy(&picture.body).contains("no_pictures"));
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}

#[tokio::test]
async fn a_dead_input_is_a_fault_until_sound_comes() {
    let folder = tempfile::tempdir().unwrap();
    let heard = [tone(4.0, 0.1), tone(20.0, 0.0), tone(4.0, 0.1)].concat();
    let sound = wav(folder.path(), "sound.wav", &heard);
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let tables = microphone("door", &format!("file:{}?realtime=false", sound.display()), "")
        + &microphone("gone", "alsa:hw:9,0", "[microphone.health]\naway_after_s = 0");
    let mut agent = Agent::run(&config(&broker, folder.path(), &tables));
    let events = |all: &[Message], source: &str| -> Vec<Value> {
        let topic = format!("/event/{source}/health");
        all.iter().filter(|m| m.topic.ends_with(&topic)).map(Message::json).collect()
    };
    let over = |all: &[Message]| events(all, "door").len() >= 2 && !events(all, "gone").is_empty();
    let all = subscriber.expect_all("the losses", TIMEOUT, over).await;
    let of_door = events(&all, "door");
    let said: Vec<_> =
        of_door.iter().map(|e| (e["phase"].as_str().unwrap(), e["label"].as_str().unwrap())).collect();
    assert_eq!(said, [("began", "dead"), ("ended", "dead")]);
    assert_eq!(of_door[0]["occurrence_id"], of_door[1]["occurrence_id"]);
    assert_eq!(of_door[0]["attributes"]["rms_dbfs"], -120.0, "{}", of_door[0]);
    assert_eq!(of_door[1]["attributes"]["end_reason"], "recovered");
    let lasted = of_door[1]["attributes"]["duration_s"].as_f64().unwrap();
    // Reported after ten of twenty seconds, over a second after sound came.
    assert!((10.0..12.5).contains(&lasted), "{lasted}");

    let of_gone = &events(&all, "gone")[0];
    assert_eq!((&of_gone["label"], &of_gone["phase"]), (&json!("failed"), &json!("began")));
    assert!(of_gone["attributes"]["error"].as_str().unwrap().contains("aimass-agent probe"), "{of_gone}");
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}

#[tokio::test]
async fn a_sound_server_source_recovers_after_the_server_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = SoundServer::start_new().await;
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let source = format!("pulse:{}", SoundServer::SOURCE);
    let more = "[microphone.health]\naway_after_s = 0\n[microphone.level]\nevery_s = 2";
    let tables = microphone("hall", &source, more);
    let mut agent = Agent::run_with(&config(&broker, folder.path(), &tables), &server.environment());
    let is_the_tone = |level: &Value| level["rms_dbfs"].as_f64().is_some_and(|rms| (rms + 9.0).abs() < 0.5);
    let heard = |all: &[Message]| states(all, "hall/level").any(|level| is_the_tone(&level));
    subscriber.expect_all("the tone, as loud as it is", TIMEOUT, heard).await;
    subscriber.forget();
    server.kill().await;
    let lost = |all: &[Message]| {
        states(all, "hall/level").any(|level| level["rms_dbfs"].is_null())
            && all.iter().any(|m| m.topic.ends_with("/event/hall/health") && m.json()["phase"] == "began")
    };
    subscriber.expect_all("the loss of the server", TIMEOUT, lost).await;
    subscriber.forget();
    server.start().await;
    let again = |all: &[Message]| {
        heard(all)
            && all.iter().any(|m| m.topic.ends_with("/event/hall/health") && m.json()["phase"] == "ended")
    };
    subscriber.expect_all("the tone again, and the end of the loss", TIMEOUT, again).await;
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}

#[tokio::test]
async fn a_changed_microphone_restarts_alone_and_a_removed_one_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::plain().await;
    let subscriber = Subscriber::on(broker.port(), "aimass/#").await;
    let camera = "[[camera]]\nid = \"yard\"\nsource = \"test:\"\nchain = []\n";
    let tables =
        |door: &str| camera.to_owned() + &microphone("door", door, "") + &microphone("room", "test:", "");
    let mut agent = Agent::run(&config(&broker, folder.path(), &tables("test:?volume=0.5")));
    let address = api::address_of(&agent).await;
    let since = async |id: &str| {
        let ask = async || {
            let source = api::get_json(&address, &format!("/v1/sources/{id}")).await;
            let is_there =
                source["status"]["state"] == "delivering" && !source["metrics"]["fps_received"].is_null();
            is_there.then(|| source["status"]["since"].clone())
        };
        harness::eventually("the source delivers", TIMEOUT, ask).await
    };
    let before = (since("yard").await, since("room").await, since("door").await);
    let rewrite = |tables: &str| {
        let text = config(&broker, folder.path(), tables);
        aimass_core::runtime::files::write_atomically(&agent.config_path(), text.as_bytes()).unwrap();
        subscriber.forget();
        agent.hang_up();
    };
    let applied = |m: &Message| m.topic.ends_with("/config/reported") && m.json()["state"] == "probation";
    rewrite(&tables("test:?volume=0.01"));
    subscriber.expect(applied).within(TIMEOUT).await;
    let quieter = |m: &Message| {
        m.topic.ends_with("/state/door/level") && m.json()["rms_dbfs"].as_f64().is_some_and(|rms| rms < -40.0)
    };
    subscriber.expect(quieter).within(TIMEOUT).await;
    let after = (since("yard").await, since("room").await, since("door").await);
    assert_eq!((&before.0, &before.1), (&after.0, &after.1), "the others were not touched");
    assert_ne!(before.2, after.2, "the door's was opened anew");

    // Its name may go to a camera.
    let swapped = camera.to_owned()
        + "[[camera]]\nid = \"door\"\nsource = \"test:\"\nchain = []\n"
        + &microphone("room", "test:", "");
    rewrite(&swapped);
    let withdrawn = |m: &Message| m.topic.ends_with("/state/door/level") && m.payload.is_empty();
    subscriber.expect(withdrawn).within(TIMEOUT).await;
    // The level goes before its source does.
    harness::eventually("the name is the camera's", TIMEOUT, async || {
        (api::get_json(&address, "/v1/sources/door").await["kind"] == "camera").then_some(())
    })
    .await;
    since("door").await;
    assert_eq!(since("room").await, before.1);
    agent.terminate();
    assert!(agent.wait(TIMEOUT).await.success());
}
