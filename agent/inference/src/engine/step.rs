//! A step of a plan, and the memory that it works in.

use std::ops::Range;
use std::sync::Arc;

use aimass_kernels::{Arena, Image, Inputs, Kernels, Scratch, ThreadPool, UnaryFn, View, ViewMut};
use tract_onnx::prelude::TValue;

use super::arena::{Buffer, Element, Layout};
use super::constant::Constant;
use super::row_tiling::{RowAccess, RowSlice};
use super::value::{Activation, BufferId, Slot};

/// One step. It is shared by all sessions of a model; what changes is in [`Memory`].
pub(super) trait Step: std::fmt::Debug + Send + Sync {
    /// What it is, for tables of times: the same for steps that should be added up.
    fn kind(&self) -> String;

    /// The buffers that it reads.
    fn reads(&self) -> Vec<BufferId>;

    /// The buffers that it writes.
    fn writes(&self) -> Vec<BufferId>;

    /// Its weights until they are packed, always in the same order.
    fn constants(&mut self) -> Vec<&mut Constant> {
        Vec::new()
    }

    /// Checks it against the buffers, which exist, that it reads and writes: whatever the kernels do not check when they
    /// are called. A plan from a file is data from outside.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self, _buffers: &[Buffer]) -> Result<(), String> {
        Ok(())
    }

    /// Packs its weights, when nothing will be fused into it any more and its buffers have their places.
    ///
    /// # Errors
    /// The kernels refuse.
    fn prepare(&mut self, _kernels: Kernels, _images: &[Image]) -> Result<(), String> {
        Ok(())
    }

    /// How it can be run for some rows of its output at a time, if it can: in the order of the rows, each by itself and
    /// to the bit as with all others.
    fn row_access(&self, _buffers: &[Buffer]) -> Option<RowAccess> {
        None
    }

    /// Does it.
    ///
    /// # Errors
    /// The plan or a kernel is at fault.
    fn run(&self, memory: &mut Memory) -> Result<(), String>;

    /// From now on it also replaces each byte that it writes, if it can.
    fn fuse_lookup_table(&mut self, _table: &[u8; 256]) -> bool {
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

    /// From now on it also computes this of each number that it writes, if it can.
    fn fuse_unary_fn(&mut self, _curve: UnaryFn) -> bool {
        false
    }

    /// The operator that only tract knows, if it is one.
    fn fallback(&self) -> Option<&str> {
        None
    }
}

/// A kernel's error in the engine's form: one line of text.
pub(super) fn kernel_error(error: aimass_kernels::KernelError) -> String {
    error.to_string()
}

/// # Errors
/// `problem`, unless the condition holds.
pub(super) fn ensure(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.into()) }
}

/// Multiplications for which a thread more is not worth the waking: some tens of microseconds.
const MULTIPLICATIONS_PER_THREAD: u64 = 1 << 19;

/// What one session's steps work in.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) kernels: Kernels,
    pub(super) arena: Arena,
    layout: Arc<Layout>,
    /// Where each buffer lies, or those of its rows that a strip is about.
    images: Vec<Image>,
    pub(super) tensors: Vec<Option<TValue>>,
    pub(super) scratch: Scratch,
    /// Who shares the rows of large layers, once somebody may.
    pool: Option<ThreadPool>,
    /// How many threads may share this run's layers.
    threads: usize,
}

impl Memory {
    /// # Errors
    /// The layout is at fault.
    pub(super) fn new(kernels: Kernels, layout: Arc<Layout>, tensors: usize) -> Result<Self, String> {
        let arena = Arena::new(layout.bytes);
        let mut memory = Memory {
            kernels,
            arena,
            images: layout.images.clone(),
            layout: layout.clone(),
            tensors: vec![None; tensors],
            scratch: Scratch::default(),
            pool: None,
            threads: 1,
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
        self.images[id]
    }

    /// From now on a buffer is some of its rows.
    pub(super) fn select_rows(&mut self, rows: &RowSlice) {
        let BufferId(id) = rows.buffer;
        self.images[id] = rows.of(&self.layout.images[id]);
    }

    /// Moves rows of a buffer to its beginning.
    ///
    /// # Errors
    /// The plan is at fault.
    pub(super) fn move_rows(
        &mut self,
        BufferId(id): BufferId,
        element: Element,
        rows: Range<usize>,
    ) -> Result<(), String> {
        let image = &self.layout.images[id];
        match element {
            Element::Byte => self.arena.move_rows::<u8>(image, rows),
            Element::Float => self.arena.move_rows::<f32>(image, rows),
        }
        .map_err(kernel_error)
    }

    /// From now on all buffers are whole again.
    pub(super) fn select_all_rows(&mut self) {
        self.images.copy_from_slice(&self.layout.images);
    }

    /// A buffer to read.
    pub(super) fn read<T: aimass_kernels::Element>(&self, id: BufferId) -> Result<View<'_, T>, String> {
        self.arena.view(&self.image(id)).map_err(kernel_error)
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
        self.arena.writing(&image).map_err(kernel_error)
    }

