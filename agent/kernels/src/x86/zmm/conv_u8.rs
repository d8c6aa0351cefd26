//! Quantised convolutions: tiles of 12 pixels by 32, 24 or 16 channels, four elements of a run at each step.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::lanes16;
use super::lookup::Lookup;
use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, blocks, tiles};

pub(super) const KERNEL: ConvU8Kernel =
    ConvU8Kernel { widths: &[32, 24, 16], group: GROUP, offset: 0, supports: |_| true, run: conv };

/// Pixels of a tile: 24 accumulators, two weights and a pixel fill the 32 registers but for five.
const PIXELS: usize = 12;
const GROUP: usize = 4;
const LANES: usize = 16;

/// A tile's sums, by pixel: 32 channels each.
#[repr(align(64))]
struct Sums(MaybeUninit<[[i32; 2 * LANES]; PIXELS]>);

/// # Safety
/// As [`ConvU8Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn conv(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let steps = walk.runs[0] * walk.runs[1] * walk.run_length.div_ceil(GROUP);
    let lookup = job.lookup_table.map(|table| Lookup::new(table));
    let mut sums = Sums(MaybeUninit::uninit());
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, width) in blocks(walk.channels, KERNEL.widths) {
            let weights = &job.weights[start * steps * GROUP..];
            debug_assert!(weights.len() >= width * steps * GROUP);
            // SAFETY: the walk lies within the input; a block has `width` weights, biases and multipliers for each
            // step, and `width` is one register of lanes, that and half a one, or two.
            unsafe {
                match width {
                    LANES => tile::<1, false>(job, inputs, weights.as_ptr(), start, &mut sums),
                    24 => tile::<1, true>(job, inputs, weights.as_ptr(), start, &mut sums),
                    _ => tile::<2, false>(job, inputs, weights.as_ptr(), start, &mut sums),
                }
            }
            for part in (0..width).step_by(LANES).take_while(|part| start + part < walk.channels) {
                let outputs = &outputs[..count];
                // SAFETY: `tile` wrote all sums of this block; the walk lies within the output.
                unsafe {
                    match &mut sink {
                        Sink::Bytes(bytes) => {
                            store_u8(job, &sums, outputs, start + part, part, &lookup, bytes)
                        }
                        Sink::Floats(floats) => store_f32(job, &sums, outputs, start + part, part, floats),
                    }
                }
            }
        }
    });
}

/// A block of `V` registers, and half a one if `HALF`: eight channels cost half of what sixteen do.
///
/// # Safety
/// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of such a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn tile<const V: usize, const HALF: bool>(
    job: &ConvU8Job<'_>,
    inputs: &[usize; PIXELS],
    mut weights: *const i8,
    start: usize,
    sums: &mut Sums,
) {
    let walk = &job.walk;
    let input = job.input.as_ptr();
    let mut sum = [[_mm512_setzero_si512(); V]; PIXELS];
    let mut half = [_mm256_setzero_si256(); PIXELS];
    // SAFETY: biases are padded to whole blocks.
    unsafe {
        let bias = job.bias.as_ptr().add(start);
        for part in 0..V {
            let bias = _mm512_loadu_si512(bias.add(part * LANES).cast());
            for sum in &mut sum {
                sum[part] = bias;
            }
        }
        if HALF {
            half = [_mm256_loadu_si256(bias.add(V * LANES).cast()); PIXELS];
        }
    }
    let last = walk.run_length - GROUP;
    for down in 0..walk.runs[0] {
        for across in 0..walk.runs[1] {
            // SAFETY: within the receptive field of pixel 0, and so for each pixel.
            let run = unsafe { input.add(down * walk.run_step[0] + across * walk.run_step[1]) };
            for step in 0..walk.run_length.div_ceil(GROUP) {
                // The last group is moved back to end with the run, as the packing has it.
                let at = (step * GROUP).min(last);
                let mut weight = [_mm512_setzero_si512(); V];
                let mut half_weight = _mm256_setzero_si256();
                // SAFETY: the registers of this step, and then to the next step's weights, or one past the last.
                unsafe {
                    for (part, weight) in weight.iter_mut().enumerate() {
                        *weight = _mm512_loadu_si512(weights.add(part * 64).cast());
                    }
                    if HALF {
                        half_weight = _mm256_loadu_si256(weights.add(V * 64).cast());
                    }
                    weights = weights.add(V * 64 + if HALF { 32 } else { 0 });
                }
                for pixel in 0..PIXELS {
                    // SAFETY: four elements of a run, of which there are at least as many.
                    unsafe {
                        if HALF {
                            let sums = (&mut sum[pixel][0], &mut half[pixel]);
                            multiply_add_half(sums, run.add(at), inputs[pixel], &(weight[0], half_weight));
                        } else {
                            multiply_add(&mut sum[pixel], run.add(at), inputs[pixel], &weight);
                        }
                    }
                }
            }
        }
    }
    // By constant indices only: an index that is not known would keep all sums in memory throughout the loop above.
    let to = sums.0.as_mut_ptr().cast::<i32>();
    for (pixel, sum) in sum.iter().enumerate() {
        // SAFETY: 32 sums for each pixel, aligned.
        unsafe {
            for (part, sum) in sum.iter().enumerate() {
                _mm512_store_si512(to.add(pixel * 2 * LANES + part * LANES).cast(), *sum);
            }
            if HALF {
                // The upper half belongs to channels that there are not.
                let half = _mm512_zextsi256_si512(half[pixel]);
                _mm512_store_si512(to.add(pixel * 2 * LANES + V * LANES).cast(), half);
            }
        }
    }
}

