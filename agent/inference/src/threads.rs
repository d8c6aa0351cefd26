//! How many threads share the layers of one model, and who permits them.
//!
//! Invariant: a run begins without waiting, on as many threads as are free then; its answers are the same on any number.

use aimass_core::runtime::semaphore::{FairSemaphore, Permit};
use aimass_kernels::MAX_THREADS;

/// What a session may use beside its caller's thread.
#[derive(Debug, Clone)]
pub struct Threads {
    count: usize,
    permits: Option<FairSemaphore>,
}

impl Default for Threads {
    fn default() -> Self {
        Threads { count: 1, permits: None }
    }
}

impl Threads {
    /// The most threads of one model.
    pub const MOST: usize = MAX_THREADS;

    /// Up to `count` threads, the caller's included: at least one, at most [`Self::MOST`]. Each further one needs a
    /// permit, of which the caller's thread has its own; without permits they are always free.
    pub fn new(count: usize, permits: Option<FairSemaphore>) -> Self {
        Threads { count: count.clamp(1, Self::MOST), permits }
    }

    /// How many, at most.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What is free now, for one run.
    pub(crate) fn take(&self) -> Taken {
        let mut taken = Taken { threads: 1, permits: Default::default() };
        for place in &mut taken.permits[..self.count - 1] {
            if let Some(permits) = &self.permits {
                *place = permits.try_acquire();
                if place.is_none() {
                    break;
                }
            }
            taken.threads += 1;
        }
        taken
    }
}

/// The threads of one run; further ones are free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The caller's included.
    pub(crate) threads: usize,
    permits: [Option<Permit>; MAX_THREADS - 1],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_what_is_free_and_gives_it_back() {
        let permits = FairSemaphore::new(3);
        let own = permits.acquire();
        let threads = Threads::new(4, Some(permits.clone()));
        {
            let first = threads.take();
            assert_eq!((first.threads, threads.take().threads), (3, 1));
        }
        assert_eq!(threads.take().threads, 3);
        drop(own);
        assert_eq!(threads.take().threads, 4, "three others");
        assert_eq!([0, 1, 2, 9].map(|count| Threads::new(count, None).take().threads), [1, 1, 2, 4]);
    }
}
