//! Runs a source for ever: attempts with backoff in between, and tells how it goes.
//!
//! Owner: the source's thread. Invariant: a wait between two attempts ends at once when the stop is requested; a
//! camera that comes back is tried within the backoff's longest wait; a source that breaks soon after each start is
//! not started over and over without a growing wait; one that only somebody can help is tried each minute, because
//! another camera may be plugged in. (GStreamer knows plug-ins that are installed later after a restart only: its registry
//! cannot be read again while pipelines run.)

use std::time::Duration;

use aimass_core::id::Name;
use aimass_core::runtime::backoff::Backoff;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{
    Ended, Flow, FrameSink, Source, SourceError, SourceErrorKind, StreamInfo, Timestamped,
};

/// How a source is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceState {
    /// An attempt is under way; counts attempts since the last frame, from 1.
    Connecting {
        /// Which attempt.
        attempt: u32,
    },
    /// Frames come.
    Delivering(StreamInfo),
    /// Frames stopped coming; the next attempt follows.
    Stalled {
        /// For people.
        message: String,
        /// The wait before the next attempt.
        retry_in: Duration,
    },
    /// The attempt failed.
    Failed {
        /// Kind and message.
        error: SourceError,
        /// The wait before the next attempt.
        retry_in: Duration,
    },
    /// It is over.
    Ended(Ended),
}

impl SourceState {
    /// How long the source rests before its next attempt.
    pub fn wait(&self) -> Duration {
        match self {
            SourceState::Stalled { retry_in, .. } | SourceState::Failed { retry_in, .. } => *retry_in,
            SourceState::Connecting { .. } | SourceState::Delivering(_) | SourceState::Ended(_) => {
                Duration::ZERO
            }
        }
    }
}

/// Frames that span this time on the source's own timeline make an attempt a success: the next wait is short again.
const STEADY: Duration = Duration::from_secs(10);

/// The wait after [`SourceErrorKind::Config`].
const UNTIL_SOMEBODY_LOOKED: Duration = Duration::from_secs(60);

/// Waits for a camera: 0.5 s, doubling to 5 s, each source with its own jitter.
pub fn camera_backoff(id: &Name) -> Backoff {
    // FNV-1a: the same on every start, different for every id.
    let seed = id
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Backoff::new(Duration::from_millis(500), Duration::from_secs(5), seed)
}

/// Runs the source until it ends by itself, the stop is requested or the sink has enough.
///
/// `on_state` is called on this thread, for every change; the last one is `Ended`.
pub fn run_forever<F: Timestamped>(
    source: &mut dyn Source<F>,
    sink: &mut dyn FrameSink<F>,
    stop: &StopToken,
    backoff: &mut Backoff,
    mut on_state: impl FnMut(SourceState),
) -> Ended {
    let mut attempt = 0u32;
    loop {
        attempt = attempt.saturating_add(1);
        on_state(SourceState::Connecting { attempt });
        let mut watched = Watched { sink, on_state: &mut on_state, info: None, since: None, steady: false };
        let result = source.run_once(&mut watched, stop);
        if watched.since.is_some() {
            attempt = 0;
        }
        if watched.steady {
            backoff.reset();
        }
        let error = match result {
            Ok(ended) => {
                on_state(SourceState::Ended(ended));
                return ended;
            }
            Err(_) if stop.is_requested() => {
                on_state(SourceState::Ended(Ended::Stopped));
                return Ended::Stopped;
            }
            Err(error) => error,
        };
        let wait = match error.kind {
            SourceErrorKind::Config => UNTIL_SOMEBODY_LOOKED,
            _ => backoff.next_wait(),
        };
        on_state(match error.kind {
            SourceErrorKind::Stalled => SourceState::Stalled { message: error.message, retry_in: wait },
            _ => SourceState::Failed { error, retry_in: wait },
        });
        if stop.wait(wait) {
            on_state(SourceState::Ended(Ended::Stopped));
            return Ended::Stopped;
        }
    }
}

/// The sink, with an eye on the first frame and on how long they have come.
struct Watched<'a, F> {
    sink: &'a mut dyn FrameSink<F>,
    on_state: &'a mut dyn FnMut(SourceState),
    info: Option<StreamInfo>,
    /// The first frame's place on the source's timeline.
    since: Option<Duration>,
    steady: bool,
}

impl<F: Timestamped> FrameSink<F> for Watched<'_, F> {
    fn opened(&mut self, info: &StreamInfo) {
        self.info = Some(info.clone());
        self.sink.opened(info);
    }

    fn frame(&mut self, frame: F) -> Flow {
        let now = frame.capture_time().elapsed;
        if let Some(since) = self.since {
            self.steady |= now.saturating_sub(since) >= STEADY;
        } else {
            self.since = Some(now);
            (self.on_state)(SourceState::Delivering(self.info.take().unwrap_or_default()));
        }
        self.sink.frame(frame)
    }
}

#[cfg(test)]
mod tests {
    use aimass_core::frame::{CaptureTime, Frame, Picture, TimeSource};

    use super::*;

    /// A source that does at each attempt what its script says next; frames come for so long.
    struct Scripted(Vec<Result<Ended, SourceErrorKind>>, Duration);

