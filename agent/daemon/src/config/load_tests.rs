//! Configurations, good and bad, as people write them.

use super::*;

const GOOD: &str = r#"
[node]
site = "warehouse-1"
id = "dock-3"
[broker]
url = "mqtt://127.0.0.1:1883"
[[camera]]
id = "dock"
source = "test:"
fps = 5
chain = ["detect", "faces"]
[[camera.mask]]
polygon = [[0,0],[0.2,0],[0.2,1],[0,1]]
[[camera.zone]]
id = "bay"
polygon = [[0.2,0.2],[0.8,0.2],[0.8,0.9],[0.2,0.9]]
labels = ["person", "truck"]
dwell_s = 30
[[camera.line]]
id = "door"
from = [0.1,0.6]
to = [0.9,0.6]
labels = ["person"]
[[microphone]]
id = "hall"
source = "alsa:hw:CARD=Device,DEV=0"
[microphone.level]
every_s = 10
[analyzer.detect]
model = "coco-ssd-lite"
min_score = 0.5
"#;

fn paths(text: &str) -> Vec<String> {
    parse(text).unwrap_err().0.into_iter().map(|p| p.path).collect()
}

#[test]
fn the_example_of_the_design_is_accepted() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.camera[0].chain, ["detect", "faces"]);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8642");
}

#[test]
fn an_accepted_configuration_survives_a_round_trip_through_json() {
    let config = parse(GOOD).unwrap();
    let tree = serde_json::to_value(&config).unwrap();
    assert_eq!(from_tree(tree).unwrap(), config);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let errors = parse(&GOOD.replace("fps = 5", "fpss = 5")).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].path, "camera[0].fpss");
    assert!(errors.0[0].message.contains("did you mean `fps`?"), "{errors}");
}

#[test]
fn microphones_share_their_names_with_cameras_and_are_checked_as_they_are() {
    let wrong = GOOD
        .replace("id = \"hall\"", "id = \"dock\"\nstall_after_s = 0.5")
        .replace("alsa:hw:CARD=Device,DEV=0", "rtsp://10.0.0.7/sound")
        .replace("every_s = 10", "every_s = 0.1");
    let expected = [
        "microphone[0].id",
        "microphone[0].source",
        "microphone[0].stall_after_s",
        "microphone[0].level.every_s",
    ];
    assert_eq!(paths(&wrong), expected);
}

#[test]
fn controls_are_for_cameras_that_have_some() {
    let controls = "[camera.controls]\nauto_exposure = 1\nwhite_balance_automatic = false\n[[camera.mask]]";
    let with = GOOD.replacen("[[camera.mask]]", controls, 1);
    assert_eq!(paths(&with), ["camera[0].controls"]);
    let v4l2 = with.replacen("\"test:\"", "\"v4l2:/dev/v4l/by-id/usb-x\"", 1);
    let config = parse(&v4l2).unwrap();
    assert_eq!(config.camera[0].controls.len(), 2);
    assert_eq!(from_tree(serde_json::to_value(&config).unwrap()).unwrap(), config);
    assert!(!paths(&v4l2.replace("= 1\n", "= \"one\"\n")).is_empty());
    let unknown = with.replacen("\"test:\"", "\"usb:/dev/video0\"", 1);
    assert_eq!(paths(&unknown), ["camera[0].source"], "what it may have depends on what it is");
}

#[test]
fn all_errors_are_told_at_once_with_their_paths() {
    let bad = GOOD
        .replace("fps = 5", "fps = \"many\"\nstall_after = 3")
        .replace("dwell_s = 30", "dwell_s = true")
        .replace("id = \"dock-3\"", "id = \"Dock 3\"")
        .replace("min_score = 0.5", "min_scor = 0.5");
    let mut found = paths(&bad);
    found.sort();
    assert_eq!(
        found,
        [
            "analyzer.detect.min_scor",
            "camera[0].fps",
            "camera[0].stall_after",
            "camera[0].zone[0].dwell_s",
            "node.id"
        ]
    );
}

#[test]
fn values_that_cannot_be_are_told_with_their_limits() {
    let bad = GOOD
        .replace("fps = 5", "fps = 0")
        .replace("\"faces\"]", "\"facs\"]")
        .replace("to = [0.9,0.6]", "to = [0.1,0.6]")
        .replace("source = \"test:\"", "source = \"webcam\"");
    let found = paths(&bad);
    for path in ["camera[0].fps", "camera[0].chain[1]", "camera[0].source"] {
        assert!(found.iter().any(|p| p == path), "{path} in {found:?}");
    }
    assert!(found.iter().any(|p| p.starts_with("camera[0].line[0]")), "{found:?}");
}

#[test]
fn ids_that_are_used_twice_are_refused() {
    let twice = format!("{GOOD}\n[[camera]]\nid = \"dock\"\nsource = \"test:\"\n");
    assert_eq!(paths(&twice), ["camera[1].id"]);
}

