//! The greatest of a window, channel by channel.

use std::ops::Range;

use crate::ops::pool::PoolJob;
use crate::view::Element;

/// Channels whose greatest stay in registers throughout a window.
const LANES: usize = 16;

#[inline(always)]
pub(crate) fn max<T: Element + PartialOrd>(job: &PoolJob<'_, T>, out: &mut [T]) {
    let channels = job.input.image.channels;
    job.windows(|rows, columns, output| {
        let (whole, rest) = out[output..][..channels].as_chunks_mut::<LANES>();
        let first = whole.len() * LANES;
        for (n, to) in whole.iter_mut().enumerate() {
            let mut best = [T::default(); LANES];
            best.copy_from_slice(&job.pixel(rows.start, columns.start)[n * LANES..][..LANES]);
            greatest(job, &rows, &columns, n * LANES, &mut best);
            *to = best;
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&job.pixel(rows.start, columns.start)[first..]);
            greatest(job, &rows, &columns, first, rest);
        }
    });
}

/// The greatest of a window and `best`, for as many channels from `first` on.
#[inline(always)]
fn greatest<T: Element + PartialOrd>(
    job: &PoolJob<'_, T>,
    rows: &Range<usize>,
    columns: &Range<usize>,
    first: usize,
    best: &mut [T],
) {
    for y in rows.clone() {
        for x in columns.clone() {
            let values = &job.pixel(y, x)[first..][..best.len()];
            for (best, value) in best.iter_mut().zip(values) {
                *best = if *value > *best { *value } else { *best };
            }
        }
    }
}
