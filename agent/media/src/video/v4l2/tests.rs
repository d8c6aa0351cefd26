//! Tests of what needs no camera: formats, pictures, controls, errors.

use std::io::Cursor;

use aimass_core::geometry::{Point, Polygon};
use aimass_core::runtime::clock::SystemClock;
use image::{Rgb, RgbImage};
use v4l::Fraction;
use v4l::frameinterval::{FrameIntervalEnum, Stepwise as Intervals};
use v4l::framesize::{Discrete, FrameSizeEnum, Stepwise as Sizes};

use super::controls::{Control, Kind, plain_name, resolve};
use super::formats::{Format, Offers};
use super::*;
use crate::video::controls::{ControlValue, Controls};

fn offer(fourcc: &[u8; 4], width: u32, height: u32, interval: (u32, u32)) -> Offer {
    Offer { format: Format::of(*fourcc).unwrap(), fourcc: *fourcc, width, height, interval }
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
    source.run_once(&mut Nobody, &StopToken::new()).unwrap_err()
}

#[test]
fn a_device_that_is_not_there_or_no_camera_says_so() {
    let error = failure("v4l2:/dev/video987");
    assert_eq!(error.kind, SourceErrorKind::NotFound);
    assert!(error.message.contains("camera dock") && error.message.contains("probe"), "{error}");
    let error = failure("v4l2:/dev/null");
    assert_eq!(error.kind, SourceErrorKind::Config);
    assert!(error.message.contains("/dev/null is no camera"), "{error}");
}

#[test]
fn the_cheapest_format_that_serves_is_chosen() {
    let list = vec![
        offer(b"YUYV", 640, 480, (1, 30)),
        offer(b"YUYV", 1280, 720, (1, 5)),
        offer(b"MJPG", 640, 480, (1, 30)),
        offer(b"MJPG", 1280, 720, (1001, 30_000)),
        offer(b"MJPG", 1920, 1080, (1, 30)),
    ];
    let camera = Offers { list: list.clone(), others: vec!["H264".into()] };
    let any = V4l2Device::default();
    assert_eq!(camera.choose(&any, 640, 5.0), Some(list[0]));
    assert_eq!(camera.choose(&any, 1000, 5.0), Some(list[1]));
    assert_eq!(camera.choose(&any, 1000, 10.0), Some(list[3]));
    assert_eq!(camera.choose(&any, 0, 10.0), Some(list[3]));
    assert_eq!(camera.choose(&any, 4000, 5.0), Some(list[4]));
    assert_eq!(camera.choose(&any, 1000, 0.0), Some(list[3]), "all frames are those of a usual rate");
    let wanted = V4l2Device { width: Some(640), format: Some("mjpeg".into()), ..Default::default() };
    assert_eq!(camera.choose(&wanted, 1000, 5.0), Some(list[2]));
    let odd = V4l2Device { width: Some(123), ..Default::default() };
    assert_eq!(camera.choose(&odd, 0, 5.0), None);
    let listed = camera.listed();
    assert!(listed.contains("MJPEG 1280x720 at 29.97, MJPEG 1920x1080 at 30"), "{listed}");
    assert!(listed.ends_with("H264 cannot be read here"), "{listed}");
    assert!(Offers::default().listed().contains("NV12, I420, YUYV, GRAY, MJPEG"));
}

#[test]
fn what_nokhwa_has_no_word_for_is_read_without_it() {
    for (fourcc, interval, known) in [
        (b"MJPG", (1, 30), true),
        (b"YUYV", (1, 5), true),
        (b"NV12", (1, 25), true),
        (b"YU12", (1, 30), false),
        (b"GREY", (1, 30), false),
        (b"JPEG", (1, 30), false),
        (b"MJPG", (1001, 30_000), false),
        (b"MJPG", (2, 15), false),
        (b"MJPG", (0, 0), false),
    ] {
        let offer = offer(fourcc, 640, 480, interval);
        assert_eq!(offer.in_nokhwa().is_some(), known, "{offer:?}");
    }
    assert_eq!(Format::of(*b"H264"), None);
}

#[test]
fn sizes_and_rates_within_bounds_are_the_usual_ones_and_the_one_that_is_wanted() {
    let wanted = V4l2Device { width: Some(648), height: Some(482), ..Default::default() };
    let one = FrameSizeEnum::Discrete(Discrete { width: 123, height: 45 });
    assert_eq!(device::sizes(&one, &wanted), [(123, 45)]);
    let (min_width, max_width, step_width) = (32, 1296, 8);
    let (min_height, max_height, step_height) = (32, 972, 2);
    let range = Sizes { min_width, max_width, step_width, min_height, max_height, step_height };
    let sizes = device::sizes(&FrameSizeEnum::Stepwise(range), &wanted);
    let expected = [(320, 240), (640, 360), (640, 480), (1280, 720), (32, 32), (1296, 972), (648, 482)];
    assert_eq!(sizes, expected);
    let bounds = |min, max| {
        let interval = |(n, d)| Fraction::new(n, d);
        let step = interval((1, 1));
        device::intervals(&FrameIntervalEnum::Stepwise(Intervals {
            min: interval(min),
            max: interval(max),
            step,
        }))
    };
    assert_eq!(bounds((1, 30), (1, 5)), [(1, 5), (1, 10), (1, 15), (1, 25), (1, 30)]);
    assert_eq!(bounds((0, 1), (u32::MAX, 1)).len(), 8);
}

