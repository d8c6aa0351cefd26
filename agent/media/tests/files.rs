//! What clips promise beyond the contract: time over loops, masks that do not disturb decoding, nothing that
//! leaks, memory that is used again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#[path = "support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::time::Duration;

use aimass_core::frame::{Frame, Picture, PixelFormat};
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, SourceErrorKind, StreamInfo};
use support::*;

#[test]
fn a_masked_clip_decodes_the_unmasked_part_exactly_as_without_a_mask() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [MPEG4_AVI, VP8_WEBM, THEORA_OGG, MJPEG_MOV] {
        let path = clip(folder.path(), codec, (176, 144), 25, 60);
        let plain = options(file_uri(&path, "?realtime=false"));
        let mut masked = plain.clone();
        masked.masks = vec![left_half()];
        let plain = run_into(plain, Recorder::with_pixels(usize::MAX)).1.frames;
        let masked = run_into(masked, Recorder::with_pixels(usize::MAX)).1.frames;
        assert_eq!((plain.len(), masked.len()), (60, 60), "{codec}");
        assert_ne!(plain[0].right, plain[59].right, "{codec}: the picture moves");
        for (plain, masked) in plain.iter().zip(&masked) {
            assert_eq!(plain.right, masked.right, "{codec}: frame {}", plain.seq);
            assert!(masked.left.iter().all(|&v| v == 32), "{codec}: frame {}", plain.seq);
        }
    }
}

#[test]
fn time_goes_on_over_loops_by_the_length_of_the_clip() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [MPEG4_AVI, VP8_WEBM, MJPEG_MOV, THEORA_OGG] {
        let path = clip(folder.path(), codec, (160, 120), 10, 10);
        for query in ["?loop=true&realtime=false", "?loop=true"] {
            if query == "?loop=true" && codec != VP8_WEBM {
                continue;
            }
            let (_, recorder) = run(options(file_uri(&path, query)), 25);
            let frames = recorder.frames;
            assert_eq!(frames.len(), 25, "{codec}");
            for (n, frame) in frames.iter().enumerate() {
                let want = Duration::from_millis(100 * n as u64);
                let off = frame.elapsed.abs_diff(want);
                assert!(off <= Duration::from_millis(60), "{codec}{query}: frame {n} at {:?}", frame.elapsed);
                let wall = frame.wall.duration_since(frames[0].wall);
                assert_eq!(wall.unsigned_abs(), frame.elapsed - frames[0].elapsed, "{codec}");
            }
        }
    }
}

#[test]
fn every_frame_of_an_unpaced_clip_is_delivered_also_to_a_slow_sink() {
    struct Slow(usize);
    impl FrameSink for Slow {
        fn opened(&mut self, _: &StreamInfo) {}
        fn frame(&mut self, _: Frame) -> Flow {
            self.0 += 1;
            // Time passes as an inference would let it.
            StopToken::new().wait(Duration::from_millis(5));
            Flow::Continue
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), MPEG4_AVI, (160, 120), 25, 100);
    let frames = within(PATIENCE, move || {
        let mut slow = Slow(0);
        let options = options(file_uri(&path, "?realtime=false"));
        assert_eq!(source(options).run_once(&mut slow, &StopToken::new()), Ok(Ended::EndOfStream));
        slow.0
    });
    assert_eq!(frames, 100);
}

#[test]
fn a_clip_that_is_cut_off_anywhere_ends_or_fails_but_never_hangs() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [MPEG4_AVI, VP8_WEBM, THEORA_OGG, MJPEG_MOV, "avenc_mpeg4 ! mp4mux"] {
        let whole = std::fs::read(clip(folder.path(), codec, (160, 120), 50, 10)).unwrap();
        for eighth in 0..8 {
            let path = folder.path().join(format!("cut-{eighth}"));
            aimass_core::runtime::files::write_atomically(&path, &whole[..whole.len() * eighth / 8 + 20])
                .unwrap();
            for query in ["?realtime=false", ""] {
                let (result, recorder) = run(options(file_uri(&path, query)), usize::MAX);
                let told = match &result {
                    Ok(Ended::EndOfStream) => !recorder.frames.is_empty(),
                    Ok(Ended::Stopped) => false,
                    Err(error) => matches!(error.kind, SourceErrorKind::NotMedia | SourceErrorKind::Broken),
                };
                assert!(told, "{codec}, {eighth}/8 {query}: {result:?}");
            }
        }
    }
}

