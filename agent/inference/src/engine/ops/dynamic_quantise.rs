//! `DynamicQuantizeLinear`: values become bytes by the range that they have in this run.

use aimass_kernels::{Dequantise, Image, Padding};
use serde::{Deserialize, Serialize};

use crate::engine::arena::Buffer;
use crate::engine::step::{Memory, Step, ensure, kernel_error};
use crate::engine::value::BufferId;

/// Scale and zero point as [`DynamicQuantise`] leaves them.
pub(super) fn read_params(values: &[f32]) -> Result<Dequantise, String> {
    let [scale, zero] = *values else { return Err("a scale and a zero point are expected".into()) };
    Ok(Dequantise { scale, zero_point: zero as u8 })
}

/// Numbers without gaps to bytes, by their own range (`DynamicQuantizeLinear`).
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct DynamicQuantise {
    pub(in crate::engine) input: BufferId,
    pub(in crate::engine) output: BufferId,
    /// Scale and zero point.
    pub(in crate::engine) params: BufferId,
}

impl Step for DynamicQuantise {
    fn kind(&self) -> String {
        "quantise by range".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output, self.params]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let params = &buffers[self.params.0];
        let fits = params.is_flat() && params.channels == 2;
        ensure(fits, "there is no place for a scale and a zero point")
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let kernels = memory.kernels;
        let params = kernels.dynamic_range(memory.flat(self.input)?);
        memory.fill(self.params, |to| {
            to.copy_from_slice(&[params.scale, f32::from(params.zero_point)]);
        })?;
        let flat = |image: Image| Image::dense(image.offset, 1, 1, image.channels, Padding::default());
        let input = flat(memory.image(self.input));
        let (inputs, output) = memory.write::<u8>(self.output)?;
        let quantise = params.quantise().map_err(kernel_error)?;
        kernels.quantise(inputs.view(&input).map_err(kernel_error)?, output, &quantise).map_err(kernel_error)
    }
}
