//! Quantised convolutions: tiles of some pixels by 16 channels, four elements of a run at each step.

/// Compiles the kernel for some features and a way to multiply.
macro_rules! kernel {
    ($features:literal, $dot:ident) => {
        use std::arch::x86_64::*;
        use std::mem::MaybeUninit;

        use super::dot::$dot as way;
        use super::{LANES, lanes8};
        use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, blocks, tiles};
        use crate::portable::rows::lookup_in_place;

        pub(super) const CONV: ConvU8Kernel =
            ConvU8Kernel { widths: &[16, 8], group: 4, offset: 0, supports: |_| true, run: conv };

        const PIXELS: usize = way::PIXELS;

        /// A tile's sums, by pixel: 16 channels each.
        #[repr(align(32))]
        struct Sums(MaybeUninit<[[i32; 2 * LANES]; PIXELS]>);

        /// # Safety
        /// As [`ConvU8Kernel::run`].
        #[target_feature(enable = $features)]
        unsafe fn conv(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
            let walk = &job.walk;
            let steps = walk.runs[0] * walk.runs[1] * walk.run_length.div_ceil(4);
            let mut sums = Sums(MaybeUninit::uninit());
            tiles::<PIXELS>(walk, |inputs, outputs, count| {
                for (start, width) in blocks(walk.channels, CONV.widths) {
                    let weights = &job.weights[start * steps * 4..];
                    debug_assert!(weights.len() >= width * steps * 4);
                    let outputs = &outputs[..count];
                    // SAFETY: the walk lies within input and output; a block has `width` weights, biases and
                    // multipliers for each step, and `width` is one or two registers of lanes; `tile` writes the sums
                    // that `store` reads.
                    unsafe {
                        match width {
                            LANES => {
                                tile::<1>(job, inputs, weights.as_ptr(), start, &mut sums);
                                store::<1>(job, &sums, outputs, start, &mut sink);
                            }
                            _ => {
                                tile::<2>(job, inputs, weights.as_ptr(), start, &mut sums);
                                store::<2>(job, &sums, outputs, start, &mut sink);
                            }
                        }
                    }
                }
                if let (Some(table), Sink::Bytes(bytes)) = (job.lookup_table, &mut sink) {
                    for output in &outputs[..count] {
                        lookup_in_place(&mut bytes[*output..][..walk.channels], table);
                    }
                }
            });
        }

        /// # Safety
        /// The receptive fields at `inputs` lie within the input; `weights`, biases from `start` on are those of a block
        /// of `V` registers.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn tile<const V: usize>(
            job: &ConvU8Job<'_>,
            inputs: &[usize; PIXELS],
            mut weights: *const i8,
            start: usize,
            sums: &mut Sums,
        ) {
            let walk = &job.walk;
            let input = job.input.as_ptr();
            let mut sum = [[_mm256_setzero_si256(); V]; PIXELS];
            for part in 0..V {
                // SAFETY: biases are padded to whole blocks.
                let bias = unsafe { _mm256_loadu_si256(job.bias.as_ptr().add(start + part * LANES).cast()) };
                for sum in &mut sum {
                    sum[part] = bias;
                }
            }
            let last = walk.run_length - 4;
            for down in 0..walk.runs[0] {
                for across in 0..walk.runs[1] {
                    // SAFETY: within the receptive field of pixel 0, and so for each pixel.
                    let run = unsafe { input.add(down * walk.run_step[0] + across * walk.run_step[1]) };
                    for step in 0..walk.run_length.div_ceil(4) {
                        // The last group is moved back to end with the run, as the packing has it.
                        let at = (step * 4).min(last);
                        // SAFETY: `V` registers for each step.
                        let weight: [way::Operand; V] = std::array::from_fn(|part| unsafe {
                            way::weights(_mm256_loadu_si256(weights.add(part * 32).cast()))
                        });
                        for pixel in 0..PIXELS {
                            // SAFETY: four elements of a run, of which there are at least as many.
                            let bytes = unsafe { run.add(inputs[pixel] + at).cast::<i32>().read_unaligned() };
                            let bytes = way::bytes(_mm256_set1_epi32(bytes));
                            for part in 0..V {
                                sum[pixel][part] = way::dot(sum[pixel][part], bytes, weight[part]);
                            }
                        }
                        // SAFETY: to the next step's weights, or one past the last.
                        weights = unsafe { weights.add(V * 32) };
                    }
                }
            }
            // By constant indices only, so that the sums stay in registers throughout the loop above.
            let to = sums.0.as_mut_ptr().cast::<i32>();
            for (pixel, sum) in sum.iter().enumerate() {
                for (part, sum) in sum.iter().enumerate() {
                    // SAFETY: 16 sums for each pixel, aligned.
                    unsafe { _mm256_store_si256(to.add(pixel * 2 * LANES + part * LANES).cast(), *sum) };
                }
            }
        }

        /// # Safety
        /// `sums` of all pixels were written for `V` registers; `outputs` lie within the sink.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn store<const V: usize>(
            job: &ConvU8Job<'_>,
            sums: &Sums,
            outputs: &[usize],
            start: usize,
            sink: &mut Sink<'_>,
        ) {
            let left = job.walk.channels - start;
            let (low, high) = (_mm256_set1_ps(job.rounding.low), _mm256_set1_ps(job.rounding.high));
            let zero = _mm_set1_epi16(job.rounding.zero as i16);
            let from = sums.0.as_ptr().cast::<i32>();
            let value = |pixel: usize, part: usize| {
                // SAFETY: 16 sums for each pixel, aligned; multipliers are padded to whole blocks.
                unsafe {
                    let sum = _mm256_load_si256(from.add(pixel * 2 * LANES + part * LANES).cast());
                    let multiplier = _mm256_loadu_ps(job.multiplier.as_ptr().add(start + part * LANES));
                    _mm256_mul_ps(_mm256_cvtepi32_ps(sum), multiplier)
                }
            };
            match sink {
                Sink::Floats(floats) => {
                    for (pixel, output) in outputs.iter().enumerate() {
                        for part in (0..V).take_while(|part| part * LANES < left) {
                            let mask = lanes8(left - part * LANES);
                            // SAFETY: no more lanes than the pixel has channels left.
                            unsafe {
                                let to = floats.as_mut_ptr().add(output + start + part * LANES);
                                _mm256_maskstore_ps(to, mask, value(pixel, part));
                            }
                        }
                    }
                }
                Sink::Bytes(bytes) => {
                    for (pixel, output) in outputs.iter().enumerate() {
                        let words = |part: usize| {
                            let value = _mm256_min_ps(_mm256_max_ps(value(pixel, part), low), high);
                            let rounded = _mm256_cvtps_epi32(value);
                            let halves =
                                (_mm256_castsi256_si128(rounded), _mm256_extracti128_si256::<1>(rounded));
                            _mm_add_epi16(_mm_packs_epi32(halves.0, halves.1), zero)
                        };
                        let first = words(0);
                        let packed = _mm_packus_epi16(first, if V == 2 { words(1) } else { first });
                        let to = &mut bytes[output + start..][..left.min(V * LANES)];
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
        }
    };
}
pub(super) use kernel;
