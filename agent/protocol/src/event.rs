//! What leaves the board: the event document.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use crate::geometry::Region;
use crate::name::Name;

/// The version of the event document.
pub const EVENT_SCHEMA: u32 = 2;

/// The class of a finding, as the model's label list spells it. Cheap to clone.
pub type Label = Arc<str>;

/// Small extra facts about a finding, by name.
pub type Attributes = BTreeMap<Cow<'static, str>, Value>;

/// Which model said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelRef {
    /// Its name in the model library.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
}

/// Where a stamp's wall time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeSource {
    /// The board's clock when the frame arrived.
    Clock,
    /// The camera's own clock, by RTP sender reports.
    Rtp,
    /// The position in a file, counted from the moment it was opened.
    File,
}

/// What an event is about; the last level of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something is in view.
    Object,
    /// Something crossed a line.
    Line,
    /// Something is in a zone.
    Zone,
    /// A face.
    Face,
    /// Read text.
    Text,
    /// A sound.
    Sound,
    /// Spoken words.
    Speech,
    /// How well a source can be used, such as a covered camera or a dead microphone. `sight` in schema 1.
    #[serde(alias = "sight")]
    Health,
    /// The node itself.
    Node,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 9] = [
        Kind::Object,
        Kind::Line,
        Kind::Zone,
        Kind::Face,
        Kind::Text,
        Kind::Sound,
        Kind::Speech,
        Kind::Health,
        Kind::Node,
    ];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// As in topics and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Line => "line",
            Kind::Zone => "zone",
            Kind::Face => "face",
            Kind::Text => "text",
            Kind::Sound => "sound",
            Kind::Speech => "speech",
            Kind::Health => "health",
            Kind::Node => "node",
        }
    }
}

/// Where in the life of a thing the event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A thing that lasts began.
    Began,
    /// It goes on, and something about it changed.
    Updated,
    /// It ended.
    Ended,
    /// A point in time.
    Once,
}

/// How much an event matters. Ordered: what is lost first comes first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    #[default]
    Info,
    /// Somebody may want to look.
    Notice,
    /// Somebody should act.
    Alarm,
}

/// Which way a line was crossed, looking from its `from` to its `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the left-hand side to the right-hand side.
    In,
    /// From the right-hand side to the left-hand side.
    Out,
}

/// The crossing that a `line` event reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Crossing {
    /// Which line.
    pub id: Name,
    /// Which way.
    pub direction: Direction,
    /// Crossings inwards so far, this one included.
    pub in_total: u64,
    /// Crossings outwards so far, this one included.
    pub out_total: u64,
}

/// The evidence that made an event fire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Frames in which the thing was seen.
    pub frames: u32,
    /// Its best score so far.
    pub peak_score: f32,
    /// How long it has not moved, in seconds.
    pub stationary_s: f32,
}

/// What happened at a source, before the node adds who it is and counts it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventData {
    /// When, UTC, milliseconds.
    #[serde(with = "rfc3339_ms")]
    #[schemars(with = "crate::schema::DateTime")]
    pub time: Timestamp,
    /// Where `time` comes from.
    pub time_source: TimeSource,
    /// The source; `node` for events of the node itself.
    pub source: Name,
    /// What it is about.
    pub kind: Kind,
    /// Where in the life of the thing.
    pub phase: Phase,
    /// How much it matters.
    pub severity: Severity,
    /// The class, or the name of what happened.
    pub label: Label,
    /// Score at this moment.
    pub score: Option<f32>,
    /// Where, at this moment.
    pub region: Option<Region>,
    /// The track.
    pub track: Option<u64>,
    /// The lasting thing that this is a phase of: stable from `began` to `ended`.
    #[schemars(with = "Option<String>")]
    pub occurrence_id: Option<Ulid>,
    /// The zone.
    pub zone: Option<Name>,
    /// The crossing.
    pub line: Option<Crossing>,
    /// Extra facts.
    #[serde(default)]
    pub attributes: Attributes,
    /// Which model found it.
    pub model: Option<ModelRef>,
    /// Why it fired.
    pub evidence: Option<Evidence>,
}

/// One event, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version of this document: [`EVENT_SCHEMA`].
    pub schema: u32,
    /// Unique; the key to drop doubles by.
    #[schemars(with = "String")]
    pub id: Ulid,
    /// The life of the program that made it.
    #[schemars(with = "String")]
    pub boot: Ulid,
    /// Counts the node's events without gaps, over restarts; given by the store when it accepts the event.
    pub seq: u64,
    /// Whether it waited while the broker was away.
    pub replay: bool,
    /// Whether the board's clock was known to be right.
    pub clock_synchronized: bool,
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// The version of the configuration that was in force.
    pub config_version: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: EventData,
}

/// Names of attributes, and what they were called in schema 1.
const RENAMED_ATTRIBUTES: [(&str, &str); 13] = [
    ("ended_by", "end_reason"),
    ("still", "stationary"),
    ("still_s", "stationary_s"),
    ("stood_s", "stationary_s"),
    ("label_before", "previous_label"),
    ("same_s", "unchanged_s"),
    ("alike", "similarity"),
    ("edges_gone", "edges_missing"),
    ("levels", "max_level"),
    ("hottest", "hottest_zone"),
    ("celsius", "temperature_c"),
    ("fps_wanted", "fps_configured"),
    ("fps_given", "fps_allowed"),
];

impl EventData {
    /// Gives what a program of schema 1 wrote the names of [`EVENT_SCHEMA`], so that events that were stored before an
    /// upgrade are delivered in the same form as those after it.
    pub fn upgrade_from_schema_1(&mut self) {
        let attributes = std::mem::take(&mut self.attributes);
        let renamed = attributes.into_iter().map(|(name, value)| {
            let name = match &*name {
                "reason" if self.kind == Kind::Health => Cow::Borrowed("end_reason"),
                other => renamed(other).map_or(name, Cow::Borrowed),
            };
            let value = match value {
                Value::String(reason) if self.kind == Kind::Node && name == "reason" => {
                    Value::String(match reason.as_str() {
                        "hot" => "overheating".to_owned(),
                        "late" => "overloaded".to_owned(),
                        _ => reason,
                    })
                }
                value => upgraded(value),
            };
            (name, value)
        });
        self.attributes = renamed.collect();
        if &*self.label == "clock_not_set" {
            self.label = "clock_not_synchronized".into();
        }
    }
}

fn renamed(old: &str) -> Option<&'static str> {
    RENAMED_ATTRIBUTES.iter().find(|(before, _)| *before == old).map(|(_, now)| *now)
}

/// The keys of objects within an attribute are renamed too.
fn upgraded(value: Value) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(upgraded).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (renamed(&key).map_or(key, str::to_owned), upgraded(value)))
            .collect(),
        value => value,
    }
}

/// RFC 3339 in UTC with exactly three digits of seconds.
pub mod rfc3339_ms {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the time.
    #[expect(clippy::missing_errors_doc, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{time:.3}"))
    }

    /// Reads any RFC 3339 time.
    #[expect(clippy::missing_errors_doc, reason = "serde's signature")]
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(d)
    }
}

/// As [`rfc3339_ms`], or null.
pub mod rfc3339_ms_optional {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the time, or null.
    #[expect(clippy::missing_errors_doc, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::rfc3339_ms::serialize(time, s),
            None => s.serialize_none(),
        }
    }

    /// Reads any RFC 3339 time, or null.
    #[expect(clippy::missing_errors_doc, reason = "serde's signature")]
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(d)
    }
}
