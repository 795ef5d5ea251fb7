//! An OAS document as the Classic definition that runs for it.
//!
//! This is what `GET /apis` shows of an OAS API and what is stored in `<id>.json` beside
//! `<id>-oas.json`. Of a document the parser would refuse, the members that make no sense are
//! left out.

mod access;
mod events;
mod operations;
mod uptime;

use serde_json::{Map, Value, json};

use crate::members::canonicalise;
use crate::oas::{EXTENSION, members, tls_version};
use crate::report::Report;

/// The Classic definition of an OAS document, `is_oas: true`.
#[must_use]
pub fn classic_view(oas: &Value) -> Value {
    let mut oas = oas.clone();
    canonicalise(&mut oas, &members::ROOT, &Report::default());
    let oas = &oas;
    let extension = &oas[EXTENSION];
    let mut classic = Map::new();
    info(&extension["info"], &mut classic);
    server(&extension["server"], &mut classic);
    upstream(&extension["upstream"], &mut classic);
    error_overrides(&extension["errorOverrides"], &mut classic);
    uptime::project(&extension["upstream"]["uptimeTests"], &mut classic);
    access::project(oas, extension, &mut classic);
    classic.insert("proxy".into(), proxy(extension));
    classic.insert("version_data".into(), version_data(oas, extension));
    classic.insert("is_oas".into(), true.into());
    if let Some(ours) = oas.get("x-portcullis").filter(|o| o.is_object()) {
        classic.insert("portcullis".into(), ours.clone());
    }
    Value::Object(classic)
}

/// A protection's switch, as the parser reads it.
fn not_disabled(node: &Value) -> bool {
    !node.is_null() && node["enabled"] != false
}

/// An extra's switch.
fn enabled(node: &Value) -> bool {
    node["enabled"] == true
}

/// Copies members under new names, those that are there.
fn copy(from: &Value, names: &[(&str, &str)], to: &mut Map<String, Value>) {
    for (source, target) in names {
        if let Some(value) = from.get(source).filter(|v| !v.is_null()) {
            to.insert((*target).to_owned(), value.clone());
        }
    }
}

fn list(node: &Value) -> &[Value] {
    node.as_array().map_or(&[], Vec::as_slice)
}

fn info(info: &Value, classic: &mut Map<String, Value>) {
    copy(
        info,
        &[
            ("id", "api_id"),
            ("dbId", "id"),
            ("orgId", "org_id"),
            ("name", "name"),
            ("expiration", "expiration"),
        ],
        classic,
    );
    copy(
        &info["state"],
        &[("active", "active"), ("internal", "internal")],
        classic,
    );
    let versioning = &info["versioning"];
    let mut definition = Map::new();
    copy(
        versioning,
        &[
            ("enabled", "enabled"),
            ("name", "name"),
            ("default", "default"),
            ("location", "location"),
            ("key", "key"),
            ("stripVersioningData", "strip_versioning_data"),
            ("fallbackToDefault", "fallback_to_default"),
            ("urlVersioningPattern", "url_versioning_pattern"),
        ],
        &mut definition,
    );
    if !versioning.is_null() {
        let versions: Map<String, Value> = list(&versioning["versions"])
            .iter()
            .filter_map(|v| Some((v["name"].as_str()?.to_owned(), v["id"].clone())))
            .collect();
        definition.insert("versions".into(), versions.into());
        classic.insert("definition".into(), definition.into());
    }
}

fn server(server: &Value, classic: &mut Map<String, Value>) {
    copy(
        server,
        &[
            ("port", "listen_port"),
            ("protocol", "protocol"),
            ("slug", "slug"),
        ],
        classic,
    );
    if let Some(handlers) = events::event_handlers(server) {
        classic.insert("event_handlers".into(), handlers);
    }
    let domain = &server["customDomain"];
    copy(
        domain,
        &[("name", "domain"), ("certificates", "certificates")],
        classic,
    );
    classic.insert("domain_disabled".into(), (!enabled(domain)).into());
    copy(&server["gatewayTags"], &[("tags", "tags")], classic);
    classic.insert(
        "tags_disabled".into(),
        (!enabled(&server["gatewayTags"])).into(),
    );
    for (source, target) in [
        ("detailedActivityLogs", "enable_detailed_recording"),
        ("detailedTracing", "detailed_tracing"),
        ("contextVariables", "enable_context_vars"),
        ("batchProcessing", "enable_batch_request_support"),
    ] {
        if enabled(&server[source]) {
            classic.insert(target.into(), true.into());
        }
    }
}

