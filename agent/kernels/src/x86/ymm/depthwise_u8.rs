//! Quantised depthwise convolutions: 16 channels at a time, four taps of each multiplied at once. The last block of
//! channels is moved back to end with the last channel, so what both blocks hold is computed twice and no byte is read
//! beyond a pixel; pixels of fewer channels than a block go through a copy.

use crate::conv::{ConvShape, Packed};

/// Channels of a block.
pub(super) const BLOCK: usize = 16;

pub(super) fn is_square(shape: &ConvShape, size: usize) -> bool {
    shape.kernel == [size; 2] && shape.dilation == [1, 1] && shape.stride[1] <= 2
}

/// First channels of the blocks.
pub(super) fn starts(channels: usize) -> impl Iterator<Item = usize> {
    (0..channels.div_ceil(BLOCK)).map(move |block| (block * BLOCK).min(channels.saturating_sub(BLOCK)))
}

/// The taps of a square kernel by column, in groups of four rows.
pub(super) fn columns(size: usize) -> Vec<[Option<usize>; 4]> {
    let group = |column: usize, first: usize| {
        std::array::from_fn(|row| (first + row < size).then_some((first + row) * size + column))
    };
    (0..size).flat_map(|column| (0..size).step_by(4).map(move |first| group(column, first))).collect()
}

/// All taps along rows, in groups of four.
pub(super) fn in_order(shape: &ConvShape) -> Vec<[Option<usize>; 4]> {
    let taps = shape.kernel[0] * shape.kernel[1];
    (0..taps)
        .step_by(4)
        .map(|first| std::array::from_fn(|tap| (first + tap < taps).then_some(first + tap)))
        .collect()
}

/// For each block, for each group of taps, for each of 16 channels, four taps.
pub(super) fn pack(
    shape: &ConvShape,
    weights: &[i8],
    bias: &[i32],
    multiplier: &[f32],
    groups: &[[Option<usize>; 4]],
) -> Packed<i8, i32> {
    let (taps, channels) = (shape.kernel[0] * shape.kernel[1], shape.output_channels);
    let mut packed = Packed { weights: Vec::new(), bias: Vec::new(), multiplier: Vec::new() };
    for start in starts(channels) {
        for group in groups {
            for channel in start..start + BLOCK {
                let weight = |tap: &Option<usize>| match tap {
                    Some(tap) if channel < channels => weights[channel * taps + tap],
                    _ => 0,
                };
                packed.weights.extend(group.iter().map(weight));
            }
        }
        let block = start..start + BLOCK;
        packed.bias.extend(block.clone().map(|channel| bias.get(channel).copied().unwrap_or(0)));
        packed.multiplier.extend(block.map(|channel| multiplier.get(channel).copied().unwrap_or(0.0)));
    }
    packed
}

