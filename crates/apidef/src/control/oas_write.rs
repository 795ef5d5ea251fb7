//! Creating and replacing OAS APIs.

use serde_json::Value;

use crate::control::schema::oas_violations;
use crate::control::{Accepted, Rejection, Unusable, classic_view, is_valid_id, judge};
use crate::document::Format;
use crate::json::from_json;
use crate::members::canonicalise;
use crate::oas::{self, EXTENSION};
use crate::report::Report;
use crate::source::differences;
use crate::substitute::{Replace, in_tree_of};

/// Checks the body of `POST /apis/oas`. `new_id` (32 hex digits) is used when the body has
/// none.
///
/// # Errors
/// Tyk's answers to malformed documents and schema violations.
pub fn oas_for_create(
    replace: &mut Replace<'_>,
    body: &[u8],
    new_id: &str,
) -> Result<Accepted, Rejection> {
    let mut value = object(body, Rejection::malformed)?;
    check(replace, &value)?;
    name(&mut value, new_id);
    accept(replace, &value)
}

/// Checks the body of `PUT /apis/oas/{id}`. `stored` is the format the API has now, `None`
/// when there is no such API.
///
/// # Errors
/// Tyk's answers to malformed and misdirected documents and schema violations.
pub fn oas_for_update(
    replace: &mut Replace<'_>,
    body: &[u8],
    path_id: &str,
    stored: Option<Format>,
) -> Result<Accepted, Rejection> {
    if path_id.is_empty() {
        return Err(Rejection::id_missing());
    }
    match stored {
        None => return Err(Rejection::not_found()),
        Some(Format::Classic) => return Err(Rejection::classic_changed_as_oas()),
        Some(Format::Oas) => {}
    }
    let mut value = object(body, Rejection::malformed)?;
    check(replace, &value)?;
    name(&mut value, path_id);
    let accepted = accept(replace, &value)?;
    if accepted.id != path_id {
        return Err(Rejection::id_mismatch());
    }
    Ok(accepted)
}

/// The body in canonical spelling.
pub(crate) fn object(body: &[u8], malformed: fn() -> Rejection) -> Result<Value, Rejection> {
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut value = from_json(text).map_err(|_| malformed())?;
    if !value.is_object() {
        return Err(malformed());
    }
    let report = Report::default();
    canonicalise(&mut value, &oas::members::ROOT, &report);
    report.finish().map_err(|_| malformed())?;
    Ok(value)
}

fn check(replace: &mut Replace<'_>, value: &Value) -> Result<(), Rejection> {
    if value.get(EXTENSION).is_none_or(Value::is_null) {
        return Err(Rejection::extension_missing());
    }
    fits_schema(replace, value)
}

/// Whether a document fits the schema with the values of its references.
pub(crate) fn fits_schema(replace: &mut Replace<'_>, value: &Value) -> Result<(), Rejection> {
    let (value, told) = in_tree_of(value, replace);
    let violations = oas_violations(&value);
    if violations.is_empty() {
        Ok(())
    } else {
        let message = told.without_values(&violations.join("\n"));
        Err(Rejection::new(400, message))
    }
}

/// Gives the API an id unless it has one.
pub(crate) fn name(value: &mut Value, id: &str) {
    let info = &mut value[EXTENSION]["info"];
    if info.get("id").is_none_or(|id| id.is_null() || id == "") {
        info["id"] = id.into();
    }
}

/// Accepts a document that has passed the schema.
pub(crate) fn accept(replace: &mut Replace<'_>, value: &Value) -> Result<Accepted, Rejection> {
    let refused = |unusable: Unusable| Rejection::invalid(&unusable.reason());
    let (parsed, has_references) = judge(Format::Oas, value, replace).map_err(refused)?;
    if !is_valid_id(&parsed.api.id) {
        return Err(Rejection::invalid_id());
    }
    let projected = classic_view(value);
    let (half, _) = judge(Format::Classic, &projected, replace).map_err(refused)?;
    for protection in &parsed.api.protections {
        if !half.api.protections.contains(protection) {
            return Err(Rejection::invalid(&format!(
                "the Classic file of the pair cannot express this definition's {protection}"
            )));
        }
    }
    let (oas, pair) = (&parsed.api, &half.api);
    if (&oas.authentication, &oas.limits) != (&pair.authentication, &pair.limits) {
        return Err(Rejection::invalid(
            "the Classic file of the pair cannot express this definition's authentication",
        ));
    }
    // A reference may stand where the Classic file has something that is made of its value.
    if has_references && let [first, ..] = differences(&parsed, &half)[..] {
        return Err(Rejection::invalid(&format!(
            "the Classic file of the pair cannot express {first} by a reference"
        )));
    }
    Ok(Accepted {
        id: parsed.api.id,
        classic: half.document,
        oas: Some(parsed.document),
        warnings: parsed.warnings,
    })
}
