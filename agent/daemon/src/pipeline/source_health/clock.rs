//! The node's own sight: whether its clock is set. A node without the time cannot say when anything happened.

use std::time::Duration;

use aimass_core::event::Severity;
use aimass_core::id::Name;
use aimass_core::runtime::clock::SharedClock;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Meaning, Report};
use crate::pipeline::processor::Input;

/// A board without a battery needs a moment after its start until the network has told it the time.
const SETTLES: Duration = Duration::from_secs(60);

/// The source of the node's own states and events.
pub fn node_source() -> Name {
    "node".parse().unwrap_or_else(|_| unreachable!("\"node\" is a name"))
}

/// The way of the node's own reports to the task `events`. It keeps nothing open: once the sources are gone and the
/// node stops, what is told goes nowhere.
#[derive(Clone)]
pub struct NodeHealthReporter(mpsc::WeakSender<Input>);

impl NodeHealthReporter {
    /// Tells through this queue.
    pub fn new(inputs: &mpsc::Sender<Input>) -> Self {
        NodeHealthReporter(inputs.downgrade())
    }

    /// Tells how the node itself sees; waits while the queue is full.
    pub async fn sight(&self, report: Report) {
        if let Some(inputs) = self.0.upgrade() {
            // An error only says that the node is stopping.
            inputs.send(Input::Sight { source: node_source(), report }).await.ok();
        }
    }
}

/// Judges the clock.
pub struct ClockWatch {
    is_right: fn(Timestamp) -> bool,
    wrong_since: Option<Duration>,
    told: Option<Report>,
}

impl ClockWatch {
    /// A watch that judges by this.
    pub fn new(is_right: fn(Timestamp) -> bool) -> Self {
        ClockWatch { is_right, wrong_since: None, told: None }
    }

    /// Looks at the clock; tells when what it means has changed.
    pub fn look(&mut self, clock: &SharedClock) -> Option<Report> {
        let now = clock.monotonic();
        let report = if (self.is_right)(clock.wall()) {
            self.wrong_since = None;
            Report::new("ok", Meaning::Well("recovered"))
        } else {
            let since = *self.wrong_since.get_or_insert(now);
            let lasts = now.saturating_sub(since) >= SETTLES;
            let meaning = if lasts { Meaning::Lost(Severity::Notice) } else { Meaning::StateOnly };
            Report::new("clock_not_synchronized", meaning)
        };
        let changed = self.told.as_ref() != Some(&report);
        changed.then(|| self.told.insert(report).clone())
    }
}
