//! The ports: what a source, an analyzer and an outbox are, for those who use them.

use std::fmt;
use std::future::Future;

use crate::audio::AudioChunk;
use crate::event::{Event, Severity};
use crate::finding::Findings;
use crate::frame::{CaptureTime, Frame};
use crate::runtime::stop::StopToken;

/// What a source is made of, told once it is open.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamInfo {
    /// Width as the camera sends it, in pixels; 0 for sound.
    pub width: u32,
    /// Height as the camera sends it, in pixels; 0 for sound.
    pub height: u32,
    /// Frames a second as declared; 0 if unknown, and for sound.
    pub fps: f64,
    /// For people: container, codec, pixel format; rate and channels.
    pub description: String,
}

/// Whether a source should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More, please.
    Continue,
    /// Nobody listens any more.
    Stop,
}

/// What a source delivers: pictures ([`Frame`]) or sound ([`AudioChunk`]).
pub trait Timestamped {
    /// When it was in front of the camera or the microphone.
    fn capture_time(&self) -> &CaptureTime;
}

impl Timestamped for Frame {
    fn capture_time(&self) -> &CaptureTime {
        &self.capture_time
    }
}

impl Timestamped for AudioChunk {
    fn capture_time(&self) -> &CaptureTime {
        &self.capture_time
    }
}

/// Where a source delivers to. Called on the source's thread.
pub trait FrameSink<F = Frame> {
    /// The source is open and knows what it delivers. Called again when that changes in mid-stream.
    fn opened(&mut self, info: &StreamInfo);
    /// A frame. A live source expects this to return within milliseconds.
    fn frame(&mut self, frame: F) -> Flow;
}

/// Why a source's run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The file is over.
    EndOfStream,
    /// The stop was requested, or the sink had enough.
    Stopped,
}

/// What kind of thing went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// Wrong or missing user name or password.
    Unauthorised,
    /// No such file, device, host or stream.
    NotFound,
    /// There is something, but no pictures or no sound that we can decode.
    NotMedia,
    /// It refuses, is busy, or cannot be reached now.
    Unavailable,
    /// Frames stopped coming.
    Stalled,
    /// It was delivering and broke.
    Broken,
    /// The configuration asks for what cannot be.
    Config,
}

/// Why a source does not deliver. The message says what failed, on which source, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// For programs.
    pub kind: SourceErrorKind,
    /// For people: one line, no secrets.
    pub message: String,
}

impl SourceError {
    /// An error of a kind.
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        SourceError { kind, message: message.into() }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

/// Something that delivers frames: a camera's pictures, or a microphone's windows.
pub trait Source<F = Frame>: Send {
    /// One honest attempt: opens, delivers until the end, the stop or an error, and closes.
    /// Looks at `stop` at least every 500 ms.
    ///
    /// # Errors
    /// See [`SourceErrorKind`]. The source can be run again after any of them.
    fn run_once(&mut self, sink: &mut dyn FrameSink<F>, stop: &StopToken) -> Result<Ended, SourceError>;
}

/// Why a frame could not be analysed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{analyzer}: {problem}")]
pub struct AnalyzeError {
    /// Which analyzer.
    pub analyzer: String,
    /// What went wrong.
    pub problem: String,
}

/// Something that looks at frames. No I/O, no sleep, no clock of its own.
pub trait Analyzer: Send {
    /// Its name in the chain.
    fn name(&self) -> &str;
    /// Adds to `findings` what it sees in the frame; may look at what came earlier in the chain.
    ///
    /// # Errors
    /// The frame or the model is not as expected; the next frame may work.
    fn analyze(&mut self, frame: &Frame, findings: &mut Findings) -> Result<(), AnalyzeError>;
    /// The longest side, in pixels, beyond which a larger picture tells this analyzer nothing more.
    fn useful_side_px(&self) -> u32;
}

/// Why the outbox does not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("outbox: {0}")]
pub struct OutboxError(pub String);

/// Why a sink's peer can never take an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeverTaken {
    /// It is larger than the peer takes.
    TooLarge,
    /// The peer refuses it for ever.
    Refused,
}

/// Where a sink takes accepted events from, and says what was delivered.
pub trait Outbox: Send + Sync + 'static {
    /// Events that this sink has not acknowledged, oldest first, with `seq` above `after`.
    fn pending(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, OutboxError>> + Send;
    /// The same for events of this severity or a higher one only. With [`Severity::Alarm`] it costs no more than
    /// there are alarms, however many other events wait.
    fn pending_of(
        &self,
        least: Severity,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, OutboxError>> + Send;
    /// The peer can never take this event: it is pending no longer, and a loss receipt says so. Both hold or
    /// neither, whenever the power goes. Once told, twice does no harm.
    fn give_up(&self, seq: u64, why: NeverTaken) -> impl Future<Output = Result<(), OutboxError>> + Send;
    /// The peer has this event. Acknowledging twice, or out of order, does no harm.
    fn acknowledge(&self, seq: u64) -> impl Future<Output = Result<(), OutboxError>> + Send;
    /// Returns once an event with `seq` above `after` was accepted; at once if there is one already.
    fn wait_beyond(&self, after: u64) -> impl Future<Output = ()> + Send;
    /// The highest `seq` that was ever accepted; 0 if none.
    fn newest(&self) -> u64;
}
