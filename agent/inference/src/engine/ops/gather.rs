//! `Gather`: rows of a table, as an embedding has them, or places of an axis.

use aimass_kernels::{Image, Kernels};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::array::{Gather as GatherOp, GatherNd};

use crate::engine::arena::Buffer;
use crate::engine::compile::Compiler;
use crate::engine::constant::Constant;
use crate::engine::step::{Memory, Step, ensure, kernel_error};
use crate::engine::value::{BufferId, Value};
use crate::engine::weights::{Integers, QuantWeights};

/// `Gather` along one axis.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let (Some(op), [data, indices]) = (node.op_as::<GatherOp>(), &node.inputs[..]) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let (Some(from), Some(_), Some(_)) =
        (compiler.shape(*data), compiler.shape(*indices), compiler.shape(outlet))
    else {
        return Ok(false);
    };
    if !compiler.is_f32(outlet) || !compiler.is_f32(*data) || op.axis >= from.len() {
        return Ok(false);
    }
    // Rows stay 8-bit integers until they are wanted.
    let quantised = match compiler.value(*data) {
        Some(Value::Weights(weights)) if op.axis == 0 => Quantised::of(weights),
        _ => None,
    };
    let table = match compiler.value(*data) {
        _ if quantised.is_some() => quantised.map(Table::Quantised).ok_or("a table is gone")?,
        Some(Value::Const(_) | Value::Weights(_)) => {
            let values = compiler.floats(*data).ok_or("a table holds no numbers")?;
            Table::Floats { constant: Constant::values(values), values: Vec::new() }
        }
        _ => Table::Computed(compiler.flat(*data)?),
    };
    let indices = compiler.flat(*indices)?;
    let output = compiler.flat_buffer(outlet)?;
    let places = from[op.axis];
    let (outer, inner) = (from[..op.axis].iter().product(), from[op.axis + 1..].iter().product());
    compiler.emit(Gather { table, indices, output, outer, places, inner });
    compiler.set_flat(outlet, output);
    Ok(true)
}

/// `GatherND` by indices that are known now.
pub(in crate::engine) fn constant_places(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
) -> Result<bool, String> {
    let (Some(op), &[data, indices]) = (node.op_as::<GatherNd>(), &node.inputs[..]) else { return Ok(false) };
    let outlet = OutletId::new(node.id, 0);
    let is_flat = matches!(compiler.value(data), Some(Value::Flat(_)));
    let (Some(from), Some(of_indices), Some(_)) =
        (compiler.shape(data), compiler.shape(indices), compiler.shape(outlet))
    else {
        return Ok(false);
    };
    let depth = of_indices.last().copied().unwrap_or_default();
    if op.batch_dims != 0 || !is_flat || depth == 0 || depth > from.len() || !compiler.is_constant(indices) {
        return Ok(false);
    }
    let Some(values) = compiler.floats(indices) else { return Ok(false) };
    // Above that a place is no exact f32.
    if from[..depth].iter().product::<usize>() > 1 << 24 {
        return Ok(false);
    }
    let mut places = Vec::with_capacity(values.len() / depth);
    for index in values.chunks_exact(depth) {
        let mut place = 0.0;
        for (at, size) in index.iter().zip(&from) {
            if !(-(*size as f32)..*size as f32).contains(at) {
                return Ok(false);
            }
            place = place * *size as f32 + if *at < 0.0 { at + *size as f32 } else { *at };
        }
        places.push(place);
    }
    let table = Table::Computed(compiler.flat(data)?);
    let indices = compiler.constant_buffer(places);
    let output = compiler.flat_buffer(outlet)?;
    let (places, inner) = (from[..depth].iter().product(), from[depth..].iter().product());
    compiler.emit(Gather { table, indices, output, outer: 1, places, inner });
    compiler.set_flat(outlet, output);
    Ok(true)
}

#[derive(Debug, Serialize, Deserialize)]
enum Table {
    Floats {
        constant: Constant,
        /// What it holds, once it was prepared.
        #[serde(skip)]
        values: Vec<f32>,
    },
    Quantised(Quantised),
    Computed(BufferId),
}

/// Rows of 8-bit integers.
#[derive(Debug, Serialize, Deserialize)]
struct Quantised {
    constant: Constant,
    /// What stands for 0 and a step, one or one for each place of an axis.
    zeros: Vec<i32>,
    scales: Vec<f32>,
    /// How many values there are for each place of that axis.
    inner: usize,
    /// The integers, once they were prepared.
    #[serde(skip)]
    values: Vec<i8>,
}

impl Quantised {
    fn of(weights: &std::sync::Arc<QuantWeights>) -> Option<Self> {
        let shift = if matches!(weights.values, Integers::U8(_)) { 128 } else { 0 };
        Some(Quantised {
            constant: Constant::shifted(weights.clone())?,
            zeros: weights.zeros.iter().map(|zero| zero.wrapping_sub(shift)).collect(),
            scales: weights.scales.clone(),
            inner: weights.dims.get(weights.axis + 1..).map_or(1, |d| d.iter().product::<usize>().max(1)),
            values: Vec::new(),
        })
    }

