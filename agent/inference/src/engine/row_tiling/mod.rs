//! Strips: chains of steps that run one behind the other over some rows at a time, so that what one step wrote is still
//! in a near cache when the next reads it.
//!
//! A large picture between two layers would go out to memory and come back. In a chain it has a place for some of its
//! rows only, a window ([`schedule`]): rows that a later row needs again are moved to the window's beginning, and the
//! next ones are written behind them. Nothing is computed twice, and each row by the same kernel from the same numbers,
//! so that answers are the same to the bit with and without chains.
//!
//! Which steps become a chain is computed from a draft and the size of a cache whenever a plan is made; nothing of it is
//! saved. Invariant: a buffer with a window is written by one step, and read by later steps of the same chain only.

mod cache_size;
mod schedule;
#[cfg(test)]
mod tests;

use std::ops::Range;

use super::any_step::AnyStep;
use super::arena::Buffer;
use super::value::BufferId;

pub(super) use schedule::{RowSlice, Schedule, Work, WorkKind};

/// Which rows of an input make row `y` of an output: those around row `y * stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowReach {
    pub(super) stride: usize,
    /// RowSlice before it.
    pub(super) above: usize,
    /// RowSlice after it.
    pub(super) below: usize,
}

impl RowReach {
    /// Row by row.
    pub(super) const SAME: RowReach = RowReach { stride: 1, above: 0, below: 0 };

    /// One past the last row for `end` rows of the output.
    fn end(self, end: usize) -> usize {
        end.checked_sub(1).map_or(0, |last| last * self.stride + self.below + 1)
    }

    /// Whether the picture and its padding have all rows that `height` rows of the output need.
    fn is_within(self, input: &Buffer, height: usize) -> bool {
        let last =
            height.saturating_sub(1).checked_mul(self.stride).and_then(|row| row.checked_add(self.below));
        let rows = input.height + input.padding.bottom;
        self.above <= input.padding.top && last.is_some_and(|last| last < rows)
    }

    /// RowSlice that two rows of the output share.
    fn shared(self) -> usize {
        (self.above + self.below + 1).saturating_sub(self.stride)
    }
}

/// How a step can be run for some rows of its output at a time: its buffers then stand for those rows.
#[derive(Debug)]
pub(super) struct RowAccess {
    /// For each buffer of `reads()`: which rows it needs, or `None` for all of it.
    pub(super) reads: Vec<Option<RowReach>>,
    /// Bytes of weights, which are read once for each tile.
    pub(super) weights: usize,
}

impl RowAccess {
    /// Row by row, as sums go; of an input of another size, which is one pixel, each row needs all.
    pub(super) fn elementwise(buffers: &[Buffer], inputs: [BufferId; 2], output: BufferId) -> Self {
        let of_size =
            |id: BufferId| (buffers[id.0].shape() == buffers[output.0].shape()).then_some(RowReach::SAME);
        RowAccess { reads: inputs.map(of_size).to_vec(), weights: 0 }
    }
}

/// Where tiles pay, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// What a tile may take, with all that belongs to it.
    pub(super) tile_bytes: usize,
    /// What comes back from the next cache soon enough: a smaller picture needs no tiles.
    pub(super) image_bytes: usize,
}

impl Limits {
    /// For this machine.
    pub(super) fn for_machine() -> Self {
        let cache = cache_size::second_level();
        // Some room is for what passes through.
        Limits { tile_bytes: cache / 4 * 3, image_bytes: cache * 2 }
    }
}

/// The most steps of a chain.
const MAX_STEPS: usize = 12;
/// The most tiles of a chain.
const MAX_TILES: usize = 512;
/// The most runs of steps on tiles, in all chains of a plan: their schedules take memory.
const MAX_RUNS: usize = 1 << 14;

/// A step that may belong to a chain.
#[derive(Debug)]
struct Link {
    step: usize,
    writes: BufferId,
    reads: Vec<(BufferId, Option<RowReach>)>,
    weights: usize,
}

/// Steps that are run by tiles.
#[derive(Debug)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// By link: whether only the chain uses what it writes, so that it gets a window.
    inner: Vec<bool>,
    tiles: usize,
}

/// Who uses a buffer.
#[derive(Debug, Clone, Default)]
struct Uses {
    writers: usize,
    /// The first and the last step that reads it.
    readers: Option<(usize, usize)>,
}

/// Finds chains, in the order of the steps.
pub(super) fn chains(steps: &[AnyStep], buffers: &[Buffer], limits: Option<Limits>) -> Vec<Chain> {
    let Some(limits) = limits else { return Vec::new() };
    let mut uses = vec![Uses::default(); buffers.len()];
    for (at, step) in steps.iter().enumerate() {
        step.writes().iter().for_each(|id| uses[id.0].writers += 1);
        for BufferId(id) in step.reads() {
            uses[id].readers = Some((uses[id].readers.map_or(at, |(first, _)| first), at));
        }
    }
    let mut links: Vec<Option<Link>> =
        steps.iter().enumerate().map(|(at, step)| link(at, step, buffers, &uses)).collect();
    // The most that chains of the steps before `end` save, and where the last of them begins, if one ends there.
    let mut best: Vec<(u64, Option<usize>)> = vec![(0, None)];
    for end in 1..=steps.len() {
        let mut most = (best[end - 1].0, None);
        for first in (end.saturating_sub(MAX_STEPS)..end).rev() {
            let Some(of_chain) = links[first..end].iter().map(Option::as_ref).collect::<Option<Vec<_>>>()
            else {
                break;
            };
            let saved = Candidate::of(&of_chain, buffers, &uses, limits).map_or(0, |c| c.saved);
            if saved > 0 && best[first].0 + saved > most.0 {
                most = (best[first].0 + saved, Some(first));
            }
        }
        best.push(most);
    }
    let (mut found, mut end) = (Vec::new(), steps.len());
    while end > 0 {
        let Some(first) = best[end].1 else {
            end -= 1;
            continue;
        };
        let links: Vec<Link> = links[first..end].iter_mut().filter_map(Option::take).collect();
        let candidate = Candidate::of(&links.iter().collect::<Vec<_>>(), buffers, &uses, limits);
        found.extend(candidate.map(|Candidate { inner, tiles, .. }| Chain { links, inner, tiles }));
        end = first;
    }
    found.reverse();
    let mut runs = 0;
    found.retain(|chain: &Chain| {
        runs += chain.tiles * chain.links.len();
        runs <= MAX_RUNS
    });
    found
}

