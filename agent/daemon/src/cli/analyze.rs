//! `aimass-agent analyze`: a clip, a picture or a folder of pictures, offline; one line of JSON a frame.
//!
//! Runs on the caller's thread: the source hands each frame to the chain, so nothing is lost and memory is flat.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aimass_core::finding::Finding;
use aimass_core::frame::{CaptureTime, Frame, Picture, TimeSource};
use aimass_core::id::Name;
use aimass_core::runtime::clock::{Clock, SystemClock};
use aimass_core::runtime::stop::StopToken;
use aimass_core::tracking::{Tracker, TrackerConfig};
use aimass_core::traits::{Flow, FrameSink, SourceError, SourceErrorKind, StreamInfo};
use aimass_inference::ModelCache;
use aimass_media::video::stills::{self, Stills};
use aimass_media::video::{SourceOptions, SourceUri};
use serde::Serialize;

use crate::cli::args::AnalyzeArgs;
use crate::cli::progress::Progress;
use crate::exit::Failure;
use crate::node::signals::leave_at_signal;
use crate::pipeline::chain::{self, Chain, Link};

/// One line of the output.
#[derive(Serialize)]
struct Line<'a> {
    frame: u64,
    time_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    findings: &'a [Finding],
}

/// Runs the command.
///
/// # Errors
/// `BadInput` if any picture, or the clip, could not be read or analysed; the other pictures are still done.
pub fn run(args: &AnalyzeArgs) -> Result<(), Failure> {
    let uri: SourceUri = args.source.parse().map_err(|e| Failure::Usage(format!("--source: {e}")))?;
    let mut links = chain::resolve(&args.chain, &Default::default())
        .map_err(|e| Failure::Usage(format!("--chain: {e}")))?;
    for (n, (_, config)) in links.iter_mut().enumerate() {
        config.set(args.model.as_deref().filter(|_| n == 0), args.min_score);
    }
    let models =
        chain::open_models(&args.models, args.engine).map_err(|e| Failure::Unavailable(e.to_string()))?;
    let models = Arc::new(models);
    let measured = models.clone();
    // A model that is being measured did not end the program.
    leave_at_signal(move || drop(measured.choices().interrupted()))?;
    let output = Output::new(&args.out, &uri)?;
    let mut work = Work {
        links,
        models,
        chain: None,
        output,
        every: args.every,
        tracker: None,
        failed: None,
        refused: 0,
        bar: Progress::hidden(),
    };
    match uri.file_path().filter(|p| p.is_dir() || stills::is_still(p)) {
        Some(path) => pictures(path, &mut work)?,
        None => clip(uri.clone(), &mut work)?,
    }
    work.bar.finish();
    let refused = work.refused;
    work.output.finish()?;
    match refused {
        0 => Ok(()),
        _ => Err(Failure::BadInput(format!("{refused} frames could not be analysed, see above"))),
    }
}

struct Work {
    links: Vec<Link>,
    models: Arc<ModelCache>,
    /// Built for the first frame: what is no picture needs no model.
    chain: Option<Chain>,
    output: Output,
    every: u64,
    /// Clips only: pictures of a folder have nothing to do with each other.
    tracker: Option<Tracker>,
    failed: Option<Failure>,
    /// Frames on which an analyzer failed.
    refused: u64,
    bar: Progress,
}

