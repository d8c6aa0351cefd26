//! A bounded queue for sound: first in, first out, and no loss that is not reported.
//!
//! Use it where every item counts, such as speech; use [`latest_slot`](super::latest_slot) where only the newest item
//! counts, such as pictures. One sender, one receiver.
//!
//! Invariants: the queue never holds more than its capacity. Items arrive in the order in which they were sent. Each item
//! is either received or counted in exactly one `lost` that the receiver gets, at the position where the items are
//! missing. A live sender waits at most [`QueueConfig::max_wait`] for each overrun.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::stop::StopToken;

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    /// Items that wait for the receiver, at most.
    pub capacity: NonZeroUsize,
    /// How long [`QueueSender::send`] waits for a free place before an item is lost. Keep it below what the source can
    /// buffer itself.
    pub max_wait: Duration,
}

impl QueueConfig {
    /// The bounds for items that each cover `item` of a source's timeline: room for `total` of it, at least one item.
    pub fn for_duration(total: Duration, item: Duration, max_wait: Duration) -> Self {
        let items = total.as_nanos().div_ceil(item.as_nanos().max(1));
        let capacity = usize::try_from(items).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
        QueueConfig { capacity, max_wait }
    }
}

/// The result of sending one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an item may be lost, or the receiver gone"]
pub enum SendOutcome {
    /// The item waits for the receiver. `lost_before` items between it and the previous queued item were lost: an overrun
    /// has ended if it is not 0.
    Queued {
        /// Items that were lost directly before this one.
        lost_before: u64,
    },
    /// The queue was full: the item is lost and counted.
    Overrun,
    /// The receiver is gone, or the stop was requested.
    Closed,
}

/// The result of waiting for an item.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The next item.
    Item {
        /// The item.
        item: T,
        /// Items that were lost between the previous received item and this one.
        lost_before: u64,
    },
    /// No item came in time.
    TimedOut,
    /// The sender is gone and every queued item was received.
    Closed {
        /// Items that were lost after the last received one.
        lost: u64,
    },
}

/// All overruns of a queue so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overruns {
    /// Uninterrupted runs of lost items.
    pub count: u64,
    /// Lost items.
    pub lost: u64,
}

#[derive(Debug)]
struct State<T> {
    /// Each item with the number of items that were lost directly before it.
    items: VecDeque<(T, u64)>,
    /// Items that were lost since the last queued one.
    lost: u64,
    overruns: Overruns,
    sender_gone: bool,
    receiver_gone: bool,
}

#[derive(Debug)]
struct Shared<T> {
    config: QueueConfig,
    state: Mutex<State<T>>,
    /// Signalled when an item was queued or the sender is gone.
    filled: Condvar,
    /// Signalled when an item was received or the receiver is gone.
    freed: Condvar,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, state: &State<T>) -> bool {
        state.items.len() >= self.config.capacity.get()
    }

    fn push(&self, mut state: MutexGuard<'_, State<T>>, item: T) -> SendOutcome {
        let lost_before = std::mem::take(&mut state.lost);
        state.items.push_back((item, lost_before));
        drop(state);
        self.filled.notify_one();
        SendOutcome::Queued { lost_before }
    }
}

/// The sending side. Dropping it closes the queue; what is queued is still received.
#[derive(Debug)]
pub struct QueueSender<T>(Arc<Shared<T>>);

/// The receiving side. Dropping it closes the queue and frees what is queued.
#[derive(Debug)]
pub struct QueueReceiver<T>(Arc<Shared<T>>);

/// A queue with these bounds. Its memory is allocated here, once.
pub fn lossless_queue<T>(config: QueueConfig) -> (QueueSender<T>, QueueReceiver<T>) {
    let state = State {
        items: VecDeque::with_capacity(config.capacity.get()),
        lost: 0,
        overruns: Overruns::default(),
        sender_gone: false,
        receiver_gone: false,
    };
    let shared =
        Arc::new(Shared { config, state: Mutex::new(state), filled: Condvar::new(), freed: Condvar::new() });
    (QueueSender(shared.clone()), QueueReceiver(shared))
}

