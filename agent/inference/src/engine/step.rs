//! A step of a plan, and the memory that it works in.

use std::sync::Arc;

use aimass_kernels::{Arena, Image, Inputs, Kernels, Scratch, View, ViewMut};
use tract_onnx::prelude::TValue;

use super::arena::Layout;
use super::value::{Activation, BufferId, Slot};

/// One step. It is shared by all sessions of a model; what changes is in [`Memory`].
pub(super) trait Step: std::fmt::Debug + Send + Sync {
    /// What it is, for tables of times: the same for steps that should be added up.
    fn kind(&self) -> String;

    /// The buffers that it reads.
    fn reads(&self) -> Vec<BufferId>;

    /// The buffers that it writes.
    fn writes(&self) -> Vec<BufferId>;

    /// Packs its weights, when nothing will be fused into it any more and its buffers have their places.
    ///
    /// # Errors
    /// The kernels refuse.
    fn prepare(&mut self, _kernels: Kernels, _images: &[Image]) -> Result<(), String> {
        Ok(())
    }

    /// Does it.
    ///
    /// # Errors
    /// The plan or a kernel is at fault.
    fn run(&self, memory: &mut Memory) -> Result<(), String>;

    /// From now on it also replaces each byte that it writes, if it can.
    fn fuse_table(&mut self, _table: &[u8; 256]) -> bool {
        false
    }

    /// From now on it also adds these numbers to each row that it writes, if its rows are as long and it can.
    fn fuse_bias(&mut self, _bias: &[f32]) -> bool {
        false
    }

    /// From now on it also does this to each number that it writes, if it can.
    fn fuse_activation(&mut self, _activation: Activation) -> bool {
        false
    }

    /// From now on it also multiplies what is below 0 by these, one for all or one for each channel, if it can.
    fn fuse_slopes(&mut self, _slopes: &[f32]) -> bool {
        false
    }

    /// The operator that only tract knows, if it is one.
    fn fallback(&self) -> Option<&str> {
        None
    }
}

/// What one session's steps work in.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) kernels: Kernels,
    pub(super) arena: Arena,
    pub(super) layout: Arc<Layout>,
    pub(super) tensors: Vec<Option<TValue>>,
    pub(super) scratch: Scratch,
}

impl Memory {
    /// # Errors
    /// The layout is at fault.
    pub(super) fn new(kernels: Kernels, layout: Arc<Layout>, tensors: usize) -> Result<Self, String> {
        let arena = Arena::new(layout.bytes);
        let mut memory = Memory {
            kernels,
            arena,
            layout: layout.clone(),
            tensors: vec![None; tensors],
            scratch: Scratch::default(),
        };
        for (id, content) in &layout.contents {
            memory.fill(*id, |values| values.copy_from_slice(content))?;
        }
        Ok(memory)
    }

    /// Lets `write` change a buffer without gaps.
    ///
    /// # Errors
    /// The layout is at fault.
    pub(super) fn fill<R>(&mut self, id: BufferId, write: impl FnOnce(&mut [f32]) -> R) -> Result<R, String> {
        let (_, mut view) = self.write::<f32>(id)?;
        Ok(write(view.row_values_mut(0)))
    }

    /// Where a buffer lies.
    pub(super) fn image(&self, BufferId(id): BufferId) -> Image {
        self.layout.images[id]
    }

    /// A buffer to read.
    pub(super) fn read<T: aimass_kernels::Element>(&self, id: BufferId) -> Result<View<'_, T>, String> {
        self.arena.view(&self.image(id)).map_err(|e| e.to_string())
    }

    /// A buffer without gaps to read, as one slice.
    pub(super) fn flat(&self, id: BufferId) -> Result<&[f32], String> {
        Ok(self.read::<f32>(id)?.pixel(0, 0))
    }

    /// A buffer to write while others are read.
    pub(super) fn write<T: aimass_kernels::Element>(
        &mut self,
        id: BufferId,
    ) -> Result<(Inputs<'_>, ViewMut<'_, T>), String> {
        let image = self.image(id);
        self.arena.writing(&image).map_err(|e| e.to_string())
    }

    /// A tensor that an earlier step left.
    pub(super) fn tensor(&self, Slot(slot): Slot) -> Result<&TValue, String> {
        self.tensors
            .get(slot)
            .and_then(Option::as_ref)
            .ok_or_else(|| "a step reads a tensor before it is made".into())
    }
}