fn upstream(upstream: &Value, classic: &mut Map<String, Value>) {
    let mutual = &upstream["mutualTLS"];
    let certificates: Map<String, Value> = list(&mutual["domainToCertificateMapping"])
        .iter()
        .filter_map(|m| Some((m["domain"].as_str()?.to_owned(), m["certificate"].clone())))
        .collect();
    classic.insert("upstream_certificates".into(), certificates.into());
    classic.insert(
        "upstream_certificates_disabled".into(),
        (!not_disabled(mutual)).into(),
    );
    let pinning = &upstream["certificatePinning"];
    let pins: Map<String, Value> = list(&pinning["domainToPublicKeysMapping"])
        .iter()
        .filter_map(|m| {
            let keys: Vec<&str> = list(&m["publicKeys"])
                .iter()
                .filter_map(Value::as_str)
                .collect();
            Some((m["domain"].as_str()?.to_owned(), keys.join(",").into()))
        })
        .collect();
    classic.insert("pinned_public_keys".into(), pins.into());
    classic.insert(
        "certificate_pinning_disabled".into(),
        (!not_disabled(pinning)).into(),
    );
    let limit = &upstream["rateLimit"];
    if !limit.is_null() {
        classic.insert("global_rate_limit".into(), rate_limit(limit));
    }
}

/// A rate limit. One that is on without a rate keeps the strictest, so that it is not lost.
fn rate_limit(limit: &Value) -> Value {
    let per = limit["per"]
        .as_str()
        .and_then(crate::duration::seconds)
        .unwrap_or(1.0);
    let rate = limit["rate"].as_f64().filter(|r| *r != 0.0).unwrap_or(1.0);
    json!({ "disabled": !not_disabled(limit), "rate": rate, "per": per })
}

fn proxy(extension: &Value) -> Value {
    let upstream = &extension["upstream"];
    let path = &extension["server"]["listenPath"];
    let mut proxy = Map::new();
    copy(
        path,
        &[("value", "listen_path"), ("strip", "strip_listen_path")],
        &mut proxy,
    );
    copy(upstream, &[("url", "target_url")], &mut proxy);
    proxy.insert(
        "preserve_host_header".into(),
        enabled(&upstream["preserveHostHeader"]).into(),
    );
    proxy.insert(
        "disable_strip_slash".into(),
        enabled(&upstream["preserveTrailingSlash"]).into(),
    );
    let balancing = &upstream["loadBalancing"];
    if !balancing.is_null() {
        let targets: Vec<Value> = list(&balancing["targets"])
            .iter()
            .flat_map(|t| {
                let weight = t.get("weight").map_or(1, |w| w.as_u64().unwrap_or(0));
                vec![t["url"].clone(); usize::try_from(weight).unwrap_or(0)]
            })
            .collect();
        proxy.insert("enable_load_balancing".into(), enabled(balancing).into());
        proxy.insert("target_list".into(), targets.into());
        copy(
            balancing,
            &[("skipUnavailableHosts", "check_host_against_uptime_tests")],
            &mut proxy,
        );
    }
    let discovery = &upstream["serviceDiscovery"];
    if !discovery.is_null() {
        let mut map = Map::new();
        copy(
            discovery,
            &[
                ("queryEndpoint", "query_endpoint"),
                ("useNestedQuery", "use_nested_query"),
                ("parentDataPath", "parent_data_path"),
                ("dataPath", "data_path"),
                ("portDataPath", "port_data_path"),
                ("targetPath", "target_path"),
                ("useTargetList", "use_target_list"),
                ("cacheTimeout", "cache_timeout"),
                ("endpointReturnsList", "endpoint_returns_list"),
            ],
            &mut map,
        );
        map.insert(
            "use_discovery_service".into(),
            not_disabled(discovery).into(),
        );
        proxy.insert("service_discovery".into(), map.into());
    }
    proxy.insert("transport".into(), transport(upstream));
    Value::Object(proxy)
}

