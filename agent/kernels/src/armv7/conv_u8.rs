//! Quantised convolutions: tiles of 4 pixels by 8 channels, pairs of elements of a run.

use super::asm::{Bounds, aimass_armv7_requantise, aimass_armv7_run_u8};
use crate::conv::{ConvU8Job, ConvU8Kernel, Sink, blocks, tiles};
use crate::quant::{ROUND, Rounding};

/// Two products of -128 with -128 would overflow 16 bits: such weights take portable code.
pub(super) const KERNEL: ConvU8Kernel = ConvU8Kernel {
    widths: &[CHANNELS],
    group: 2,
    offset: 128,
    supports: |weights| !weights.contains(&i8::MIN),
    run: conv,
};

const PIXELS: usize = 4;
const CHANNELS: usize = 8;

impl Bounds {
    pub(super) fn new(rounding: &Rounding) -> Self {
        let offset = (ROUND.to_bits() as i32).wrapping_sub(rounding.zero);
        Self { low: rounding.low, high: rounding.high, round: ROUND, offset }
    }
}

/// # Safety
/// As [`ConvU8Kernel::run`].
unsafe fn conv(job: &ConvU8Job<'_>, mut sink: Sink<'_>) {
    let walk = &job.walk;
    let length = walk.run_length;
    let groups = length.div_ceil(2);
    let steps = walk.runs[0] * walk.runs[1] * groups;
    let bounds = Bounds::new(&job.rounding);
    tiles::<PIXELS>(walk, |inputs, outputs, count| {
        for (start, _) in blocks(walk.channels, KERNEL.widths) {
            let bias: [i32; CHANNELS] = std::array::from_fn(|channel| job.bias[start + channel]);
            let mut sums = [bias; PIXELS];
            let mut weights = job.weights[start * steps * 2..].as_ptr();
            debug_assert!(job.weights.len() >= (start + CHANNELS) * steps * 2);
            for down in 0..walk.runs[0] {
                for across in 0..walk.runs[1] {
                    let at = down * walk.run_step[0] + across * walk.run_step[1];
                    // SAFETY: runs of the receptive fields lie within the input; a block has 16 weights for each group.
                    // The last group is moved back to end with the run, as the packing has it.
                    unsafe {
                        let run = inputs.map(|input| job.input.as_ptr().add(input + at));
                        aimass_armv7_run_u8(&raw const run, weights, length & !1, &raw mut sums);
                        if length % 2 == 1 {
                            let last = run.map(|run| run.add(length - 2));
                            aimass_armv7_run_u8(
                                &raw const last,
                                weights.add((groups - 1) * 16),
                                2,
                                &raw mut sums,
                            );
                        }
                        weights = weights.add(groups * 16);
                    }
                }
            }
            let left = (walk.channels - start).min(CHANNELS);
            let multiplier = &job.multiplier[start..start + CHANNELS];
            for (sums, output) in sums[..count].iter().zip(outputs) {
                store(sums, multiplier, &bounds, left, output + start, job.lookup_table, &mut sink);
            }
        }
    });
}

/// Writes the first `count` (at most 8) of eight sums at element `at`.
pub(super) fn store(
    sums: &[i32; CHANNELS],
    multiplier: &[f32],
    bounds: &Bounds,
    count: usize,
    at: usize,
    table: Option<&[u8; 256]>,
    sink: &mut Sink<'_>,
) {
    match sink {
        Sink::Bytes(bytes) => {
            let mut packed = [0_u8; CHANNELS];
            assert!(multiplier.len() >= CHANNELS);
            // SAFETY: eight sums, multipliers and bytes.
            unsafe { aimass_armv7_requantise(sums, multiplier.as_ptr(), bounds, packed.as_mut_ptr()) };
            if let Some(table) = table {
                packed = packed.map(|byte| table[usize::from(byte)]);
            }
            bytes[at..at + count].copy_from_slice(&packed[..count]);
        }
        Sink::Floats(floats) => {
            for ((to, sum), multiplier) in floats[at..at + count].iter_mut().zip(sums).zip(multiplier) {
                *to = *sum as f32 * multiplier;
            }
        }
    }
}
