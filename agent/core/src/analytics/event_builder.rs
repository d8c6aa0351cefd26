//! Turns what happens to tracks into event documents.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;
use ulid::Ulid;

use crate::analytics::zone::ZoneConfig;
use crate::event::{Crossing, EventData, Evidence, Kind, Phase, Severity};
use crate::finding::{Attributes, Label};
use crate::frame::TimeSource;
use crate::id::Name;
use crate::tracking::Track;

use super::MakeId;

/// The label that face analyzers give; events about it have their own kind.
pub const FACE: &str = "face";

/// Writes the events of one observation.
pub(super) struct EventBuilder<'a> {
    pub(super) source: &'a Name,
    pub(super) make_id: &'a mut MakeId,
    pub(super) time: Timestamp,
    pub(super) time_source: TimeSource,
    pub(super) out: &'a mut Vec<EventData>,
}

/// A small fact for an event.
pub(super) fn fact(name: &'static str, value: impl Into<Value>) -> (Cow<'static, str>, Value) {
    (Cow::Borrowed(name), value.into())
}

/// Seconds as a fact: tenths are enough, and read well.
pub(super) fn seconds(s: f32) -> f64 {
    (f64::from(s) * 10.0).round() / 10.0
}

impl EventBuilder<'_> {
    /// A new name for a thing that begins now.
    pub(super) fn new_thing(&mut self) -> Ulid {
        (self.make_id)(u64::try_from(self.time.as_millisecond()).unwrap_or(0))
    }

    fn about(&self, track: &Track, kind: Kind, phase: Phase) -> EventData {
        EventData {
            time: self.time,
            time_source: self.time_source,
            source: self.source.clone(),
            kind,
            phase,
            severity: Severity::Info,
            label: track.label().clone(),
            score: Some(track.score()),
            region: Some(track.last_region().clipped()),
            track: Some(track.id),
            occurrence_id: None,
            zone: None,
            line: None,
            attributes: Attributes::new(),
            model: Some((**track.model()).clone()),
            evidence: Some(Evidence {
                frames: track.frames(),
                peak_score: track.peak_score(),
                stationary_s: track.still_s(),
            }),
        }
    }

    pub(super) fn object(
        &mut self,
        track: &Track,
        thing: Ulid,
        phase: Phase,
        facts: impl IntoIterator<Item = (Cow<'static, str>, Value)>,
    ) {
        let kind = if **track.label() == *FACE { Kind::Face } else { Kind::Object };
        let attributes = facts.into_iter().collect();
        self.out.push(EventData { occurrence_id: Some(thing), attributes, ..self.about(track, kind, phase) });
    }

    pub(super) fn object_ended(&mut self, track: &Track, thing: Ulid) {
        let facts = [
            fact("duration_s", seconds(track.age().as_secs_f32())),
            fact("stationary_s", seconds(track.still_s())),
        ];
        self.object(track, thing, Phase::Ended, facts);
    }

    pub(super) fn zone(
        &mut self,
        track: &Track,
        zone: &ZoneConfig,
        label: &Label,
        thing: Ulid,
        phase: Phase,
        dwell_s: Option<f32>,
    ) {
        self.out.push(EventData {
            occurrence_id: Some(thing),
            severity: zone.severity,
            label: label.clone(),
            zone: Some(zone.id.clone()),
            attributes: dwell_s.map(|s| fact("dwell_s", seconds(s))).into_iter().collect(),
            ..self.about(track, Kind::Zone, phase)
        });
    }

    pub(super) fn line(
        &mut self,
        track: &Track,
        thing: Option<Ulid>,
        severity: Severity,
        crossing: Crossing,
    ) {
        self.out.push(EventData {
            occurrence_id: thing,
            severity,
            line: Some(crossing),
            ..self.about(track, Kind::Line, Phase::Once)
        });
    }
}
