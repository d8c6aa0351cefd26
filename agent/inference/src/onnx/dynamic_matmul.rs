//! Says in one way what files say in several: 8-bit weights, and products that quantise their other side as they run.
//!
//! * `Cast` of a constant to f32 and `Mul` by a scale become `DequantizeLinear`;
//! * `DynamicQuantizeLinear`, `MatMulInteger`, `Cast` and the products of scales become `MatMul` of the value itself and a
//!   `DequantizeLinear` of the weights. The name of the weights is remembered: who has kernels for bytes multiplies them
//!   as the file said, who has none computes in f32, without the rounding.
//!
//! Invariant: what is written in no such way stays as it is.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::tensor;

/// Rewrites products of values that are quantised as the model runs; answers the names of their weights.
pub(crate) fn rewrite(graph: &mut GraphProto) -> HashSet<String> {
    let mut weights = HashSet::new();
    if has_subgraphs(graph) || !graph.node.iter().any(|node| is(node, "MatMulInteger")) {
        return weights;
    }
    let found: Vec<Product> = {
        let view = View::new(graph);
        graph.node.iter().filter_map(|node| Product::of(&view, node)).collect()
    };
    for (n, product) in found.into_iter().enumerate() {
        let name = format!("{}/weights {n}", product.output);
        let scale = format!("{name}/scale");
        let mut values = product.scale;
        values.name.clone_from(&scale);
        graph.initializer.push(values);
        let mut inputs = vec![product.weights, scale];
        if let Some(mut zero) = product.zero {
            zero.name = format!("{name}/zero");
            inputs.push(zero.name.clone());
            graph.initializer.push(zero);
        }
        let dequantised = node("DequantizeLinear", inputs, &name, Some(("axis", product.axis)));
        let result = node("MatMul", vec![product.value, name.clone()], &product.output, None);
        let Some(at) = graph.node.iter().position(|node| node.output.first() == Some(&product.output)) else {
            continue;
        };
        graph.node.splice(at..=at, [dequantised, result]);
        weights.insert(name);
    }
    if !weights.is_empty() {
        prune(graph);
    }
    weights
}

/// Rewrites constants of 8 bits that are cast to f32 and multiplied by a scale.
pub(crate) fn dequantise(graph: &mut GraphProto) {
    if has_subgraphs(graph) {
        return;
    }
    let found: Vec<(usize, NodeProto, TensorProto)> = {
        let view = View::new(graph);
        graph.node.iter().enumerate().filter_map(|(at, node)| scaled(&view, at, node)).collect()
    };
    if found.is_empty() {
        return;
    }
    for (at, node, scale) in found {
        graph.initializer.push(scale);
        graph.node[at] = node;
    }
    prune(graph);
}

/// `Mul` of a cast constant and a scale, as one node.
fn scaled(view: &View<'_>, at: usize, mul: &NodeProto) -> Option<(usize, NodeProto, TensorProto)> {
    let (true, [a, b]) = (is(mul, "Mul"), &mul.input[..]) else { return None };
    let (cast, scale) = match (view.maker(a), view.maker(b)) {
        (Some(cast), None) => (cast, b),
        (None, Some(cast)) => (cast, a),
        _ => return None,
    };
    let source = cast.input.first()?;
    let values = view.constants.get(source.as_str())?;
    let small = matches!(tensor::data_type(values), Ok(DataType::Int8 | DataType::Uint8));
    if !small || !is(cast, "Cast") || attribute(cast, "to") != Some(DataType::Float as i64) {
        return None;
    }
    let (axis, mut flat) = scale_of(view.constants.get(scale.as_str())?, &values.dims)?;
    let output = mul.output.first()?;
    flat.name = format!("{output}/scale");
    let node = node(
        "DequantizeLinear",
        vec![source.clone(), flat.name.clone()],
        output,
        Some(("axis", axis as i64)),
    );
    Some((at, node, flat))
}

/// A scale that is broadcast to a shape, as one number or one for each place of an axis.
fn scale_of(scale: &TensorProto, dims: &[i64]) -> Option<(usize, TensorProto)> {
    let values = tensor::floats(scale).filter(|_| scale.data_type == DataType::Float as i32)?;
    let usable = values.iter().all(|value| value.is_finite() && *value > 0.0);
    let missing = dims.len().checked_sub(scale.dims.len())?;
    let mut long = (0..scale.dims.len()).filter(|axis| scale.dims[*axis] != 1);
    let axis = long.next();
    if !usable || long.next().is_some() {
        return None;
    }
    match axis.map(|axis| axis + missing) {
        Some(axis) if dims[axis] == values.len() as i64 => {
            Some((axis, tensor::from_floats(String::new(), vec![values.len() as i64], &values)))
        }
        None => Some((0, tensor::from_floats(String::new(), vec![], &values))),
        Some(_) => None,
    }
}

/// What a product of integers stands for.
struct Product {
    value: String,
    weights: String,
    zero: Option<TensorProto>,
    scale: TensorProto,
    axis: i64,
    output: String,
}

