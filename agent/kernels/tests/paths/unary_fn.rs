//! Functions of numbers without gaps: against the standard library in f64, and every path against the portable one.

use aimass_kernels::{BinaryFn, Broadcast, Kernels, LayerNorm, Reduction, UnaryFn};
use proptest::prelude::*;

use crate::case::{Random, close, config, fast_paths, same, scalar};
use crate::guarded::Guarded;

/// The function in f64; the error function by its series, or its continued fraction far out.
fn exact(function: &UnaryFn, x: f64) -> f64 {
    match *function {
        UnaryFn::Exp => x.exp(),
        UnaryFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryFn::Tanh => x.tanh(),
        UnaryFn::Erf => erf(x),
        UnaryFn::Gelu => 0.5 * x * (1.0 + erf(x / 2_f64.sqrt())),
        UnaryFn::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        UnaryFn::Silu => x / (1.0 + (-x).exp()),
        UnaryFn::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        UnaryFn::Sqrt => x.sqrt(),
        UnaryFn::Rsqrt => 1.0 / x.sqrt(),
        UnaryFn::Square => x * x,
        UnaryFn::Abs => x.abs(),
        UnaryFn::Affine { factor, term } => x * f64::from(factor) + f64::from(term),
        UnaryFn::Reciprocal(number) => f64::from(number) / x,
        UnaryFn::Trunc => x.trunc(),
        UnaryFn::IsNonZero => f64::from(u8::from(x != 0.0)),
        UnaryFn::Not => f64::from(u8::from(x == 0.0)),
        UnaryFn::ReplaceNan(_) => x,
        UnaryFn::Quantise { scale, zero, low, high } => ((x / f64::from(scale)).round_ties_even()
            + f64::from(zero))
        .clamp(f64::from(low), f64::from(high)),
    }
}

