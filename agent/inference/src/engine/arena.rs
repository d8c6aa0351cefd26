//! Where each buffer lies: one arena, in which buffers that are never needed at the same time share a place.
//!
//! Invariant: two buffers overlap only if the last step that uses one comes before the first that uses the other.

use std::ops::Range;
use std::sync::Arc;

use aimass_kernels::{Image, Padding};
use serde::{Deserialize, Serialize};

use super::any_step::AnyStep;
use super::serialization::kernel_types::PaddingDef;
use super::value::BufferId;

/// The type of a buffer's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Element {
    Byte,
    Float,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Element::Byte => 1,
            Element::Float => 4,
        }
    }
}

/// A buffer that is still to be placed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Buffer {
    pub(super) element: Element,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    #[serde(with = "PaddingDef")]
    pub(super) padding: Padding,
    /// What a byte padding is filled with; a float padding holds 0.
    pub(super) fill: u8,
    /// The step that writes it, for those that may be changed afterwards.
    #[serde(skip)]
    pub(super) producer: usize,
    /// Keeps its content between runs and to their end.
    pub(super) keep: bool,
    /// What it holds from the beginning.
    pub(super) content: Option<Arc<[f32]>>,
}

impl Buffer {
    /// The most elements of a buffer: a model's shapes are data from outside.
    pub(super) const MAX_ELEMENTS: usize = 1 << 27;

    /// Rows, columns and channels.
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// Whether it holds numbers without gaps.
    pub(super) fn is_flat(&self) -> bool {
        self.element == Element::Float
            && [self.height, self.width] == [1, 1]
            && self.padding == Padding::default()
    }

    fn image(&self, start: usize) -> Image {
        Image::dense(start, self.height, self.width, self.channels, self.padding)
    }

    /// Bytes of one row, with what lies left and right of it.
    pub(super) fn row_bytes(&self) -> usize {
        self.image(0).row_stride * self.element.bytes()
    }

    pub(super) fn bytes(&self) -> usize {
        (self.image(0).footprint() * self.element.bytes()).next_multiple_of(LINE)
    }

    fn check_content(&self) -> Result<(), String> {
        match &self.content {
            Some(content) if !self.is_flat() || !self.keep || content.len() != self.channels => {
                Err("what a buffer holds from the beginning does not fit into it".into())
            }
            _ => Ok(()),
        }
    }

    /// From now on it holds so many rows at a time, what is above and below the picture included.
    pub(super) fn shrink_to(&mut self, rows: usize) {
        self.height = rows;
        self.padding = Padding { top: 0, bottom: 0, ..self.padding };
    }

    /// What fills its padding.
    pub(super) fn padding_fill(&self, buffer: BufferId) -> PaddingFill {
        PaddingFill { buffer, element: self.element, value: self.fill }
    }

    /// Refuses a buffer that is empty or too large with its padding, which is data from outside like its shape.
    pub(super) fn check(&self) -> Result<(), String> {
        let Padding { top, left, bottom, right } = self.padding;
        let height = self.height.checked_add(top).and_then(|h| h.checked_add(bottom));
        let width = self.width.checked_add(left).and_then(|w| w.checked_add(right));
        let elements = height.zip(width).and_then(|(h, w)| h.checked_mul(w)?.checked_mul(self.channels));
        match elements {
            Some(n) if n <= Self::MAX_ELEMENTS && !self.shape().contains(&0) => self.check_content(),
            _ => Err(format!(
                "a picture of {}x{} with {} channels and its borders is empty or too large",
                self.width, self.height, self.channels
            )),
        }
    }
}

/// Buffers begin at cache lines.
const LINE: usize = 64;
/// The most bytes of an arena: no board of ours has more to spare.
const MAX_BYTES: usize = 512 << 20;

/// The padding of a buffer, which its first step must find filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct PaddingFill {
    pub(super) buffer: BufferId,
    pub(super) element: Element,
    pub(super) value: u8,
}

/// The finished arrangement.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) images: Vec<Image>,
    /// The arena's size.
    pub(super) bytes: usize,
    /// By step.
    pub(super) fills: Vec<Vec<PaddingFill>>,
    /// Buffers that hold something from the beginning.
    pub(super) contents: Vec<(BufferId, Arc<[f32]>)>,
}

/// Places the buffers, largest first, each at the lowest place that is free while it is used. Steps of a chain use
/// their buffers at the same time.
///
/// # Errors
/// They are too large.
pub(super) fn place(
    buffers: &[Buffer],
    steps: &[AnyStep],
    chains: &[Range<usize>],
) -> Result<Layout, String> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (at, step) in steps.iter().enumerate() {
        for BufferId(id) in step.reads().into_iter().chain(step.writes()) {
            let life = lives[id].get_or_insert((at, at));
            life.1 = at;
        }
    }
    for (first, last) in lives.iter_mut().flatten() {
        for chain in chains {
            *first = if chain.contains(first) { chain.start } else { *first };
            *last = if chain.contains(last) { chain.end - 1 } else { *last };
        }
    }
    for (life, buffer) in lives.iter_mut().zip(buffers) {
        if buffer.keep {
            *life = Some((0, steps.len()));
        }
    }
    let mut order: Vec<usize> = (0..buffers.len()).filter(|id| lives[*id].is_some()).collect();
    order.sort_by_key(|id| (std::cmp::Reverse(buffers[*id].bytes()), *id));
    let mut starts = vec![0usize; buffers.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut top = 0;
    for id in order {
        let size = buffers[id].bytes();
        let meets = |other: &usize| match (lives[id], lives[*other]) {
            (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
            _ => false,
        };
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|other| meets(other))
            .map(|other| (starts[*other], starts[*other] + buffers[*other].bytes()))
            .collect();
        taken.sort_unstable();
        let mut start = 0;
        for (from, to) in taken {
            if start + size <= from {
                break;
            }
            start = start.max(to);
        }
        starts[id] = start;
        top = top.max(start + size);
        if top > MAX_BYTES {
            return Err(format!("needs more than {} MiB at a time", MAX_BYTES >> 20));
        }
        placed.push(id);
    }
    let images = buffers.iter().zip(&starts).map(|(b, start)| b.image(start / b.element.bytes())).collect();
    let mut fills: Vec<Vec<PaddingFill>> = steps.iter().map(|_| Vec::new()).collect();
    for (id, (buffer, life)) in buffers.iter().zip(&lives).enumerate() {
        if let Some((first, _)) = life
            && buffer.padding != Padding::default()
            && let Some(fills) = fills.get_mut(*first)
        {
            fills.push(buffer.padding_fill(BufferId(id)));
        }
    }
    let contents =
        buffers.iter().enumerate().filter_map(|(id, b)| Some((BufferId(id), b.content.clone()?))).collect();
    Ok(Layout { images, bytes: top, fills, contents })
}
