//! Creating and replacing Classic APIs.

use serde_json::Value;

use crate::classic;
use crate::control::{Accepted, Rejection, is_valid_id, judge};
use crate::document::Format;
use crate::json::from_json;
use crate::members::canonicalise;
use crate::report::{ErrorKind, Report};
use crate::substitute::Replace;

/// Checks the body of `POST /apis`. `new_id` (32 hex digits) is used when the body has none.
///
/// # Errors
/// Tyk's answers to malformed and impossible definitions.
pub fn classic_for_create(
    replace: &mut Replace<'_>,
    body: &[u8],
    new_id: &str,
) -> Result<Accepted, Rejection> {
    let mut value = object(body)?;
    if value
        .get("api_id")
        .is_none_or(|id| id.is_null() || id == "")
    {
        value["api_id"] = new_id.into();
    }
    accept(replace, value)
}

/// Checks the body of `PUT /apis/{id}`. `stored` is the format the API has now, `None` when
/// there is no such API; then the definition is stored as a new one, as Tyk does.
///
/// # Errors
/// Tyk's answers to malformed, impossible and misdirected definitions.
pub fn classic_for_update(
    replace: &mut Replace<'_>,
    body: &[u8],
    path_id: &str,
    stored: Option<Format>,
) -> Result<Accepted, Rejection> {
    if path_id.is_empty() {
        return Err(Rejection::id_missing());
    }
    if stored == Some(Format::Oas) {
        return Err(Rejection::classic_expected());
    }
    let value = object(body)?;
    if value.get("api_id").and_then(Value::as_str) != Some(path_id) {
        return Err(Rejection::id_mismatch());
    }
    accept(replace, value)
}

/// The body in canonical spelling.
pub(crate) fn object(body: &[u8]) -> Result<Value, Rejection> {
    let text = std::str::from_utf8(body).map_err(|_| Rejection::malformed())?;
    let mut value = from_json(text).map_err(|_| Rejection::malformed())?;
    if !value.is_object() {
        return Err(Rejection::malformed());
    }
    let report = Report::default();
    canonicalise(&mut value, &classic::members::ROOT, &report);
    report.finish().map_err(|_| Rejection::malformed())?;
    Ok(value)
}

/// Accepts a readable definition.
pub(crate) fn accept(replace: &mut Replace<'_>, mut value: Value) -> Result<Accepted, Rejection> {
    // A Classic route stores Classic APIs, whatever the body claims.
    value["is_oas"] = false.into();
    let (parsed, _) = judge(Format::Classic, &value, replace).map_err(|unusable| {
        let is_malformed = unusable.errors.iter().any(|e| e.kind != ErrorKind::Invalid);
        match is_malformed {
            true => Rejection::malformed(),
            false => Rejection::invalid(&unusable.reason()),
        }
    })?;
    if !is_valid_id(&parsed.api.id) {
        return Err(Rejection::invalid_id());
    }
    Ok(Accepted {
        id: parsed.api.id,
        classic: parsed.document,
        oas: None,
        warnings: parsed.warnings,
    })
}
