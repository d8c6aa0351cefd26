//! Steps between the forms of a value: pictures with a padding, numbers without gaps, tensors of tract.

use aimass_kernels::{Image, Padding};
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::{Datum, DatumType, IntoTValue, Tensor};

use crate::engine::arena::Buffer;
use crate::engine::compile::MapShape;
use crate::engine::serialization::kernel_types::dequant_table;
use crate::engine::step::{Memory, Step, kernel_error};
use crate::engine::value::{BufferId, DequantTable, Order, Slot};

/// Numbers without gaps as a picture whose channels lie side by side.
pub(super) fn as_map(flat: Image, like: [usize; 3]) -> Image {
    Image::dense(flat.offset, like[0], like[1], like[2], Padding::default())
}

/// Whether numbers without gaps are as many as a picture has.
pub(super) fn check_flat(flat: &Buffer, shape: [usize; 3]) -> Result<(), String> {
    let wanted = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    let fits = flat.is_flat() && wanted == Some(flat.channels);
    fits.then_some(()).ok_or_else(|| format!("{} numbers are no picture of {shape:?}", flat.channels))
}

/// Where the numbers of a picture come from.
#[derive(Debug, Serialize, Deserialize)]
enum Source {
    Floats(BufferId, Order),
    Bytes(BufferId, #[serde(with = "dequant_table")] DequantTable),
}

/// Makes a picture of f32.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct ToMap {
    source: Source,
    output: BufferId,
}

impl ToMap {
    pub(in crate::engine) fn floats(source: BufferId, order: Order, output: BufferId) -> Self {
        ToMap { source: Source::Floats(source, order), output }
    }

    pub(in crate::engine) fn bytes(source: BufferId, table: DequantTable, output: BufferId) -> Self {
        ToMap { source: Source::Bytes(source, table), output }
    }
}

impl Source {
    fn buffer(&self) -> BufferId {
        match self {
            Source::Floats(id, _) | Source::Bytes(id, _) => *id,
        }
    }
}

impl Step for ToMap {
    fn kind(&self) -> String {
        match self.source {
            Source::Floats(..) => "to picture".into(),
            Source::Bytes(..) => "dequantise".into(),
        }
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.source.buffer()]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        match self.source {
            Source::Floats(id, _) => check_flat(&buffers[id.0], buffers[self.output.0].shape()),
            Source::Bytes(..) => Ok(()),
        }
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let (kernels, shape) = (memory.kernels, memory.image(self.output).shape());
        let source = memory.image(self.source.buffer());
        let (inputs, output) = memory.write::<f32>(self.output)?;
        match &self.source {
            Source::Floats(_, Order::RowMajor) => {
                let planes = inputs.view::<f32>(&source).map_err(kernel_error)?;
                kernels.from_planes(planes.pixel(0, 0), output)
            }
            Source::Floats(_, Order::ChannelsLast) => {
                kernels.copy(inputs.view::<f32>(&as_map(source, shape)).map_err(kernel_error)?, output)
            }
            Source::Bytes(_, table) => {
                kernels.dequantise_by_table(inputs.view::<u8>(&source).map_err(kernel_error)?, output, table)
            }
        }
        .map_err(kernel_error)
    }
}

/// What becomes numbers without gaps.
#[derive(Debug, Serialize, Deserialize)]
enum Map {
    Floats(BufferId),
    Bytes(BufferId, #[serde(with = "dequant_table")] DequantTable),
    /// Without gaps already, channels side by side.
    Flat(BufferId, MapShape),
}

/// Makes numbers without gaps of a picture.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct FromMap {
    source: Map,
    output: BufferId,
    order: Order,
}

impl FromMap {
    pub(in crate::engine) fn floats(source: BufferId, output: BufferId, order: Order) -> Self {
        FromMap { source: Map::Floats(source), output, order }
    }

    pub(in crate::engine) fn bytes(
        source: BufferId,
        table: DequantTable,
        output: BufferId,
        order: Order,
    ) -> Self {
        FromMap { source: Map::Bytes(source, table), output, order }
    }

