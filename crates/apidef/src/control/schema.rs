//! The part of the OAS schema that decides whether a document can be an API at all.
//!
//! The wording and the order of the messages are those of the validator Tyk uses, because
//! clients show them to people and tests compare them.

use serde_json::Value;

use crate::oas::{EXTENSION, OPENAPI};

/// What a member must be.
#[derive(Clone, Copy)]
enum Kind {
    Object,
    Text,
    Boolean,
    Integer,
    List,
}

/// A member, the object it stands in, and whether it must be there.
struct Rule {
    parent: &'static [&'static str],
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn required(parent: &'static [&'static str], name: &'static str, kind: Kind) -> Rule {
    Rule {
        parent,
        name,
        kind,
        required: true,
    }
}

const fn optional(parent: &'static [&'static str], name: &'static str, kind: Kind) -> Rule {
    Rule {
        parent,
        name,
        kind,
        required: false,
    }
}

const OPENAPI_RULES: &[Rule] = &[
    required(&[], "openapi", Kind::Text),
    required(&[], "info", Kind::Object),
    required(&["info"], "title", Kind::Text),
    required(&["info"], "version", Kind::Text),
    required(&[], "paths", Kind::Object),
    optional(&[], "servers", Kind::List),
    optional(&[], "components", Kind::Object),
];

const EXTENSION_RULES: &[Rule] = &[
    required(&[EXTENSION], "info", Kind::Object),
    required(&[EXTENSION, "info"], "name", Kind::Text),
    required(&[EXTENSION, "info"], "state", Kind::Object),
    required(&[EXTENSION, "info", "state"], "active", Kind::Boolean),
    optional(&[EXTENSION, "info", "state"], "internal", Kind::Boolean),
    required(&[EXTENSION], "upstream", Kind::Object),
    optional(&[EXTENSION, "upstream"], "url", Kind::Text),
    optional(&[EXTENSION, "upstream"], "loadBalancing", Kind::Object),
    required(&[EXTENSION], "server", Kind::Object),
    required(&[EXTENSION, "server"], "listenPath", Kind::Object),
    required(&[EXTENSION, "server", "listenPath"], "value", Kind::Text),
    optional(&[EXTENSION, "server", "listenPath"], "strip", Kind::Boolean),
    optional(&[EXTENSION, "server"], "authentication", Kind::Object),
    required(
        &[EXTENSION, "server", "authentication"],
        "enabled",
        Kind::Boolean,
    ),
    optional(&[EXTENSION, "server"], "clientCertificates", Kind::Object),
    optional(&[EXTENSION, "server"], "customDomain", Kind::Object),
    required(
        &[EXTENSION, "server", "customDomain"],
        "enabled",
        Kind::Boolean,
    ),
    required(&[EXTENSION, "server", "customDomain"], "name", Kind::Text),
    optional(&[EXTENSION, "server"], "port", Kind::Integer),
    optional(&[EXTENSION, "server"], "protocol", Kind::Text),
    optional(&[EXTENSION], "middleware", Kind::Object),
];

/// Checks the OpenAPI part only, as an import is checked.
pub(crate) fn openapi_violations(value: &Value) -> Vec<String> {
    let mut found = violations(value, OPENAPI_RULES);
    if let Some(version) = value.get("openapi").and_then(Value::as_str)
        && !OPENAPI.iter().any(|v| version.starts_with(v))
    {
        found.push("openapi: Does not match pattern '^3\\.[01]\\.\\d(-.+)?$'".to_owned());
    }
    found
}

/// Checks the whole document.
pub(crate) fn oas_violations(value: &Value) -> Vec<String> {
    let mut found = openapi_violations(value);
    if let Some(extension) = value.get(EXTENSION)
        && !extension.is_object()
    {
        found.push(format!(
            "{EXTENSION}: Invalid type. Expected: object, given: {}",
            given(extension)
        ));
        return found;
    }
    found.extend(violations(value, EXTENSION_RULES));
    let upstream = &value[EXTENSION]["upstream"];
    if upstream.is_object()
        && upstream.get("url").is_none()
        && upstream.get("loadBalancing").is_none()
    {
        found.push(format!(
            "{EXTENSION}.upstream: Must validate at least one schema (anyOf)"
        ));
        found.push(format!("{EXTENSION}.upstream: url is required"));
    }
    found
}

fn violations(value: &Value, rules: &[Rule]) -> Vec<String> {
    let mut found = Vec::new();
    for rule in rules {
        let parent = rule
            .parent
            .iter()
            .try_fold(value, |place, step| place.get(step));
        let Some(parent) = parent.filter(|p| p.is_object()) else {
            continue;
        };
        let path = rule.parent.join(".");
        match parent.get(rule.name) {
            None if rule.required => {
                let at = if path.is_empty() { "(root)" } else { &path };
                found.push(format!("{at}: {} is required", rule.name));
            }
            None => {}
            Some(member) if rule.kind.fits(member) => {}
            Some(member) => {
                let dot = if path.is_empty() { "" } else { "." };
                found.push(format!(
                    "{path}{dot}{}: Invalid type. Expected: {}, given: {}",
                    rule.name,
                    rule.kind.name(),
                    given(member)
                ));
            }
        }
    }
    found
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::Text => value.is_string(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::List => value.is_array(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Text => "string",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::List => "array",
        }
    }
}

fn given(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