impl<T> QueueSender<T> {
    /// Sends an item of a live source. If the queue is full, waits up to [`QueueConfig::max_wait`] for a free place, then
    /// the item is lost. During an overrun further items are lost without a wait, so that a stuck receiver delays its
    /// source only once.
    pub fn send(&self, item: T) -> SendOutcome {
        let mut state = self.0.state();
        if self.0.is_full(&state) && state.lost == 0 {
            let wait = |state: &mut State<T>| self.0.is_full(state) && !state.receiver_gone;
            (state, _) = self
                .0
                .freed
                .wait_timeout_while(state, self.0.config.max_wait, wait)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.receiver_gone {
            return SendOutcome::Closed;
        }
        if self.0.is_full(&state) {
            state.overruns.count += u64::from(state.lost == 0);
            state.overruns.lost += 1;
            state.lost += 1;
            return SendOutcome::Overrun;
        }
        self.0.push(state, item)
    }

    /// Sends an item of a source that can wait, such as a file: waits for a free place, so that nothing is lost. Gives up
    /// when the stop is requested (checked every 100 ms).
    pub fn send_when_free(&self, item: T, stop: &StopToken) -> SendOutcome {
        let mut state = self.0.state();
        while self.0.is_full(&state) && !state.receiver_gone && !stop.is_requested() {
            let poll = Duration::from_millis(100);
            (state, _) = self.0.freed.wait_timeout(state, poll).unwrap_or_else(PoisonError::into_inner);
        }
        if state.receiver_gone || self.0.is_full(&state) {
            return SendOutcome::Closed;
        }
        self.0.push(state, item)
    }

    /// All overruns so far.
    pub fn overruns(&self) -> Overruns {
        self.0.state().overruns
    }
}

impl<T> QueueReceiver<T> {
    /// Waits up to `timeout` for the next item.
    pub fn receive(&self, timeout: Duration) -> Received<T> {
        let wait = |state: &mut State<T>| state.items.is_empty() && !state.sender_gone;
        let (mut state, _) = self
            .0
            .filled
            .wait_timeout_while(self.0.state(), timeout, wait)
            .unwrap_or_else(PoisonError::into_inner);
        match state.items.pop_front() {
            Some((item, lost_before)) => {
                drop(state);
                self.0.freed.notify_one();
                Received::Item { item, lost_before }
            }
            None if state.sender_gone => Received::Closed { lost: std::mem::take(&mut state.lost) },
            None => Received::TimedOut,
        }
    }

    /// All overruns so far.
    pub fn overruns(&self) -> Overruns {
        self.0.state().overruns
    }
}

impl<T> Drop for QueueSender<T> {
    fn drop(&mut self) {
        self.0.state().sender_gone = true;
        self.0.filled.notify_all();
    }
}

impl<T> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.receiver_gone = true;
        // Freed outside the lock, and now: the sender may keep the queue for long.
        let queued = std::mem::take(&mut state.items);
        drop(state);
        self.0.freed.notify_all();
        drop(queued);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(600);

    fn queue<T>(capacity: usize, max_wait: Duration) -> (QueueSender<T>, QueueReceiver<T>) {
        lossless_queue(QueueConfig { capacity: NonZeroUsize::new(capacity).unwrap(), max_wait })
    }

    fn item<T>(item: T, lost_before: u64) -> Received<T> {
        Received::Item { item, lost_before }
    }

    const QUEUED: SendOutcome = SendOutcome::Queued { lost_before: 0 };

    #[test]
    fn an_overrun_is_counted_and_reported_where_the_items_are_missing() {
        let (tx, rx) = queue(2, NOW);
        let sent: Vec<_> = (0..5).map(|n| tx.send(n)).collect();
        assert_eq!(sent, [QUEUED, QUEUED, SendOutcome::Overrun, SendOutcome::Overrun, SendOutcome::Overrun]);
        assert_eq!(rx.receive(NOW), item(0, 0));
        assert_eq!(tx.send(5), SendOutcome::Queued { lost_before: 3 });
        assert_eq!(tx.send(6), SendOutcome::Overrun);
        assert_eq!(tx.overruns(), Overruns { count: 2, lost: 4 });
        drop(tx);
        assert_eq!(rx.receive(NOW), item(1, 0));
        assert_eq!(rx.receive(NOW), item(5, 3));
        assert_eq!(rx.receive(NOW), Received::Closed { lost: 1 });
        assert_eq!(rx.receive(NOW), Received::Closed { lost: 0 }, "reported once");
    }

