//! What a push may change, and everything that it may not.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;

fn local() -> Value {
    json!({
        "node": { "site": "s", "id": "n" },
        "broker": { "url": "mqtts://broker.example" },
        "camera": [{ "id": "old", "source": "gst:videotestsrc ! videoconvert" }],
        "store": { "path": "/var/lib/aimass/agent.db", "max_days": 3 },
        "inference": { "model_folders": ["/opt/models"] },
    })
}

fn body() -> Value {
    json!({ "camera": [{ "id": "dock", "source": "test:", "fps": 3 }] })
}

fn problems(local: &Value, body: &Value, folder: &Path) -> Vec<String> {
    match effective(local, body, folder) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.into_iter().map(|p| p.path).collect(),
    }
}

fn refused(body: &Value) -> Vec<String> {
    problems(&local(), body, Path::new("/etc/aimass"))
}

#[test]
fn the_file_s_own_tables_hold_where_a_push_is_silent_and_the_rest_is_the_push_s() {
    let config = effective(&local(), &body(), Path::new("/etc/aimass")).unwrap();
    assert_eq!((config.node.site.as_str(), config.store.max_days), ("s", 3));
    assert_eq!(config.camera.len(), 1);
    assert_eq!(config.camera[0].id.as_str(), "dock");
    assert_eq!(config.broker.unwrap().url, "mqtts://broker.example");
    assert_eq!(config.inference.model_folders, [PathBuf::from("/opt/models")]);
}

#[test]
fn a_push_may_bring_another_broker_and_another_parallelism() {
    let mut body = body();
    body["broker"] = json!({ "url": "mqtts://other.example" });
    body["inference"] = json!({ "parallel": 2 });
    let config = effective(&local(), &body, Path::new("/etc/aimass")).unwrap();
    assert_eq!(config.broker.unwrap().url, "mqtts://other.example");
    assert_eq!(config.inference.parallel, Some(2));
    assert_eq!(config.inference.model_folders, [PathBuf::from("/opt/models")]);
}

#[test]
fn what_only_the_file_says_may_stand_in_a_push_if_it_is_the_same() {
    let mut body = body();
    // Other words, the same meaning: defaults written out.
    body["node"] = json!({ "site": "s", "id": "n" });
    body["store"] = json!({ "path": "/var/lib/aimass/agent.db", "max_days": 3, "max_mib": 256 });
    body["http"] = json!({ "listen": "127.0.0.1:8642" });
    body["trust"] = json!({});
    assert_eq!(refused(&body), Vec::<String>::new());
}

#[test]
fn a_push_that_changes_what_only_the_file_says_is_refused_with_the_path() {
    let key = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    for (section, value) in [
        ("trust", json!({ "key": [{ "id": "mine", "public_key": key }] })),
        ("trust", json!({ "probation_s": 5 })),
        ("trust", json!({ "secret_folders": ["/"] })),
        ("node", json!({ "site": "s", "id": "other" })),
        ("node", json!({ "site": "other", "id": "n" })),
        ("store", json!({ "path": "/tmp/agent.db", "max_days": 3 })),
        ("store", json!({})),
        ("http", json!({ "listen": "127.0.0.1:9000" })),
    ] {
        let mut body = body();
        body[section] = value.clone();
        assert_eq!(refused(&body), [section], "{value}");
    }
    let mut body = body();
    body["inference"] = json!({ "model_folders": ["/tmp"] });
    assert_eq!(refused(&body), ["inference.model_folders"]);
}

#[test]
fn errors_of_a_body_come_all_at_once_with_their_paths() {
    let body =
        json!({ "camera": [{ "id": "x", "source": "test:", "fps": 0 }, { "id": "x", "source": "nope:" }] });
    let found = refused(&body);
    for path in ["camera[0].fps", "camera[1].source", "camera[1].id"] {
        assert!(found.iter().any(|p| p == path), "{path} in {found:?}");
    }
    assert_eq!(refused(&json!([1])), [""]);
    assert!(!refused(&json!({ "camra": [] })).is_empty());
    assert!(!refused(&json!({ "inference": 3 })).is_empty());
}

#[test]
fn a_pipeline_runs_only_in_the_words_of_the_node_s_own_file() {
    let with = |source: &str| json!({ "camera": [{ "id": "a", "source": source }] });
    assert_eq!(refused(&with("gst:videotestsrc ! videoconvert")), Vec::<String>::new());
    for source in [
        "gst:filesrc location=/etc/shadow ! fakesink",
        "GST:videotestsrc ! fdsink",
        " gst:videotestsrc ! videoconvert ! filesink location=/x",
    ] {
        assert_eq!(refused(&with(source)), ["camera[0].source"], "{source}");
        let microphone = json!({ "microphone": [{ "id": "a", "source": source }] });
        assert_eq!(refused(&microphone), ["microphone[0].source"], "{source}");
    }
}

