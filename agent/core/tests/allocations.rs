//! What is looked at for each frame of each camera allocates nothing once it knows the size of the pictures.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::frame::{CaptureTime, Colour, Frame, Picture, PixelFormat, TimeSource};
use aimass_core::source_health::{VideoHealthConfig, VideoHealthMonitor};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn frame(seq: u64, shift: u64) -> Frame {
    let level = |n: u64| ((n % 320 + shift) / 13 * 97 + n / 320 / 11 * 61) % 180 + n * 7 % 5;
    let plane: Vec<u8> = (0..320 * 240).map(|n| level(n) as u8).collect();
    let picture =
        Picture::new((320, 240), PixelFormat::Gray8, Colour::SD, [320, 0, 0], Arc::new(plane)).unwrap();
    let capture_time = CaptureTime {
        wall: jiff::Timestamp::UNIX_EPOCH,
        wall_source: TimeSource::Clock,
        elapsed: Duration::from_millis(seq * 500),
    };
    Frame { source: "dock".parse().unwrap(), seq, capture_time, picture }
}

#[test]
fn judging_sight_allocates_nothing_for_a_frame_of_a_known_size() {
    let mut sight = VideoHealthMonitor::new(VideoHealthConfig::default(), Vec::new());
    // Also while the view is searched for, and when a loss is told.
    let frames: Vec<Frame> = (0..80).map(|n| frame(n, if n < 40 { 0 } else { 60 })).collect();
    sight.look(&frames[0]);
    let region = Region::new(HEAP);
    let told = frames[1..].iter().filter_map(|frame| sight.look(frame)).count();
    assert_eq!((told, region.change().allocations), (1, 0));
}
