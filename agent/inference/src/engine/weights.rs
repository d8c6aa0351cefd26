//! Takes quantised weights out of an ONNX graph before tract sees it.
//!
//! tract folds `DequantizeLinear` of a constant to f32: four times the memory, and the steps are lost. Here such a
//! node becomes an input of the graph that only has a shape; its integers and scales wait in a table by name.
//!
//! Invariant: what was taken out is in the table under the name of the graph input that stands for it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
    type_proto,
};
use tract_onnx::prelude::Tensor;

use crate::onnx::tensor;

/// The integers of a quantised constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Integers {
    I8(Vec<i8>),
    U8(Vec<u8>),
    I32(Vec<i32>),
}

/// A constant as the file holds it: `(integer - zero) * scale`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QuantWeights {
    pub(super) dims: Vec<usize>,
    pub(super) values: Integers,
    /// One, or one for each place along `axis`; as long as `scales`.
    pub(super) zeros: Vec<i32>,
    pub(super) scales: Vec<f32>,
    pub(super) axis: usize,
    /// What they are multiplied with is to be quantised as the model runs.
    pub(super) dynamic: bool,
}

/// Quantised constants by the name of the value that their `DequantizeLinear` made.
pub(super) type ExtractedWeights = HashMap<String, Arc<QuantWeights>>;

impl QuantWeights {
    fn new(node: &NodeProto, constants: &HashMap<String, TensorProto>) -> Option<Self> {
        let source = constants.get(node.input.first()?)?;
        let scales = tensor::floats(constants.get(node.input.get(1)?)?)?;
        let zeros = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => tensor::floats(constants.get(name)?)?.into_iter().map(|z| z as i32).collect(),
            None => vec![0; scales.len()],
        };
        if scales.is_empty()
            || zeros.len() != scales.len()
            || scales.iter().any(|s| !s.is_finite() || *s <= 0.0)
        {
            return None;
        }
        if node.attribute.iter().any(|a| a.name == "block_size" && a.i != 0) {
            return None;
        }
        let dims: Vec<usize> = source.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
        let axis = node.attribute.iter().find(|a| a.name == "axis").map_or(1, |a| a.i);
        let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
        let axis = usize::try_from(axis).ok()?;
        if scales.len() > 1 && dims.get(axis) != Some(&scales.len()) {
            return None;
        }
        let values = integers(source)?;
        Some(QuantWeights { dims, values, zeros, scales, axis, dynamic: false })
    }

    /// How many values.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Integers::I8(v) => v.len(),
            Integers::U8(v) => v.len(),
            Integers::I32(v) => v.len(),
        }
    }

    /// Whether the values are 8-bit integers around 0, or bytes around 128.
    pub(super) fn is_around_zero(&self) -> bool {
        match &self.values {
            Integers::I8(_) => self.zeros.iter().all(|z| *z == 0),
            Integers::U8(_) => self.zeros.iter().all(|z| *z == 128),
            Integers::I32(_) => false,
        }
    }

    /// The values as 8-bit integers around 0, if they are that.
    pub(super) fn as_signed(&self) -> Option<Cow<'_, [i8]>> {
        match &self.values {
            _ if !self.is_around_zero() => None,
            Integers::I8(v) => Some(Cow::Borrowed(v)),
            Integers::U8(v) => Some(v.iter().map(|b| (b ^ 0x80) as i8).collect()),
            Integers::I32(_) => None,
        }
    }

    /// Whether each value counts steps of these scales, as the bias of a quantised layer does.
    pub(super) fn counts(&self, scales: &[f32]) -> bool {
        let scale = |n: usize| self.scales[if self.scales.len() == 1 { 0 } else { n }];
        let near = |(n, wanted): (usize, &f32)| (scale(n) - wanted).abs() <= wanted.abs() * 1e-5;
        matches!(self.values, Integers::I32(_))
            && self.len() == scales.len()
            && (self.scales.len() == 1 || self.scales.len() == scales.len())
            && self.zeros.iter().all(|z| *z == 0)
            && scales.iter().enumerate().all(near)
    }

    /// The scale of each of the first axis' places, if scales run along it.
    pub(super) fn scales_by_output(&self) -> Option<Vec<f32>> {
        let outputs = *self.dims.first()?;
        match self.scales.len() {
            1 => Some(vec![self.scales[0]; outputs]),
            n if n == outputs && self.axis == 0 => Some(self.scales.clone()),
            _ => None,
        }
    }

    /// The values as f32.
    pub(super) fn to_floats(&self) -> Vec<f32> {
        let inner: usize = self.dims.get(self.axis + 1..).map_or(1, |d| d.iter().product::<usize>().max(1));
        let count = self.scales.len();
        let real = |n: usize, value: i32| {
            let place = if count == 1 { 0 } else { n / inner % count };
            (value - self.zeros[place]) as f32 * self.scales[place]
        };
        match &self.values {
            Integers::I8(v) => v.iter().enumerate().map(|(n, v)| real(n, i32::from(*v))).collect(),
            Integers::U8(v) => v.iter().enumerate().map(|(n, v)| real(n, i32::from(*v))).collect(),
            Integers::I32(v) => v.iter().enumerate().map(|(n, v)| real(n, *v)).collect(),
        }
    }

    /// The values as a tensor, for nodes that only tract knows.
    pub(super) fn to_tensor(&self) -> Result<Tensor, String> {
        Tensor::from_shape(&self.dims, &self.to_floats()).map_err(|e| format!("{e:#}"))
    }
}

