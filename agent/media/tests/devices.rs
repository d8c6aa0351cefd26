//! The source contract on a real V4L2 device: `AIMASS_TEST_CAMERA=/dev/video0`. Skipped, with a word, where it is not set.
//!
//! `AIMASS_TEST_UNPLUG` and `AIMASS_TEST_PLUG` may hold shell commands that take the device away and bring it back
//! (`echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind`): then that is tried too. Written for the kernel's virtual
//! camera `vivid`, true of any. A device serves one test at a time: run with `--test-threads 1`.

#![cfg(feature = "v4l2")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#[path = "support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aimass_core::frame::TimeSource;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, SourceErrorKind};
use aimass_media::probe::{CameraReport, media};
use aimass_media::{ControlValue, SourceOptions, SourceState, camera_backoff, run_forever};
use support::*;

/// One test at a time has the device, whatever the runner does.
static DEVICE: Mutex<()> = Mutex::new(());

/// The device, or a word that the test was skipped.
fn device() -> Option<String> {
    let device = std::env::var("AIMASS_TEST_CAMERA").ok();
    if device.is_none() {
        skip("AIMASS_TEST_CAMERA is not set (to /dev/video0, say): no real camera is tried");
    }
    device
}

fn camera(device: &str, query: &str) -> SourceOptions {
    options(format!("v4l2:{device}{query}").parse().unwrap())
}

fn report(device: &str) -> CameraReport {
    let wanted = std::fs::canonicalize(device).unwrap();
    media().cameras.into_iter().find(|c| c.device == wanted).expect("the probe lists it")
}

#[test]
fn frames_come_in_order_after_opened_and_the_camera_runs_again() {
    let Some(device) = device() else { return };
    let _one = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let options = camera(&device, "");
    let recorder = within(PATIENCE, move || {
        let mut source = source(options);
        let mut recorder = Recorder::new(5);
        assert_eq!(source.run_once(&mut recorder, &StopToken::new()), Ok(Ended::Stopped));
        recorder.most = 10;
        assert_eq!(source.run_once(&mut recorder, &StopToken::new()), Ok(Ended::Stopped));
        recorder
    });
    println!("{:?}", recorder.opened);
    assert_eq!(recorder.opened.len(), 2, "opened() once a run");
    for (n, frame) in recorder.frames.iter().enumerate() {
        assert_eq!((frame.seq, frame.wall_source), (n as u64, TimeSource::Clock));
        assert_eq!(frame.size, (recorder.opened[0].width, recorder.opened[0].height));
    }
    assert!(recorder.frames.windows(2).all(|pair| pair[0].elapsed < pair[1].elapsed));
}

#[test]
fn every_format_that_the_camera_has_delivers_pictures_that_differ() {
    let Some(device) = device() else { return };
    let _one = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let formats = report(&device).formats;
    println!("{formats:#?}");
    // Its frames can be waited for by the handle that streams only.
    let by_v4l = v4l::Device::with_path(&device).unwrap().query_caps().unwrap().driver == "v4l2 loopback";
    let mut tried = 0;
    for format in ["nv12", "i420", "yuyv", "gray", "mjpeg"] {
        let Some(line) = formats.iter().find(|f| f.starts_with(&format.to_uppercase())) else { continue };
        let (width, height) = line.split(' ').nth(1).unwrap().split_once('x').unwrap();
        let options = camera(&device, &format!("?format={format}&width={width}&height={height}"));
        let (result, recorder) = run_into(options, Recorder::with_pixels(4));
        assert_eq!(result, Ok(Ended::Stopped), "{format}");
        let told = &recorder.opened[0].description;
        println!("{line}: {told}");
        assert!(told.contains(&format.to_uppercase()), "{told}");
        assert_eq!(told.ends_with("nokhwa"), !by_v4l && !["i420", "gray"].contains(&format), "{told}");
        let first = &recorder.frames[0];
        assert!(first.left.iter().any(|v| *v != first.left[0]), "{format}: a picture that shows something");
        assert!(
            recorder.frames.iter().any(|f| f.left != first.left || f.right != first.right),
            "{format}: moves"
        );
        tried += 1;
    }
    assert!(tried >= 1, "{formats:?}");
}