    impl Source for Scripted {
        fn run_once(&mut self, sink: &mut dyn FrameSink, _: &StopToken) -> Result<Ended, SourceError> {
            let next = self.0.remove(0);
            if !matches!(next, Err(SourceErrorKind::NotFound | SourceErrorKind::Config)) {
                sink.opened(&StreamInfo::default());
                for (seq, elapsed) in [(0, Duration::ZERO), (1, self.1)] {
                    let wall = jiff::Timestamp::UNIX_EPOCH;
                    let capture_time = CaptureTime { wall, wall_source: TimeSource::Clock, elapsed };
                    let picture = Picture::from_rgb((1, 1), vec![0; 3]).unwrap();
                    sink.frame(Frame { source: "dock".parse().unwrap(), seq, capture_time, picture });
                }
            }
            next.map_err(|kind| SourceError::new(kind, "scripted"))
        }
    }

    #[derive(Default)]
    struct Count(usize);

    impl FrameSink for Count {
        fn opened(&mut self, _: &StreamInfo) {}

        fn frame(&mut self, _: Frame) -> Flow {
            self.0 += 1;
            Flow::Continue
        }
    }

    fn run(script: Vec<Result<Ended, SourceErrorKind>>) -> (Ended, Vec<SourceState>, usize) {
        let (mut sink, mut states) = (Count::default(), Vec::new());
        let mut quick = Backoff::new(Duration::from_nanos(100), Duration::from_nanos(800), 1);
        let result =
            run_forever(&mut Scripted(script, STEADY), &mut sink, &StopToken::new(), &mut quick, |s| {
                states.push(s)
            });
        (result, states, sink.0)
    }

    #[test]
    fn it_tries_again_after_failures_and_tells_every_step() {
        let (result, states, frames) = run(vec![
            Err(SourceErrorKind::NotFound),
            Err(SourceErrorKind::Stalled),
            Err(SourceErrorKind::Broken),
            Ok(Ended::EndOfStream),
        ]);
        assert_eq!((result, frames), (Ended::EndOfStream, 6));
        let told: Vec<&str> = states
            .iter()
            .map(|s| match s {
                SourceState::Connecting { attempt: 1 } => "connecting",
                SourceState::Connecting { .. } => "connecting again",
                SourceState::Delivering(_) => "delivering",
                SourceState::Stalled { .. } => "stalled",
                SourceState::Failed { .. } => "failed",
                SourceState::Ended(_) => "ended",
            })
            .collect();
        assert_eq!(
            told,
            [
                "connecting",
                "failed",
                "connecting again",
                "delivering",
                "stalled",
                "connecting",
                "delivering",
                "failed",
                "connecting",
                "delivering",
                "ended"
            ]
        );
    }

    #[test]
    fn what_only_somebody_can_help_is_tried_again_each_minute() {
        let stop = StopToken::new();
        let asked = stop.clone();
        let mut waits = Vec::new();
        let script = Scripted(vec![Err(SourceErrorKind::Config)], STEADY);
        let mut quick = Backoff::new(Duration::from_nanos(100), Duration::from_nanos(800), 1);
        let ended = run_forever(&mut { script }, &mut Count::default(), &stop, &mut quick, |state| {
            if let SourceState::Failed { retry_in, .. } = state {
                waits.push(retry_in);
                asked.request();
            }
        });
        assert_eq!((ended, waits), (Ended::Stopped, vec![Duration::from_secs(60)]));
    }

    #[test]
    fn the_wait_is_never_above_five_seconds() {
        let mut backoff = camera_backoff(&"dock".parse().unwrap());
        let waits: Vec<_> = (0..20).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|w| *w <= Duration::from_secs(5)));
    }

    /// The waits of a source that breaks so long after its first frame, four times.
    fn waits_when_broken_after(lasting: Duration) -> Vec<Duration> {
        let mut backoff = Backoff::new(Duration::from_micros(1), Duration::from_micros(8), 1);
        let mut script = vec![Err(SourceErrorKind::Broken); 4];
        script.push(Ok(Ended::EndOfStream));
        let mut waits = Vec::new();
        let mut source = Scripted(script, lasting);
        run_forever(&mut source, &mut Count::default(), &StopToken::new(), &mut backoff, |state| {
            if let SourceState::Failed { retry_in, .. } = state {
                waits.push(retry_in);
            }
        });
        waits
    }

    #[test]
    fn the_wait_is_short_again_after_frames_came_for_a_while() {
        let waits = waits_when_broken_after(STEADY);
        assert!(waits.iter().all(|w| *w <= Duration::from_micros(1)), "{waits:?}");
    }

    #[test]
    fn the_wait_grows_while_the_source_breaks_soon_after_each_start() {
        let waits = waits_when_broken_after(STEADY - Duration::from_millis(1));
        assert_eq!(waits.len(), 4);
        assert!(waits[3] >= Duration::from_micros(4), "{waits:?}");
    }

    #[test]
    fn a_stop_ends_the_wait_between_attempts() {
        let stop = StopToken::new();
        let mut slow = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600), 1);
        let asked = stop.clone();
        let result = run_forever(
            &mut Scripted(vec![Err(SourceErrorKind::NotFound)], STEADY),
            &mut Count::default(),
            &stop,
            &mut slow,
            |state| {
                if matches!(state, SourceState::Failed { .. }) {
                    asked.request();
                }
            },
        );
        assert_eq!(result, Ended::Stopped);
    }
}
