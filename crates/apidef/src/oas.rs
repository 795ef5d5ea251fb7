//! An OAS definition (OpenAPI with `x-tyk-api-gateway`) becomes an [`Api`].
//!
//! The extension is read; of the OpenAPI part only what it refers to: the path and method of
//! an operation, and the kind of a security scheme.

pub(crate) mod access;
mod authentication;
mod jwt;
pub(crate) mod members;
mod operations;

use crate::api::{Api, ApiListener, Protocol, Target, Upstream, UpstreamProxy, Versioning};
use crate::classic::{NO_WEIGHTED_TARGET, id, protocol, raised, versions};
use crate::duration::duration;
use crate::error_overrides::{self, ErrorOverride};
use crate::facts::Facts;
use crate::listen_path::{domain, listen_path};
use crate::place::Place;
use crate::reader::Node;
use crate::target::target;
use crate::upstream_tls::UpstreamTls;

/// The member that makes an OpenAPI document an API definition.
pub(crate) const EXTENSION: &str = "x-tyk-api-gateway";

/// What an OpenAPI version may start with.
pub(crate) const OPENAPI: [&str; 2] = ["3.0.", "3.1."];

/// The most a load balancing weight may be; the list of targets is repeated by weight.
const MAX_WEIGHT: i64 = 1000;

/// Reads the whole document; see the function of the same name for Classic definitions.
pub(crate) fn api(root: &Node<'_, '_>, fallback_id: Option<&str>) -> Option<Api> {
    let version = root.at("openapi");
    if !OPENAPI.iter().any(|v| version.string().starts_with(v)) {
        version.error("not an OpenAPI version we read", "3.0.x or 3.1.x", "");
    }
    let extension = root.at(EXTENSION);
    if !extension.is_present() {
        extension.error("missing", "the gateway's settings of this API", "");
        return None;
    }
    let mut facts = Facts::default();
    let ours = root.at("x-portcullis");
    let client_certificates = access::client_certificates(&extension, &mut facts);
    let client_rules = crate::client_rules::read(&ours, &mut facts);
    // Typed entries are a list of their own: whoever has some has an allow list.
    let client_certificates = client_certificates.or_else(|| client_rules.is_some().then(Vec::new));
    access::read(root, &extension, &mut facts);
    let mut authentication =
        authentication::authentication(root, &extension.at("server"), &mut facts);
    crate::ours::bind_tokens(&ours, &mut authentication);
    let operations = operations::read(root, &extension, &mut facts);

    let info = extension.at("info");
    let state = info.at("state");
    let server = extension.at("server");
    let custom = server.at("customDomain");
    let bound = custom.is_enabled();
    let domain_name = domain(&custom.at("name"), custom.at("name").string());
    let certificates = custom.at("certificates").strings();
    let path = server.at("listenPath");
    let listen_path = listen_path(&path.at("value"), path.at("value").string());
    let listener = listener(&server, &ours);
    let upstream_node = extension.at("upstream");
    let forward = crate::proxy::oas(&upstream_node, &ours, &mut facts);
    let mut upstream = upstream(&upstream_node, listener.protocol, forward);
    if let Some(upstream) = &mut upstream {
        upstream.auth = crate::upstream_auth::oas(&upstream_node, &mut facts);
        upstream.tls.read_oas(&upstream_node, &mut facts);
        upstream.tls.read_ours(&ours, &mut facts);
    }
    let uptime_tests = crate::uptime::oas(&upstream_node, &mut facts);
    let versioning = versioning(&info.at("versioning"));
    let id = id(&info.at("id"), fallback_id);
    let timeout = upstream_node.at("enforceTimeout");
    let enforce_timeout = timeout
        .is_not_disabled()
        .then(|| duration(&timeout.at("value")))
        .flatten();

    let named_certificates = facts.take_certificates();
    let (protections, unsupported) = facts.into_lists();
    Some(Api {
        org_id: info.at("orgId").string().to_owned(),
        name: info.at("name").string().to_owned(),
        active: state.at("active").bool_or(true),
        internal: state.at("internal").bool(),
        listener,
        domain: domain_name.filter(|_| bound),
        named_certificates,
        server_certificates: if bound { certificates } else { Vec::new() },
        strip_listen_path: path.at("strip").bool(),
        versioning,
        enforce_timeout,
        endpoint_timeouts: operations.timeouts,
        breakers: operations.breakers,
        uptime_tests,
        open_paths: operations.open,
        do_not_track: !extension
            .at("middleware")
            .at("global")
            .at("trafficLogs")
            .at("enabled")
            .bool_or(true),
        client_certificates,
        client_rules: client_rules.unwrap_or_default(),
        client_crls: crate::client_crls::read(&ours),
        client_identity: crate::ours::client_identity(&ours),
        error_overrides: error_overrides(&extension.at("errorOverrides")),
        event_handlers: crate::events::oas(&server),
        authentication,
        limits: authentication::limits(&extension),
        session_lifetime: authentication::session_lifetime(&extension),
        protections,
        unsupported,
        // Last, so that every other member has been read and checked by now.
        id: id?,
        listen_path: listen_path?,
        upstream: upstream?,
    })
}

