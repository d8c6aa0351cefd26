//! A bound on how many inferences run at once, given in the order in which they were asked for.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Debug)]
struct Queue {
    limit: usize,
    out: usize,
    next_ticket: u64,
    serving: u64,
}

/// A semaphore that serves in the order of arrival, so that no source starves another.
#[derive(Debug, Clone)]
pub struct FairSemaphore {
    shared: Arc<(Mutex<Queue>, Condvar)>,
}

/// Held while an inference runs; given back when dropped, also by a panic.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<(Mutex<Queue>, Condvar)>,
}

impl FairSemaphore {
    /// `count` inferences may run at once; at least one.
    pub fn new(count: usize) -> Self {
        let queue = Queue { limit: count.max(1), out: 0, next_ticket: 0, serving: 0 };
        FairSemaphore { shared: Arc::new((Mutex::new(queue), Condvar::new())) }
    }

    /// From now on `count` may run at once, at least one. What runs already is not disturbed.
    pub fn set_limit(&self, count: usize) {
        let (lock, turn) = &*self.shared;
        lock.lock().unwrap_or_else(PoisonError::into_inner).limit = count.max(1);
        turn.notify_all();
    }

    /// Waits for its turn.
    pub fn acquire(&self) -> Permit {
        let (lock, turn) = &*self.shared;
        let mut queue = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        while queue.out >= queue.limit || queue.serving != ticket {
            queue = turn.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.out += 1;
        queue.serving += 1;
        drop(queue);
        turn.notify_all();
        Permit { shared: self.shared.clone() }
    }
}

impl FairSemaphore {
    /// A permit, if one is free and nobody waits for it.
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut queue = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.out >= queue.limit || queue.serving != queue.next_ticket {
            return None;
        }
        queue.out += 1;
        Some(Permit { shared: self.shared.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (lock, turn) = &*self.shared;
        lock.lock().unwrap_or_else(PoisonError::into_inner).out -= 1;
        turn.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_than_the_permitted_number_run_at_once() {
        let permits = FairSemaphore::new(2);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..50 {
                        let _permit = permits.acquire();
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn another_limit_counts_for_those_who_wait() {
        let permits = FairSemaphore::new(1);
        let first = permits.acquire();
        std::thread::scope(|s| {
            let second = s.spawn(|| drop(permits.acquire()));
            permits.set_limit(2);
            second.join().unwrap();
        });
        drop(first);
    }

    #[test]
    fn who_does_not_wait_gets_what_is_free_and_nothing_that_others_wait_for() {
        let permits = FairSemaphore::new(2);
        let first = permits.try_acquire().unwrap();
        let second = permits.try_acquire().unwrap();
        assert!(permits.try_acquire().is_none());
        std::thread::scope(|s| {
            let waiting = s.spawn(|| drop(permits.acquire()));
            drop(first);
            waiting.join().unwrap();
        });
        assert!(permits.try_acquire().is_some());
        drop(second);
    }

    #[test]
    fn a_panic_gives_the_permit_back() {
        let permits = FairSemaphore::new(1);
        let inside = permits.clone();
        let caught = std::panic::catch_unwind(move || {
            let _permit = inside.acquire();
            panic!("analyzer died");
        });
        assert!(caught.is_err());
        drop(permits.acquire());
    }
}
