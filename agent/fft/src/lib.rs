//! Fourier transforms for tract, in a fiftieth of the space.
//!
//! tract's operators for Fourier transforms plan them by rustfft, and so every program with tract carries every kernel of
//! rustfft for every length, number and instruction set: 1.4 MB of x86 code, a fifteenth of the program, for models that a
//! board seldom runs, and no feature of tract leaves them out. This crate has what tract uses of rustfft, under its name,
//! and one algorithm for all: mixed radices for lengths of small primes, Bluestein's convolution for others. It reckons in
//! f64 whatever the numbers are, so that its code is there once. rustfft with AVX is 12 to 35 times as fast on an x86-64
//! core (f32: 512 points in 0.6 µs and in 13; 16,000 in 28 µs and in 990): a hundred spectra of 512 points, a second of
//! sound, cost a thousandth of a core. Lengths with a prime beyond 61 also take memory for a convolution of up to four
//! times the length.
//!
//! Sources: Cooley and Tukey, "An algorithm for the machine calculation of complex Fourier series" (1965); Bluestein,
//! "A linear filtering approach to the computation of discrete Fourier transform" (1970).

use std::f64::consts::PI;
use std::fmt::Debug;
use std::marker::PhantomData;

use num_complex::{Complex, Complex64};
use num_traits::{FromPrimitive, ToPrimitive};

pub use num_complex;
pub use num_traits;

/// Primes up to this are transformed by the definition.
const MAX_PRIME: usize = 61;

/// The numbers that are transformed.
pub trait FftNum: Copy + FromPrimitive + ToPrimitive + Send + Sync + Debug + 'static {}

impl<T: Copy + FromPrimitive + ToPrimitive + Send + Sync + Debug + 'static> FftNum for T {}

/// Of time or of frequencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FftDirection {
    /// From times to frequencies.
    Forward,
    /// From frequencies to times.
    Inverse,
}

/// Plans transforms.
#[derive(Debug)]
pub struct FftPlanner<T> {
    numbers: PhantomData<T>,
}

impl<T: FftNum> FftPlanner<T> {
    /// A planner. It keeps nothing.
    #[expect(clippy::new_without_default, reason = "rustfft's interface, as far as it is used")]
    pub fn new() -> Self {
        FftPlanner { numbers: PhantomData }
    }

    /// A transform of `len` complex numbers. As in rustfft, nothing is divided by `len` in either direction.
    pub fn plan_fft(&mut self, len: usize, direction: FftDirection) -> Fft<T> {
        Fft { plan: Plan::new(len, direction), numbers: PhantomData }
    }

    /// A transform of `len` complex numbers from times to frequencies.
    pub fn plan_fft_forward(&mut self, len: usize) -> Fft<T> {
        self.plan_fft(len, FftDirection::Forward)
    }
}

/// A transform of a length in a direction.
#[derive(Debug)]
pub struct Fft<T> {
    plan: Plan,
    numbers: PhantomData<T>,
}

impl<T: FftNum> Fft<T> {
    /// Transforms each run of as many numbers as were planned in place; numbers that are left over at the end stay as they
    /// are. A number that is beyond the range of its type becomes infinite.
    pub fn process(&self, buffer: &mut [Complex<T>]) {
        let number = |n: T| n.to_f64().unwrap_or(f64::NAN);
        let back = |n: f64| T::from_f64(n).or_else(|| T::from_f64(f64::NAN));
        let mut values = Vec::with_capacity(self.plan.len());
        for run in buffer.chunks_exact_mut(self.plan.len().max(1)) {
            values.clear();
            values.extend(run.iter().map(|c| Complex::new(number(c.re), number(c.im))));
            for (to, value) in run.iter_mut().zip(self.plan.transform(&values)) {
                if let (Some(re), Some(im)) = (back(value.re), back(value.im)) {
                    *to = Complex::new(re, im);
                }
            }
        }
    }
}

#[derive(Debug)]
enum Plan {
    /// `roots[k]` is the kth power of the first root of unity of the transform's length.
    MixedRadix { roots: Vec<Complex64> },
    /// A convolution with a chirp, in a length that is a power of two.
    Bluestein { chirp: Vec<Complex64>, transformed: Vec<Complex64>, forward: Box<Plan> },
}

