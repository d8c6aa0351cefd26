//! The small graphs of `models/build/fuzz_engine.py` and `fuzz_words.py`, and what they take.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};

use aimass_inference::library::manifest::{ChannelOrder, InputSpec, Layout, Resize};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine")
}

/// One graph.
#[derive(serde::Deserialize)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) input: [usize; 4],
    /// The step of each output's last quantiser, or what counts as one.
    pub(crate) steps: Vec<f32>,
    pub(crate) operators: Vec<String>,
    /// Nodes that no rule takes.
    #[serde(default)]
    pub(crate) left: usize,
    /// Whether activations are signed bytes.
    #[serde(default)]
    pub(crate) signed: bool,
}

/// All graphs.
pub(crate) fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("index.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 50, "{} cases", cases.len());
    cases
}

/// What a graph takes: numbers as they are.
pub(crate) fn spec(input: [usize; 4]) -> InputSpec {
    InputSpec {
        name: "input".into(),
        shape: input,
        layout: Layout::Nchw,
        colour: ChannelOrder::Rgb,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: Resize::Stretch,
    }
}

/// A file of a graph.
pub(crate) fn read(seed: u64, ending: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{seed:04}.{ending}"))).unwrap()
}
