//! What a chain does, tile by tile: computed once, so that a run only follows it.

use std::ops::Range;

use aimass_kernels::{Image, Padding};

use super::{Chain, Link, RowReach};
use crate::engine::arena::{Buffer, Element, PaddingFill};
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
    /// The padding around these rows of a window is filled.
    Fill { rows: RowSlice, fill: PaddingFill },
    /// The step runs on these rows of its buffers.
    Run(Vec<RowSlice>),
}

/// Some rows of a buffer as a picture of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct RowSlice {
    pub(in crate::engine) buffer: BufferId,
    /// The first one, counted from row 0 of the buffer's image; a window's first row is its row 0.
    pub(super) first: usize,
    pub(super) height: usize,
    /// RowSlice before and after that are read, or filled.
    pub(super) above: usize,
    pub(super) below: usize,
}

impl RowSlice {
    /// These rows of the buffer, which lies at `image`.
    pub(in crate::engine) fn of(&self, image: &Image) -> Image {
        Image {
            offset: image.offset + self.first * image.row_stride,
            height: self.height,
            padding: Padding { top: self.above, bottom: self.below, ..image.padding },
            ..*image
        }
    }
}

/// How far one step of a chain is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// RowSlice that it has written.
    done: usize,
    /// If it writes into a window: the first row that this holds, of the whole picture with its padding.
    base: usize,
    /// The most rows that the window held.
    most: usize,
}

/// A chain while its schedule is made.
struct Builder<'a> {
    chain: &'a Chain,
    buffers: &'a [Buffer],
    progress: Vec<Progress>,
    work: Vec<Work>,
}

impl Schedule {
    /// For buffers as they would be without tiles.
    pub(super) fn of(chain: &Chain, buffers: &[Buffer]) -> Self {
        let progress = vec![Progress::default(); chain.links.len()];
        let mut producer = Builder { chain, buffers, progress, work: Vec::new() };
        for tile in 1..=chain.tiles {
            let ends = producer.ends(tile);
            (0..chain.links.len()).for_each(|n| producer.advance(n, ends[n]));
        }
        let windows = (0..chain.links.len()).filter(|n| chain.inner[*n]);
        let windows = windows.map(|n| (chain.links[n].writes, producer.progress[n].most)).collect();
        Schedule { work: producer.work, windows }
    }
}

impl<'a> Builder<'a> {
    fn buffer(&self, n: usize) -> &'a Buffer {
        &self.buffers[self.chain.links[n].writes.0]
    }

    /// Who reads what link `n` writes, and how.
    fn readers(&self, n: usize) -> impl Iterator<Item = (usize, RowReach)> + use<'a> {
        let (links, id) = (&self.chain.links, self.chain.links[n].writes);
        let of_link = move |(reader, link): (usize, &'a Link)| {
            let reads = link.reads.iter().filter(move |(read, _)| *read == id);
            reads.filter_map(move |(_, reach)| Some((reader, (*reach)?)))
        };
        links.iter().enumerate().skip(n + 1).flat_map(of_link)
    }

    /// How far each step must be after so many tiles.
    fn ends(&self, tile: usize) -> Vec<usize> {
        let (count, tiles) = (self.chain.links.len(), self.chain.tiles);
        let mut ends = vec![0; count];
        for n in (0..count).rev() {
            let height = self.buffer(n).height;
            let needed = self.readers(n).map(|(reader, reach)| reach.end(ends[reader])).max();
            // Everybody else reads all of it.
            let all = tile == tiles && !self.chain.inner[n];
            let needed = if all { height } else { needed.unwrap_or(height * tile / tiles) };
            ends[n] = needed.min(height).max(self.progress[n].done);
        }
        ends
    }

    /// RowSlice of link `n`'s picture, counted from the first of its padding, that are there when `done` rows are.
    fn held(&self, n: usize, done: usize) -> usize {
        let Buffer { height, padding, .. } = *self.buffer(n);
        padding.top + if done == height { height + padding.bottom } else { done }
    }

    /// Lets link `n` write its rows up to `end`.
    fn advance(&mut self, n: usize, end: usize) {
        let (link, done) = (&self.chain.links[n], self.progress[n].done);
        if end == done {
            return;
        }
        // Before its first row there is nothing to move, and the padding above it is still to be filled.
        if self.chain.inner[n] && done > 0 {
            self.make_room(n);
        }
        let written = self.rows(link.writes, done, end - done, [0, 0]);
        let mut places = vec![written];
        for (id, reach) in &link.reads {
            let Some(RowReach { stride, above, below }) = *reach else { continue };
            let height = (end - done - 1) * stride + below + 1;
            places.push(self.rows(*id, done * stride, height, [above, 0]));
        }
        self.work.push(Work { step: link.step, kind: WorkKind::Run(places) });
        let Buffer { height, padding, .. } = *self.buffer(n);
        if self.chain.inner[n] {
            let above = if done == 0 { padding.top } else { 0 };
            let below = if end == height { padding.bottom } else { 0 };
            if above + below > 0 {
                let (rows, fill) =
                    (RowSlice { above, below, ..written }, self.buffer(n).padding_fill(link.writes));
                self.work.push(Work { step: link.step, kind: WorkKind::Fill { rows, fill } });
            }
            let held = self.held(n, end) - self.progress[n].base;
            self.progress[n].most = self.progress[n].most.max(held);
        }
        self.progress[n].done = end;
    }

    /// Moves the rows that link `n`'s readers still need to the beginning of its window.
    fn make_room(&mut self, n: usize) {
        let top = self.buffer(n).padding.top;
        let first = |(reader, reach): (usize, RowReach)| {
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

    /// RowSlice of a buffer from row `first` of its picture on.
    fn rows(&self, buffer: BufferId, first: usize, height: usize, [above, below]: [usize; 2]) -> RowSlice {
        let window = (0..self.chain.links.len())
            .find(|n| self.chain.inner[*n] && self.chain.links[*n].writes == buffer);
        let first =
            window.map_or(first, |n| first + self.buffers[buffer.0].padding.top - self.progress[n].base);
        RowSlice { buffer, first, height, above, below }
    }
}
