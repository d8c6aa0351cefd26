//! One camera: the thread `src-<id>` (source, motion gate) and the thread `an-<id>` (the chain), with the
//! one-deep slot between them.
//!
//! Invariants: the source's thread never waits for the analyzer's unless the source is an unpaced file; a panic
//! in either is caught and that thread alone begins anew.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aimass_core::frame::Frame;
use aimass_core::motion::{MotionConfig, MotionGate};
use aimass_core::runtime::clock::{SharedClock, Stopwatch};
use aimass_core::runtime::latest_slot::{LatestSlotReceiver, LatestSlotSender, Put, Taken, latest_slot};
use aimass_core::runtime::semaphore::FairSemaphore;
use aimass_core::runtime::stop::StopToken;
use aimass_core::runtime::worker::{RestartPolicy, Worker, WorkerContext, WorkerRegistry};
use aimass_core::source_health::VideoHealthConfig;
use aimass_core::traits::{Flow, FrameSink, Source, StreamInfo};
use aimass_inference::{InferenceError, ModelCache};
use aimass_media::reconnect::{camera_backoff, run_forever};
use aimass_media::video::SourceOptions;
use tokio::sync::mpsc;

use crate::board::process::thread_cpu;
use crate::pipeline::chain::{self, Chain, Link};
use crate::pipeline::processor::Input;
use crate::pipeline::source_health::CameraHealth;
use crate::pipeline::source_state;
use crate::pipeline::views::SourceView;

/// How often a waiting thread looks at its stop and shows that it lives.
const LOOK: Duration = Duration::from_millis(500);

/// Beyond the time that a camera may take by its configuration: for closing what hangs, and for slow machines.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a model may take to be loaded, unfolded and, the first time, measured on a slow board.
const LOADING: Duration = Duration::from_secs(300);

/// What a camera's threads are made of.
#[derive(Clone)]
pub struct CameraParts {
    /// The source; the size cap comes from the chain.
    pub source: SourceOptions,
    /// The motion gate.
    pub motion: MotionConfig,
    /// What counts as a loss of sight.
    pub sight: VideoHealthConfig,
    /// The analyzers.
    pub chain: Vec<Link>,
    /// Frames that were replaced in earlier lives of this camera: its slot counts from 0.
    pub replaced_before: u64,
    /// Figures and pictures for viewers.
    pub view: Arc<SourceView>,
    /// The models.
    pub models: Arc<ModelCache>,
    /// How many inferences may run at once.
    pub permits: FairSemaphore,
    /// To the task `events`.
    pub events: mpsc::Sender<Input>,
    /// The program's clock.
    pub clock: SharedClock,
}

/// Starts the two threads. They end when `stop` is requested, or the source ends by itself.
///
/// # Errors
/// The system refuses a thread.
pub fn start(
    parts: &CameraParts,
    workers: &WorkerRegistry,
    stop: &StopToken,
) -> std::io::Result<[Worker; 2]> {
    let id = parts.view.id.clone();
    let (to_chain, from_source) = latest_slot();
    let (heads, tails) = (parts.clone(), parts.clone());
    // The slot's ends live as long as their threads do, over restarts.
    let to_chain = Mutex::new(Some(to_chain));
    let head =
        workers.spawn(&format!("src-{id}"), RestartPolicy::default(), stop.clone(), move |context| {
            let mut slot = to_chain.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(sender) = slot.as_ref() else { return Ok(()) };
            let outcome = run_source(&heads, sender, context);
            if outcome.is_ok() {
                *slot = None; // closes the slot, and so ends the analyzer
            }
            outcome
        })?;
    let tail =
        workers.spawn(&format!("an-{id}"), RestartPolicy::default(), stop.clone(), move |context| {
            run_chain(&tails, &from_source, context)
        })?;
    Ok([head, tail])
}

