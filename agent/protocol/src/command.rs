//! Commands: the bodies that signed commands carry on `command/<name>`, and the replies.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::rfc3339_ms;
use crate::health::ConnectionState;
use crate::name::Name;

/// The names of the commands, as the last level of their topic.
pub const NAMES: [&str; 6] = ["probe", "snapshot", "restart-source", "set-log-level", "drain", "resume"];

/// How RTSP gets its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP first; where that fails before the first picture, the next attempt uses UDP, and so on.
    #[default]
    Auto,
    /// Within the RTSP connection: passes firewalls and loses nothing.
    Tcp,
    /// Packets of their own: less delay, some loss.
    Udp,
}

/// The body of `probe`: opens a source for one picture before it is configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// Which source.
    pub source: Name,
    /// The picture's longest side, at most; 16 to 1920.
    #[serde(default = "snapshot_side_px")]
    pub max_side_px: u32,
}

/// The body of `restart-source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Which source.
    pub source: Name,
}

/// The body of `set-log-level`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    /// For the program's own messages; those of its libraries keep their level.
    pub level: LogLevel,
    /// Seconds until the level is what it was at the start; 1 to 3600.
    #[serde(default = "log_duration_s", alias = "for_s")]
    pub duration_s: u32,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// Also what may become a problem.
    Warn,
    /// Also what goes on.
    Info,
    /// Also what helps to find a mistake.
    Debug,
}

impl LogLevel {
    /// As in a filter.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// The body of `drain`: closes all sources and delivers the events that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// Seconds until the reply, whether everything is delivered or not; 0 to 300.
    #[serde(default = "drain_timeout_s", alias = "within_s")]
    pub timeout_s: u32,
}

/// The body of `resume`: opens the sources again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {}

fn probe_timeout_s() -> f32 {
    15.0
}

fn probe_side_px() -> u32 {
    640
}

fn snapshot_side_px() -> u32 {
    1280
}

fn log_duration_s() -> u32 {
    600
}

fn drain_timeout_s() -> u32 {
    10
}

/// A picture in a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Picture {
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// A JPEG.
    pub jpeg_base64: String,
}

/// The result of `probe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeResult {
    /// Width as the camera sends it, in pixels.
    pub width: u32,
    /// Height as the camera sends it, in pixels.
    pub height: u32,
    /// Frames a second as declared; 0 if unknown.
    pub fps: f64,
    /// Container, codec, pixel format.
    pub description: String,
    /// From opening to the first picture, in milliseconds.
    pub first_frame_ms: u64,
    /// The first picture. A probed source has no masks: all of it is shown.
    pub picture: Picture,
}

/// The result of `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotResult {
    /// Which source.
    pub source: String,
    /// Its connection.
    pub state: ConnectionState,
    /// The frame's number.
    pub frame: u64,
    /// When the frame was in front of the camera.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
    /// The frame, with its privacy masks.
    pub picture: Picture,
}

/// The result of `restart-source`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestartResult {
    /// Which source.
    pub source: Name,
}

/// The result of `set-log-level`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogResult {
    /// The level that holds now.
    pub level: LogLevel,
    /// Until when.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub until: Timestamp,
}

/// The result of `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrainResult {
    /// Always true: the sources are closed.
    pub drained: bool,
    /// Events that still wait for the broker.
    pub events_pending: u64,
}

/// The result of `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeResult {}

/// Why a command was not executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandError {
    /// For programs: a word such as `bad_body` or `unknown_source`.
    pub kind: Cow<'static, str>,
    /// For people: one line, no secrets.
    pub message: String,
    /// Which field of the body, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl CommandError {
    /// An error of a kind.
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        CommandError { kind: kind.into(), message: message.into(), path: None }
    }

    /// A field of the body that is not valid.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        CommandError { kind: "bad_body".into(), message: message.into(), path: Some(path.into()) }
    }

    /// No source has this name.
    pub fn unknown_source(id: &str, known: &[String]) -> Self {
        let names = if known.is_empty() { "this node has none".to_owned() } else { known.join(", ") };
        CommandError::new("unknown_source", format!("no source is named \"{id}\"; known are: {names}"))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for CommandError {}

/// The reply to a command: `{"ok":true,"result":…}` or `{"ok":false,"error":…}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply<T> {
    /// Whether the command was executed.
    pub ok: bool,
    /// What came of it, if it was executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<T>,
    /// Why it was not executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CommandError>,
}

impl<T> From<Result<T, CommandError>> for Reply<T> {
    fn from(outcome: Result<T, CommandError>) -> Self {
        match outcome {
            Ok(result) => Reply { ok: true, result: Some(result), error: None },
            Err(error) => Reply { ok: false, result: None, error: Some(error) },
        }
    }
}
