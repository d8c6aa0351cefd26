//! Functions of f32 by polynomials, and what goes numerator rows: the same results on every path but for the last bits of
//! sums, and written so that the compiler vectorises them.
//!
//! Not a number stays that; errors are below 5e-7 of the result (`tests/paths/curves.rs`).

use crate::ops::unary_fn::{BinaryFn, LayerNorm, UnaryFn};

/// Sums run in as many lanes as a wide register has, so that all paths add in the same order.
const LANES: usize = 16;
/// Added to a number of magnitude below 2^22 it leaves that number, rounded half to even, in the lowest bits.
const ROUND: f32 = crate::quant::ROUND;

/// `if` rather than `f32::clamp`: one instruction map, and what is not a number passes.
#[inline(always)]
fn within(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// `x * c[0]... + c[n]`, the highest power first.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut value = coefficients[0];
    for n in 1..N {
        value = value * x + coefficients[n];
    }
    value
}

/// 2 to a whole power times a polynomial (Cephes, `expf`); what is below the least normal number becomes 0.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has few digits, so that its multiples are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let at = within(x, -87.336_54, 88.722_83);
    let rounded = at * LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = at - power * LN2_HIGH - power * LN2_LOW;
    let terms = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1];
    let value = polynomial(terms, rest) * (rest * rest) + rest + 1.0;
    // In two halves, because 2^128 has no exponent of its own.
    let whole = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = whole >> 1;
    let scale = |power: i32| f32::from_bits((power.wrapping_add(127) << 23) as u32);
    let value = value * scale(half) * scale(whole.wrapping_sub(half));
    let value = if x < -87.336_54 { 0.0 } else { value };
    if x > 88.722_83 { f32::INFINITY } else { value }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// A quotient of polynomials (Eigen, `generic_fast_tanh_float`).
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let x = within(x, -9.0, 9.0);
    let square = x * x;
    let numerator = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    let denominator = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    within(x * polynomial(numerator, square) / polynomial(denominator, square), -1.0, 1.0)
}

/// A quotient of polynomials (Eigen, `generic_fast_erf_float`); exactly 1 where no f32 lies between.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const END: f32 = 3.92;
    let whole = x;
    let x = within(x, -END, END);
    let square = x * x;
    let numerator = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let denominator = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let value = within(x * polynomial(numerator, square) / polynomial(denominator, square), -1.0, 1.0);
    let value = if whole > END { 1.0 } else { value };
    if whole < -END { -1.0 } else { value }
}

#[inline(always)]
fn map(values: &mut [f32], function: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = function(*value));
}

