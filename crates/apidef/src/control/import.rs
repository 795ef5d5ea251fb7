//! Making an API out of a plain OpenAPI document: import, patch, export.

use serde_json::{Map, Value, json};

use crate::control::oas_write::{accept, fits_schema, name, object};
use crate::control::schema::{oas_violations, openapi_violations};
use crate::control::{Accepted, Rejection};
use crate::document::{Document, Format};
use crate::oas::EXTENSION;
use crate::substitute::Replace;

/// The members of an OpenAPI path item that are operations.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// What the query of an import or patch may set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OasParameters {
    /// `upstreamURL`.
    pub upstream_url: Option<String>,
    /// `listenPath`.
    pub listen_path: Option<String>,
    /// `customDomain`.
    pub custom_domain: Option<String>,
    /// `authentication`: take over the document's security section, or switch it off.
    pub authentication: Option<bool>,
    /// `allowList`: only the operations of the document may be called.
    pub allow_list: Option<bool>,
    /// `validateRequest`: requests must match the document.
    pub validate_request: Option<bool>,
    /// `mockResponse`: answer with the document's examples.
    pub mock_response: Option<bool>,
}

impl OasParameters {
    /// Reads decoded query parameters; others are left alone.
    ///
    /// # Errors
    /// A boolean that is neither `true` nor `false`.
    pub fn from_query<'a>(
        query: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Rejection> {
        let mut parameters = Self::default();
        for (key, value) in query {
            let text = || Some(value.to_owned()).filter(|v| !v.is_empty());
            match key {
                "upstreamURL" => parameters.upstream_url = text(),
                "listenPath" => parameters.listen_path = text(),
                "customDomain" => parameters.custom_domain = text(),
                "authentication" => parameters.authentication = boolean(key, value)?,
                "allowList" => parameters.allow_list = boolean(key, value)?,
                "validateRequest" => parameters.validate_request = boolean(key, value)?,
                "mockResponse" => parameters.mock_response = boolean(key, value)?,
                _ => {}
            }
        }
        Ok(parameters)
    }
}

/// Checks the body of `POST /apis/oas/import` and gives it the gateway's settings.
///
/// # Errors
/// Tyk's answers to malformed documents, those with settings already, and schema violations.
pub fn oas_for_import(
    replace: &mut Replace<'_>,
    body: &[u8],
    parameters: &OasParameters,
    new_id: &str,
) -> Result<Accepted, Rejection> {
    let mut value = object(body, Rejection::malformed_oas)?;
    if value.get(EXTENSION).is_some() {
        return Err(Rejection::extension_in_import());
    }
    check(&openapi_violations(&value))?;
    let title = value["info"]["title"].clone();
    value[EXTENSION] = json!({
        "info": { "name": title, "state": { "active": true, "internal": false } },
        "server": {
            "listenPath": { "value": "/", "strip": true },
            "contextVariables": { "enabled": true },
        },
        "upstream": {},
        "middleware": { "global": { "trafficLogs": { "enabled": true } } },
    });
    finish(replace, value, parameters, new_id)
}

/// Checks the body of `PATCH /apis/oas/{id}`. A body without the gateway's settings keeps
/// those of `stored`, the document the API has now (`None`: no such API).
///
/// # Errors
/// Tyk's answers to malformed and misdirected documents and schema violations.
pub fn oas_for_patch(
    replace: &mut Replace<'_>,
    body: &[u8],
    parameters: &OasParameters,
    path_id: &str,
    stored: Option<&Document>,
) -> Result<Accepted, Rejection> {
    let stored = match stored {
        None => return Err(Rejection::not_found()),
        Some(document) if document.format() == Format::Classic => {
            return Err(Rejection::classic_changed_as_oas());
        }
        Some(document) => document,
    };
    let mut value = object(body, Rejection::malformed_oas)?;
    check(&openapi_violations(&value))?;
    let old = object(stored.text().as_bytes(), Rejection::malformed_oas)?;
    for extension in [EXTENSION, "x-portcullis"] {
        if value.get(extension).is_none_or(Value::is_null)
            && let Some(kept) = old.get(extension)
        {
            value[extension] = kept.clone();
        }
    }
    let accepted = finish(replace, value, parameters, path_id)?;
    if accepted.id != path_id {
        return Err(Rejection::id_mismatch());
    }
    Ok(accepted)
}

/// The document without the settings of any gateway, for `mode=public`.
#[must_use]
pub fn public_oas(oas: &Value) -> Value {
    let mut value = oas.clone();
    if let Value::Object(object) = &mut value {
        object.retain(|name, _| !name.starts_with("x-tyk-") && name != "x-portcullis");
    }
    value
}

/// The file name an export is offered under; `None` for all APIs at once.
#[must_use]
pub fn export_name(id: Option<&str>, public: bool) -> String {
    let stem = if public { "oas" } else { "TykOasApiDef" };
    match id {
        Some(id) => format!("{stem}-{id}.json"),
        None => format!("{stem}.json"),
    }
}

fn boolean(key: &str, value: &str) -> Result<Option<bool>, Rejection> {
    match value {
        "" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(Rejection::new(
            400,
            format!("{key}: expected true or false, found {value:?}"),
        )),
    }
}

fn check(violations: &[String]) -> Result<(), Rejection> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Rejection::new(400, violations.join("\n")))
    }
}

fn finish(
    replace: &mut Replace<'_>,
    mut value: Value,
    parameters: &OasParameters,
    id: &str,
) -> Result<Accepted, Rejection> {
    if !value[EXTENSION].is_object() {
        return Err(Rejection::extension_missing());
    }
    apply(&mut value, parameters)?;
    fits_schema(replace, &value)?;
    name(&mut value, id);
    accept(replace, &value)
}

