//! What a chain and a camera cost on this machine, measured by running them.
//!
//! Owner: the caller's thread. CPU time of the whole process counts, not time on the wall, so what other programs take
//! meanwhile does not. Invariant: no measurement takes longer than five seconds, but for loading a model and for one run
//! that alone does.

use std::time::Duration;

use aimass_core::finding::StageTimes;
use aimass_core::frame::Frame;
use aimass_core::motion::{MotionConfig, MotionGate};
use aimass_core::runtime::clock::{SharedClock, Stopwatch, SystemClock};
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Flow, FrameSink, SourceError, SourceErrorKind, StreamInfo};
use aimass_inference::{AnalyzerConfig, ModelCache};
use aimass_media::video::{SourceOptions, SourceUri};
use serde::Serialize;

use crate::board::process;
use crate::pipeline::chain::{Chain, Link, useful_side_px};

/// How long one measurement may take.
const AT_MOST: Duration = Duration::from_secs(5);
/// A chain that is quick is not run for longer than this.
const CHAIN_FOR: Duration = Duration::from_secs(2);
/// Frames that are measured at least, after one that pays for caches.
const RUNS: usize = 3;
/// A camera is watched for so long.
const SOURCE_FOR: Duration = Duration::from_millis(2500);
/// What a camera's pictures are like when nobody knows better.
const TEST_PICTURE: &str = "test:?width=1280&height=720&frames=1&realtime=false";

/// What a chain costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChainCost {
    /// CPU milliseconds a frame, the median.
    pub frame_ms: f64,
    /// Of that, from planes to tensors.
    pub prepare_ms: f64,
    /// Of that, in models.
    pub infer_ms: f64,
    /// Of that, from model outputs to findings.
    pub decode_ms: f64,
    /// CPU milliseconds of loading, once.
    pub load_ms: f64,
    /// Frames that were measured.
    pub runs: usize,
    /// Memory of the models, shared by all cameras that use them.
    pub models_bytes: u64,
    /// Memory that each camera takes besides.
    pub session_bytes: u64,
}

/// Measures a chain on the test picture. The chain is handed back, so that its models stay loaded for others.
///
/// # Errors
/// A model is missing or cannot run.
pub fn chain(links: &[Link], models: &ModelCache) -> Result<(ChainCost, Chain), String> {
    let links: Vec<Link> = links.iter().cloned().map(|(name, config)| (name, at_its_worst(config))).collect();
    let frame = test_frame(useful_side_px(&links, models)).map_err(|e| e.to_string())?;
    let resident = || process::memory_bytes().0;
    let (before, begun) = (resident(), process::cpu_time());
    let mut chain = Chain::build(&links, models).map_err(|e| e.to_string())?;
    let load = process::cpu_time().saturating_sub(begun);
    let run = |chain: &mut Chain| {
        let begun = process::cpu_time();
        let findings = chain.analyze(&frame).map_err(|e| e.to_string())?;
        Ok::<_, String>((process::cpu_time().saturating_sub(begun), findings.times))
    };
    run(&mut chain)?;
    let models_bytes = resident().saturating_sub(before);
    let mut watch = Stopwatch::start();
    let mut passed = Duration::ZERO;
    let (mut laps, mut times) = (Vec::new(), StageTimes::default());
    while (laps.len() < RUNS || passed < CHAIN_FOR) && passed < AT_MOST {
        let (lap, stages) = run(&mut chain)?;
        laps.push(lap);
        times += stages;
        passed += watch.lap();
    }
    let before = resident();
    let mut second = Chain::build(&links, models).map_err(|e| e.to_string())?;
    run(&mut second)?;
    let session_bytes = resident().saturating_sub(before);
    laps.sort_unstable();
    let (runs, ms) = (laps.len(), |d: Duration| d.as_secs_f64() * 1e3);
    // The stages are measured by the wall, where other programs count too; so only their shares are used.
    let frame_ms = ms(laps[runs / 2]);
    let wall = (times.prepare + times.infer + times.decode).as_secs_f64().max(1e-9);
    let of_frame = |d: Duration| frame_ms * d.as_secs_f64() / wall;
    let cost = ChainCost {
        frame_ms,
        prepare_ms: of_frame(times.prepare),
        infer_ms: of_frame(times.infer),
        decode_ms: of_frame(times.decode),
        load_ms: ms(load),
        runs,
        models_bytes,
        session_bytes,
    };
    Ok((cost, chain))
}

