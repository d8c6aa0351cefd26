use std::sync::Arc;

use aimass_core::frame::Colour;
use proptest::prelude::*;

use super::*;

fn spec(w: usize, h: usize, layout: Layout, colour: ChannelOrder, resize: Resize) -> InputSpec {
    let shape = if layout == Layout::Nchw { [1, 3, h, w] } else { [1, h, w, 3] };
    InputSpec { name: "in".into(), shape, layout, colour, mean: [0.0; 3], std: [1.0; 3], resize }
}

fn plain(w: usize, h: usize) -> InputSpec {
    spec(w, h, Layout::Nchw, ChannelOrder::Rgb, Resize::Stretch)
}

fn run(spec: &InputSpec, picture: &Picture, crop: Region) -> (Vec<f32>, Placement) {
    let mut tensor = vec![f32::NAN; spec.len()];
    let placement = Preparer::new(spec).prepare(picture, crop, &mut tensor);
    (tensor, placement)
}

fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn a_picture_of_the_inputs_size_arrives_unchanged_in_both_layouts_and_orders() {
    let rgb = noise(16 * 8 * 3, 7);
    let picture = Picture::from_rgb((16, 8), rgb.clone()).unwrap();
    let (chw, _) = run(&plain(16, 8), &picture, Region::FULL);
    let bgr = spec(16, 8, Layout::Nhwc, ChannelOrder::Bgr, Resize::Stretch);
    let (hwc, _) = run(&bgr, &picture, Region::FULL);
    for pixel in 0..128 {
        for channel in 0..3 {
            let value = f32::from(rgb[pixel * 3 + channel]);
            assert_eq!(chw[channel * 128 + pixel], value);
            assert_eq!(hwc[pixel * 3 + 2 - channel], value);
        }
    }
}

#[test]
fn mean_and_std_are_applied_in_the_models_order() {
    let mut bgr = spec(8, 8, Layout::Nchw, ChannelOrder::Bgr, Resize::Stretch);
    (bgr.mean, bgr.std) = ([10.0, 20.0, 30.0], [1.0, 2.0, 5.0]);
    let picture = Picture::from_rgb((8, 8), [100u8, 60, 30].repeat(64)).unwrap();
    let (tensor, _) = run(&bgr, &picture, Region::FULL);
    for (plane, want) in tensor.chunks(64).zip([20.0, 20.0, 14.0]) {
        assert!(plane.iter().all(|v| (v - want).abs() < 1e-4), "{:?}", &plane[..2]);
    }
}

#[test]
fn known_colours_come_out_of_yuv_in_every_matrix() {
    for (bt709, full_range, yuv, rgb) in [
        (false, false, [81u8, 90, 240], [255.0f32, 0.0, 0.0]),
        (true, false, [63, 102, 240], [255.0, 0.0, 0.0]),
        (false, false, [145, 54, 34], [0.0, 255.0, 0.0]),
        (false, true, [29, 255, 107], [0.0, 0.0, 255.0]),
        (false, false, [235, 128, 128], [255.0, 255.0, 255.0]),
        (true, true, [100, 128, 128], [100.0, 100.0, 100.0]),
    ] {
        let planes = [vec![yuv[0]; 64], vec![yuv[1]; 16], vec![yuv[2]; 16]];
        let colour = Colour { bt709, full_range };
        let picture = Picture::new((8, 8), PixelFormat::I420, colour, [8, 4, 4], Arc::new(planes)).unwrap();
        let (tensor, _) = run(&plain(8, 8), &picture, Region::FULL);
        for (plane, want) in tensor.chunks(64).zip(rgb) {
            assert!(plane.iter().all(|v| (v - want).abs() < 3.0), "{yuv:?}: {} for {want}", plane[0]);
        }
    }
}

#[test]
fn interleaved_chroma_gives_the_same_as_planar() {
    let (y, u, v) = (noise(21 * 13, 1), noise(11 * 7, 2), noise(11 * 7, 3));
    let uv: Vec<u8> = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]).collect();
    let size = (21, 13);
    let i420 =
        Picture::new(size, PixelFormat::I420, Colour::SD, [21, 11, 11], Arc::new([y.clone(), u, v])).unwrap();
    let nv12 =
        Picture::new(size, PixelFormat::Nv12, Colour::SD, [21, 22, 0], Arc::new([y, uv, vec![]])).unwrap();
    assert_eq!(run(&plain(10, 9), &i420, Region::FULL), run(&plain(10, 9), &nv12, Region::FULL));
}

