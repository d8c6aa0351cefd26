//! Losses of sight as states and events.
//!
//! [`CameraHealth`] live on a camera's thread and say how it sees, [`MicrophoneHealth`] on a microphone's; the task `events` owns the [`FaultEpisodes`], which makes
//! happenings of that: one loss a source at a time, the worst. A source without pictures is worst, whether it stalled
//! or failed; then come black, covered, frozen, moved, out of focus. Frames of a camera that sees badly still go to
//! the gate and the chain: what is found in them is found, and who reads `health` knows what it is worth.
//!
//! Invariant: every `began` has exactly one `ended` with the same `occurrence_id`, also at shutdown (`end_reason`
//! `node_stopping`); what a crash left open is kept in the store and ended by the next life (`end_reason` `restarted`).

mod camera;
mod clock;
mod microphone;
mod presence;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aimass_core::event::{EventData, Kind, Phase, Severity};
use aimass_core::finding::Attributes;
use aimass_core::frame::TimeSource;
use aimass_core::id::Name;
use aimass_store::Store;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulid::Ulid;

use crate::identity::Node;

pub use camera::CameraHealth;
pub use clock::{ClockWatch, NodeHealthReporter, node_source};
pub use microphone::MicrophoneHealth;

/// The key of the losses that are open, by source.
const OPEN: &str = "sight_open";
/// The losses of a source that delivers no pictures: two words for one thing.
const AWAY: [&str; 2] = ["stalled", "failed"];

/// What a report means for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// All is well, or is no longer looked at, for this reason: what was lost has ended.
    Well(&'static str),
    /// VideoHealthMonitor is lost: what the state says has begun.
    Lost(Severity),
    /// Nothing yet: the state alone is told.
    StateOnly,
}

/// How a source sees from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// For `state/<source>/health`; the label of a loss.
    pub state: &'static str,
    /// What it means for events.
    pub meaning: Meaning,
    /// The evidence.
    pub facts: Attributes,
    /// When, if a frame showed it; else now.
    pub at: Option<(Timestamp, TimeSource)>,
}

impl Report {
    /// A report without evidence.
    pub fn new(state: &'static str, meaning: Meaning) -> Self {
        Report { state, meaning, facts: Attributes::new(), at: None }
    }

    /// Whether no pictures come at all.
    pub fn is_blind(&self) -> bool {
        self.state == "ended" || AWAY.contains(&self.state)
    }
}

/// A loss that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    /// `thing` before schema 2.
    #[serde(alias = "thing")]
    occurrence_id: Ulid,
    label: String,
    severity: Severity,
    since: Timestamp,
}

/// The losses of all sources, and of the node itself.
pub struct FaultEpisodes {
    node: Node,
    open: BTreeMap<Name, Open>,
}

impl FaultEpisodes {
    /// With what the former life has left open. What cannot be read is left: it must not keep the node from its work.
    pub async fn load(node: Node, store: &Store) -> Self {
        let open = match store.get_value(OPEN).await {
            Ok(kept) => kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "The losses of sight of the former life cannot be read.");
                BTreeMap::new()
            }
        };
        FaultEpisodes { node, open }
    }

    /// What is open, to be kept together with the happenings that made it so.
    pub fn value(&self) -> (String, Value) {
        (OPEN.to_owned(), serde_json::to_value(&self.open).unwrap_or_default())
    }

    /// Takes a report in.
    pub fn take(&mut self, source: &Name, report: &Report) -> Vec<EventData> {
        let at = report.at.unwrap_or_else(|| (self.node.clock.wall(), TimeSource::Clock));
        let mut happenings = Vec::new();
        match report.meaning {
            Meaning::StateOnly => {}
            Meaning::Well(reason) => happenings.extend(self.close(source, reason, at)),
            Meaning::Lost(severity) => {
                let is_away = |label: &str| AWAY.contains(&label);
                let goes_on = self.open.get(source).is_some_and(|open| {
                    open.label == report.state || (is_away(&open.label) && is_away(report.state))
                });
                if !goes_on {
                    happenings.extend(self.close(source, "replaced", at));
                    happenings.push(self.begin(source, report, severity, at));
                }
            }
        }
        happenings
    }

    /// Ends what is open at a source that is no longer watched.
    pub fn end(&mut self, source: &Name, reason: &'static str) -> Vec<EventData> {
        let now = (self.node.clock.wall(), TimeSource::Clock);
        self.close(source, reason, now).into_iter().collect()
    }

    /// Ends everything that is open.
    pub fn end_all(&mut self, reason: &'static str) -> Vec<EventData> {
        let sources: Vec<Name> = self.open.keys().cloned().collect();
        sources.iter().flat_map(|source| self.end(source, reason)).collect()
    }

    fn begin(
        &mut self,
        source: &Name,
        report: &Report,
        severity: Severity,
        at: (Timestamp, TimeSource),
    ) -> EventData {
        let occurrence_id = self.node.make_id(at.0.as_millisecond().max(0) as u64);
        let open = Open { occurrence_id, label: report.state.to_owned(), severity, since: at.0 };
        let told = happening(source, &open, Phase::Began, at, report.facts.clone());
        self.open.insert(source.clone(), open);
        told
    }

    fn close(
        &mut self,
        source: &Name,
        reason: &'static str,
        at: (Timestamp, TimeSource),
    ) -> Option<EventData> {
        let open = self.open.remove(source)?;
        let lasted_s = at.0.duration_since(open.since).as_secs_f64().max(0.0);
        let facts = [
            ("duration_s".into(), Value::from((lasted_s * 10.0).round() / 10.0)),
            ("end_reason".into(), Value::from(reason)),
        ];
        Some(happening(source, &open, Phase::Ended, at, facts.into()))
    }
}

fn happening(
    source: &Name,
    open: &Open,
    phase: Phase,
    (time, time_source): (Timestamp, TimeSource),
    attributes: Attributes,
) -> EventData {
    EventData {
        time,
        time_source,
        source: source.clone(),
        kind: Kind::Health,
        phase,
        severity: open.severity,
        label: open.label.as_str().into(),
        score: None,
        region: None,
        track: None,
        occurrence_id: Some(open.occurrence_id),
        zone: None,
        line: None,
        attributes,
        model: None,
        evidence: None,
    }
}
