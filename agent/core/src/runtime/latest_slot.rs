//! The one-deep slot between a source and its analyzer: the only place where decoded frames are lost.
//!
//! Invariant: `put` never blocks; the newest value replaces the one that waits, and the loss is counted.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::stop::StopToken;

#[derive(Debug)]
struct State<T> {
    waiting: Option<T>,
    closed: bool,
    replaced: u64,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// The side that puts values in. Dropping it closes the slot.
#[derive(Debug)]
pub struct LatestSlotSender<T>(Arc<Shared<T>>);

/// The side that takes values out. Dropping it closes the slot.
#[derive(Debug)]
pub struct LatestSlotReceiver<T>(Arc<Shared<T>>);

/// What became of a value that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The slot was free.
    Stored,
    /// An older value was thrown away for it.
    Replaced,
    /// Nobody takes values any more.
    Closed,
}

/// What a waiting taker gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// A value.
    Value(T),
    /// Nothing came in time.
    TimedOut,
    /// The sender is gone and the slot is empty.
    Closed,
}

/// A slot that holds one value.
pub fn latest_slot<T>() -> (LatestSlotSender<T>, LatestSlotReceiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { waiting: None, closed: false, replaced: 0 }),
        changed: Condvar::new(),
    });
    (LatestSlotSender(shared.clone()), LatestSlotReceiver(shared))
}

impl<T> LatestSlotSender<T> {
    /// Puts a value in, in place of one that still waits. Never blocks.
    pub fn put(&self, value: T) -> Put {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Put::Closed;
        }
        let old = state.waiting.replace(value);
        let put = if old.is_some() { Put::Replaced } else { Put::Stored };
        state.replaced += u64::from(old.is_some());
        drop(state);
        self.0.changed.notify_one();
        // `old` is dropped here, outside the lock: giving a frame back to its pool may take time.
        drop(old);
        put
    }

    /// Puts a value in once the slot is free: for sources that can wait, so that nothing is lost. Gives up when
    /// the stop is requested (looked at every 100 ms).
    pub fn put_when_free(&self, value: T, stop: &StopToken) -> Put {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.waiting.is_some() && !state.closed && !stop.is_requested() {
            let (next, _) = self
                .0
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
        }
        if state.closed || state.waiting.is_some() {
            return Put::Closed;
        }
        state.waiting = Some(value);
        drop(state);
        self.0.changed.notify_all();
        Put::Stored
    }

    /// How many values were replaced before anybody took them.
    pub fn replaced(&self) -> u64 {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).replaced
    }
}

impl<T> LatestSlotReceiver<T> {
    /// Waits for a value. A value that waits when the sender goes away is still handed out.
    pub fn take(&self, at_most: Duration) -> Taken<T> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .0
            .changed
            .wait_timeout_while(state, at_most, |s| s.waiting.is_none() && !s.closed)
            .unwrap_or_else(PoisonError::into_inner);
        match state.waiting.take() {
            Some(value) => {
                drop(state);
                // One who waits for a free slot may go on.
                self.0.changed.notify_all();
                Taken::Value(value)
            }
            None if state.closed => Taken::Closed,
            None => Taken::TimedOut,
        }
    }
}

fn close<T>(shared: &Shared<T>) {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    shared.changed.notify_all();
}

impl<T> Drop for LatestSlotSender<T> {
    fn drop(&mut self) {
        close(&self.0);
    }
}

impl<T> Drop for LatestSlotReceiver<T> {
    fn drop(&mut self) {
        close(&self.0);
        // A frame nobody will take goes back to its pool now, not when the sender ends.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn the_newest_value_replaces_the_older_and_the_loss_is_counted() {
        let (tx, rx) = latest_slot();
        assert_eq!(tx.put(1), Put::Stored);
        assert_eq!(tx.put(2), Put::Replaced);
        assert_eq!(tx.replaced(), 1);
        assert_eq!(rx.take(SOON), Taken::Value(2));
        assert_eq!(rx.take(SOON), Taken::TimedOut);
    }

    #[test]
    fn the_last_value_is_handed_out_after_the_sender_is_gone() {
        let (tx, rx) = latest_slot();
        tx.put(7);
        drop(tx);
        assert_eq!(rx.take(SOON), Taken::Value(7));
        assert_eq!(rx.take(SOON), Taken::Closed);
    }

    #[test]
    fn a_source_that_can_wait_loses_nothing() {
        let (tx, rx) = latest_slot();
        let stop = StopToken::new();
        std::thread::scope(|s| {
            s.spawn(|| (0..100).for_each(|n| assert_eq!(tx.put_when_free(n, &stop), Put::Stored)));
            for n in 0..100 {
                assert_eq!(rx.take(Duration::from_secs(60)), Taken::Value(n));
            }
        });
        tx.put(1);
        stop.request();
        assert_eq!(tx.put_when_free(2, &stop), Put::Closed);
    }

    #[test]
    fn a_put_into_a_slot_nobody_reads_says_so() {
        let (tx, rx) = latest_slot();
        drop(rx);
        assert_eq!(tx.put(1), Put::Closed);
    }
}
