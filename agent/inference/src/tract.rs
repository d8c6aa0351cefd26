//! The backend: the only file that runs models through tract.
//!
//! A [`Model`] is shared by all threads and never changes; a [`Session`] belongs to one thread and keeps the input
//! tensor and the plan's state between runs. Panics inside the backend end as errors. One thread per session: the
//! agent runs several sources, and bounds them by permits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TVec, TypedSimplePlan, TypedSimpleState};

use crate::manifest::{InputSpec, Precision};
use crate::onnx;

/// An output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A model that is ready to run: weights and plan. Cloning it clones a handle.
#[derive(Clone)]
pub struct Model {
    plan: Arc<TypedSimplePlan>,
    input_shape: [usize; 4],
    outputs: Arc<[OutputInfo]>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl Model {
    /// Loads a model from the bytes of an ONNX file, which are dropped as soon as they are decoded.
    ///
    /// # Errors
    /// On one line: the file is not valid, is not supported, or has another input than `input` says.
    pub fn load(bytes: Vec<u8>, input: &InputSpec, precision: Precision) -> Result<Model, String> {
        caught("loading", || {
            let mut proto = onnx::decode(&bytes)?;
            drop(bytes);
            if precision == Precision::F32 {
                onnx::fold::fold(&mut proto);
            }
            Self::from_proto(proto, input)
        })
    }

    fn from_proto(mut proto: onnx::ModelProto, input: &InputSpec) -> Result<Model, String> {
        let graph = proto.graph.as_mut().ok_or("holds no graph")?;
        graph.value_info.clear();
        let constants: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        let inputs: Vec<&str> =
            graph.input.iter().map(|i| i.name.as_str()).filter(|n| !constants.contains(n)).collect();
        if inputs != [input.name.as_str()] {
            return Err(format!("has inputs {inputs:?} where [{:?}] is expected", input.name));
        }
        let names: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
        let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        let parsed = framework.parse(&proto, None).map_err(one_line)?;
        // The weights now exist twice: the protobuf's copy goes before the optimiser makes its own.
        drop(proto);
        if !parsed.unresolved_inputs.is_empty() {
            return Err(format!("nothing makes the values {:?}", parsed.unresolved_inputs));
        }
        let fact = f32::fact(input.shape).into();
        let model = parsed.model.with_input_fact(0, fact).map_err(one_line)?;
        let model = model.into_optimized().map_err(one_line)?;
        let mut outputs = Vec::with_capacity(names.len());
        for (n, name) in names.into_iter().enumerate() {
            let fact = model.output_fact(n).map_err(one_line)?;
            let shape =
                fact.shape.as_concrete().ok_or_else(|| format!("output {name} has no fixed shape"))?;
            if fact.datum_type != f32::datum_type() {
                return Err(format!("output {name} holds {:?} where f32 is expected", fact.datum_type));
            }
            outputs.push(OutputInfo { name, shape: shape.to_vec() });
        }
        let plan = TypedSimplePlan::new(model).map_err(one_line)?;
        Ok(Model { plan, input_shape: input.shape, outputs: outputs.into() })
    }

    /// The outputs, in the graph's order.
    pub fn outputs(&self) -> &[OutputInfo] {
        &self.outputs
    }

    /// A session on this model, for one thread.
    ///
    /// # Errors
    /// The backend refuses, or there is no memory for the input.
    pub fn session(&self) -> Result<Session, String> {
        caught("starting", || {
            let state = TypedSimpleState::new(&self.plan).map_err(one_line)?;
            Ok(Session { state, input: self.new_input()?, outputs: TVec::new(), model: self.clone() })
        })
    }

    fn new_input(&self) -> Result<Arc<Tensor>, String> {
        Ok(Arc::new(Tensor::zero::<f32>(&self.input_shape).map_err(one_line)?))
    }
}

/// What one thread needs to run a model again and again.
pub struct Session {
    model: Model,
    state: TypedSimpleState,
    input: Arc<Tensor>,
    outputs: TVec<TValue>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Session {
    /// Lets `write` fill the model's input, before [`Self::run`]. The input keeps what was written before.
    ///
    /// # Errors
    /// The backend refuses.
    pub fn fill<R>(&mut self, write: impl FnOnce(&mut [f32]) -> R) -> Result<R, String> {
        if Arc::get_mut(&mut self.input).is_none() {
            // The backend kept the tensor: it may after a failed run.
            self.input = self.model.new_input()?;
        }
        let tensor = Arc::get_mut(&mut self.input).ok_or("the input is shared")?;
        let mut view = tensor.try_as_plain_ram_mut().map_err(one_line)?;
        Ok(write(view.as_slice_mut::<f32>().map_err(one_line)?))
    }

    /// Runs the model on what was written to [`Self::fill`].
    ///
    /// # Errors
    /// The backend failed; the next run may work.
    pub fn run(&mut self) -> Result<(), String> {
        self.outputs.clear();
        let (state, input) = (&mut self.state, self.input.clone());
        let ran = caught("running", || state.run(tvec!(input.into_tvalue())).map_err(one_line));
        match ran {
            Ok(outputs) => self.outputs = outputs,
            Err(problem) => {
                // A state that was left in the middle of a run is not to be trusted.
                self.state = TypedSimpleState::new(&self.model.plan).map_err(one_line)?;
                return Err(problem);
            }
        }
        Ok(())
    }

    /// The values of output `n` of the last run, in row-major order. Empty if there is no such output.
    pub fn output(&self, n: usize) -> &[f32] {
        self.outputs
            .get(n)
            .and_then(|value| value.as_plain_ram())
            .and_then(|view| view.as_slice::<f32>().ok())
            .unwrap_or_default()
    }
}

/// Runs `f`; a panic becomes an error.
fn caught<T>(doing: &str, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Err(format!("{doing} it panicked: {}", clean(text)))
    })
}

fn one_line(error: TractError) -> String {
    clean(&format!("{error:#}"))
}

fn clean(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    line.trim().to_owned()
}