impl Plan {
    fn new(len: usize, direction: FftDirection) -> Plan {
        let sign = if direction == FftDirection::Forward { -1.0 } else { 1.0 };
        if largest_prime(len) <= MAX_PRIME {
            return Plan::MixedRadix { roots: (0..len).map(|k| root(k, len, sign)).collect() };
        }
        // The angle of k² half turns by len, taken modulo a turn first, as it would lose its digits else.
        let angle = |k: usize| (k as u128 * k as u128 % (2 * len as u128)) as f64 * PI / len as f64;
        let chirp: Vec<_> = (0..len).map(|k| Complex::cis(sign * angle(k))).collect();
        let longer = (2 * len - 1).next_power_of_two();
        let mut filter = vec![Complex::default(); longer];
        for (k, c) in chirp.iter().enumerate() {
            filter[k] = c.conj() / longer as f64;
            filter[(longer - k) % longer] = filter[k];
        }
        let forward = Box::new(Plan::new(longer, FftDirection::Forward));
        Plan::Bluestein { transformed: forward.transform(&filter), chirp, forward }
    }

    fn len(&self) -> usize {
        match self {
            Plan::MixedRadix { roots } => roots.len(),
            Plan::Bluestein { chirp, .. } => chirp.len(),
        }
    }

    /// Takes and gives as many numbers as it is long.
    fn transform(&self, values: &[Complex64]) -> Vec<Complex64> {
        match self {
            Plan::MixedRadix { roots } => {
                let mut result = vec![Complex::default(); values.len()];
                mixed_radix(values, 1, &mut result, roots);
                result
            }
            Plan::Bluestein { chirp, transformed, forward } => {
                let mut padded = vec![Complex::default(); transformed.len()];
                padded.iter_mut().zip(values).zip(chirp).for_each(|((to, v), c)| *to = v * c);
                let mut spectrum = forward.transform(&padded);
                // The inverse is the forward transform of the conjugates, conjugated.
                spectrum.iter_mut().zip(transformed).for_each(|(s, t)| *s = (*s * t).conj());
                forward.transform(&spectrum).iter().zip(chirp).map(|(v, c)| v.conj() * c).collect()
            }
        }
    }
}

/// Transforms every `stride`th of `values`, as many as `result` has; the product of both numbers is the length of `roots`.
fn mixed_radix(values: &[Complex64], stride: usize, result: &mut [Complex64], roots: &[Complex64]) {
    let len = result.len();
    if len <= 1 {
        result.copy_from_slice(&values[..len]);
        return;
    }
    let radix = least_prime(len);
    let part = len / radix;
    for (r, to) in result.chunks_exact_mut(part).enumerate() {
        mixed_radix(&values[r * stride..], stride * radix, to, roots);
    }
    if radix == 2 {
        // Sums and differences, so that what is exactly zero by symmetry stays so.
        let (even, odd) = result.split_at_mut(part);
        for (k, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
            let turned = if k == 0 { *odd } else { *odd * roots[k * stride] };
            (*even, *odd) = (*even + turned, *even - turned);
        }
        return;
    }
    let mut column = [Complex::default(); MAX_PRIME];
    for k in 0..part {
        for r in 0..radix {
            column[r] = result[r * part + k];
        }
        for to in (k..len).step_by(part) {
            // Root number r * to of this length is number r * to * stride of the whole.
            let mut sum = column[0];
            let mut root = 0;
            for value in &column[1..radix] {
                root += to * stride;
                root -= if root < roots.len() { 0 } else { roots.len() };
                sum += if root == 0 { *value } else { value * roots[root] };
            }
            result[to] = sum;
        }
    }
}

/// The kth power of the first root of unity, exact at quarters of a turn.
fn root(k: usize, len: usize, sign: f64) -> Complex64 {
    if !(4 * k).is_multiple_of(len) {
        return Complex::cis(sign * 2.0 * PI * k as f64 / len as f64);
    }
    match 4 * k / len {
        0 => Complex::new(1.0, 0.0),
        1 => Complex::new(0.0, sign),
        2 => Complex::new(-1.0, 0.0),
        _ => Complex::new(0.0, -sign),
    }
}

fn least_prime(len: usize) -> usize {
    (2..).take_while(|p| p * p <= len).find(|p| len.is_multiple_of(*p)).unwrap_or(len)
}

/// 0 or 1 for themselves.
fn largest_prime(mut len: usize) -> usize {
    loop {
        let least = least_prime(len);
        if least == len {
            return len;
        }
        len /= least;
    }
}

#[cfg(test)]
mod tests;
