//! A plan as bytes: the steps and buffers before anything is packed, and behind them the weights.
//!
//! Weights are kept as the file has them and are packed again for the kernels at hand. So nothing that kernels rely on
//! comes from a saved plan: it goes through the same checks as one that was just compiled (`plan::check`, each step's
//! own, the constructors of the kernels' layers).

pub(super) mod kernel_types;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::compile::Draft;
use crate::backend::OutputInfo;

/// The most steps, and buffers, of a saved plan: placing takes time with their square.
const MAX_ITEMS: usize = 4096;
/// The most bytes of all that is not weights: what is read of them takes some hundred times as much.
const MAX_HEADER_BYTES: usize = 1 << 20;

/// What can be packed and run: just compiled, or read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Compiled {
    pub(super) draft: Draft,
    pub(super) outputs: Vec<OutputInfo>,
}

impl Compiled {
    /// As bytes.
    ///
    /// # Errors
    /// Something of it cannot be saved: what, on one line.
    pub(super) fn save(&mut self) -> Result<Vec<u8>, String> {
        if let Some(step) = self.draft.steps.iter().find(|step| !step.is_serializable()) {
            return Err(format!("\"{}\" runs in tract, which cannot be kept", step.kind()));
        }
        self.check_size()?;
        let mut bytes = postcard::to_stdvec(self).map_err(|e| e.to_string())?;
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(format!("its steps take {} bytes, more than {MAX_HEADER_BYTES}", bytes.len()));
        }
        // At once, since growing would hold the bytes twice.
        bytes.reserve_exact(self.constants().map(|constant| constant.bytes()).sum());
        self.constants().try_for_each(|constant| constant.save(&mut bytes))?;
        Ok(bytes)
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// It is damaged: how, on one line.
    pub(super) fn restore(saved: &Bytes) -> Result<Self, String> {
        let head = &saved[..saved.len().min(MAX_HEADER_BYTES)];
        let (mut compiled, rest) =
            postcard::take_from_bytes::<Self>(head).map_err(|e| format!("is no saved plan: {e}"))?;
        compiled.check_size()?;
        let mut rest = saved.slice(head.len() - rest.len()..);
        compiled.constants().try_for_each(|constant| constant.restore(&mut rest))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes are left over", rest.len()));
        }
        Ok(compiled)
    }

    fn check_size(&self) -> Result<(), String> {
        let Draft { steps, buffers, tensors, .. } = &self.draft;
        if steps.len().max(buffers.len()).max(*tensors) > MAX_ITEMS {
            return Err(format!("it has more than {MAX_ITEMS} steps, buffers or tensors"));
        }
        Ok(())
    }

    fn constants(&mut self) -> impl Iterator<Item = &mut super::constant::Constant> {
        self.draft.steps.iter_mut().flat_map(|step| step.constants())
    }

    /// # Errors
    /// An input or output is not as long as its shape says.
    pub(super) fn check_shapes(&self, input: usize) -> Result<(), String> {
        let Draft { buffers, outputs, input: from, .. } = &self.draft;
        let length = |id: &super::value::BufferId| buffers.get(id.0).map(|buffer| buffer.channels);
        let product = |shape: &[usize]| shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let fit = outputs.len() == self.outputs.len()
            && outputs.iter().zip(&self.outputs).all(|(id, info)| length(id) == product(&info.shape));
        (fit && length(from) == Some(input))
            .then_some(())
            .ok_or_else(|| "an input or output is not as long as its shape says".into())
    }
}
