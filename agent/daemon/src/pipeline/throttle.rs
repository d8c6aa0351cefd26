//! What one camera is given: written by the governor, followed by the camera's threads at their next frame.
//!
//! Owner: nobody; atomics. Invariant: privacy masks do not depend on any of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aimass_core::governor::Allocation;
use aimass_media::Pace;

/// The models of a chain, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainModels {
    /// Those that it is to have.
    pub usual: Vec<String>,
    /// Those that take over when there is too little time, if there are any.
    pub smaller: Option<Vec<String>>,
}

/// A camera's share of what the board can carry.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Slows the source down.
    pub pace: Pace,
    wants_smaller: AtomicBool,
    is_smaller: AtomicBool,
    is_ready: AtomicBool,
    models: Mutex<Arc<ChainModels>>,
}

impl Throttle {
    /// Gives so much from now on.
    pub fn give(&self, given: Allocation) {
        self.pace.set_most(given.fps);
        self.wants_smaller.store(given.smaller, Ordering::Relaxed);
    }

    /// Gives all that is wanted.
    pub fn give_all(&self) {
        self.give(Allocation { fps: f32::INFINITY, smaller: false });
    }

    /// The models of its chain.
    pub fn models(&self) -> Arc<ChainModels> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chain has these from now on.
    pub fn set_models(&self, models: ChainModels) {
        *self.models.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
    }

    /// Whether the smaller models are to do the work.
    pub fn wants_smaller(&self) -> bool {
        // What was given may be older than the news that there are none.
        self.wants_smaller.load(Ordering::Relaxed) && self.models().smaller.is_some()
    }

    /// Whether they do.
    pub fn is_smaller(&self) -> bool {
        self.is_smaller.load(Ordering::Relaxed)
    }

    /// Whether the chain is there: while its models are loaded, nobody is late.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// Models are about to be loaded.
    pub fn begin_loading(&self) {
        self.is_ready.store(false, Ordering::Relaxed);
    }

    /// The chain is there, with the smaller models or the usual ones.
    pub fn end_loading(&self, smaller: bool) {
        self.is_smaller.store(smaller, Ordering::Relaxed);
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// The smaller models cannot run: the governor goes without them.
    pub fn without_smaller(&self) {
        let usual = self.models().usual.clone();
        self.set_models(ChainModels { usual, smaller: None });
        self.wants_smaller.store(false, Ordering::Relaxed);
    }
}