/// Multiplies four elements of a pixel with the weights of `V` registers.
///
/// In assembly because the compiler would load all pixels of a tile first, and has no registers for them: it then spills
/// sums in the innermost loop.
///
/// # Safety
/// There are four bytes at `run + input`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn multiply_add<const V: usize>(
    sum: &mut [__m512i; V],
    run: *const u8,
    input: usize,
    weights: &[__m512i; V],
) {
    // Named because a nameless output of this class gets a register of 8 bits.
    let bytes: __m512i;
    match (sum.as_mut_slice(), weights.as_slice()) {
        // SAFETY: reads the four bytes and nothing else.
        ([sum], [weight]) => unsafe {
            asm!(
                "vpbroadcastd {bytes}, dword ptr [{run} + {input}]",
                "vpdpbusd {sum}, {bytes}, {weight}",
                bytes = out(zmm_reg) bytes,
                run = in(reg) run,
                input = in(reg) input,
                sum = inout(zmm_reg) *sum,
                weight = in(zmm_reg) *weight,
                options(pure, readonly, nostack, preserves_flags),
            );
        },
        // SAFETY: as above.
        ([first, second], [one, two]) => unsafe {
            asm!(
                "vpbroadcastd {bytes}, dword ptr [{run} + {input}]",
                "vpdpbusd {first}, {bytes}, {one}",
                "vpdpbusd {second}, {bytes}, {two}",
                bytes = out(zmm_reg) bytes,
                run = in(reg) run,
                input = in(reg) input,
                first = inout(zmm_reg) *first,
                second = inout(zmm_reg) *second,
                one = in(zmm_reg) *one,
                two = in(zmm_reg) *two,
                options(pure, readonly, nostack, preserves_flags),
            );
        },
        _ => unreachable!("tiles have one or two registers"),
    }
    _ = bytes;
}

/// As [`multiply_add`] for a register and half a one.
///
/// # Safety
/// There are four bytes at `run + input`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn multiply_add_half(
    (first, second): (&mut __m512i, &mut __m256i),
    run: *const u8,
    input: usize,
    (one, two): &(__m512i, __m256i),
) {
    let (bytes, half): (__m512i, __m256i);
    // SAFETY: reads the four bytes and nothing else.
    unsafe {
        asm!(
            "vpbroadcastd {bytes}, dword ptr [{run} + {input}]",
            "vpdpbusd {first}, {bytes}, {one}",
            "vpbroadcastd {half}, dword ptr [{run} + {input}]",
            "vpdpbusd {second}, {half}, {two}",
            bytes = out(zmm_reg) bytes,
            half = out(ymm_reg) half,
            run = in(reg) run,
            input = in(reg) input,
            first = inout(zmm_reg) *first,
            second = inout(ymm_reg) *second,
            one = in(zmm_reg) *one,
            two = in(ymm_reg) *two,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    _ = (bytes, half);
}

/// # Safety
/// `sums` of all pixels were written, for lanes from `part` on; `outputs` lie within `bytes`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn store_u8(
    job: &ConvU8Job<'_>,
    sums: &Sums,
    outputs: &[usize],
    channel: usize,
    part: usize,
    lookup: &Option<Lookup>,
    bytes: &mut [u8],
) {
    let mask = lanes16(job.walk.channels - channel);
    let (low, high) = (_mm512_set1_ps(job.rounding.low), _mm512_set1_ps(job.rounding.high));
    let zero = _mm512_set1_epi32(job.rounding.zero);
    // SAFETY: the mask lets through the channels that there are.
    let multiplier = unsafe { _mm512_maskz_loadu_ps(mask, job.multiplier.as_ptr().add(channel)) };
    let from = sums.0.as_ptr().cast::<i32>();
    for (pixel, output) in outputs.iter().enumerate() {
        // SAFETY: 32 sums for each pixel, aligned.
        let sum = unsafe { _mm512_load_si512(from.add(pixel * 2 * LANES + part).cast()) };
        let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
        let value = _mm512_min_ps(_mm512_max_ps(value, low), high);
        let mut byte = _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(value), zero));
        if let Some(lookup) = lookup {
            byte = lookup.of16(byte);
        }
        // SAFETY: no more lanes than the pixel has channels left.
        unsafe { _mm_mask_storeu_epi8(bytes.as_mut_ptr().add(output + channel).cast(), mask, byte) };
    }
}

/// # Safety
/// As [`store_u8`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn store_f32(
    job: &ConvU8Job<'_>,
    sums: &Sums,
    outputs: &[usize],
    channel: usize,
    part: usize,
    floats: &mut [f32],
) {
    let mask = lanes16(job.walk.channels - channel);
    // SAFETY: the mask lets through the channels that there are.
    let multiplier = unsafe { _mm512_maskz_loadu_ps(mask, job.multiplier.as_ptr().add(channel)) };
    let from = sums.0.as_ptr().cast::<i32>();
    for (pixel, output) in outputs.iter().enumerate() {
        // SAFETY: 32 sums for each pixel, aligned; no more lanes are written than the pixel has channels left.
        unsafe {
            let sum = _mm512_load_si512(from.add(pixel * 2 * LANES + part).cast());
            let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
            _mm512_mask_storeu_ps(floats.as_mut_ptr().add(output + channel), mask, value);
        }
    }
}
