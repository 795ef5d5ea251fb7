//! Rights to the same API from several policies become one: the union of what they open, the
//! highest of their limits. -1 stands for "no limit" and is the highest.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::session::{AccessRight, AllowedUrl, EndpointLimit, Limit, MethodLimit};

/// Whether `new` allows more than `old`.
pub(super) fn is_more(new: i64, old: i64) -> bool {
    new == -1 || (old != -1 && new > old)
}

/// Adds what is not there.
pub(super) fn add_missing(list: &mut Vec<String>, more: &[String]) {
    for entry in more {
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
}

/// Takes over the rate of `new` when it allows more. A policy without a rate changes nothing.
pub(super) fn raise_rate(limit: &mut Limit, new: &Limit) {
    if lacks_rate(new) {
        return;
    }
    if lacks_rate(limit) || limit.interval() > new.interval() {
        take_rate(limit, new);
    }
}

pub(super) fn take_rate(limit: &mut Limit, new: &Limit) {
    (limit.rate, limit.per) = (new.rate, new.per);
    limit.smoothing.clone_from(&new.smoothing);
}

fn lacks_rate(limit: &Limit) -> bool {
    limit.rate == 0.0 || limit.per == 0.0
}

/// Opens what `more` opens as well. Limits are not looked at. A list that is empty opens everything
/// only while every list is: beside one that names something it adds nothing.
pub(super) fn open(right: &mut AccessRight, more: &AccessRight) {
    for (text, other) in [
        (&mut right.api_name, &more.api_name),
        (&mut right.api_id, &more.api_id),
        (&mut right.allowance_scope, &more.allowance_scope),
    ] {
        if text.is_empty() {
            text.clone_from(other);
        }
    }
    add_missing(&mut right.versions, &more.versions);
    merge_urls(&mut right.allowed_urls, &more.allowed_urls);
    right.disable_introspection |= more.disable_introspection;
    restrict_types(&mut right.restricted_types, &more.restricted_types);
    allow_types(&mut right.allowed_types, &more.allowed_types);
    raise_depths(&mut right.field_access_rights, &more.field_access_rights);
    for (name, value) in &more.remote_calls {
        right
            .remote_calls
            .entry(*name)
            .or_insert_with(|| value.clone());
    }
}

/// Entries of the same path become one with the methods of both.
fn merge_urls(urls: &mut Vec<AllowedUrl>, more: &[AllowedUrl]) {
    for entry in more {
        match urls.iter_mut().find(|url| url.url == entry.url) {
            Some(url) => add_missing(&mut url.methods, &entry.methods),
            None => urls.push(entry.clone()),
        }
    }
}

/// A field stays closed when every policy that names its type closes it.
fn restrict_types(types: &mut Vec<Value>, more: &[Value]) {
    if types.is_empty() {
        *types = more.to_vec();
        return;
    }
    for entry in more {
        match types
            .iter_mut()
            .find(|known| known["name"] == entry["name"])
        {
            Some(known) => {
                let other = fields(entry);
                let both: Vec<Value> = fields(known)
                    .into_iter()
                    .filter(|field| other.contains(field))
                    .collect();
                known["fields"] = both.into();
            }
            None => types.push(entry.clone()),
        }
    }
}

/// A field is open when one policy opens it.
fn allow_types(types: &mut Vec<Value>, more: &[Value]) {
    if types.is_empty() {
        *types = more.to_vec();
        return;
    }
    for entry in more {
        if let Some(known) = types
            .iter_mut()
            .find(|known| known["name"] == entry["name"])
        {
            let mut either = fields(known);
            for field in fields(entry) {
                if !either.contains(&field) {
                    either.push(field);
                }
            }
            known["fields"] = either.into();
        }
    }
}

fn fields(entry: &Value) -> Vec<Value> {
    entry["fields"].as_array().cloned().unwrap_or_default()
}

fn raise_depths(rights: &mut Vec<Value>, more: &[Value]) {
    for entry in more {
        let same = |known: &&mut Value| {
            known["type_name"] == entry["type_name"] && known["field_name"] == entry["field_name"]
        };
        let depth = |right: &Value| right["limits"]["max_query_depth"].as_i64().unwrap_or(0);
        match rights.iter_mut().find(same) {
            Some(known) if is_more(depth(entry), depth(known)) => {
                known["limits"] = entry["limits"].clone();
            }
            Some(_) => {}
            None => rights.push(entry.clone()),
        }
    }
}

/// The endpoints of both, each with the rate that allows more; of equal ones, that over the
/// longer time.
pub(super) fn merge_endpoints(
    one: &[EndpointLimit],
    other: &[EndpointLimit],
) -> Vec<EndpointLimit> {
    if other.is_empty() {
        return one.to_vec();
    }
    if one.is_empty() {
        return other.to_vec();
    }
    let mut merged: BTreeMap<(&str, String), &MethodLimit> = BTreeMap::new();
    for endpoint in one.iter().chain(other) {
        for method in &endpoint.methods {
            let name = (endpoint.path.as_str(), method.name.to_uppercase());
            let known = merged.entry(name).or_insert(method);
            let (new, old) = (method.limit.interval(), known.limit.interval());
            if new < old || (new == old && method.limit.rate > known.limit.rate) {
                *known = method;
            }
        }
    }
    let mut endpoints: Vec<EndpointLimit> = Vec::new();
    for ((path, _), method) in merged {
        match endpoints
            .last_mut()
            .filter(|endpoint| endpoint.path == path)
        {
            Some(endpoint) => endpoint.methods.push(method.clone()),
            None => endpoints.push(EndpointLimit {
                path: path.to_owned(),
                methods: vec![method.clone()],
            }),
        }
    }
    endpoints
}
