//! The event `degraded`: began, updated, ended.
//!
//! Invariant: every `began` has exactly one `ended` with the same `occurrence_id`, also at shutdown (`end_reason`
//! `node_stopping`); what a crash left open is kept in the store and ended by the next life (`restarted`).

use aimass_core::event::{EventData, Kind, Phase, Severity};
use aimass_core::finding::Attributes;
use aimass_core::frame::TimeSource;
use aimass_store::Store;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ulid::Ulid;

use super::GovernorHealth;
use crate::identity::Node;
use crate::pipeline::persist::EventBatch;
use crate::pipeline::source_health::node_source;

/// The key of what is open.
const OPEN: &str = "degraded_open";
/// The label.
const DEGRADED: &str = "degraded";

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    /// `thing` before schema 2.
    #[serde(alias = "thing")]
    occurrence_id: Ulid,
    since: Timestamp,
}

/// What was told of the node being held back.
pub(super) struct DegradedEpisode {
    node: Node,
    open: Option<Open>,
}

impl DegradedEpisode {
    /// With what the former life has left open.
    pub(super) async fn load(node: Node, store: &Store) -> Self {
        let open = match store.get_value(OPEN).await {
            Ok(kept) => kept.and_then(|kept| serde_json::from_value(kept).ok()),
            Err(error) => {
                tracing::warn!(%error, "What the governor of the former life left open cannot be read.");
                None
            }
        };
        DegradedEpisode { node, open }
    }

    /// Since when the node is held back.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.open.map(|open| open.since)
    }

    /// Notes how it is now; what there is to tell.
    pub(super) fn note(&mut self, health: &GovernorHealth) -> Option<EventBatch> {
        let now = self.node.clock.wall();
        match (self.open, health.level > 0) {
            (None, false) => None,
            (None, true) => {
                let occurrence_id = self.node.make_id(now.as_millisecond().max(0) as u64);
                let open = Open { occurrence_id, since: now };
                self.open = Some(open);
                Some(self.told(open, Phase::Began, facts(health)))
            }
            (Some(open), true) => Some(self.told(open, Phase::Updated, facts(health))),
            (Some(_), false) => self.end("recovered"),
        }
    }

    /// Ends what is open.
    pub(super) fn end(&mut self, by: &'static str) -> Option<EventBatch> {
        let open = self.open.take()?;
        let lasted_s = self.node.clock.wall().duration_since(open.since).as_secs_f64().max(0.0);
        let facts = [
            ("duration_s".into(), Value::from((lasted_s * 10.0).round() / 10.0)),
            ("end_reason".into(), Value::from(by)),
        ];
        Some(self.told(open, Phase::Ended, facts.into()))
    }

    fn told(&self, open: Open, phase: Phase, attributes: Attributes) -> EventBatch {
        let happening = EventData {
            time: self.node.clock.wall(),
            time_source: TimeSource::Clock,
            source: node_source(),
            kind: Kind::Node,
            phase,
            severity: Severity::Notice,
            label: DEGRADED.into(),
            score: None,
            region: None,
            track: None,
            occurrence_id: Some(open.occurrence_id),
            zone: None,
            line: None,
            attributes,
            model: None,
            evidence: None,
        };
        let kept = serde_json::to_value(self.open).unwrap_or_default();
        EventBatch { happenings: vec![happening], values: vec![(OPEN.to_owned(), kept)] }
    }
}

/// What is not watched, and why. All cameras at once would be too much for one event: those that are whole are left out.
fn facts(health: &GovernorHealth) -> Attributes {
    let held: Vec<_> = health.cameras.iter().filter(|camera| !camera.is_whole()).collect();
    let mut facts = Attributes::from([
        ("reason".into(), json!(health.reason)),
        ("level".into(), json!(health.level)),
        ("max_level".into(), json!(health.max_level)),
        ("cameras".into(), json!(held)),
    ]);
    if let Some(hottest) = &health.hottest_zone {
        facts.insert("hottest_zone".into(), json!(hottest));
    }
    facts
}
