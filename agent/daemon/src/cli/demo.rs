//! `aimass-agent demo`: the whole node in one process, with a broker of its own; each event a line on stdout.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::event::Event;
use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_media::video::SourceUri;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::cli::args::DemoArgs;
use crate::cli::demo_broker;
use crate::cli::runtime::block_on;
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::health::document::SourceHealth;
use crate::identity::Node;
use crate::node::running::{self, Running, count_event};
use crate::node::signals::Signals;

/// How often a demo without events looks whether it is over.
const LOOK: Duration = Duration::from_millis(200);

/// What a demo has done.
#[derive(Debug, Serialize)]
struct Summary {
    seconds: f64,
    first_event_s: Option<f64>,
    frames_seen: u64,
    frames_analysed: u64,
    frames_idle: u64,
    fps_analysed: f64,
    events: BTreeMap<String, u64>,
    delivered: u64,
    stage_ms: BTreeMap<Cow<'static, str>, f64>,
    cpu_s: f64,
    peak_rss_bytes: u64,
}

/// Runs until the time is over, the source ends, or a signal.
///
/// # Errors
/// `Usage` for a source that makes no sense; `Unavailable` or `BadInput` for one that does not deliver.
pub fn run(args: &DemoArgs) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let broker = match &args.broker {
        Some(url) => url.clone(),
        None => format!("mqtt://{}", demo_broker::start()?),
    };
    let config = configuration(args, &broker, &folder.0)?;
    let clock = SystemClock::shared();
    let node = Node::new(config.node.site.clone(), config.node.id.clone(), clock);
    block_on(async {
        let mut signals = Signals::new()?;
        let running = running::start(&config, node).await?;
        let source = args.source.parse::<SourceUri>().map(|uri| uri.to_string()).unwrap_or_default(); // no secrets
        tracing::info!(page = %format!("http://{}", running.address), broker, source, "The demo runs.");
        let limit = args.seconds.map(Duration::from_secs);
        let mut events = running.handle.subscribe_events();
        let (outcome, mut seen) = watch(&running, &mut events, limit, &mut signals).await;
        signals.leave_on_next();
        let (node, clock) = (running.handle.clone(), running.node.clock.clone());
        running.stop().await;
        // What was in view has ended with the node.
        while let Ok(event) = events.try_recv() {
            seen.note(&event, clock.as_ref());
        }
        let summary = summarise(&node.health(), seen, clock.as_ref());
        tell(&summary, args.summary.as_deref())?;
        outcome
    })
}

/// What was seen on the way.
#[derive(Default)]
struct Seen {
    events: BTreeMap<String, u64>,
    first: Option<Duration>,
}

impl Seen {
    /// Prints an event and counts it.
    #[expect(clippy::print_stdout, reason = "events are what this command answers")]
    fn note(&mut self, event: &Event, clock: &dyn Clock) {
        self.first.get_or_insert_with(|| clock.monotonic());
        count_event(&mut self.events, event);
        println!("{}", serde_json::to_string(event).unwrap_or_default());
    }
}

async fn watch(
    running: &Running,
    events: &mut Receiver<Arc<Event>>,
    limit: Option<Duration>,
    signals: &mut Signals,
) -> (Result<(), Failure>, Seen) {
    let mut seen = Seen::default();
    let end = limit.map(|l| Instant::now() + l);
    let over = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return (Ok(()), seen),
            () = signals.wait() => return (Ok(()), seen),
            got = events.recv() => match got {
                Ok(event) => seen.note(&event, running.node.clock.as_ref()),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "Events were too many to print; the broker has them."),
                Err(RecvError::Closed) => return (Ok(()), seen),
            },
            () = tokio::time::sleep(LOOK) => {
                if let Some(outcome) = ended(running) {
                    return (outcome, seen);
                }
            }
        }
    }
}

/// Whether the source is over, or will never deliver or be analysed.
fn ended(running: &Running) -> Option<Result<(), Failure>> {
    let view = running.handle.sources().first().cloned()?;
    if let Some(problem) = view.problem() {
        return Some(Err(Failure::BadInput(problem)));
    }
    if running.is_over() {
        return Some(Ok(()));
    }
    let status = view.status();
    // A clip that cannot be played will not become better; a camera may come back.
    let hopeless = status.state == crate::health::document::ConnectionState::Failed
        && view.stream().is_none()
        && view.facts().is_file;
    hopeless
        .then(|| Err(Failure::BadInput(status.error.unwrap_or_else(|| "the source does not deliver".into()))))
}