#[test]
fn what_is_no_toml_is_told_with_its_place_and_without_its_content() {
    for (text, place) in [
        ("[node]\nsite = hunter2\n", "line 2, column 8"),
        ("[broker]\npassword = \"hunter2\" oops\n", "line 2, column 22"),
        ("[broker]\npassword = \"hunter2\n", "line 2, column 20"),
        ("a = 1\na = \"hunter2\"\n", "line 2, column 1"),
    ] {
        let errors = parse(text).unwrap_err().to_string();
        assert!(errors.contains(place) && !errors.contains("hunter2") && !errors.contains('\n'), "{errors}");
    }
}

#[test]
fn what_is_missing_or_wrong_in_one_place_hides_no_error_elsewhere() {
    let bad = r#"
[node]
site = "Warehouse 1"
[broker]
keep_alive_s = 0
[[camera]]
source = "test:"
fps = 99
[[camera]]
id = "b"
fps = 98
[[camera.zone]]
polygon = [[0,0],[1,0]]
[[camera.line]]
id = "l"
[store]
max_mib = 0
[http]
listen = "0.0.0.0:80"
"#;
    let mut found = paths(bad);
    found.sort();
    assert_eq!(
        found,
        [
            "broker",
            "broker.keep_alive_s",
            "camera[0]",
            "camera[0].fps",
            "camera[1]",
            "camera[1].fps",
            "camera[1].line[0]",
            "camera[1].line[0]",
            "camera[1].zone[0]",
            "camera[1].zone[0].polygon",
            "http.listen",
            "node.site",
            "store.max_mib"
        ]
    );
}

#[test]
fn paths_count_as_the_file_does_although_a_bad_element_was_taken_out() {
    let bad = "camera = [5, {id = \"b\", source = \"test:\", fps = 99}, 6, {id = \"d\", source = \"test:\", fpss = 1, fps = 98}]\n\
               [node]\nsite = \"a\"\n";
    let mut found = paths(bad);
    found.sort();
    assert_eq!(found, ["camera[0]", "camera[1].fps", "camera[2]", "camera[3].fps", "camera[3].fpss"]);
}

#[test]
fn an_empty_file_says_what_is_missing() {
    let errors = parse("").unwrap_err();
    assert!(errors.to_string().contains("missing field `node`"), "{errors}");
}

#[test]
fn a_missing_file_is_named() {
    let errors = load(Path::new("/nowhere/agent.toml")).unwrap_err();
    assert!(errors.to_string().contains("/nowhere/agent.toml"), "{errors}");
}

#[test]
fn a_password_in_the_broker_url_is_refused_and_not_repeated() {
    let bad = GOOD.replace("mqtt://127.0.0.1", "mqtt://user:topsecret@127.0.0.1");
    let errors = parse(&bad).unwrap_err().to_string();
    assert!(errors.contains("broker.url") && !errors.contains("topsecret"), "{errors}");
}

#[test]
fn the_seeds_of_the_fuzz_target_are_read_or_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/config");
    let mut accepted = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        if let Ok(config) = parse(&String::from_utf8_lossy(&bytes)) {
            let tree = serde_json::to_value(&config).unwrap();
            assert_eq!(from_document(tree).unwrap(), config);
            accepted += 1;
        }
        if let Ok(tree) = aimass_signing::strict_json(&bytes) {
            let local = serde_json::json!({ "node": { "site": "s", "id": "n" } });
            accepted += u32::from(crate::config::effective(&local, &tree, Path::new("/etc/aimass")).is_ok());
        }
    }
    assert!(accepted >= 2, "{accepted}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,300}") {
        let _outcome = parse(&text);
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(at in 0..GOOD.len(), with in proptest::num::u8::ANY) {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[at] = with;
        let _outcome = parse(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn each_wrong_field_of_an_analyzer_is_told() {
    let bad = "modle = \"x\"\nmin_score = \"a\"\nlabels = 3";
    let mut told = paths(&GOOD.replace("model = \"coco-ssd-lite\"\nmin_score = 0.5", bad));
    told.sort();
    assert_eq!(told, ["analyzer.detect.labels", "analyzer.detect.min_score", "analyzer.detect.modle"]);
}

#[test]
fn the_old_key_of_a_source_s_health_is_read_and_having_both_is_an_error() {
    let config = |keys: &str| {
        parse(&format!(
            "[node]\nsite = \"s\"\nid = \"n\"\n[[camera]]\nid = \"a\"\nsource = \"test:\"\n{keys}"
        ))
    };
    let old = config("[camera.sight]\nrecover_s = 7").unwrap();
    assert_eq!(old, config("[camera.health]\nrecover_s = 7").unwrap());
    assert_eq!(old.camera[0].health.recover_s, 7.0);
    let both = config("[camera.sight]\nrecover_s = 7\n[camera.health]\nrecover_s = 8").unwrap_err();
    assert_eq!(both.0[0].path, "camera[0].sight", "{both}");
    let wrong = config("[camera.sight]\nrecover_s = -1").unwrap_err();
    assert_eq!(wrong.0[0].path, "camera[0].health.recover_s", "{wrong}");
}
