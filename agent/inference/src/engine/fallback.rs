//! Nodes that the engine has no rule for: each becomes an optimised plan of tract, with conversion at its borders.
//!
//! Invariant: what runs here is counted under its operator, so that `models bench -v` can tell what a rule would gain.

use std::sync::Arc;

use tract_onnx::prelude::{OutletId, TVec, TypedModel, tvec};
use tract_onnx::tract_core::internal::{SpecialOps, TypedNode, TypedSimplePlan};

use super::compile::Compiler;
use super::step::{Memory, Step};
use super::value::{BufferId, Slot, Value};

/// A node in tract.
pub(super) struct Fallback {
    operator: String,
    plan: Arc<TypedSimplePlan>,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
}

impl std::fmt::Debug for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fallback").field("operator", &self.operator).finish_non_exhaustive()
    }
}

/// Gives the node to tract.
///
/// # Errors
/// Tract refuses it too, or a value that it needs cannot be handed over.
pub(super) fn add(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<(), String> {
    let one_line = |e: tract_onnx::prelude::TractError| format!("{e:#}");
    let mut model = TypedModel { symbols: compiler.model().symbols.clone(), ..TypedModel::default() };
    let (mut wires, mut inputs): (TVec<OutletId>, _) = (tvec![], Vec::new());
    for (n, outlet) in node.inputs.iter().enumerate() {
        let wire = if let Some(constant) = compiler.constant(*outlet) {
            model.add_const(format!("constant {n}"), constant)
        } else {
            let fact = compiler.model().outlet_fact(*outlet).map_err(one_line)?.without_value();
            inputs.push(compiler.slot(*outlet)?);
            model.add_source(format!("input {n}"), fact)
        };
        wires.push(wire.map_err(one_line)?);
    }
    let outlets = model.wire_node(&node.name, node.op.clone(), &wires).map_err(one_line)?;
    model.select_output_outlets(&outlets).map_err(one_line)?;
    let plan = TypedSimplePlan::new(model.into_optimized().map_err(one_line)?).map_err(one_line)?;
    let mut outputs = Vec::new();
    for slot in 0..outlets.len() {
        let made = compiler.new_slot();
        outputs.push(made);
        compiler.set(OutletId::new(node.id, slot), Value::Tensor(made));
    }
    compiler.emit(Fallback { operator: node.op.name().to_string(), plan, inputs, outputs });
    Ok(())
}

impl Step for Fallback {
    fn kind(&self) -> String {
        format!("tract: {}", self.operator)
    }

    fn reads(&self) -> Vec<BufferId> {
        Vec::new()
    }

    fn writes(&self) -> Vec<BufferId> {
        Vec::new()
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let mut inputs = tvec![];
        for slot in &self.inputs {
            inputs.push(memory.tensor(*slot)?.clone());
        }
        let outputs = self.plan.run(inputs).map_err(|e| format!("{}: {e:#}", self.operator))?;
        for (Slot(slot), value) in self.outputs.iter().zip(outputs) {
            memory.tensors[*slot] = Some(value);
        }
        Ok(())
    }

    fn fallback(&self) -> Option<&str> {
        Some(&self.operator)
    }
}