#[test]
fn a_letterbox_keeps_the_aspect_pads_with_black_and_can_be_undone() {
    let picture = Picture::from_rgb((40, 20), vec![200; 2400]).unwrap();
    for (resize, first_row) in [(Resize::Letterbox, 0), (Resize::LetterboxCentred, 8)] {
        let mut spec = spec(32, 32, Layout::Nchw, ChannelOrder::Rgb, resize);
        spec.mean = [100.0; 3];
        let (tensor, placement) = run(&spec, &picture, Region::FULL);
        for (y, row) in tensor[..1024].chunks(32).enumerate() {
            let want = if (first_row..first_row + 16).contains(&y) { 100.0 } else { -100.0 };
            assert!(row.iter().all(|v| *v == want), "{resize:?} row {y}: {}", row[0]);
        }
        let top = first_row as f32;
        let region = placement.region([0.0, top, 16.0, top + 8.0]);
        assert!(region.iou(&Region { x: 0.0, y: 0.0, w: 0.5, h: 0.5 }) > 0.999, "{region:?}");
    }
}

#[test]
fn a_crop_sees_its_part_and_boxes_come_back_in_the_whole_frame() {
    let rgb: Vec<u8> = (0..100 * 50).flat_map(|n| if n % 100 >= 50 { [255; 3] } else { [0; 3] }).collect();
    let picture = Picture::from_rgb((100, 50), rgb).unwrap();
    let crop = Region { x: 0.5, y: 0.0, w: 0.5, h: 1.0 };
    let (tensor, placement) = run(&plain(20, 20), &picture, crop);
    assert!(tensor.iter().all(|v| *v == 255.0), "nothing of the black half leaks in");
    let region = placement.region([10.0, 0.0, 20.0, 20.0]);
    assert!(region.iou(&Region { x: 0.75, y: 0.0, w: 0.25, h: 1.0 }) > 0.999, "{region:?}");
}

/// Bilinear as OpenCV defines it, in f64.
fn reference(rgb: &[u8], (w, h): (usize, usize), (tw, th): (usize, usize)) -> Vec<f64> {
    let at = |n: usize, target: usize, side: usize| {
        let at = ((n as f64 + 0.5) * side as f64 / target as f64 - 0.5).clamp(0.0, side as f64 - 1.0);
        (at as usize, (at as usize + 1).min(side - 1), at.fract())
    };
    let mut out = vec![0.0; tw * th * 3];
    for y in 0..th {
        let (y0, y1, fy) = at(y, th, h);
        for x in 0..tw {
            let (x0, x1, fx) = at(x, tw, w);
            for c in 0..3 {
                let v = |x: usize, y: usize| f64::from(rgb[(y * w + x) * 3 + c]);
                out[c * tw * th + y * tw + x] = (v(x0, y0) * (1.0 - fx) + v(x1, y0) * fx) * (1.0 - fy)
                    + (v(x0, y1) * (1.0 - fx) + v(x1, y1) * fx) * fy;
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn resizing_agrees_with_the_reference_to_within_a_level(
        w in 1..90usize, h in 1..90usize, tw in 8..70usize, th in 8..70usize, seed: u32
    ) {
        let rgb = noise(w * h * 3, seed);
        let picture = Picture::from_rgb((w as u32, h as u32), rgb.clone()).unwrap();
        let (tensor, _) = run(&plain(tw, th), &picture, Region::FULL);
        for (got, want) in tensor.iter().zip(reference(&rgb, (w, h), (tw, th))) {
            prop_assert!((f64::from(*got) - want).abs() <= 1.1, "{got} for {want}");
        }
    }

    #[test]
    fn any_size_stride_format_and_crop_fills_the_whole_tensor_with_values_of_pixels(
        w in 1..80u32, h in 1..60u32, pad in 0..9usize, format in 0..4usize, seed: u32, fit in 0..3usize,
        x in -0.5f32..1.5, y in -0.5f32..1.5, cw in -0.2f32..1.5, ch in 0f32..1.5,
    ) {
        let format = [PixelFormat::I420, PixelFormat::Nv12, PixelFormat::Rgb8, PixelFormat::Gray8][format];
        let fit = [Resize::Stretch, Resize::Letterbox, Resize::LetterboxCentred][fit];
        let mut strides = [0; 3];
        let mut planes: [Vec<u8>; 3] = Default::default();
        for n in 0..format.planes() {
            let (row, rows) = format.plane_size(n, w, h);
            strides[n] = row + pad;
            planes[n] = noise(strides[n] * (rows - 1) + row, seed ^ n as u32);
        }
        let picture = Picture::new((w, h), format, Colour::SD, strides, Arc::new(planes)).unwrap();
        let spec = spec(24, 16, Layout::Nhwc, ChannelOrder::Rgb, fit);
        let (tensor, placement) = run(&spec, &picture, Region { x, y, w: cw, h: ch });
        prop_assert!(tensor.iter().all(|v| (0.0..=255.01).contains(v)));
        let back = placement.region([0.0, 0.0, 24.0, 16.0]);
        prop_assert!([back.x, back.y, back.w, back.h].iter().all(|v| v.is_finite()));
    }
}
