//! Tracks MOTChallenge detections, so that anybody can score the tracker with py-motmetrics.
//!
//! ```text
//! cargo run -p aimass-core --example mot -- DETECTIONS FPS [TRACKS] [confirm_frames]
//! ```
//!
//! Detections: a line each, `frame,-1,x,y,w,h,score,…` in pixels; further fields are passed over. Tracks:
//! `frame,id,x,y,w,h,score,-1,-1,-1` as MOTChallenge results, to the file or to stdout. Only boxes that were
//! seen in the frame are written, not those that are merely expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::finding::{Attributes, Finding, ModelRef};
use aimass_core::geometry::Region;
use aimass_core::tracking::{Tracker, TrackerConfig};

/// The detections by frame, in pixels: `[x, y, w, h, score]`.
type Detections = BTreeMap<u32, Vec<[f32; 5]>>;

fn parse(text: &str) -> Result<Detections, String> {
    let mut frames = Detections::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let bad = |what: &str| format!("line {}: {what} in \"{}\"", n + 1, line.escape_debug());
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() < 7 {
            return Err(bad("fewer than 7 fields (frame,id,x,y,w,h,score)"));
        }
        let frame: u32 = fields[0].parse().map_err(|_| bad("the frame is no whole number from 1"))?;
        if frame == 0 || frame > 1_000_000 {
            return Err(bad("the frame is not within 1..1000000"));
        }
        let mut values = [0.0f32; 5];
        for (value, (field, name)) in
            values.iter_mut().zip(fields[2..7].iter().zip(["x", "y", "w", "h", "score"]))
        {
            *value = field.parse().map_err(|_| bad(&format!("{name} is no number")))?;
            if !value.is_finite() || value.abs() > 1e6 {
                return Err(bad(&format!("{name} is out of range")));
            }
        }
        frames.entry(frame).or_default().push(values);
    }
    Ok(frames)
}

fn track(frames: &Detections, fps: f64, config: TrackerConfig) -> String {
    // The picture's size is not in the file: fractions of a square that holds all boxes do as well.
    let scale = frames.values().flatten().fold(1.0f32, |s, [x, y, w, h, _]| s.max(x + w).max(y + h));
    let model = Arc::new(ModelRef { name: "file".into(), version: "1".into(), sha256: String::new() });
    let mut tracker = Tracker::new(config);
    let mut out = String::new();
    let last = frames.keys().next_back().copied().unwrap_or(0);
    for frame in 1..=last {
        let detections = frames.get(&frame).map_or(&[][..], Vec::as_slice);
        let found = |&[x, y, w, h, score]: &[f32; 5]| Finding {
            label: "person".into(),
            score,
            region: Region { x: x / scale, y: y / scale, w: w / scale, h: h / scale },
            track: None,
            points: Vec::new(),
            attributes: Attributes::new(),
            model: model.clone(),
        };
        let mut findings: Vec<Finding> = detections.iter().map(found).collect();
        tracker.update(Duration::from_secs_f64(f64::from(frame) / fps), &mut findings);
        for (finding, [x, y, w, h, score]) in findings.iter().zip(detections) {
            if let Some(id) = finding.track {
                writeln!(out, "{frame},{id},{x},{y},{w},{h},{score},-1,-1,-1").expect("a String takes all");
            }
        }
    }
    out
}

fn run() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (file, fps) = match &args[..] {
        [file, fps, ..] if args.len() <= 4 => (file, fps),
        _ => return Err("usage: mot DETECTIONS FPS [TRACKS] [confirm_frames]".into()),
    };
    let fps: f64 =
        fps.parse().ok().filter(|f| (0.1..=1000.0).contains(f)).ok_or("FPS is not within 0.1..1000")?;
    let mut config = TrackerConfig::default();
    if let Some(frames) = args.get(3) {
        config.confirm_frames =
            frames.parse().ok().filter(|&n| n > 0).ok_or("confirm_frames is no whole number from 1")?;
    }
    let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let tracks = track(&parse(&text).map_err(|e| format!("{file}: {e}"))?, fps, config);
    match args.get(2).filter(|out| *out != "-") {
        #[expect(
            clippy::disallowed_methods,
            reason = "a result for people, not state that must survive a power cut"
        )]
        Some(out) => std::fs::write(out, tracks).map_err(|e| format!("{out}: {e}")),
        None => std::io::stdout().write_all(tracks.as_bytes()).map_err(|e| format!("stdout: {e}")),
    }
}

#[expect(clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mot: {problem}");
            ExitCode::from(64)
        }
    }
}
