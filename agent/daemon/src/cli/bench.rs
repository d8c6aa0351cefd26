//! `aimass-agent bench`: what a clip costs on this machine, by stage, through the real path: source, gate, chain,
//! tracking, store. The clip is taken as fast as it is analysed. The first opening, which loads the decoder's
//! libraries, is accounted for by itself as `start` and counted once.

#![expect(clippy::print_stdout, reason = "the figures are what this command answers")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use aimass_core::frame::Frame;
use aimass_core::runtime::clock::SystemClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Flow, FrameSink, StreamInfo};
use aimass_media::video::{SourceOptions, SourceUri};
use serde::Serialize;
use serde_json::json;

use crate::board::process;
use crate::cli::analyze::source_failure;
use crate::cli::args::{BenchArgs, Gate};
use crate::cli::demo::Folder;
use crate::cli::runtime::block_on;
use crate::config;
use crate::exit::Failure;
use crate::identity::Node;
use crate::node::running;

/// How often the bench looks whether the clip is over.
const LOOK: Duration = Duration::from_millis(50);

/// What a clip has cost.
#[derive(Debug, Serialize)]
struct Figures {
    source: String,
    chain: Vec<String>,
    frames_seen: u64,
    frames_analysed: u64,
    frames_idle: u64,
    inferences: u64,
    events: u64,
    clip_s: f64,
    seconds: f64,
    cpu_s: BTreeMap<&'static str, f64>,
    stage_ms: BTreeMap<Cow<'static, str>, f64>,
    outside_ms_per_frame: f64,
    peak_rss_bytes: u64,
}

/// Opens the clip, runs it once to decode it only, and once through everything.
///
/// # Errors
/// `Usage` for a source that is not a clip, `Unavailable` or `BadInput` for one that cannot be read.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let uri: SourceUri = args.source.parse().map_err(|e| Failure::Usage(format!("--source: {e}")))?;
    // Before anything is measured by itself: else its libraries would count as decoding.
    let started = decode_only(&uri, Flow::Stop).map(|_| process::cpu_seconds())?;
    let (decode_s, clip_s) = decode_only(&uri, Flow::Continue)?;
    let figures = through_everything(args, &uri, started, decode_s, clip_s)?;
    let text = serde_json::to_string_pretty(&figures).map_err(|e| Failure::Bug(e.to_string()))?;
    println!("{text}");
    let Some(path) = &args.json else { return Ok(()) };
    aimass_core::runtime::files::write_atomically(path, text.as_bytes())
        .map_err(|e| Failure::Unavailable(format!("--json: cannot write {}: {e}", path.display())))
}

/// Takes the stamps of frames and nothing else; whether it wants more.
struct Last(Duration, Flow);

impl FrameSink for Last {
    fn opened(&mut self, _: &StreamInfo) {}

    fn frame(&mut self, frame: Frame) -> Flow {
        self.0 = frame.capture_time.elapsed;
        self.1
    }
}

/// CPU seconds of decoding alone, and the clip's length in seconds: every frame is decoded, one a second leaves
/// the pipeline. `flow` says whether it goes on after the first frame.
fn decode_only(uri: &SourceUri, flow: Flow) -> Result<(f64, f64), Failure> {
    let id = "bench".parse().map_err(|e| Failure::Bug(format!("{e}")))?;
    let mut options = SourceOptions::new(id, uri.clone().offline());
    options.fps = 1.0;
    let mut source = options.build(SystemClock::shared()).map_err(source_failure)?;
    let (before, mut last) = (process::cpu_seconds(), Last(Duration::ZERO, flow));
    source.run_once(&mut last, &StopToken::new()).map_err(source_failure)?;
    Ok((process::cpu_seconds() - before, last.0.as_secs_f64()))
}

fn through_everything(
    args: &BenchArgs,
    uri: &SourceUri,
    start_s: f64,
    decode_s: f64,
    clip_s: f64,
) -> Result<Figures, Failure> {
    let folder = Folder::new()?;
    let document = json!({
        "node": { "site": "bench", "id": "bench" },
        "camera": [{
            "id": "clip",
            "source": uri.clone().offline().to_string(),
            "fps": if args.fps > 0.0 { args.fps } else { config::MAX_FPS },
            "chain": args.chain,
            "motion": { "enabled": args.gate == Gate::On },
        }],
        "http": { "listen": "127.0.0.1:0" },
        "inference": { "model_folders": args.models, "engine": args.engine },
        "store": { "path": folder.0.join("agent.db"), "max_mib": 64 },
    });
    let config = config::from_document(document).map_err(|e| Failure::Usage(e.to_string()))?;
    let node = Node::new(config.node.site.clone(), config.node.id.clone(), SystemClock::shared());
    let before = process::cpu_seconds();
    block_on(async {
        let running = running::start(&config, node).await?;
        let view = running.handle.sources().first().cloned();
        let view = view.ok_or_else(|| Failure::Bug("the bench has no source".into()))?;
        while !running.is_over() {
            if let (Some(error), crate::health::document::ConnectionState::Failed) =
                (view.status().error, view.status().state)
            {
                return Err(Failure::BadInput(error));
            }
            if let Some(problem) = view.problem() {
                return Err(Failure::BadInput(problem));
            }
            tokio::time::sleep(LOOK).await;
        }
        // A source whose chain cannot run is over at once.
        if let Some(problem) = view.problem() {
            return Err(Failure::BadInput(problem));
        }
        let (node, clock) = (running.handle.clone(), running.node.clock.clone());
        running.stop().await;
        let health = node.health();
        let source = health.sources.first().ok_or_else(|| Failure::Bug("the bench has no source".into()))?;
        let total = start_s + process::cpu_seconds() - before;
        let cpu = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed) as f64 / 1e6
        };
        let (load_s, chain_s) = (cpu(&view.counters.load_cpu_us), cpu(&view.counters.chain_cpu_us));
        // The stages are measured by the wall, where other programs count too; so only their shares are used.
        let of = |stage: &str| source.stage_seconds_total.get(stage).copied().unwrap_or(0.0);
        let wall = of("preprocess") + of("infer") + of("postprocess");
        let infer = if wall > 0.0 { chain_s * of("infer") / wall } else { 0.0 };
        let outside = (total - start_s - decode_s - load_s - infer).max(0.0);
        let frames = source.frames_analysed_total.max(1) as f64;
        Ok(Figures {
            source: args.source.clone(),
            chain: args.chain.clone(),
            frames_seen: source.frames_received_total,
            frames_analysed: source.frames_analysed_total,
            frames_idle: source.frames_skipped_total,
            inferences: source.inferences_total,
            events: health.outbox.newest_seq,
            clip_s,
            seconds: clock.monotonic().as_secs_f64(),
            cpu_s: BTreeMap::from([
                ("total", total),
                ("start", start_s),
                ("decode", decode_s),
                ("load", load_s),
                ("infer", infer),
                ("outside", outside),
            ]),
            stage_ms: source.stage_ms_mean(),
            outside_ms_per_frame: outside * 1000.0 / frames,
            peak_rss_bytes: process::memory_bytes().1,
        })
    })
}
