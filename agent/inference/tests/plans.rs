//! Compiled plans that are kept: the same answers as from the model file, and nothing but that from a damaged one.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod small_graphs;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aimass_inference::{Backend, Library, LoadedModel, Model, ModelCache};
use aimass_kernels::Kernels;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use small_graphs::{Case, cases, read, spec};

/// A small graph, and its plan; `None` if a node of it runs in tract.
fn kept(case: &Case, backend: Backend, kernels: Kernels) -> Option<(Model, Bytes)> {
    let bytes = read(case.seed, "onnx");
    let mut saved = Err(String::new());
    let model = Model::load_keeping(bytes, &spec(case.input), backend, kernels, Some(&mut saved)).unwrap();
    match saved {
        Ok(saved) => Some((model, saved)),
        Err(problem) => {
            assert!(problem.contains("tract") && model.fallbacks() > 0, "{problem}");
            None
        }
    }
}

/// What a model answers to an input that is the same for all.
fn answers(model: &Model) -> Result<Vec<Vec<u32>>, String> {
    let mut session = model.session()?;
    session.fill(|input| {
        input.iter_mut().enumerate().for_each(|(n, value)| *value = ((n * 37) % 101) as f32 / 50.0 - 1.0);
    })?;
    session.run()?;
    Ok((0..model.outputs().len())
        .map(|n| session.output(n).iter().map(|value| value.to_bits()).collect())
        .collect())
}

#[test]
fn a_kept_plan_answers_to_the_bit_like_the_model_file_on_every_path() {
    let mut compared = 0;
    for case in cases() {
        for path in Kernels::available() {
            let kernels = Kernels::force(path).unwrap();
            for backend in [Backend::EngineInt8, Backend::EngineF32] {
                let bytes = read(case.seed, "onnx");
                let fresh = Model::load_by(bytes, &spec(case.input), backend, kernels).unwrap();
                let Some((model, saved)) = kept(&case, backend, kernels) else { continue };
                compared += 1;
                let restored = Model::restore(&saved, &spec(case.input), backend, kernels).unwrap();
                assert_eq!(restored.outputs(), fresh.outputs());
                let expected = answers(&fresh).unwrap();
                for model in [&model, &restored] {
                    assert!(answers(model).unwrap() == expected, "seed {} {backend:?} {path}", case.seed);
                }
            }
        }
    }
    // Quantised, the engine knows all of these graphs.
    assert!(compared >= cases().len() * Kernels::available().len(), "{compared} plans");
}

#[test]
fn a_plan_for_another_input_is_refused() {
    let (_, saved) = kept(&cases()[0], Backend::EngineInt8, Kernels::detect()).unwrap();
    let mut input = spec(cases()[0].input);
    input.shape[2] += 1;
    let error = Model::restore(&saved, &input, Backend::EngineInt8, Kernels::detect()).unwrap_err();
    assert!(error.contains("not as long as its shape"), "{error}");
}

fn cache(state: &Path, backend: Backend) -> ModelCache {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    ModelCache::new(Library::open(&[models]).unwrap(), Some(state.to_owned())).with_engine(Some(backend))
}

fn load(state: &Path, name: &str, backend: Backend) -> Arc<LoadedModel> {
    let model = cache(state, backend).get(name, None).unwrap();
    assert_eq!(model.backend(), backend);
    model
}

