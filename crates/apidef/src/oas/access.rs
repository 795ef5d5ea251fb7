//! Who may call an OAS API, and what stands between client and upstream.
//!
//! A protection is on unless its `enabled` says `false`: an object without the switch is a
//! mistake, and the mistake must not open the API. Extras are on only when they say so.

use crate::api::{CertificateRole, Protection};
use crate::classic::access::check_address;
use crate::facts::Facts;
use crate::reader::Node;

/// Reads everything but the operations.
pub(crate) fn read(root: &Node<'_, '_>, extension: &Node<'_, '_>, facts: &mut Facts) {
    let server = extension.at("server");
    let addresses = server.at("ipAccessControl");
    if addresses.is_not_disabled() {
        facts.protect(true, Protection::IpAccess);
        for list in ["allow", "block"] {
            addresses
                .at(list)
                .elements()
                .for_each(|entry| check_address(&entry));
        }
    }
    let expiration = extension.at("info").at("expiration").string();
    facts.protect(!matches!(expiration, "" | "-1"), Protection::Expiry);
    protocols(extension, facts);
    upstream(&extension.at("upstream"), facts);
    middleware(&extension.at("middleware"), facts);
    facts.protect(
        root.at("x-tyk-streaming").is_present(),
        Protection::ProtocolRules,
    );
    facts.extra(
        server.at("detailedActivityLogs").is_enabled(),
        "detailed recording",
    );
    facts.extra(
        server.at("detailedTracing").is_enabled(),
        "detailed tracing",
    );
    facts.extra(server.at("batchProcessing").is_enabled(), "batch requests");
}

/// References of the client certificates that may pass; `None` without an allow list.
pub(crate) fn client_certificates(
    extension: &Node<'_, '_>,
    facts: &mut Facts,
) -> Option<Vec<String>> {
    let server = extension.at("server");
    let certificates = server.at("clientCertificates");
    let allowed = certificates.at("allowlist").strings();
    if !certificates.is_not_disabled() {
        return None;
    }
    for reference in &allowed {
        facts.certificate(CertificateRole::AllowList, "", reference);
    }
    Some(allowed)
}

fn upstream(upstream: &Node<'_, '_>, facts: &mut Facts) {
    facts.protect(
        upstream.at("serviceDiscovery").is_not_disabled(),
        Protection::RequestRouting,
    );
}

/// Settings of protocols above HTTP stand in several places; any of them counts.
fn protocols(extension: &Node<'_, '_>, facts: &mut Facts) {
    let middleware = extension.at("middleware");
    let (server, upstream, global) = (
        extension.at("server"),
        extension.at("upstream"),
        middleware.at("global"),
    );
    for place in [extension, &server, &upstream, &middleware, &global] {
        for (name, node) in place.members() {
            let protocol = is_protocol_member(name);
            facts.protect(protocol && !node.is_empty(), Protection::ProtocolRules);
        }
    }
}

/// Whether a member of the extension belongs to MCP or JSON-RPC.
pub(crate) fn is_protocol_member(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("mcp") || name.starts_with("jsonrpc")
}

fn middleware(middleware: &Node<'_, '_>, facts: &mut Facts) {
    let global = middleware.at("global");
    for hook in [
        "prePlugins",
        "postAuthenticationPlugins",
        "postPlugins",
        "responsePlugins",
    ] {
        for plugin in global.at(hook).elements() {
            facts.protect(plugin.is_not_disabled(), Protection::Plugins);
        }
    }
    for hook in [
        "prePlugin",
        "postAuthenticationPlugin",
        "postPlugin",
        "responsePlugin",
    ] {
        for plugin in global.at(hook).at("plugins").elements() {
            facts.protect(plugin.is_not_disabled(), Protection::Plugins);
        }
    }
    let bundle = global.at("pluginConfig").at("bundle").is_not_disabled();
    facts.protect(bundle, Protection::Plugins);
    facts.protect(
        global.at("requestSizeLimit").is_not_disabled(),
        Protection::RequestSizeLimit,
    );
    for (name, feature) in [
        ("cors", "CORS"),
        ("cache", "response cache"),
        ("transformRequestHeaders", "request header transform"),
        ("transformResponseHeaders", "response header transform"),
    ] {
        facts.extra(global.at(name).is_enabled(), feature);
    }
    let analytics = global.at("trafficLogs");
    facts.extra(!analytics.at("tagHeaders").is_empty(), "analytics tags");
    let recorded = analytics
        .at("plugins")
        .elements()
        .filter(Node::is_enabled)
        .count()
        > 0;
    facts.extra(recorded, "analytics plugin");
}
