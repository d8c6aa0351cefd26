//! How the kernels' parameters lie in a saved plan. The kernels' crate knows nothing of files: these definitions name
//! its fields again, and no longer compile when those change.

use aimass_kernels::{
    Activation, AddU8, BinaryFn, ConvShape, Coordinates, Dequantise, LayerNorm, MulU8, Nearest, OutputU8,
    Padding, PoolShape, PreluU8, Quantise, Reduction, RescaleU8, UnaryFn,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Padding")]
pub(in crate::engine) struct PaddingDef {
    top: usize,
    left: usize,
    bottom: usize,
    right: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ConvShape")]
pub(in crate::engine) struct ConvShapeDef {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 2],
    groups: usize,
    input_channels: usize,
    output_channels: usize,
    input_pixel_stride: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PoolShape")]
pub(in crate::engine) struct PoolShapeDef {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    count_padding: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OutputU8")]
pub(in crate::engine) struct OutputDef {
    zero_point: u8,
    low: u8,
    high: u8,
    #[serde(with = "optional_bytes")]
    lookup_table: Option<Box<[u8; 256]>>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AddU8")]
pub(in crate::engine) struct AddDef {
    a_zero_point: u8,
    a_ratio: f32,
    b_zero_point: u8,
    b_ratio: f32,
    #[serde(with = "OutputDef")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MulU8")]
pub(in crate::engine) struct MulDef {
    a_zero_point: u8,
    b_zero_point: u8,
    ratio: f32,
    #[serde(with = "OutputDef")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RescaleU8")]
pub(in crate::engine) struct RescaleDef {
    zero_point: u8,
    ratio: f32,
    #[serde(with = "OutputDef")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PreluU8")]
pub(in crate::engine) struct PreluDef {
    zero_point: u8,
    positive: f32,
    negative: Vec<f32>,
    #[serde(with = "OutputDef")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LayerNorm")]
pub(in crate::engine) struct LayerNormDef {
    scale: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Reduction")]
pub(in crate::engine) enum ReductionDef {
    Sum,
    Max,
    Min,
}

/// Functions of one number, one after the other.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct UnaryFns(pub(in crate::engine) Vec<UnaryFn>);

#[derive(Serialize, Deserialize)]
struct UnaryFnEntry(#[serde(with = "UnaryFnDef")] UnaryFn);

impl Serialize for UnaryFns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|function| UnaryFnEntry(*function)))
    }
}

impl<'de> Deserialize<'de> for UnaryFns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let functions = Vec::<UnaryFnEntry>::deserialize(deserializer)?;
        Ok(UnaryFns(functions.into_iter().map(|UnaryFnEntry(function)| function).collect()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "UnaryFn")]
pub(in crate::engine) enum UnaryFnDef {
    Affine { factor: f32, term: f32 },
    Reciprocal(f32),
    Exp,
    Sigmoid,
    Tanh,
    Erf,
    Gelu,
    GeluTanh,
    Silu,
    HardSwish,
    Sqrt,
    Rsqrt,
    Square,
    Abs,
    ReplaceNan(f32),
    Trunc,
    IsNonZero,
    Not,
    Quantise { scale: f32, zero: f32, low: f32, high: f32 },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BinaryFn")]
pub(in crate::engine) enum BinaryFnDef {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    And,
    Or,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quantise")]
pub(in crate::engine) struct QuantiseDef {
    scale: f32,
    zero_point: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Dequantise")]
pub(in crate::engine) struct DequantiseDef {
    scale: f32,
    zero_point: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Activation")]
pub(in crate::engine) struct ActivationDef {
    slopes: Vec<f32>,
    low: f32,
    high: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Coordinates")]
pub(in crate::engine) enum CoordinatesDef {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Nearest")]
pub(in crate::engine) enum NearestDef {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// 256 bytes: serde knows arrays only up to 32.
pub(in crate::engine) mod bytes {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use serde::de::Error;

    pub(in crate::engine) fn serialize<S: Serializer>(table: &[u8; 256], to: S) -> Result<S::Ok, S::Error> {
        table[..].serialize(to)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Box<[u8; 256]>, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?.into_boxed_slice();
        bytes.try_into().map_err(|_| D::Error::custom("a table is not 256 bytes long"))
    }
}

/// As [`bytes`], perhaps.
pub(in crate::engine) mod optional_bytes {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Table(#[serde(with = "super::bytes")] Box<[u8; 256]>);

    pub(in crate::engine) fn serialize<S: Serializer>(
        table: &Option<Box<[u8; 256]>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        table.clone().map(Table).serialize(to)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Box<[u8; 256]>>, D::Error> {
        Ok(Option::<Table>::deserialize(from)?.map(|Table(table)| table))
    }
}

/// The axes of a broadcast: it is made from them again, with all its checks.
pub(in crate::engine) mod broadcast {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use aimass_kernels::Broadcast;
    use serde::de::Error;

    pub(in crate::engine) fn serialize<S: Serializer, const N: usize>(
        broadcast: &Broadcast<N>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let axes: Vec<(usize, &[usize])> =
            broadcast.axes().map(|(places, steps)| (places, &steps[..])).collect();
        axes.serialize(to)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<Broadcast<N>, D::Error> {
        let axes = Vec::<(usize, Vec<usize>)>::deserialize(from)?;
        if axes.iter().any(|(_, steps)| steps.len() != N) {
            return Err(D::Error::custom(format!("a broadcast is not of {N} inputs")));
        }
        let shape: Vec<usize> = axes.iter().map(|(places, _)| *places).collect();
        let strides: [Vec<usize>; N] =
            std::array::from_fn(|n| axes.iter().map(|(_, steps)| steps[n]).collect());
        Broadcast::new(&shape, strides.each_ref().map(Vec::as_slice)).map_err(D::Error::custom)
    }
}

/// What each byte of a quantised value stands for.
pub(in crate::engine) mod dequant_table {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::engine::value::DequantTable;
    use serde::de::Error;

    pub(in crate::engine) fn serialize<S: Serializer>(
        table: &DequantTable,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        table[..].serialize(to)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<DequantTable, D::Error> {
        let values: Result<[f32; 256], _> = Vec::<f32>::deserialize(from)?.try_into();
        values.map(DequantTable::new).map_err(|_| D::Error::custom("a table does not have 256 values"))
    }
}
