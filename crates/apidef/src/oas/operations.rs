//! Settings of single operations.
//!
//! The extension names operations by `operationId`; the OpenAPI part says which path and
//! method that is. A protection counts even when its operation cannot be found.

use std::collections::HashMap;

use crate::api::{EndpointTimeout, Protection};
use crate::duration::duration;
use crate::facts::Facts;
use crate::oas::access::is_keyless;
use crate::reader::Node;

/// The members of an OpenAPI path item that are operations.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Reads every operation and returns their deadlines.
pub(crate) fn read(
    root: &Node<'_, '_>,
    extension: &Node<'_, '_>,
    facts: &mut Facts,
) -> Vec<EndpointTimeout> {
    let keyless = is_keyless(extension);
    let middleware = extension.at("middleware");
    let operations = middleware.at("operations");
    let mut timeouts = Vec::new();
    if !operations.is_present() {
        return timeouts;
    }
    let places = places(root);
    for (id, operation) in operations.members() {
        protections(&operation, keyless, facts);
        extras(&operation, facts);
        let deadline = operation.at("enforceTimeout");
        if !deadline.is_not_disabled() {
            continue;
        }
        let Some(timeout) = duration(&deadline.at("value")) else {
            continue;
        };
        match places.get(id) {
            Some((path, method)) => timeouts.push(EndpointTimeout {
                path: (*path).to_owned(),
                method: Some(method.to_ascii_uppercase()),
                timeout,
            }),
            None => deadline.warn("has no effect: no path has an operation with this id"),
        }
    }
    timeouts
}

/// Operation id to path and method.
fn places<'v>(root: &Node<'_, 'v>) -> HashMap<&'v str, (&'v str, &'static str)> {
    let mut places = HashMap::new();
    let paths = root.at("paths");
    for (path, item) in paths.members() {
        for method in METHODS {
            let id = item.at(method).at("operationId").string();
            if !id.is_empty() {
                places.insert(id, (path, method));
            }
        }
    }
    places
}

fn protections(operation: &Node<'_, '_>, keyless: bool, facts: &mut Facts) {
    for (name, protection) in [
        ("allow", Protection::PathAccess),
        ("block", Protection::PathAccess),
        ("internal", Protection::PathAccess),
        ("rateLimit", Protection::RateLimit),
        ("requestSizeLimit", Protection::RequestSizeLimit),
        ("validateRequest", Protection::RequestValidation),
        ("virtualEndpoint", Protection::Plugins),
        ("mockResponse", Protection::RequestRouting),
        ("urlRewrite", Protection::RequestRouting),
    ] {
        facts.protect(operation.at(name).is_not_disabled(), protection);
    }
    // Leaving authentication out of some paths of an open API changes nothing.
    let ignored = operation.at("ignoreAuthentication").is_not_disabled();
    facts.protect(ignored && !keyless, Protection::PathAccess);
    for plugin in operation.at("postPlugins").elements() {
        facts.protect(plugin.is_not_disabled(), Protection::Plugins);
    }
}

fn extras(operation: &Node<'_, '_>, facts: &mut Facts) {
    for (name, feature) in [
        ("transformRequestMethod", "request method transform"),
        ("transformRequestBody", "request body transform"),
        ("transformResponseBody", "response body transform"),
        ("transformRequestHeaders", "request header transform"),
        ("transformResponseHeaders", "response header transform"),
        ("trackEndpoint", "endpoint tracking"),
        ("doNotTrackEndpoint", "endpoint tracking"),
        ("circuitBreaker", "circuit breaker"),
        ("cache", "response cache"),
    ] {
        facts.extra(operation.at(name).is_enabled(), feature);
    }
}
