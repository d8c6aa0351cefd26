//! The engine against answers of the reference runtime on small random graphs (`models/build/fuzz_engine.py` makes
//! them), by the kernels of every path that this machine can run, and on damaged files.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod small_graphs;

use std::path::Path;

use aimass_inference::{Backend, Library, Model, onnx};
use aimass_kernels::{Kernels, Path as CpuPath};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use prost::Message;
use small_graphs::{Case, cases, read, spec};

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

/// Input, and the outputs one after the other.
fn values(case: &Case) -> (Vec<f32>, Vec<f32>) {
    let mut values = floats(&read(case.seed, "bin"));
    let expected = values.split_off(case.input.iter().product());
    (values, expected)
}

fn answers(model: &Model, input: &[f32]) -> Vec<Vec<f32>> {
    let mut session = model.session().unwrap();
    session.fill(|to| to.copy_from_slice(input)).unwrap();
    session.run().unwrap();
    // A second run must not see what the first left behind.
    let first: Vec<Vec<f32>> = (0..model.outputs().len()).map(|n| session.output(n).to_vec()).collect();
    session.run().unwrap();
    let second: Vec<Vec<f32>> = (0..model.outputs().len()).map(|n| session.output(n).to_vec()).collect();
    assert_eq!(first, second, "two runs on the same input");
    second
}

fn assert_near(case: &Case, expected: &[f32], answers: &[Vec<f32>], what: &str) {
    let mut expected = expected;
    for (n, (answer, step)) in answers.iter().zip(&case.steps).enumerate() {
        let (own, rest) = expected.split_at(answer.len());
        expected = rest;
        let steps = |(a, b): (&f32, &f32)| (a - b).abs() / step;
        let off = own.iter().zip(answer).map(steps).filter(|d| d.is_nan() || *d > 1.01).count();
        let most = own.iter().zip(answer).map(steps).fold(0.0, f32::max);
        // A tie that is broken otherwise moves what comes after it by a step.
        assert!(
            off as f32 <= 0.002 * answer.len() as f32 + 1.0 && most <= 8.0,
            "seed {} output {n} {what}: {off} of {} off by more than a step, at most {most} steps; {:?}",
            case.seed,
            answer.len(),
            case.operators
        );
    }
    assert!(expected.is_empty(), "seed {}: values are left over", case.seed);
}

#[test]
fn small_graphs_agree_with_the_reference_runtime_on_every_path() {
    for case in cases() {
        let (input, expected) = values(&case);
        for path in Kernels::available() {
            let kernels = Kernels::force(path).unwrap();
            let model =
                Model::load_by(read(case.seed, "onnx"), &spec(case.input), Backend::EngineInt8, kernels)
                    .unwrap_or_else(|e| panic!("seed {} on {path}: {e}", case.seed));
            assert_near(&case, &expected, &answers(&model, &input), path.name());
        }
    }
}

#[test]
fn the_engine_knows_the_operators_of_the_small_graphs_itself() {
    let mut left = Vec::new();
    for case in cases() {
        let kernels = Kernels::force(CpuPath::Scalar).unwrap();
        let model =
            Model::load_by(read(case.seed, "onnx"), &spec(case.input), Backend::EngineInt8, kernels).unwrap();
        if model.fallbacks() != case.left {
            left.push((case.seed, model.fallbacks(), case.operators));
        }
    }
    assert!(left.is_empty(), "left to tract: {left:?}");
}

#[test]
fn signed_activations_slopes_padding_that_nobody_takes_and_transformers_are_among_the_small_graphs() {
    let cases = cases();
    let with = |operators: &[&str]| {
        cases
            .iter()
            .filter(|case| operators.iter().all(|o| case.operators.iter().any(|own| own == o)))
            .count()
    };
    assert!(cases.iter().filter(|case| case.signed).count() >= 8);
    assert!(cases.iter().any(|case| case.signed && case.operators.iter().any(|o| o == "PRelu")));
    assert!(cases.iter().any(|case| case.left > 0 && case.operators.iter().any(|o| o == "Pad")));
    for operators in [
        &["MatMul", "Softmax", "Transpose"][..],
        &["DynamicQuantizeLinear", "MatMulInteger"],
        &["LayerNormalization"],
        &["ReduceMean", "Sqrt", "Div"],
        &["Gemm"],
        &["Erf", "Mul"],
        &["Gather", "Cast"],
        &["Where"],
        &["Clip", "Div", "Mul"],
        &["Conv", "Pad", "Slice"],
    ] {
        assert!(with(operators) > 0, "no graph has {operators:?}");
    }
}

