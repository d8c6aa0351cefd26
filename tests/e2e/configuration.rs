//! Configuration changes of a running node: pushed, rejected, rolled back, reloaded, interrupted by a kill.

use harness::agent::Agent;
use harness::api;
use harness::signer::Signer;
use harness::subscriber::Message;
use harness::{TIMEOUT, eventually};
use serde_json::json;

use crate::hub::{Rig, ZONE, base_config, camera};

#[tokio::test]
async fn a_pushed_zone_restarts_nothing_and_a_pushed_camera_restarts_alone() {
    let rig = Rig::start().await;
    let (dock, yard) = (rig.delivers("dock").await, rig.delivers("yard").await);

    rig.push(rig.signer.config(1, &(camera("dock", ZONE) + &camera("yard", "")))).await;
    assert_eq!(rig.reported("probation").await["desired_version"], 1);
    assert_eq!(rig.applied(1).await["origin"], "push");
    let count = |m: &Message| m.topic.ends_with("/state/dock/count/bay/person") && m.payload == b"0";
    rig.subscriber.expect(count).within(TIMEOUT).await;
    let online = |m: &Message| m.topic.ends_with("/status") && m.json()["config_version"] == 1;
    rig.subscriber.expect(online).within(TIMEOUT).await;
    assert_eq!((rig.delivers("dock").await, rig.delivers("yard").await), (dock.clone(), yard.clone()));
    let shapes = &api::get_json(&rig.api, "/v1/sources/dock").await["shapes"];
    assert_eq!(shapes["zones"][0]["id"], "bay", "{shapes}");

    rig.subscriber.forget();
    let frames = api::source_health(&rig.api, "yard").await["frames_received_total"].as_u64();
    rig.push(rig.signer.config(2, &(camera("dock", "fps = 2.0\n") + &camera("yard", "")))).await;
    rig.applied(2).await;
    assert_ne!(rig.delivers("dock").await, dock, "dock was opened anew");
    assert_eq!(rig.delivers("yard").await, yard, "yard was not touched");
    assert!(api::source_health(&rig.api, "yard").await["frames_received_total"].as_u64() > frames);
    // The zone is removed, and its retained states with it.
    let withdrawn = |m: &Message| m.topic.ends_with("/state/dock/count/bay/person") && m.payload.is_empty();
    rig.subscriber.expect(withdrawn).within(TIMEOUT).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_push_that_breaks_a_camera_is_rolled_back_and_the_others_are_not_disturbed() {
    let rig = Rig::start().await;
    let yard = rig.delivers("yard").await;
    let broken = "[[camera]]\nid = \"dock\"\nsource = \"rtsp://127.0.0.1:9/none\"\nchain = []\n".to_owned();
    rig.push(rig.signer.config(1, &(broken + &camera("yard", "")))).await;
    let report = rig.reported("rolled_back").await;
    assert_eq!((&report["desired_version"], &report["running_version"]), (&json!(1), &json!(0)));
    assert_eq!(report["errors"][0]["path"], "camera[0]", "{report}");
    rig.delivers("dock").await;
    assert_eq!(rig.delivers("yard").await, yard);

    // The same version is not tried again, also after a restart; a higher one is.
    rig.subscriber.forget();
    rig.push(rig.signer.config(1, &camera("yard", ""))).await;
    let refused = rig.reported("rejected").await;
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains('1'), "{refused}");
    rig.push(rig.signer.config(2, &(camera("dock", ZONE) + &camera("yard", "")))).await;
    rig.applied(2).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_misconfigured_camera_ends_a_probation_at_once_and_is_retried_when_there_is_nothing_to_roll_back_to()
 {
    let mut rig = Rig::start().await;
    let never = "[[camera]]\nid = \"dock\"\nsource = \"v4l2:/dev/null\"\nchain = []\n".to_owned();
    rig.push(rig.signer.config(1, &(never.clone() + &camera("yard", "")))).await;
    let report = rig.reported("rolled_back").await;
    assert_eq!(report["errors"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["errors"][0]["path"], "camera[0]", "{report}");
    assert!(report["errors"][0]["message"].as_str().unwrap().contains("is no camera"), "{report}");
    rig.delivers("dock").await;
    rig.stop_agent().await;

    // A node without an earlier configuration waits until the right device is plugged in.
    rig.folder = tempfile::tempdir().unwrap();
    rig.start_agent(&(never.replace("dock", "new") + &camera("yard", ""))).await;
    rig.applied(0).await;
    eventually("the camera has failed", TIMEOUT, async || {
        let health = api::source_health(&rig.api, "new").await;
        (health["state"] == "failed" && health["misconfigured"] == true).then_some(())
    })
    .await;
    let all = api::get_json(&rig.api, "/healthz").await;
    let thread = all["workers"].as_array().unwrap().iter().find(|w| w["name"] == "src-new").unwrap();
    assert_eq!(thread["state"], "running", "{thread}");
    rig.delivers("yard").await;
    rig.stop().await;
}

#[tokio::test]
async fn every_rejected_push_is_answered_with_its_reason_and_nothing_changes() {
    let rig = Rig::start().await;
    let since = rig.delivers("dock").await;
    let stranger = Signer::new("stranger");
    let impostor = Signer::new("ops");
    let good = rig.signer.config(7, &camera("dock", ""));
    let mut flipped = good.clone();
    let at = flipped.windows(10).position(|w| w == b"\"signature").unwrap() + 16;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    let deep = (0..500).fold(json!(1), |inner, _| json!([inner]));
    let too_fast = rig.signer.config(3, &camera("dock", "fps = 3100.0\nfsp = 1\n"));
    let trust = rig.signer.config(3, &stranger.trusted());
    let cases = [
        ("unsigned", b"{\"camera\":[]}".to_vec(), ""),
        ("no JSON", b"hello".to_vec(), ""),
        ("a stranger's key", stranger.config(7, ""), "stranger"),
        ("another key under a trusted name", impostor.config(7, ""), "signature"),
        ("a flipped bit", flipped, "signature"),
        ("for another node", rig.signer.config_for("other", 7, json!({})), "other"),
        ("a wrong value and an unknown key", too_fast, "camera[0].fps"),
        ("a trust anchor", trust, "trust"),
        ("300 KiB", vec![b' '; 450 * 1024], ""),
        ("deeply nested", serde_json::to_vec(&json!({"key": "ops", "payload": deep})).unwrap(), ""),
    ];
    for (what, envelope, says) in cases {
        rig.subscriber.forget();
        rig.push(envelope).await;
        let report = rig.reported("rejected").await;
        assert_eq!(report["running_version"], 0, "{what}: {report}");
        assert!(!report["errors"].as_array().unwrap().is_empty(), "{what}: {report}");
        assert!(report["errors"].to_string().contains(says), "{what}: {report}");
    }
    assert_eq!(rig.delivers("dock").await, since);
    rig.stop().await;
}

#[tokio::test]
async fn a_kill_during_the_probation_comes_back_with_the_last_known_good() {
    let mut rig = Rig::start().await;
    rig.push(rig.signer.config(1, &(camera("dock", ZONE) + &camera("yard", "")))).await;
    rig.applied(1).await;
    rig.subscriber.forget();
    rig.push(rig.signer.config(2, &camera("other", ""))).await;
    rig.reported("probation").await;
    rig.agent.kill().await;
    rig.start_agent(&(camera("dock", "") + &camera("yard", ""))).await;
    let report = rig.reported("rolled_back").await;
    assert_eq!((&report["desired_version"], &report["running_version"]), (&json!(2), &json!(1)));
    rig.delivers("dock").await;
    let shapes = &api::get_json(&rig.api, "/v1/sources/dock").await["shapes"];
    assert_eq!(shapes["zones"][0]["id"], "bay", "what was pushed and committed holds: {shapes}");
    rig.stop().await;
}

#[tokio::test]
async fn the_base_configuration_is_read_again_at_sighup_with_probation() {
    let rig = Rig::start().await;
    let yard = rig.delivers("yard").await;
    let write = |cameras: &str| {
        let text = base_config(&rig.broker, rig.folder.path(), &rig.signer, cameras);
        aimass_core::runtime::files::write_atomically(&rig.agent.config_path(), text.as_bytes()).unwrap();
    };
    write(&(camera("dock", ZONE) + &camera("yard", "")));
    rig.subscriber.forget();
    rig.agent.hang_up();
    let report = rig.reported("applied").await;
    assert_eq!((&report["running_version"], &report["origin"]), (&json!(0), &json!("local")));
    assert_eq!(rig.delivers("yard").await, yard);

    write("[[camera]]\nid = \"dock\"\nsorce = \"test:\"\n");
    rig.subscriber.forget();
    rig.agent.hang_up();
    let report = rig.reported("rejected").await;
    assert!(report["errors"].to_string().contains("sorce"), "{report}");
    let shapes = &api::get_json(&rig.api, "/v1/sources/dock").await["shapes"];
    assert_eq!(shapes["zones"][0]["id"], "bay", "the file before still holds: {shapes}");
    rig.stop().await;
}

#[tokio::test]
async fn a_file_that_changed_while_the_node_was_off_and_loses_a_camera_is_rolled_back() {
    let mut rig = Rig::start().await;
    let broken = "[[camera]]\nid = \"dock\"\nsource = \"rtsp://127.0.0.1:9/none\"\nchain = []\n".to_owned();
    rig.stop_agent().await;
    rig.start_agent(&(broken.clone() + &camera("yard", ""))).await;
    let report = rig.reported("rolled_back").await;
    assert_eq!(report["errors"][0]["path"], "camera[0]", "{report}");
    rig.delivers("dock").await;

    // A removed camera is not part of the baseline, and what never worked is no reason to roll back.
    rig.stop_agent().await;
    let never = "[[camera]]\nid = \"new\"\nsource = \"rtsp://127.0.0.1:9/none\"\nchain = []\n";
    rig.start_agent(&(never.to_owned() + &camera("yard", ""))).await;
    assert_eq!(rig.reported("applied").await["errors"], json!([]));
    rig.stop().await;
}

#[tokio::test]
async fn a_broken_file_does_not_stop_a_node_that_ran_before() {
    let mut rig = Rig::start().await;
    rig.stop_agent().await;
    rig.start_agent("[[camera]]\nid = \"dock\"\nsorce = 1\n").await;
    let report = rig.reported("rejected").await;
    assert!(report["errors"].to_string().contains("sorce"), "{report}");
    rig.delivers("dock").await;
    rig.delivers("yard").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_push_that_waited_for_the_node_is_evaluated_once_its_sources_are_up() {
    let mut rig = Rig::start().await;
    rig.stop_agent().await;
    let broken = "[[camera]]\nid = \"dock\"\nsource = \"rtsp://127.0.0.1:9/none\"\nchain = []\n".to_owned();
    rig.push(rig.signer.config(1, &(broken + &camera("yard", "")))).await;
    rig.start_agent(&(camera("dock", "") + &camera("yard", ""))).await;
    let report = rig.reported("rolled_back").await;
    assert_eq!((&report["desired_version"], &report["running_version"]), (&json!(1), &json!(0)), "{report}");
    rig.delivers("dock").await;
    rig.stop().await;
}

#[tokio::test]
async fn settings_that_need_a_restart_are_reported_and_applied_by_the_next_start() {
    let mut rig = Rig::start().await;
    let cameras = camera("dock", "") + &camera("yard", "");
    let own = base_config(&rig.broker, rig.folder.path(), &rig.signer, &cameras)
        .replace("[store]\n", "[store]\nmax_mib = 128\n");
    aimass_core::runtime::files::write_atomically(&rig.agent.config_path(), own.as_bytes()).unwrap();
    rig.subscriber.forget();
    rig.agent.hang_up();
    let report = rig.reported("rolled_back").await;
    assert_eq!(report["errors"][0]["path"], "store", "{report}");
    assert_eq!(report["effective"]["store"]["max_mib"], 256, "{report}");
    rig.agent.terminate();
    assert!(rig.agent.wait(TIMEOUT).await.success());
    rig.subscriber.forget();
    rig.agent = Agent::run(&own);
    let report = rig.reported("applied").await;
    assert_eq!(report["effective"]["store"]["max_mib"], 128, "{report}");
    rig.stop().await;
}

#[tokio::test]
async fn a_changed_api_address_is_applied_while_a_connection_is_open() {
    let rig = Rig::start().await;
    let _silent = tokio::net::TcpStream::connect(&rig.api).await.unwrap();
    let port = harness::ports::free_port();
    let cameras = camera("dock", "") + &camera("yard", "");
    let own = base_config(&rig.broker, rig.folder.path(), &rig.signer, &cameras)
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    aimass_core::runtime::files::write_atomically(&rig.agent.config_path(), own.as_bytes()).unwrap();
    let yard = rig.delivers("yard").await;
    rig.subscriber.forget();
    rig.agent.hang_up();
    rig.reported("applied").await;
    let moved = format!("127.0.0.1:{port}");
    assert_eq!(api::get_json(&moved, "/v1/sources/yard").await["status"]["since"], yard);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_reload_reports_the_outcome_of_the_file() {
    let rig = Rig::start().await;
    let cameras = |zone: &str| camera("dock", zone) + &camera("yard", "");
    let reload = |cameras: &str| {
        let own = base_config(&rig.broker, rig.folder.path(), &rig.signer, cameras);
        aimass_core::runtime::files::write_atomically(&rig.agent.config_path(), own.as_bytes()).unwrap();
        let mut command = std::process::Command::new(harness::agent::binary());
        command.args(["--log", "off", "reload", "--wait", "--config"]).arg(rig.agent.config_path());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    rig.applied(0).await;
    let (code, told, _) = reload(&cameras(""));
    assert_eq!((code, told.contains("nothing to try")), (Some(0), true), "{told}");
    let (code, told, _) = reload(&cameras(ZONE));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is on probation") && told.contains("has proved itself"), "{told}");
    let (code, _, told) = reload(&cameras("fsp = 3\n"));
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains("the configuration is refused: camera[0].fsp"), "{told}");
    let (code, _, told) = reload(&cameras("").replace("test:", "v4l2:/dev/null"));
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains("the configuration was taken back: camera[0]: "), "{told}");
    // Two waiters for the same file get the same outcome; the second is told that it is on probation already.
    let before = std::time::Duration::from_secs(1);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| reload(&cameras("")));
        std::thread::sleep(before);
        (scope.spawn(|| reload(&cameras(""))).join().unwrap(), first.join().unwrap())
    });
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{first:?} {second:?}");
    assert!(
        first.1.contains("has proved itself") && second.1.contains("has proved itself"),
        "{first:?} {second:?}"
    );
    reload(&cameras(ZONE));
    let (code, told, _) = reload(&cameras(ZONE));
    assert_eq!(
        (code, told.contains("nothing to try")),
        (Some(0), true),
        "what runs is written again: {told}"
    );
    let away = "[[camera]]\nid = \"new\"\nsource = \"rtsp://127.0.0.1:9/none\"\nchain = []\n";
    let (code, told, _) = reload(&(cameras(ZONE) + away));
    assert_eq!(code, Some(0), "a camera may come later: {told}");
    assert!(told.contains("warning: camera[2]: does not deliver: camera new"), "{told}");
    reload(&cameras(ZONE));
    rig.delivers("dock").await;
    rig.stop().await;
}