/// An analyzer that runs only where there is something to look at is measured as if there always were.
fn at_its_worst(mut config: AnalyzerConfig) -> AnalyzerConfig {
    if let AnalyzerConfig::Faces(faces) = &mut config {
        faces.inside = None;
    }
    config
}

fn test_frame(max_side_px: u32) -> Result<Frame, SourceError> {
    let uri: SourceUri =
        TEST_PICTURE.parse().map_err(|e| SourceError::new(SourceErrorKind::Config, format!("{e}")))?;
    let id = "probe".parse().map_err(|e| SourceError::new(SourceErrorKind::Config, format!("{e}")))?;
    let mut options = SourceOptions::new(id, uri);
    (options.fps, options.max_side_px) = (0.0, max_side_px);
    let mut first = First(None);
    options.build(SystemClock::shared())?.run_once(&mut first, &StopToken::new())?;
    first.0.ok_or_else(|| SourceError::new(SourceErrorKind::NotMedia, "the test picture does not come"))
}

struct First(Option<Frame>);

impl FrameSink for First {
    fn opened(&mut self, _: &StreamInfo) {}

    fn frame(&mut self, frame: Frame) -> Flow {
        self.0 = Some(frame);
        Flow::Stop
    }
}

/// What a camera's pictures cost before any chain sees them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceCost {
    /// Receiving, decoding, shrinking and the motion gate, in cores.
    pub cores: f64,
    /// Frames that came in that time.
    pub frames: u32,
    /// For how long it was watched, in seconds.
    pub seconds: f64,
    /// As the camera sends it.
    pub width: u32,
    /// As the camera sends it.
    pub height: u32,
    /// Container, codec, pixel format, decoder.
    pub description: String,
    /// Memory that it takes.
    pub memory_bytes: u64,
}

/// Opens a camera and watches it for some seconds.
///
/// # Errors
/// It does not deliver.
pub fn source(mut options: SourceOptions) -> Result<SourceCost, SourceError> {
    // Too few frames say nothing.
    options.fps = options.fps.max(2.0);
    options.open_timeout = options.open_timeout.min(AT_MOST);
    options.stall_after = options.stall_after.min(AT_MOST);
    let clock = SystemClock::shared();
    let resident = process::memory_bytes().0;
    let gate = MotionGate::new(MotionConfig::default());
    let mut sink = Watching {
        clock: clock.clone(),
        gate,
        since: None,
        now: Duration::ZERO,
        cpu: Duration::ZERO,
        frames: 0,
        info: None,
    };
    options.build(clock)?.run_once(&mut sink, &StopToken::new())?;
    let (begun, cpu_before) = sink.since.unwrap_or_default();
    let seconds = sink.now.saturating_sub(begun).as_secs_f64();
    if sink.frames < 2 || seconds < 0.1 {
        return Err(SourceError::new(SourceErrorKind::NotMedia, "too short to be measured"));
    }
    let info = sink.info.unwrap_or_default();
    Ok(SourceCost {
        cores: sink.cpu.saturating_sub(cpu_before).as_secs_f64() / seconds,
        frames: sink.frames,
        seconds,
        width: info.width,
        height: info.height,
        description: info.description,
        memory_bytes: process::memory_bytes().0.saturating_sub(resident),
    })
}

/// Counts from the first frame on: what comes before is opening.
struct Watching {
    clock: SharedClock,
    gate: MotionGate,
    since: Option<(Duration, Duration)>,
    now: Duration,
    cpu: Duration,
    frames: u32,
    info: Option<StreamInfo>,
}

impl FrameSink for Watching {
    fn opened(&mut self, info: &StreamInfo) {
        self.info = Some(info.clone());
    }

    fn frame(&mut self, frame: Frame) -> Flow {
        self.gate.gate(&frame);
        self.frames += 1;
        (self.now, self.cpu) = (self.clock.monotonic(), process::cpu_time());
        let (begun, _) = *self.since.get_or_insert((self.now, self.cpu));
        if self.now.saturating_sub(begun) >= SOURCE_FOR { Flow::Stop } else { Flow::Continue }
    }
}