    /// The values of a row; `None` if there is no such row.
    fn row(&self, at: usize, to: &mut [f32]) -> Option<()> {
        let start = at.checked_mul(to.len())?;
        let values = self.values.get(start..start.checked_add(to.len())?)?;
        let count = self.scales.len();
        for (n, (to, value)) in to.iter_mut().zip(values).enumerate() {
            let place = if count == 1 { 0 } else { (start + n) / self.inner % count };
            *to = i32::from(*value).wrapping_sub(self.zeros[place]) as f32 * self.scales[place];
        }
        Some(())
    }
}

/// Some places of an axis.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Gather {
    table: Table,
    indices: BufferId,
    output: BufferId,
    outer: usize,
    places: usize,
    inner: usize,
}

impl Gather {
    /// Which place an index means: from the end, if it is below 0.
    fn place(&self, index: f32) -> Result<usize, String> {
        let at = if index < 0.0 { index + self.places as f32 } else { index };
        if at >= 0.0 && at < self.places as f32 {
            return Ok(at as usize);
        }
        Err(format!("the index {index} is none of an axis of {} places", self.places))
    }

    /// Copies rows; `row` writes one.
    fn copy(
        &self,
        indices: &[f32],
        output: &mut [f32],
        row: impl Fn(usize, &mut [f32]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rows = output.chunks_exact_mut(self.inner);
        for outer in 0..self.outer {
            for index in indices {
                let to = rows.next().ok_or("more rows are gathered than there is room for")?;
                row(outer * self.places + self.place(*index)?, to)?;
            }
        }
        Ok(())
    }
}

impl Step for Gather {
    fn kind(&self) -> String {
        match self.table {
            Table::Quantised(_) => "gather int8".into(),
            _ => "gather f32".into(),
        }
    }

    fn reads(&self) -> Vec<BufferId> {
        match self.table {
            Table::Computed(table) => vec![self.indices, table],
            _ => vec![self.indices],
        }
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn constants(&mut self) -> Vec<&mut Constant> {
        match &mut self.table {
            Table::Floats { constant, .. } | Table::Quantised(Quantised { constant, .. }) => vec![constant],
            Table::Computed(_) => Vec::new(),
        }
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let (indices, to) = (&buffers[self.indices.0], &buffers[self.output.0]);
        let size =
            |places: usize| self.outer.checked_mul(places).and_then(|rows| rows.checked_mul(self.inner));
        // The second so that no row's place is beyond all numbers.
        let fits = indices.is_flat()
            && to.is_flat()
            && self.inner > 0
            && size(indices.channels) == Some(to.channels)
            && size(self.places).is_some();
        let table = match &self.table {
            Table::Quantised(Quantised { zeros, scales, inner, .. }) => {
                !scales.is_empty() && zeros.len() == scales.len() && *inner > 0
            }
            Table::Computed(id) => buffers[id.0].is_flat(),
            Table::Floats { .. } => true,
        };
        ensure(fits && table, "rows do not fill the numbers")
    }

    fn prepare(&mut self, _: Kernels, _: &[Image]) -> Result<(), String> {
        match &mut self.table {
            Table::Floats { constant, values } => *values = constant.take().as_floats()?.into_owned(),
            Table::Quantised(table) => table.values = table.constant.take().as_signed()?.into_owned(),
            Table::Computed(_) => {}
        }
        Ok(())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let indices: Image = memory.image(self.indices);
        let computed = match self.table {
            Table::Computed(id) => Some(memory.image(id)),
            _ => None,
        };
        let (inputs, mut output) = memory.write::<f32>(self.output)?;
        let indices = inputs.view::<f32>(&indices).map_err(kernel_error)?;
        let (indices, output) = (indices.pixel(0, 0), output.row_values_mut(0));
        let missing = || "a table is shorter than its shape".to_string();
        let from_floats = |table: &[f32], at: usize, to: &mut [f32]| {
            let row = table.get(at * self.inner..(at + 1) * self.inner).ok_or_else(missing)?;
            to.copy_from_slice(row);
            Ok(())
        };
        match (&self.table, computed) {
            (Table::Quantised(table), _) => {
                self.copy(indices, output, |at, to| table.row(at, to).ok_or_else(missing))
            }
            (Table::Floats { values, .. }, _) => {
                self.copy(indices, output, |at, to| from_floats(values, at, to))
            }
            (Table::Computed(_), image) => {
                let image = image.ok_or_else(missing)?;
                let table = inputs.view::<f32>(&image).map_err(kernel_error)?;
                self.copy(indices, output, |at, to| from_floats(table.pixel(0, 0), at, to))
            }
        }
    }
}
