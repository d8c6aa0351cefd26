//! `DynamicQuantizeLinear`: values become bytes by the range that they have in this run.

use aimass_kernels::{Dequantise, Halo, Image};
use serde::{Deserialize, Serialize};

use super::refused;
use crate::engine::arena::Buffer;
use crate::engine::step::{Memory, Step};
use crate::engine::value::BufferId;

/// Scale and zero point as [`QuantiseAtRunTime`] leaves them.
pub(super) fn meaning_of(values: &[f32]) -> Result<Dequantise, String> {
    let [scale, zero] = *values else { return Err("a scale and a zero point are expected".into()) };
    Ok(Dequantise { scale, zero_point: zero as u8 })
}

/// Numbers without gaps to bytes, by their own range (`DynamicQuantizeLinear`).
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct QuantiseAtRunTime {
    pub(in crate::engine) input: BufferId,
    pub(in crate::engine) output: BufferId,
    /// Scale and zero point.
    pub(in crate::engine) meaning: BufferId,
}

impl Step for QuantiseAtRunTime {
    fn kind(&self) -> String {
        "quantise by range".into()
    }

    fn reads(&self) -> Vec<BufferId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<BufferId> {
        vec![self.output, self.meaning]
    }

    fn check(&self, buffers: &[Buffer]) -> Result<(), String> {
        let meaning = &buffers[self.meaning.0];
        let fits = meaning.is_flat() && meaning.channels == 2;
        fits.then_some(()).ok_or_else(|| "there is no place for a scale and a zero point".into())
    }

    fn run(&self, memory: &mut Memory) -> Result<(), String> {
        let kernels = memory.kernels;
        let meaning = kernels.dynamic_range(memory.flat(self.input)?);
        memory.fill(self.meaning, |to| {
            to.copy_from_slice(&[meaning.scale, f32::from(meaning.zero_point)]);
        })?;
        let flat = |image: Image| Image::dense(image.offset, 1, 1, image.channels, Halo::default());
        let input = flat(memory.image(self.input));
        let (inputs, output) = memory.write::<u8>(self.output)?;
        let quantise = meaning.quantise().map_err(refused)?;
        kernels.quantise(inputs.view(&input).map_err(refused)?, output, &quantise).map_err(refused)
    }
}