/// The place an API asks for; see the function of the same name for Classic definitions.
pub(crate) fn place(
    root: &Node<'_, '_>,
    lenient: &Node<'_, '_>,
    fallback_id: &str,
) -> Option<Place> {
    let (extension, lenient) = (root.at(EXTENSION), lenient.at(EXTENSION));
    let (server, info) = (extension.at("server"), lenient.at("info"));
    let custom = server.at("customDomain");
    let bound = custom.is_enabled();
    let domain = domain(&custom.at("name"), custom.at("name").string());
    let path = server.at("listenPath");
    Some(Place {
        id: id(&info.at("id"), Some(fallback_id))?,
        name: info.at("name").string().to_owned(),
        active: info.at("state").at("active").bool_or(true),
        internal: info.at("state").at("internal").bool(),
        listener: listener(&server, &root.at("x-portcullis")),
        domain: domain.filter(|_| bound),
        listen_path: listen_path(&path.at("value"), path.at("value").string())?,
    })
}

/// Version text of `tlsTransport` as a number; unknown text inherits.
pub(crate) fn tls_version(text: &str) -> Option<u16> {
    match text {
        "1.0" => Some(769),
        "1.1" => Some(770),
        "1.2" => Some(771),
        "1.3" => Some(772),
        _ => None,
    }
}

fn listener(server: &Node<'_, '_>, ours: &Node<'_, '_>) -> ApiListener {
    ApiListener {
        port: server
            .at("port")
            .integer(1..=65535)
            .and_then(|p| u16::try_from(p).ok()),
        protocol: protocol(
            &server.at("protocol"),
            &[
                ("http", Protocol::Http),
                ("https", Protocol::Https),
                ("h2c", Protocol::H2c),
            ],
        ),
        proxy_protocol: ours.at("enable_proxy_protocol").bool(),
    }
}

/// Rules are on only where they say so; they are read in any case.
fn error_overrides(node: &Node<'_, '_>) -> Vec<ErrorOverride> {
    let rules = error_overrides::read(&node.at("value"), &error_overrides::OAS);
    if node.is_enabled() { rules } else { Vec::new() }
}

fn upstream(
    upstream: &Node<'_, '_>,
    protocol: Option<Protocol>,
    forward: UpstreamProxy,
) -> Option<Upstream> {
    let transport = upstream.at("tlsTransport");
    let version = |name: &'static str| {
        let node = transport.at(name);
        let number = tls_version(node.string());
        if number.is_none() && !node.is_empty() {
            node.warn("not 1.0, 1.1, 1.2 or 1.3: the gateway's setting is inherited");
        }
        number
    };
    let tls = UpstreamTls {
        insecure_skip_verify: transport.at("insecureSkipVerify").bool(),
        min_version: version("minVersion"),
        max_version: version("maxVersion"),
        ciphers: transport.at("ciphers").strings(),
        ..UpstreamTls::default()
    };
    let targets = targets(upstream, protocol);
    let balancing = upstream.at("loadBalancing");
    let skip_down = balancing.at("skipUnavailableHosts").bool() && balancing.is_enabled();
    Some(Upstream {
        skip_down,
        preserve_host_header: upstream.at("preserveHostHeader").is_enabled(),
        keep_final_slash: upstream.at("preserveTrailingSlash").is_enabled(),
        tls: raised(tls),
        proxy: forward,
        auth: None,
        targets: targets?,
    })
}

fn targets(upstream: &Node<'_, '_>, protocol: Option<Protocol>) -> Option<Vec<Target>> {
    let url = upstream.at("url");
    let balancing = upstream.at("loadBalancing");
    if !balancing.is_enabled() {
        return Some(vec![target(&url, url.string(), protocol)?]);
    }
    if !url.is_empty() {
        target(&url, url.string(), protocol)?;
    }
    let list = balancing.at("targets");
    let mut targets = Vec::new();
    let mut whole = true;
    for entry in list.elements() {
        let weight = entry.at("weight");
        let weight = if weight.is_present() {
            weight.integer(0..=MAX_WEIGHT)
        } else {
            Some(1)
        };
        let target = target(&entry.at("url"), entry.at("url").string(), protocol);
        match (target, weight.and_then(|w| usize::try_from(w).ok())) {
            (Some(target), Some(weight)) => targets.extend(vec![target; weight]),
            _ => whole = false,
        }
    }
    if targets.is_empty() && whole {
        list.error(NO_WEIGHTED_TARGET, "", "");
    }
    Some(targets).filter(|t| whole && !t.is_empty())
}

fn versioning(node: &Node<'_, '_>) -> Option<Versioning> {
    if !node.is_enabled() {
        return None;
    }
    let versions = node
        .at("versions")
        .elements()
        .map(|v| {
            (
                v.at("name").string().to_owned(),
                v.at("id").string().to_owned(),
            )
        })
        .collect();
    versions::build(
        &versions::Fields {
            location: node.at("location"),
            key: node.at("key"),
            pattern: node.at("urlVersioningPattern"),
            default: node.at("default"),
        },
        node.at("name").string(),
        node.at("stripVersioningData").bool(),
        node.at("fallbackToDefault").bool(),
        versions,
    )
}