    /// From channels side by side to the order of the shape.
    pub(in crate::engine) fn flat(source: BufferId, shape: MapShape, output: BufferId) -> Self {
        FromMap { source: Map::Flat(source, shape), output, order: Order::RowMajor }
    }
}

impl Map {
    fn buffer(&self) -> BufferId {
        match self {
            Map::Floats(id) | Map::Bytes(id, _) | Map::Flat(id, _) => *id,
        }
    }
}

impl Step for FromMap {
    fn kind(&self) -> String {
        "from picture".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.source.buffer()]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let to = &buffers[self.output.0];
        match self.source {
            Map::Flat(id, MapShape { height, width, channels }) => {
                let shape = [height, width, channels];
                check_flat(&buffers[id.0], shape).and_then(|()| check_flat(to, shape))
            }
            Map::Floats(id) | Map::Bytes(id, _) => check_flat(to, buffers[id.0].shape()),
        }
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let kernels = memory.kernels;
        let mut source = memory.image(self.source.buffer());
        if let Map::Flat(_, shape) = &self.source {
            source = as_map(source, [shape.height, shape.width, shape.channels]);
        }
        let flat = memory.image(self.output);
        if self.order == Order::ChannelsLast {
            let image = as_map(flat, source.shape());
            let (inputs, output) = memory.arena.writing::<f32>(&image).map_err(kernel_error)?;
            return match &self.source {
                Map::Bytes(_, table) => {
                    kernels.dequantise_by_table(inputs.view(&source).map_err(kernel_error)?, output, table)
                }
                _ => kernels.copy(inputs.view::<f32>(&source).map_err(kernel_error)?, output),
            }
            .map_err(kernel_error);
        }
        let (inputs, mut output) = memory.write::<f32>(self.output)?;
        match &self.source {
            Map::Bytes(_, table) => {
                let view = inputs.view::<u8>(&source).map_err(kernel_error)?;
                kernels.map_to_planes(view, output.row_values_mut(0), |byte| table[usize::from(byte)])
            }
            _ => kernels
                .to_planes(inputs.view::<f32>(&source).map_err(kernel_error)?, output.row_values_mut(0)),
        }
        .map_err(kernel_error)
    }
}

/// Gives numbers to tract.
#[derive(Debug)]
pub(in crate::engine) struct ToTensor {
    pub(in crate::engine) buffer: BufferId,
    pub(in crate::engine) slot: Slot,
    pub(in crate::engine) shape: Vec<usize>,
    pub(in crate::engine) kind: DatumType,
}

impl Step for ToTensor {
    fn kind(&self) -> String {
        "to tract".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.buffer]
    }

    fn writes(&self) -> Vec<BufferId> {
        Vec::new()
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let tensor =
            Tensor::from_shape(&self.shape, memory.flat(self.buffer)?).map_err(|e| format!("{e:#}"))?;
        let tensor = if self.kind == f32::datum_type() {
            tensor
        } else {
            tensor.cast_to_dt(self.kind).map_err(|e| format!("{e:#}"))?.into_owned()
        };
        memory.tensors[self.slot.0] = Some(tensor.into_tvalue());
        Ok(())
    }
}

/// Takes numbers from tract.
#[derive(Debug)]
pub(in crate::engine) struct FromTensor {
    pub(in crate::engine) slot: Slot,
    pub(in crate::engine) buffer: BufferId,
}

impl Step for FromTensor {
    fn kind(&self) -> String {
        "from tract".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        Vec::new()
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.buffer]
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let tensor = memory.tensor(self.slot)?.clone();
        let floats = tensor.cast_to::<f32>().map_err(|e| format!("{e:#}"))?;
        let view = floats.try_as_plain_ram().map_err(|e| format!("{e:#}"))?;
        let values = view.as_slice::<f32>().map_err(|e| format!("{e:#}"))?;
        memory.fill(self.buffer, |buffer| {
            if buffer.len() != values.len() {
                return Err(format!(
                    "tract made {} values where {} are expected",
                    values.len(),
                    buffer.len()
                ));
            }
            buffer.copy_from_slice(values);
            Ok(())
        })?
    }
}
