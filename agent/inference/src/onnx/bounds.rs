//! Numbers of a graph that tract counts, addresses or allocates by, unchecked: refused where no network has them.
//!
//! A file says in three bytes what keeps a loader busy for years. What no number here bounds, because it is computed,
//! is bounded by the shapes that come out (`crate::backend::tract::typed`).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::MAX_ELEMENTS;

/// The most that a window over a picture, its steps and its borders may have.
const MAX_WINDOW: i64 = 1 << 14;
/// The most axes, and the farthest from the last.
const MAX_AXIS: i64 = 64;
/// The most that a picture may be enlarged, along one axis.
const MAX_SCALE: f64 = 256.0;
/// The most elements that the constants of a file make tract fill.
const MAX_FILLED: usize = 1 << 26;

/// What a constant is for an operator that takes it as an input.
#[derive(Clone, Copy)]
enum Role {
    Axes,
    Pads,
    Counts,
    /// The sides of a shape, or what an input is repeated by: their product counts too.
    Sides,
    Scales,
}

/// The role of an operator's input.
fn role(operator: &str, input: usize) -> Option<Role> {
    Some(match (operator, input) {
        ("Expand" | "Reshape" | "Tile", 1) | ("ConstantOfShape", 0) | ("Resize", 3) => Role::Sides,
        ("Split" | "TopK" | "OneHot", 1) | ("Range", 0..=2) => Role::Counts,
        ("Upsample", 1) | ("Resize", 2) => Role::Scales,
        ("Pad", 1) => Role::Pads,
        ("Pad", 3) | ("Slice", 3) | ("CumSum" | "Squeeze" | "Unsqueeze", 1) => Role::Axes,
        (name, 1) if name.starts_with("Reduce") => Role::Axes,
        _ => return None,
    })
}

/// What the whole numbers of an attribute may be.
fn range(operator: &str, attribute: &str) -> RangeInclusive<i64> {
    match (operator, attribute) {
        (_, "dilations" | "kernel_shape" | "strides") => 1..=MAX_WINDOW,
        (_, "output_padding") => 0..=MAX_WINDOW,
        (_, "pads") => -MAX_WINDOW..=MAX_WINDOW,
        // An axis before the first would be counted to.
        ("LayerNormalization", "axis") => -1..=MAX_AXIS,
        (_, "axis" | "axes" | "batch_dims" | "perm") => -MAX_AXIS..=MAX_AXIS,
        // "To the end" is written as the largest number, and a seed is any.
        (_, "value_int" | "value_ints" | "start" | "end" | "starts" | "ends" | "seed") => i64::MIN..=i64::MAX,
        _ => -(MAX_ELEMENTS as i64)..=MAX_ELEMENTS as i64,
    }
}

/// Checks the numbers of a graph; subgraphs are checked each for itself. `filled` counts what constants alone make tract
/// fill, of the whole file: it evaluates such nodes while it looks for shapes, and keeps small results.
///
/// # Errors
/// Which one is not possible, of which node.
pub(super) fn check(graph: &GraphProto, filled: &mut usize) -> Result<(), String> {
    let mut constants: HashMap<&str, Vec<f64>> = HashMap::new();
    for tensor in &graph.initializer {
        constants.extend(numbers(tensor).map(|values| (tensor.name.as_str(), values)));
    }
    for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
        constants.extend(node.output.first().map(String::as_str).zip(value(node)));
    }
    for node in &graph.node {
        node.attribute.iter().try_for_each(|attribute| check_attribute(node, attribute))?;
        for (input, name) in node.input.iter().enumerate() {
            if let (Some(role), Some(values)) = (role(&node.op_type, input), constants.get(name.as_str())) {
                *filled = filled.saturating_add(check_constant(node, role, name, values)?);
            }
        }
        if node.op_type == "Range" {
            *filled = filled.saturating_add(check_range(node, &constants)?);
        }
        if *filled > MAX_FILLED {
            return Err(problem(
                node,
                "constants",
                filled,
                &format!("{MAX_FILLED} elements in all are possible"),
            ));
        }
    }
    Ok(())
}

