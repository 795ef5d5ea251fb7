//! Settings of single operations.
//!
//! The extension names operations by `operationId`; the OpenAPI part says which path and
//! method that is. A protection counts even when its operation cannot be found.

use std::collections::HashMap;

use crate::api::{EndpointTimeout, OpenPath, Protection};
use crate::breakers::{self, CircuitBreaker};
use crate::duration::duration;
use crate::facts::Facts;
use crate::reader::Node;

/// The members of an OpenAPI path item that are operations.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// What operations say of their paths.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    /// Their deadlines.
    pub(crate) timeouts: Vec<EndpointTimeout>,
    /// Their breakers.
    pub(crate) breakers: Vec<CircuitBreaker>,
    /// Those without authentication.
    pub(crate) open: Vec<OpenPath>,
}

/// Reads every operation.
pub(crate) fn read(root: &Node<'_, '_>, extension: &Node<'_, '_>, facts: &mut Facts) -> Operations {
    let middleware = extension.at("middleware");
    let operations = middleware.at("operations");
    let mut found = Operations::default();
    if !operations.is_present() {
        return found;
    }
    let places = places(root);
    for (id, operation) in operations.members() {
        protections(&operation, facts);
        extras(&operation, facts);
        let place = places.get(id);
        let open = operation.at("ignoreAuthentication");
        if open.is_not_disabled() {
            match place {
                Some((path, method)) => found.open.push(OpenPath {
                    path: (*path).to_owned(),
                    method: Some(method.to_ascii_uppercase()),
                    ignore_case: open.at("ignoreCase").bool(),
                }),
                None => open.warn("has no effect: no path has an operation with this id"),
            }
        }
        let breaker = operation.at("circuitBreaker");
        if breaker.is_enabled() {
            match place {
                Some((path, method)) => {
                    found.breakers.extend(breakers::oas(&breaker, path, method));
                }
                None => breaker.warn("has no effect: no path has an operation with this id"),
            }
        }
        let deadline = operation.at("enforceTimeout");
        if !deadline.is_not_disabled() {
            continue;
        }
        let Some(timeout) = duration(&deadline.at("value")) else {
            continue;
        };
        match place {
            Some((path, method)) => found.timeouts.push(EndpointTimeout {
                path: (*path).to_owned(),
                method: Some(method.to_ascii_uppercase()),
                timeout,
            }),
            None => deadline.warn("has no effect: no path has an operation with this id"),
        }
    }
    found
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

fn protections(operation: &Node<'_, '_>, facts: &mut Facts) {
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
        ("cache", "response cache"),
    ] {
        facts.extra(operation.at(name).is_enabled(), feature);
    }
}
