//! Events that the broker refused for now, by topic: they stay in the outbox and are tried again, one a topic
//! and round, until one passes. Outlives a connection. Invariant: never a tight loop, and one refused topic does not hold up another.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aimass_core::runtime::backoff::Backoff;

/// The most events to remember. Those beyond are found again on the next connection.
const MOST: usize = 4096;

#[derive(Debug)]
pub(crate) struct Refusals {
    topics: BTreeMap<String, VecDeque<u64>>,
    /// Events whose topic works again.
    open: VecDeque<u64>,
    /// Topics still to be tried in this round.
    round: VecDeque<String>,
    backoff: Backoff,
    /// Whether events were refused that are not remembered.
    forgot: bool,
    /// Whether a topic works again of which events may be among those.
    reopened: bool,
    /// Rounds begun. One event of a topic may be refused for ever for its own sake, so they take turns from both ends.
    rounds: u64,
}

impl Refusals {
    pub(crate) fn new(seed: u64) -> Self {
        Refusals {
            topics: BTreeMap::new(),
            open: VecDeque::new(),
            round: VecDeque::new(),
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60), seed),
            forgot: false,
            reopened: false,
            rounds: 0,
        }
    }

    pub(crate) fn is_refused(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    /// An event that the broker does not take now. True if the topic is newly refused.
    pub(crate) fn refuse(&mut self, topic: &str, seq: u64) -> bool {
        if self.len() >= MOST {
            self.forgot = true;
            return false;
        }
        if let Some(waiting) = self.topics.get_mut(topic) {
            if let Err(place) = waiting.binary_search(&seq) {
                waiting.insert(place, seq);
            }
            return false;
        }
        self.topics.insert(topic.to_owned(), VecDeque::from([seq]));
        true
    }

    /// The broker took this event: all others of its topic may follow. True if the topic was refused before.
    pub(crate) fn accepted(&mut self, topic: &str, seq: u64) -> bool {
        let Some(waiting) = self.topics.remove(topic) else {
            return false;
        };
        self.open.extend(waiting.into_iter().filter(|other| *other != seq));
        self.reopened |= self.forgot;
        self.backoff.reset();
        true
    }

    /// How long to wait before the next round.
    pub(crate) fn next_wait(&mut self) -> Duration {
        self.backoff.next_wait()
    }

    /// From now on each refused topic may be tried once more.
    pub(crate) fn begin_round(&mut self) {
        self.round = self.topics.keys().cloned().collect();
        self.rounds += 1;
    }

    /// The next event to try: what may pass for sure first, then one of each refused topic.
    pub(crate) fn next(&mut self) -> Option<u64> {
        if let Some(seq) = self.open.pop_front() {
            return Some(seq);
        }
        while let Some(topic) = self.round.pop_front() {
            if let Some(waiting) = self.topics.get_mut(&topic)
                && let Some(seq) = if self.rounds % 2 == 1 { waiting.front() } else { waiting.back() }
            {
                return Some(*seq);
            }
        }
        None
    }

    /// An event is no longer in the outbox.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.topics.retain(|_, waiting| {
            if let Ok(place) = waiting.binary_search(&seq) {
                waiting.remove(place);
            }
            !waiting.is_empty()
        });
    }

    /// A new connection reads the whole outbox again, and with it what may pass now and what was forgotten.
    pub(crate) fn begin_connection(&mut self) {
        self.open.clear();
        self.round.clear();
        (self.forgot, self.reopened) = (false, false);
    }

    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.topics.values().any(|waiting| waiting.binary_search(&seq).is_ok())
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len() + self.topics.values().map(VecDeque::len).sum::<usize>()
    }

    pub(crate) fn any_refused(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Whether the outbox must be read again from its beginning to find what was forgotten here.
    pub(crate) fn needs_rescan(&self) -> bool {
        self.forgot && self.open.is_empty() && (self.reopened || self.topics.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_tries_one_event_of_each_refused_topic() {
        let mut refusals = Refusals::new(1);
        assert!(refusals.refuse("a", 5));
        assert!(!refusals.refuse("a", 3));
        assert!(refusals.refuse("b", 4));
        assert_eq!(refusals.next(), None, "nothing before its time");
        let first = refusals.next_wait();
        refusals.begin_round();
        assert_eq!([refusals.next(), refusals.next(), refusals.next()], [Some(3), Some(4), None]);
        let second = refusals.next_wait();
        assert!(
            first <= Duration::from_secs(1)
                && second <= Duration::from_secs(2)
                && second >= Duration::from_secs(1)
        );
    }

    #[test]
    fn when_one_passes_the_others_of_its_topic_follow_in_order() {
        let mut refusals = Refusals::new(1);
        for seq in [9, 7, 8] {
            refusals.refuse("a", seq);
        }
        refusals.forget(8);
        assert!(refusals.accepted("a", 7));
        assert!(!refusals.is_refused("a"));
        assert_eq!([refusals.next(), refusals.next()], [Some(9), None]);
        assert!(!refusals.needs_rescan());
    }

    #[test]
    fn an_event_that_is_refused_for_its_own_sake_does_not_block_its_topic() {
        let mut refusals = Refusals::new(1);
        for seq in [1, 2, 3] {
            refusals.refuse("a", seq);
        }
        refusals.begin_round();
        assert_eq!(refusals.next(), Some(1));
        refusals.refuse("a", 1);
        refusals.begin_round();
        assert_eq!(refusals.next(), Some(3), "another one has its turn");
        assert!(refusals.accepted("a", 3));
        assert_eq!([refusals.next(), refusals.next(), refusals.next()], [Some(1), Some(2), None]);
    }

    #[test]
    fn a_topic_that_works_again_is_read_again_though_another_is_still_refused() {
        let mut refusals = Refusals::new(1);
        refusals.refuse("b", 0);
        for seq in 1..=MOST as u64 {
            refusals.refuse("a", seq);
        }
        assert!(!refusals.needs_rescan());
        refusals.accepted("a", 1);
        assert!(!refusals.needs_rescan(), "what is remembered goes first");
        while refusals.next().is_some() {}
        assert!(refusals.needs_rescan());
        refusals.begin_connection();
        assert!(!refusals.needs_rescan());
    }

    #[test]
    fn beyond_the_bound_events_are_left_to_a_rescan() {
        let mut refusals = Refusals::new(1);
        for seq in 0..=MOST as u64 {
            refusals.refuse("a", seq);
        }
        assert_eq!(refusals.len(), MOST);
        assert!(!refusals.needs_rescan());
        refusals.accepted("a", 0);
        while refusals.next().is_some() {}
        assert!(refusals.needs_rescan());
    }
}