impl Product {
    fn of(view: &View<'_>, product: &NodeProto) -> Option<Self> {
        let [bytes, weights, bytes_zero, rest @ ..] = &product.input[..] else { return None };
        let quantiser = view.maker(bytes)?;
        if !is(product, "MatMulInteger") || !is(quantiser, "DynamicQuantizeLinear") {
            return None;
        }
        let [of_bytes, scale, of_zero] = &quantiser.output[..] else { return None };
        let shape = &view.constants.get(weights.as_str())?.dims;
        let own_zero = rest.first().filter(|name| !name.is_empty());
        let zero = match own_zero {
            Some(name) => Some(*view.constants.get(name.as_str())?),
            None => None,
        };
        if of_bytes != bytes || of_zero != bytes_zero || shape.len() != 2 {
            return None;
        }
        let cast = view.only_user(product.output.first()?).filter(|node| is(node, "Cast"))?;
        if attribute(cast, "to") != Some(DataType::Float as i64) {
            return None;
        }
        let mul = view.only_user(cast.output.first()?).filter(|node| is(node, "Mul"))?;
        let other = mul.input.iter().find(|input| Some(*input) != cast.output.first())?;
        // Either the product of both scales, or one after the other.
        let (factors, output) = if other == scale {
            let last = view.only_user(mul.output.first()?).filter(|node| is(node, "Mul"))?;
            (last.input.iter().find(|input| Some(*input) != mul.output.first())?, last.output.first()?)
        } else if let Some(both) =
            view.maker(other).filter(|node| is(node, "Mul") && node.input.contains(scale))
        {
            (both.input.iter().find(|input| *input != scale)?, mul.output.first()?)
        } else {
            let last = view.only_user(mul.output.first()?).filter(|node| is(node, "Mul"))?;
            (Some(other).filter(|_| last.input.contains(scale))?, last.output.first()?)
        };
        let (axis, scale) = scale_of(view.constants.get(factors.as_str())?, shape)?;
        // A scale for each row cannot be taken out of the sums.
        if axis == 0 && scale.dims.first().is_some_and(|places| *places != 1) {
            return None;
        }
        let places = scale.dims.first().map_or(1, |places| *places as usize);
        let zero = match zero {
            Some(zero) => Some(repeated(zero, &scale.dims, places)?),
            None => None,
        };
        Some(Product {
            value: quantiser.input.first()?.clone(),
            weights: weights.clone(),
            zero,
            scale,
            axis: axis as i64,
            output: output.clone(),
        })
    }
}

/// A zero point for each place, made of one for all if need be.
fn repeated(zero: &TensorProto, dims: &[i64], places: usize) -> Option<TensorProto> {
    let values = tensor::floats(zero)?;
    let values = match values[..] {
        [one] => vec![one; places],
        _ => values,
    };
    (values.len() == places).then(|| TensorProto {
        dims: dims.to_vec(),
        data_type: zero.data_type,
        int32_data: values.into_iter().map(|value| value as i32).collect(),
        ..Default::default()
    })
}

/// A graph by the names of its values.
struct View<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    makers: HashMap<&'a str, &'a NodeProto>,
    users: HashMap<&'a str, Vec<&'a NodeProto>>,
    outputs: HashSet<&'a str>,
}

impl<'a> View<'a> {
    fn new(graph: &'a GraphProto) -> Self {
        let mut users: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        let mut makers = HashMap::new();
        for node in &graph.node {
            for input in &node.input {
                users.entry(input).or_default().push(node);
            }
            makers.extend(node.output.iter().map(|output| (output.as_str(), node)));
        }
        View {
            constants: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
            makers,
            users,
            outputs: graph.output.iter().map(|output| output.name.as_str()).collect(),
        }
    }

    fn maker(&self, name: &str) -> Option<&'a NodeProto> {
        self.makers.get(name).copied()
    }

    fn only_user(&self, name: &str) -> Option<&'a NodeProto> {
        match self.users.get(name)?[..] {
            [user] if !self.outputs.contains(name) => Some(user),
            _ => None,
        }
    }
}

fn has_subgraphs(graph: &GraphProto) -> bool {
    graph.node.iter().flat_map(|node| &node.attribute).any(|a| a.g.is_some() || !a.graphs.is_empty())
}

fn is(node: &NodeProto, operator: &str) -> bool {
    (node.domain.is_empty() || node.domain == "ai.onnx") && node.op_type == operator
}

fn attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}

fn node(operator: &str, input: Vec<String>, output: &str, attribute: Option<(&str, i64)>) -> NodeProto {
    let integer =
        |(name, i): (&str, i64)| AttributeProto { name: name.into(), i, r#type: 2, ..Default::default() };
    NodeProto {
        op_type: operator.into(),
        name: format!("{output}/{operator}"),
        input,
        output: vec![output.into()],
        attribute: attribute.into_iter().map(integer).collect(),
        ..Default::default()
    }
}

/// Leaves out nodes and constants that no output needs any more. Nodes are in an order in which they can run.
fn prune(graph: &mut GraphProto) {
    let mut needed: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept: Vec<NodeProto> = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|output| needed.contains(output)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
}
