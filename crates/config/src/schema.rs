//! A JSON schema of the file, made from the table, for editors.
//!
//! Spellings other than the canonical ones are left out, so an editor proposes one name per
//! key. Nothing is forbidden beyond what the table knows: unknown keys are allowed, as the
//! loader only warns about them.

use serde_json::{Map, Value as Json, json};

use crate::key::{Key, Kind};
use crate::table;

/// A JSON schema (draft 2020-12) of the configuration file.
#[must_use]
pub fn json_schema() -> Json {
    let mut root = Map::new();
    for key in table::keys() {
        let mut properties = &mut root;
        let mut parts = key.path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                properties.insert(part.to_owned(), property(key));
                break;
            }
            properties = properties
                .entry(part)
                .or_insert_with(|| json!({"type": ["object", "null"], "properties": {}}))
                .get_mut("properties")
                .and_then(Json::as_object_mut)
                .expect("no key of the table lies inside another");
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tyk.conf as Portcullis reads it",
        "type": "object",
        "properties": root,
    })
}

fn property(key: &Key) -> Json {
    let mut schema = match key.kind {
        Kind::Bool => json!({"type": ["boolean", "null"]}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::TlsVersionName => json!({"enum": ["", "1.0", "1.1", "1.2", "1.3"]}),
        Kind::Text | Kind::Path | Kind::Secret | Kind::SecretOrReference | Kind::Address => {
            json!({"type": ["string", "null"]})
        }
        Kind::Port | Kind::TlsVersion => {
            json!({"type": ["integer", "null"], "minimum": 0, "maximum": 65535})
        }
        Kind::Integer { min, max } => within(min, max),
        Kind::Bytes(min) | Kind::Seconds(min) | Kind::Milliseconds(min) => within(min, i64::MAX),
        Kind::DecimalSeconds(_) | Kind::Number => json!({"type": ["number", "null"]}),
        Kind::TextList => json!({"type": ["array", "null"], "items": {"type": "string"}}),
        Kind::ChoiceList(words) => json!({"type": ["array", "null"], "items": {"enum": words}}),
        Kind::TextMap | Kind::SecretMap => {
            json!({"type": ["object", "null"], "additionalProperties": {"type": "string"}})
        }
        Kind::CertificatePairs => json!({"type": ["array", "null"], "items": {
            "type": "object",
            "required": ["cert_file", "key_file"],
            "properties": {
                "domain_name": {"type": "string"},
                "cert_file": {"type": "string"},
                "key_file": {"type": "string"},
            },
        }}),
        Kind::PortRules => json!({"type": ["object", "null"], "additionalProperties": {
            "type": "object",
            "properties": {
                "ports": {"type": "array", "items": port()},
                "ranges": {"type": "array", "items": {
                    "type": "object",
                    "required": ["from", "to"],
                    "properties": {"from": port(), "to": port()},
                }},
            },
        }}),
        Kind::Messages => json!({"type": ["object", "null"], "additionalProperties": {
            "type": "object",
            "properties": {"message": {"type": "string"}, "code": {"type": "integer"}},
        }}),
        Kind::BoolOrPorts => {
            json!({"anyOf": [{"type": ["boolean", "null"]}, {"type": "array", "items": port()}]})
        }
        Kind::GoDuration => json!({"type": ["integer", "string", "null"]}),
        Kind::ValueStores | Kind::Opaque => json!({"type": ["object", "null"]}),
    };
    schema["description"] = json!(key.effect);
    schema
}

fn within(min: i64, max: i64) -> Json {
    let mut schema = json!({"type": ["integer", "null"]});
    if min != i64::MIN {
        schema["minimum"] = json!(min);
    }
    if max != i64::MAX {
        schema["maximum"] = json!(max);
    }
    schema
}

fn port() -> Json {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_is_in_the_schema_at_its_path() {
        let schema = json_schema();
        for key in table::keys() {
            let pointer = format!("/properties/{}", key.path.replace('.', "/properties/"));
            let found = schema
                .pointer(&pointer)
                .unwrap_or_else(|| panic!("{}", key.path));
            assert_eq!(found["description"], key.effect);
        }
    }
}