fn run_source(
    parts: &CameraParts,
    to_chain: &LatestSlotSender<Frame>,
    context: &WorkerContext,
) -> Result<(), String> {
    let view = &parts.view;
    let now = || parts.clock.wall();
    let mut options = parts.source.clone();
    let eyes = RefCell::new(CameraHealth::new(parts.sight.clone(), &parts.source, parts.clock.clone()));
    let tell = |report| {
        // An error only when the program is ending.
        parts.events.blocking_send(Input::Sight { source: view.id.clone(), report }).ok();
    };
    options.max_side_px = chain::useful_side_px(&parts.chain, &parts.models);
    context.extend_deadline(source_state::STARTING);
    let mut source = match options.build(parts.clock.clone()) {
        Ok(source) => source,
        Err(error) => {
            source_state::note_unbuildable(view, &error, now());
            context.suspend();
            tell(eyes.borrow().failed(&error));
            return Ok(());
        }
    };
    let paced = !view.facts().unpaced;
    let gate = MotionGate::new(parts.motion);
    let mut sink = FrameHandler { parts, to_chain, context, eyes: &eyes, gate, moving: None, paced };
    let mut failures = source_state::Failures::default();
    run_forever(
        source.as_mut() as &mut dyn Source,
        &mut sink,
        context.stop(),
        &mut camera_backoff(&view.id),
        |state| {
            let quiet = quiet_at_most(&parts.source, view.facts().fps_floor) + state.wait();
            context.extend_deadline(quiet);
            if context.stop().is_requested() {
                // Whatever ends late has no say any more: the same camera may be at work anew.
                return;
            }
            source_state::note(view, &state, &mut failures, now());
            if let Some(report) = eyes.borrow_mut().state(&state) {
                context.suspend();
                tell(report);
                context.extend_deadline(quiet);
            }
        },
    );
    Ok(())
}

/// How long a source that works may show nothing: a camera takes its time to open, and few frames a second, as the
/// governor may leave it, lie far apart.
fn quiet_at_most(source: &SourceOptions, floor_fps: f32) -> Duration {
    let apart = Duration::try_from_secs_f32(1.0 / floor_fps.min(source.fps)).unwrap_or_default();
    source.open_timeout.max(source.stall_after).max(apart) + MARGIN
}

/// What a source delivers to: counts, shows, gates, hands on.
struct FrameHandler<'a> {
    parts: &'a CameraParts,
    to_chain: &'a LatestSlotSender<Frame>,
    context: &'a WorkerContext,
    eyes: &'a RefCell<CameraHealth>,
    gate: MotionGate,
    moving: Option<bool>,
    paced: bool,
}

impl FrameSink for FrameHandler<'_> {
    fn opened(&mut self, info: &StreamInfo) {
        // While it was away, `events` took the motion for over: it is told anew.
        self.moving = None;
        self.eyes.borrow_mut().opened();
        self.parts.view.set_stream(info.clone());
    }

    fn frame(&mut self, frame: Frame) -> Flow {
        self.context.beat();
        let flow = self.take(frame);
        self.context.extend_deadline(quiet_at_most(&self.parts.source, self.parts.view.facts().fps_floor));
        flow
    }
}

impl FrameHandler<'_> {
    fn take(&mut self, frame: Frame) -> Flow {
        if self.context.stop().is_requested() {
            return Flow::Stop;
        }
        let (view, counters) = (&self.parts.view, &self.parts.view.counters);
        counters.seen.fetch_add(1, Ordering::Relaxed);
        view.show_frame(frame.clone());
        let mut watch = Stopwatch::start();
        let seen = self.eyes.borrow_mut().frame(&frame);
        let verdict = self.gate.gate(&frame);
        counters.gate_us.fetch_add(watch.lap().as_micros() as u64, Ordering::Relaxed);
        if let Some(report) = seen {
            let input = Input::Sight { source: view.id.clone(), report };
            self.context.suspend();
            if self.parts.events.blocking_send(input).is_err() {
                return Flow::Stop;
            }
        }
        if self.moving != Some(verdict.motion) {
            self.moving = Some(verdict.motion);
            let input = Input::Motion { source: view.id.clone(), moving: verdict.motion };
            self.context.suspend();
            if self.parts.events.blocking_send(input).is_err() {
                return Flow::Stop;
            }
        }
        if !verdict.analyse || !view.is_analysed() {
            counters.idle.fetch_add(1, Ordering::Relaxed);
            return Flow::Continue;
        }
        let put = if self.paced {
            self.to_chain.put(frame)
        } else {
            // An unpaced file has all the time in the world: it waits, so that every frame is analysed.
            self.context.suspend();
            self.to_chain.put_when_free(frame, self.context.stop())
        };
        let replaced = self.parts.replaced_before + self.to_chain.replaced();
        counters.replaced.store(replaced, Ordering::Relaxed);
        // A camera without a chain is still shown; a file that only the chain wanted is over.
        if put == Put::Closed && !self.paced { Flow::Stop } else { Flow::Continue }
    }
}

