use proptest::prelude::*;

use super::*;

fn signal(len: usize, seed: u64) -> Vec<Complex64> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    (0..len).map(|_| Complex::new(next(), next())).collect()
}

/// The definition, for some of the frequencies.
fn by_definition(values: &[Complex64], direction: FftDirection, frequency: usize) -> Complex64 {
    let len = values.len();
    let sign = if direction == FftDirection::Forward { -1.0 } else { 1.0 };
    let root = |n: usize| Complex::cis(sign * 2.0 * PI * (n * frequency % len) as f64 / len as f64);
    values.iter().enumerate().map(|(n, v)| v * root(n)).sum()
}

fn assert_right(len: usize, direction: FftDirection, every: usize, seed: u64) {
    let given = signal(len, seed);
    let mut got = given.clone();
    FftPlanner::new().plan_fft(len, direction).process(&mut got);
    let mut single: Vec<Complex<f32>> =
        given.iter().map(|c| Complex::new(c.re as f32, c.im as f32)).collect();
    FftPlanner::new().plan_fft(len, direction).process(&mut single);
    for frequency in (0..len).step_by(every) {
        let expected = by_definition(&given, direction, frequency);
        let off = (got[frequency] - expected).norm();
        assert!(off <= 1e-13 * (len as f64 + 10.0), "frequency {frequency} of {len} is off by {off}");
        let single = Complex::new(f64::from(single[frequency].re), f64::from(single[frequency].im));
        assert!(
            (single - expected).norm() <= 1e-7 * (len as f64 + 10.0),
            "f32: frequency {frequency} of {len}"
        );
    }
}

#[test]
fn every_short_length_is_transformed_by_the_definition_in_both_directions() {
    for len in 1..=300 {
        assert_right(len, FftDirection::Forward, 1, len as u64);
        assert_right(len, FftDirection::Inverse, 1, len as u64);
    }
}

#[test]
fn what_is_real_by_symmetry_has_no_imaginary_part() {
    for len in [2, 3, 4, 6, 8, 9, 60, 122, 400, 512] {
        let mut values: Vec<_> = signal(len, 9).iter().map(|c| Complex::new(-c.re, 0.0)).collect();
        FftPlanner::new().plan_fft_forward(len).process(&mut values);
        let highest = (len % 2 == 0).then_some(values[len / 2]);
        for value in [Some(values[0]), highest].into_iter().flatten() {
            assert_eq!(value.im.to_bits(), 0, "{value} of {len}");
        }
    }
}

#[test]
fn there_and_back_gives_as_many_times_the_signal_as_it_is_long() {
    for len in [0, 1, 400, 512, 1000, 1021, 4096] {
        let given = signal(len, 5);
        let mut values = given.clone();
        FftPlanner::new().plan_fft_forward(len).process(&mut values);
        FftPlanner::new().plan_fft(len, FftDirection::Inverse).process(&mut values);
        for (value, given) in values.iter().zip(&given) {
            assert!((value / len as f64 - given).norm() < 1e-12, "of {len}");
        }
    }
}

#[test]
fn runs_are_transformed_one_by_one_and_what_is_left_over_stays() {
    let given = signal(7, 3);
    let mut values = given.clone();
    let three = FftPlanner::new().plan_fft_forward(3);
    three.process(&mut values);
    for run in [0, 3] {
        let mut alone = given[run..run + 3].to_vec();
        three.process(&mut alone);
        assert_eq!(values[run..run + 3], alone);
    }
    assert_eq!(values[6], given[6]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn long_lengths_are_transformed_by_the_definition(len in 301_usize..20_000, forward: bool, seed: u64) {
        let direction = if forward { FftDirection::Forward } else { FftDirection::Inverse };
        assert_right(len, direction, len / 40, seed);
    }
}
