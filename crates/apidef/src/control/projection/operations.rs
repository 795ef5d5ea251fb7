//! Settings of operations, as the path lists of a Classic version.

use serde_json::{Map, Value, json};

use super::{copy, enabled, header_map, list, not_disabled};
use crate::duration;

/// The `extended_paths` of the one version.
pub(super) fn extended_paths(oas: &Value, extension: &Value) -> Value {
    let mut lists = Map::new();
    let Some(operations) = extension["middleware"]["operations"].as_object() else {
        return lists.into();
    };
    for (id, operation) in operations {
        // An operation that is nowhere still has its rules; they then hold for no path.
        let (path, method) = place(oas, id).unwrap_or_default();
        let place = json!({ "path": path, "method": method });
        guards(operation, &place, &mut lists);
        changes(operation, &place, &mut lists);
    }
    lists.into()
}

/// Path and upper-case method of an operation.
fn place(oas: &Value, id: &str) -> Option<(String, String)> {
    for (path, item) in oas["paths"].as_object()? {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if operation["operationId"] == id {
                return Some((path.clone(), method.to_ascii_uppercase()));
            }
        }
    }
    None
}

fn guards(operation: &Value, place: &Value, lists: &mut Map<String, Value>) {
    for (name, target) in [
        ("allow", "white_list"),
        ("block", "black_list"),
        ("ignoreAuthentication", "ignored"),
        ("internal", "internal"),
        ("mockResponse", "mock_response"),
    ] {
        let setting = &operation[name];
        if not_disabled(setting) {
            let mut entry = at(place);
            copy(
                setting,
                &[
                    ("ignoreCase", "ignore_case"),
                    ("code", "code"),
                    ("body", "body"),
                ],
                &mut entry,
            );
            if name == "mockResponse" {
                entry.insert("headers".into(), header_map(&setting["headers"]));
            }
            push(lists, target, entry);
        }
    }
    for (name, target, names) in [
        (
            "requestSizeLimit",
            "size_limits",
            [("value", "size_limit")].as_slice(),
        ),
        (
            "validateRequest",
            "validate_request",
            &[("errorResponseCode", "error_response_code")],
        ),
        (
            "virtualEndpoint",
            "virtual",
            &[
                ("functionName", "response_function_name"),
                ("path", "function_source_uri"),
            ],
        ),
        (
            "urlRewrite",
            "url_rewrites",
            &[("pattern", "match_pattern"), ("rewriteTo", "rewrite_to")],
        ),
        ("enforceTimeout", "hard_timeouts", &[("value", "timeout")]),
    ] {
        let setting = &operation[name];
        if !not_disabled(setting) {
            continue;
        }
        let mut entry = at(place);
        copy(setting, names, &mut entry);
        if name == "validateRequest" {
            entry.insert("enabled".into(), true.into());
        }
        push(lists, target, entry);
    }
    let limit = &operation["rateLimit"];
    if not_disabled(limit) {
        let mut entry = at(place);
        copy(limit, &[("rate", "rate")], &mut entry);
        let per = limit["per"].as_str().and_then(duration::seconds);
        entry.insert("per".into(), per.into());
        push(lists, "rate_limit", entry);
    }
    for plugin in list(&operation["postPlugins"])
        .iter()
        .filter(|p| not_disabled(p))
    {
        let mut entry = at(place);
        copy(
            plugin,
            &[("path", "plugin_path"), ("functionName", "func_name")],
            &mut entry,
        );
        push(lists, "go_plugin", entry);
    }
}

fn changes(operation: &Value, place: &Value, lists: &mut Map<String, Value>) {
    for (name, target, names) in [
        (
            "transformRequestMethod",
            "method_transforms",
            [("toMethod", "to_method")].as_slice(),
        ),
        ("trackEndpoint", "track_endpoints", &[]),
        ("doNotTrackEndpoint", "do_not_track_endpoints", &[]),
        (
            "circuitBreaker",
            "circuit_breakers",
            &[
                ("threshold", "threshold_percent"),
                ("sampleSize", "samples"),
                ("coolDownPeriod", "return_to_service_after"),
            ],
        ),
        (
            "cache",
            "advance_cache_config",
            &[
                ("cacheByRegex", "cache_key_regex"),
                ("cacheResponseCodes", "cache_response_codes"),
                ("timeout", "timeout"),
            ],
        ),
    ] {
        if enabled(&operation[name]) {
            let mut entry = at(place);
            copy(&operation[name], names, &mut entry);
            if name == "circuitBreaker" {
                let half_open = operation[name]["halfOpenStateEnabled"] == true;
                entry.insert("disable_half_open_state".into(), (!half_open).into());
            }
            push(lists, target, entry);
        }
    }
    for (name, target) in [
        ("transformRequestBody", "transform"),
        ("transformResponseBody", "transform_response"),
    ] {
        let setting = &operation[name];
        if enabled(setting) {
            let (mode, source) = if setting["path"].is_string() {
                ("file", "path")
            } else {
                ("blob", "body")
            };
            let mut entry = at(place);
            entry.insert(
                "template_data".into(),
                json!({
                    "input_type": setting["format"],
                    "template_mode": mode,
                    "template_source": setting[source],
                }),
            );
            push(lists, target, entry);
        }
    }
    for (name, target, response) in [
        ("transformRequestHeaders", "transform_headers", false),
        (
            "transformResponseHeaders",
            "transform_response_headers",
            true,
        ),
    ] {
        let setting = &operation[name];
        if enabled(setting) {
            let mut entry = at(place);
            entry.insert("add_headers".into(), header_map(&setting["add"]));
            copy(setting, &[("remove", "delete_headers")], &mut entry);
            entry.insert("act_on".into(), response.into());
            push(lists, target, entry);
        }
    }
}

fn at(place: &Value) -> Map<String, Value> {
    place.as_object().cloned().unwrap_or_default()
}

fn push(lists: &mut Map<String, Value>, name: &str, entry: Map<String, Value>) {
    if let Value::Array(list) = lists.entry(name).or_insert_with(|| json!([])) {
        list.push(entry.into());
    }
}
