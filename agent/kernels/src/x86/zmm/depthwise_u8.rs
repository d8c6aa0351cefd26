//! Quantised depthwise convolutions: 32 channels at a time, four taps of each multiplied at once.
//!
//! Bytes of four rows of a column are interleaved, so that each 32-bit lane holds four taps of one channel. Squares of 3
//! and 5 with a stride of 1 or 2 keep the columns that the next pixel needs again; everything else takes [`ANY`], which
//! interleaves taps in groups of four anew for each pixel.

use std::arch::x86_64::*;

use super::lookup::Lookup;
use crate::conv::{ConvShape, DepthwiseU8Job, DepthwiseU8Kernel, Packed, Sink};

pub(super) const THREE: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "avx512 3x3",
    supports: |shape| is_square(shape, 3),
    offset: 0,
    pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, &columns(3)),
    run: square::<3, 1>,
};

pub(super) const FIVE: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "avx512 5x5",
    supports: |shape| is_square(shape, 5),
    offset: 0,
    pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, &columns(5)),
    run: square::<5, 2>,
};

pub(super) const ANY: DepthwiseU8Kernel = DepthwiseU8Kernel {
    name: "avx512 any",
    supports: |_| true,
    offset: 0,
    pack: |shape, weights, bias, multiplier| {
        let taps: Vec<Option<usize>> = (0..shape.kernel[0] * shape.kernel[1]).map(Some).collect();
        let groups: Vec<[Option<usize>; 4]> =
            taps.chunks(4).map(|taps| std::array::from_fn(|tap| taps.get(tap).copied().flatten())).collect();
        pack(shape, weights, bias, multiplier, &groups)
    },
    run: any,
};

/// Channels of a block.
const BLOCK: usize = 32;

fn is_square(shape: &ConvShape, size: usize) -> bool {
    shape.kernel == [size; 2] && shape.dilation == [1, 1] && shape.stride[1] <= 2
}

/// The taps of a square kernel by column, in groups of four rows.
fn columns(size: usize) -> Vec<[Option<usize>; 4]> {
    let group = |column: usize, first: usize| {
        std::array::from_fn(|row| (first + row < size).then_some((first + row) * size + column))
    };
    (0..size).flat_map(|column| (0..size).step_by(4).map(move |first| group(column, first))).collect()
}

/// The channel of a block that lane `lane` of register `register` holds: what interleaving makes of them.
fn channel_of(register: usize, lane: usize) -> usize {
    lane / 4 * 16 + register * 4 + lane % 4
}

/// For each block, for each group of taps, for each of four registers of eight channels, four taps.
fn pack(
    shape: &ConvShape,
    weights: &[i8],
    bias: &[i32],
    multiplier: &[f32],
    groups: &[[Option<usize>; 4]],
) -> Packed<i8, i32> {
    let (taps, channels) = (shape.kernel[0] * shape.kernel[1], shape.output_channels);
    let mut packed = Packed { weights: Vec::new(), bias: Vec::new(), multiplier: Vec::new() };
    let lanes = || (0..4).flat_map(|register| (0..8).map(move |lane| channel_of(register, lane)));
    for block in (0..channels).step_by(BLOCK) {
        for group in groups {
            for channel in lanes().map(|lane| block + lane) {
                let weight = |tap: &Option<usize>| match tap {
                    Some(tap) if channel < channels => weights[channel * taps + tap],
                    _ => 0,
                };
                packed.weights.extend(group.iter().map(weight));
            }
        }
        packed.bias.extend(lanes().map(|lane| bias.get(block + lane).copied().unwrap_or(0)));
        packed.multiplier.extend(lanes().map(|lane| multiplier.get(block + lane).copied().unwrap_or(0.0)));
    }
    packed
}

/// Four sets of lanes: the 32 channels of a block, in the order of [`channel_of`].
type Lanes = [__m256i; 4];