    #[test]
    fn a_sender_with_time_to_wait_loses_nothing_to_a_slow_receiver() {
        let (tx, rx) = queue(3, LONG);
        std::thread::scope(|s| {
            s.spawn(move || (0..1000).for_each(|n| assert_eq!(tx.send(n), QUEUED)));
            for n in 0..1000 {
                assert_eq!(rx.receive(LONG), item(n, 0));
            }
            assert_eq!(rx.receive(LONG), Received::Closed { lost: 0 });
        });
    }

    #[test]
    fn a_stuck_receiver_delays_its_sender_once_and_not_for_each_item() {
        let (tx, _rx) = queue(1, Duration::from_millis(20));
        assert_eq!(tx.send(0), QUEUED);
        let clock = crate::runtime::clock::Stopwatch::start();
        let mut first = clock;
        assert_eq!(tx.send(1), SendOutcome::Overrun);
        assert!(first.lap() >= Duration::from_millis(20));
        // With a wait for each of them this would take 2000 s.
        (0..100_000).for_each(|n| assert_eq!(tx.send(n), SendOutcome::Overrun));
        assert_eq!(tx.overruns(), Overruns { count: 1, lost: 100_001 });
    }

    #[test]
    fn a_source_that_can_wait_does_so_until_a_place_is_free_the_receiver_is_gone_or_it_must_stop() {
        let (tx, rx) = queue(1, NOW);
        let stop = StopToken::new();
        std::thread::scope(|s| {
            let sender = s.spawn(|| {
                (0..100).for_each(|n| assert_eq!(tx.send_when_free(n, &stop), QUEUED));
                tx
            });
            for n in 0..100 {
                assert_eq!(rx.receive(LONG), item(n, 0));
            }
            let tx = sender.join().unwrap();
            assert_eq!(tx.send(0), QUEUED);
            let waiting = s.spawn(move || tx.send_when_free(1, &StopToken::new()));
            drop(rx);
            assert_eq!(waiting.join().unwrap(), SendOutcome::Closed);
        });
        let (tx, _rx) = queue(1, NOW);
        assert_eq!(tx.send(0), QUEUED);
        stop.request();
        assert_eq!(tx.send_when_free(1, &stop), SendOutcome::Closed);
    }

    #[test]
    fn a_receiver_that_goes_away_frees_what_is_queued_and_ends_the_wait_of_the_sender() {
        let (tx, rx) = queue(1, LONG);
        let value = Arc::new(());
        assert_eq!(tx.send(value.clone()), QUEUED);
        std::thread::scope(|s| {
            let waiting = s.spawn(|| tx.send(value.clone()));
            drop(rx);
            assert_eq!(waiting.join().unwrap(), SendOutcome::Closed);
        });
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn the_capacity_for_a_duration_is_rounded_up_and_at_least_one() {
        let capacity = |total_ms, item_ms| {
            let ms = Duration::from_millis;
            QueueConfig::for_duration(ms(total_ms), ms(item_ms), NOW).capacity.get()
        };
        assert_eq!((capacity(8000, 80), capacity(100, 80), capacity(0, 80)), (100, 2, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any order of sends and receives against a plain list of what must come out.
        #[test]
        fn every_item_is_received_in_order_or_counted_where_it_is_missing(
            capacity in 1usize..6, steps in prop::collection::vec(any::<bool>(), 0..200)
        ) {
            let (tx, rx) = queue(capacity, NOW);
            let (mut sent, mut queued, mut next, mut lost) = (0u64, 0usize, 0u64, 0u64);
            let mut check = |received| match received {
                Received::Item { item, lost_before } => {
                    assert_eq!(item, next + lost_before, "numbers skip what was lost, and nothing else");
                    lost += lost_before;
                    next = item + 1;
                    true
                }
                Received::TimedOut => false,
                Received::Closed { lost: at_end } => {
                    lost += at_end;
                    next += at_end;
                    false
                }
            };
            for is_send in steps {
                if is_send {
                    match tx.send(sent) {
                        SendOutcome::Queued { .. } => queued += 1,
                        SendOutcome::Overrun => assert_eq!(queued, capacity, "lost only when full"),
                        SendOutcome::Closed => unreachable!("both sides are there"),
                    }
                    sent += 1;
                } else {
                    let came = check(rx.receive(NOW));
                    assert_eq!(came, queued > 0);
                    queued -= usize::from(came);
                }
                assert!(queued <= capacity);
            }
            let overruns = tx.overruns();
            drop(tx);
            while check(rx.receive(NOW)) {}
            assert_eq!((next, lost), (sent, overruns.lost));
        }
    }
}
