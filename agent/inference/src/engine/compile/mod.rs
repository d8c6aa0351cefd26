//! From tract's typed graph to a plan: one walk over the nodes in the order of evaluation.
//!
//! Each operator has a rule in [`RULES`]; a rule looks at a node and the values before it, adds steps, and says what
//! the node's outputs are. A node that no rule takes runs in tract, by itself ([`super::fallback`]).
//!
//! Invariant: when a node is looked at, all its inputs have a value.

mod convert;

use std::collections::HashMap;
use std::sync::Arc;

use aimass_kernels::Padding;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{Datum, OutletId, Tensor, TypedModel};
use tract_onnx::tract_core::internal::{IntoArcTensor, IntoTValue, TVec, TypedNode};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::konst::Const;

use super::any_step::AnyStep;
use super::arena::{Buffer, Element};
use super::fallback;
use super::ops;
use super::value::{BufferId, Flat, FloatMap, Order, QuantMap, Slot, Value};
use super::weights::ExtractedWeights;

/// How many nodes in a row make a constant, at most: a file may hold a chain that is longer than the stack.
const CONSTANT_DEPTH: usize = 64;

/// Looks at a node. `Ok(true)`: its outputs have values now. `Ok(false)`: it is for the next rule.
pub(super) type Rule = fn(&mut Compiler<'_>, &TypedNode) -> Result<bool, String>;

/// The rules, in the order in which they are asked. To teach the engine an operator: write `ops/<name>.rs` with its
/// rule and its step, and add a line here.
const RULES: &[Rule] = &[
    ops::quantise::quantise,
    ops::quantise::dequantise,
    ops::conv_u8::rule,
    ops::conv_f32::rule,
    ops::conv_transpose::rule,
    ops::prelu::rule,
    ops::patterns::gelu,
    ops::patterns::hard_swish,
    ops::patterns::guard,
    ops::unary::cast,
    ops::unary::rule,
    ops::binary::rule,
    ops::broadcast::binary,
    ops::broadcast::select,
    ops::broadcast::expand,
    ops::matmul::rule,
    ops::gather::rule,
    ops::gather::constant_places,
    ops::axes::identity,
    ops::axes::rule,
    ops::concat::rule,
    ops::pad::axis,
    ops::pad::rule,
    ops::pool::rule,
    ops::row_ops::softmax,
    ops::row_ops::layer_norm,
    ops::row_ops::reduce,
    ops::resize::rule,
    ops::slice::rule,
];

/// Rows, columns and channels of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MapShape {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

/// What the walk leaves behind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Draft {
    pub(super) steps: Vec<AnyStep>,
    pub(super) buffers: Vec<Buffer>,
    pub(super) tensors: usize,
    pub(super) input: BufferId,
    pub(super) outputs: Vec<BufferId>,
    /// Nodes of the graph that no rule took, by operator.
    pub(super) fallbacks: usize,
}

/// The walk.
pub(super) struct Compiler<'m> {
    model: &'m TypedModel,
    outputs: Vec<OutletId>,
    values: HashMap<OutletId, Value>,
    /// Other forms of values, made on demand.
    flats: HashMap<OutletId, BufferId>,
    maps: HashMap<OutletId, BufferId>,
    slots: HashMap<OutletId, Slot>,
    /// Bytes of values that are quantised as the model runs, and where their scale and zero point are.
    quantised: HashMap<OutletId, (BufferId, BufferId)>,
    steps: Vec<AnyStep>,
    buffers: Vec<Buffer>,
    tensors: usize,
    fallbacks: usize,
}