/// Interleaves the bytes of four runs of 32 channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
fn interleave([a, b, c, d]: [__m256i; 4]) -> Lanes {
    let (ab_low, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
    [
        _mm256_unpacklo_epi16(ab_low, cd_low),
        _mm256_unpackhi_epi16(ab_low, cd_low),
        _mm256_unpacklo_epi16(ab_high, cd_high),
        _mm256_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// One block of channels of one output row.
struct Row<'a> {
    job: &'a DepthwiseU8Job<'a>,
    /// The first tap of the first pixel.
    input: *const u8,
    /// First output element.
    output: usize,
    channel: usize,
    mask: u32,
    weights: *const i8,
    lookup: Option<Lookup>,
}

impl Row<'_> {
    /// # Safety
    /// `from` has as many bytes as the mask lets through.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn load(&self, from: *const u8) -> __m256i {
        // SAFETY: by this function's own condition.
        unsafe { _mm256_maskz_loadu_epi8(self.mask, from.cast()) }
    }

    /// A column of `K` rows in `G` groups of four.
    ///
    /// # Safety
    /// `from` is a pixel of the input, `K - 1` rows above its last.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn column<const K: usize, const G: usize>(&self, from: *const u8) -> [Lanes; G] {
        let step = self.job.walk.run_step[0];
        let mut groups = [[_mm256_setzero_si256(); 4]; G];
        for (group, lanes) in groups.iter_mut().enumerate() {
            let mut rows = [_mm256_setzero_si256(); 4];
            for (row, bytes) in rows.iter_mut().enumerate() {
                if group * 4 + row < K {
                    // SAFETY: a row of the column.
                    *bytes = unsafe { self.load(from.add((group * 4 + row) * step)) };
                }
            }
            *lanes = interleave(rows);
        }
        groups
    }

    /// # Safety
    /// There are weights of this group, of `GROUPS` of the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn weight(&self, group: usize) -> Lanes {
        // SAFETY: 128 bytes for each group.
        std::array::from_fn(|part| unsafe {
            _mm256_loadu_si256(self.weights.add(group * 128 + part * 32).cast())
        })
    }

    /// # Safety
    /// Biases are packed by blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn bias(&self) -> Lanes {
        let from = &self.job.packed.bias[self.channel..self.channel + BLOCK];
        // SAFETY: 32 biases, eight to a register.
        std::array::from_fn(|part| unsafe { _mm256_loadu_si256(from.as_ptr().add(part * 8).cast()) })
    }

    /// Writes output pixel `x`.
    ///
    /// # Safety
    /// The pixel lies within the output.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn store(&self, x: usize, sums: Lanes, sink: &mut Sink<'_>) {
        let job = self.job;
        let at = self.output + x * job.walk.output_step[1];
        let multiplier = job.packed.multiplier[self.channel..self.channel + BLOCK].as_ptr();
        let value = |part: usize| {
            // SAFETY: 32 multipliers, eight to a register.
            let multiplier = unsafe { _mm256_loadu_ps(multiplier.add(part * 8)) };
            _mm256_mul_ps(_mm256_cvtepi32_ps(sums[part]), multiplier)
        };
        let bytes = match sink {
            Sink::Bytes(bytes) => bytes,
            Sink::Floats(floats) => {
                for part in 0..4 {
                    let mut values = [0.0_f32; 8];
                    // SAFETY: eight values.
                    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), value(part)) };
                    for (lane, value) in values.into_iter().enumerate() {
                        let channel = channel_of(part, lane);
                        if self.channel + channel < job.walk.channels {
                            floats[at + channel] = value;
                        }
                    }
                }
                return;
            }
        };
        let (low, high) = (_mm256_set1_ps(job.rounding.low), _mm256_set1_ps(job.rounding.high));
        let rounded = |part| _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(value(part), low), high));
        let zero = _mm256_set1_epi16(job.rounding.zero as i16);
        let first = _mm256_add_epi16(_mm256_packs_epi32(rounded(0), rounded(1)), zero);
        let second = _mm256_add_epi16(_mm256_packs_epi32(rounded(2), rounded(3)), zero);
        let mut packed = _mm256_packus_epi16(first, second);
        if let Some(lookup) = &self.lookup {
            packed = lookup.of32(packed);
        }
        // SAFETY: no more lanes than the pixel has channels left.
        unsafe { _mm256_mask_storeu_epi8(bytes.as_mut_ptr().add(at).cast(), self.mask, packed) };
    }

    /// All pixels of the row, with a kernel of `K` by `K`, whose columns are `G` groups of rows, and a stride of `S`. Loops
    /// have constant bounds, so that columns and weights stay in registers.
    ///
    /// # Safety
    /// The walk lies within input and output; weights are `K * G` groups.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
    unsafe fn square<const K: usize, const G: usize, const S: usize>(&self, sink: &mut Sink<'_>) {
        let walk = &self.job.walk;
        let step = walk.run_step[1];
        // SAFETY: `K` columns for each pixel, by this function's own condition.
        unsafe {
            let mut weights = [[[_mm256_setzero_si256(); 4]; G]; K];
            for column in 0..K {
                for group in 0..G {
                    weights[column][group] = self.weight(column * G + group);
                }
            }
            let bias = self.bias();
            let mut window = [[[_mm256_setzero_si256(); 4]; G]; K];
            // The columns that the first pixel shares with what would be the one before it.
            for column in S..K {
                window[column] = self.column::<K, G>(self.input.add((column - S) * step));
            }
            for x in 0..walk.width {
                let input = self.input.add(x * walk.step[1]);
                for column in 0..K - S {
                    window[column] = window[column + S];
                }
                for column in K - S..K {
                    window[column] = self.column::<K, G>(input.add(column * step));
                }
                let mut sums = bias;
                for column in 0..K {
                    for group in 0..G {
                        dot(&mut sums, &window[column][group], &weights[column][group]);
                    }
                }
                self.store(x, sums, sink);
            }
        }
    }
}

