//! A model in the runtime that was chosen for it: the one door to tract and to the engine.
//!
//! A [`Model`] is shared by all threads and never changes; a [`Session`] belongs to one thread. Panics inside a
//! runtime end as errors. One thread per session, unless it may share layers ([`Session::shared_by`]): the agent runs
//! several sources, and bounds them by permits.

pub(crate) mod tract;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use aimass_kernels::{Kernels, Path};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineSession, StepTime};
use crate::library::manifest::{InputSpec, Precision};
use crate::onnx;
use crate::threads::Threads;

/// What runs a model, and in which precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The library tract, in f32; a file stored as int8 is folded at load.
    Tract,
    /// The agent's own engine, in f32; a file stored as int8 is folded at load.
    EngineF32,
    /// The agent's own engine, with the file's 8-bit weights and activations.
    EngineInt8,
}

impl Backend {
    /// All of them.
    pub const ALL: [Backend; 3] = [Backend::Tract, Backend::EngineF32, Backend::EngineInt8];

    /// As in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Tract => "tract",
            Backend::EngineF32 => "engine-f32",
            Backend::EngineInt8 => "engine-int8",
        }
    }

    /// The precision that it runs in.
    pub fn precision(self) -> Precision {
        match self {
            Backend::Tract | Backend::EngineF32 => Precision::F32,
            Backend::EngineInt8 => Precision::Int8,
        }
    }

    /// Those that can run a file stored like this, the one that is expected to be fastest here first.
    pub fn candidates(stored: Precision) -> Vec<Backend> {
        let mut all = match Kernels::detect().path() {
            // Without kernels for this processor, tract's are better.
            Path::Scalar => vec![Backend::Tract, Backend::EngineF32],
            _ => vec![Backend::EngineF32, Backend::Tract],
        };
        if stored == Precision::Int8 {
            all.insert(if prefers_int8() { 0 } else { 1 }, Backend::EngineInt8);
        }
        all
    }
}

/// Whether this machine has instructions that make int8 the faster one without a doubt.
pub(crate) fn prefers_int8() -> bool {
    Kernels::detect().path().prefers_u8()
}

/// An output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Runtime {
    Tract(tract::Plan),
    Engine(Engine),
}

/// A model that is ready to run. Cloning it clones a handle.
#[derive(Debug, Clone)]
pub struct Model {
    backend: Backend,
    runtime: Runtime,
    outputs: Arc<[OutputInfo]>,
}

impl Model {
    /// Loads a model from the bytes of an ONNX file, which are dropped as soon as they are decoded.
    ///
    /// # Errors
    /// On one line: the file is not valid, is not supported, or has another input than `input` says.
    pub fn load(bytes: Vec<u8>, input: &InputSpec, backend: Backend) -> Result<Model, String> {
        Self::load_by(bytes, input, backend, Kernels::detect())
    }

