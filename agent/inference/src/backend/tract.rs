//! The library tract: reads a graph, knows its shapes, and runs it where the engine does not.
//!
//! A [`Plan`] is shared by all threads and never changes; a [`PlanSession`] belongs to one thread and keeps the input
//! tensor and the plan's state between runs.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TVec, TypedNode, TypedSimplePlan, TypedSimpleState};
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};

use crate::backend::{OutputInfo, caught};
use crate::library::manifest::InputSpec;
use crate::onnx::{self, ModelProto};

/// The most elements of all constants of a graph together, those that were computed from others among them.
const MAX_CONSTANTS: usize = 1 << 29;
/// The most products of a run, which are minutes on a board: models for one have a thousandth.
const MAX_PRODUCTS: u64 = 1 << 38;

/// Checks that the graph has the one input that is expected, and names its outputs.
///
/// # Errors
/// It has others.
pub(crate) fn check_io(proto: &ModelProto, input: &InputSpec) -> Result<Vec<String>, String> {
    let graph = proto.graph.as_ref().ok_or("holds no graph")?;
    let constants: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs: Vec<&str> =
        graph.input.iter().map(|i| i.name.as_str()).filter(|n| !constants.contains(n)).collect();
    if inputs != [input.name.as_str()] {
        return Err(format!("has inputs {inputs:?} where [{:?}] is expected", input.name));
    }
    Ok(graph.output.iter().map(|o| o.name.clone()).collect())
}

/// The graph with its shapes still to be found, from a checked file whose first input is the expected one.
///
/// # Errors
/// Tract does not know it.
pub(crate) fn parse(mut proto: ModelProto, input: &InputSpec) -> Result<InferenceModel, String> {
    proto.graph.as_mut().ok_or("holds no graph")?.value_info.clear();
    let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let parsed = framework.parse(&proto, None).map_err(one_line)?;
    // The weights now exist twice: the protobuf's copy goes before anybody makes a third.
    drop(proto);
    if !parsed.unresolved_inputs.is_empty() {
        return Err(format!("nothing makes the values {:?}", parsed.unresolved_inputs));
    }
    let fact = f32::fact(input.shape).into();
    parsed.model.with_input_fact(0, fact).map_err(one_line)
}

/// The graph with all its shapes, none of which is beyond bounds, nor is what it computes.
///
/// # Errors
/// A shape cannot be found, or the model is larger than any that this program is for.
pub(crate) fn typed(model: InferenceModel) -> Result<TypedModel, String> {
    let model = model.into_typed().map_err(one_line)?;
    let (mut constants, mut products) = (0usize, 0u64);
    for node in &model.nodes {
        for output in &node.outputs {
            let sides = output.fact.shape.as_concrete().unwrap_or_default();
            let elements = sides.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
            let elements = elements
                .filter(|n| *n <= onnx::MAX_ELEMENTS)
                .ok_or_else(|| format!("{}: a result of {sides:?} is too large", clean(&node.name)))?;
            if output.fact.konst.is_some() {
                constants = constants
                    .checked_add(elements)
                    .filter(|all| *all <= MAX_CONSTANTS)
                    .ok_or("its constants are too large together")?;
            }
        }
        let inputs = model.node_input_facts(node.id).map_err(one_line)?;
        if is_window(node) && inputs.iter().any(|fact| fact.shape.volume() == 0.to_dim()) {
            // Its addresses are computed without a look at whether there is anything to read.
            return Err(format!("{}: an input of it is empty", clean(&node.name)));
        }
        let costs = node.op.cost(&inputs).unwrap_or_default();
        let own = costs.iter().filter(|(cost, _)| cost.is_compute()).map(|(_, n)| n.to_i64());
        products = own
            .filter_map(Result::ok)
            .try_fold(products, |all, own| all.checked_add(u64::try_from(own).ok()?))
            .filter(|all| *all <= MAX_PRODUCTS)
            .ok_or_else(|| format!("{}: it computes too much for one picture", clean(&node.name)))?;
    }
    Ok(model)
}

fn is_window(node: &TypedNode) -> bool {
    node.op_is::<Conv>() || node.op_is::<Deconv>() || node.op_is::<MaxPool>() || node.op_is::<SumPool>()
}

