//! The engine: runs models by the kernels of `aimass-kernels`, quantised ones at full speed.
//!
//! tract stays loader, shape inference and fallback. [`compile`] walks tract's typed graph and makes a flat
//! [`plan`] of [`step`]s over NHWC buffers with padding, all in one arena ([`arena`]); what a value of the graph is
//! meanwhile says [`value`]; quantised weights are read from the file itself ([`weights`]); an operator is a file in
//! [`ops`]; what no operator's rule knows runs in tract, node by node ([`fallback`]). What was compiled can be kept as
//! bytes ([`serialization`]); then a start needs neither the graph nor tract.
//!
//! Everything runs on the caller's thread, but for rows of large layers where a session may share them ([`Threads`]).
//! Invariant: a plan that exists is complete, and its steps fit their buffers;
//! a run allocates nothing but for fallbacks.

mod any_step;
mod arena;
mod compile;
mod constant;
mod fallback;
mod ops;
mod plan;
mod row_tiling;
mod serialization;
mod step;
mod value;
mod weights;

use std::sync::Arc;

use aimass_kernels::Kernels;
use bytes::Bytes;

pub use plan::StepTime;

use crate::backend::OutputInfo;
use crate::library::manifest::InputSpec;
use crate::onnx::{self, ModelProto};
use crate::threads::Threads;
use plan::Plan;
use row_tiling::Limits;
use serialization::Compiled;
use step::Memory;

/// A compiled model. Cloning it clones a handle.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    plan: Arc<Plan>,
}

impl Engine {
    /// Compiles a model; `int8` keeps it quantised where it is, else it is folded to f32. `keep` gets the plan as
    /// bytes for [`Self::restore`], or why there are none.
    ///
    /// # Errors
    /// On one line: the model is not valid, has another input, or holds what neither the engine nor tract knows.
    pub(crate) fn load(
        mut proto: ModelProto,
        input: &InputSpec,
        int8: bool,
        kernels: Kernels,
        keep: Option<&mut Result<Bytes, String>>,
    ) -> Result<(Self, Vec<OutputInfo>), String> {
        let names = crate::backend::tract::check_io(&proto, input)?;
        let taken = if int8 {
            let graph = proto.graph.as_mut().ok_or("holds no graph")?;
            let dynamic = onnx::dynamic_matmul::rewrite(graph);
            onnx::dynamic_matmul::dequantise(graph);
            weights::extract(graph, &dynamic)
        } else {
            onnx::fold::fold(&mut proto);
            weights::ExtractedWeights::new()
        };
        let model = crate::backend::tract::typed(crate::backend::tract::parse(proto, input)?)?;
        let outputs = crate::backend::tract::outputs(&model, names)?;
        let draft = compile::compile(&model, &taken, &input.name)?;
        // The graph and its constants go before packing makes its own copy of the weights.
        drop((model, taken));
        let mut compiled = Compiled { draft, outputs };
        if let Some(keep) = keep {
            *keep = compiled.save().map(Bytes::from);
            if let Ok(saved) = keep {
                // From here on it goes the way of a saved plan, and the weights exist once less.
                compiled = Compiled::restore(saved)?;
            }
        }
        Self::pack(compiled, input, kernels)
    }

    /// Reads a saved plan.
    ///
    /// # Errors
    /// On one line: it is damaged, or does not fit.
    pub(crate) fn restore(
        saved: &Bytes,
        input: &InputSpec,
        kernels: Kernels,
    ) -> Result<(Self, Vec<OutputInfo>), String> {
        Self::pack(Compiled::restore(saved)?, input, kernels)
    }

    fn pack(
        compiled: Compiled,
        input: &InputSpec,
        kernels: Kernels,
    ) -> Result<(Self, Vec<OutputInfo>), String> {
        compiled.check_shapes(input.shape.iter().product())?;
        let Compiled { draft, outputs } = compiled;
        let engine = Engine { plan: Arc::new(Plan::new(draft, kernels, Some(Limits::for_machine()))?) };
        // A step that is at fault is found here, where tract can still take over, and not at the first picture.
        engine.session()?.run().map_err(|problem| format!("does not run: {problem}"))?;
        Ok((engine, outputs))
    }

    /// A session on this model, for one thread.
    ///
    /// # Errors
    /// The plan is at fault.
    pub(crate) fn session(&self) -> Result<EngineSession, String> {
        Ok(EngineSession {
            plan: self.plan.clone(),
            memory: self.plan.memory()?,
            threads: Threads::default(),
        })
    }

    /// How many nodes of the graph only tract knows.
    pub(crate) fn fallbacks(&self) -> usize {
        self.plan.fallbacks
    }

    /// The size of a session's memory.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes()
    }
}

/// What one thread needs to run a plan again and again.
#[derive(Debug)]
pub(crate) struct EngineSession {
    plan: Arc<Plan>,
    memory: Memory,
    threads: Threads,
}

impl EngineSession {
    /// Lets `write` fill the model's input, which keeps what was written before.
    ///
    /// # Errors
    /// The plan is at fault.
    pub(crate) fn fill<R>(&mut self, write: impl FnOnce(&mut [f32]) -> R) -> Result<R, String> {
        self.memory.fill(self.plan.input, write)
    }

    /// Runs the model.
    ///
    /// # Errors
    /// A step is at fault; the next run may work.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.with_threads(|plan, memory| plan.run(memory))
    }

    /// From now on its layers may be shared by several threads.
    pub(crate) fn set_threads(&mut self, threads: Threads) {
        self.threads = threads;
    }

    /// Runs something on as many threads as are free now.
    fn with_threads<R>(
        &mut self,
        run: impl FnOnce(&Plan, &mut Memory) -> Result<R, String>,
    ) -> Result<R, String> {
        let taken = self.threads.take();
        if let Err(error) = self.memory.set_threads(taken.threads, self.threads.count()) {
            tracing::warn!(%error, "A model's layers cannot be shared by threads: one runs them.");
            self.threads = Threads::default();
        }
        let ran = run(&self.plan, &mut self.memory);
        if ran.is_err() {
            self.memory.drop_thread_pool();
        }
        ran
    }

    /// The values of output `n` of the last run; empty if there is no such output.
    pub(crate) fn output(&self, n: usize) -> &[f32] {
        self.plan.outputs.get(n).and_then(|id| self.memory.flat(*id).ok()).unwrap_or_default()
    }

    /// What each kind of step takes, the slowest first.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn profile(&mut self, runs: usize) -> Result<Vec<StepTime>, String> {
        self.with_threads(|plan, memory| plan.profile(memory, runs))
    }
}
