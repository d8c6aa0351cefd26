//! How the kernels' parameters lie in a saved plan. The kernels' crate knows nothing of files: these definitions name
//! its fields again, and no longer compile when those change.

use aimass_kernels::{
    Activation, AddU8, Combine, ConvShape, Coordinates, Curve, Dequantise, Halo, MulU8, Nearest, Norm,
    OutputU8, PoolShape, PreluU8, Quantise, Reduction, RescaleU8,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(remote = "Halo")]
pub(in crate::engine) struct HaloParts {
    top: usize,
    left: usize,
    bottom: usize,
    right: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ConvShape")]
pub(in crate::engine) struct ConvShapeParts {
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
pub(in crate::engine) struct PoolShapeParts {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    count_padding: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OutputU8")]
pub(in crate::engine) struct OutputParts {
    zero_point: u8,
    low: u8,
    high: u8,
    #[serde(with = "optional_bytes")]
    table: Option<Box<[u8; 256]>>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AddU8")]
pub(in crate::engine) struct AddParts {
    a_zero_point: u8,
    a_ratio: f32,
    b_zero_point: u8,
    b_ratio: f32,
    #[serde(with = "OutputParts")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MulU8")]
pub(in crate::engine) struct MulParts {
    a_zero_point: u8,
    b_zero_point: u8,
    ratio: f32,
    #[serde(with = "OutputParts")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RescaleU8")]
pub(in crate::engine) struct RescaleParts {
    zero_point: u8,
    ratio: f32,
    #[serde(with = "OutputParts")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PreluU8")]
pub(in crate::engine) struct PreluParts {
    zero_point: u8,
    positive: f32,
    negative: Vec<f32>,
    #[serde(with = "OutputParts")]
    output: OutputU8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Norm")]
pub(in crate::engine) struct NormParts {
    scale: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Reduction")]
pub(in crate::engine) enum ReductionParts {
    Sum,
    Greatest,
    Least,
}

/// Functions of one number, one after the other.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Curves(pub(in crate::engine) Vec<Curve>);

#[derive(Serialize, Deserialize)]
struct CurveOf(#[serde(with = "CurveParts")] Curve);

impl Serialize for Curves {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|curve| CurveOf(*curve)))
    }
}

impl<'de> Deserialize<'de> for Curves {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let curves = Vec::<CurveOf>::deserialize(deserializer)?;
        Ok(Curves(curves.into_iter().map(|CurveOf(curve)| curve).collect()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Curve")]
pub(in crate::engine) enum CurveParts {
    Line { factor: f32, term: f32 },
    Over(f32),
    Exp,
    Sigmoid,
    Tanh,
    Erf,
    Gelu,
    GeluByTanh,
    Silu,
    HardSwish,
    Sqrt,
    OverSqrt,
    Square,
    Abs,
    NotANumberTo(f32),
    Whole,
    Truth,
    Not,
    Steps { scale: f32, zero: f32, low: f32, high: f32 },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Combine")]
pub(in crate::engine) enum CombineParts {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Greater,
    AtLeast,
    Less,
    AtMost,
    Equal,
    NotEqual,
    And,
    Or,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quantise")]
pub(in crate::engine) struct QuantiseParts {
    scale: f32,
    zero_point: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Dequantise")]
pub(in crate::engine) struct DequantiseParts {
    scale: f32,
    zero_point: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Activation")]
pub(in crate::engine) struct ActivationParts {
    slopes: Vec<f32>,
    low: f32,
    high: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Coordinates")]
pub(in crate::engine) enum CoordinatesParts {
    HalfPixel,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Nearest")]
pub(in crate::engine) enum NearestParts {
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

/// The axes of a spread: it is made from them again, with all its checks.
pub(in crate::engine) mod spread {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use aimass_kernels::Spread;
    use serde::de::Error;

    pub(in crate::engine) fn serialize<S: Serializer, const N: usize>(
        spread: &Spread<N>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let axes: Vec<(usize, &[usize])> =
            spread.axes().map(|(places, steps)| (places, &steps[..])).collect();
        axes.serialize(to)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<Spread<N>, D::Error> {
        let axes = Vec::<(usize, Vec<usize>)>::deserialize(from)?;
        if axes.iter().any(|(_, steps)| steps.len() != N) {
            return Err(D::Error::custom(format!("a spread is not of {N} inputs")));
        }
        let shape: Vec<usize> = axes.iter().map(|(places, _)| *places).collect();
        let distances: [Vec<usize>; N] =
            std::array::from_fn(|n| axes.iter().map(|(_, steps)| steps[n]).collect());
        Spread::new(&shape, distances.each_ref().map(Vec::as_slice)).map_err(D::Error::custom)
    }
}

/// What each byte of a quantised value stands for.
pub(in crate::engine) mod meanings {
    use super::{Deserialize, Deserializer, Serialize, Serializer};
    use crate::engine::value::Table;
    use serde::de::Error;

    pub(in crate::engine) fn serialize<S: Serializer>(table: &Table, to: S) -> Result<S::Ok, S::Error> {
        table[..].serialize(to)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Table, D::Error> {
        let values: Result<[f32; 256], _> = Vec::<f32>::deserialize(from)?.try_into();
        values.map(Table::new).map_err(|_| D::Error::custom("a table does not have 256 values"))
    }
}
