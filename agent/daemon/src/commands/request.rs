//! What can be asked of a node, as it stands in the body of a signed command, and what is answered.

use std::path::PathBuf;

use aimass_core::id::Name;
use aimass_media::options::Transport;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::CommandError;

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Try a source before it is saved.
    Probe(ProbeRequest),
    /// A picture of a source.
    Snapshot(SnapshotRequest),
    /// Close a source and open it anew.
    RestartSource(RestartRequest),
    /// Log more, or less, for a while.
    SetLogLevel(LogRequest),
    /// Stop looking and deliver what is left.
    Drain(DrainRequest),
    /// BoardSample again after a drain.
    Resume(Nothing),
}

/// The names of the commands, as the last level of their topic.
pub const NAMES: [&str; 6] = ["probe", "snapshot", "restart-source", "set-log-level", "drain", "resume"];

/// The body of `probe`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// As in the configuration: `rtsp://…`, `v4l2:…`, `file:…`, `test:`. No `gst:`.
    pub source: String,
    /// The user name that the camera asks for.
    #[serde(default)]
    pub username: Option<String>,
    /// A file on the node that holds the password; below one of `trust.secret_folders`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates on the node; below one of `trust.secret_folders`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How RTSP transports its pictures.
    #[serde(default)]
    pub transport: Transport,
    /// Seconds until the first picture, at most; 1 to 60.
    #[serde(default = "probe_timeout_s")]
    pub timeout_s: f32,
    /// The picture's longest side, at most; 16 to 1920.
    #[serde(default = "probe_side_px")]
    pub max_side_px: u32,
}

/// The body of `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Which source.
    pub source: Name,
    /// The picture's longest side, at most; 16 to 1920.
    #[serde(default = "snapshot_side_px")]
    pub max_side_px: u32,
}

/// The body of `restart-source`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Which source.
    pub source: Name,
}

/// The body of `set-log-level`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    /// For the program's own messages; those of its libraries stay as they are.
    pub level: Level,
    /// Seconds until the level is what it was at the start; 1 to 3600.
    #[serde(default = "log_for_s")]
    pub for_s: u32,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What failed.
    Error,
    /// What may become a problem, too.
    Warn,
    /// What goes on, too.
    Info,
    /// What helps to find a mistake, too.
    Debug,
}

impl Level {
    /// As in a filter.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// The body of `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Seconds until the answer comes, whether everything is delivered or not; 0 to 300.
    #[serde(default = "drain_within_s")]
    pub within_s: u32,
}

/// A body with nothing in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A picture in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PictureReply {
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// JPEG in base64.
    pub jpeg: String,
}

fn probe_timeout_s() -> f32 {
    15.0
}

fn probe_side_px() -> u32 {
    640
}

fn snapshot_side_px() -> u32 {
    1280
}

fn log_for_s() -> u32 {
    600
}

fn drain_within_s() -> u32 {
    10
}

impl Request {
    /// Reads the body of a command.
    ///
    /// # Errors
    /// `unknown_command`; `bad_body` with the path of the field.
    pub fn read(name: &str, body: Value) -> Result<Self, CommandError> {
        let body = if body.is_null() { Value::Object(Map::new()) } else { body };
        let request = match name {
            "probe" => Request::Probe(parse(body)?),
            "snapshot" => Request::Snapshot(parse(body)?),
            "restart-source" => Request::RestartSource(parse(body)?),
            "set-log-level" => Request::SetLogLevel(parse(body)?),
            "drain" => Request::Drain(parse(body)?),
            "resume" => Request::Resume(parse(body)?),
            _ => {
                let shown: String = name.chars().take(63).flat_map(char::escape_default).collect();
                let text = format!("no command is named \"{shown}\"; known are {}", NAMES.join(", "));
                return Err(CommandError::new("unknown_command", text));
            }
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), CommandError> {
        let within = |path: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(CommandError::field(path, format!("{value} is not within {low}..{high}")))
        };
        match self {
            Request::Probe(probe) => {
                within("timeout_s", probe.timeout_s.into(), 1.0, 60.0)?;
                within("max_side_px", probe.max_side_px.into(), 16.0, 1920.0)
            }
            Request::Snapshot(snapshot) => within("max_side_px", snapshot.max_side_px.into(), 16.0, 1920.0),
            Request::SetLogLevel(log) => within("for_s", log.for_s.into(), 1.0, 3600.0),
            Request::Drain(drain) => within("within_s", drain.within_s.into(), 0.0, 300.0),
            Request::RestartSource(_) | Request::Resume(_) => Ok(()),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, CommandError> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "body".to_owned() } else { path };
        CommandError::field(path, error.into_inner().to_string())
    })
}