fn run_chain(
    parts: &CameraParts,
    frames: &LatestSlotReceiver<Frame>,
    context: &WorkerContext,
) -> Result<(), String> {
    let view = &parts.view;
    let mut chain = match load_chain(parts, context) {
        Ok(chain) => chain,
        Err(error) => {
            // Trying the same file again helps nobody; the camera's picture is still shown.
            tracing::error!(source = %view.id, %error, "The chain cannot run: this source is not analysed.");
            view.set_problem(error.to_string());
            return Ok(());
        }
    };
    let mut failing = false;
    loop {
        context.beat();
        let frame = match frames.take(LOOK) {
            Taken::Value(frame) => frame,
            Taken::TimedOut if context.stop().is_requested() => return Ok(()),
            Taken::TimedOut => continue,
            Taken::Closed => return Ok(()),
        };
        if view.share.wants_smaller() != view.share.is_smaller() {
            // The models of the one before are let go first: both at once may be too much for the board.
            drop(chain);
            chain = load_chain(parts, context).map_err(|error| error.to_string())?;
        }
        // Whoever has the permit shows life; who waits for it has nothing to show.
        context.suspend();
        let permit = parts.permits.acquire();
        context.beat();
        #[cfg(debug_assertions)]
        hang_if_asked(&view.id, frame.seq);
        let (before, mut watch) = (thread_cpu(), Stopwatch::start());
        let outcome = chain.analyze(&frame);
        let spent = thread_cpu().saturating_sub(before);
        view.counters.busy_us.fetch_add(watch.lap().as_micros() as u64, Ordering::Relaxed);
        drop(permit);
        view.counters.chain_cpu_us.fetch_add(spent.as_micros() as u64, Ordering::Relaxed);
        match outcome {
            Ok(findings) => {
                failing = false;
                view.counters.add_analysis(&findings.times);
                let input = Input::Analysed {
                    source: view.id.clone(),
                    frame: (frame.seq, frame.capture_time),
                    findings,
                };
                // A disk that is full makes the whole way wait; that is no reason to begin anew.
                context.suspend();
                if parts.events.blocking_send(input).is_err() {
                    return Ok(());
                }
            }
            Err(error) => {
                view.counters.errors.fetch_add(1, Ordering::Relaxed);
                if !failing {
                    tracing::error!(source = %view.id, frame = frame.seq, %error, "A frame could not be analysed.");
                }
                failing = true;
            }
        }
    }
}

/// Builds the chain with the models that the governor wants. Smaller ones that cannot run are done without.
fn load_chain(parts: &CameraParts, context: &WorkerContext) -> Result<Chain, InferenceError> {
    let (share, counters) = (&parts.view.share, &parts.view.counters);
    share.begin_loading();
    context.extend_deadline(LOADING);
    let before = thread_cpu();
    let models = share.models();
    let smaller = models.smaller.as_ref().filter(|_| share.wants_smaller());
    let mut is_smaller = smaller.is_some();
    let built = match smaller {
        Some(names) => Chain::build(&chain::with_models(&parts.chain, names), &parts.models),
        None => Chain::build(&parts.chain, &parts.models),
    };
    let chain = match built {
        Err(error) if is_smaller => {
            tracing::warn!(source = %parts.view.id, %error, "The smaller models cannot run: the camera goes without them.");
            share.without_smaller();
            is_smaller = false;
            Chain::build(&parts.chain, &parts.models)?
        }
        built => built?,
    };
    let load = thread_cpu().saturating_sub(before);
    counters.load_cpu_us.fetch_add(load.as_micros() as u64, Ordering::Relaxed);
    share.end_loading(is_smaller);
    if models.smaller.is_some() {
        tracing::info!(source = %parts.view.id, smaller = is_smaller, "The chain is ready.");
    }
    Ok(chain)
}

/// For tests of the watchdog, in builds with debug assertions only: `AIMASS_TEST_HANG_ANALYZER=<source>:<frame>`
/// makes this source's analyzer hang at the first frame with that number or a higher one, deaf to every stop.
#[cfg(debug_assertions)]
fn hang_if_asked(source: &aimass_core::id::Name, frame: u64) {
    let asked = std::env::var("AIMASS_TEST_HANG_ANALYZER").ok();
    let Some((id, first)) = asked.as_deref().and_then(|a| a.split_once(':')) else { return };
    if id == source.as_str() && first.parse().is_ok_and(|first: u64| frame >= first) {
        tracing::warn!(%source, frame, "This analyzer hangs, as the test asked.");
        loop {
            std::thread::park();
        }
    }
}