/// Compiles the model, whose only real input is called `input`.
///
/// # Errors
/// The graph has shapes that are not fixed, or a node fails in tract too.
pub(super) fn compile(model: &TypedModel, taken: &ExtractedWeights, input: &str) -> Result<Draft, String> {
    let outputs = model.output_outlets().map_err(|e| e.to_string())?.to_vec();
    let mut compiler = Compiler {
        model,
        outputs: outputs.clone(),
        values: HashMap::new(),
        flats: HashMap::new(),
        maps: HashMap::new(),
        slots: HashMap::new(),
        quantised: HashMap::new(),
        steps: Vec::new(),
        buffers: Vec::new(),
        tensors: 0,
        fallbacks: 0,
    };
    let mut input_buffer = None;
    for id in model.eval_order().map_err(|e| e.to_string())? {
        let node = model.node(id);
        if node.op.name() == "Source" {
            let value = match taken.get(&node.name) {
                Some(weights) => Value::Weights(weights.clone()),
                None if node.name == input && input_buffer.is_none() => {
                    let buffer = compiler.flat_buffer(OutletId::new(id, 0))?;
                    compiler.buffers[buffer.0].keep = true;
                    input_buffer = Some(buffer);
                    Value::Flat(Flat { buffer, order: Order::RowMajor, single_use: false })
                }
                None => return Err(format!("has the input \"{}\" besides \"{input}\"", node.name)),
            };
            compiler.values.insert(OutletId::new(id, 0), value);
            continue;
        }
        compiler
            .node(node)
            .map_err(|problem| format!("node \"{}\" ({}): {problem}", node.name, node.op.name()))?;
    }
    let input = input_buffer.ok_or_else(|| format!("never uses its input \"{input}\""))?;
    let mut buffers = Vec::new();
    for outlet in outputs {
        let buffer = compiler.flat(outlet)?;
        compiler.buffers[buffer.0].keep = true;
        buffers.push(buffer);
    }
    let Compiler { steps, buffers: all, tensors, fallbacks, .. } = compiler;
    Ok(Draft { steps, buffers: all, tensors, input, outputs: buffers, fallbacks })
}

impl<'m> Compiler<'m> {
    fn node(&mut self, node: &TypedNode) -> Result<(), String> {
        if self.values.contains_key(&OutletId::new(node.id, 0)) {
            return Ok(());
        }
        if self.fold_constant(node)? {
            return Ok(());
        }
        for rule in RULES {
            if rule(self, node)? {
                return Ok(());
            }
        }
        self.fallbacks += 1;
        fallback::add(self, node)
    }

    /// Nodes whose outputs are known now.
    fn fold_constant(&mut self, node: &TypedNode) -> Result<bool, String> {
        let outlet = OutletId::new(node.id, 0);
        if let Some(constant) = node.op_as::<Const>() {
            self.values.insert(outlet, Value::Const(constant.val().clone()));
            return Ok(true);
        }
        if let Some(constant) = &node.outputs[0].fact.konst {
            self.values.insert(outlet, Value::Const(constant.clone()));
            return Ok(true);
        }
        // A bias is taken out of the file like weights, and then goes through a cast to its own type.
        if let [input] = node.inputs[..]
            && node.op_as::<Cast>().is_some_and(|cast| cast.to == f32::datum_type())
            && let Some(Value::Weights(weights)) = self.values.get(&input)
        {
            let weights = weights.clone();
            self.values.insert(outlet, Value::Weights(weights));
            return Ok(true);
        }
        let constants: Option<Vec<Arc<Tensor>>> =
            node.inputs.iter().map(|input| self.constant(*input)).collect();
        let Some(constants) = constants.filter(|c| !c.is_empty()) else { return Ok(false) };
        let inputs: TVec<_> = constants.into_iter().map(IntoTValue::into_tvalue).collect();
        let made = node.op.eval_out_of_plan(inputs).map_err(|e| format!("{e:#}"))?;
        let Some(made) = made else { return Ok(false) };
        for (slot, tensor) in made.into_iter().enumerate() {
            self.values.insert(OutletId::new(node.id, slot), Value::Const(tensor.into_arc_tensor()));
        }
        Ok(true)
    }

    /// A value that is known now, as a tensor.
    pub(super) fn constant(&self, outlet: OutletId) -> Option<Arc<Tensor>> {
        match self.values.get(&outlet)? {
            Value::Const(tensor) => Some(tensor.clone()),
            Value::Weights(weights) => weights.to_tensor().ok().map(Arc::new),
            _ => None,
        }
    }

    /// The one number that a constant holds, however often it holds it.
    pub(super) fn scalar(&self, outlet: OutletId) -> Option<f32> {
        let Some(Value::Const(tensor)) = self.values.get(&outlet) else { return None };
        let uniform = if tensor.len() == 1 { None } else { Some(tensor.as_uniform()?) };
        uniform.as_ref().unwrap_or(tensor).cast_to_scalar::<f32>().ok()
    }

