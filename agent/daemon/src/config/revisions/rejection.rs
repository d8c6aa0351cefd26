//! What is refused, and how much of that is written down.
//!
//! Invariant: whoever has the broker's password can send anything as often as they like; of all that, one line in the
//! log and one write to disk a minute remain, and one line in the history for each thing that was really signed.

use std::time::Duration;

use aimass_core::id::Name;

use super::state::{HistoryEntry, Judged, Origin, Outcome, ReportState};
use super::{ConfigManager, Decision};
use crate::config::Problem;

/// Refused pushes are logged and written to disk at most so often.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Something that is refused.
pub(super) struct Refusal {
    pub(super) origin: Origin,
    pub(super) version: Option<u64>,
    pub(super) key: Option<Name>,
    /// It came from the broker, and not from this machine.
    pub(super) from_outside: bool,
    /// The digest of a message that is not to be judged again when it comes again.
    pub(super) message: Option<String>,
    /// Of what was signed, or of the node's own file; empty if there is no such thing.
    pub(super) digest: String,
    /// Whether it belongs into the history: signed by somebody we know, or of this very node.
    pub(super) ours: bool,
    pub(super) errors: Vec<Problem>,
}

impl ConfigManager {
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Decision {
        let (now, monotonic) = (self.clock.wall(), self.clock.monotonic());
        let mut next = self.state.clone();
        if let Some(digest) = refusal.message {
            next.judged = Some(Judged { digest, context: Some(self.context()) });
        }
        let quiet = self.noted.is_some_and(|noted| monotonic.saturating_sub(noted) < NOTE_EVERY);
        let news = !refusal.from_outside || !quiet;
        if news {
            let told: Vec<String> = refusal.errors.iter().take(5).map(ToString::to_string).collect();
            let (problem, unsaid) = (told.join("; "), self.unsaid);
            tracing::warn!(version = refusal.version, problem, unsaid, "A configuration is refused.");
            self.unsaid = 0;
        } else {
            self.unsaid += 1;
        }
        let is_it = |p: &HistoryEntry| p.digest == refusal.digest && p.outcome == Outcome::Rejected;
        let known = !refusal.digest.is_empty() && next.history.iter().any(is_it);
        if refusal.ours && !known {
            let revision = next.number();
            next.note(HistoryEntry {
                revision,
                origin: refusal.origin,
                version: refusal.version,
                key: refusal.key,
                time: now,
                digest: refusal.digest,
                outcome: Outcome::Rejected,
                rollback_of: None,
                errors: refusal.errors.clone(),
            });
        }
        // A trial that is under way goes on; its end will be the next answer.
        next.answer.state = ReportState::Rejected;
        next.answer.desired_version = refusal.version;
        next.answer.errors = refusal.errors;
        next.answer.time = now;
        if news {
            if refusal.from_outside {
                self.noted = Some(monotonic);
            }
            self.save_or_warn(next);
        } else {
            // Written with the next thing that is written; until then a restart judges the message anew.
            self.state = next;
        }
        Decision::Rejected
    }
}