fn integers(source: &TensorProto) -> Option<Integers> {
    let raw = &source.raw_data;
    let words = || raw.chunks_exact(4).map(|c| i32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    Some(match tensor::data_type(source).ok()? {
        DataType::Int8 if raw.is_empty() => {
            Integers::I8(source.int32_data.iter().map(|v| *v as i8).collect())
        }
        DataType::Int8 => Integers::I8(raw.iter().map(|b| *b as i8).collect()),
        DataType::Uint8 if raw.is_empty() => {
            Integers::U8(source.int32_data.iter().map(|v| *v as u8).collect())
        }
        DataType::Uint8 => Integers::U8(raw.to_vec()),
        DataType::Int32 if raw.is_empty() => Integers::I32(source.int32_data.clone()),
        DataType::Int32 => Integers::I32(words().collect()),
        _ => return None,
    })
}

/// Takes every quantised constant out of the graph; those of the names `dynamic` are multiplied with what is
/// quantised as the model runs. Graphs with subgraphs are left alone: their closures may name
/// anything.
pub(super) fn extract(graph: &mut GraphProto, dynamic: &HashSet<String>) -> ExtractedWeights {
    let mut taken = ExtractedWeights::new();
    if graph.node.iter().flat_map(|n| &n.attribute).any(|a| a.g.is_some() || !a.graphs.is_empty()) {
        return taken;
    }
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let constants: HashMap<String, TensorProto> =
        graph.initializer.drain(..).map(|t| (t.name.clone(), t)).collect();
    graph.node.retain(|node| {
        let ours = (node.domain.is_empty() || node.domain == "ai.onnx")
            && node.op_type == "DequantizeLinear"
            && node.output.len() == 1
            && !outputs.contains(&node.output[0]);
        let weights = if ours { QuantWeights::new(node, &constants) } else { None };
        let Some(mut weights) = weights else { return true };
        weights.dynamic = dynamic.contains(&node.output[0]);
        graph.input.push(as_input(&node.output[0], &weights.dims));
        taken.insert(node.output[0].clone(), Arc::new(weights));
        false
    });
    let needed: HashSet<&String> = graph.node.iter().flat_map(|n| &n.input).chain(&outputs).collect();
    let mut kept: Vec<TensorProto> = constants.into_values().filter(|t| needed.contains(&t.name)).collect();
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    graph.initializer = kept;
    taken
}

fn as_input(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |d: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*d as i64)),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..Default::default() }
}
