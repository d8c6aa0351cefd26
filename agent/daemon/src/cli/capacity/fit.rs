//! Whether the cameras fit on the board, and what of them would.
//!
//! Pure. Two things are short: the permits, of which each analysed frame holds one while its chain runs; and the cores,
//! which decoding needs too. A part of both stays free ([`HEADROOM`]). Invariant: what is proposed fits, gives nobody less
//! than its floor, and takes from a camera only what those of less importance cannot give.

use serde::Serialize;

/// The part of the board that stays free, for what comes at once and for everybody else.
pub const HEADROOM: f64 = 0.3;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Room {
    /// Processor cores.
    pub cores: usize,
    /// Chains that run at once.
    pub parallel: usize,
    /// Memory that the node may take, in bytes.
    pub memory_bytes: u64,
}

/// What one camera asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The camera.
    pub id: String,
    /// Analysed frames a second.
    pub fps: f64,
    /// The least it must have.
    pub floor_fps: f64,
    /// 1 gives up first, 9 last.
    pub priority: u8,
    /// CPU milliseconds of its chain for a frame.
    pub chain_ms: f64,
    /// Cores that its pictures take before the chain, whatever is analysed of them.
    pub source_cores: f64,
    /// Memory of its own, in bytes.
    pub memory_bytes: u64,
}

impl Load {
    fn chain_cores(&self) -> f64 {
        self.fps * self.chain_ms / 1000.0
    }

    /// A chain runs on one thread: more than this it can never do.
    fn most_fps(&self) -> f64 {
        if self.chain_ms > 0.0 { (1.0 - HEADROOM) * 1000.0 / self.chain_ms } else { f64::INFINITY }
    }
}

/// What one camera takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taken {
    /// The camera.
    pub id: String,
    /// Analysed frames a second.
    pub fps: f64,
    /// Its chain, in cores.
    pub chain_cores: f64,
    /// Its pictures before the chain, in cores.
    pub source_cores: f64,
    /// Memory of its own.
    pub memory_bytes: u64,
}

/// What would fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// Frames a second of each camera that stays.
    pub fps: Vec<(String, f64)>,
    /// Cameras that must go, least important first.
    pub leave_out: Vec<String>,
}

/// Whether it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether all of it does.
    pub fits: bool,
    /// What each camera takes.
    pub cameras: Vec<Taken>,
    /// Cores that chains take, of those that they may have.
    pub chain_cores: (f64, f64),
    /// Cores that everything takes, of those that it may have.
    pub all_cores: (f64, f64),
    /// Memory that everything takes, of what it may have.
    pub memory_bytes: (u64, u64),
    /// Why it does not fit, one line each.
    pub reasons: Vec<String>,
    /// What would, if it does not.
    pub proposal: Option<Proposal>,
}

/// Judges cameras on a board; `base_bytes` is the memory that the node takes without any of them.
pub fn judge(room: &Room, base_bytes: u64, loads: &[Load]) -> Verdict {
    let chains: f64 = loads.iter().map(Load::chain_cores).sum();
    let all = chains + loads.iter().map(|l| l.source_cores).sum::<f64>();
    let memory = base_bytes + loads.iter().map(|l| l.memory_bytes).sum::<u64>();
    let allowed = |cores: usize| cores as f64 * (1.0 - HEADROOM);
    let memory_allowed = (room.memory_bytes as f64 * (1.0 - HEADROOM)) as u64;
    let mut reasons = Vec::new();
    for load in loads.iter().filter(|l| l.fps > l.most_fps()) {
        reasons.push(format!(
            "camera {}: {} fps are asked for, but its chain takes {:.0} ms a frame and runs on one core: at most {:.1}",
            load.id,
            load.fps,
            load.chain_ms,
            round_down(load.most_fps())
        ));
    }
    if chains > allowed(room.parallel) {
        reasons.push(format!(
            "the chains take {chains:.2} cores; {} run at once, so that with {:.0} % headroom there are {:.2}",
            room.parallel,
            HEADROOM * 100.0,
            allowed(room.parallel)
        ));
    }
    if all > allowed(room.cores) {
        reasons.push(format!(
            "decoding and chains take {all:.2} of {} cores, with {:.0} % headroom {:.2}",
            room.cores,
            HEADROOM * 100.0,
            allowed(room.cores)
        ));
    }
    if memory > memory_allowed {
        reasons.push(format!(
            "it takes {} MiB of memory; with {:.0} % headroom there are {} MiB",
            memory >> 20,
            HEADROOM * 100.0,
            memory_allowed >> 20
        ));
    }
    let taken = |load: &Load| Taken {
        id: load.id.clone(),
        fps: load.fps,
        chain_cores: load.chain_cores(),
        source_cores: load.source_cores,
        memory_bytes: load.memory_bytes,
    };
    Verdict {
        fits: reasons.is_empty(),
        cameras: loads.iter().map(taken).collect(),
        chain_cores: (chains, allowed(room.parallel)),
        all_cores: (all, allowed(room.cores)),
        memory_bytes: (memory, memory_allowed),
        proposal: (!reasons.is_empty()).then(|| propose(room, base_bytes, loads)),
        reasons,
    }
}

