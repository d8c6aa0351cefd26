//! `probe`: opens a source that the configuration does not have yet, for one picture.
//!
//! Owner: a blocking thread for each probe. Invariants: no pipeline is run (`gst:`); no file is opened except media and
//! files in the secret folders; a probe that hangs keeps its permit, so at most two ever hang.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aimass_core::frame::Frame;
use aimass_core::runtime::clock::{SharedClock, Stopwatch};
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, SourceErrorKind, StreamInfo};
use aimass_media::video::{SourceOptions, SourceUri};
use aimass_protocol::command::{CommandError, ProbeRequest, ProbeResult};
use tokio::sync::OwnedSemaphorePermit;

use super::snapshot;

/// What a probe needs of the node.
pub(super) struct Context {
    pub(super) clock: SharedClock,
    pub(super) secret_folders: Vec<PathBuf>,
    /// Held until the source is closed.
    pub(super) permit: OwnedSemaphorePermit,
}

pub(super) async fn probe(request: ProbeRequest, context: Context) -> Result<ProbeResult, CommandError> {
    let timeout = Duration::from_secs_f32(request.timeout_s);
    let stop = StopToken::new();
    let stop_requested = stop.clone();
    let work = tokio::task::spawn_blocking(move || {
        let _permit = context.permit;
        open(&request, context.clock, &context.secret_folders, &stop_requested)
    });
    // The source has a timeout of its own; this one is for a source that hangs.
    match tokio::time::timeout(timeout + Duration::from_secs(3), work).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(CommandError::new("internal", format!("the probe failed: {error}"))),
        Err(_) => {
            stop.request();
            let text = format!(
                "the source hangs: it delivered nothing and did not close within {} s",
                timeout.as_secs()
            );
            Err(CommandError::new("timeout", text))
        }
    }
}

fn open(
    request: &ProbeRequest,
    clock: SharedClock,
    secret_folders: &[PathBuf],
    stop: &StopToken,
) -> Result<ProbeResult, CommandError> {
    let options = options(request, secret_folders)?;
    let mut source = options.build(clock).map_err(|e| CommandError::new(kind(e.kind), e.message))?;
    let mut first = First { watch: Stopwatch::start(), info: None, frame: None };
    let outcome = source.run_once(&mut first, stop);
    let (Some(info), Some((frame, first_frame_ms))) = (first.info, first.frame) else {
        return Err(match outcome {
            Err(error) => CommandError::new(kind(error.kind), error.message),
            Ok(Ended::EndOfStream | Ended::Stopped) => {
                CommandError::new("no_picture", "the source ended without a picture")
            }
        });
    };
    let picture = snapshot::encode(&frame, request.max_side_px)?;
    let (width, height, fps) = (info.width, info.height, info.fps);
    Ok(ProbeResult { width, height, fps, description: info.description, first_frame_ms, picture })
}

fn options(request: &ProbeRequest, secret_folders: &[PathBuf]) -> Result<SourceOptions, CommandError> {
    let uri: SourceUri = request.source.parse().map_err(|e| CommandError::field("source", format!("{e}")))?;
    if matches!(uri, SourceUri::Gst(_)) {
        let text = "a gst: source is a pipeline that can do anything: only the node's own configuration file may name one";
        return Err(CommandError::field("source", text));
    }
    for (field, path) in [("password_file", &request.password_file), ("ca_file", &request.ca_file)] {
        if let Some(path) = path {
            allowed(path, secret_folders).map_err(|problem| CommandError::field(field, problem))?;
        }
    }
    let id = "probe".parse().map_err(|_| CommandError::new("internal", "\"probe\" is not a valid name"))?;
    let mut options = SourceOptions::new(id, uri);
    options.username = request.username.clone();
    options.password_file = request.password_file.clone();
    options.tls_ca_file = request.ca_file.clone();
    options.transport = request.transport;
    options.open_timeout = Duration::from_secs_f32(request.timeout_s);
    options.stall_after = options.open_timeout;
    // The first picture, without a limit of the rate.
    options.fps = 0.0;
    Ok(options)
}

/// Whether a file lies below one of the folders, after links are resolved.
fn allowed(path: &Path, folders: &[PathBuf]) -> Result<(), String> {
    // The same message whether the file is missing or not allowed, so that the disk cannot be explored.
    let refused = || {
        let list: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
        format!(
            "{} is not a file below the folders that trust.secret_folders allows ({})",
            path.display(),
            list.join(", ")
        )
    };
    let real = path.canonicalize().map_err(|_| refused())?;
    let below = folders.iter().filter_map(|f| f.canonicalize().ok()).any(|folder| real.starts_with(folder));
    if below && real.is_file() { Ok(()) } else { Err(refused()) }
}

fn kind(kind: SourceErrorKind) -> &'static str {
    match kind {
        SourceErrorKind::Unauthorised => "unauthorised",
        SourceErrorKind::NotFound => "not_found",
        SourceErrorKind::NotMedia => "not_media",
        SourceErrorKind::Unavailable => "unavailable",
        SourceErrorKind::Stalled => "stalled",
        SourceErrorKind::Broken => "broken",
        SourceErrorKind::Config => "bad_body",
    }
}

/// Takes the first frame.
struct First {
    watch: Stopwatch,
    info: Option<StreamInfo>,
    frame: Option<(Frame, u64)>,
}

impl FrameSink for First {
    fn opened(&mut self, info: &StreamInfo) {
        self.info = Some(info.clone());
    }

    fn frame(&mut self, frame: Frame) -> Flow {
        let ms = u64::try_from(self.watch.lap().as_millis()).unwrap_or(u64::MAX);
        self.frame.get_or_insert((frame, ms));
        Flow::Stop
    }
}

#[cfg(test)]
mod tests {
    use aimass_core::runtime::files::write_atomically;

    use super::*;

    #[test]
    fn only_files_below_the_secret_folders_are_opened_also_through_links_and_dots() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (secret, other) = (inside.path().join("password"), outside.path().join("shadow"));
        write_atomically(&secret, b"x").unwrap();
        write_atomically(&other, b"x").unwrap();
        let link = inside.path().join("link");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let folders = [inside.path().to_path_buf()];
        assert_eq!(allowed(&secret, &folders), Ok(()));
        let round = outside.path().join("..").join(inside.path().file_name().unwrap()).join("password");
        assert_eq!(allowed(&round, &folders), Ok(()), "the real path counts");
        for bad in [&other, &link, &inside.path().join("absent"), &inside.path().to_path_buf()] {
            let problem = allowed(bad, &folders).unwrap_err();
            assert!(problem.contains("trust.secret_folders"), "{problem}");
        }
        assert!(allowed(&secret, &[]).is_err());
    }
}
