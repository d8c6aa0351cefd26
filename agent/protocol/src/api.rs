//! The documents of the HTTP API under `/v1`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Event, rfc3339_ms};
use crate::geometry::{Point, Polygon, Region};
use crate::health::{ConnectionState, SourceHealth, SourceKind};
use crate::name::Name;

/// `GET /v1/sources`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sources {
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// The sources, in the order of the configuration.
    pub sources: Vec<Source>,
}

/// `GET /v1/sources/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: SourceKind,
    /// Its connection.
    pub status: SourceStatus,
    /// What it delivers; null before it was open for the first time.
    pub stream: Option<Stream>,
    /// The analyzers, by name.
    pub chain: Vec<String>,
    /// What is drawn over the picture.
    pub shapes: Shapes,
    /// Whether the motion gate sees motion.
    pub motion: bool,
    /// Rates, stage times and counters, as in the health document.
    pub metrics: Option<SourceHealth>,
}

/// What a source delivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stream {
    /// Width in pixels; 0 for sound.
    pub width: u32,
    /// Height in pixels; 0 for sound.
    pub height: u32,
    /// Frames a second as declared; 0 if unknown.
    pub fps: f64,
    /// Container, codec, pixel format.
    pub description: String,
}

/// The connection of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// The connection.
    pub state: ConnectionState,
    /// Since when.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub since: Timestamp,
    /// The latest error: one line, no secrets.
    pub error: Option<String>,
}

/// What is drawn over a source's picture and does not change with the frames.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shapes {
    /// Zones.
    pub zones: Vec<Shape>,
    /// Lines, from → to.
    pub lines: Vec<Shape>,
    /// Privacy masks.
    pub masks: Vec<Polygon>,
}

/// A zone or a line, as drawn over the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shape {
    /// Its id.
    pub id: Name,
    /// Corners of a zone; the two ends of a line.
    pub points: Polygon,
}

/// One tracked object, as drawn over the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverlayTrack {
    /// The track.
    pub id: u64,
    /// Its class.
    pub label: String,
    /// Its latest score.
    pub score: f32,
    /// Where it is.
    pub region: Region,
    /// Where it has been, oldest first; fractions of the frame.
    pub path: Vec<Point>,
    /// Landmarks, if the analyzer gives any.
    pub points: Vec<Point>,
    /// The zones it is in.
    pub zones: Vec<Name>,
}

/// What a WebSocket viewer of `GET /v1/sources/{id}/live` gets as text before each picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Caption<'a> {
    /// The frame's number.
    pub frame: u64,
    /// When the frame was in front of the camera.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
    /// Width of the frame in pixels.
    pub width: u32,
    /// Height of the frame in pixels.
    pub height: u32,
    /// The frame that `tracks` were found in: this one or one shortly before it.
    pub overlay_frame: u64,
    /// Whether the motion gate sees motion.
    pub motion: bool,
    /// The tracked objects.
    pub tracks: Cow<'a, [OverlayTrack]>,
    /// The latest states of the source, by the name they have under `state/<source>/`.
    pub states: Cow<'a, BTreeMap<String, Value>>,
}

/// `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsPage {
    /// In the order of `seq`.
    pub events: Vec<Event>,
}

/// The message `missed` of a stream of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissedEvents {
    /// Events that will not come, or more than that.
    pub count: u64,
    /// The latest event that was sent before the gap.
    pub after_seq: Option<u64>,
}

/// A response that is no success, and the message `failed` of a stream of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorResponse {
    /// What failed.
    pub error: ApiError,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiError {
    /// For programs: a word such as `bad_query` or `unknown_source`.
    pub kind: Cow<'static, str>,
    /// For people: one line, no secrets.
    pub message: String,
}

impl ErrorResponse {
    /// An error of a kind.
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ErrorResponse { error: ApiError { kind: kind.into(), message: message.into() } }
    }
}
