//! States that the broker refused: held back for a while, over connections. Outlives a connection.
//!
//! A broker may not only refuse a message but hang up over it (Mosquitto 2.0.11 does so now and then when its access
//! list denies one). Sent again at the head of each connection, one such state would keep the node away for ever.
//! Invariant: a refused topic is sent again at most once in its wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Held {
    until: Instant,
    wait: Duration,
}

/// The refused topics, below the node's root.
#[derive(Debug, Default)]
pub(crate) struct HeldStates(BTreeMap<Arc<str>, Held>);

impl HeldStates {
    /// The broker did not take a value of this topic. True if it is newly refused.
    pub(crate) fn refuse(&mut self, topic: &Arc<str>, now: Instant) -> bool {
        let known = self.0.get(topic).map(|held| held.wait);
        let wait = known.map_or(FIRST_WAIT, |wait| (2 * wait).min(LONGEST_WAIT));
        self.0.insert(topic.clone(), Held { until: now + wait, wait });
        known.is_none()
    }

    /// Whether a topic must wait.
    pub(crate) fn holds(&self, topic: &str, now: Instant) -> bool {
        self.0.get(topic).is_some_and(|held| held.until > now)
    }

    /// The broker took a value of this topic.
    pub(crate) fn accepted(&mut self, topic: &str) {
        self.0.remove(topic);
    }

    /// When the first of them is to be tried again, after `now`: those that are due already are on their way.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|held| held.until).filter(|until| *until > now).min()
    }

    /// Those whose wait ended between two looks.
    pub(crate) fn freed(&self, since: Instant, now: Instant) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter(move |(_, held)| held.until > since && held.until <= now).map(|(topic, _)| topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_state_waits_longer_each_time_until_it_is_taken() {
        let (mut held, topic, start) = (HeldStates::default(), Arc::from("config/reported"), Instant::now());
        assert!(held.refuse(&topic, start));
        assert!(held.holds(&topic, start) && !held.holds("status", start));
        let later = start + FIRST_WAIT;
        assert_eq!((held.due(start), held.holds(&topic, later)), (Some(later), false));
        assert_eq!(held.freed(start, later).count(), 1);
        assert_eq!((held.freed(later, later + FIRST_WAIT).count(), held.due(later)), (0, None));
        assert!(!held.refuse(&topic, later), "known");
        assert_eq!(held.due(later), Some(later + 2 * FIRST_WAIT));
        held.accepted(&topic);
        assert!(!held.holds(&topic, later));
    }
}
