//! Pools: the greatest or the mean of windows, and of whole pictures.

use aimass_kernels::{Padding, PoolShape, RescaleU8};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer};

use super::epilogue::Epilogue;
use crate::engine::arena::Buffer;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::serialization::kernel_types::{PoolShapeDef, RescaleDef};
use crate::engine::step::{Memory, Step, ensure};
use crate::engine::value::{Affine, BufferId, QuantMap, Value};

/// `MaxPool`, `AveragePool`, and the sum over a whole picture that `GlobalAveragePool` becomes.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let outlet = OutletId::new(node.id, 0);
    let Some(input) = node.inputs.first() else { return Ok(false) };
    let is_f32 = compiler.is_f32(outlet);
    let (Some(to), Some(from), true) = (compiler.map_shape(outlet), compiler.map_shape(*input), is_f32)
    else {
        return Ok(false);
    };
    if let Some(op) = node.op_as::<MaxPool>() {
        let wanted = op.with_index_outputs.is_none();
        return Ok(wanted && greatest(compiler, node, from, to)?);
    }
    if let Some(op) = node.op_as::<SumPool>() {
        let pad = Padding::default();
        let Some(shape) = shape_of(&op.pool_spec, from, pad, op.count_include_pad) else { return Ok(false) };
        let [height, width] = shape.kernel;
        let factor = if op.normalize { 1.0 } else { (height * width) as f32 };
        // A sum over fewer pixels than the window has is no mean times a number.
        if !(op.normalize || op.count_include_pad || shape.padding == [0, 0]) {
            return Ok(false);
        }
        return mean(compiler, node, shape, to, factor);
    }
    let Some(op) = node.op_as::<Reduce>() else { return Ok(false) };
    if op.axes[..] != [2, 3] || [to.height, to.width] != [1, 1] {
        return Ok(false);
    }
    let kernel = [from.height, from.width];
    let shape = PoolShape { kernel, stride: kernel, padding: [0, 0], count_padding: true };
    match op.reducer {
        Reducer::Sum => mean(compiler, node, shape, to, (kernel[0] * kernel[1]) as f32),
        _ => Ok(false),
    }
}

fn shape_of(spec: &PoolSpec, from: MapShape, pad: Padding, count_padding: bool) -> Option<PoolShape> {
    let [height, width] = spec.kernel_shape[..] else { return None };
    if spec.data_format != DataFormat::NCHW || spec.dilation(0) != 1 || spec.dilation(1) != 1 {
        return None;
    }
    let own = spec.computed_padding(&[from.height, from.width]);
    let padding = [own[0].pad_before + pad.top, own[1].pad_before + pad.left];
    let fits = padding[0] < height && padding[1] < width;
    fits.then_some(PoolShape {
        kernel: [height, width],
        stride: [spec.stride(0), spec.stride(1)],
        padding,
        count_padding,
    })
}

fn greatest(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    from: MapShape,
    to: MapShape,
) -> Result<bool, String> {
    let Some(op) = node.op_as::<MaxPool>() else { return Ok(false) };
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    let single_use = compiler.has_single_use(outlet);
    // `from` counts a pad that came before as pixels; windows are cut at the picture itself.
    let none = Padding::default();
    if let Some(Value::Quant(quant)) = compiler.value(input).cloned() {
        let rises = quant.table.windows(2).all(|pair| pair[0] <= pair[1]);
        if let (true, Some(shape)) = (rises, shape_of(&op.pool_spec, from, quant.pad, false)) {
            let output = compiler.new_u8_buffer(to, compiler.buffer(quant.buffer).fill);
            compiler.emit(Pool { kind: Kind::MaxBytes, shape, input: quant.buffer, output });
            compiler.set(outlet, Value::Quant(QuantMap { buffer: output, pad: none, single_use, ..quant }));
            return Ok(true);
        }
    }
    let Some((floats, _)) = compiler.map(input)? else { return Ok(false) };
    let Some(shape) = shape_of(&op.pool_spec, from, floats.pad, false) else { return Ok(false) };
    let output = compiler.new_f32_buffer(to);
    compiler.emit(Pool { kind: Kind::Max, shape, input: floats.buffer, output });
    compiler.set_map(outlet, output);
    Ok(true)
}

/// Means, times a number.
fn mean(
    compiler: &mut Compiler<'_>,
    node: &TypedNode,
    shape: PoolShape,
    to: MapShape,
    factor: f32,
) -> Result<bool, String> {
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    let none = Padding::default();
    if let (Some(Value::Quant(quant)), Some(epilogue)) =
        (compiler.value(input).cloned(), Epilogue::of(compiler, outlet))
        && let Some(Affine { scale, zero }) = quant.affine.filter(|a| (0..=255).contains(&a.zero))
        && quant.pad == none
    {
        let quantiser = epilogue.quantiser;
        let rescale = RescaleU8 {
            zero_point: zero as u8,
            ratio: scale * factor / quantiser.scale,
            output: epilogue.output(),
        };
        let output = epilogue.make_output(compiler, to);
        compiler.emit(Pool { kind: Kind::MeanBytes(rescale), shape, input: quant.buffer, output });
        return Ok(true);
    }
    let Some((floats, _)) = compiler.map(input)? else { return Ok(false) };
    if floats.pad != none {
        return Ok(false);
    }
    let output = compiler.new_f32_buffer(to);
    compiler.emit(Pool { kind: Kind::Mean(factor), shape, input: floats.buffer, output });
    compiler.set_map(outlet, output);
    Ok(true)
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Max,
    MaxBytes,
    /// Times a number.
    Mean(f32),
    MeanBytes(#[serde(with = "RescaleDef")] RescaleU8),
}

/// A pool.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Pool {
    kind: Kind,
    #[serde(with = "PoolShapeDef")]
    shape: PoolShape,
    input: BufferId,
    output: BufferId,
}

impl Step for Pool {
    fn kind(&self) -> String {
        match self.kind {
            Kind::Max => "max pool f32",
            Kind::MaxBytes => "max pool int8",
            Kind::Mean(_) => "mean pool f32",
            Kind::MeanBytes(_) => "mean pool int8",
        }
        .into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, _: &[Buffer]) -> Result<(), String> {
        let PoolShape { kernel, stride, padding, .. } = self.shape;
        let small = [kernel, stride, padding].concat().iter().all(|number| *number <= Buffer::MAX_ELEMENTS);
        ensure(small, "a window is out of all proportion")
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (input, output, shape) = (self.input, self.output, &self.shape);
        match &self.kind {
            Kind::MaxBytes => {
                memory.map(input, output, |kernels, from, to| kernels.max_pool_u8(from, to, shape))
            }
            Kind::MeanBytes(rescale) => memory
                .map(input, output, |kernels, from, to| kernels.average_pool_u8(from, to, shape, rescale)),
            Kind::Max => memory.map(input, output, |kernels, from, to| kernels.max_pool_f32(from, to, shape)),
            Kind::Mean(factor) => memory.map(input, output, |kernels, from, mut to| {
                kernels.average_pool_f32(from, to.reborrow(), shape)?;
                if *factor != 1.0 {
                    for y in to.rows() {
                        to.row_values_mut(y).iter_mut().for_each(|x| *x *= factor);
                    }
                }
                Ok(())
            }),
        }
    }
}
