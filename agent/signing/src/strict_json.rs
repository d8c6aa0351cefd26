//! JSON without the liberties that parsers disagree on: a key stands once in an object, nesting is shallow, nothing
//! follows the document. Two programs that read the same signed bytes must not see two different things.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::TrustError;

/// The deepest nesting of objects and lists. A configuration has six levels.
pub const MAX_DEPTH: usize = 32;

/// What serde_json's message begins with when our own limit was hit; it carries no type through.
const DEEP: &str = "nested too deeply";

/// Reads one JSON document.
///
/// # Errors
/// `BadPayload` with place and reason, or `TooDeep`.
pub fn strict_json(bytes: &[u8]) -> Result<Value, TrustError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let told = |error: serde_json::Error| {
        let text = error.to_string();
        if text.starts_with(DEEP) || text.starts_with("recursion limit") {
            return TrustError::TooDeep(MAX_DEPTH);
        }
        TrustError::BadPayload(text)
    };
    let value = Strict { left: MAX_DEPTH }.deserialize(&mut reader).map_err(told)?;
    reader.end().map_err(told)?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    left: usize,
}

impl Strict {
    fn below<E: Error>(self) -> Result<Strict, E> {
        let left = self.left.checked_sub(1).ok_or_else(|| E::custom(DEEP))?;
        Ok(Strict { left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if values.contains_key(&key) {
                let shown: String = key.chars().take(40).flat_map(char::escape_default).collect();
                return Err(A::Error::custom(format!("the key \"{shown}\" stands twice")));
            }
            let value = object.next_value_seed(below)?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::TrustErrorKind;

    #[test]
    fn plain_json_reads_as_everywhere_else() {
        let text = r#"{"a":[1,-2,0.5,null,true,"x\u00e4"],"b":{},"c":18446744073709551615}"#;
        assert_eq!(strict_json(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"\u0061":3}}]"#] {
            let error = strict_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), TrustErrorKind::BadPayload);
            assert!(error.to_string().contains("\"a\" stands twice"), "{error}");
        }
    }

    #[test]
    fn what_follows_a_document_is_refused() {
        for text in ["{} {}", "{}x", "1 2", "{}\0"] {
            assert_eq!(
                strict_json(text.as_bytes()).unwrap_err().kind(),
                TrustErrorKind::BadPayload,
                "{text}"
            );
        }
        strict_json(b"{} \n").unwrap();
    }

    #[test]
    fn nesting_is_bounded_whatever_it_is_made_of() {
        let tower = |open: &str, close: &str, n: usize| open.repeat(n) + "1" + &close.repeat(n);
        strict_json(tower("[", "]", MAX_DEPTH).as_bytes()).unwrap();
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for n in [MAX_DEPTH + 1, 127, 100_000] {
                let error = strict_json(tower(open, close, n).as_bytes()).unwrap_err();
                assert_eq!(error.kind(), TrustErrorKind::TooDeep, "{open} {n}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let outcome = strict_json(&bytes);
            // Stricter than serde_json, never laxer, and the same where both agree.
            if let Ok(value) = outcome {
                prop_assert_eq!(value, serde_json::from_slice::<Value>(&bytes).unwrap());
            }
        }
    }
}