/// Lets an axis of a layer normalisation count from the front, where the file tells how many its input has: tract would
/// count to one that lies before the first.
pub(super) fn settle_axes(graph: &mut GraphProto) {
    let mut ranks: HashMap<String, i64> = HashMap::new();
    for value in graph.value_info.iter().chain(&graph.input) {
        if let Some(Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref())
            && let Some(shape) = &tensor.shape
        {
            ranks.insert(value.name.clone(), shape.dim.len() as i64);
        }
    }
    for node in graph.node.iter_mut().filter(|node| node.op_type == "LayerNormalization") {
        let rank = node.input.first().and_then(|name| ranks.get(name));
        for axis in node.attribute.iter_mut().filter(|a| a.name == "axis" && a.i < -1) {
            if let Some(rank) = rank.filter(|rank| **rank + axis.i >= 0) {
                axis.i += rank;
            }
        }
    }
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), String> {
    let within = range(&node.op_type, &attribute.name);
    let mut values = std::iter::once(&attribute.i).filter(|i| **i != 0).chain(&attribute.ints);
    if let Some(wrong) = values.find(|value| !within.contains(value)) {
        let (from, to) = within.into_inner();
        return Err(problem(node, &attribute.name, wrong, &format!("from {from} to {to} are possible")));
    }
    match attribute.name.as_str() {
        "scales" => check_scales(node, attribute.floats.iter().map(|scale| f64::from(*scale))),
        _ => Ok(()),
    }
}

/// Checks a constant; answers how many elements it makes tract fill.
fn check_constant(node: &NodeProto, role: Role, name: &str, values: &[f64]) -> Result<usize, String> {
    let most = match role {
        Role::Axes => MAX_AXIS,
        Role::Pads => MAX_WINDOW,
        Role::Counts | Role::Sides => MAX_ELEMENTS as i64,
        Role::Scales => return check_scales(node, values.iter().copied()).map(|()| 0),
    };
    if let Some(wrong) = values.iter().find(|value| !(-(most as f64)..=most as f64).contains(*value)) {
        return Err(problem(node, name, wrong, &format!("from {} to {most} are possible", -most)));
    }
    if !matches!(role, Role::Sides) {
        return Ok(0);
    }
    let elements: f64 = values.iter().filter(|v| **v > 0.0).product();
    if elements > most as f64 {
        return Err(problem(node, name, &format!("{values:?}"), "that would be too many elements"));
    }
    // A shape alone fills nothing where the elements are there already.
    Ok(if matches!(node.op_type.as_str(), "Reshape" | "Resize") { 0 } else { elements as usize })
}

/// How many elements a range of constants has; what is not constant counts as one step.
fn check_range(node: &NodeProto, constants: &HashMap<&str, Vec<f64>>) -> Result<usize, String> {
    let number = |input: usize| {
        let name = node.input.get(input)?;
        constants.get(name.as_str())?.first().copied()
    };
    let (Some(start), Some(limit)) = (number(0), number(1)) else { return Ok(0) };
    let length = ((limit - start) / number(2).unwrap_or(1.0)).ceil().max(0.0);
    // Not a number, too: steps of zero.
    if !(0.0..=MAX_ELEMENTS as f64).contains(&length) {
        return Err(problem(node, "inputs", &length, "that would be too many elements"));
    }
    Ok(length as usize)
}

fn check_scales(node: &NodeProto, mut scales: impl Iterator<Item = f64>) -> Result<(), String> {
    match scales.find(|scale| !(0.0..=MAX_SCALE).contains(scale)) {
        Some(wrong) => Err(problem(node, "scales", &wrong, &format!("from 0 to {MAX_SCALE} are possible"))),
        None => Ok(()),
    }
}

fn problem(node: &NodeProto, what: &str, wrong: &impl std::fmt::Display, possible: &str) -> String {
    let shown = |text: &str| text.chars().take(80).flat_map(char::escape_default).collect::<String>();
    format!(
        "{} \"{}\" has {wrong} among its {}: {possible}",
        shown(&node.op_type),
        shown(&node.name),
        shown(what)
    )
}

