//! What the service manager is told: when the node is ready, how it is, that it lives, that it ends.
//!
//! Owner: the main task. Invariant: `WATCHDOG=1` is sent only while every worker and task showed life within the
//! watchdog's own interval, or has a reason to be silent. A hung part so ends in a restart after one to two
//! intervals; what the store accepted is on the disk. Without systemd all of this does nothing.

use std::convert::Infallible;
use std::time::Duration;

use aimass_core::runtime::worker::{Health, WorkerRegistry};
use sd_notify::NotifyState;

use crate::handle::NodeHandle;
use crate::health::document::HealthDocument;

/// How often the manager's status line is looked after, at least.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// The shortest time between two looks, for a watchdog whose interval makes no sense.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest status line, in characters.
const STATUS_LENGTH: usize = 200;

/// The node runs: units that wait for it may start.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("the node runs")]);
}

/// A new configuration is being taken over; [`ready`] says when that is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("taking over a configuration")]),
        Err(error) => tracing::warn!(%error, "The service manager could not be told of the reload."),
    }
}

/// The node ends in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("delivering what is left")]);
}

/// Keeps the manager informed until the program ends: the status line, and the watchdog if there is one.
pub async fn keep_informed(workers: WorkerRegistry, node: NodeHandle) -> Infallible {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        std::future::pending::<()>().await;
    }
    let limit = sd_notify::watchdog_enabled();
    if let Some(limit) = limit {
        tracing::info!(interval_s = limit.as_secs_f32(), "The service manager's watchdog is on.");
    }
    let every = limit.map_or(STATUS_EVERY, |l| (l / 4).clamp(SHORTEST, STATUS_EVERY));
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut told, mut complained) = (String::new(), false);
    loop {
        tick.tick().await;
        let stuck = limit.map(|limit| workers.stuck(limit)).unwrap_or_default();
        let line = if stuck.is_empty() { status_line(&node.health()) } else { stuck_line(&stuck) };
        if line != told {
            told.clone_from(&line);
            aside(move || tell(&[NotifyState::Status(&line)])).await;
        }
        if stuck.is_empty() {
            complained = false;
            if limit.is_some() {
                aside(|| tell(&[NotifyState::Watchdog])).await;
            }
        } else if !complained {
            complained = true;
            for part in &stuck {
                tracing::error!(
                    part = part.name,
                    silent_s = part.heartbeat_age_s,
                    "No sign of life: the watchdog is not fed any longer, the service manager restarts the program."
                );
            }
        }
    }
}

/// A manager that does not read makes who writes to it wait: that must not be the main task.
async fn aside(telling: impl FnOnce() + Send + 'static) {
    // An error means that the program is ending.
    tokio::task::spawn_blocking(telling).await.ok();
}

fn status_line(health: &HealthDocument) -> String {
    let line = match health.problems.as_slice() {
        [] => {
            let (count, plural) = (health.sources.len(), if health.sources.len() == 1 { "" } else { "s" });
            format!("{count} source{plural}, broker {}", health.broker.state)
        }
        [only] => format!("1 problem: {only}"),
        [first, ..] => format!("{} problems, the first: {first}", health.problems.len()),
    };
    one_line(&line)
}

fn stuck_line(stuck: &[Health]) -> String {
    let names: Vec<&str> = stuck.iter().map(|h| h.name.as_str()).collect();
    one_line(&format!("no sign of life of {}", names.join(", ")))
}

/// A line break would begin another message to the manager.
fn one_line(text: &str) -> String {
    text.chars().take(STATUS_LENGTH).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "The service manager cannot be told how the node is.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_cannot_begin_another_message_to_the_manager() {
        assert_eq!(one_line("source a: gone\nWATCHDOG=trigger"), "source a: gone WATCHDOG=trigger");
        assert_eq!(one_line(&"x".repeat(1000)).len(), STATUS_LENGTH);
    }
}
