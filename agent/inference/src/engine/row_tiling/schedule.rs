//! What a chain does, strip by strip: computed once, so that a run only follows it.

use std::ops::Range;

use aimass_kernels::{Halo, Image};

use super::{Chain, Link, Reach};
use crate::engine::arena::{Buffer, Element, HaloFill};
use crate::engine::value::BufferId;

/// The work of one chain, in its order.
#[derive(Debug, Default)]
pub(in crate::engine) struct Schedule {
    pub(in crate::engine) work: Vec<Work>,
    /// For each buffer with a window, the rows that it holds at most.
    pub(in crate::engine) windows: Vec<(BufferId, usize)>,
}

/// A piece of work, for the step that it counts for.
#[derive(Debug)]
pub(in crate::engine) struct Work {
    pub(in crate::engine) step: usize,
    pub(in crate::engine) kind: WorkKind,
}

/// What is done.
#[derive(Debug)]
pub(in crate::engine) enum WorkKind {
    /// These rows of a window move to its beginning.
    Move { buffer: BufferId, element: Element, rows: Range<usize> },
    /// The halo around these rows of a window is filled.
    Fill { rows: Rows, fill: HaloFill },
    /// The step runs on these rows of its buffers.
    Run(Vec<Rows>),
}

/// Some rows of a buffer as a picture of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Rows {
    pub(in crate::engine) buffer: BufferId,
    /// The first one, counted from row 0 of the buffer's image; a window's first row is its row 0.
    pub(super) first: usize,
    pub(super) height: usize,
    /// Rows before and after that are read, or filled.
    pub(super) above: usize,
    pub(super) below: usize,
}

impl Rows {
    /// These rows of the buffer, which lies at `image`.
    pub(in crate::engine) fn of(&self, image: &Image) -> Image {
        Image {
            offset: image.offset + self.first * image.row_stride,
            height: self.height,
            halo: Halo { top: self.above, bottom: self.below, ..image.halo },
            ..*image
        }
    }
}

/// How far one step of a chain is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Rows that it has written.
    done: usize,
    /// If it writes into a window: the first row that this holds, of the whole picture with its halo.
    base: usize,
    /// The most rows that the window held.
    most: usize,
}

/// A chain while its schedule is made.
struct Maker<'a> {
    chain: &'a Chain,
    buffers: &'a [Buffer],
    progress: Vec<Progress>,
    work: Vec<Work>,
}

impl Schedule {
    /// For buffers as they would be without strips.
    pub(super) fn of(chain: &Chain, buffers: &[Buffer]) -> Self {
        let progress = vec![Progress::default(); chain.links.len()];
        let mut maker = Maker { chain, buffers, progress, work: Vec::new() };
        for strip in 1..=chain.strips {
            let ends = maker.ends(strip);
            (0..chain.links.len()).for_each(|n| maker.advance(n, ends[n]));
        }
        let windows = (0..chain.links.len()).filter(|n| chain.inner[*n]);
        let windows = windows.map(|n| (chain.links[n].writes, maker.progress[n].most)).collect();
        Schedule { work: maker.work, windows }
    }
}

impl<'a> Maker<'a> {
    fn buffer(&self, n: usize) -> &'a Buffer {
        &self.buffers[self.chain.links[n].writes.0]
    }

    /// Who reads what link `n` writes, and how.
    fn readers(&self, n: usize) -> impl Iterator<Item = (usize, Reach)> + use<'a> {
        let (links, id) = (&self.chain.links, self.chain.links[n].writes);
        let of_link = move |(reader, link): (usize, &'a Link)| {
            let reads = link.reads.iter().filter(move |(read, _)| *read == id);
            reads.filter_map(move |(_, reach)| Some((reader, (*reach)?)))
        };
        links.iter().enumerate().skip(n + 1).flat_map(of_link)
    }

    /// How far each step must be after so many strips.
    fn ends(&self, strip: usize) -> Vec<usize> {
        let (count, strips) = (self.chain.links.len(), self.chain.strips);
        let mut ends = vec![0; count];
        for n in (0..count).rev() {
            let height = self.buffer(n).height;
            let needed = self.readers(n).map(|(reader, reach)| reach.end(ends[reader])).max();
            // Everybody else reads all of it.
            let all = strip == strips && !self.chain.inner[n];
            let needed = if all { height } else { needed.unwrap_or(height * strip / strips) };
            ends[n] = needed.min(height).max(self.progress[n].done);
        }
        ends
    }

    /// Rows of link `n`'s picture, counted from the first of its halo, that are there when `done` rows are.
    fn held(&self, n: usize, done: usize) -> usize {
        let Buffer { height, halo, .. } = *self.buffer(n);
        halo.top + if done == height { height + halo.bottom } else { done }
    }

    /// Lets link `n` write its rows up to `end`.
    fn advance(&mut self, n: usize, end: usize) {
        let (link, done) = (&self.chain.links[n], self.progress[n].done);
        if end == done {
            return;
        }
        // Before its first row there is nothing to move, and the halo above it is still to be filled.
        if self.chain.inner[n] && done > 0 {
            self.make_room(n);
        }
        let written = self.rows(link.writes, done, end - done, [0, 0]);
        let mut places = vec![written];
        for (id, reach) in &link.reads {
            let Some(Reach { stride, above, below }) = *reach else { continue };
            let height = (end - done - 1) * stride + below + 1;
            places.push(self.rows(*id, done * stride, height, [above, 0]));
        }
        self.work.push(Work { step: link.step, kind: WorkKind::Run(places) });
        let Buffer { height, halo, .. } = *self.buffer(n);
        if self.chain.inner[n] {
            let above = if done == 0 { halo.top } else { 0 };
            let below = if end == height { halo.bottom } else { 0 };
            if above + below > 0 {
                let (rows, fill) = (Rows { above, below, ..written }, self.buffer(n).halo_fill(link.writes));
                self.work.push(Work { step: link.step, kind: WorkKind::Fill { rows, fill } });
            }
            let held = self.held(n, end) - self.progress[n].base;
            self.progress[n].most = self.progress[n].most.max(held);
        }
        self.progress[n].done = end;
    }

    /// Moves the rows that link `n`'s readers still need to the beginning of its window.
    fn make_room(&mut self, n: usize) {
        let top = self.buffer(n).halo.top;
        let first = |(reader, reach): (usize, Reach)| {
            (top + self.progress[reader].done * reach.stride).saturating_sub(reach.above)
        };
        let needed = self.readers(n).map(first).min().unwrap_or(0);
        let Progress { done, base, .. } = self.progress[n];
        let held = self.held(n, done);
        let to = needed.min(held);
        if to > base {
            if held > to {
                let (link, element) = (&self.chain.links[n], self.buffer(n).element);
                let kind = WorkKind::Move { buffer: link.writes, element, rows: to - base..held - base };
                self.work.push(Work { step: link.step, kind });
            }
            self.progress[n].base = to;
        }
    }

    /// Rows of a buffer from row `first` of its picture on.
    fn rows(&self, buffer: BufferId, first: usize, height: usize, [above, below]: [usize; 2]) -> Rows {
        let window = (0..self.chain.links.len())
            .find(|n| self.chain.inner[*n] && self.chain.links[*n].writes == buffer);
        let first = window.map_or(first, |n| first + self.buffers[buffer.0].halo.top - self.progress[n].base);
        Rows { buffer, first, height, above, below }
    }
}
