//! What follows a value that is made in numbers and at once quantised: bounds, perhaps, and the quantiser.

use aimass_kernels::OutputU8;
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::binary::TypedBinOp;

use super::quantise::Quantiser;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::value::{BufferId, Value};

/// Bounds and the quantiser that a step takes over from the nodes after it.
#[derive(Debug)]
pub(super) struct Epilogue {
    pub(super) quantiser: Quantiser,
    /// Least and greatest byte.
    pub(super) bounds: (u8, u8),
    /// The quantiser's output.
    outlet: OutletId,
    absorbed: Vec<OutletId>,
}

/// The least and the greatest number that can come.
#[derive(Debug, Clone, Copy)]
struct Limits {
    low: f32,
    high: f32,
}

impl Limits {
    const NONE: Limits = Limits { low: f32::NEG_INFINITY, high: f32::INFINITY };

    /// These, and then those of a node that is one side of a clip.
    fn through(self, compiler: &Compiler<'_>, node: &TypedNode, input: OutletId) -> Option<Self> {
        let name = node.op_as::<TypedBinOp>()?.0.name();
        let other = node.inputs.iter().find(|other| **other != input)?;
        let constant = compiler.model().outlet_fact(*other).ok()?.konst.clone()?;
        let uniform = if constant.len() == 1 { (*constant).clone() } else { constant.as_uniform()? };
        let bound = uniform.cast_to_scalar::<f32>().ok()?;
        match name {
            "Max" => Some(Limits { low: self.low.max(bound), high: self.high.max(bound) }),
            "Min" => Some(Limits { low: self.low.min(bound), high: self.high.min(bound) }),
            _ => None,
        }
    }
}

impl Epilogue {
    /// What follows `outlet`, if nothing else needs the numbers.
    pub(super) fn of(compiler: &Compiler<'_>, outlet: OutletId) -> Option<Self> {
        let (mut limits, mut outlet, mut absorbed) = (Limits::NONE, outlet, Vec::new());
        // A clip is two nodes; more than a few in a row make no sense.
        for _ in 0..4 {
            let node = compiler.single_consumer(outlet)?;
            absorbed.push(outlet);
            let next = OutletId::new(node.id, 0);
            if let Some(quantiser) = Quantiser::of(compiler, node) {
                let bounds = (quantiser.byte(limits.low), quantiser.byte(limits.high));
                return (bounds.0 <= bounds.1).then_some(Epilogue {
                    quantiser,
                    bounds,
                    outlet: next,
                    absorbed,
                });
            }
            limits = limits.through(compiler, node, outlet)?;
            // A bound that is larger than what it bounds repeats it: another shape, and no clip.
            if compiler.shape(next) != compiler.shape(outlet) {
                return None;
            }
            outlet = next;
        }
        None
    }

    /// How a kernel writes the quantised result.
    pub(super) fn output(&self) -> OutputU8 {
        OutputU8::new(self.quantiser.zero).with_bounds(self.bounds.0, self.bounds.1)
    }

    /// Makes the buffer of the quantised result, and sets the values of all absorbed nodes.
    pub(super) fn make_output(&self, compiler: &mut Compiler<'_>, shape: MapShape) -> BufferId {
        let buffer = compiler.new_u8_buffer(shape, self.quantiser.zero);
        self.take(compiler, buffer);
        buffer
    }

    /// Sets the values of all nodes that the step has now done.
    fn take(&self, compiler: &mut Compiler<'_>, buffer: BufferId) {
        for outlet in &self.absorbed {
            compiler.set(*outlet, Value::Absorbed);
        }
        let single_use = compiler.has_single_use(self.outlet);
        compiler.set(self.outlet, self.quantiser.value(buffer, single_use));
    }
}