    /// Runs a kernel that reads one buffer and writes another.
    ///
    /// # Errors
    /// The kernel's, or the layout is inconsistent.
    pub(super) fn map<I: aimass_kernels::Element, O: aimass_kernels::Element>(
        &mut self,
        input: BufferId,
        output: BufferId,
        kernel: impl FnOnce(Kernels, View<'_, I>, ViewMut<'_, O>) -> aimass_kernels::Result<()>,
    ) -> Result<(), String> {
        let (kernels, image) = (self.kernels, self.image(input));
        let (inputs, output) = self.write::<O>(output)?;
        kernel(kernels, inputs.view(&image).map_err(kernel_error)?, output).map_err(kernel_error)
    }

    /// Runs a kernel over contiguous f32 buffers, each as one slice.
    ///
    /// # Errors
    /// The kernel's, or the layout is inconsistent.
    pub(super) fn map_flat<const N: usize>(
        &mut self,
        inputs: [BufferId; N],
        output: BufferId,
        kernel: impl FnOnce(Kernels, [&[f32]; N], &mut [f32]) -> aimass_kernels::Result<()>,
    ) -> Result<(), String> {
        let (kernels, images) = (self.kernels, inputs.map(|id| self.image(id)));
        let (inputs, mut output) = self.write::<f32>(output)?;
        let mut slices = [[].as_slice(); N];
        for (slice, image) in slices.iter_mut().zip(&images) {
            *slice = inputs.view(image).map_err(kernel_error)?.pixel(0, 0);
        }
        kernel(kernels, slices, output.row_values_mut(0)).map_err(kernel_error)
    }

    /// Copies one image of the arena to another that does not overlap it.
    ///
    /// # Errors
    /// The layout is inconsistent.
    pub(super) fn copy<T: aimass_kernels::Element>(
        &mut self,
        from: &Image,
        to: &Image,
    ) -> Result<(), String> {
        let kernels = self.kernels;
        let (inputs, output) = self.arena.writing::<T>(to).map_err(kernel_error)?;
        kernels.copy(inputs.view::<T>(from).map_err(kernel_error)?, output).map_err(kernel_error)
    }

    /// As [`Self::write`], where rows do not depend on each other: `work` writes the rows that it gets, on several
    /// threads at once if there is enough to do.
    ///
    /// # Errors
    /// What `work` refuses; or a thread died.
    pub(super) fn write_rows<T: aimass_kernels::Element>(
        &mut self,
        id: BufferId,
        multiplications: u64,
        work: impl Fn(Inputs<'_>, ViewMut<'_, T>) -> aimass_kernels::Result<()> + Sync,
    ) -> Result<(), String> {
        let image = self.image(id);
        let parts = multiplications.div_ceil(MULTIPLICATIONS_PER_THREAD).min(self.threads as u64) as usize;
        let (inputs, output) = self.arena.writing::<T>(&image).map_err(kernel_error)?;
        match &mut self.pool {
            Some(pool) if parts > 1 => pool.run_by_rows(parts, output, |output| work(inputs, output)),
            _ => work(inputs, output),
        }
        .map_err(kernel_error)
    }

    /// From now on so many threads share large layers, the caller's included.
    ///
    /// # Errors
    /// The system gives no more threads: it stays one.
    pub(super) fn set_threads(&mut self, threads: usize, max_threads: usize) -> std::io::Result<()> {
        self.threads = 1;
        if threads > 1 && self.pool.is_none() {
            self.pool = Some(ThreadPool::new(max_threads)?);
        }
        self.threads = threads;
        Ok(())
    }

    /// Lets the threads end: one of them may be dead.
    pub(super) fn drop_thread_pool(&mut self) {
        self.pool = None;
    }

    /// A tensor that an earlier step left.
    pub(super) fn tensor(&self, Slot(slot): Slot) -> Result<&TValue, String> {
        self.tensors
            .get(slot)
            .and_then(Option::as_ref)
            .ok_or_else(|| "a step reads a tensor before it is made".into())
    }
}
