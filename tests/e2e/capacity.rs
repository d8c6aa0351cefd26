//! Capacity checks of a configuration on this machine.

use std::path::Path;

use aimass_core::runtime::files::write_atomically;
use serde_json::Value;

use crate::analyze::{agent, stderr};
use crate::lone_config;

/// `aimass-agent <words> --config <this>`: the exit code, what it prints, what it logs.
fn asked(words: &[&str], folder: &Path, tables: &str) -> (Option<i32>, String, String) {
    let file = folder.join("agent.toml");
    write_atomically(&file, lone_config(folder, tables).as_bytes()).unwrap();
    let path = file.display().to_string();
    let output = agent(&[words, &["--config", path.as_str()]].concat());
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
}

fn camera(id: &str, more: &str) -> String {
    format!("[[camera]]\nid = \"{id}\"\n{more}\n")
}

#[test]
fn a_configuration_that_fits_is_measured_and_a_device_that_is_not_here_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = camera("door", "source = \"test:\"\nfps = 1\npriority = 9")
        + &camera("away", "source = \"v4l2:/dev/video97\"\nfps = 1\nmin_fps = 0.5");
    let (code, printed, _) = asked(&["validate", "--on-this-board", "--json"], folder.path(), &cameras);
    let answer: Value = serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
    assert_eq!((code, &answer["fits"]), (Some(0), &true.into()), "{printed}");
    let chains = answer["board"]["chains"].as_array().unwrap();
    assert_eq!(chains.len(), 1, "the same chain is measured once: {printed}");
    let cost = &chains[0]["cost"];
    let of = |name: &str| cost[name].as_f64().unwrap();
    assert!(of("frame_ms") > 1.0 && of("infer_ms") > 0.5 && of("infer_ms") <= of("frame_ms"), "{cost}");
    assert!(cost["models_bytes"].as_u64() > Some(1 << 20), "{cost}");
    let source = &answer["board"]["cameras"][0]["source"];
    assert!(source["frames"].as_u64() >= Some(2) && source["width"] == 640, "{source}");
    let warnings = answer["board"]["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().contains("/dev/video97")), "{printed}");
}

#[test]
fn a_configuration_that_is_too_large_is_refused_with_a_proposal_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let fast = "source = \"test:?fps=60\"\nfps = 60\nchain = [\"faces\"]";
    let cameras: String = (0..12).map(|n| camera(&format!("c{n}"), fast)).collect();
    let (code, printed, logged) = asked(&["validate", "--on-this-board"], folder.path(), &cameras);
    assert_eq!(code, Some(65), "{logged}");
    assert!(logged.contains("error: the chains take"), "{logged}");
    let (_, lines) = printed.split_once("# this would fit:").unwrap_or_else(|| panic!("{printed}"));
    let fps: Vec<f64> = lines.lines().filter_map(|l| l.strip_prefix("fps = ")?.parse().ok()).collect();
    let left_out = lines.lines().filter(|l| l.starts_with("# leave out")).count();
    assert_eq!(fps.len() + left_out, 12, "{lines}");
    assert!(fps.iter().all(|fps| (1.0..60.0).contains(fps)), "{lines}");
}

#[test]
fn what_cannot_run_here_at_all_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_atomically(&folder.path().join("notes.mp4"), b"this is no video at all").unwrap();
    let garbage = format!("source = \"file:{}?loop=true\"", folder.path().join("notes.mp4").display());
    let cameras = camera("garbage", &garbage)
        + &camera("modelless", "source = \"test:\"\nchain = [\"other\"]")
        + "[analyzer.other]\nkind = \"detect\"\nmodel = \"no-such-model\"\n";
    let (code, _, logged) = asked(&["validate", "--on-this-board"], folder.path(), &cameras);
    assert_eq!(code, Some(65), "{logged}");
    assert!(logged.contains("no-such-model") && logged.contains("notes.mp4"), "{logged}");
}

#[test]
fn probe_reports_the_board_and_the_cost_of_a_configuration_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let cameras = camera("door", "source = \"test:\"\nfps = 2");
    let (code, printed, _) = asked(&["probe", "--json"], folder.path(), &cameras);
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
    assert_eq!(code, Some(0));
    assert!(report["disk"]["free_bytes"].as_u64() > Some(0) && report["disk"]["read_only"] == false);
    assert_eq!(report["disk"]["folder"], folder.path().display().to_string());
    let fit = report["capacity"]["chains"][0]["fit"].as_array().unwrap();
    let rates: Vec<f64> = fit.iter().map(|pair| pair[0].as_f64().unwrap()).collect();
    assert_eq!(rates, [1.0, 2.0, 5.0, 10.0]);
    let counts: Vec<u64> = fit.iter().map(|pair| pair[1].as_u64().unwrap()).collect();
    assert!(counts.windows(2).all(|pair| pair[0] >= pair[1]) && counts[0] >= 1, "{counts:?}");
}
