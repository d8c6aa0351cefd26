//! Losses: what the node had to give up, gathered until a receipt tells of them.

use std::sync::Arc;

use aimass_core::event::{Event, EventData, Kind, Phase, Severity};
use aimass_core::finding::Attributes;
use aimass_core::frame::TimeSource;
use aimass_core::id::Name;
use aimass_core::traits::NeverTaken;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The label of a loss receipt.
pub const EVENTS_LOST: &str = "events_lost";

/// Why events were given up before all sinks had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The store was at its largest size.
    Size,
    /// They were older than the age limit.
    Age,
    /// The disk was full.
    DiskFull,
    /// The database was damaged, gone or older than it should be.
    StoreQuarantined,
    /// Single events were damaged.
    Unreadable,
    /// The broker takes nothing so large. They are still in the node's history.
    TooLarge,
    /// The broker refuses them for ever. They are still in the node's history.
    RefusedByBroker,
}

impl From<NeverTaken> for LossReason {
    fn from(why: NeverTaken) -> Self {
        match why {
            NeverTaken::TooLarge => LossReason::TooLarge,
            NeverTaken::Refused => LossReason::RefusedByBroker,
        }
    }
}

/// A loss, as a receipt tells it: the attributes of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The lowest `seq` that is gone.
    pub first_seq: u64,
    /// The highest `seq` that is gone.
    pub last_seq: u64,
    /// How many of that range are gone; for `store_quarantined` an upper bound.
    pub count: u64,
    /// Why.
    pub reason: LossReason,
}

impl Loss {
    /// Reads a receipt.
    pub fn of(event: &Event) -> Option<Loss> {
        if event.what.kind != Kind::Node || &*event.what.label != EVENTS_LOST {
            return None;
        }
        let attributes = serde_json::to_value(&event.what.attributes).ok()?;
        serde_json::from_value(attributes).ok()
    }

    /// What happened, for the node to sign as an event.
    pub(crate) fn happening(&self, now: Timestamp) -> EventData {
        let mut attributes = Attributes::new();
        attributes.insert("first_seq".into(), self.first_seq.into());
        attributes.insert("last_seq".into(), self.last_seq.into());
        attributes.insert("count".into(), self.count.into());
        attributes.insert("reason".into(), serde_json::json!(self.reason));
        EventData {
            time: now,
            time_source: TimeSource::Clock,
            source: node(),
            kind: Kind::Node,
            phase: Phase::Once,
            severity: Severity::Alarm,
            label: Arc::from(EVENTS_LOST),
            score: None,
            region: None,
            track: None,
            occurrence_id: None,
            zone: None,
            line: None,
            attributes,
            model: None,
            evidence: None,
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant that is a name")]
fn node() -> Name {
    "node".parse().expect("a name")
}

/// Losses by reason, and when each was last told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Owed(Vec<Loss>);

impl Owed {
    /// Adds to the loss of that reason.
    pub(crate) fn add(&mut self, loss: Loss) {
        match self.0.iter_mut().find(|l| l.reason == loss.reason) {
            Some(known) => {
                known.first_seq = known.first_seq.min(loss.first_seq);
                known.last_seq = known.last_seq.max(loss.last_seq);
                known.count += loss.count;
            }
            None => self.0.push(loss),
        }
    }

    /// Takes those whose turn it is.
    pub(crate) fn take(&mut self, mut is_due: impl FnMut(LossReason) -> bool) -> Vec<Loss> {
        self.0.extract_if(.., |l| is_due(l.reason)).collect()
    }

    pub(crate) fn any(&self, mut is_due: impl FnMut(LossReason) -> bool) -> bool {
        self.0.iter().any(|l| is_due(l.reason))
    }
}
