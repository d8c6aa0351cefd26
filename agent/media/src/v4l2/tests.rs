//! Tests of what needs no camera: formats, pictures, errors.

use aimass_core::clock::SystemClock;
use aimass_core::geometry::{Point, Polygon};
use image::{Rgb, RgbImage};
use nokhwa::utils::FrameFormat;
use nokhwa::utils::Resolution;

use std::io::Cursor;

use super::*;

fn offer(format: FrameFormat, w: u32, h: u32, fps: u32) -> CameraFormat {
    CameraFormat::new(Resolution::new(w, h), format, fps)
}

struct Nobody;

impl FrameSink for Nobody {
    fn opened(&mut self, _: &StreamInfo) {}

    fn frame(&mut self, _: Frame) -> Flow {
        Flow::Stop
    }
}

fn failure(uri: &str) -> SourceError {
    let options = SourceOptions::new("dock".parse().unwrap(), uri.parse().unwrap());
    let mut source = options.build(SystemClock::shared()).unwrap();
    source.run_once(&mut Nobody, &Stop::new()).unwrap_err()
}

#[test]
fn a_device_that_is_not_there_or_no_camera_says_so() {
    let error = failure("v4l2:/dev/video987");
    assert_eq!(error.kind, SourceErrorKind::NotFound);
    assert!(error.message.contains("camera dock") && error.message.contains("probe"), "{error}");
    assert_eq!(failure("v4l2:/dev/null").kind, SourceErrorKind::Config);
}

#[test]
fn the_cheapest_format_that_serves_is_chosen() {
    use FrameFormat::{MJPEG, YUYV};
    let camera = [
        offer(YUYV, 640, 480, 30),
        offer(YUYV, 1280, 720, 5),
        offer(MJPEG, 640, 480, 30),
        offer(MJPEG, 1280, 720, 30),
        offer(MJPEG, 1920, 1080, 30),
    ];
    let any = V4l2Device::default();
    assert_eq!(choose(&camera, &any, 640, 5.0), Some(camera[0]));
    assert_eq!(choose(&camera, &any, 1000, 5.0), Some(camera[1]));
    assert_eq!(choose(&camera, &any, 1000, 10.0), Some(camera[3]));
    assert_eq!(choose(&camera, &any, 0, 10.0), Some(camera[3]));
    assert_eq!(choose(&camera, &any, 4000, 5.0), Some(camera[4]));
    let wanted = V4l2Device { width: Some(640), format: Some("mjpeg".into()), ..Default::default() };
    assert_eq!(choose(&camera, &wanted, 1000, 5.0), Some(camera[2]));
    let odd = V4l2Device { width: Some(123), ..Default::default() };
    assert_eq!(choose(&camera, &odd, 0, 5.0), None);
    assert!(listed(&camera).contains("MJPEG 1280x720 at 30"));
}

#[test]
fn every_format_becomes_a_masked_picture_and_short_data_is_refused() {
    let mut options = SourceOptions::new("dock".parse().unwrap(), "v4l2:/dev/video0".parse().unwrap());
    let left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    options.masks = vec![Polygon(left.into_iter().map(Point::from).collect())];
    let mut jpeg = Cursor::new(Vec::new());
    RgbImage::from_pixel(16, 8, Rgb([200; 3])).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    for (format, bytes) in [
        (FrameFormat::YUYV, vec![200; 16 * 8 * 2]),
        (FrameFormat::NV12, vec![200; 16 * 8 * 3 / 2]),
        (FrameFormat::GRAY, vec![200; 16 * 8]),
        (FrameFormat::MJPEG, jpeg),
    ] {
        let mut pictures = Pictures::new(offer(format, 16, 8, 10), &options);
        let picture = pictures.picture(&bytes).unwrap();
        let luma = picture.luma().unwrap();
        for y in 0..8 {
            assert_eq!(luma.row(y)[..8], [32; 8], "{format}");
            assert!(luma.row(y)[8..].iter().all(|v| v.abs_diff(200) < 3), "{format}");
        }
        assert!(pictures.picture(&bytes[..bytes.len() / 3]).is_err(), "{format}");
    }
}
