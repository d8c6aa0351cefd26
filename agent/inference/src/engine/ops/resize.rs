//! `Resize`: the nearest pixel, or straight lines between pixels.

use aimass_kernels::{Axis, Coordinates, Dequantise, Halo, Nearest, OutputU8, RescaleU8, Resize as Axes};
use tract_onnx::prelude::OutletId;
use tract_onnx::tract_core::internal::TypedNode;
use tract_onnx::tract_core::ops::nn::resize::{CoordTransformer, Interpolator};
use tract_onnx_opl::resize::{AspectRatio, CoordTransform, Nearest as NearestMode, Resize as ResizeOp};

use super::refused;
use super::tail::Tail;
use crate::engine::compile::{Compiler, MapShape};
use crate::engine::step::{Memory, Step};
use crate::engine::value::{Affine, BufferId, Floats, Quant, Value};

/// `Resize` of pictures across rows and columns.
pub(in crate::engine) fn rule(compiler: &mut Compiler<'_>, node: &TypedNode) -> Result<bool, String> {
    let Some(op) = node.op_as::<ResizeOp>() else { return Ok(false) };
    let (input, outlet) = (node.inputs[0], OutletId::new(node.id, 0));
    let (Some(from), Some(to)) = (compiler.map_shape(input), compiler.map_shape(outlet)) else {
        return Ok(false);
    };
    let Some(axes) = axes_of(compiler, node, op, from, to) else { return Ok(false) };
    let none = Halo::default();
    let sole = compiler.is_sole(outlet);
    let linear = op.interpolator == Interpolator::Linear;
    if let Some(Value::Quant(quant)) = compiler.value(input).cloned()
        && quant.pad == none
    {
        if !linear {
            let output = compiler.new_bytes(to, compiler.buffer(quant.buffer).fill);
            compiler.emit(Resize { kind: Kind::NearestBytes, axes, input: quant.buffer, output });
            compiler.set(outlet, Value::Quant(Quant { buffer: output, sole, ..quant }));
            return Ok(true);
        }
        if let Some(Affine { scale, zero }) = quant.affine.filter(|a| (0..=255).contains(&a.zero)) {
            let zero_point = zero as u8;
            let Some(tail) = Tail::of(compiler, outlet) else {
                let output = compiler.new_floats(to);
                let kind = Kind::LinearDequantised(Dequantise { scale, zero_point });
                compiler.emit(Resize { kind, axes, input: quant.buffer, output });
                compiler.set(outlet, Value::Floats(Floats { buffer: output, pad: none, sole }));
                return Ok(true);
            };
            let bytes = OutputU8::new(tail.quantiser.zero).with_bounds(tail.bounds.0, tail.bounds.1);
            let ratio = scale / tail.quantiser.scale;
            let kind = Kind::LinearBytes(RescaleU8 { zero_point, ratio, output: bytes });
            let output = compiler.new_bytes(to, tail.quantiser.zero);
            tail.take(compiler, output);
            compiler.emit(Resize { kind, axes, input: quant.buffer, output });
            return Ok(true);
        }
    }
    let Some((floats, _)) = compiler.map(input)? else { return Ok(false) };
    if floats.pad != none {
        return Ok(false);
    }
    let output = compiler.new_floats(to);
    let kind = if linear { Kind::Linear } else { Kind::Nearest };
    compiler.emit(Resize { kind, axes, input: floats.buffer, output });
    compiler.set(outlet, Value::Floats(Floats { buffer: output, pad: none, sole }));
    Ok(true)
}

/// `None` for what ONNX can say and kernels do not know.
fn axes_of(
    compiler: &Compiler<'_>,
    node: &TypedNode,
    op: &ResizeOp,
    from: MapShape,
    to: MapShape,
) -> Option<Axes> {
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
    let axis = |axis: usize, from: usize, to: usize| {
        let scale = scale(axis, from, to);
        match op.interpolator {
            Interpolator::Linear => Axis::linear(coordinates, from, to, scale),
            _ => Axis::nearest(coordinates, nearest, from, to, scale),
        }
    };
    Some(Axes { rows: axis(2, from.height, to.height), columns: axis(3, from.width, to.width) })
}

#[derive(Debug)]
enum Kind {
    Nearest,
    NearestBytes,
    Linear,
    LinearBytes(RescaleU8),
    LinearDequantised(Dequantise),
}

/// A resize.
#[derive(Debug)]
struct Resize {
    kind: Kind,
    axes: Axes,
    input: BufferId,
    output: BufferId,
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

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, input, axes) = (memory.kernels, memory.image(self.input), &self.axes);
        if let Kind::NearestBytes | Kind::LinearBytes(_) = &self.kind {
            let (inputs, output) = memory.write::<u8>(self.output)?;
            let view = inputs.view::<u8>(&input).map_err(refused)?;
            return match &self.kind {
                Kind::LinearBytes(rescale) => kernels.resize_linear_u8(view, output, axes, rescale),
                _ => kernels.resize_nearest(view, output, axes),
            }
            .map_err(refused);
        }
        let (inputs, output) = memory.write::<f32>(self.output)?;
        match &self.kind {
            Kind::LinearDequantised(dequantise) => kernels.resize_linear_u8_to_f32(
                inputs.view(&input).map_err(refused)?,
                output,
                axes,
                dequantise,
            ),
            Kind::Linear => kernels.resize_linear_f32(inputs.view(&input).map_err(refused)?, output, axes),
            _ => kernels.resize_nearest::<f32>(inputs.view(&input).map_err(refused)?, output, axes),
        }
        .map_err(refused)
    }
}
