//! Constant tensors of a graph: checked sizes, values as f32 or integers.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

use super::MAX_ELEMENTS;

/// The element type of a tensor.
pub(crate) fn data_type(tensor: &TensorProto) -> Result<DataType, String> {
    DataType::try_from(tensor.data_type)
        .map_err(|_| format!("tensor {}: unknown element type {}", shown(tensor), tensor.data_type))
}

/// The number of elements.
pub(super) fn elements(tensor: &TensorProto) -> Result<usize, String> {
    tensor
        .dims
        .iter()
        .try_fold(1usize, |n, &dim| n.checked_mul(usize::try_from(dim).ok()?))
        .filter(|n| *n <= MAX_ELEMENTS)
        .ok_or_else(|| format!("tensor {}: a shape of {:?} is not acceptable", shown(tensor), tensor.dims))
}

/// Whether the data is as long as the shape says and of a type that a backend can hold.
pub(super) fn check(tensor: &TensorProto) -> Result<(), String> {
    let elements = elements(tensor)?;
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return Err(format!(
            "tensor {}: its data lies in another file: save the model as one file",
            shown(tensor)
        ));
    }
    let (size, typed) = match data_type(tensor)? {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => (1, tensor.int32_data.len()),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => (2, tensor.int32_data.len()),
        DataType::Int32 => (4, tensor.int32_data.len()),
        DataType::Float => (4, tensor.float_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Double => (8, tensor.double_data.len()),
        other => {
            return Err(format!("tensor {}: elements of type {other:?} are not supported", shown(tensor)));
        }
    };
    let fits =
        if tensor.raw_data.is_empty() { typed == elements } else { tensor.raw_data.len() == elements * size };
    if !fits {
        return Err(format!(
            "tensor {}: its data is not as long as its shape {:?}",
            shown(tensor),
            tensor.dims
        ));
    }
    Ok(())
}

/// The values of a checked tensor as f32; `None` for types that are no weights.
pub(crate) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    let raw = &tensor.raw_data;
    let words = || raw.chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float if raw.is_empty() => tensor.float_data.clone(),
        DataType::Float => words().map(f32::from_le_bytes).collect(),
        DataType::Uint8 if !raw.is_empty() => raw.iter().map(|&b| f32::from(b)).collect(),
        DataType::Int8 if !raw.is_empty() => raw.iter().map(|&b| f32::from(b as i8)).collect(),
        DataType::Int32 if !raw.is_empty() => words().map(|w| i32::from_le_bytes(w) as f32).collect(),
        DataType::Uint8 | DataType::Int8 | DataType::Int32 => {
            tensor.int32_data.iter().map(|&v| v as f32).collect()
        }
        _ => return None,
    })
}

/// A checked f32 tensor from values.
pub(super) fn from_floats(name: String, dims: Vec<i64>, values: &[f32]) -> TensorProto {
    TensorProto {
        name,
        dims,
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn shown(tensor: &TensorProto) -> String {
    tensor.name.chars().take(80).flat_map(char::escape_default).collect()
}
