//! Pictures go out as JPEG and come back through another decoder; colours must survive.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// How a pixel of the test card looks: four quarters of different colours.
fn card(x: u32, y: u32, w: u32, h: u32) -> [u8; 3] {
    match (x * 2 < w, y * 2 < h) {
        (true, true) => [200, 40, 50],
        (false, true) => [30, 160, 60],
        (true, false) => [50, 60, 210],
        (false, false) => [180, 180, 170],
    }
}

/// The textbook formula, in floating point.
fn to_yuv([r, g, b]: [u8; 3], colour: Colour) -> [u8; 3] {
    let (kr, kb) = if colour.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
    let [r, g, b] = [r, g, b].map(|v| f64::from(v) / 255.0);
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    let (u, v) = ((b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr)));
    let scaled = if colour.full_range {
        [y * 255.0, u * 255.0 + 128.0, v * 255.0 + 128.0]
    } else {
        [y * 219.0 + 16.0, u * 224.0 + 128.0, v * 224.0 + 128.0]
    };
    scaled.map(|v| v.round().clamp(0.0, 255.0) as u8)
}

/// The test card as a picture whose rows are `pad` bytes longer than needed; the padding is loud.
fn picture(format: PixelFormat, colour: Colour, w: u32, h: u32, pad: usize) -> Picture {
    let full = Colour { bt709: false, full_range: true };
    let colour = if format == PixelFormat::Gray8 { full } else { colour };
    let sample = |x: u32, y: u32| to_yuv(card(x.min(w - 1), y.min(h - 1), w, h), colour);
    let mut planes: [Vec<u8>; 3] = Default::default();
    let mut strides = [0; 3];
    for n in 0..format.planes() {
        let (bytes, rows) = format.plane_size(n, w, h);
        strides[n] = bytes + pad;
        for row in 0..rows as u32 {
            for byte in 0..bytes as u32 {
                planes[n].push(match (format, n) {
                    (PixelFormat::Rgb8, _) => card(byte / 3, row, w, h)[byte as usize % 3],
                    (PixelFormat::I420, 1 | 2) => sample(byte * 2, row * 2)[n],
                    (PixelFormat::Nv12, 1) => sample(byte / 2 * 2, row * 2)[1 + byte as usize % 2],
                    _ => sample(byte, row)[0],
                });
            }
            planes[n].extend(std::iter::repeat_n(255, pad));
        }
    }
    Picture::new((w, h), format, colour, strides, Arc::new(planes)).unwrap()
}

fn decoded(picture: &Picture, factor: u32) -> image::RgbImage {
    let mut out = vec![1, 2, 3];
    encode(picture, factor, 95, &mut out).unwrap();
    image::load_from_memory_with_format(&out, image::ImageFormat::Jpeg).unwrap().to_rgb8()
}

/// Compares the middles of the quarters.
fn check(got: &image::RgbImage, gray: bool, what: &str) {
    let (w, h) = got.dimensions();
    for (x, y) in [(w / 4, h / 4), (w * 3 / 4, h / 4), (w / 4, h * 3 / 4), (w * 3 / 4, h * 3 / 4)] {
        let mut want = card(x, y, w, h);
        if gray {
            want = [to_yuv(want, Colour { bt709: false, full_range: true })[0]; 3];
        }
        let is = got.get_pixel(x, y).0;
        let far = is.iter().zip(want).any(|(&a, b)| a.abs_diff(b) > 8);
        assert!(!far, "{what} at {x},{y}: {is:?} instead of {want:?}");
    }
}

#[test]
fn every_format_matrix_and_range_keeps_its_colours_at_odd_sizes_and_with_padded_rows() {
    use PixelFormat::{Gray8, I420, Nv12, Rgb8};
    for format in [I420, Nv12, Rgb8, Gray8] {
        for (bt709, full_range) in [(false, false), (false, true), (true, false), (true, true)] {
            let colour = Colour { bt709, full_range };
            for (w, h, pad) in [(64, 48, 0), (67, 51, 13), (33, 32, 1)] {
                let got = decoded(&picture(format, colour, w, h, pad), 1);
                let what = format!("{format:?} {colour:?} {w}x{h}+{pad}");
                assert_eq!(got.dimensions(), (w, h), "{what}");
                check(&got, format == Gray8, &what);
            }
        }
    }
}

#[test]
fn smaller_pictures_have_rounded_up_sides_and_the_same_colours() {
    for format in [PixelFormat::I420, PixelFormat::Nv12, PixelFormat::Rgb8, PixelFormat::Gray8] {
        for factor in [2, 4] {
            let got = decoded(&picture(format, Colour::SD, 131, 99, 5), factor);
            assert_eq!(got.dimensions(), scaled_size(131, 99, factor), "{format:?}");
            check(&got, format == PixelFormat::Gray8, &format!("{format:?} / {factor}"));
        }
    }
}

#[test]
fn the_output_buffer_is_used_again() {
    let picture = picture(PixelFormat::I420, Colour::SD, 64, 48, 0);
    let mut out = Vec::with_capacity(64 * 1024);
    let place = out.as_ptr();
    for _ in 0..3 {
        encode(&picture, 1, QUALITY, &mut out).unwrap();
        assert_eq!(out[..2], [0xFF, 0xD8]);
    }
    assert_eq!(out.as_ptr(), place);
}

#[test]
fn the_factor_is_the_least_power_of_two_that_fits() {
    assert_eq!(factor_for(1920, 1080, 1920), 1);
    assert_eq!(factor_for(1920, 1080, 1919), 2);
    assert_eq!(factor_for(1080, 1920, 500), 4);
    assert_eq!(factor_for(1, 1, 0), 1);
}

proptest! {
    #[test]
    fn any_size_and_factor_gives_a_jpeg_of_that_size(
        w in 1u32..70, h in 1u32..70, pad in 0usize..9, factor in 1u32..9, format in 0usize..4,
    ) {
        use PixelFormat::{Gray8, I420, Nv12, Rgb8};
        let format = [I420, Nv12, Rgb8, Gray8][format];
        let got = decoded(&picture(format, Colour { bt709: true, full_range: false }, w, h, pad), factor);
        prop_assert_eq!(got.dimensions(), scaled_size(w, h, factor));
        prop_assert!(factor_for(w, h, 16) * 16 >= w.max(h));
    }
}