fn configuration(args: &DemoArgs, broker: &str, folder: &Path) -> Result<Config, Failure> {
    let uri: SourceUri = args.source.parse().map_err(|e| Failure::Usage(format!("--source: {e}")))?;
    if let Some(path) = uri.file_path().filter(|p| !p.exists()) {
        let message =
            format!("--source: {} does not exist; try the built-in picture: --source test:", path.display());
        return Err(Failure::Unavailable(message));
    }
    let document = json!({
        "node": { "site": "demo", "id": "demo" },
        "broker": { "url": broker },
        "camera": [{
            "id": "clip",
            "source": args.source,
            "fps": args.fps,
            "chain": args.chain,
            "zone": [{
                "id": "road", "polygon": [[0.02, 0.45], [0.98, 0.45], [0.98, 0.99], [0.02, 0.99]],
                "labels": ["person", "bicycle", "car", "motorcycle", "bus", "truck"], "dwell_s": 4,
            }],
            "line": [{ "id": "middle", "from": [0.5, 0.99], "to": [0.5, 0.3] }],
        }],
        "http": { "listen": args.listen },
        "inference": { "model_folders": args.models },
        "store": { "path": folder.join("agent.db"), "max_mib": 16 },
    });
    config::from_document(document).map_err(|e| Failure::Usage(e.to_string()))
}

fn summarise(health: &crate::health::document::HealthDocument, seen: Seen, clock: &dyn Clock) -> Summary {
    let seconds = clock.monotonic().as_secs_f64();
    let sum = |of: fn(&SourceHealth) -> u64| health.sources.iter().map(of).sum::<u64>();
    let analysed = sum(|s| s.frames_analysed_total);
    Summary {
        seconds,
        first_event_s: seen.first.map(|f| f.as_secs_f64()),
        frames_seen: sum(|s| s.frames_received_total),
        frames_analysed: analysed,
        frames_idle: sum(|s| s.frames_skipped_total),
        fps_analysed: analysed as f64 / seconds.max(0.001),
        events: seen.events,
        delivered: health.broker.delivered_total,
        stage_ms: health.sources.first().map(SourceHealth::stage_ms_mean).unwrap_or_default(),
        cpu_s: health.cpu_seconds_total,
        peak_rss_bytes: health.peak_rss_bytes,
    }
}

/// The summary, for people on stderr (stdout holds the events), for programs in a file.
#[expect(clippy::print_stderr, reason = "the summary is part of the answer")]
fn tell(summary: &Summary, file: Option<&Path>) -> Result<(), Failure> {
    eprintln!("\nSummary of {:.1} s", summary.seconds);
    eprintln!(
        "  frames      {} seen, {} analysed ({:.1} a second), {} idle",
        summary.frames_seen, summary.frames_analysed, summary.fps_analysed, summary.frames_idle
    );
    let first = summary.first_event_s.map_or("none".to_owned(), |s| format!("the first after {s:.2} s"));
    eprintln!(
        "  events      {} ({first}); {} messages acknowledged by the broker",
        summary.events.values().sum::<u64>(),
        summary.delivered
    );
    for (kind, count) in &summary.events {
        eprintln!("              {count:>5}  {kind}");
    }
    let stages: Vec<String> = summary.stage_ms.iter().map(|(stage, ms)| format!("{stage} {ms:.2}")).collect();
    eprintln!("  stages      {} (mean ms a frame)", stages.join(", "));
    eprintln!(
        "  memory      {:.1} MB at most; {:.1} CPU seconds",
        summary.peak_rss_bytes as f64 / 1e6,
        summary.cpu_s
    );
    let Some(path) = file else { return Ok(()) };
    let text = serde_json::to_vec_pretty(summary).map_err(|e| Failure::Bug(e.to_string()))?;
    aimass_core::runtime::files::write_atomically(path, &text)
        .map_err(|e| Failure::Unavailable(format!("--summary: cannot write {}: {e}", path.display())))
}

/// A folder for the demo's store, gone afterwards.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    /// A new one, for this process.
    ///
    /// # Errors
    /// There is no place for it.
    pub fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("aimass-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|e| Failure::Unavailable(format!("cannot make {}: {e}", path.display())))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
