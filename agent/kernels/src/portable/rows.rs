//! Element by element over runs, written so that the compiler vectorises them.

use crate::conv::Activation;
use crate::quant::{AddU8, Dequantise, MulU8, PreluU8, Quantise, Rounding};

#[inline(always)]
pub(crate) fn lookup(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = table[usize::from(*from)];
    }
}

#[inline(always)]
pub(crate) fn lookup_in_place(bytes: &mut [u8], table: &[u8; 256]) {
    for byte in bytes {
        *byte = table[usize::from(*byte)];
    }
}

#[inline(always)]
pub(crate) fn add_u8(a: &[u8], b: &[u8], to: &mut [u8], add: &AddU8) {
    let rounding = add.output.rounding();
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = rounding.byte(add.value(*a, *b));
    }
}

#[inline(always)]
pub(crate) fn mul_u8(a: &[u8], b: &[u8], to: &mut [u8], mul: &MulU8) {
    let rounding = mul.output.rounding();
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = rounding.byte(mul.value(*a, *b));
    }
}

#[inline(always)]
pub(crate) fn prelu_u8(from: &[u8], to: &mut [u8], prelu: &PreluU8) {
    let rounding = prelu.output.rounding();
    let (zero, positive) = (i32::from(prelu.zero_point), prelu.positive);
    for ((to, from), negative) in to.iter_mut().zip(from).zip(&prelu.negative) {
        let value = (i32::from(*from) - zero) as f32;
        *to = rounding.byte(value * if value < 0.0 { *negative } else { positive });
    }
}

#[inline(always)]
pub(crate) fn quantise(from: &[f32], to: &mut [u8], quantise: &Quantise) {
    let rounding = quantise.rounding();
    for (to, from) in to.iter_mut().zip(from) {
        *to = rounding.byte(from / quantise.scale);
    }
}

#[inline(always)]
pub(crate) fn round(from: &[f32], to: &mut [u8], rounding: &Rounding) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = rounding.byte(*from);
    }
}

#[inline(always)]
pub(crate) fn dequantise(from: &[u8], to: &mut [f32], dequantise: &Dequantise) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = dequantise.value(*from);
    }
}

#[inline(always)]
pub(crate) fn sum_u8(from: &[u8], sums: &mut [i32]) {
    for (sum, from) in sums.iter_mut().zip(from) {
        *sum = sum.wrapping_add(i32::from(*from));
    }
}

#[inline(always)]
pub(crate) fn mean_u8(sums: &[i32], to: &mut [u8], ratio: f32, rounding: &Rounding) {
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = rounding.byte(*sum as f32 * ratio);
    }
}

#[inline(always)]
pub(crate) fn add_f32(a: &[f32], b: &[f32], to: &mut [f32]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = a + b;
    }
}

#[inline(always)]
pub(crate) fn mul_f32(a: &[f32], b: &[f32], to: &mut [f32]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = a * b;
    }
}

#[inline(always)]
pub(crate) fn activate(values: &mut [f32], activation: &Activation) {
    let (low, high) = (activation.low, activation.high);
    let bounded = |value: f32| {
        let value = if value < low { low } else { value };
        if value > high { high } else { value }
    };
    match activation.slopes.as_slice() {
        [] => values.iter_mut().for_each(|value| *value = bounded(*value)),
        [slope] => values.iter_mut().for_each(|v| *v = bounded(if *v < 0.0 { *v * slope } else { *v })),
        slopes => {
            values.iter_mut().zip(slopes).for_each(|(v, s)| *v = bounded(if *v < 0.0 { *v * s } else { *v }))
        }
    }
}
