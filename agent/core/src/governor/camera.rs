//! What the governor knows of one camera: its rung, whether it is late, what its frames cost.
//!
//! Pure. Invariant: lateness is judged by enough frames, all of them since the chain was ready.

use std::time::Duration;

use super::config::GovernorConfig;
use super::levels::{Allocation, CameraLimits};

/// So many analysed frames at least, and so many that came for them, before lateness is judged.
const ENOUGH: (u64, u64) = (3, 5);
/// A camera from which nothing came for so many of its frames has nothing to show.
const PAUSE_FRAMES: f32 = 3.0;
/// The part of its time that a chain's thread, or all permits together, may be busy and still be in time.
pub(super) const BUSY_AT_MOST: f64 = 0.9;

/// How one camera did since the last look.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraLoad {
    /// What it is to have.
    pub terms: CameraLimits,
    /// Whether it delivers and its chain is ready.
    pub at_work: bool,
    /// Whether its smaller models do the work.
    pub smaller: bool,
    /// Frames that went through the chain.
    pub analysed: u64,
    /// Frames that were replaced before the chain got to them.
    pub late: u64,
    /// Time that the chain took for those analysed.
    pub busy: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct Camera {
    pub(super) terms: CameraLimits,
    pub(super) rung: u32,
    pub(super) at_work: bool,
    pub(super) is_late: bool,
    /// Seconds a frame, with the usual models and with the smaller ones.
    cost_s: [Option<f64>; 2],
    /// For how long the smaller models have done the work, so that nothing new is known of the usual ones.
    usual_unseen: Duration,
    /// The part of the time that its chain is busy.
    pub(super) load: f64,
    analysed: u64,
    late: u64,
    busy: Duration,
    over: Duration,
    /// For how long nothing has come.
    quiet: Duration,
}

impl Camera {
    pub(super) fn new(terms: CameraLimits) -> Self {
        Camera {
            terms,
            rung: 0,
            at_work: false,
            is_late: false,
            cost_s: [None; 2],
            usual_unseen: Duration::ZERO,
            load: 0.0,
            analysed: 0,
            late: 0,
            busy: Duration::ZERO,
            over: Duration::ZERO,
            quiet: Duration::ZERO,
        }
    }

    pub(super) fn given(&self) -> Allocation {
        self.terms.given(self.rung)
    }

    /// Takes in how it did in the time `passed`.
    pub(super) fn take(&mut self, doing: &CameraLoad, passed: Duration, config: &GovernorConfig) {
        let late_share = config.late_share;
        self.terms = doing.terms;
        self.rung = self.rung.min(self.terms.rungs());
        self.at_work = doing.at_work;
        if !doing.at_work {
            (self.is_late, self.load) = (false, 0.0);
            self.forget();
            return;
        }
        self.usual_unseen = if doing.smaller { self.usual_unseen + passed } else { Duration::ZERO };
        if self.usual_unseen.as_secs_f32() > config.longest_wait_s {
            // What was measured while the board was slow must not keep it down for ever: an attempt tells.
            self.cost_s[0] = None;
            self.usual_unseen = Duration::ZERO;
        }
        let nothing_came = doing.analysed + doing.late == 0;
        self.quiet = if nothing_came { self.quiet + passed } else { Duration::ZERO };
        if self.quiet.as_secs_f32() * self.given().fps > PAUSE_FRAMES {
            // Nothing moves. Between two frames of a slow camera nothing comes either.
            self.is_late = false;
        }
        self.analysed += doing.analysed;
        self.late += doing.late;
        self.busy += doing.busy;
        self.over += passed;
        let came = self.analysed + self.late;
        if self.analysed < ENOUGH.0 || came < ENOUGH.1 {
            return;
        }
        self.is_late = late_share < 1.0 && self.late as f64 / came as f64 >= f64::from(late_share);
        self.cost_s[usize::from(doing.smaller)] = Some(self.busy.as_secs_f64() / self.analysed as f64);
        self.load = self.busy.as_secs_f64() / self.over.as_secs_f64().max(0.001);
        self.forget();
    }

    fn forget(&mut self) {
        (self.analysed, self.late) = (0, 0);
        (self.busy, self.over) = (Duration::ZERO, Duration::ZERO);
    }

    /// How busy its chain's thread would be if every frame that it is given were analysed; 0 while nobody knows.
    fn busy_with(&self, given: Allocation) -> f64 {
        f64::from(given.fps) * self.cost_s[usize::from(given.smaller)].unwrap_or(0.0)
    }

    /// Whether its own chain alone is too slow for what it is given.
    pub(super) fn overloads_itself(&self) -> bool {
        self.busy_with(self.given()) > BUSY_AT_MOST
    }

    /// Its load one rung up, as far as it can be foretold; `None` if its chain would be too slow there.
    pub(super) fn load_one_up(&self) -> Option<f64> {
        let (now, up) = (self.given(), self.terms.given(self.rung.saturating_sub(1)));
        if self.busy_with(up) > BUSY_AT_MOST {
            return None;
        }
        let ratio = match (self.busy_with(now), self.busy_with(up)) {
            (now, up) if now > 0.0 && up > 0.0 => up / now,
            _ => f64::from(up.fps / now.fps),
        };
        Some(self.load * ratio)
    }
}
