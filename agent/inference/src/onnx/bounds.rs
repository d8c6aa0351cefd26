//! Numbers of a graph that tract counts, addresses or allocates by, unchecked: refused where no network has them.
//!
//! A file says in three bytes what keeps a loader busy for years. What no number here bounds, because it is computed,
//! is bounded by the shapes that come out (`crate::tract::typed`).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::{MAX_ELEMENTS, tensor};

/// The most that a window over a picture, its steps and its borders may have.
const MAX_WINDOW: i64 = 1 << 14;
/// The most axes, and the farthest from the last.
const MAX_AXIS: i64 = 64;
/// The most that a picture may be enlarged, along one axis.
const MAX_SCALE: f32 = 256.0;

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
        (_, "value_int" | "value_ints" | "starts" | "ends" | "seed") => i64::MIN..=i64::MAX,
        _ => -(MAX_ELEMENTS as i64)..=MAX_ELEMENTS as i64,
    }
}

/// Checks the numbers of a graph; subgraphs are checked each for itself.
///
/// # Errors
/// Which one is not possible, of which node.
pub(super) fn check(graph: &GraphProto) -> Result<(), String> {
    let made = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
        Some((node.output.first()?.as_str(), node.attribute.iter().find_map(|a| a.t.as_ref())?))
    });
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t)).chain(made).collect();
    for node in &graph.node {
        node.attribute.iter().try_for_each(|attribute| check_attribute(node, attribute))?;
        for (input, name) in node.input.iter().enumerate() {
            if let (Some(role), Some(constant)) = (role(&node.op_type, input), constants.get(name.as_str())) {
                check_constant(node, role, constant)?;
            }
        }
    }
    Ok(())
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), String> {
    let within = range(&node.op_type, &attribute.name);
    let mut values = std::iter::once(&attribute.i).filter(|i| **i != 0).chain(&attribute.ints);
    if let Some(wrong) = values.find(|value| !within.contains(value)) {
        let (from, to) = within.into_inner();
        return Err(problem(node, &attribute.name, wrong, &format!("from {from} to {to} are possible")));
    }
    match attribute.name.as_str() {
        "scales" => check_scales(node, &attribute.floats),
        _ => Ok(()),
    }
}

fn check_constant(node: &NodeProto, role: Role, constant: &TensorProto) -> Result<(), String> {
    let name = constant.name.as_str();
    let Some(values) = integers(constant) else {
        return match (role, tensor::floats(constant)) {
            (Role::Scales, Some(scales)) => check_scales(node, &scales),
            _ => Ok(()),
        };
    };
    let most = match role {
        Role::Axes => MAX_AXIS,
        Role::Pads => MAX_WINDOW,
        Role::Counts | Role::Sides => MAX_ELEMENTS as i64,
        Role::Scales => return Ok(()),
    };
    if let Some(wrong) = values.iter().find(|value| !(-most..=most).contains(*value)) {
        return Err(problem(node, name, wrong, &format!("from {} to {most} are possible", -most)));
    }
    let elements = values.iter().filter(|v| **v > 0).try_fold(1i64, |all, v| all.checked_mul(*v));
    if matches!(role, Role::Sides) && elements.is_none_or(|all| all > most) {
        return Err(problem(node, name, &format!("{values:?}"), "that would be too many elements"));
    }
    Ok(())
}

fn check_scales(node: &NodeProto, scales: &[f32]) -> Result<(), String> {
    match scales.iter().find(|scale| !(0.0..=MAX_SCALE).contains(*scale)) {
        Some(wrong) => Err(problem(node, "scales", wrong, &format!("from 0 to {MAX_SCALE} are possible"))),
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

/// The values of a tensor of whole numbers, which is a checked one.
fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    let raw = &tensor.raw_data;
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 if raw.is_empty() => tensor.int64_data.clone(),
        DataType::Int64 => raw
            .chunks_exact(8)
            .map(|c| i64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]))
            .collect(),
        DataType::Int32 if raw.is_empty() => tensor.int32_data.iter().map(|v| i64::from(*v)).collect(),
        DataType::Int32 => {
            raw.chunks_exact(4).map(|c| i64::from(i32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tract_onnx::pb::{ModelProto, OperatorSetIdProto};

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

    #[test]
    fn a_picture_is_not_enlarged_without_bound() {
        let scales = AttributeProto { name: "scales".into(), floats: vec![1e30], ..Default::default() };
        let node = NodeProto { op_type: "Upsample".into(), attribute: vec![scales], ..Default::default() };
        assert!(
            decode(GraphProto { node: vec![node], ..Default::default() }).unwrap_err().contains("scales")
        );
    }
}