/// Folding leaves out the rounding of activations, so this only says that both read the same graph.
#[test]
fn folded_to_f32_the_engine_and_tract_agree() {
    for case in cases() {
        let (input, _) = values(&case);
        if case.seed > 70_000 && case.operators.iter().any(|operator| operator == "Slice") {
            // tract 0.23 takes slices by steps through what comes before them, and breaks or answers wrongly. What is
            // right, the reference runtime says above.
            continue;
        }
        let by = |backend| {
            let model = Model::load(read(case.seed, "onnx"), &spec(case.input), backend).unwrap();
            answers(&model, &input)
        };
        for (n, (own, theirs)) in by(Backend::EngineF32).iter().zip(by(Backend::Tract)).enumerate() {
            let scale = theirs.iter().fold(1e-3f32, |most, v| most.max(v.abs()));
            let most = own.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(
                most <= 1e-4 * scale,
                "seed {} output {n}: {most} of {scale}; {:?}",
                case.seed,
                case.operators
            );
        }
    }
}

#[test]
fn a_model_with_another_input_is_refused_by_the_engine_too() {
    let case = &cases()[0];
    let mut input = spec(case.input);
    input.name = "image".into();
    for backend in Backend::ALL {
        let error = Model::load(read(case.seed, "onnx"), &input, backend).unwrap_err();
        assert!(error.contains("\"input\"") && error.contains("image"), "{error}");
    }
}

#[test]
fn the_engine_says_what_is_left_to_tract_and_what_takes_time() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let library = Library::open(&[models]).unwrap();
    let entry = library.get("coco-ssd-lite").unwrap();
    let model = Model::load(entry.read_model().unwrap(), &entry.manifest.input, Backend::EngineInt8).unwrap();
    let steps = model.session().unwrap().profile(1).unwrap();
    let quantised: usize = steps.iter().filter(|s| s.kind.ends_with("int8")).map(|s| s.steps).sum();
    assert!(quantised >= 88, "{steps:?}");
    assert_eq!(steps.iter().any(|s| s.fallback), model.fallbacks() > 0);
}

#[test]
fn a_window_with_endless_borders_is_refused_by_every_backend_before_anything_is_computed() {
    let case = &cases()[0];
    let mut proto = onnx::decode(&read(case.seed, "onnx")).unwrap();
    let nodes = &mut proto.graph.as_mut().unwrap().node;
    let pads = nodes.iter_mut().filter(|n| n.op_type == "Conv").flat_map(|n| &mut n.attribute);
    for pads in pads.filter(|a| a.name == "pads") {
        pads.ints.fill(1 << 14);
    }
    let bytes = proto.encode_to_vec();
    for backend in [Backend::Tract, Backend::EngineF32, Backend::EngineInt8] {
        let problem = Model::load(bytes.clone(), &spec(case.input), backend).unwrap_err();
        assert!(problem.contains("too large"), "{problem}");
    }
}

proptest! {
    // Each case compiles a small graph. The same cases each time: what tract does with others is for the fuzzer to find.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_damaged_graph_never_panics(
        which: prop::sample::Index, flips in prop::collection::vec((0.0f64..1.0, any::<u8>()), 1..6), end: bool
    ) {
        let cases = cases();
        let case = which.get(&cases);
        let mut bytes = read(case.seed, "onnx");
        // Weights lie at the file's end, the structure before them.
        let (from, reach) = if end { (0.5, 0.5) } else { (0.0, 1.0) };
        for (at, value) in flips {
            let at = ((from + at * reach) * (bytes.len() - 1) as f64) as usize;
            bytes[at] = value;
        }
        for backend in [Backend::EngineInt8, Backend::EngineF32] {
            match Model::load(bytes.clone(), &spec(case.input), backend) {
                Ok(model) => prop_assert!(model.session().is_ok_and(|mut s| s.run().map_or_else(|e| !e.contains("panicked"), |()| true))),
                // A panic of tract's own is caught and is one of the reasons to refuse a file; ours is a mistake.
                Err(problem) => prop_assert!(!problem.contains("aimass"), "{problem}"),
            }
        }
    }
}
