//! Who may call a Classic API, and what stands between client and upstream.
//!
//! Whatever is in doubt counts as a protection: serving without one lets somebody in, while
//! one too many only costs a quarantine with its reason.

use std::collections::HashSet;

use crate::api::{CertificateRole, Protection};
use crate::classic::DUPLICATE_DATA_SOURCE;
use crate::facts::Facts;
use crate::reader::Node;

/// Reads everything but the version data.
pub(crate) fn read(root: &Node<'_, '_>, facts: &mut Facts) {
    ip_access(root, facts);
    plugins(root, facts);
    upstream(root, facts);
    protocols(root, facts);
    let expiration = root.at("expiration").string();
    facts.protect(!matches!(expiration, "" | "-1"), Protection::Expiry);
    extras(root, facts);
}

/// References of the client certificates that may pass; `None` without an allow list.
pub(crate) fn client_certificates(root: &Node<'_, '_>, facts: &mut Facts) -> Option<Vec<String>> {
    // Read for its type also where it is switched off.
    let allowed = root.at("client_certificates").strings();
    if !root.at("use_mutual_tls_auth").bool() {
        return None;
    }
    for reference in &allowed {
        facts.certificate(CertificateRole::AllowList, "", reference);
    }
    Some(allowed)
}

/// Nothing authenticates on this API.
pub(super) fn is_keyless(root: &Node<'_, '_>) -> bool {
    root.at("use_keyless").bool()
}

fn ip_access(root: &Node<'_, '_>, facts: &mut Facts) {
    if root.at("ip_access_control_disabled").bool() {
        return;
    }
    for (switch, list) in [
        ("enable_ip_whitelisting", "allowed_ips"),
        ("enable_ip_blacklisting", "blacklisted_ips"),
    ] {
        if root.at(switch).bool() {
            root.at(list)
                .elements()
                .for_each(|entry| check_address(&entry));
        }
    }
    // An empty allow list still counts: what it was meant to say is not known.
    let allow = root.at("enable_ip_whitelisting").bool();
    let blocked = root.at("blacklisted_ips").strings();
    let block = root.at("enable_ip_blacklisting").bool() && !blocked.is_empty();
    root.at("allowed_ips").strings();
    facts.protect(allow || block, Protection::IpAccess);
}

/// Reports an entry that is neither an address nor a network.
pub(crate) fn check_address(entry: &Node<'_, '_>) {
    let text = entry.string();
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text, Some(0)),
    };
    let fits = match address.parse::<std::net::IpAddr>() {
        Ok(ip) => bits.is_some_and(|b| b <= if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => false,
    };
    if !fits {
        entry.error(
            format!("{text:?} is no IP address or network"),
            "10.0.0.1 or 10.0.0.0/8",
            "",
        );
    }
}

fn plugins(root: &Node<'_, '_>, facts: &mut Facts) {
    let custom = root.at("custom_middleware");
    for hook in ["pre", "post", "post_key_auth", "response"] {
        for plugin in custom.at(hook).elements() {
            facts.protect(!plugin.at("disabled").bool(), Protection::Plugins);
        }
    }
    let bundle = !root.at("custom_middleware_bundle").string().is_empty();
    facts.protect(
        bundle && !root.at("custom_middleware_bundle_disabled").bool(),
        Protection::Plugins,
    );
}

fn upstream(root: &Node<'_, '_>, facts: &mut Facts) {
    let proxy = root.at("proxy");
    facts.protect(
        proxy
            .at("service_discovery")
            .at("use_discovery_service")
            .bool(),
        Protection::RequestRouting,
    );
}

fn protocols(root: &Node<'_, '_>, facts: &mut Facts) {
    let graphql = root.at("graphql");
    let engine = graphql.at("engine");
    let sources = engine.at("data_sources");
    let mut names = HashSet::new();
    for source in sources.elements() {
        if !names.insert(source.at("name").string().trim().to_lowercase()) {
            sources.error(DUPLICATE_DATA_SOURCE, "", "");
        }
    }
    let graphql = graphql.at("enabled").bool();
    let rpc = !root.at("json_rpc_version").string().is_empty();
    let application = !root.at("application_protocol").string().is_empty();
    facts.protect(graphql || rpc || application, Protection::ProtocolRules);
}

fn extras(root: &Node<'_, '_>, facts: &mut Facts) {
    facts.extra(root.at("CORS").at("enable").bool(), "CORS");
    facts.extra(
        root.at("cache_options").at("enable_cache").bool(),
        "response cache",
    );
    facts.extra(root.at("enable_jsvm").bool(), "JavaScript engine");
    facts.extra(
        !root.at("response_processors").is_empty(),
        "response processors",
    );
    facts.extra(!root.at("tag_headers").is_empty(), "analytics tags");
    facts.extra(
        root.at("analytics_plugin").at("enable").bool(),
        "analytics plugin",
    );
    facts.extra(
        root.at("enable_detailed_recording").bool(),
        "detailed recording",
    );
    facts.extra(root.at("detailed_tracing").bool(), "detailed tracing");
    facts.extra(
        root.at("enable_batch_request_support").bool(),
        "batch requests",
    );
}
