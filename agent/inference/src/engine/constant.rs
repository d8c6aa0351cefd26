//! The weights of a layer from the file to the kernels that pack them.
//!
//! Within a saved plan they lie behind the steps, one after the other ([`super::serialization`]): a step that was just read
//! only knows how long its part is, and gets it as a share of the file's bytes, without a copy.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::Tensor;

use super::weights::{Integers, QuantWeights};

/// What a layer's kernels are packed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// 8-bit integers around 0.
    Signed,
    /// 8-bit integers around whatever number; of unsigned ones 128 was taken.
    Shifted,
    /// f32.
    Floats,
}

/// Weights until they are packed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Part", from = "Part")]
pub(super) struct Constant {
    kind: Kind,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// As the model file holds them.
    Quant(Arc<QuantWeights>),
    /// As tract holds them.
    Tensor(Arc<Tensor>),
    Values(Vec<f32>),
    /// Little-endian, of a saved plan.
    Serialized(Bytes),
    /// So many bytes of a saved plan, which were not handed over yet.
    Pending(u64),
    /// They were packed.
    Packed,
}

/// A constant within the saved steps.
#[derive(Serialize, Deserialize)]
struct Part {
    kind: Kind,
    bytes: u64,
}

impl From<Constant> for Part {
    fn from(constant: Constant) -> Self {
        Part { kind: constant.kind, bytes: constant.bytes() as u64 }
    }
}

impl From<Part> for Constant {
    fn from(part: Part) -> Self {
        Constant { kind: part.kind, source: Source::Pending(part.bytes) }
    }
}

impl Constant {
    /// 8-bit integers around 0.
    pub(super) fn signed(weights: Arc<QuantWeights>) -> Self {
        Constant { kind: Kind::Signed, source: Source::Quant(weights) }
    }

    /// 8-bit integers around whatever number, unsigned ones less 128; `None` if they are longer.
    pub(super) fn shifted(weights: Arc<QuantWeights>) -> Option<Self> {
        let is_short = matches!(weights.values, Integers::I8(_) | Integers::U8(_));
        is_short.then_some(Constant { kind: Kind::Shifted, source: Source::Quant(weights) })
    }

    /// f32 of a tensor.
    pub(super) fn tensor(tensor: Arc<Tensor>) -> Self {
        Constant { kind: Kind::Floats, source: Source::Tensor(tensor) }
    }

    /// f32 of quantised weights.
    pub(super) fn dequantised(weights: Arc<QuantWeights>) -> Self {
        Constant { kind: Kind::Floats, source: Source::Quant(weights) }
    }

    /// f32.
    pub(super) fn values(values: Vec<f32>) -> Self {
        Constant { kind: Kind::Floats, source: Source::Values(values) }
    }

    /// What is packed now, and then is not needed again.
    pub(super) fn take(&mut self) -> Self {
        let source = std::mem::replace(&mut self.source, Source::Packed);
        Constant { kind: self.kind, source }
    }

    /// How many bytes a saved plan holds of it.
    pub(super) fn bytes(&self) -> usize {
        let each = if self.kind == Kind::Floats { 4 } else { 1 };
        match &self.source {
            Source::Quant(weights) => weights.len() * each,
            Source::Tensor(tensor) => tensor.len() * each,
            Source::Values(values) => values.len() * each,
            Source::Serialized(bytes) => bytes.len(),
            Source::Pending(_) | Source::Packed => 0,
        }
    }

    /// The integers.
    ///
    /// # Errors
    /// They are none, or are here no more.
    pub(super) fn as_signed(&self) -> Result<Cow<'_, [i8]>, String> {
        match (self.kind, &self.source) {
            (Kind::Signed, Source::Quant(weights)) => {
                weights.as_signed().ok_or_else(|| "weights are not around zero".into())
            }
            (Kind::Shifted, Source::Quant(weights)) => match &weights.values {
                Integers::I8(values) => Ok(Cow::Borrowed(values)),
                Integers::U8(values) => Ok(values.iter().map(|b| (b ^ 0x80) as i8).collect()),
                Integers::I32(_) => Err(self.missing()),
            },
            (Kind::Signed | Kind::Shifted, Source::Serialized(bytes)) => {
                Ok(bytes.iter().map(|b| *b as i8).collect())
            }
            _ => Err(self.missing()),
        }
    }

    /// The numbers.
    ///
    /// # Errors
    /// As [`Self::as_signed`].
    pub(super) fn as_floats(&self) -> Result<Cow<'_, [f32]>, String> {
        match (self.kind, &self.source) {
            (Kind::Floats, Source::Quant(weights)) => Ok(Cow::Owned(weights.to_floats())),
            (Kind::Floats, Source::Values(values)) => Ok(Cow::Borrowed(values)),
            (Kind::Floats, Source::Tensor(tensor)) => {
                let view = tensor.as_plain_ram().ok_or("a constant does not lie in memory")?;
                Ok(Cow::Borrowed(view.as_slice::<f32>().map_err(|e| format!("{e:#}"))?))
            }
            (Kind::Floats, Source::Serialized(bytes)) => {
                let words = bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
                Ok(words.collect())
            }
            _ => Err(self.missing()),
        }
    }

    fn missing(&self) -> String {
        match self.source {
            Source::Packed => "a layer was packed twice".into(),
            Source::Pending(_) => "a saved plan ends before its weights".into(),
            _ => "a layer's weights are of another type".into(),
        }
    }

    /// Writes the bytes that a saved plan holds.
    ///
    /// # Errors
    /// As [`Self::as_signed`].
    pub(super) fn save(&self, to: &mut Vec<u8>) -> Result<(), String> {
        match self.kind {
            Kind::Signed | Kind::Shifted => to.extend(self.as_signed()?.iter().map(|w| *w as u8)),
            Kind::Floats => to.extend(self.as_floats()?.iter().flat_map(|w| w.to_le_bytes())),
        }
        Ok(())
    }

    /// Takes its part from the front of a saved plan's weights.
    ///
    /// # Errors
    /// They are not that long.
    pub(super) fn restore(&mut self, from: &mut Bytes) -> Result<(), String> {
        let Source::Pending(bytes) = self.source else { return Err("a constant was read twice".into()) };
        let length = usize::try_from(bytes).ok().filter(|length| *length <= from.len());
        self.source = Source::Serialized(from.split_to(length.ok_or_else(|| self.missing())?));
        Ok(())
    }
}
