//! How much is allocated for each frame on our side of GStreamer: a handle, never a picture.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#[path = "support/mod.rs"]
mod support;

use std::alloc::System;

use aimass_core::frame::Frame;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Flow, FrameSink, StreamInfo};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::*;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counts allocated bytes from the twentieth frame on.
struct Meter {
    frames: usize,
    begin: usize,
    end: usize,
}

impl FrameSink for Meter {
    fn opened(&mut self, _: &StreamInfo) {}

    fn frame(&mut self, _: Frame) -> Flow {
        self.frames += 1;
        let bytes = HEAP.stats().bytes_allocated;
        if self.frames == 20 {
            self.begin = bytes;
        }
        self.end = bytes;
        if self.frames == 120 { Flow::Stop } else { Flow::Continue }
    }
}

#[test]
fn a_frame_costs_a_handle_not_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), MPEG4_AVI, (640, 480), 25, 120);
    for (max_side, masks) in [(0, vec![]), (320, vec![]), (0, vec![left_half()]), (320, vec![left_half()])] {
        let mut options = options(file_uri(&path, "?realtime=false"));
        (options.max_side_px, options.masks) = (max_side, masks.clone());
        let meter = within(PATIENCE, move || {
            let mut meter = Meter { frames: 0, begin: 0, end: 0 };
            source(options).run_once(&mut meter, &StopToken::new()).unwrap();
            meter
        });
        let per_frame = (meter.end - meter.begin) / 100;
        println!("side {max_side}, {} masks: {per_frame} bytes a frame", masks.len());
        assert_eq!(meter.frames, 120);
        assert!(per_frame < 4096, "{per_frame} bytes a frame");
    }
}
