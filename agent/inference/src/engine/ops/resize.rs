//! `Resize`: the nearest pixel, or straight lines between pixels.

use aimass_kernels::{
    Axis, Coordinates, Dequantise, Image, Kernels, Nearest, Padding, RescaleU8, Resize as Axes,
};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::nn::resize::{CoordTransformer, Interpolator};
use tract_onnx_opl::resize::{AspectRatio, CoordTransform, Nearest as NearestMode, Resize as ResizeOp};

use super::epilogue::Epilogue;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::serialization::kernel_types::{CoordinatesDef, DequantiseDef, NearestDef, RescaleDef};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{Affine, BufferId, QuantMap, Value};

/// `Resize` of pictures across rows and columns.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<ResizeOp>() else { return Ok(false) };
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    let (Some(from), Some(to)) = (compiler.map_shape(input), compiler.map_shape(outlet)) else {
        return Ok(false);
    };
    let Some(count) = count_of(compiler, node, op, from, to) else { return Ok(false) };
    let none = Padding::default();
    let single_use = compiler.has_single_use(outlet);
    let linear = op.interpolator == Interpolator::Linear;
    if let Some(Value::Quant(quant)) = compiler.value(input).cloned()
        && quant.pad == none
    {
        if !linear {
            let output = compiler.new_u8_buffer(to, compiler.buffer(quant.buffer).fill);
            compiler.emit(Resize {
                kind: Kind::NearestBytes,
                count,
                input: quant.buffer,
                output,
                axes: None,
            });
            compiler.set(outlet, Value::Quant(QuantMap { buffer: output, single_use, ..quant }));
            return Ok(true);
        }
        if let Some(Affine { scale, zero }) = quant.affine.filter(|a| (0..=255).contains(&a.zero)) {
            let zero_point = zero as u8;
            let Some(epilogue) = Epilogue::of(compiler, outlet) else {
                let output = compiler.new_f32_buffer(to);
                let kind = Kind::LinearDequantised(Dequantise { scale, zero_point });
                compiler.emit(Resize { kind, count, input: quant.buffer, output, axes: None });
                compiler.set_map(outlet, output);
                return Ok(true);
            };
            let bytes = epilogue.output();
            let ratio = scale / epilogue.quantiser.scale;
            let kind = Kind::LinearBytes(RescaleU8 { zero_point, ratio, output: bytes });
            let output = epilogue.make_output(compiler, to);
            compiler.emit(Resize { kind, count, input: quant.buffer, output, axes: None });
            return Ok(true);
        }
    }
    let Some((floats, _)) = compiler.map(input)? else { return Ok(false) };
    if floats.pad != none {
        return Ok(false);
    }
    let output = compiler.new_f32_buffer(to);
    let kind = if linear { Kind::Linear } else { Kind::Nearest };
    compiler.emit(Resize { kind, count, input: floats.buffer, output, axes: None });
    compiler.set_map(outlet, output);
    Ok(true)
}

/// `None` for what ONNX can say and kernels do not know.
fn count_of(
    compiler: &Compiler<'_>,
    node: &TypedNode,
    op: &ResizeOp,
    from: MapShape,
    to: MapShape,
) -> Option<Count> {
    let coordinates = match &op.coord_transformer {
        CoordTransform::Plain(CoordTransformer::HalfPixel) => Coordinates::HalfPixel,
        CoordTransform::Plain(CoordTransformer::AlignCorners) => Coordinates::AlignCorners,
        CoordTransform::Plain(CoordTransformer::Asymmetric) => Coordinates::Asymmetric,
        _ => return None,
    };
    let nearest = match op.nearest {
        NearestMode::Floor => Nearest::Floor,
        NearestMode::Ceil => Nearest::Ceil,
        NearestMode::RoundPreferFloor => Nearest::RoundPreferFloor,
        NearestMode::RoundPreferCeil => Nearest::RoundPreferCeil,
    };
    let plain = !op.antialias && !op.exclude_outside && op.keep_aspect_ratio_policy == AspectRatio::Stretch;
    if !plain || op.axes.is_some() || from.channels != to.channels || op.interpolator == Interpolator::Cubic {
        return None;
    }
    let given = op.optional_scales_input.and_then(|n| compiler.floats(*node.inputs.get(n)?));
    let given = given.filter(|scales| scales.len() == 4);
    let scale = |axis: usize, from: usize, to: usize| match &given {
        Some(scales) => scales[axis],
        None => to as f32 / from as f32,
    };
    let scales = [scale(2, from.height, to.height), scale(3, from.width, to.width)];
    Some(Count { coordinates, nearest, scales })
}

/// How coordinates are counted.
#[derive(Debug, Serialize, Deserialize)]
struct Count {
    #[serde(with = "CoordinatesDef")]
    coordinates: Coordinates,
    #[serde(with = "NearestDef")]
    nearest: Nearest,
    /// Down, across.
    scales: [f32; 2],
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Nearest,
    NearestBytes,
    Linear,
    LinearBytes(#[serde(with = "RescaleDef")] RescaleU8),
    LinearDequantised(#[serde(with = "DequantiseDef")] Dequantise),
}

/// A resize.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Resize {
    kind: Kind,
    count: Count,
    input: BufferId,
    output: BufferId,
    /// Made when the buffers have their places.
    #[serde(skip)]
    axes: Option<Axes>,
}

impl Step for Resize {
    fn kind(&self) -> String {
        match self.kind {
            Kind::Nearest => "resize nearest f32",
            Kind::NearestBytes => "resize nearest int8",
            Kind::Linear => "resize linear f32",
            Kind::LinearBytes(_) | Kind::LinearDequantised(_) => "resize linear int8",
        }
        .into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn prepare(&mut self, _: Kernels, images: &[Image]) -> Result<(), String> {
        let (from, to) = (&images[self.input.0], &images[self.output.0]);
        let Count { coordinates, nearest, scales } = self.count;
        let axis = |from: usize, to: usize, scale: f32| match self.kind {
            Kind::Nearest | Kind::NearestBytes => Axis::nearest(coordinates, nearest, from, to, scale),
            _ => Axis::linear(coordinates, from, to, scale),
        };
        let (rows, columns) =
            (axis(from.height, to.height, scales[0]), axis(from.width, to.width, scales[1]));
        self.axes = Some(Axes { rows, columns });
        Ok(())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let axes = self.axes.as_ref().ok_or("a resize was not prepared")?;
        let (input, output) = (self.input, self.output);
        match &self.kind {
            Kind::Nearest => memory
                .map::<f32, _>(input, output, |kernels, from, to| kernels.resize_nearest(from, to, axes)),
            Kind::NearestBytes => {
                memory.map::<u8, _>(input, output, |kernels, from, to| kernels.resize_nearest(from, to, axes))
            }
            Kind::Linear => {
                memory.map(input, output, |kernels, from, to| kernels.resize_linear_f32(from, to, axes))
            }
            Kind::LinearBytes(rescale) => memory
                .map(input, output, |kernels, from, to| kernels.resize_linear_u8(from, to, axes, rescale)),
            Kind::LinearDequantised(dequantise) => memory.map(input, output, |kernels, from, to| {
                kernels.resize_linear_u8_to_f32(from, to, axes, dequantise)
            }),
        }
    }
}
