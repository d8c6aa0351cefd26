//! One microphone: the thread `mic-<id>`, which takes windows from the source, judges and meters them.
//!
//! Invariants: it is woken once a window; a panic is caught and the thread alone begins anew; what it hears leaves it as
//! levels and losses only. Who listens to the sound itself gets it here, behind a one-deep slot, as a chain its frames.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::analytics::StateValue;
use aimass_core::audio::{AudioChunk, AudioHealthConfig, Level, LevelConfig, Meter};
use aimass_core::runtime::clock::{SharedClock, Stopwatch};
use aimass_core::runtime::stop::StopToken;
use aimass_core::runtime::worker::{RestartPolicy, Worker, WorkerContext, WorkerRegistry};
use aimass_core::traits::{Flow, FrameSink, StreamInfo};
use aimass_media::audio::MicrophoneOptions;
use aimass_media::reconnect::{camera_backoff, run_forever};
use aimass_protocol::state::LevelState;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::MicrophoneConfig;
use crate::exit::Failure;
use crate::pipeline::processor::Input;
use crate::pipeline::source_health::MicrophoneHealth;
use crate::pipeline::source_state;
use crate::pipeline::views::SourceView;

/// The state that tells a microphone's level.
pub const LEVEL: &str = "level";
/// Beyond the time that a microphone may take by its configuration.
const MARGIN: Duration = Duration::from_secs(30);

/// What a microphone's thread is made of.
pub struct MicrophoneParts {
    /// The source.
    pub source: MicrophoneOptions,
    /// When its level is told.
    pub level: LevelConfig,
    /// What counts as a loss.
    pub hearing: AudioHealthConfig,
    /// Figures for viewers.
    pub view: Arc<SourceView>,
    /// To the task `events`.
    pub events: mpsc::Sender<Input>,
    /// The program's clock.
    pub clock: SharedClock,
}

/// A microphone's configuration as the source's options.
///
/// # Errors
/// `BadInput` for an address that makes no sense.
pub fn source_of(microphone: &MicrophoneConfig) -> Result<MicrophoneOptions, Failure> {
    let uri = microphone.source.parse();
    let uri = uri.map_err(|e| Failure::BadInput(format!("microphone {}: {e}", microphone.id)))?;
    let mut options = MicrophoneOptions::new(microphone.id.clone(), uri);
    options.stall_after = Duration::from_secs_f32(microphone.stall_after_s);
    options.open_timeout = Duration::from_secs_f32(microphone.open_timeout_s);
    Ok(options)
}

/// The value of the state `level`; without one it is not known, as while the microphone is away.
pub fn level_value(level: Option<Level>) -> Value {
    let state = LevelState::from(level.map(aimass_protocol::state::Level::from));
    serde_json::to_value(state).unwrap_or_default()
}

/// Starts the thread. It ends when `stop` is requested, or the source ends by itself.
///
/// # Errors
/// The system refuses a thread.
pub fn start(parts: MicrophoneParts, workers: &WorkerRegistry, stop: &StopToken) -> std::io::Result<Worker> {
    let name = format!("mic-{}", parts.view.id);
    workers.spawn(&name, RestartPolicy::default(), stop.clone(), move |context| listen(&parts, context))
}

fn listen(parts: &MicrophoneParts, context: &WorkerContext) -> Result<(), String> {
    let view = &parts.view;
    let now = || parts.clock.wall();
    let ears = RefCell::new(MicrophoneHealth::new(parts.hearing.clone(), parts.clock.clone()));
    let tell = |report| {
        // An error only when the program is ending.
        parts.events.blocking_send(Input::Sight { source: view.id.clone(), report }).ok();
    };
    context.extend_deadline(source_state::STARTING);
    let mut source = match parts.source.clone().build(parts.clock.clone()) {
        Ok(source) => source,
        Err(error) => {
            source_state::note_unbuildable(view, &error, now());
            context.suspend();
            tell(ears.borrow().failed(&error));
            return Ok(());
        }
    };
    let quiet = parts.source.open_timeout.max(parts.source.stall_after) + MARGIN;
    let meter = Meter::new(parts.level.clone());
    let mut sink = FrameHandler { parts, context, ears: &ears, meter, quiet };
    let mut failures = source_state::Failures::default();
    run_forever(source.as_mut(), &mut sink, context.stop(), &mut camera_backoff(&view.id), |state| {
        let quiet = quiet + state.wait();
        context.extend_deadline(quiet);
        if context.stop().is_requested() {
            // Whatever ends late has no say any more: the same microphone may be at work anew.
            return;
        }
        source_state::note(view, &state, &mut failures, now());
        if let Some(report) = ears.borrow_mut().state(&state) {
            if report.is_blind() {
                view.set_level(None);
            }
            context.suspend();
            tell(report);
            context.extend_deadline(quiet);
        }
    });
    Ok(())
}

/// What a microphone delivers to.
struct FrameHandler<'a> {
    parts: &'a MicrophoneParts,
    context: &'a WorkerContext,
    ears: &'a RefCell<MicrophoneHealth>,
    meter: Meter,
    /// How long the next window may take.
    quiet: Duration,
}

impl FrameSink<AudioChunk> for FrameHandler<'_> {
    fn opened(&mut self, info: &StreamInfo) {
        if self.ears.borrow_mut().opened() {
            self.meter.reopened();
        }
        self.parts.view.set_stream(info.clone());
    }

    fn frame(&mut self, window: AudioChunk) -> Flow {
        self.context.beat();
        let flow = self.take(&window);
        self.context.extend_deadline(self.quiet);
        flow
    }
}

impl FrameHandler<'_> {
    fn take(&mut self, window: &AudioChunk) -> Flow {
        if self.context.stop().is_requested() {
            return Flow::Stop;
        }
        let view = &self.parts.view;
        view.counters.seen.fetch_add(1, Ordering::Relaxed);
        let mut watch = Stopwatch::start();
        let (level, report) = self.ears.borrow_mut().window(window);
        let news = self.meter.hear(window);
        view.counters.gate_us.fetch_add(watch.lap().as_micros() as u64, Ordering::Relaxed);
        view.set_level(Some(level));
        let source = || view.id.clone();
        let sight = report.map(|report| Input::Sight { source: source(), report });
        let level = news.map(|level| {
            let state = StateValue { name: LEVEL.to_owned(), value: level_value(Some(level)) };
            Input::State { source: source(), state }
        });
        for input in sight.into_iter().chain(level) {
            self.context.suspend();
            if self.parts.events.blocking_send(input).is_err() {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }
}