fn error_overrides(overrides: &Value, classic: &mut Map<String, Value>) {
    if overrides.is_null() {
        return;
    }
    let rules = overrides["value"].as_object().into_iter().flatten();
    let rules: Map<String, Value> = rules
        .map(|(status, rules)| {
            let rules: Vec<Value> = list(rules).iter().map(error_override).collect();
            (status.clone(), rules.into())
        })
        .collect();
    classic.insert("error_overrides".into(), rules.into());
    classic.insert(
        "error_overrides_disabled".into(),
        (!enabled(overrides)).into(),
    );
}

fn error_override(rule: &Value) -> Value {
    let (mut matching, mut response) = (Map::new(), Map::new());
    copy(
        &rule["match"],
        &[
            ("flag", "flag"),
            ("messagePattern", "message_pattern"),
            ("bodyField", "body_field"),
            ("bodyValue", "body_value"),
        ],
        &mut matching,
    );
    copy(
        &rule["response"],
        &[
            ("statusCode", "status_code"),
            ("body", "body"),
            ("message", "message"),
            ("template", "template"),
            ("headers", "headers"),
        ],
        &mut response,
    );
    json!({ "match": matching, "response": response })
}

fn transport(upstream: &Value) -> Value {
    let tls = &upstream["tlsTransport"];
    let mut transport = Map::new();
    copy(
        tls,
        &[
            ("insecureSkipVerify", "ssl_insecure_skip_verify"),
            ("ciphers", "ssl_ciphers"),
            ("forceCommonNameCheck", "ssl_force_common_name_check"),
        ],
        &mut transport,
    );
    for (source, target) in [
        ("minVersion", "ssl_min_version"),
        ("maxVersion", "ssl_max_version"),
    ] {
        let version = tls[source].as_str().and_then(tls_version).unwrap_or(0);
        transport.insert(target.into(), version.into());
    }
    if not_disabled(&upstream["proxy"]) {
        copy(&upstream["proxy"], &[("url", "proxy_url")], &mut transport);
    }
    Value::Object(transport)
}

fn version_data(oas: &Value, extension: &Value) -> Value {
    let global = &extension["middleware"]["global"];
    let mut version = Map::new();
    version.insert("name".into(), "".into());
    version.insert("use_extended_paths".into(), true.into());
    version.insert(
        "extended_paths".into(),
        operations::extended_paths(oas, extension),
    );
    let size = &global["requestSizeLimit"];
    if not_disabled(size) {
        // Without a number the smallest limit stands in, so that the limit is not lost.
        let value = size["value"].as_i64().filter(|v| *v != 0).unwrap_or(1);
        version.insert("global_size_limit".into(), value.into());
    }
    let timeout = &extension["upstream"]["enforceTimeout"];
    if not_disabled(timeout) {
        copy(
            timeout,
            &[("value", "global_enforce_timeout")],
            &mut version,
        );
    }
    if enabled(&global["ignoreCase"]) {
        version.insert("ignore_endpoint_case".into(), true.into());
    }
    for (source, added, removed) in [
        (
            "transformRequestHeaders",
            "global_headers",
            "global_headers_remove",
        ),
        (
            "transformResponseHeaders",
            "global_response_headers",
            "global_response_headers_remove",
        ),
    ] {
        let headers = &global[source];
        if enabled(headers) {
            version.insert(added.into(), header_map(&headers["add"]));
            copy(headers, &[("remove", removed)], &mut version);
        }
    }
    json!({ "not_versioned": true, "default_version": "", "versions": { "": version } })
}

/// A list of `{name, value}` as an object.
fn header_map(headers: &Value) -> Value {
    let map: Map<String, Value> = list(headers)
        .iter()
        .filter_map(|h| Some((h["name"].as_str()?.to_owned(), h["value"].clone())))
        .collect();
    map.into()
}