#[test]
fn pictures_keep_their_pixels_while_they_are_held() {
    /// Holds the newest few, as the slot and the analyzer do.
    struct Holding(Vec<(Picture, Vec<u8>)>);
    impl FrameSink for Holding {
        fn opened(&mut self, _: &StreamInfo) {}
        fn frame(&mut self, frame: Frame) -> Flow {
            let rows = |p: &Picture| (0..p.plane(0).rows).flat_map(|y| p.plane(0).row(y).to_vec()).collect();
            let bytes: Vec<u8> = rows(&frame.picture);
            self.0.push((frame.picture, bytes));
            if self.0.len() > 5 {
                let (picture, bytes) = self.0.remove(0);
                assert!(rows(&picture) == bytes, "a held picture changed");
            }
            Flow::Continue
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), MPEG4_AVI, (176, 144), 25, 50);
    within(PATIENCE, move || {
        let options = options(file_uri(&path, "?realtime=false"));
        source(options).run_once(&mut Holding(vec![]), &StopToken::new()).unwrap();
    });
}

/// Where the pictures' memory lies, over a run.
struct Places(HashSet<usize>, usize, Option<PixelFormat>);

impl FrameSink for Places {
    fn opened(&mut self, _: &StreamInfo) {}

    fn frame(&mut self, frame: Frame) -> Flow {
        self.0.insert(frame.picture.plane(0).data.as_ptr() as usize);
        self.1 += 1;
        self.2 = Some(frame.picture.format());
        Flow::Continue
    }
}

#[test]
fn memory_for_frames_comes_from_a_pool_whether_or_not_they_are_shrunk_or_masked() {
    let folder = tempfile::tempdir().unwrap();
    for codec in [MPEG4_AVI, VP8_WEBM, MJPEG_MOV] {
        let path = clip(folder.path(), codec, (640, 480), 25, 100);
        for (max_side, masks) in
            [(0, vec![]), (320, vec![]), (0, vec![left_half()]), (320, vec![left_half()])]
        {
            let mut options = options(file_uri(&path, "?realtime=false"));
            (options.max_side_px, options.masks) = (max_side, masks.clone());
            let places = within(PATIENCE, move || {
                let mut places = Places(HashSet::new(), 0, None);
                source(options).run_once(&mut places, &StopToken::new()).unwrap();
                places
            });
            let what = format!("{codec}, side {max_side}, {} masks", masks.len());
            println!("{what}: {} frames in {} places, {:?}", places.1, places.0.len(), places.2);
            assert_eq!(places.1, 100, "{what}");
            assert!(places.0.len() <= 12, "{what}: {} places", places.0.len());
        }
    }
}

/// Open file descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hundred_openings_and_loops_leak_neither_descriptors_nor_threads_nor_memory() {
    // In a process of its own: other tests open and close things at the same time.
    if std::env::var_os("AIMASS_LEAK_TEST").is_none() {
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_hundred_openings_and_loops_leak_neither_descriptors_nor_threads_nor_memory"])
            .args(["--nocapture"])
            .env("AIMASS_LEAK_TEST", "1")
            .status()
            .unwrap();
        assert!(done.success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), MPEG4_AVI, (320, 240), 25, 10);
    let once = || {
        let looped = options(file_uri(&path, "?realtime=false&loop=true"));
        let test = options("test:?width=320&height=240&realtime=false".parse().unwrap());
        let nobody = options("rtsp://127.0.0.1:1/x".parse().unwrap());
        for (options, most) in [(options(file_uri(&path, "?realtime=false")), 3), (looped, 35), (test, 3)] {
            assert_eq!(run(options, most).0, Ok(Ended::Stopped));
        }
        failure(nobody);
    };
    for _ in 0..10 {
        once();
    }
    let before = (descriptors(), threads(), resident_kib());
    for _ in 0..100 {
        once();
    }
    let after = (descriptors(), threads(), resident_kib());
    println!("descriptors, threads, KiB: {before:?} before, {after:?} after 400 runs");
    assert!(after.0 <= before.0 + 2, "descriptors: {before:?} {after:?}");
    assert!(after.1 <= before.1 + 2, "threads: {before:?} {after:?}");
    assert!(after.2 <= before.2 + 6000, "memory: {before:?} {after:?}");
}
