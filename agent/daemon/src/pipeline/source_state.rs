//! What a source's connection says, for viewers and for the log: the same for cameras and microphones.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aimass_core::traits::{SourceError, SourceErrorKind};
use aimass_media::reconnect::SourceState;
use jiff::Timestamp;

use crate::pipeline::views::{ConnectionState, SourceView};

/// How long a source may take to be made. The first of all starts GStreamer, which after an installation looks through all
/// its plug-ins: over half a minute on a slow board that is busy booting.
pub(crate) const STARTING: Duration = Duration::from_secs(300);

/// Attempts that failed since a source last delivered.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u64,
    /// Whether the log knows that only another configuration, or a hand, helps.
    misconfigured: bool,
}

/// Notes a new state.
pub(crate) fn note(view: &SourceView, state: &SourceState, failures: &mut Failures, now: Timestamp) {
    match state {
        SourceState::Connecting { .. } => {
            // A reason that is known stays on display while the next attempt runs.
            let error = view.status().error;
            view.set_status(ConnectionState::Connecting, error, now);
        }
        SourceState::Delivering(info) => {
            view.set_stream(info.clone());
            view.set_misconfigured(false);
            view.set_status(ConnectionState::Delivering, None, now);
            let stream = &info.description;
            if info.width > 0 {
                tracing::info!(source = %view.id, width = info.width, height = info.height, stream, "The source delivers.");
            } else {
                tracing::info!(source = %view.id, stream, "The source delivers.");
            }
            *failures = Failures::default();
        }
        SourceState::Stalled { message, .. } => {
            view.counters.reconnects.fetch_add(1, Ordering::Relaxed);
            view.set_misconfigured(false);
            view.set_status(ConnectionState::Stalled, Some(message.clone()), now);
            tracing::warn!(source = %view.id, error = message, "The source has stalled.");
        }
        SourceState::Failed { error, retry_in } => {
            view.counters.reconnects.fetch_add(1, Ordering::Relaxed);
            let misconfigured = error.kind == SourceErrorKind::Config;
            view.set_misconfigured(misconfigured);
            view.set_status(ConnectionState::Failed, Some(error.to_string()), now);
            // Once, then every hundredth time: a source that is away for days must not fill the log.
            let is_news = misconfigured && !failures.misconfigured;
            failures.misconfigured |= misconfigured;
            if failures.count.is_multiple_of(100) || is_news {
                tracing::warn!(source = %view.id, %error, attempts = failures.count + 1, retry_in_ms = retry_in.as_millis() as u64, "The source does not deliver; trying again.");
            }
            failures.count += 1;
        }
        SourceState::Ended(_) => {
            view.set_misconfigured(false);
            view.set_status(ConnectionState::Ended, None, now);
            tracing::info!(source = %view.id, "The source has ended.");
        }
    }
}

/// Notes that a source cannot even be made: only a changed configuration, or another program, helps.
pub(crate) fn note_unbuildable(view: &SourceView, error: &SourceError, now: Timestamp) {
    tracing::error!(source = %view.id, %error, "The source cannot run with this configuration.");
    view.set_misconfigured(true);
    view.set_status(ConnectionState::Failed, Some(error.to_string()), now);
}