#[test]
fn every_format_becomes_a_masked_picture_and_short_data_is_refused() {
    let mut options = SourceOptions::new("dock".parse().unwrap(), "v4l2:/dev/video0".parse().unwrap());
    let left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    options.masks = vec![Polygon(left.into_iter().map(Point::from).collect())];
    let mut jpeg = Cursor::new(Vec::new());
    RgbImage::from_pixel(16, 8, Rgb([200; 3])).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    for (fourcc, bytes, stride) in [
        (b"YUYV", vec![200; 16 * 8 * 2], 32),
        (b"YUYV", vec![200; 40 * 8], 40),
        (b"NV12", vec![200; 16 * 8 * 3 / 2], 0),
        (b"NV12", vec![200; 20 * 8 * 3 / 2], 20),
        (b"YU12", vec![200; 16 * 8 * 3 / 2], 16),
        (b"YU12", vec![200; 24 * 8 * 3 / 2], 24),
        (b"GREY", vec![200; 16 * 8], 16),
        (b"MJPG", jpeg, 0),
    ] {
        let mut pictures = Pictures::new(offer(fourcc, 16, 8, (1, 10)), stride, &options);
        let picture = pictures.picture(&bytes).unwrap();
        let luma = picture.luma().unwrap();
        for y in 0..8 {
            assert_eq!(luma.row(y)[..8], [32; 8], "{fourcc:?}");
            assert!(luma.row(y)[8..].iter().all(|v| v.abs_diff(200) < 3), "{fourcc:?}");
        }
        assert!(pictures.picture(&bytes[..bytes.len() / 3]).is_err(), "{fourcc:?}");
    }
}

#[test]
fn a_jpeg_keeps_its_colours_on_the_way_to_planes() {
    let options = SourceOptions::new("dock".parse().unwrap(), "v4l2:/dev/video0".parse().unwrap());
    let mut jpeg = Cursor::new(Vec::new());
    RgbImage::from_pixel(16, 16, Rgb([255, 0, 0])).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let mut pictures = Pictures::new(offer(b"MJPG", 16, 16, (1, 10)), 0, &options);
    // Cameras hand out their whole buffer: what follows the picture is left alone.
    let bytes = [jpeg.into_inner(), vec![0xAB; 1000]].concat();
    let picture = pictures.picture(&bytes).unwrap();
    // Full-range BT.601, as JPEG has it.
    for (n, value) in [(0, 76u8), (1, 85), (2, 255)] {
        assert!(picture.plane(n).row(3).iter().all(|v| v.abs_diff(value) < 4), "plane {n}");
    }
    assert!(picture.colour().full_range);
}

fn controls() -> Vec<Control> {
    let control = |id, name: &str, kind, default| Control { id, name: plain_name(name), kind, default };
    let menu = vec![(1, "Manual Mode".to_owned()), (3, "Aperture Priority Mode".to_owned())];
    vec![
        control(1, "Brightness", Kind::Number { least: -64, most: 64, step: 1 }, 0),
        control(2, "White Balance, Automatic", Kind::Switch, 1),
        control(3, "Auto Exposure", Kind::Menu(menu), 3),
        control(4, "Exposure Time, Absolute", Kind::Number { least: 10, most: 5000, step: 10 }, 150),
    ]
}

fn resolved(wanted: &[(&str, ControlValue)]) -> Result<Vec<(u32, i64)>, String> {
    let wanted: Controls = wanted.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let has = controls();
    resolve(&has, &wanted).map(|settings| settings.into_iter().map(|(c, n)| (c.id, n)).collect())
}

#[test]
fn controls_are_set_by_any_writing_of_their_name_switches_and_menus_first() {
    use ControlValue::{Number, Switch};
    let wanted = [
        ("Exposure Time, Absolute", Number(300)),
        ("auto_exposure", Number(1)),
        ("brightness", Number(-3)),
        ("white_balance_automatic", Switch(false)),
    ];
    assert_eq!(resolved(&wanted), Ok(vec![(3, 1), (2, 0), (4, 300), (1, -3)]));
}

#[test]
fn a_control_that_is_not_there_or_a_value_that_does_not_fit_says_what_would() {
    use ControlValue::{Number, Switch};
    let unknown = resolved(&[("zoom", Number(1))]).unwrap_err();
    assert!(
        unknown.contains("controls.zoom is not known to the camera; it has brightness (-64..64)"),
        "{unknown}"
    );
    assert!(unknown.contains("auto_exposure (1 Manual Mode, 3 Aperture Priority Mode)"), "{unknown}");
    for (name, value) in [
        ("brightness", Number(65)),
        ("brightness", Switch(true)),
        ("auto_exposure", Number(2)),
        ("exposure_time_absolute", Number(15)),
        ("white_balance_automatic", Number(2)),
    ] {
        let problem = resolved(&[(name, value)]).unwrap_err();
        assert!(problem.contains(&format!("controls.{name}")) && problem.contains("it takes"), "{problem}");
    }
    let none = resolve(&[], &Controls::from([("gain".to_owned(), Number(1))])).unwrap_err();
    assert!(none.ends_with("it has none"), "{none}");
}

#[test]
fn a_format_whose_bytes_are_swapped_is_named_as_other_tools_do() {
    assert_eq!(device::fourcc_name(*b"H264"), "H264");
    assert_eq!(device::fourcc_name(*b"Y8  "), "Y8");
    assert_eq!(device::fourcc_name([b'A', b'R', b'1', b'2' | 0x80]), "AR12-BE");
}