    /// The numbers of a constant.
    pub(super) fn floats(&self, outlet: OutletId) -> Option<Vec<f32>> {
        let tensor = self.constant(outlet)?;
        let tensor = tensor.cast_to::<f32>().ok()?;
        let view = tensor.as_plain_ram()?;
        Some(view.as_slice::<f32>().ok()?.to_vec())
    }

    /// The numbers of a value that is a constant, or will be as soon as the nodes before it are looked at.
    ///
    /// # Errors
    /// A node fails in tract.
    pub(super) fn constant_now(&mut self, outlet: OutletId) -> Result<Option<Vec<f32>>, String> {
        self.constant_within(outlet, CONSTANT_DEPTH)
    }

    fn constant_within(&mut self, outlet: OutletId, depth: usize) -> Result<Option<Vec<f32>>, String> {
        if !self.values.contains_key(&outlet) {
            let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
            let node = self.model.node(outlet.node);
            for input in &node.inputs {
                if self.constant_within(*input, depth)?.is_none() {
                    return Ok(None);
                }
            }
            if node.op.name() == "Source" || !self.fold_constant(node)? {
                return Ok(None);
            }
        }
        Ok(self.floats(outlet))
    }

    pub(super) fn is_constant(&self, outlet: OutletId) -> bool {
        matches!(self.values.get(&outlet), Some(Value::Const(_) | Value::Weights(_)))
    }

    pub(super) fn value(&self, outlet: OutletId) -> Option<&Value> {
        self.values.get(&outlet)
    }

    pub(super) fn set(&mut self, outlet: OutletId, value: Value) {
        self.values.insert(outlet, value);
    }

    /// Sets a value to contiguous f32 in row-major order, held by `buffer`.
    pub(super) fn set_flat(&mut self, outlet: OutletId, buffer: BufferId) {
        let single_use = self.has_single_use(outlet);
        self.set(outlet, Value::Flat(Flat { buffer, order: Order::RowMajor, single_use }));
    }

    /// Sets a value to an f32 feature map without pending padding, held by `buffer`.
    pub(super) fn set_map(&mut self, outlet: OutletId, buffer: BufferId) {
        let single_use = self.has_single_use(outlet);
        self.set(outlet, Value::Floats(FloatMap { buffer, pad: Padding::default(), single_use }));
    }

    /// Makes `outlet` another name of `value`, which keeps being fusable only if both names have a single use.
    pub(super) fn set_alias(&mut self, outlet: OutletId, value: Value) {
        let single_use = self.has_single_use(outlet);
        let value = match value {
            Value::Quant(map) => Value::Quant(QuantMap { single_use: map.single_use && single_use, ..map }),
            Value::Floats(map) => Value::Floats(FloatMap { single_use: map.single_use && single_use, ..map }),
            Value::Flat(flat) => Value::Flat(Flat { single_use: flat.single_use && single_use, ..flat }),
            other => other,
        };
        self.set(outlet, value);
    }

