//! How a value may be shown in a problem.
//!
//! Invariant: nothing of a secret key is shown, no key material, and no more than a line.

use serde_json::Value as Json;

use crate::key::Key;
use crate::problem::{Origin, Problem};
use crate::value::Rejection;

const LONGEST: usize = 60;

/// A value of the file.
pub(crate) fn json(key: &Key, json: &Json) -> String {
    match json {
        _ if key.is_secret() => "(redacted)".to_owned(),
        Json::Array(items) => format!("[{} items]", items.len()),
        Json::Object(members) => format!("{{{} members}}", members.len()),
        Json::String(value) => format!("\"{}\"", text(key, value)),
        other => other.to_string(),
    }
}

/// The text of a variable.
pub(crate) fn text(key: &Key, value: &str) -> String {
    if key.is_secret() {
        return "(redacted)".to_owned();
    }
    if value.contains("-----BEGIN") {
        return "(inline PEM)".to_owned();
    }
    let mut shown: String = value
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The problem a rejected value is reported as.
pub(crate) fn rejected(
    key: &Key,
    written: &str,
    origin: Origin,
    shown: String,
    rejection: Rejection,
) -> Problem {
    let dot = if rejection.inside.is_empty() || rejection.inside.starts_with(['.', '[']) {
        ""
    } else {
        "."
    };
    let path = format!("{written}{dot}{}", rejection.inside);
    let mut problem =
        Problem::error(origin, &path, rejection.message).accepted(key.kind.accepted());
    // The value of the whole key says nothing about a place inside it.
    if rejection.inside.is_empty() {
        problem = problem.value(shown);
    }
    problem.hint = rejection.hint;
    problem
}