/// Compiles the kernels for some features and a way to multiply. Follows [`super::conv_u8::kernel`] in a module.
macro_rules! kernels {
    ($features:literal, $dot:ident) => {
        use super::depthwise_u8::{BLOCK, columns, in_order, is_square, pack, starts};
        use crate::conv::{DepthwiseU8Job, DepthwiseU8Kernel};

        pub(super) const THREE: DepthwiseU8Kernel = DepthwiseU8Kernel {
            name: concat!(stringify!($dot), " 3x3"),
            supports: |shape| is_square(shape, 3),
            offset: 0,
            pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, &columns(3)),
            run: square::<3, 1>,
        };

        pub(super) const FIVE: DepthwiseU8Kernel = DepthwiseU8Kernel {
            name: concat!(stringify!($dot), " 5x5"),
            supports: |shape| is_square(shape, 5),
            offset: 0,
            pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, &columns(5)),
            run: square::<5, 2>,
        };

        pub(super) const ANY: DepthwiseU8Kernel = DepthwiseU8Kernel {
            name: concat!(stringify!($dot), " any"),
            supports: |_| true,
            offset: 0,
            pack: |shape, weights, bias, multiplier| pack(shape, weights, bias, multiplier, &in_order(shape)),
            run: any,
        };

        /// The 16 channels of a block, four taps each, in order.
        type Taps = [__m256i; 2];

        /// Interleaves the bytes of four runs of 16 channels.
        #[inline]
        #[target_feature(enable = $features)]
        fn interleave([a, b, c, d]: [__m128i; 4]) -> Taps {
            let (ab_low, ab_high) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
            let (cd_low, cd_high) = (_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d));
            [
                _mm256_set_m128i(_mm_unpackhi_epi16(ab_low, cd_low), _mm_unpacklo_epi16(ab_low, cd_low)),
                _mm256_set_m128i(_mm_unpackhi_epi16(ab_high, cd_high), _mm_unpacklo_epi16(ab_high, cd_high)),
            ]
        }

        /// One block of channels of one output row.
        struct Row<'a> {
            job: &'a DepthwiseU8Job<'a>,
            /// The first tap of the first pixel.
            input: *const u8,
            /// First output element.
            output: usize,
            /// Channels of the block that exist.
            channels: usize,
            weights: *const i8,
            bias: *const i32,
            multiplier: *const f32,
        }

        impl Row<'_> {
            /// # Safety
            /// `from` has as many bytes as the block has channels.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn load<const FULL: bool>(&self, from: *const u8) -> __m128i {
                // SAFETY: by this function's own condition.
                unsafe {
                    match if FULL { BLOCK } else { self.channels } {
                        16 => _mm_loadu_si128(from.cast()),
                        8 => _mm_loadl_epi64(from.cast()),
                        count => {
                            let mut buffer = [0_u8; 16];
                            std::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr(), count);
                            _mm_loadu_si128(buffer.as_ptr().cast())
                        }
                    }
                }
            }

            /// A column of `K` rows in `G` groups of four.
            ///
            /// # Safety
            /// `from` is a pixel of the input, `K - 1` rows above its last.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn column<const K: usize, const G: usize, const FULL: bool>(
                &self,
                from: *const u8,
            ) -> [Taps; G] {
                let step = self.job.walk.run_step[0];
                let mut groups = [[_mm256_setzero_si256(); 2]; G];
                for (group, taps) in groups.iter_mut().enumerate() {
                    let mut rows = [_mm_setzero_si128(); 4];
                    for (row, bytes) in rows.iter_mut().enumerate() {
                        if group * 4 + row < K {
                            // SAFETY: a row of the column.
                            *bytes = unsafe { self.load::<FULL>(from.add((group * 4 + row) * step)) };
                        }
                    }
                    *taps = interleave(rows);
                }
                groups
            }

            /// Adds the products of a group of taps.
            ///
            /// # Safety
            /// There are weights of this group.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn add(&self, sums: &mut Taps, taps: &Taps, group: usize) {
                for part in 0..2 {
                    let at = group * 64 + part * 32;
                    // SAFETY: 64 bytes for each group.
                    let weights = unsafe { _mm256_loadu_si256(self.weights.add(at).cast()) };
                    sums[part] = way::dot(sums[part], way::bytes(taps[part]), way::weights(weights));
                }
            }

            /// # Safety
            /// Biases are packed by blocks.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn bias(&self) -> Taps {
                // SAFETY: 16 biases.
                unsafe {
                    [_mm256_loadu_si256(self.bias.cast()), _mm256_loadu_si256(self.bias.add(LANES).cast())]
                }
            }

            /// Writes output pixel `x`.
            ///
            /// # Safety
            /// The pixel lies within the output.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn store<const FULL: bool>(&self, x: usize, sums: Taps, sink: &mut Sink<'_>) {
                let job = self.job;
                let at = self.output + x * job.walk.output_step[1];
                let value = |part: usize| {
                    // SAFETY: 16 multipliers.
                    let multiplier = unsafe { _mm256_loadu_ps(self.multiplier.add(part * LANES)) };
                    _mm256_mul_ps(_mm256_cvtepi32_ps(sums[part]), multiplier)
                };
                match sink {
                    Sink::Floats(floats) => {
                        for part in (0..2).take_while(|part| part * LANES < self.channels) {
                            let mask = lanes8(self.channels - part * LANES);
                            // SAFETY: no more lanes than the block has channels.
                            unsafe {
                                let to = floats.as_mut_ptr().add(at + part * LANES);
                                _mm256_maskstore_ps(to, mask, value(part));
                            }
                        }
                    }
                    Sink::Bytes(bytes) => {
                        let (low, high) =
                            (_mm256_set1_ps(job.rounding.low), _mm256_set1_ps(job.rounding.high));
                        let zero = _mm256_set1_epi16(job.rounding.zero as i16);
                        let rounded =
                            |part| _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(value(part), low), high));
                        let words = _mm256_add_epi16(_mm256_packs_epi32(rounded(0), rounded(1)), zero);
                        // Packing takes halves of both registers in turn.
                        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                        let halves = (_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                        let packed = _mm_packus_epi16(halves.0, halves.1);
                        let to = &mut bytes[at..at + if FULL { BLOCK } else { self.channels }];
                        // SAFETY: exactly as many bytes as are stored.
                        unsafe {
                            match to.len() {
                                16 => _mm_storeu_si128(to.as_mut_ptr().cast(), packed),
                                8 => _mm_storel_epi64(to.as_mut_ptr().cast(), packed),
                                count => {
                                    let mut buffer = [0_u8; 16];
                                    _mm_storeu_si128(buffer.as_mut_ptr().cast(), packed);
                                    to.copy_from_slice(&buffer[..count]);
                                }
                            }
                        }
                    }
                }
            }

            /// All pixels of the row, with a kernel of `K` by `K`, whose columns are `G` groups of rows, and a stride of
            /// `S`. Loops have constant bounds, so that columns stay in registers.
            ///
            /// # Safety
            /// The walk lies within input and output; weights are `K * G` groups; `FULL` says that the block has all of
            /// its channels.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn square<const K: usize, const G: usize, const S: usize, const FULL: bool>(
                &self,
                sink: &mut Sink<'_>,
            ) {
                let walk = &self.job.walk;
                let step = walk.run_step[1];
                // SAFETY: `K` columns for each pixel, by this function's own condition.
                unsafe {
                    let bias = self.bias();
                    let mut window = [[[_mm256_setzero_si256(); 2]; G]; K];
                    // The columns that the first pixel shares with what would be the one before it.
                    for column in S..K {
                        window[column] = self.column::<K, G, FULL>(self.input.add((column - S) * step));
                    }
                    for x in 0..walk.width {
                        let input = self.input.add(x * walk.step[1]);
                        for column in 0..K - S {
                            window[column] = window[column + S];
                        }
                        for column in K - S..K {
                            window[column] = self.column::<K, G, FULL>(input.add(column * step));
                        }
                        let mut sums = bias;
                        for column in 0..K {
                            for group in 0..G {
                                self.add(&mut sums, &window[column][group], column * G + group);
                            }
                        }
                        self.store::<FULL>(x, sums, sink);
                    }
                }
            }
        }

        /// Calls `each` for every block of every row.
        ///
        /// # Safety
        /// As [`DepthwiseU8Kernel::run`].
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn rows(
            job: &DepthwiseU8Job<'_>,
            groups: usize,
            sink: &mut Sink<'_>,
            mut each: impl FnMut(&Row<'_>, &mut Sink<'_>),
        ) {
            let walk = &job.walk;
            for (index, y) in walk.rows.clone().enumerate() {
                for (block, channel) in starts(walk.channels).enumerate() {
                    let row = Row {
                        job,
                        input: job.input[walk.origin + y * walk.step[0] + channel..].as_ptr(),
                        output: index * walk.output_step[0] + channel,
                        channels: walk.channels.min(BLOCK),
                        weights: job.packed.weights[block * BLOCK * groups * 4..][..BLOCK * groups * 4]
                            .as_ptr(),
                        bias: job.packed.bias[block * BLOCK..][..BLOCK].as_ptr(),
                        multiplier: job.packed.multiplier[block * BLOCK..][..BLOCK].as_ptr(),
                    };
                    each(&row, sink);
                }
                job.finish_row(index * walk.output_step[0], sink, lookup_in_place);
            }
        }

        /// Kernels of `K` by `K`, whose columns are `G` groups of rows.
        ///
        /// # Safety
        /// As [`DepthwiseU8Kernel::run`].
        #[target_feature(enable = $features)]
        unsafe fn square<const K: usize, const G: usize>(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
            // SAFETY: by this function's own condition.
            unsafe {
                match (job.stride, job.walk.channels >= BLOCK) {
                    (1, true) => rows(job, K * G, &mut sink, |row, sink| row.square::<K, G, 1, true>(sink)),
                    (1, false) => rows(job, K * G, &mut sink, |row, sink| row.square::<K, G, 1, false>(sink)),
                    (_, true) => rows(job, K * G, &mut sink, |row, sink| row.square::<K, G, 2, true>(sink)),
                    (_, false) => rows(job, K * G, &mut sink, |row, sink| row.square::<K, G, 2, false>(sink)),
                }
            }
        }

        /// Any kernel.
        ///
        /// # Safety
        /// As [`DepthwiseU8Kernel::run`].
        #[target_feature(enable = $features)]
        unsafe fn any(job: &DepthwiseU8Job<'_>, mut sink: Sink<'_>) {
            let walk = &job.walk;
            let [height, width] = walk.runs;
            let taps: Vec<usize> = (0..height * width)
                .map(|tap| tap / width * walk.run_step[0] + tap % width * walk.run_step[1])
                .collect();
            let each = |row: &Row<'_>, sink: &mut Sink<'_>| {
                for x in 0..walk.width {
                    // SAFETY: the walk lies within input and output; `pack` made a group for each four taps. Taps that
                    // do not fill the last group repeat its first, with weights of zero.
                    unsafe {
                        let input = row.input.add(x * walk.step[1]);
                        let mut sums = row.bias();
                        for (group, taps) in taps.chunks(4).enumerate() {
                            let load = |tap: usize| {
                                row.load::<false>(input.add(taps.get(tap).copied().unwrap_or(taps[0])))
                            };
                            let taps = interleave([load(0), load(1), load(2), load(3)]);
                            row.add(&mut sums, &taps, group);
                        }
                        row.store::<false>(x, sums, sink);
                    }
                }
            };
            // SAFETY: by this function's own condition.
            unsafe { rows(job, taps.len().div_ceil(4), &mut sink, each) };
        }
    };
}
pub(super) use kernels;
