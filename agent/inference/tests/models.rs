//! The committed models, run for real: they agree with the reference runtime in every precision, and damaged
//! copies of them are refused without a panic.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aimass_core::finding::Findings;
use aimass_core::frame::{CaptureTime, Frame, Picture, TimeSource};
use aimass_inference::library::manifest::InputSpec;
use aimass_inference::tasks::{DetectConfig, FacesConfig};
use aimass_inference::{
    AnalyzerConfig, Backend, ErrorKind, Library, Model, ModelCache, Precision, build, onnx, verify_model,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const DEFAULTS: [&str; 3] = ["coco-ssd-lite", "centerface", "blazeface-back"];

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn cache() -> ModelCache {
    ModelCache::new(Library::open(&[models()]).unwrap(), None)
}

fn bytes_and_input(name: &str) -> (Vec<u8>, InputSpec) {
    let library = Library::open(&[models()]).unwrap();
    let entry = library.get(name).unwrap();
    (entry.read_model().unwrap(), entry.manifest.input.clone())
}

fn gray_frame() -> Frame {
    Frame {
        source: "test".parse().unwrap(),
        seq: 0,
        capture_time: CaptureTime {
            wall: Default::default(),
            wall_source: TimeSource::File,
            elapsed: Duration::ZERO,
        },
        picture: Picture::from_rgb((64, 48), vec![128; 64 * 48 * 3]).unwrap(),
    }
}

fn assert_golden(name: &str, backend: Backend) {
    let report = verify_model(&cache(), name, Some(backend)).unwrap();
    let report = report.unwrap_or_else(|| panic!("{name} has no golden cases"));
    assert!(!report.cases.is_empty());
    for case in &report.cases {
        assert!(case.problems.is_empty(), "{name} {backend:?} {}: {:#?}", case.picture, case.problems);
    }
}

#[test]
fn every_default_agrees_with_the_reference_runtime_in_tract() {
    for name in DEFAULTS {
        assert_golden(name, Backend::Tract);
    }
}

#[test]
fn every_default_agrees_with_the_reference_runtime_in_the_engine_as_f32() {
    for name in DEFAULTS {
        assert_golden(name, Backend::EngineF32);
    }
}

#[test]
fn every_quantised_default_agrees_with_the_reference_runtime_in_the_engine_as_stored() {
    for name in ["coco-ssd-lite", "centerface"] {
        assert_golden(name, Backend::EngineInt8);
    }
}

#[test]
fn nanodet_agrees_where_it_was_built() {
    if !Library::open(&[models()]).unwrap().get("nanodet").is_ok_and(|e| e.has_file()) {
        println!("skipped: nanodet's file is not here; `make models` builds it");
        return;
    }
    for backend in Backend::ALL {
        assert_golden("nanodet", backend);
    }
}

#[test]
fn folding_leaves_no_quantisation_and_keeps_the_activations_that_it_did() {
    for name in ["coco-ssd-lite", "centerface"] {
        let mut model = onnx::decode(&bytes_and_input(name).0).unwrap();
        let folded = onnx::fold::fold(&mut model);
        let graph = model.graph.as_ref().unwrap();
        let quantised = |op: &str| op == "QuantizeLinear" || op == "DequantizeLinear";
        assert_eq!(graph.node.iter().filter(|n| quantised(&n.op_type)).count(), 0, "{name} {folded:?}");
        // The quantiser dropped CenterFace's Relus: the pairs that stood for them became Clips.
        assert_eq!(folded.clips > 0, name == "centerface", "{name} {folded:?}");
    }
}

#[test]
fn a_model_is_loaded_once_and_shared_while_somebody_uses_it() {
    let cache = cache();
    let first = cache.get("blazeface-back", None).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.get("blazeface-back", None).unwrap()));
    let weak = Arc::downgrade(&first);
    drop(first);
    assert!(weak.upgrade().is_none(), "an unused model is freed");
}

#[test]
fn analyzers_refuse_what_does_not_fit_and_say_what_would() {
    let cache = cache();
    let detect = |change: fn(&mut DetectConfig)| {
        let mut config = DetectConfig { model: "coco-ssd-lite".into(), ..Default::default() };
        change(&mut config);
        build("d", &AnalyzerConfig::Detect(config), &cache).err().unwrap()
    };
    let error = detect(|c| c.labels = vec!["persn".into()]);
    assert!(error.to_string().contains("did you mean \"person\"?"), "{error}");
    assert_eq!(detect(|c| c.model = "centerface".into()).kind(), ErrorKind::Config);
    assert_eq!(detect(|c| c.min_score = Some(f32::NAN)).kind(), ErrorKind::Config);
    assert_eq!(detect(|c| c.model = "coco".into()).kind(), ErrorKind::UnknownModel);
    let blaze = FacesConfig {
        model: "blazeface-back".into(),
        precision: Some(Precision::Int8),
        ..Default::default()
    };
    let error = build("f", &AnalyzerConfig::Faces(blaze), &cache).err().unwrap();
    assert!(error.to_string().contains("stored as f32"), "{error}");
    assert!(serde_json::from_str::<AnalyzerConfig>(r#"{"kind":"detect","min_scor":0.5}"#).is_err());
    assert!(serde_json::from_str::<AnalyzerConfig>(r#"{"kind":"telepathy"}"#).is_err());
}

#[test]
fn an_empty_picture_gives_nothing_and_faces_inside_persons_cost_nothing_without_persons() {
    let cache = cache();
    let mut findings = Findings::default();
    let config = FacesConfig { model: "blazeface-back".into(), ..Default::default() };
    let inside = FacesConfig { inside: Some("person".into()), ..config.clone() };
    for (config, inferences) in [(config, 1), (inside, 0)] {
        findings.times.inferences = 0;
        let mut faces = build("faces", &AnalyzerConfig::Faces(config), &cache).unwrap();
        faces.analyze(&gray_frame(), &mut findings).unwrap();
        assert_eq!((findings.list.len(), findings.times.inferences), (0, inferences));
    }
}

#[test]
fn a_model_with_another_input_is_refused() {
    let (bytes, mut input) = bytes_and_input("blazeface-back");
    input.name = "image".into();
    let error = Model::load(bytes, &input, Backend::Tract).unwrap_err();
    assert!(error.contains("input:0") && error.contains("image"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_are_no_model(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(onnx::decode(&bytes).is_err());
    }
}

proptest! {
    // Each case may load a real model.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(12) })]

    #[test]
    fn a_damaged_model_never_panics(
        flips in prop::collection::vec((0.0f64..1.0, any::<u8>()), 1..8), keep in 0.5f64..1.3, structure: bool
    ) {
        let (mut bytes, input) = bytes_and_input("blazeface-back");
        // The graph's structure is a small part of the file, most of it near the beginning.
        let reach = if structure { 30_000.0 } else { bytes.len() as f64 };
        for (at, value) in flips {
            bytes[(at * reach) as usize] = value;
        }
        bytes.truncate((keep * bytes.len() as f64) as usize);
        for backend in [Backend::Tract, Backend::EngineF32] {
            if let Ok(model) = Model::load(bytes.clone(), &input, backend) {
                prop_assert!(model.session().is_ok_and(|mut s| s.run().is_ok() || s.run().is_err()));
            }
        }
    }
}