fn plan_files(state: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(state.join("plans")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_second_start_takes_the_plan_and_answers_alike() {
    for (name, backend) in [("centerface", Backend::EngineInt8), ("blazeface-back", Backend::EngineF32)] {
        let state = tempfile::tempdir().unwrap();
        let first = answers(load(state.path(), name, backend).model()).unwrap();
        let [file] = &plan_files(state.path())[..] else { panic!("one plan is kept") };
        let written = file.metadata().unwrap().ino();
        assert!(answers(load(state.path(), name, backend).model()).unwrap() == first, "{name}");
        assert_eq!(file.metadata().unwrap().ino(), written, "{name}: the plan was made again");
    }
}

#[test]
fn a_plan_does_not_hide_that_the_model_file_is_gone_or_damaged() {
    let (state, library) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/blazeface-back");
    let to = library.path().join("blazeface-back");
    std::fs::create_dir(&to).unwrap();
    for file in ["model.toml", "model.onnx", "labels.txt"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let load = || {
        let library = Library::open(&[library.path().to_owned()]).unwrap();
        let models = ModelCache::new(library, Some(state.path().to_owned()));
        models.with_engine(Some(Backend::EngineF32)).get("blazeface-back", None).map(|_| ())
    };
    load().unwrap();
    load().unwrap();
    let mut bytes = std::fs::read(to.join("model.onnx")).unwrap();
    bytes[400_000] ^= 1;
    aimass_core::runtime::files::write_atomically(&to.join("model.onnx"), &bytes).unwrap();
    assert!(load().unwrap_err().to_string().contains("sha256"));
    std::fs::remove_file(to.join("model.onnx")).unwrap();
    assert!(load().unwrap_err().to_string().contains("missing"));
}

/// What can happen to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Vec<(f64, u8)>),
    Cut(f64),
    Extend(Vec<u8>),
    /// A part is replaced by another part of the file.
    Splice(f64, f64, f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || 0.0f64..1.0;
    prop_oneof![
        4 => prop::collection::vec((place(), 1u8..), 1..6).prop_map(Damage::Flip),
        1 => place().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Damage::Extend),
        2 => (place(), place(), 0.0f64..0.2).prop_map(|(from, to, length)| Damage::Splice(from, to, length)),
    ]
}

impl Damage {
    /// Does it within the first `reach` bytes.
    fn to(&self, bytes: &mut Vec<u8>, reach: usize) {
        let reach = reach.min(bytes.len());
        let at = |place: f64| (place * (reach - 1) as f64) as usize;
        match self {
            Damage::Flip(flips) => flips.iter().for_each(|(place, bits)| bytes[at(*place)] ^= bits),
            Damage::Cut(place) => bytes.truncate(at(*place)),
            Damage::Extend(more) => bytes.extend(more),
            Damage::Splice(from, to, length) => {
                let end = (at(*from) + 1 + at(*length)).min(reach);
                let part = bytes[at(*from)..end].to_vec();
                let start = at(*to);
                let end = (start + part.len()).min(bytes.len());
                bytes.splice(start..end, part);
            }
        }
    }
}

proptest! {
    // Each case compiles a small graph.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(600) })]

    /// Whoever knows the format can write a plan with a sound hash: these bytes come after it.
    #[test]
    fn a_forged_plan_never_panics(
        which in 0..cases().len(), damages in prop::collection::vec(damage(), 1..3), steps: bool, f32: bool
    ) {
        let backend = if f32 { Backend::EngineF32 } else { Backend::EngineInt8 };
        let case = &cases()[which];
        let Some((_, saved)) = kept(case, backend, Kernels::detect()) else { return Ok(()) };
        let mut bytes = saved.to_vec();
        // The structure lies before the weights.
        let reach = if steps { 2000 } else { bytes.len() };
        for damage in &damages {
            if bytes.len() > 1 {
                damage.to(&mut bytes, reach);
            }
        }
        match Model::restore(&Bytes::from(bytes), &spec(case.input), backend, Kernels::detect()) {
            Ok(model) => {
                let answers = answers(&model);
                prop_assert!(answers.as_ref().err().is_none_or(|e| !e.contains("panicked")), "{answers:?}");
            }
            Err(problem) => prop_assert!(!problem.contains("panicked"), "{problem}"),
        }
    }
}

proptest! {
    // Each case loads a real model.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_damaged_file_is_made_again_and_changes_no_answer(damage in damage(), structure: bool) {
        let (name, backend) = ("blazeface-back", Backend::EngineF32);
        let state = tempfile::tempdir().unwrap();
        let expected = answers(load(state.path(), name, backend).model()).unwrap();
        let file = plan_files(state.path()).remove(0);
        let sound = std::fs::read(&file).unwrap();
        let mut bytes = sound.clone();
        damage.to(&mut bytes, if structure { 4000 } else { sound.len() });
        aimass_core::runtime::files::write_atomically(&file, &bytes).unwrap();
        prop_assert!(answers(load(state.path(), name, backend).model()).unwrap() == expected);
        prop_assert!(std::fs::read(&file).unwrap() == sound, "a sound plan is kept again");
    }
}