fn erf(x: f64) -> f64 {
    if x.abs() > 3.0 {
        let tail = (1..60).rev().fold(x.abs(), |rest, n| x.abs() + f64::from(n) / 2.0 / rest);
        return x.signum() * (1.0 - (-x * x).exp() / tail / std::f64::consts::PI.sqrt());
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

const CURVES: [UnaryFn; 19] = [
    UnaryFn::Exp,
    UnaryFn::Sigmoid,
    UnaryFn::Tanh,
    UnaryFn::Erf,
    UnaryFn::Gelu,
    UnaryFn::GeluTanh,
    UnaryFn::Silu,
    UnaryFn::HardSwish,
    UnaryFn::Sqrt,
    UnaryFn::Rsqrt,
    UnaryFn::Square,
    UnaryFn::Abs,
    UnaryFn::Affine { factor: -0.75, term: 2.0 },
    UnaryFn::Reciprocal(3.0),
    UnaryFn::Trunc,
    UnaryFn::IsNonZero,
    UnaryFn::Not,
    UnaryFn::ReplaceNan(7.0),
    UnaryFn::Quantise { scale: 0.25, zero: 3.0, low: -10.0, high: 20.0 },
];

const COMBINES: [BinaryFn; 15] = [
    BinaryFn::Add,
    BinaryFn::Sub,
    BinaryFn::Mul,
    BinaryFn::Div,
    BinaryFn::Max,
    BinaryFn::Min,
    BinaryFn::Pow,
    BinaryFn::Greater,
    BinaryFn::GreaterOrEqual,
    BinaryFn::Less,
    BinaryFn::LessOrEqual,
    BinaryFn::Equal,
    BinaryFn::NotEqual,
    BinaryFn::And,
    BinaryFn::Or,
];

fn combined(function: BinaryFn, a: f32, b: f32) -> f32 {
    let truth = |is: bool| if is { 1.0 } else { 0.0 };
    match function {
        BinaryFn::Add => a + b,
        BinaryFn::Sub => a - b,
        BinaryFn::Mul => a * b,
        BinaryFn::Div => a / b,
        BinaryFn::Max => a.max(b),
        BinaryFn::Min => a.min(b),
        BinaryFn::Pow => a.powf(b),
        BinaryFn::Greater => truth(a > b),
        BinaryFn::GreaterOrEqual => truth(a >= b),
        BinaryFn::Less => truth(a < b),
        BinaryFn::LessOrEqual => truth(a <= b),
        BinaryFn::Equal => truth(a == b),
        BinaryFn::NotEqual => truth(a != b),
        BinaryFn::And => truth(a != 0.0 && b != 0.0),
        BinaryFn::Or => truth(a != 0.0 || b != 0.0),
    }
}

fn paths() -> Vec<Kernels> {
    fast_paths().into_iter().chain([scalar()]).collect()
}

/// Where each place of a shape lies for distances along its axes.
fn places(shape: &[usize], distances: &[usize]) -> Vec<usize> {
    let mut all = vec![0];
    for (places, distance) in shape.iter().zip(distances) {
        all = all.iter().flat_map(|at| (0..*places).map(move |n| at + n * distance)).collect();
    }
    all
}

/// Distances of values that lie in the order of a shape; 0 along axes of one place.
fn distances(shape: &[usize]) -> Vec<usize> {
    let step = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    (0..shape.len()).map(|axis| if shape[axis] == 1 { 0 } else { step(axis) }).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn functions_are_right_and_the_same_on_every_path(seed: u64, length in 1_usize..200) {
        let mut random = Random(seed);
        let reach = [1e-3, 1.0, 8.0, 80.0][random.below(4)];
        for function in CURVES {
            let positive = matches!(function, UnaryFn::Sqrt | UnaryFn::Rsqrt | UnaryFn::Reciprocal(_));
            let values: Vec<f32> = random.floats(length).iter().map(|x| x * reach).collect();
            let values: Vec<f32> = values.iter().map(|x| if positive { x.abs() + 1e-3 } else { *x }).collect();
            let from = Guarded::new(&values);
            let mut expected = vec![0.0; length];
            scalar().unary(&from, &mut expected, &function).unwrap();
            for (x, y) in values.iter().zip(&expected) {
                let wanted = exact(&function, f64::from(*x));
                // Where an argument is large, its own last bit is worth that much of the result.
                let slack = match function {
                    UnaryFn::Exp => 2e-7 * f64::from(x.abs()) + 5e-7,
                    _ => 6e-7,
                };
                // What is a part of the argument cannot be more exact than that.
                let least = match function {
                    UnaryFn::Gelu | UnaryFn::GeluTanh => f64::from(x.abs()),
                    _ if wanted.abs() < 1.0 => f64::from(x.abs()).min(1.0),
                    _ => 0.0,
                };
                let room = slack * wanted.abs().max(least) + 1e-37;
                prop_assert!((f64::from(*y) - wanted).abs() <= room, "{function:?} of {x} is {y} and not {wanted}");
            }
            for path in fast_paths() {
                let mut actual = Guarded::new(&vec![9.0; length]);
                path.unary(&from, &mut actual, &function).unwrap();
                same(&expected, &actual, path, &format!("{function:?}"));
            }
        }
    }

    #[test]
    fn two_values_are_combined_however_either_is_repeated(seed: u64) {
        let mut random = Random(seed);
        let shape: Vec<usize> = (0..1 + random.below(4)).map(|_| 1 + random.below(9)).collect();
        let of = |random: &mut Random| -> Vec<usize> {
            let skipped = random.below(shape.len() + 1);
            shape[skipped..].iter().map(|places| if random.chance(3) { 1 } else { *places }).collect()
        };
        let (of_a, of_b, of_c) = (of(&mut random), of(&mut random), of(&mut random));
        // Some are equal, some are 0.
        let make = |random: &mut Random, of: &[usize]| -> Vec<f32> {
            (0..of.iter().product()).map(|_| (random.float() * 3.0).trunc() + 0.5 * (random.below(2) as f32)).collect()
        };
        let (a, b, c) = (make(&mut random, &of_a), make(&mut random, &of_b), make(&mut random, &of_c));
        let at = |of: &[usize]| {
            let missing = shape.len() - of.len();
            places(&shape, &[vec![0; missing], distances(of)].concat())
        };
        let (at_a, at_b, at_c) = (at(&of_a), at(&of_b), at(&of_c));
        let length = at_a.len();
        let (a, b, c) = (Guarded::new(&a), Guarded::new(&b), Guarded::new(&c));
        let broadcast = Broadcast::of_shapes(&shape, [&of_a, &of_b]).unwrap();
        let three = Broadcast::of_shapes(&shape, [&of_a, &of_b, &of_c]).unwrap();
        let chosen: Vec<f32> = (0..length).map(|n| if a[at_a[n]] != 0.0 { b[at_b[n]] } else { c[at_c[n]] }).collect();
        for path in paths() {
            for function in COMBINES {
                let expected: Vec<f32> = (0..length).map(|n| combined(function, a[at_a[n]], b[at_b[n]])).collect();
                let mut out = Guarded::new(&vec![9.0; length]);
                path.binary([&a, &b], &mut out, &broadcast, function).unwrap();
                let differs = expected.iter().zip(out.iter()).position(|(x, y)| x.to_bits() != y.to_bits() && !(x.is_nan() && y.is_nan()) && x != y);
                prop_assert!(differs.is_none(), "{function:?} on {path:?}: {expected:?} {:?}", &out[..]);
            }
            let mut out = Guarded::new(&vec![9.0; length]);
            path.select([&a, &b, &c], &mut out, &three).unwrap();
            same(&chosen, &out, path, "select");
        }
    }

    #[test]
    fn values_are_transposed_and_repeated(seed: u64) {
        let mut random = Random(seed);
        let rank = 1 + random.below(5);
        let shape: Vec<usize> = (0..rank).map(|_| 1 + random.below(12)).collect();
        let mut axes: Vec<usize> = (0..rank).collect();
        (0..rank).for_each(|n| { let other = random.below(rank); axes.swap(n, other); });
        let steps = distances(&shape);
        let to: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
        let mut moved: Vec<usize> = axes.iter().map(|axis| steps[*axis]).collect();
        if random.chance(3) {
            moved[random.below(rank)] = 0;
        }
        let from = Guarded::new(&random.floats(shape.iter().product()));
        let at = places(&to, &moved);
        let expected: Vec<f32> = at.iter().map(|at| from[*at]).collect();
        let broadcast = Broadcast::new(&to, [&moved]).unwrap();
        for path in paths() {
            let mut out = Guarded::new(&vec![9.0; expected.len()]);
            path.rearrange(&from, &mut out, &broadcast).unwrap();
            same(&expected, &out, path, "rearranged");
            prop_assert!(path.rearrange(&from[1..], &mut out, &broadcast).is_err() || at.iter().all(|at| *at + 1 < from.len()));
        }
    }

    #[test]
    fn rows_are_summed_normalised_and_weighed(seed: u64, count in 1_usize..7, row in 1_usize..150) {
        let mut random = Random(seed);
        let length = count * row;
        let values: Vec<f32> = random.floats(length).iter().map(|x| x * 5.0 + 1.0).collect();
        let from = Guarded::new(&values);
        let norm = LayerNorm { scale: random.floats(row), bias: random.floats(row), epsilon: 1e-3 };
        let (mut weighed, mut normal, mut sums) = (vec![], vec![], [vec![], vec![], vec![]]);
        for line in values.chunks(row) {
            let line: Vec<f64> = line.iter().map(|x| f64::from(*x)).collect();
            let most = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = line.iter().sum();
            let total: f64 = line.iter().map(|x| (x - most).exp()).sum();
            weighed.extend(line.iter().map(|x| ((x - most).exp() / total) as f32));
            let mean = sum / row as f64;
            let variance = line.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row as f64;
            let share = (variance + f64::from(norm.epsilon)).sqrt();
            let parts = line.iter().zip(&norm.scale).zip(&norm.bias);
            normal.extend(parts.map(|((x, s), b)| ((x - mean) / share * f64::from(*s) + f64::from(*b)) as f32));
            sums[0].push(sum as f32);
            sums[1].push(most as f32);
            sums[2].push(line.iter().copied().fold(f64::INFINITY, f64::min) as f32);
        }
        let mut first: Option<Vec<f32>> = None;
        for path in paths() {
            let mut out = Guarded::new(&vec![9.0; length]);
            path.softmax(&from, &mut out, row).unwrap();
            close(&weighed, &out, 1, path, "softmax");
            // Sums run in the same order everywhere.
            same(first.get_or_insert_with(|| out.to_vec()), &out, path, "softmax to the bit");
            path.layer_norm(&from, &mut out, &norm).unwrap();
            close(&normal, &out, 6, path, "normalised");
            for (wanted, by) in sums.iter().zip([Reduction::Sum, Reduction::Max, Reduction::Min]) {
                let mut out = Guarded::new(&vec![9.0; count]);
                path.reduce(&from, &mut out, [row, 1], by).unwrap();
                close(wanted, &out, 5 * row, path, "rows");
                // The same numbers as columns.
                let columns: Vec<f32> = (0..length).map(|n| values[n % count * row + n / count]).collect();
                let mut out = Guarded::new(&vec![9.0; count]);
                path.reduce(&Guarded::new(&columns), &mut out, [row, count], by).unwrap();
                close(wanted, &out, 5 * row, path, "columns");
            }
            let range = path.dynamic_range(&from);
            let (low, high) = values.iter().fold((0f32, 0f32), |(l, h), x| (l.min(*x), h.max(*x)));
            prop_assert_eq!(range.scale, (high - low) / 255.0);
            prop_assert_eq!(range.zero_point, (-low / range.scale).round_ties_even() as u8);
        }
    }
}

#[test]
fn functions_pass_what_is_not_a_number_and_know_infinity() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0, 88.7, -87.3, 0.0];
    for path in paths() {
        let of = |function: UnaryFn| {
            let mut out = [0.0; 8];
            path.unary(&values, &mut out, &function).unwrap();
            out
        };
        let exp = of(UnaryFn::Exp);
        assert!(exp[0].is_nan() && exp[5].is_finite() && exp[6] > 0.0);
        assert_eq!([exp[1], exp[2], exp[3], exp[4], exp[7]], [f32::INFINITY, 0.0, f32::INFINITY, 0.0, 1.0]);
        for (function, low) in [(UnaryFn::Sigmoid, 0.0), (UnaryFn::Tanh, -1.0), (UnaryFn::Erf, -1.0)] {
            let found = of(function);
            assert!(found[0].is_nan(), "{function:?}");
            assert_eq!(
                [found[1], found[2], found[3], found[4]],
                [1.0, low, 1.0, low],
                "{function:?} on {path:?}"
            );
        }
        assert_eq!(of(UnaryFn::ReplaceNan(3.0))[0], 3.0);
        let mut out = [0.0; 3];
        path.softmax(&[f32::NEG_INFINITY, 1.0, 1.0], &mut out, 3).unwrap();
        assert_eq!(out, [0.0, 0.5, 0.5]);
        path.softmax(&[f32::NEG_INFINITY; 3], &mut out, 3).unwrap();
        assert!(out.iter().all(|x| x.is_nan()));
        assert_eq!(path.dynamic_range(&[0.0, f32::NAN]).scale, 1.0);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(Broadcast::of_shapes(&[2, 3], [&[2]]).is_err());
    assert!(Broadcast::of_shapes(&[3], [&[2, 3]]).is_err());
    assert!(Broadcast::new(&[2, 0], [&[1, 1]]).is_err());
    assert!(Broadcast::new(&[2; 9], [&[1; 9]]).is_err());
    let kernels = scalar();
    let mut out = [0.0; 6];
    assert!(kernels.unary(&[0.0; 5], &mut out, &UnaryFn::Exp).is_err());
    assert!(kernels.softmax(&[0.0; 6], &mut out, 4).is_err());
    assert!(kernels.softmax(&[0.0; 6], &mut out, 0).is_err());
    let norm = LayerNorm { scale: vec![1.0; 3], bias: vec![0.0; 2], epsilon: 0.0 };
    assert!(kernels.layer_norm(&[0.0; 6], &mut out, &norm).is_err());
    assert!(kernels.reduce(&[0.0; 6], &mut out, [4, 1], Reduction::Sum).is_err());
    let broadcast = Broadcast::of_shapes(&[2, 3], [&[2, 3], &[3]]).unwrap();
    assert!(kernels.binary([&[0.0; 6], &[0.0; 2]], &mut out, &broadcast, BinaryFn::Add).is_err());
}
