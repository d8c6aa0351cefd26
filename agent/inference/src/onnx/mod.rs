//! ONNX files as bytes from outside: bounded decoding, checking, and folding before a backend sees them.
//!
//! Invariant: a [`ModelProto`] that [`decode`] returns has bounded counts, no data outside the file, and tensors
//! whose data is as long as their shape says.

mod bounds;
pub(crate) mod dynamic_matmul;
pub mod fold;
mod prescan;
pub(crate) mod tensor;

use prost::Message;
use tract_onnx::pb;
pub use tract_onnx::pb::ModelProto;

/// The most nodes, of the main graph and its subgraphs together.
pub const MAX_NODES: usize = 20_000;
/// The most elements of a tensor.
pub const MAX_ELEMENTS: usize = 1 << 27;

/// Decodes and checks a model.
///
/// # Errors
/// What is wrong with it, on one line.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, String> {
    prescan::scan(bytes)?;
    let mut model = ModelProto::decode(bytes).map_err(|e| format!("is no ONNX file: {e}"))?;
    let graph = model.graph.as_mut().ok_or("is no ONNX file: it holds no graph")?;
    bounds::settle_axes(graph);
    let opset = model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    let opset = opset.map_or(0, |o| o.version);
    if !(7..=21).contains(&opset) {
        return Err(format!("uses ONNX operator set {opset}: export it with 7 to 21"));
    }
    check_graph(graph, &mut Counts::default(), 0)?;
    Ok(model)
}

/// The name and shape of the only input of a model that takes pictures; a side that is not fixed counts as 1.
///
/// # Errors
/// It has no input, or one without four sides.
pub fn picture_input(model: &ModelProto) -> Result<(String, [usize; 4]), String> {
    use pb::{tensor_shape_proto::dimension::Value as Side, type_proto::Value};
    let graph = model.graph.as_ref().ok_or("holds no graph")?;
    let is_constant = |name: &String| graph.initializer.iter().any(|t| t.name == *name);
    let input = graph.input.iter().find(|i| !is_constant(&i.name)).ok_or("has no input")?;
    let Some(Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err("has an input without a type".into());
    };
    let sides = tensor.shape.iter().flat_map(|s| &s.dim).map(|side| match side.value {
        Some(Side::DimValue(value)) => usize::try_from(value).unwrap_or(1).max(1),
        _ => 1,
    });
    let shape: Vec<usize> = sides.collect();
    let shape =
        shape.try_into().map_err(|_| format!("has an input \"{}\" without four sides", input.name))?;
    Ok((input.name.clone(), shape))
}

/// Of the whole file.
#[derive(Default)]
struct Counts {
    nodes: usize,
    /// Elements that constants alone make tract fill.
    filled: usize,
}

fn check_graph(graph: &pb::GraphProto, counts: &mut Counts, depth: usize) -> Result<(), String> {
    if depth > 8 {
        return Err("graphs are nested more than 8 deep".into());
    }
    counts.nodes += graph.node.len();
    if counts.nodes > MAX_NODES {
        return Err(format!("has more than {MAX_NODES} nodes"));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err("has sparse tensors, which are not supported".into());
    }
    graph.initializer.iter().try_for_each(tensor::check)?;
    for attribute in graph.node.iter().flat_map(|n| &n.attribute) {
        attribute.t.iter().chain(&attribute.tensors).try_for_each(tensor::check)?;
        attribute.g.iter().chain(&attribute.graphs).try_for_each(|g| check_graph(g, counts, depth + 1))?;
    }
    bounds::check(graph, &mut counts.filled)
}
