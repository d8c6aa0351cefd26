//! The size that is delivered, and plain pixel conversions for sources that GStreamer does not serve: stills and
//! cameras on the board.
//!
//! Owner: none, pure. Invariant: planes in, planes out; sizes are checked by the caller once, not per pixel.

/// The size that is delivered: shrunk only where it saves a quarter or more of a side; aspect kept, sides even.
pub(crate) fn delivered_size(width: u32, height: u32, max_side: u32) -> (u32, u32) {
    let longest = width.max(height);
    if max_side == 0 || u64::from(longest) * 4 <= u64::from(max_side) * 5 {
        return (width, height);
    }
    let side = |side: u32| {
        let exact = f64::from(side) * f64::from(max_side) / f64::from(longest);
        ((exact / 2.0).round() as u32 * 2).max(2)
    };
    (side(width), side(height))
}

/// Full-range BT.601, as JPEG has it, in 1/65536.
const fn luma(rgb: &[u8]) -> u8 {
    ((rgb[0] as u32 * 19_595 + rgb[1] as u32 * 38_470 + rgb[2] as u32 * 7_471 + 32_768) >> 16) as u8
}

/// Tightly packed RGB to full-range BT.601 I420. Chroma is the mean of its up to 4 pixels.
///
/// # Panics
/// If a plane is shorter than the size asks for.
pub(crate) fn rgb_to_i420(rgb: &[u8], width: usize, height: usize, planes: &mut [&mut [u8]]) {
    let [y_plane, u_plane, v_plane] = planes else { panic!("I420 has three planes") };
    for (y, row) in y_plane.chunks_exact_mut(width).enumerate().take(height) {
        for (out, pixel) in row.iter_mut().zip(rgb[y * width * 3..].chunks_exact(3)) {
            *out = luma(pixel);
        }
    }
    let chroma_width = width.div_ceil(2);
    for cy in 0..height.div_ceil(2) {
        let upper = &rgb[cy * 2 * width * 3..][..width * 3];
        let lower = &rgb[(cy * 2 + 1).min(height - 1) * width * 3..][..width * 3];
        for cx in 0..chroma_width {
            let (left, right) = (cx * 6, (cx * 2 + 1).min(width - 1) * 3);
            let sum = |c: usize| {
                [upper[left + c], upper[right + c], lower[left + c], lower[right + c]]
                    .map(i32::from)
                    .iter()
                    .sum()
            };
            let (r, g, b): (i32, i32, i32) = (sum(0), sum(1), sum(2));
            // The sums are of 4 pixels, hence 18 bits of shift instead of 16.
            let u = (-11_059 * r - 21_709 * g + 32_768 * b + (1 << 17)) >> 18;
            let v = (32_768 * r - 27_439 * g - 5_329 * b + (1 << 17)) >> 18;
            u_plane[cy * chroma_width + cx] = (u + 128).clamp(0, 255) as u8;
            v_plane[cy * chroma_width + cx] = (v + 128).clamp(0, 255) as u8;
        }
    }
}

/// Luma and both chromas of each pixel, as a JPEG decoder gives them, to I420. Chroma is the mean of its up to 4 pixels.
///
/// # Panics
/// If a plane is shorter than the size asks for.
#[cfg_attr(not(feature = "v4l2"), allow(dead_code))]
pub(crate) fn ycbcr_to_i420(pixels: &[u8], width: usize, height: usize, planes: &mut [&mut [u8]]) {
    let [y_plane, u_plane, v_plane] = planes else { panic!("I420 has three planes") };
    for (out, row) in y_plane.chunks_exact_mut(width).zip(pixels.chunks_exact(width * 3)).take(height) {
        for (luma, pixel) in out.iter_mut().zip(row.chunks_exact(3)) {
            *luma = pixel[0];
        }
    }
    let half = width.div_ceil(2);
    for cy in 0..height.div_ceil(2) {
        let upper = &pixels[cy * 2 * width * 3..][..width * 3];
        let lower = &pixels[(cy * 2 + 1).min(height - 1) * width * 3..][..width * 3];
        let (u_row, v_row) = (&mut u_plane[cy * half..][..half], &mut v_plane[cy * half..][..half]);
        // The last pair of an odd width is one pixel: taken twice.
        for (((u, v), a), b) in
            u_row.iter_mut().zip(v_row.iter_mut()).zip(upper.chunks(6)).zip(lower.chunks(6))
        {
            let mean = |c: usize| {
                let right = if a.len() == 6 { c + 3 } else { c };
                let sum = [a[c], a[right], b[c], b[right]].into_iter().map(u16::from).sum::<u16>();
                ((sum + 2) / 4) as u8
            };
            (*u, *v) = (mean(1), mean(2));
        }
    }
}

