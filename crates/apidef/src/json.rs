//! Definition text to a JSON tree, from JSON or YAML.
//!
//! Invariants:
//! - A member given twice in one object is an error. Readers of JSON disagree about which of
//!   the two counts, and one of them may be the one that keeps somebody out.
//! - A YAML merge key is an error: ignoring it would lose what it merges in.
//! - Depth and alias expansion are bounded by the parsers, so hostile text cannot exhaust
//!   the stack or the memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses JSON text. A leading byte order mark is skipped. The error says line and column.
pub(crate) fn from_json(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = Unique.deserialize(&mut parser).map_err(|e| e.to_string())?;
    parser.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// Parses YAML text into the JSON data model. The error says line and column.
pub(crate) fn from_yaml(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Unique
        .deserialize(serde_norway::Deserializer::from_str(text))
        .map_err(|e| e.to_string())
}

/// What a value is called in an error message.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Builds a [`Value`] and refuses repeated members.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if name == "<<" {
                return Err(A::Error::custom(
                    "merge keys (`<<`) are not read, write the members out",
                ));
            }
            let value = map.next_value_seed(Self)?;
            if object.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!(
                    "member `{name}` is given twice"
                )));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A member name; YAML may write a number or boolean there (`200:` of an OpenAPI response).
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }
    fn visit_str<E>(self, v: &str) -> Result<String, E> {
        Ok(v.to_owned())
    }
    fn visit_string<E>(self, v: String) -> Result<String, E> {
        Ok(v)
    }
    fn visit_bool<E>(self, v: bool) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_i64<E>(self, v: i64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_u64<E>(self, v: u64) -> Result<String, E> {
        Ok(v.to_string())
    }
    fn visit_f64<E>(self, v: f64) -> Result<String, E> {
        Ok(v.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_in_both_notations() {
        assert!(
            from_json(r#"{"a":{"b":1,"b":2}}"#)
                .unwrap_err()
                .contains("`b` is given twice")
        );
        assert!(
            from_yaml("a:\n  b: 1\n  b: 2\n")
                .unwrap_err()
                .contains("given twice")
        );
    }

    #[test]
    fn merge_keys_and_tags_are_refused_and_anchors_are_read() {
        assert!(
            from_yaml("a: &x {b: 1}\nc:\n  <<: *x\n")
                .unwrap_err()
                .contains("merge keys")
        );
        assert!(from_yaml("a: !env X\n").is_err());
        let value = from_yaml("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(value["c"], value["a"]);
    }

    #[test]
    fn yaml_and_json_of_the_same_document_are_the_same_tree() {
        let json = from_json("\u{feff}{\"a\":[1,-2,1.5,true,null,\"x\"],\"200\":{}}").unwrap();
        let yaml = from_yaml("a: [1, -2, 1.5, true, null, x]\n200: {}\n").unwrap();
        assert_eq!(json, yaml);
    }

    #[test]
    fn trailing_text_and_endless_nesting_are_errors() {
        assert!(from_json("{} x").is_err());
        assert!(from_json(&"[".repeat(100_000)).is_err());
        assert!(from_yaml(&"[".repeat(10_000)).is_err());
    }
}
