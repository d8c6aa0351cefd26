//! Bad input: one clear line and the right exit code.

use std::io::Write;
use std::path::{Path, PathBuf};

use harness::TIMEOUT;
use harness::agent::Agent;

use crate::analyze::{agent, stderr};
use crate::lone_config;

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("agent.toml");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

#[test]
fn a_configuration_with_errors_is_refused_with_all_of_them_by_validate_and_by_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[node]\nsite = \"a\"\n[[camera]]\nid = \"x\"\nsource = \"test:\"\nfpss = 3\n[[camera]]\nid = \"X\"\nsource = \"nope\"\n";
    let path = written(folder.path(), text).to_string_lossy().into_owned();
    for command in ["validate", "run"] {
        let output = agent(&[command, "--config", &path]);
        assert_eq!(output.status.code(), Some(65), "{command}");
        let told = stderr(&output);
        assert!(told.contains("camera[0].fpss") && told.contains("did you mean `fps`?"), "{told}");
        assert!(told.contains("camera[1].id"), "{told}");
    }
    let output = agent(&["validate", "--json", "--config", &path]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["valid"], false);
    assert!(answer["errors"].as_array().unwrap().len() >= 2, "{answer}");
}

#[tokio::test]
async fn an_invalid_log_filter_is_reported_and_does_not_stop_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let config = lone_config(folder.path(), "[[camera]]\nid = \"street\"\nsource = \"test:\"\n");
    let agent = Agent::run_with(&config, &[("AIMASS_LOG".into(), "inof".into())]);
    let told = |line: &str| line.contains("logging at info") && line.contains("inof is no level");
    agent.stderr().expect("what is wrong", TIMEOUT, told).await;
    agent.stderr().expect("a picture", TIMEOUT, |line| line.contains("The source delivers")).await;
    // A wrong filter on the command line is an error.
    assert_eq!(self::agent(&["--log", "inof", "models", "list"]).status.code(), Some(64));
}

#[test]
fn the_api_on_a_foreign_address_without_a_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "[node]\nsite = \"a\"\n[http]\nlisten = \"0.0.0.0:8642\"\n");
    let output = agent(&["validate", "--config", &path.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("token_file"), "{}", stderr(&output));
}

#[test]
fn what_a_valid_configuration_names_and_the_machine_lacks_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[node]\nsite = \"a\"\n[[camera]]\nid = \"x\"\nsource = \"v4l2:/nowhere/video7\"\n";
    let path = written(folder.path(), text).to_string_lossy().into_owned();
    let output = agent(&["validate", "--config", &path]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: camera[0].source: /nowhere/video7"), "{}", stderr(&output));
    let output = agent(&["validate", "--json", "--config", &path]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["valid"], &answer["warnings"][0]["path"]),
        (&true.into(), &"camera[0].source".into())
    );
}

#[test]
fn the_example_configuration_is_valid() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/agent.example.toml");
    let output = agent(&["validate", "--config", &example.to_string_lossy()]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A copy of a committed model whose file was changed by `damage`.
fn damaged_model(damage: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/blazeface-back");
    let to = folder.path().join("blazeface-back");
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    damage(&to.join("model.onnx"));
    folder
}

fn analyze_with(models: &Path) -> std::process::Output {
    let picture = format!("file:{}", harness::media::fixture("astronaut.png").display());
    let models = models.to_string_lossy();
    agent(&[
        "analyze",
        "--source",
        &picture,
        "--chain",
        "faces",
        "--model",
        "blazeface-back",
        "--models",
        &models,
    ])
}

#[test]
fn a_model_with_a_wrong_hash_is_not_run() {
    let models = damaged_model(|file| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[1000] ^= 1;
        std::fs::File::create(file).unwrap().write_all(&bytes).unwrap();
    });
    let output = analyze_with(models.path());
    assert_eq!(output.status.code(), Some(65));
    let told = stderr(&output);
    assert!(told.contains("blazeface-back") && told.to_lowercase().contains("sha256"), "{told}");
}

#[test]
fn a_model_whose_file_is_missing_says_how_to_get_it() {
    let models = damaged_model(|file| std::fs::remove_file(file).unwrap());
    let output = analyze_with(models.path());
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("make models"), "{}", stderr(&output));
}

#[test]
fn an_unknown_model_is_refused_with_a_list_of_the_known_ones() {
    let output = agent(&["analyze", "--source", "test:", "--model", "coco-ssd-lit"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("coco-ssd-lite"), "{}", stderr(&output));
}

#[test]
fn an_invalid_command_line_exits_with_64() {
    assert_eq!(agent(&["fly"]).status.code(), Some(64));
    assert_eq!(agent(&["analyze", "--source", "test:", "--chain", "xray"]).status.code(), Some(64));
    assert_eq!(agent(&["--help"]).status.code(), Some(0));
}