/// Calls `each` for every block of every row.
///
/// # Safety
/// As [`DepthwiseU8Kernel::run`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn rows(job: &DepthwiseU8Job<'_>, groups: usize, mut each: impl FnMut(&Row<'_>)) {
    let walk = &job.walk;
    let lookup = job.lookup_table.map(|table| Lookup::new(table));
    for (index, y) in walk.rows.clone().enumerate() {
        for channel in (0..walk.channels).step_by(BLOCK) {
            let left = walk.channels - channel;
            let weights = &job.packed.weights[channel * groups * 4..][..BLOCK * groups * 4];
            each(&Row {
                job,
                input: job.input[walk.origin + y * walk.step[0] + channel..].as_ptr(),
                output: index * walk.output_step[0] + channel,
                channel,
                mask: if left >= BLOCK { u32::MAX } else { (1 << left) - 1 },
                weights: weights.as_ptr(),
                lookup,
            });
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
fn dot(sums: &mut Lanes, bytes: &Lanes, weights: &Lanes) {
    for part in 0..4 {
        sums[part] = _mm256_dpbusd_epi32(sums[part], bytes[part], weights[part]);
    }
}

/// Kernels of `K` by `K`, whose columns are `G` groups of rows.
///
/// # Safety
/// As [`DepthwiseU8Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn square<const K: usize, const G: usize>(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
    // SAFETY: by this function's own condition.
    unsafe {
        match job.stride {
            1 => rows(job, K * G, |row| row.square::<K, G, 1>(&mut sink)),
            _ => rows(job, K * G, |row| row.square::<K, G, 2>(&mut sink)),
        }
    }
}

/// Any kernel.
///
/// # Safety
/// As [`DepthwiseU8Kernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi,fma")]
unsafe fn any(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let [height, width] = walk.runs;
    let taps: Vec<usize> = (0..height * width)
        .map(|tap| tap / width * walk.run_step[0] + tap % width * walk.run_step[1])
        .collect();
    let each = |row: &Row<'_>| {
        for x in 0..walk.width {
            // SAFETY: the walk lies within input and output; `pack` made a group for each four taps. Taps that do not
            // fill the last group repeat its first, with weights of zero.
            unsafe {
                let input = row.input.add(x * walk.step[1]);
                let mut sums = row.bias();
                for (group, taps) in taps.chunks(4).enumerate() {
                    let load = |tap: usize| row.load(input.add(taps.get(tap).copied().unwrap_or(taps[0])));
                    let bytes = interleave([load(0), load(1), load(2), load(3)]);
                    dot(&mut sums, &bytes, &row.weight(group));
                }
                row.store(x, sums, &mut sink);
            }
        }
    };
    // SAFETY: by this function's own condition.
    unsafe { rows(job, taps.len().div_ceil(4), each) };
}
