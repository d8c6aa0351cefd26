//! tract's Fourier transforms run by `agent/fft`, which bears rustfft's name.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::EvalContext;
use tract_onnx::tract_core::ops::EvalOp;
use tract_onnx::tract_core::ops::fft::Fft;

fn transformed(values: &[f32], inverse: bool) -> Vec<f32> {
    // Complex numbers are [real, imaginary] along the last axis.
    let tensor = Tensor::from_shape(&[1, values.len() / 2, 2], values).unwrap();
    let operator = Fft { axis: 1, inverse };
    let result = operator.eval(&EvalContext::out_of_plan(), tvec!(tensor.into_tvalue())).unwrap();
    result[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < 1e-5, "number {at} is {got}, not {expected}");
    }
}

#[test]
fn the_transform_of_a_wave_in_a_graph_of_tract_is_its_frequency() {
    // Twelve samples, three turns.
    let turn = |n: usize| 2.0 * std::f32::consts::PI * 3.0 * n as f32 / 12.0;
    let wave: Vec<f32> = (0..12).flat_map(|n| [turn(n).cos(), turn(n).sin()]).collect();
    let spectrum = transformed(&wave, false);
    let mut expected = [0.0; 24];
    expected[6] = 12.0;
    assert_near(&spectrum, &expected);
    let again: Vec<f32> = transformed(&spectrum, true).iter().map(|v| v / 12.0).collect();
    assert_near(&again, &wave);
}
