//! `analyze`, `demo`, `models`: the commands that answer with results.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use harness::agent::binary;
use harness::media::fixture;
use serde_json::Value;

use crate::bikes;

pub(crate) fn agent(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().expect("the agent runs")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn labels(line: &Value) -> Vec<&str> {
    line["findings"].as_array().unwrap().iter().map(|f| f["label"].as_str().unwrap()).collect()
}

#[test]
fn a_clip_gives_a_line_for_each_analysed_frame_with_regions_and_tracks() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bikes.jsonl");
    let shown = out.to_string_lossy();
    let output =
        agent(&["analyze", "--source", &bikes(""), "--chain", "detect", "--every", "5", "--out", &shown]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = lines(&out);
    assert_eq!(lines.len(), 50, "250 frames, every fifth");
    assert_eq!((&lines[1]["frame"], lines[1]["time_s"].as_f64()), (&Value::from(5), Some(0.2)));
    assert!(lines.iter().any(|l| labels(l).contains(&"person")));
    for finding in lines.iter().flat_map(|l| l["findings"].as_array().unwrap()) {
        let region = &finding["region"];
        for key in ["x", "y", "w", "h"] {
            assert!((0.0..=1.0).contains(&region[key].as_f64().unwrap()), "{finding}");
        }
        assert!(finding["score"].as_f64().unwrap() >= 0.5);
    }
    let tracked = lines.iter().flat_map(|l| l["findings"].as_array().unwrap()).any(|f| f["track"].is_u64());
    assert!(tracked, "tracks come with the findings");
}

#[test]
fn a_folder_of_pictures_is_analysed_to_its_end_although_some_are_broken() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for name in ["astronaut.png", "chelsea.png"] {
        std::fs::copy(fixture(name), pictures.join(name)).unwrap();
    }
    std::fs::File::create(pictures.join("empty.jpg")).unwrap();
    std::fs::File::create(pictures.join("cut.png")).unwrap().write_all(b"\x89PNG\r\n\x1a\n....").unwrap();
    let out = folder.path().join("out.jsonl");
    let source = format!("file:{}", pictures.display());
    let output =
        agent(&["analyze", "--source", &source, "--chain", "detect,faces", "--out", &out.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(65));
    let text = stderr(&output);
    for name in ["empty.jpg", "cut.png"] {
        assert_eq!(text.lines().filter(|l| l.contains(name)).count(), 1, "one line for {name}:\n{text}");
    }
    let lines = lines(&out);
    assert_eq!(lines.len(), 4);
    let of = |name: &str| lines.iter().find(|l| l["file"] == name).unwrap();
    assert!(labels(of("astronaut.png")).contains(&"face"));
    assert!(labels(of("chelsea.png")).contains(&"cat"));
    assert!(of("empty.jpg")["error"].is_string());
    let face =
        of("astronaut.png")["findings"].as_array().unwrap().iter().find(|f| f["label"] == "face").unwrap();
    assert_eq!(face["points"].as_array().unwrap().len(), 5);
}

#[test]
fn every_engine_finds_the_person_in_a_picture_and_an_unknown_one_is_refused_by_name() {
    let picture = format!("file:{}/../models/golden/astronaut.jpg", env!("CARGO_MANIFEST_DIR"));
    for engine in ["tract", "engine-f32", "engine-int8"] {
        let output = agent(&["analyze", "--source", &picture, "--engine", engine]);
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(line["findings"][0]["label"], "person", "{engine}: {line}");
    }
    let output = agent(&["analyze", "--source", &picture, "--engine", "tensorrt"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(stderr(&output).contains("engine-int8"), "{}", stderr(&output));
}

#[test]
fn a_file_is_written_over_only_by_results_and_never_if_it_is_what_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let (picture, old) = (folder.path().join("text.png"), folder.path().join("old.jsonl"));
    for file in [&picture, &old] {
        aimass_core::runtime::files::write_atomically(file, b"precious").unwrap();
    }
    let kept = |source: &Path, out: &Path, code: i32| {
        let source = format!("file:{}", source.display());
        let output = agent(&["analyze", "--source", &source, "--out", &out.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(std::fs::read(out).unwrap(), b"precious", "{}", stderr(&output));
    };
    kept(&picture, &picture, 64);
    kept(folder.path(), &old, 64);
    kept(Path::new("/nowhere.mp4"), &old, 69);
    kept(&folder.path().join("none.png"), &old, 69);
}

#[test]
fn a_closed_output_pipe_ends_the_program_quietly() {
    let mut child = Command::new(binary())
        .args(["reference", "--schema"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(141), ""));
}

#[test]
fn a_file_that_is_no_clip_and_a_missing_file_have_different_errors() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.mp4");
    std::fs::File::create(&text).unwrap().write_all(b"hello hello hello hello").unwrap();
    for (source, code) in [
        (format!("file:{}", text.display()), 65),
        ("file:/nowhere/clip.mp4".to_owned(), 69),
        ("webcam".to_owned(), 64),
    ] {
        let output = agent(&["analyze", "--source", &source]);
        assert_eq!(output.status.code(), Some(code), "{source}: {}", stderr(&output));
        assert_eq!(
            stderr(&output).lines().filter(|l| l.starts_with("error:")).count(),
            1,
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_demo_ends_after_its_time_with_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.json");
    let output = agent(&[
        "demo",
        "--source",
        &bikes("?realtime=false"),
        "--listen",
        "127.0.0.1:0",
        "--seconds",
        "120",
        "--summary",
        &summary.to_string_lossy(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&std::fs::read(summary).unwrap()).unwrap();
    assert!(told["frames_analysed"].as_u64() >= Some(45), "{told}");
    assert!(told["delivered"].as_u64() > Some(0), "the broker inside acknowledges: {told}");
    let events = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(events.lines().count() > 2);
    for line in events.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["schema"], 2);
    }
    assert!(stderr(&output).contains("Summary of"));
}

#[test]
fn every_committed_model_answers_as_recorded() {
    let output = agent(&["models", "verify", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["coco-ssd-lite", "centerface", "blazeface-back"] {
        let report = reports.as_array().unwrap().iter().find(|r| r["model"] == name).unwrap();
        assert_eq!(report["passed"], true, "{report}");
    }
}

#[test]
fn the_list_of_models_has_the_labels_that_zones_may_ask_for() {
    let output = agent(&["models", "list", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let models: Value = serde_json::from_slice(&output.stdout).unwrap();
    let labels =
        |name: &str| models.as_array().unwrap().iter().find(|m| m["name"] == name).unwrap()["labels"].clone();
    assert_eq!(labels("centerface"), serde_json::json!(["face"]));
    let objects = labels("coco-ssd-lite");
    assert_eq!(objects.as_array().unwrap().len(), 80);
    assert_eq!(objects[0], "person");
}