fn apply(value: &mut Value, parameters: &OasParameters) -> Result<(), Rejection> {
    let server_url = first_server(value);
    for part in ["server", "upstream", "middleware"] {
        if value[EXTENSION]
            .get(part)
            .is_some_and(|p| !p.is_object() && !p.is_null())
        {
            return check(&oas_violations(value));
        }
    }
    let upstream = &mut value[EXTENSION]["upstream"];
    match (&parameters.upstream_url, server_url) {
        (Some(url), _) => upstream["url"] = url.as_str().into(),
        (None, Some(url))
            if upstream.get("url").is_none() && upstream.get("loadBalancing").is_none() =>
        {
            upstream["url"] = url.into();
        }
        _ => {}
    }
    let server = &mut value[EXTENSION]["server"];
    if let Some(path) = &parameters.listen_path {
        if !server["listenPath"].is_object() {
            server["listenPath"] = json!({});
        }
        server["listenPath"]["value"] = path.as_str().into();
    }
    if let Some(domain) = &parameters.custom_domain {
        if !server["customDomain"].is_object() {
            server["customDomain"] = json!({});
        }
        server["customDomain"]["enabled"] = true.into();
        server["customDomain"]["name"] = domain.as_str().into();
    }
    match parameters.authentication {
        Some(true) => {
            let schemes = security_schemes(value)?;
            let server = &mut value[EXTENSION]["server"];
            if !server["authentication"].is_object() {
                server["authentication"] = json!({});
            }
            server["authentication"]["enabled"] = true.into();
            server["authentication"]["securitySchemes"] = schemes;
        }
        Some(false) => {
            let server = &mut value[EXTENSION]["server"];
            if server["authentication"].is_object() {
                server["authentication"]["enabled"] = false.into();
            }
        }
        None => {}
    }
    operations(value, parameters);
    Ok(())
}

/// The URL of the document's first server, variables replaced by their defaults.
fn first_server(value: &Value) -> Option<String> {
    let server = value["servers"].as_array()?.first()?;
    let mut url = server["url"].as_str()?.to_owned();
    for (variable, description) in server["variables"].as_object().into_iter().flatten() {
        if let Some(default) = description["default"].as_str() {
            url = url.replace(&format!("{{{variable}}}"), default);
        }
    }
    Some(url).filter(|u| u.contains("://"))
}

/// The schemes that the document's `security` section names, switched on.
fn security_schemes(value: &Value) -> Result<Value, Rejection> {
    let mut schemes = Map::new();
    for requirement in value["security"].as_array().into_iter().flatten() {
        for (name, _) in requirement.as_object().into_iter().flatten() {
            let declared = &value["components"]["securitySchemes"][name];
            let mut scheme = json!({ "enabled": true });
            match declared["type"].as_str() {
                Some("apiKey") => {
                    let place = declared["in"].as_str().unwrap_or("header");
                    scheme[place] = json!({ "enabled": true, "name": declared["name"] });
                }
                Some(_) => scheme["header"] = json!({ "enabled": true, "name": "Authorization" }),
                None => {
                    return Err(Rejection::new(
                        400,
                        format!(
                            "components.securitySchemes.{name}: named by security but not declared"
                        ),
                    ));
                }
            }
            schemes.insert(name.clone(), scheme);
        }
    }
    if schemes.is_empty() {
        return Err(Rejection::new(
            400,
            "authentication=true needs a security section that names a declared scheme",
        ));
    }
    Ok(schemes.into())
}

/// Sets the three settings that concern every operation, and names operations without an id.
fn operations(value: &mut Value, parameters: &OasParameters) {
    let wanted = [
        parameters.allow_list,
        parameters.validate_request,
        parameters.mock_response,
    ];
    if wanted.iter().all(Option::is_none) {
        return;
    }
    let mut found = Vec::new();
    for (path, item) in value["paths"].as_object_mut().into_iter().flatten() {
        for method in METHODS {
            let Some(operation) = item.get_mut(method).filter(|o| o.is_object()) else {
                continue;
            };
            if operation["operationId"].as_str().is_none_or(str::is_empty) {
                let id = format!(
                    "{}{}",
                    path.trim_start_matches('/'),
                    method.to_ascii_uppercase()
                );
                operation["operationId"] = id.into();
            }
            let id = operation["operationId"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            found.push((id, has_input(operation), has_example(operation)));
        }
    }
    let middleware = &mut value[EXTENSION]["middleware"];
    if !middleware["operations"].is_object() {
        middleware["operations"] = json!({});
    }
    for (id, input, example) in found {
        let settings = &mut middleware["operations"][id];
        if !settings.is_object() {
            *settings = json!({});
        }
        if let Some(on) = parameters.allow_list {
            settings["allow"] = json!({ "enabled": on });
        }
        if let Some(on) = parameters.validate_request.filter(|_| input) {
            settings["validateRequest"] = json!({ "enabled": on, "errorResponseCode": 422 });
        }
        if let Some(on) = parameters.mock_response.filter(|_| example) {
            settings["mockResponse"] =
                json!({ "enabled": on, "fromOASExamples": { "enabled": on } });
        }
    }
}

fn has_input(operation: &Value) -> bool {
    operation.get("requestBody").is_some()
        || operation["parameters"]
            .as_array()
            .is_some_and(|p| !p.is_empty())
}

/// Whether some response has an example to answer with.
fn has_example(operation: &Value) -> bool {
    let contents = operation["responses"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, response)| response["content"].as_object());
    contents.flatten().any(|(_, media)| {
        media.get("example").is_some()
            || media.get("examples").is_some()
            || media["schema"].get("example").is_some()
            || media["schema"].get("properties").is_some()
    })
}