/// What a step reads and writes, if it can be run by rows, and nobody else writes what it does.
fn link(at: usize, step: &AnyStep, buffers: &[Buffer], uses: &[Uses]) -> Option<Link> {
    let RowAccess { reads, weights } = step.row_access(buffers)?;
    let [writes] = step.writes()[..] else { return None };
    let Uses { writers, readers } = &uses[writes.0];
    let read_later = readers.is_none_or(|(first, _)| first > at);
    let reads: Vec<_> = step.reads().into_iter().zip(reads).collect();
    // A plan is data from outside, and the kernels see tiles only.
    let within = |(id, reach): &(BufferId, Option<RowReach>)| {
        reach.is_none_or(|reach| reach.is_within(&buffers[id.0], buffers[writes.0].height))
    };
    let sound = *writers == 1 && read_later && !buffers[writes.0].keep && reads.iter().all(within);
    sound.then_some(Link { step: at, writes, reads, weights })
}

/// How some steps would run as a chain.
struct Candidate {
    inner: Vec<bool>,
    tiles: usize,
    /// Bytes that need not go out to memory and come back.
    saved: u64,
}

impl Candidate {
    /// `None`: they cannot, or gain nothing.
    fn of(links: &[&Link], buffers: &[Buffer], uses: &[Uses], limits: Limits) -> Option<Self> {
        let last = links.last()?.step;
        let producer = |id: BufferId| links.iter().position(|link| link.writes == id);
        // What is needed whole must have been made before.
        let row_access =
            |(id, reach): &(BufferId, Option<RowReach>)| reach.is_some() || producer(*id).is_none();
        if !links.iter().all(|link| link.reads.iter().all(row_access)) {
            return None;
        }
        let inner: Vec<bool> = links
            .iter()
            .map(|link| uses[link.writes.0].readers.is_some_and(|(_, reader)| reader <= last))
            .collect();
        let large =
            |(link, inner): (&&Link, &bool)| *inner && buffers[link.writes.0].bytes() > limits.image_bytes;
        if links.len() < 2 || !links.iter().zip(&inner).any(large) {
            return None;
        }
        let fits = |tiles: usize| footprint(links, buffers, &inner, tiles) <= limits.tile_bytes;
        let tiles = least(2..MAX_TILES + 1, fits)?;
        let mut saved = 0u64;
        for (n, link) in links.iter().enumerate() {
            let buffer = &buffers[link.writes.0];
            let shared = shared(links, link.writes);
            let rows = buffer.height / tiles;
            if rows < shared.max(1) {
                return None;
            }
            if inner[n] && buffer.bytes() > limits.image_bytes {
                // Each row that is moved costs some of it.
                saved += (buffer.bytes() - buffer.bytes() / rows * shared / 4) as u64;
            }
        }
        Some(Candidate { inner, tiles, saved })
    }
}

/// The least number that is enough, where all after it are too.
fn least(mut numbers: Range<usize>, enough: impl Fn(usize) -> bool) -> Option<usize> {
    let end = numbers.end;
    while !numbers.is_empty() {
        let middle = numbers.start + numbers.len() / 2;
        if enough(middle) {
            numbers.end = middle;
        } else {
            numbers.start = middle + 1;
        }
    }
    (numbers.start < end).then_some(numbers.start)
}

/// RowSlice of a buffer that two tiles of its readers in the chain share, at most.
fn shared(links: &[&Link], buffer: BufferId) -> usize {
    let of_buffer = links.iter().flat_map(|link| &link.reads).filter(|(id, _)| *id == buffer);
    of_buffer.filter_map(|(_, reach)| reach.map(RowReach::shared)).max().unwrap_or(0)
}

/// Bytes that are near while a tile runs: its rows of all buffers, and weights.
fn footprint(links: &[&Link], buffers: &[Buffer], inner: &[bool], tiles: usize) -> usize {
    let rows = |id: BufferId, shared: usize| {
        let buffer = &buffers[id.0];
        (buffer.height.div_ceil(tiles) + shared).min(buffer.height) * buffer.row_bytes()
    };
    let mut bytes = 0usize;
    for (link, inner) in links.iter().zip(inner) {
        let written = rows(link.writes, if *inner { shared(links, link.writes) } else { 0 });
        let outside = link.reads.iter().filter(|(id, _)| !links.iter().any(|other| other.writes == *id));
        let read: usize = outside.filter_map(|(id, reach)| Some(rows(*id, (*reach)?.shared()))).sum();
        bytes = bytes.saturating_add(link.weights).saturating_add(written + read);
    }
    bytes
}

impl Chain {
    /// The steps, which follow each other.
    pub(super) fn steps(&self) -> Range<usize> {
        match (self.links.first(), self.links.last()) {
            (Some(first), Some(last)) => first.step..last.step + 1,
            _ => 0..0,
        }
    }

    /// What is done, for buffers as they would be without tiles.
    pub(super) fn schedule(&self, buffers: &[Buffer]) -> Schedule {
        Schedule::of(self, buffers)
    }
}
