//! Output pixels in tiles: what the dense kernels of all paths have in common.

use super::shape::Walk;

/// Calls `each(inputs, outputs, count)` for tiles of `M` output pixels: the first elements of their receptive fields and
/// of themselves. Tiles go over the ends of rows; the last one repeats its last pixel after `count` of them.
#[inline(always)]
pub(crate) fn tiles<const M: usize>(walk: &Walk, mut each: impl FnMut(&[usize; M], &[usize; M], usize)) {
    let mut left = walk.rows.len() * walk.width;
    let even =
        walk.step[0] == walk.width * walk.step[1] && walk.output_step[0] == walk.width * walk.output_step[1];
    // Rows that follow each other without a gap are one.
    let width = if even { left } else { walk.width };
    let (mut input_row, mut output_row) = (walk.origin + walk.rows.start * walk.step[0], 0);
    let (mut input, mut output, mut x) = (input_row, output_row, 0);
    let (mut inputs, mut outputs) = ([0; M], [0; M]);
    while left > 0 {
        let count = left.min(M);
        if width - x > M {
            for index in 0..M {
                (inputs[index], outputs[index]) = (input, output);
                (input, output) = (input + walk.step[1], output + walk.output_step[1]);
            }
            x += M;
        } else {
            for index in 0..M {
                if index >= count {
                    (inputs[index], outputs[index]) = (inputs[count - 1], outputs[count - 1]);
                    continue;
                }
                (inputs[index], outputs[index]) = (input, output);
                (input, output, x) = (input + walk.step[1], output + walk.output_step[1], x + 1);
                if x == width {
                    (input_row, output_row, x) =
                        (input_row + walk.step[0], output_row + walk.output_step[0], 0);
                    (input, output) = (input_row, output_row);
                }
            }
        }
        each(&inputs, &outputs, count);
        left -= count;
    }
}