impl Work {
    fn frame(&mut self, frame: &Frame, time_s: f64, file: Option<&str>) -> Result<(), Failure> {
        let chain = match &mut self.chain {
            Some(chain) => chain,
            None => {
                let built = Chain::build(&self.links, &self.models);
                self.chain.insert(built.map_err(|e| Failure::BadInput(e.to_string()))?)
            }
        };
        let outcome = chain.analyze(frame);
        let (mut findings, error) = match outcome {
            Ok(found) => (found.list, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if let Some(tracker) = &mut self.tracker {
            tracker.update(frame.capture_time.elapsed, &mut findings);
        }
        if let Some(error) = &error {
            self.refused += 1;
            tracing::error!(frame = frame.seq, %error, "A frame could not be analysed.");
        }
        self.output.line(&Line { frame: frame.seq, time_s, file, error, findings: &findings })
    }
}

fn clip(uri: SourceUri, work: &mut Work) -> Result<(), Failure> {
    let id: Name = "clip".parse().map_err(|e| Failure::Bug(format!("{e}")))?;
    let mut options = SourceOptions::new(id, uri.offline());
    options.fps = 0.0;
    let mut source = options.build(SystemClock::shared()).map_err(source_failure)?;
    work.tracker = Some(Tracker::new(TrackerConfig::default()));
    work.bar = Progress::spinner("frames");
    let outcome = source.run_once(work, &StopToken::new());
    if let Some(failure) = work.failed.take() {
        return Err(failure);
    }
    outcome.map(drop).map_err(source_failure)
}

impl FrameSink for Work {
    fn opened(&mut self, info: &StreamInfo) {
        tracing::debug!(width = info.width, height = info.height, fps = info.fps, "The clip is open.");
    }

    fn frame(&mut self, frame: Frame) -> Flow {
        self.bar.step();
        if !frame.seq.is_multiple_of(self.every) {
            return Flow::Continue;
        }
        match Work::frame(self, &frame, frame.capture_time.elapsed.as_secs_f64(), None) {
            Ok(()) => Flow::Continue,
            Err(failure) => {
                self.failed = Some(failure);
                Flow::Stop
            }
        }
    }
}

fn pictures(path: &Path, work: &mut Work) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let source: Name = "stills".parse().map_err(|e| Failure::Bug(format!("{e}")))?;
    let pictures = Stills::open(path).map_err(source_failure)?;
    let (mut bad, mut number) = (0u64, 0u64);
    work.bar = Progress::bar(pictures.len() as u64, "pictures");
    for (file, picture) in pictures {
        work.bar.step();
        if number.is_multiple_of(work.every) {
            match picture {
                Ok(picture) => work.frame(&still(&source, number, picture, &clock), 0.0, Some(&file))?,
                Err(error) => {
                    bad += 1;
                    tracing::error!(%error, "A picture could not be read.");
                    let error = Some(error.to_string());
                    work.output.line(&Line {
                        frame: number,
                        time_s: 0.0,
                        file: Some(&file),
                        error,
                        findings: &[],
                    })?;
                }
            }
        }
        number += 1;
    }
    if bad == 0 {
        return Ok(());
    }
    work.bar.finish();
    work.output.flush()?;
    Err(Failure::BadInput(match number {
        1 => "the picture could not be read, see above".to_owned(),
        _ if bad == number => format!("none of {number} pictures could be read, see above"),
        _ => format!("{bad} of {number} pictures could not be read, see above; the others are done"),
    }))
}

fn still(source: &Name, seq: u64, picture: Picture, clock: &dyn Clock) -> Frame {
    let capture_time =
        CaptureTime { wall: clock.wall(), wall_source: TimeSource::File, elapsed: Duration::ZERO };
    Frame { source: source.clone(), seq, capture_time, picture }
}

/// A source's error as the end of a command.
pub fn source_failure(error: SourceError) -> Failure {
    match error.kind {
        SourceErrorKind::Config => Failure::Usage(error.message),
        SourceErrorKind::NotMedia | SourceErrorKind::Broken => Failure::BadInput(error.message),
        _ => Failure::Unavailable(error.message),
    }
}

/// Where the lines go.
enum Output {
    Stdout(BufWriter<io::Stdout>),
    /// Opened with the first line: what is there already stays until there is something to put in its place.
    Later(Arc<PathBuf>),
    File(BufWriter<File>, Arc<PathBuf>),
}

impl Output {
    fn new(path: &Path, source: &SourceUri) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Output::Stdout(BufWriter::new(io::stdout())));
        }
        let real = |path: &Path| path.canonicalize().ok();
        if let Some(out) = real(path)
            && source.file_path().and_then(real).is_some_and(|source| out.starts_with(source))
        {
            let text = format!("--out: {} is what is to be analysed: give another file", path.display());
            return Err(Failure::Usage(text));
        }
        Ok(Output::Later(Arc::new(path.to_owned())))
    }

    fn with(&mut self, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        if let Output::Later(path) = self {
            let file = File::create(&**path)
                .map_err(|e| Failure::Unavailable(format!("--out: cannot write {}: {e}", path.display())))?;
            *self = Output::File(BufWriter::new(file), path.clone());
        }
        let (outcome, name) = match self {
            Output::Stdout(out) => (act(out), "stdout".to_owned()),
            Output::File(out, path) => (act(out), path.display().to_string()),
            Output::Later(_) => return Err(Failure::Bug("the output was not opened".into())),
        };
        outcome.map_err(|e| Failure::Unavailable(format!("cannot write to {name}: {e}")))
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        let text = serde_json::to_string(line)
            .map_err(|e| Failure::Bug(format!("a line cannot be written: {e}")))?;
        self.with(|out| writeln!(out, "{text}"))
    }

    /// What was written is in the file; an analysis without frames has an empty one.
    fn flush(&mut self) -> Result<(), Failure> {
        self.with(|out| out.flush())
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.flush()
    }
}
