//! Bilinear interpolation of one output row.

use crate::ops::resize::ResizeJob;

/// Values of images that are interpolated as f32.
pub(crate) trait Sample: Copy {
    fn sample(self) -> f32;
}

impl Sample for u8 {
    #[inline(always)]
    fn sample(self) -> f32 {
        f32::from(self)
    }
}

impl Sample for f32 {
    #[inline(always)]
    fn sample(self) -> f32 {
        self
    }
}

/// `out` is one dense row.
#[inline(always)]
pub(crate) fn bilinear<T: Sample>(job: &ResizeJob<'_, T>, out: &mut [f32]) {
    let channels = job.channels;
    for (x, out) in out.chunks_exact_mut(channels).enumerate() {
        let (left, right, across) = job.columns.tap(x);
        let (left, right) = (left * job.pixel_stride, right * job.pixel_stride);
        let upper = job.upper[left..][..channels].iter().zip(&job.upper[right..][..channels]);
        let lower = job.lower[left..][..channels].iter().zip(&job.lower[right..][..channels]);
        for ((out, (a, b)), (c, d)) in out.iter_mut().zip(upper).zip(lower) {
            let upper = a.sample() + (b.sample() - a.sample()) * across;
            let lower = c.sample() + (d.sample() - c.sample()) * across;
            *out = upper + (lower - upper) * job.down;
        }
    }
}