/// YUYV (4:2:2, two pixels in four bytes) to I420. Chroma of two rows is averaged. The width must be even; rows begin
/// `stride` bytes after each other.
///
/// # Panics
/// If a plane is shorter than the size asks for.
#[cfg_attr(not(feature = "v4l2"), allow(dead_code))]
pub(crate) fn yuyv_to_i420(
    yuyv: &[u8],
    stride: usize,
    width: usize,
    height: usize,
    planes: &mut [&mut [u8]],
) {
    let [y_plane, u_plane, v_plane] = planes else { panic!("I420 has three planes") };
    for (out, row) in y_plane.chunks_exact_mut(width).zip(yuyv.chunks(stride)).take(height) {
        for (pair, four) in out.chunks_exact_mut(2).zip(row.chunks_exact(4)) {
            pair.copy_from_slice(&[four[0], four[2]]);
        }
    }
    let half = width / 2;
    for cy in 0..height.div_ceil(2) {
        let upper = &yuyv[cy * 2 * stride..][..width * 2];
        let lower = &yuyv[(cy * 2 + 1).min(height - 1) * stride..][..width * 2];
        let (u_row, v_row) = (&mut u_plane[cy * half..][..half], &mut v_plane[cy * half..][..half]);
        for (((u, v), a), b) in
            u_row.iter_mut().zip(v_row.iter_mut()).zip(upper.chunks_exact(4)).zip(lower.chunks_exact(4))
        {
            *u = (u16::from(a[1]) + u16::from(b[1])).div_ceil(2) as u8;
            *v = (u16::from(a[3]) + u16::from(b[3])).div_ceil(2) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn i420_of(rgb: &[u8], w: usize, h: usize) -> [Vec<u8>; 3] {
        let c = w.div_ceil(2) * h.div_ceil(2);
        let mut planes = [vec![0; w * h], vec![0; c], vec![0; c]];
        let [y, u, v] = &mut planes;
        rgb_to_i420(rgb, w, h, &mut [y, u, v]);
        planes
    }

    #[test]
    fn pure_colours_have_the_values_of_the_jpeg_standard() {
        for (rgb, want) in [
            ([255, 255, 255], [255, 128, 128]),
            ([0, 0, 0], [0, 128, 128]),
            ([255, 0, 0], [76, 85, 255]),
            ([0, 255, 0], [150, 44, 21]),
            ([0, 0, 255], [29, 255, 107]),
        ] {
            let planes = i420_of(&rgb.repeat(15), 5, 3);
            for (plane, value) in planes.iter().zip(want) {
                assert!(plane.iter().all(|&p| p.abs_diff(value) <= 1), "{rgb:?}: {plane:?} for {value}");
            }
        }
    }

    #[test]
    fn yuyv_keeps_luma_and_averages_the_chroma_of_two_rows() {
        let yuyv = [1, 100, 2, 200, 3, 100, 4, 200, 5, 110, 6, 220, 7, 110, 8, 220];
        let (mut y, mut u, mut v) = ([0; 8], [0; 2], [0; 2]);
        yuyv_to_i420(&yuyv, 8, 4, 2, &mut [&mut y, &mut u, &mut v]);
        assert_eq!((y, u, v), ([1, 2, 3, 4, 5, 6, 7, 8], [105; 2], [210; 2]));
        let padded = [&yuyv[..8], &[0; 4], &yuyv[8..]].concat();
        yuyv_to_i420(&padded, 12, 4, 2, &mut [&mut y, &mut u, &mut v]);
        assert_eq!((y, u, v), ([1, 2, 3, 4, 5, 6, 7, 8], [105; 2], [210; 2]));
    }

    #[test]
    fn luma_and_chroma_side_by_side_become_planes_also_for_odd_sizes() {
        let pixel = |n: u8| [n, 10 * n, 200 - n];
        let pixels: Vec<u8> = (1..=9).flat_map(pixel).collect();
        let (mut y, mut u, mut v) = ([0; 9], [0; 4], [0; 4]);
        ycbcr_to_i420(&pixels, 3, 3, &mut [&mut y, &mut u, &mut v]);
        assert_eq!(y, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((u, v), ([30, 45, 75, 90], [197, 196, 193, 191]));
    }

    #[test]
    fn pictures_shrink_only_when_it_saves_something() {
        assert_eq!(delivered_size(1920, 1080, 640), (640, 360));
        assert_eq!(delivered_size(1080, 1920, 640), (360, 640));
        assert_eq!(delivered_size(768, 576, 640), (768, 576));
        assert_eq!(delivered_size(800, 600, 640), (800, 600));
        assert_eq!(delivered_size(802, 600, 640), (640, 478));
        assert_eq!(delivered_size(333, 111, 0), (333, 111));
    }

    proptest! {
        #[test]
        fn sizes_stay_even_and_keep_their_aspect(w in 2u32..8192, h in 2u32..8192, most in 16u32..4096) {
            let (dw, dh) = delivered_size(w, h, most);
            prop_assert!(dw >= 1 && dh >= 1 && f64::from(dw.max(dh)) <= f64::from(most) * 1.25 + 1.0);
            if (dw, dh) != (w, h) {
                prop_assert!(dw % 2 == 0 && dh % 2 == 0);
                let scale = f64::from(most) / f64::from(w.max(h));
                prop_assert!((f64::from(dw) - f64::from(w) * scale).abs() <= 2.0);
                prop_assert!((f64::from(dh) - f64::from(h) * scale).abs() <= 2.0);
            }
        }
    }
}
