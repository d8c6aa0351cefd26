//! Counts what a protobuf decoder would allocate, before it does: two bytes of file can become hundreds in memory.

/// The most messages and small fields of a file.
const MAX_FIELDS: usize = 1_000_000;

/// The messages of an ONNX file that hold other messages, or small fields without bound.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Other,
}

impl Kind {
    /// What a length-delimited field of this message holds; `None` for plain bytes (text, packed numbers).
    fn child(self, field: u64) -> Option<Kind> {
        match (self, field) {
            (Kind::Model, 7) | (Kind::Attribute, 6 | 11) => Some(Kind::Graph),
            (Kind::Graph, 1) => Some(Kind::Node),
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) => Some(Kind::Tensor),
            (Kind::Node, 5) => Some(Kind::Attribute),
            (Kind::Model, 8 | 14 | 20 | 25)
            | (Kind::Graph, 11..=15)
            | (Kind::Attribute, 14 | 15 | 22 | 23) => Some(Kind::Other),
            _ => None,
        }
    }
}

/// Walks the fields.
///
/// # Errors
/// The bytes are no protobuf, are nested too deep, or have too many fields.
pub(super) fn scan(bytes: &[u8]) -> Result<(), String> {
    walk(bytes, Kind::Model, &mut 0, 0)
}

fn walk(mut rest: &[u8], kind: Kind, fields: &mut usize, depth: usize) -> Result<(), String> {
    if depth > 40 {
        return Err("is no ONNX file: nested too deep".into());
    }
    while !rest.is_empty() {
        *fields += 1;
        if *fields > MAX_FIELDS {
            return Err(format!("has more than {MAX_FIELDS} fields"));
        }
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => {
                varint(&mut rest)?;
            }
            1 => {
                take(&mut rest, 8)?;
            }
            5 => {
                take(&mut rest, 4)?;
            }
            2 => {
                let length = varint(&mut rest)?;
                let inner = take(&mut rest, length)?;
                match (kind, kind.child(key >> 3)) {
                    (_, Some(child)) => walk(inner, child, fields, depth + 1)?,
                    // Messages without a name here (value infos, types, metadata) may nest anything: each of
                    // their bytes counts as a field.
                    (Kind::Other, None) => *fields += inner.len(),
                    (_, None) => {}
                }
            }
            _ => return Err("is no ONNX file: it holds a group".into()),
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let (taken, left) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or("is no ONNX file, or is cut off")?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or("is no ONNX file, or is cut off")?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("is no ONNX file: a number is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_millions_of_empty_nodes_is_refused_before_it_is_decoded() {
        let graph: Vec<u8> = [0x0a, 0x00].repeat(1_000_001);
        let mut file = vec![0x3a];
        let mut length = graph.len();
        while length >= 0x80 {
            file.push(length as u8 | 0x80);
            length >>= 7;
        }
        file.push(length as u8);
        file.extend(graph);
        assert!(scan(&file).unwrap_err().contains("fields"));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert!(scan(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]).unwrap_err().contains("cut off"));
    }
}