/// The value of a `Constant`, as tract takes it.
fn value(node: &NodeProto) -> Option<Vec<f64>> {
    let of = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    if let Some(tensor) = of("value").and_then(|attribute| attribute.t.as_ref()) {
        return numbers(tensor);
    }
    if let Some(ints) = of("value_ints") {
        return Some(ints.ints.iter().map(|v| *v as f64).collect());
    }
    if let Some(floats) = of("value_floats") {
        return Some(floats.floats.iter().map(|v| f64::from(*v)).collect());
    }
    of("value_int").map(|a| vec![a.i as f64]).or_else(|| of("value_float").map(|a| vec![f64::from(a.f)]))
}

/// The values of a checked tensor, if they are few enough to be sides, axes or scales.
fn numbers(tensor: &TensorProto) -> Option<Vec<f64>> {
    let raw = &tensor.raw_data;
    if tensor.dims.iter().product::<i64>() > 64 {
        return None;
    }
    let words = || raw.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
    let longs = || raw.chunks_exact(8).map(|c| [c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]);
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 if raw.is_empty() => tensor.int64_data.iter().map(|v| *v as f64).collect(),
        DataType::Int64 => longs().map(|c| i64::from_le_bytes(c) as f64).collect(),
        DataType::Int32 if raw.is_empty() => tensor.int32_data.iter().map(|v| f64::from(*v)).collect(),
        DataType::Int32 => words().map(|c| f64::from(i32::from_le_bytes(c))).collect(),
        DataType::Float if raw.is_empty() => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
        DataType::Float => words().map(|c| f64::from(f32::from_le_bytes(c))).collect(),
        DataType::Double if raw.is_empty() => tensor.double_data.clone(),
        DataType::Double => longs().map(f64::from_le_bytes).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tract_onnx::pb::{self, ModelProto, OperatorSetIdProto};

    use super::*;

    fn decode(graph: GraphProto) -> Result<ModelProto, String> {
        let opset = OperatorSetIdProto { domain: String::new(), version: 13 };
        let model = ModelProto { graph: Some(graph), opset_import: vec![opset], ..Default::default() };
        super::super::decode(&model.encode_to_vec())
    }

    fn with_attribute(operator: &str, name: &str, value: i64) -> Result<ModelProto, String> {
        let attribute = AttributeProto { name: name.into(), ints: vec![1, value], ..Default::default() };
        let node = NodeProto { op_type: operator.into(), attribute: vec![attribute], ..Default::default() };
        decode(GraphProto { node: vec![node], ..Default::default() })
    }

    fn with_constant(operator: &str, place: usize, values: &[i64]) -> Result<ModelProto, String> {
        let constant = TensorProto {
            name: "sides".into(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values.to_vec(),
            ..Default::default()
        };
        let mut input = vec![String::from("x"); place];
        input.push("sides".into());
        let node = NodeProto { op_type: operator.into(), input, ..Default::default() };
        decode(GraphProto { node: vec![node], initializer: vec![constant], ..Default::default() })
    }

    #[test]
    fn a_window_that_no_network_has_is_refused_by_name() {
        for (name, value) in
            [("pads", i64::MAX), ("strides", 0), ("dilations", -1), ("kernel_shape", 1 << 40)]
        {
            let problem = with_attribute("Conv", name, value).unwrap_err();
            assert!(problem.contains("Conv") && problem.contains(name), "{problem}");
            assert!(with_attribute("Conv", name, 2).is_ok());
        }
    }

    #[test]
    fn an_axis_that_would_be_counted_to_is_refused() {
        assert!(with_attribute("LayerNormalization", "axis", -1).is_ok());
        for axis in [i64::MIN, -2, 65] {
            assert!(with_attribute("LayerNormalization", "axis", axis).unwrap_err().contains("axis"));
        }
        assert!(with_attribute("Softmax", "axis", 1 << 40).is_err());
    }

    #[test]
    fn a_shape_of_more_elements_than_any_tensor_may_have_is_refused_before_tract_makes_it() {
        assert!(
            with_constant("Expand", 1, &[1, 1 << 20, 1 << 20]).unwrap_err().contains("too many elements")
        );
        assert!(with_constant("ConstantOfShape", 0, &[i64::MAX, i64::MAX]).is_err());
        assert!(with_constant("Reshape", 1, &[0, -1, 1 << 20]).is_ok());
        assert!(with_constant("Slice", 2, &[i64::MAX]).is_ok(), "to the end");
        assert!(with_constant("Pad", 1, &[0, 1 << 30]).unwrap_err().contains("Pad"));
    }

    fn harmless() -> TensorProto {
        TensorProto {
            dims: vec![1],
            data_type: DataType::Int64 as i32,
            int64_data: vec![1],
            ..Default::default()
        }
    }

    fn constant(name: &str, attribute: AttributeProto) -> NodeProto {
        NodeProto {
            op_type: "Constant".into(),
            output: vec![name.into()],
            attribute: vec![
                AttributeProto { name: "other".into(), t: Some(harmless()), ..attribute.clone() },
                attribute,
            ],
            ..Default::default()
        }
    }

    #[test]
    fn what_constants_make_tract_fill_is_bounded_however_they_are_written_and_in_all() {
        let ints =
            |value| AttributeProto { name: "value_ints".into(), ints: vec![value], ..Default::default() };
        let expand =
            NodeProto { op_type: "Expand".into(), input: vec!["x".into(), "c".into()], ..Default::default() };
        let graph = |value, times| GraphProto {
            node: std::iter::once(constant("c", ints(value))).chain(vec![expand.clone(); times]).collect(),
            ..Default::default()
        };
        assert!(decode(graph(1 << 25, 2)).is_ok());
        assert!(decode(graph(1 << 33, 1)).is_err());
        assert!(decode(graph(1 << 25, 3)).unwrap_err().contains("in all"));
    }

    #[test]
    fn a_range_is_as_long_as_its_numbers_say() {
        let range = |numbers: [f32; 3]| {
            let tensors = ["a", "b", "c"].into_iter().zip(numbers).map(|(name, value)| TensorProto {
                name: name.into(),
                data_type: DataType::Float as i32,
                float_data: vec![value],
                ..Default::default()
            });
            let input = ["a", "b", "c"].map(String::from).to_vec();
            let node = NodeProto { op_type: "Range".into(), input, ..Default::default() };
            decode(GraphProto { node: vec![node], initializer: tensors.collect(), ..Default::default() })
        };
        assert!(range([0.0, 1000.0, 0.5]).is_ok());
        assert!(range([10.0, 0.0, -1.0]).is_ok());
        assert!(range([0.0, 1e10, 1.0]).is_err());
        assert!(range([0.0, 1.0, 0.0]).is_err());
        assert!(range([0.0, 1000.0, 1e-9]).is_err());
    }

    #[test]
    fn an_axis_of_a_layer_normalisation_counts_from_the_front_where_the_rank_is_told() {
        let with_rank = |axis, rank| {
            let dim = vec![Default::default(); rank];
            let tensor =
                pb::type_proto::Tensor { shape: Some(pb::TensorShapeProto { dim }), ..Default::default() };
            let r#type = Some(pb::TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() });
            let value = pb::ValueInfoProto { name: "x".into(), r#type, ..Default::default() };
            let attribute = AttributeProto { name: "axis".into(), i: axis, ..Default::default() };
            let node = NodeProto {
                op_type: "LayerNormalization".into(),
                input: vec!["x".into()],
                attribute: vec![attribute],
                ..Default::default()
            };
            let graph = GraphProto { node: vec![node], value_info: vec![value], ..Default::default() };
            decode(graph).map(|model| model.graph.unwrap().node[0].attribute[0].i)
        };
        assert_eq!(with_rank(-1, 4), Ok(-1));
        assert_eq!(with_rank(-3, 4), Ok(1));
        assert!(with_rank(-3, 2).unwrap_err().contains("axis"));
    }

    #[test]
    fn a_picture_is_not_enlarged_without_bound() {
        let scales = AttributeProto { name: "scales".into(), floats: vec![1e30], ..Default::default() };
        let node = NodeProto { op_type: "Upsample".into(), attribute: vec![scales], ..Default::default() };
        assert!(
            decode(GraphProto { node: vec![node], ..Default::default() }).unwrap_err().contains("scales")
        );
    }
}