    pub(super) fn model(&self) -> &'m TypedModel {
        self.model
    }

    pub(super) fn is_f32(&self, outlet: OutletId) -> bool {
        self.model.outlet_fact(outlet).is_ok_and(|fact| fact.datum_type == f32::datum_type())
    }

    /// The shape of a value, if it is fixed.
    pub(super) fn shape(&self, outlet: OutletId) -> Option<Vec<usize>> {
        let shape = self.model.outlet_fact(outlet).ok()?.shape.as_concrete()?.to_vec();
        let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        (1..=Buffer::MAX_ELEMENTS).contains(&elements).then_some(shape)
    }

    /// The shape of a value that is one picture.
    pub(super) fn map_shape(&self, outlet: OutletId) -> Option<MapShape> {
        match self.shape(outlet)?[..] {
            [1, channels, height, width] => Some(MapShape { height, width, channels }),
            _ => None,
        }
    }

    /// The shape of a value that is one picture, or one row of pixels, as convolutions along one axis have it.
    pub(super) fn rows_shape(&self, outlet: OutletId) -> Option<MapShape> {
        match self.shape(outlet)?[..] {
            [1, channels, width] => Some(MapShape { height: 1, width, channels }),
            _ => self.map_shape(outlet),
        }
    }

    /// The only node that uses a value, unless it is an output of the model.
    pub(super) fn single_consumer(&self, outlet: OutletId) -> Option<&'m TypedNode> {
        let successors = &self.model.node(outlet.node).outputs[outlet.slot].successors;
        match successors[..] {
            [inlet] if !self.outputs.contains(&outlet) => Some(self.model.node(inlet.node)),
            _ => None,
        }
    }

    pub(super) fn is_output(&self, outlet: OutletId) -> bool {
        self.outputs.contains(&outlet)
    }

    pub(super) fn has_single_use(&self, outlet: OutletId) -> bool {
        self.single_consumer(outlet).is_some()
    }

    /// Whether all that is made of a quantised buffer goes, by tables, into the node that is looked at now.
    pub(super) fn is_consumed_by(&self, buffer: BufferId, node: usize) -> bool {
        let of_buffer = |outlet: &OutletId| matches!(self.values.get(outlet), Some(Value::Quant(quant)) if quant.buffer == buffer);
        self.values.keys().filter(|outlet| of_buffer(outlet) && outlet.node != node).all(|outlet| {
            let successors = &self.model.node(outlet.node).outputs[outlet.slot].successors;
            let within = |next: usize| next == node || of_buffer(&OutletId::new(next, 0));
            !self.is_output(*outlet) && successors.iter().all(|inlet| within(inlet.node))
        })
    }

    /// Adds a step, which has written the buffers that were made since the last one.
    pub(super) fn emit(&mut self, step: impl Into<AnyStep>) {
        self.steps.push(step.into());
    }

    /// The step that writes a buffer.
    pub(super) fn producer(&mut self, BufferId(id): BufferId) -> Option<&mut AnyStep> {
        let producer = self.buffers[id].producer;
        self.steps.get_mut(producer)
    }

    pub(super) fn new_u8_buffer(&mut self, shape: MapShape, zero: u8) -> BufferId {
        self.new_buffer(shape, Element::Byte, zero)
    }

    pub(super) fn new_f32_buffer(&mut self, shape: MapShape) -> BufferId {
        self.new_buffer(shape, Element::Float, 0)
    }

    /// A buffer for a value, without gaps.
    pub(super) fn flat_buffer(&mut self, outlet: OutletId) -> Result<BufferId, String> {
        let shape = self.shape(outlet).ok_or("a shape is not fixed, empty, or out of all proportion")?;
        let channels = shape.iter().product();
        Ok(self.new_f32_buffer(MapShape { height: 1, width: 1, channels }))
    }

    fn new_buffer(
        &mut self,
        MapShape { height, width, channels }: MapShape,
        element: Element,
        fill: u8,
    ) -> BufferId {
        self.buffers.push(Buffer {
            element,
            height,
            width,
            channels,
            padding: Padding::default(),
            fill,
            producer: self.steps.len(),
            keep: false,
            content: None,
        });
        BufferId(self.buffers.len() - 1)
    }

    /// A buffer that holds numbers which are known now.
    pub(super) fn constant_buffer(&mut self, content: Vec<f32>) -> BufferId {
        let id = self.new_f32_buffer(MapShape { height: 1, width: 1, channels: content.len().max(1) });
        let buffer = &mut self.buffers[id.0];
        buffer.keep = true;
        buffer.content = Some(content.into());
        id
    }

    pub(super) fn buffer(&self, BufferId(id): BufferId) -> &Buffer {
        &self.buffers[id]
    }

    pub(super) fn buffer_mut(&mut self, BufferId(id): BufferId) -> &mut Buffer {
        &mut self.buffers[id]
    }

    /// Makes a buffer's padding at least this large.
    pub(super) fn require_padding(&mut self, BufferId(id): BufferId, padding: Padding) {
        let buffer = &mut self.buffers[id];
        buffer.padding = buffer.padding.union(padding);
    }

    pub(super) fn new_slot(&mut self) -> Slot {
        self.tensors += 1;
        Slot(self.tensors - 1)
    }
}