/// The names and shapes of a model's outputs.
///
/// # Errors
/// One has no fixed shape, or is not f32.
pub(crate) fn outputs(model: &TypedModel, names: Vec<String>) -> Result<Vec<OutputInfo>, String> {
    let mut outputs = Vec::with_capacity(names.len());
    for (n, name) in names.into_iter().enumerate() {
        let fact = model.output_fact(n).map_err(one_line)?;
        let shape = fact.shape.as_concrete().ok_or_else(|| format!("output {name} has no fixed shape"))?;
        if fact.datum_type != f32::datum_type() {
            return Err(format!("output {name} holds {:?} where f32 is expected", fact.datum_type));
        }
        outputs.push(OutputInfo { name, shape: shape.to_vec() });
    }
    Ok(outputs)
}

/// A model that is ready to run: weights and plan. Cloning it clones a handle.
#[derive(Clone)]
pub(crate) struct Plan {
    plan: Arc<TypedSimplePlan>,
    input_shape: [usize; 4],
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").finish_non_exhaustive()
    }
}

impl Plan {
    /// Loads a decoded model, folded to f32.
    ///
    /// # Errors
    /// On one line: the file is not valid, is not supported, or has another input than `input` says.
    pub(crate) fn load(mut proto: ModelProto, input: &InputSpec) -> Result<(Self, Vec<OutputInfo>), String> {
        onnx::fold::fold(&mut proto);
        let names = check_io(&proto, input)?;
        let model = typed(parse(proto, input)?)?.into_optimized().map_err(one_line)?;
        let outputs = outputs(&model, names)?;
        let plan = TypedSimplePlan::new(model).map_err(one_line)?;
        Ok((Plan { plan, input_shape: input.shape }, outputs))
    }

    /// A session on this model, for one thread.
    ///
    /// # Errors
    /// Tract refuses, or there is no memory for the input.
    pub(crate) fn session(&self) -> Result<PlanSession, String> {
        let state = TypedSimpleState::new(&self.plan).map_err(one_line)?;
        Ok(PlanSession { state, input: self.new_input()?, outputs: TVec::new(), plan: self.clone() })
    }

    fn new_input(&self) -> Result<Arc<Tensor>, String> {
        Ok(Arc::new(Tensor::zero::<f32>(&self.input_shape).map_err(one_line)?))
    }
}

/// What one thread needs to run a model again and again.
pub(crate) struct PlanSession {
    plan: Plan,
    state: TypedSimpleState,
    input: Arc<Tensor>,
    outputs: TVec<TValue>,
}

impl std::fmt::Debug for PlanSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanSession").finish_non_exhaustive()
    }
}

impl PlanSession {
    /// Lets `write` fill the model's input, before [`Self::run`]. The input keeps what was written before.
    ///
    /// # Errors
    /// The backend refuses.
    pub(crate) fn fill<R>(&mut self, write: impl FnOnce(&mut [f32]) -> R) -> Result<R, String> {
        if Arc::get_mut(&mut self.input).is_none() {
            // The backend kept the tensor: it may after a failed run.
            self.input = self.plan.new_input()?;
        }
        let tensor = Arc::get_mut(&mut self.input).ok_or("the input is shared")?;
        let mut view = tensor.try_as_plain_ram_mut().map_err(one_line)?;
        Ok(write(view.as_slice_mut::<f32>().map_err(one_line)?))
    }

    /// Runs the model on what was written to [`Self::fill`].
    ///
    /// # Errors
    /// The backend failed; the next run may work.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        self.outputs.clear();
        let (state, input) = (&mut self.state, self.input.clone());
        let ran = caught("running", || state.run(tvec!(input.into_tvalue())).map_err(one_line));
        match ran {
            Ok(outputs) => self.outputs = outputs,
            Err(problem) => {
                // A state that was left in the middle of a run is not to be trusted.
                self.state = TypedSimpleState::new(&self.plan.plan).map_err(one_line)?;
                return Err(problem);
            }
        }
        Ok(())
    }

    /// The values of output `n` of the last run, in row-major order. Empty if there is no such output.
    pub(crate) fn output(&self, n: usize) -> &[f32] {
        self.outputs
            .get(n)
            .and_then(|value| value.as_plain_ram())
            .and_then(|view| view.as_slice::<f32>().ok())
            .unwrap_or_default()
    }
}

pub(crate) fn one_line(error: TractError) -> String {
    clean(&format!("{error:#}"))
}

pub(crate) fn clean(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    line.trim().to_owned()
}