/// The most of what is asked for that fits.
fn propose(room: &Room, base_bytes: u64, loads: &[Load]) -> Proposal {
    let mut left: Vec<Load> = loads.to_vec();
    let mut leave_out = Vec::new();
    let fits = |loads: &[Load]| judge_alone(room, base_bytes, loads);
    // Those that cannot have their floor even alone on the board, then as many as must go.
    loop {
        let floors: Vec<Load> = left.iter().map(|l| Load { fps: l.floor_fps, ..l.clone() }).collect();
        let Some(worst) = (0..left.len())
            .min_by_key(|&n| (floors[n].fps <= floors[n].most_fps(), left[n].priority, std::cmp::Reverse(n)))
        else {
            break;
        };
        if fits(&floors) {
            break;
        }
        leave_out.push(left.remove(worst).id);
    }
    for load in &mut left {
        load.fps = lowered(load.fps.min(load.most_fps()), load);
    }
    let mut priorities: Vec<u8> = left.iter().map(|l| l.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    for priority in priorities {
        if fits(&left) {
            break;
        }
        // All of the same importance by the same part of what lies above their floors.
        let scaled = |part: f64| -> Vec<Load> {
            let scale = |load: &Load| {
                let fps = load.floor_fps + (load.fps - load.floor_fps) * part;
                let fps = if load.priority == priority { lowered(fps, load) } else { load.fps };
                Load { fps, ..load.clone() }
            };
            left.iter().map(scale).collect()
        };
        let (mut good, mut bad) = (0.0, 1.0);
        for _ in 0..12 {
            let middle = (good + bad) / 2.0;
            if fits(&scaled(middle)) { good = middle } else { bad = middle }
        }
        left = scaled(good);
    }
    Proposal { fps: left.into_iter().map(|l| (l.id, l.fps)).collect(), leave_out }
}

fn judge_alone(room: &Room, base_bytes: u64, loads: &[Load]) -> bool {
    let chains: f64 = loads.iter().map(Load::chain_cores).sum();
    let sources: f64 = loads.iter().map(|l| l.source_cores).sum();
    let memory = base_bytes + loads.iter().map(|l| l.memory_bytes).sum::<u64>();
    let free = 1.0 - HEADROOM;
    loads.iter().all(|l| l.fps <= l.most_fps())
        && chains <= room.parallel as f64 * free
        && chains + sources <= room.cores as f64 * free
        && memory as f64 <= room.memory_bytes as f64 * free
}

/// A number that one can write down, not below the floor.
fn lowered(fps: f64, load: &Load) -> f64 {
    round_down(fps).max(load.floor_fps).min(fps)
}

fn round_down(fps: f64) -> f64 {
    // A little more than exact tenths need, as they have no exact form.
    (fps * 10.0 + 1e-6).floor() / 10.0
}

/// How many cameras like this one fit, at so many frames a second.
pub fn how_many(room: &Room, base_bytes: u64, like: &Load, fps: f64) -> usize {
    let one = Load { fps, ..like.clone() };
    let fits = |count: &usize| judge_alone(room, base_bytes, &vec![one.clone(); *count]);
    (1..=crate::config::MAX_CAMERAS).take_while(fits).last().unwrap_or(0)
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
