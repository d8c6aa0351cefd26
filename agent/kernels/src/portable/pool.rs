//! The greatest of a window, channel by channel.

use crate::ops::pool::PoolJob;
use crate::view::Element;

#[inline(always)]
pub(crate) fn max<T: Element + PartialOrd>(job: &PoolJob<'_, T>, out: &mut [T]) {
    let channels = job.input.image.channels;
    job.windows(|rows, columns, output| {
        let best = &mut out[output..][..channels];
        best.copy_from_slice(job.pixel(rows.start, columns.start));
        for y in rows {
            for x in columns.clone() {
                for (best, value) in best.iter_mut().zip(job.pixel(y, x)) {
                    *best = if *value > *best { *value } else { *best };
                }
            }
        }
    });
}