    /// As [`Self::load`], by the kernels of one path: for tests of each.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_by(
        bytes: Vec<u8>,
        input: &InputSpec,
        backend: Backend,
        kernels: Kernels,
    ) -> Result<Model, String> {
        Self::load_keeping(bytes, input, backend, kernels, None)
    }

    /// As [`Self::load_by`]; `keep` gets the engine's plan as bytes for [`Self::restore`], or why there are none.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_keeping(
        bytes: Vec<u8>,
        input: &InputSpec,
        backend: Backend,
        kernels: Kernels,
        keep: Option<&mut Result<Bytes, String>>,
    ) -> Result<Model, String> {
        caught("loading", || {
            let proto = onnx::decode(&bytes)?;
            drop(bytes);
            let (runtime, outputs) = match backend {
                Backend::Tract => {
                    let (plan, outputs) = tract::Plan::load(proto, input)?;
                    (Runtime::Tract(plan), outputs)
                }
                Backend::EngineF32 | Backend::EngineInt8 => {
                    let int8 = backend == Backend::EngineInt8;
                    let (engine, outputs) = Engine::load(proto, input, int8, kernels, keep)?;
                    (Runtime::Engine(engine), outputs)
                }
            };
            Ok(Model { backend, runtime, outputs: outputs.into() })
        })
    }

    /// Loads a plan that [`Self::load_keeping`] gave away.
    ///
    /// # Errors
    /// On one line: it is damaged, or was made for another input.
    pub fn restore(
        saved: &Bytes,
        input: &InputSpec,
        backend: Backend,
        kernels: Kernels,
    ) -> Result<Model, String> {
        caught("loading", || {
            let (engine, outputs) = Engine::restore(saved, input, kernels)?;
            Ok(Model { backend, runtime: Runtime::Engine(engine), outputs: outputs.into() })
        })
    }

    /// What runs it.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The outputs, in the graph's order.
    pub fn outputs(&self) -> &[OutputInfo] {
        &self.outputs
    }

    /// How many nodes of the graph the engine left to tract; all of them count as none where tract runs the model.
    pub fn fallbacks(&self) -> usize {
        match &self.runtime {
            Runtime::Tract(_) => 0,
            Runtime::Engine(engine) => engine.fallbacks(),
        }
    }

    /// The size of a session's own memory, where that is known.
    pub fn session_bytes(&self) -> Option<usize> {
        match &self.runtime {
            Runtime::Tract(_) => None,
            Runtime::Engine(engine) => Some(engine.arena_bytes()),
        }
    }

    /// A session on this model, for one thread.
    ///
    /// # Errors
    /// The runtime refuses, or there is no memory for the input.
    pub fn session(&self) -> Result<Session, String> {
        caught("starting", || {
            let kind = match &self.runtime {
                Runtime::Tract(plan) => Kind::Tract(Box::new(plan.session()?)),
                Runtime::Engine(engine) => Kind::Engine(Box::new(engine.session()?)),
            };
            Ok(Session { kind })
        })
    }
}

#[derive(Debug)]
enum Kind {
    Tract(Box<tract::PlanSession>),
    Engine(Box<EngineSession>),
}

/// What one thread needs to run a model again and again.
#[derive(Debug)]
pub struct Session {
    kind: Kind,
}

impl Session {
    /// From now on several threads may share large layers, where the engine runs the model.
    #[must_use]
    pub fn shared_by(mut self, threads: &Threads) -> Self {
        if let Kind::Engine(session) = &mut self.kind {
            session.set_threads(threads.clone());
        }
        self
    }

    /// Lets `write` fill the model's input, before [`Self::run`]. The input keeps what was written before.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn fill<R>(&mut self, write: impl FnOnce(&mut [f32]) -> R) -> Result<R, String> {
        match &mut self.kind {
            Kind::Tract(session) => session.fill(write),
            Kind::Engine(session) => session.fill(write),
        }
    }

    /// Runs the model on what was written to [`Self::fill`].
    ///
    /// # Errors
    /// The runtime failed; the next run may work.
    pub fn run(&mut self) -> Result<(), String> {
        match &mut self.kind {
            Kind::Tract(session) => session.run(),
            Kind::Engine(session) => caught("running", || session.run()),
        }
    }

    /// The values of output `n` of the last run, in row-major order. Empty if there is no such output.
    pub fn output(&self, n: usize) -> &[f32] {
        match &self.kind {
            Kind::Tract(session) => session.output(n),
            Kind::Engine(session) => session.output(n),
        }
    }

    /// What each kind of step takes, the slowest first; nothing where tract runs the model.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn profile(&mut self, runs: usize) -> Result<Vec<StepTime>, String> {
        match &mut self.kind {
            Kind::Tract(_) => Ok(Vec::new()),
            Kind::Engine(session) => caught("running", || session.profile(runs)),
        }
    }
}

/// Runs `f`; a panic becomes an error.
pub(crate) fn caught<T>(doing: &str, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Err(format!("{doing} it panicked: {}", tract::clean(text)))
    })
}
