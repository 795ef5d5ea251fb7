//! Versions of an API: listing them, adding one.

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{Api, VersionTarget};
use crate::control::classic_write::{accept as accept_classic, object as classic_object};
use crate::control::oas_write::{accept as accept_oas, object as oas_object};
use crate::control::{Accepted, Rejection};
use crate::document::{Document, Format, ParsedDefinition};
use crate::oas::EXTENSION;
use crate::substitute::Replace;

/// The body of `GET /apis/{id}/versions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionListing {
    /// `success`.
    pub status: &'static str,
    /// The base first, then its versions in the order of the definition.
    pub apis: Vec<VersionEntry>,
}

/// One version of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionEntry {
    /// The API's id.
    pub id: String,
    /// The API's name.
    pub name: String,
    /// What the version is called.
    pub version_name: String,
    /// Not reachable on its own.
    pub internal: bool,
    /// As written; empty when it does not expire.
    pub expiration_date: String,
    /// Answers requests that name no version.
    pub is_default_version: bool,
}

/// Lists an API and its versions. `loaded` finds an API by id; versions that are not loaded
/// are left out.
pub fn version_list<'a>(
    base: &'a ParsedDefinition,
    loaded: impl Fn(&str) -> Option<&'a ParsedDefinition>,
) -> VersionListing {
    let versioning = base.api.versioning.as_ref();
    let default = versioning.and_then(|v| v.default.as_ref());
    let base_name = versioning.map_or("", |v| v.base_name.as_str());
    let mut apis = vec![entry(
        base,
        base_name,
        default == Some(&VersionTarget::Base),
    )];
    for (name, id) in versioning.map_or(&[][..], |v| v.versions.as_slice()) {
        if let Some(version) = loaded(id) {
            let is_default = default == Some(&VersionTarget::Api(id.clone()));
            apis.push(entry(version, name, is_default));
        }
    }
    VersionListing {
        status: "success",
        apis,
    }
}

/// The base API of a version (header `x-tyk-base-api-id`), `None` when `id` is none's version.
pub fn base_id<'a>(id: &str, apis: impl IntoIterator<Item = &'a Api>) -> Option<&'a str> {
    apis.into_iter()
        .find(|api| {
            let versioning = api.versioning.as_ref();
            api.id != id && versioning.is_some_and(|v| v.versions.iter().any(|(_, to)| to == id))
        })
        .map(|api| api.id.as_str())
}

/// What the query of a create may say about versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionParameters {
    /// `base_api_id`; empty: the new API is no version.
    pub base_api_id: String,
    /// `base_api_version_name`: what the base is called from now on.
    pub base_api_version_name: String,
    /// `new_version_name`.
    pub new_version_name: String,
    /// `set_default`: the new version answers requests that name none.
    pub set_default: bool,
}

impl VersionParameters {
    /// Reads decoded query parameters; others are left alone.
    #[must_use]
    pub fn from_query<'a>(query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut parameters = Self::default();
        for (key, value) in query {
            match key {
                "base_api_id" => parameters.base_api_id = value.to_owned(),
                "base_api_version_name" => parameters.base_api_version_name = value.to_owned(),
                "new_version_name" => parameters.new_version_name = value.to_owned(),
                "set_default" => parameters.set_default = value == "true",
                _ => {}
            }
        }
        parameters
    }
}

/// The base API with `new_id` as one more version, to be stored again. `base` is the loaded
/// API of `base_api_id` with its OAS document when it has one; `is_version` says that the
/// base is itself a version of another API. `None` when the parameters ask for no version.
///
/// # Errors
/// Tyk's answers to missing names and impossible bases.
pub fn add_version(
    replace: &mut Replace<'_>,
    parameters: &VersionParameters,
    base: Option<(&ParsedDefinition, Option<&Document>)>,
    is_version: bool,
    new_id: &str,
) -> Result<Option<Accepted>, Rejection> {
    let id = &parameters.base_api_id;
    if id.is_empty() {
        return Ok(None);
    }
    if parameters.new_version_name.is_empty() {
        return Err(Rejection::version_name_missing());
    }
    let Some((base, companion)) = base.filter(|_| !is_version) else {
        return Err(Rejection::not_a_base(id));
    };
    let named = base
        .api
        .versioning
        .as_ref()
        .is_some_and(|v| !v.base_name.is_empty());
    if !named && parameters.base_api_version_name.is_empty() {
        return Err(Rejection::base_name_missing(id));
    }
    let oas = match base.document.format() {
        Format::Oas => Some(&base.document),
        Format::Classic => companion,
    };
    match oas {
        Some(oas) => {
            let mut value = oas_object(oas.text().as_bytes(), Rejection::malformed)?;
            extend_oas(
                &mut value[EXTENSION]["info"]["versioning"],
                parameters,
                new_id,
            );
            if value[EXTENSION]["info"]
                .get("id")
                .is_none_or(|id| id.is_null() || id == "")
            {
                value[EXTENSION]["info"]["id"] = base.api.id.as_str().into();
            }
            accept_oas(replace, &value).map(Some)
        }
        None => {
            let mut value = classic_object(base.document.text().as_bytes())?;
            extend_classic(&mut value["definition"], parameters, new_id);
            value["api_id"] = base.api.id.as_str().into();
            accept_classic(replace, value).map(Some)
        }
    }
}

fn entry(definition: &ParsedDefinition, version_name: &str, is_default: bool) -> VersionEntry {
    let document = definition.document.value();
    let expiration = match definition.document.format() {
        Format::Classic => &document["expiration"],
        Format::Oas => &document[EXTENSION]["info"]["expiration"],
    };
    VersionEntry {
        id: definition.api.id.clone(),
        name: definition.api.name.clone(),
        version_name: version_name.to_owned(),
        internal: definition.api.internal,
        expiration_date: expiration.as_str().unwrap_or_default().to_owned(),
        is_default_version: is_default,
    }
}

fn extend_classic(definition: &mut Value, parameters: &VersionParameters, new_id: &str) {
    common(definition, parameters);
    if !definition["versions"].is_object() {
        definition["versions"] = json!({});
    }
    definition["versions"][&parameters.new_version_name] = new_id.into();
}

fn extend_oas(versioning: &mut Value, parameters: &VersionParameters, new_id: &str) {
    common(versioning, parameters);
    if !versioning["versions"].is_array() {
        versioning["versions"] = json!([]);
    }
    if let Value::Array(versions) = &mut versioning["versions"] {
        versions.retain(|v| v["name"] != parameters.new_version_name.as_str());
        versions.push(json!({ "name": parameters.new_version_name, "id": new_id }));
    }
}

/// The members both formats spell alike.
fn common(versioning: &mut Value, parameters: &VersionParameters) {
    if !versioning.is_object() {
        *versioning = json!({});
    }
    versioning["enabled"] = true.into();
    let empty = |v: &Value| v.as_str().is_none_or(str::is_empty);
    if !parameters.base_api_version_name.is_empty() || empty(&versioning["name"]) {
        versioning["name"] = parameters.base_api_version_name.as_str().into();
    }
    for (member, otherwise) in [
        ("default", "self"),
        ("location", "header"),
        ("key", "x-api-version"),
    ] {
        if empty(&versioning[member]) {
            versioning[member] = otherwise.into();
        }
    }
    if parameters.set_default {
        versioning["default"] = parameters.new_version_name.as_str().into();
    }
}