/// A function of map value, in place.
#[inline(always)]
pub(crate) fn unary_fn(values: &mut [f32], function: &UnaryFn) {
    match *function {
        UnaryFn::Affine { factor, term } => map(values, |x| x * factor + term),
        UnaryFn::Reciprocal(number) => map(values, |x| number / x),
        UnaryFn::Exp => map(values, exp),
        UnaryFn::Sigmoid => map(values, sigmoid),
        UnaryFn::Tanh => map(values, tanh),
        UnaryFn::Erf => map(values, erf),
        UnaryFn::Gelu => map(values, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
        UnaryFn::GeluTanh => map(values, |x| {
            const ROOT_2_OVER_PI: f32 = 0.797_884_6;
            0.5 * x * (1.0 + tanh(ROOT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
        }),
        UnaryFn::Silu => map(values, |x| x * sigmoid(x)),
        UnaryFn::HardSwish => map(values, |x| x * within(x / 6.0 + 0.5, 0.0, 1.0)),
        UnaryFn::Sqrt => map(values, f32::sqrt),
        UnaryFn::Rsqrt => map(values, |x| 1.0 / x.sqrt()),
        UnaryFn::Square => map(values, |x| x * x),
        UnaryFn::Abs => map(values, f32::abs),
        UnaryFn::ReplaceNan(number) => map(values, |x| if x.is_nan() { number } else { x }),
        UnaryFn::Trunc => map(values, f32::trunc),
        UnaryFn::IsNonZero => map(values, |x| f32::from(u8::from(x != 0.0))),
        UnaryFn::Not => map(values, |x| f32::from(u8::from(x == 0.0))),
        UnaryFn::Quantise { scale, zero, low, high } => {
            map(values, |x| within((x / scale).round_ties_even() + zero, low, high));
        }
    }
}

/// `combine(a, b)` where either is as long as `out`, or one value for all of it.
#[inline(always)]
pub(crate) fn binary_fn(a: &[f32], b: &[f32], out: &mut [f32], function: &BinaryFn) {
    let truth = |is: bool| f32::from(u8::from(is));
    match function {
        BinaryFn::Add => map2(a, b, out, |a, b| a + b),
        BinaryFn::Sub => map2(a, b, out, |a, b| a - b),
        BinaryFn::Mul => map2(a, b, out, |a, b| a * b),
        BinaryFn::Div => map2(a, b, out, |a, b| a / b),
        BinaryFn::Max => map2(a, b, out, f32::max),
        BinaryFn::Min => map2(a, b, out, f32::min),
        BinaryFn::Pow => map2(a, b, out, f32::powf),
        BinaryFn::Greater => map2(a, b, out, |a, b| truth(a > b)),
        BinaryFn::GreaterOrEqual => map2(a, b, out, |a, b| truth(a >= b)),
        BinaryFn::Less => map2(a, b, out, |a, b| truth(a < b)),
        BinaryFn::LessOrEqual => map2(a, b, out, |a, b| truth(a <= b)),
        BinaryFn::Equal => map2(a, b, out, |a, b| truth(a == b)),
        BinaryFn::NotEqual => map2(a, b, out, |a, b| truth(a != b)),
        BinaryFn::And => map2(a, b, out, |a, b| truth(a != 0.0 && b != 0.0)),
        BinaryFn::Or => map2(a, b, out, |a, b| truth(a != 0.0 || b != 0.0)),
    }
}

#[inline(always)]
fn map2(a: &[f32], b: &[f32], out: &mut [f32], function: impl Fn(f32, f32) -> f32) {
    let length = out.len();
    if a.len() == length && b.len() == length {
        out.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = function(*a, *b));
    } else if a.len() == length {
        let b = b[0];
        out.iter_mut().zip(a).for_each(|(to, a)| *to = function(*a, b));
    } else if b.len() == length {
        let a = a[0];
        out.iter_mut().zip(b).for_each(|(to, b)| *to = function(a, *b));
    } else {
        out.fill(function(a[0], b[0]));
    }
}

/// A fold in lanes.
#[inline(always)]
fn fold(values: &[f32], start: f32, function: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = function(lanes[lane], chunk[lane]);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = function(*lane, *value);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = function(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum, greatest and least value of a row, into `out` of three.
#[inline(always)]
pub(crate) fn sum_max_min(values: &[f32], out: &mut [f32]) {
    // Comparisons leave out what is not a number.
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let less = |a: f32, b: f32| if b < a { b } else { a };
    out[0] = fold(values, 0.0, |a, b| a + b);
    out[1] = fold(values, f32::NEG_INFINITY, greater);
    out[2] = fold(values, f32::INFINITY, less);
}

/// `exp(x - greatest) / sum` of a row, in place. A row without a finite value has no such quotient and becomes NaN.
#[inline(always)]
pub(crate) fn softmax(values: &mut [f32]) {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let greatest = fold(values, f32::NEG_INFINITY, greater);
    map(values, |x| exp(x - greatest));
    let factor = 1.0 / fold(values, 0.0, |a, b| a + b);
    map(values, |x| x * factor);
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` of a row.
#[inline(always)]
pub(crate) fn layer_norm(from: &[f32], to: &mut [f32], norm: &LayerNorm) {
    let share = 1.0 / from.len() as f32;
    let mean = fold(from, 0.0, |a, b| a + b) * share;
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from - mean);
    // Squares are summed in the output, so that no third row is needed.
    let mut lanes = [0.0; LANES];
    let chunks = to.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane] * chunk[lane];
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += value * value);
    let variance = fold(&lanes, 0.0, |a, b| a + b) * share;
    let factor = 1.0 / (variance + norm.epsilon).sqrt();
    for ((to, scale), bias) in to.iter_mut().zip(&norm.scale).zip(&norm.bias) {
        *to = *to * factor * scale + bias;
    }
}