#[test]
fn secrets_are_read_only_from_the_folders_that_were_opened_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (own, open) = (folder.path().join("etc"), folder.path().join("open"));
    for path in [&own, &open] {
        std::fs::create_dir(path).unwrap();
    }
    let outside = folder.path().join("shadow");
    aimass_core::runtime::files::write_atomically(&outside, b"root").unwrap();
    symlink(&outside, own.join("link")).unwrap();
    symlink(folder.path(), own.join("folder")).unwrap();
    symlink(folder.path().join("nothing"), own.join("dangling")).unwrap();
    let with = |file: &Path| json!({ "camera": [{ "id": "a", "source": "rtsp://h/x", "username": "u", "password_file": file }] });
    let at = "camera[0].password_file";
    for good in [own.join("camera"), own.join("not/yet/there"), own.join("a.b..c")] {
        assert_eq!(problems(&local(), &with(&good), &own), Vec::<String>::new(), "{}", good.display());
    }
    for bad in [
        outside.clone(),
        own.join("../shadow"),
        own.join("link"),
        own.join("folder/shadow"),
        own.join("folder/new"),
        own.join("dangling"),
        PathBuf::from("relative"),
        open.join("x"),
        PathBuf::from("/etc/shadow"),
    ] {
        assert_eq!(problems(&local(), &with(&bad), &own), [at], "{}", bad.display());
    }
    let mut local = local();
    local["trust"] = json!({ "secret_folders": [open] });
    assert_eq!(problems(&local, &with(&open.join("x")), &own), Vec::<String>::new());
    assert_eq!(problems(&local, &with(&own.join("x")), &own), [at], "named folders replace the default");
}

#[test]
fn every_kind_of_file_is_looked_at_and_those_of_the_node_s_own_file_are_known() {
    let mut own = local();
    own["broker"] = json!({ "url": "mqtts://h", "ca_file": "/usr/share/ca.pem" });
    let broker = |ca: &str| {
        let mut body = body();
        body["broker"] =
            json!({ "url": "mqtts://h", "ca_file": ca, "cert_file": "/x/c", "key_file": "/x/k" });
        body
    };
    let found = problems(&own, &broker("/usr/share/ca.pem"), Path::new("/etc/aimass"));
    assert_eq!(found, ["broker.cert_file", "broker.key_file"]);
    let found = problems(&own, &broker("/usr/share/other.pem"), Path::new("/etc/aimass"));
    assert_eq!(found, ["broker.ca_file", "broker.cert_file", "broker.key_file"]);
}

#[test]
fn the_api_s_token_is_no_camera_s_password() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    aimass_core::runtime::files::write_atomically(&token, b"0123456789abcdef").unwrap();
    let mut own = local();
    own["http"] = json!({ "token_file": token });
    let body =
        json!({ "camera": [{ "id": "a", "source": "rtsp://h/x", "username": "u", "password_file": token }] });
    assert_eq!(problems(&own, &body, folder.path()), ["camera[0].password_file"]);
}

#[test]
fn what_can_be_signed_holds_nothing_that_only_the_file_says() {
    let body = pushable(&local());
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["broker", "camera"]);
    let more = pushable(&json!({ "inference": { "parallel": 2, "model_folders": [] } }));
    assert_eq!(more, json!({ "inference": { "parallel": 2 } }));
}

#[test]
fn a_secret_from_elsewhere_goes_only_where_the_node_s_own_file_sends_it() {
    let camera =
        |source: &str| json!({ "id": "a", "source": source, "username": "u", "password_file": "/run/cam" });
    let broker = |url: &str, others: Value| json!({ "url": url, "fallback_urls": others, "username": "u", "password_file": "/run/mq" });
    let mut own = local();
    own["camera"] = json!([camera("rtsp://cam/main")]);
    own["broker"] = json!({ "url": "mqtts://h", "username": "u", "password_file": "/run/mq",
        "cert_file": "/run/c", "key_file": "/run/k" });
    let found = |body: Value| problems(&own, &body, Path::new("/etc/aimass"));
    assert_eq!(found(pushable(&own)), Vec::<String>::new());
    let same = json!({ "camera": [camera("rtsp://cam/main")], "broker": broker("mqtts://h", json!([])) });
    assert_eq!(found(same), Vec::<String>::new());
    for source in ["rtsp://attacker/main", "rtsp://cam/other", "rtsp://cam:9/main"] {
        assert_eq!(found(json!({ "camera": [camera(source)] })), ["camera[0].password_file"], "{source}");
    }
    for (url, others) in [("mqtts://attacker", json!([])), ("mqtts://h", json!(["mqtts://attacker"]))] {
        assert_eq!(found(json!({ "broker": broker(url, others) })), ["broker.password_file"], "{url}");
    }
    // One thing's secret for another thing.
    let mut swapped = broker("mqtts://h", json!([]));
    swapped["password_file"] = json!("/run/cam");
    assert_eq!(found(json!({ "broker": swapped })), ["broker.password_file"]);
    let keys = json!({ "url": "mqtts://attacker", "cert_file": "/run/c", "key_file": "/run/k" });
    assert_eq!(found(json!({ "broker": keys })), ["broker.key_file"]);
}

#[test]
fn a_push_cannot_take_the_broker_away() {
    let mut body = body();
    body["broker"] = Value::Null;
    let errors = effective(&local(), &body, Path::new("/etc/aimass")).unwrap_err();
    assert_eq!(errors.0[0].path, "broker");
    assert!(errors.to_string().contains("cannot take the broker away"), "{errors}");
}