#[test]
fn masks_limit_and_stop_hold_as_for_any_source() {
    let Some(device) = device() else { return };
    let _one = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut masked = camera(&device, "");
    (masked.masks, masked.fps) = (vec![left_half()], 4.0);
    let (_, recorder) = run_into(masked, Recorder::with_pixels(6));
    for frame in &recorder.frames {
        assert!(frame.left.iter().all(|&v| v == 32) && frame.right.iter().any(|&v| v != 32));
    }
    let span = (recorder.frames[5].elapsed - recorder.frames[0].elapsed).as_secs_f64();
    assert!(6.0 <= 4.0 * span + 3.0, "6 frames in {span} s");

    let stop = StopToken::new();
    let (tell, told) = sync_channel(1);
    let (done, wait) = sync_channel(1);
    let (inner, options) = (stop.clone(), camera(&device, ""));
    let mut recorder = Recorder { on_frame: Some(tell), ..Recorder::new(usize::MAX) };
    let thread = std::thread::Builder::new()
        .spawn(move || done.send(source(options).run_once(&mut recorder, &inner)).unwrap());
    told.recv_timeout(PATIENCE).unwrap();
    stop.request();
    assert_eq!(wait.recv_timeout(Duration::from_secs(5)), Ok(Ok(Ended::Stopped)));
    thread.unwrap().join().unwrap();
    // And the device is free again.
    assert_eq!(run(camera(&device, ""), 1).0, Ok(Ended::Stopped));
}

#[test]
fn what_the_camera_does_not_offer_is_answered_with_what_it_does() {
    let Some(device) = device() else { return };
    let _one = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let error = failure(camera(&device, "?width=17&height=19"));
    println!("{error}");
    assert_eq!(error.kind, SourceErrorKind::Config);
    let first = report(&device).formats.remove(0);
    assert!(error.message.contains(&first), "{error}");
}

#[test]
fn controls_are_set_at_each_opening_and_an_unknown_one_lists_the_known() {
    let Some(device) = device() else { return };
    let _one = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let controls = report(&device).controls;
    println!("{controls:#?}");
    let mut options = camera(&device, "");
    options.controls.insert("no_such_control".into(), ControlValue::Number(1));
    let error = failure(options);
    assert_eq!(error.kind, SourceErrorKind::Config);
    assert!(error.message.contains("controls.no_such_control is not known to the camera"), "{error}");
    let Some(brightness) = controls.iter().find(|c| c.starts_with("brightness (")) else {
        skip("this camera has no control `brightness`");
        return;
    };
    assert!(error.message.contains(brightness), "{error}");
    let (least, most) = brightness["brightness (".len()..].trim_end_matches(')').split_once("..").unwrap();
    let mean_at = |value: &str| {
        let mut options = camera(&device, "");
        options.controls.insert("Brightness".into(), ControlValue::Number(value.parse().unwrap()));
        let (_, recorder) = run_into(options, Recorder::with_pixels(3));
        let last = recorder.frames.last().unwrap();
        last.left.iter().map(|v| u64::from(*v)).sum::<u64>() / last.left.len() as u64
    };
    let (dark, bright) = (mean_at(least), mean_at(most));
    println!("mean luma {dark} at {least}, {bright} at {most}");
    assert!(bright > dark + 10, "{dark} {bright}");
}

#[test]
fn a_camera_that_is_unplugged_says_so_and_delivers_again_once_it_is_back() {
    let Some(device) = device() else { return };
    let (Ok(unplug), Ok(plug)) = (std::env::var("AIMASS_TEST_UNPLUG"), std::env::var("AIMASS_TEST_PLUG"))
    else {
        skip("AIMASS_TEST_UNPLUG and AIMASS_TEST_PLUG are not set");
        return;
    };
    let _one = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let shell = |command: &str| assert!(Command::new("sh").args(["-c", command]).status().unwrap().success());
    for query in ["?format=yuyv", "?format=i420"] {
        let (options, stop) = (camera(&device, query), StopToken::new());
        let (say, states) = sync_channel(64);
        let inner = stop.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            let mut backoff = camera_backoff(&options.id);
            let mut source = source(options);
            let on_state = |state| drop(say.try_send(state));
            run_forever(source.as_mut(), &mut Recorder::new(usize::MAX), &inner, &mut backoff, on_state)
        });
        let wait_for = |wanted: fn(&SourceState) -> bool| {
            loop {
                let state = states.recv_timeout(PATIENCE).unwrap();
                println!("{state:?}");
                if wanted(&state) {
                    return state;
                }
            }
        };
        wait_for(|s| matches!(s, SourceState::Delivering(_)));
        shell(&unplug);
        let broke = wait_for(|s| matches!(s, SourceState::Failed { .. }));
        let SourceState::Failed { error, .. } = broke else { unreachable!() };
        assert_eq!(error.kind, SourceErrorKind::Broken, "{error}");
        let gone = wait_for(|s| matches!(s, SourceState::Failed { .. }));
        let SourceState::Failed { error, .. } = gone else { unreachable!() };
        assert_eq!(error.kind, SourceErrorKind::NotFound, "{error}");
        shell(&plug);
        wait_for(|s| matches!(s, SourceState::Delivering(_)));
        stop.request();
        assert_eq!(thread.unwrap().join().unwrap(), Ended::Stopped);
    }
}
