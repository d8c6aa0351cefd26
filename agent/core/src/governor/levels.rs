//! What one camera can give up, as a ladder: each rung halves its frames a second down to its floor; below that, one
//! more for its smaller models.
//!
//! Pure. Invariant: no rung gives less than the floor, more than is wanted, or a smaller model that there is not.

/// A floor that is so near above the next half is the next rung: a step that changes next to nothing is none.
const NEAR: f32 = 1.25;

/// What a camera is to have, as its configuration says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraLimits {
    /// Analysed frames a second.
    pub wanted_fps: f32,
    /// What it must have in any case; at most what is wanted.
    pub floor_fps: f32,
    /// 1 gives up first, 9 last.
    pub priority: u8,
    /// Whether its chain has smaller models to fall back to.
    pub has_smaller: bool,
}

/// What a camera is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allocation {
    /// Analysed frames a second, at most.
    pub fps: f32,
    /// Whether its smaller models do the work.
    pub smaller: bool,
}

impl CameraLimits {
    fn next_below(&self, fps: f32) -> Option<f32> {
        let floor = self.floor_fps.min(self.wanted_fps);
        let half = fps / 2.0;
        (fps > floor && half > 0.0).then_some(if half <= floor * NEAR { floor } else { half })
    }

    /// How many rungs give fewer frames.
    pub fn fps_rungs(&self) -> u32 {
        let (mut fps, mut rungs) = (self.wanted_fps, 0);
        while let Some(lower) = self.next_below(fps)
            && rungs < 16
        {
            (fps, rungs) = (lower, rungs + 1);
        }
        rungs
    }

    /// How many rungs there are at all.
    pub fn rungs(&self) -> u32 {
        self.fps_rungs() + u32::from(self.has_smaller)
    }

    /// What the camera is given so many rungs down.
    pub fn given(&self, rung: u32) -> Allocation {
        let mut fps = self.wanted_fps;
        for _ in 0..rung.min(self.fps_rungs()) {
            fps = self.next_below(fps).unwrap_or(fps);
        }
        Allocation { fps, smaller: self.has_smaller && rung > self.fps_rungs() }
    }
}
