//! A Classic definition becomes an [`Api`].
//!
//! Absent members mean what they mean to Tyk, with two exceptions that make small files work:
//! an absent `active` is true, and an absent `version_data` is one version without settings.

pub(crate) mod access;
mod authentication;
mod jwt;
pub(crate) mod members;
pub(crate) mod token_members;
pub(crate) mod versions;

use crate::api::{Api, ApiListener, Protocol, Target, Upstream, UpstreamProxy};
use crate::duration::duration;
use crate::error_overrides::{self, ErrorOverride};
use crate::facts::Facts;
use crate::listen_path::{domain, listen_path};
use crate::place::Place;
use crate::reader::Node;
use crate::target::target;
use crate::upstream_tls::UpstreamTls;

/// What load balancing without a usable target is answered with.
pub(crate) const NO_WEIGHTED_TARGET: &str =
    "all load balancing targets have weight 0, at least one target must have weight > 0";

/// What two GraphQL data sources of one name are answered with.
pub(crate) const DUPLICATE_DATA_SOURCE: &str = "duplicate data source names are not allowed";

/// Reasons that Tyk's clients know, in the order Tyk checks them.
pub(crate) const TYK_REASONS: [&str; 2] = [DUPLICATE_DATA_SOURCE, NO_WEIGHTED_TARGET];

/// Reads the whole document. Problems end in the report; the result counts only when there
/// are none. `fallback_id` names an API whose definition does not.
pub(crate) fn api(root: &Node<'_, '_>, fallback_id: Option<&str>) -> Option<Api> {
    let mut facts = Facts::default();
    let ours = root.at("portcullis");
    let client_certificates = access::client_certificates(root, &mut facts);
    let client_rules = crate::client_rules::read(&ours, &mut facts);
    // Typed entries are a list of their own: whoever has some has an allow list.
    let client_certificates = client_certificates.or_else(|| client_rules.is_some().then(Vec::new));
    access::read(root, &mut facts);
    let mut authentication = authentication::authentication(root, &mut facts);
    crate::ours::bind_tokens(&ours, &mut authentication);
    let paths = versions::read(root, &mut facts);

    let listener = listener(root);
    let proxy = root.at("proxy");
    let path = path(&proxy, listener.protocol);
    let forward = crate::proxy::classic(&proxy, &ours, &mut facts);
    let mut upstream = upstream(&proxy, listener.protocol, forward);
    if let Some(upstream) = &mut upstream {
        upstream.auth = crate::upstream_auth::classic(root, &mut facts);
        upstream.tls.read_classic(root, &mut facts);
        upstream.tls.read_ours(&ours, &mut facts);
    }
    let uptime_tests = crate::uptime::classic(root, &mut facts);
    let versioning = versions::versioning(root);
    let id = id(&root.at("api_id"), fallback_id);
    let domain_disabled = root.at("domain_disabled").bool();
    let domain_name = domain(&root.at("domain"), root.at("domain").string());
    let mut server_certificates = root.at("certificates").strings();
    server_certificates.extend(root.at("certificate_pairs").strings());

    let named_certificates = facts.take_certificates();
    let (protections, unsupported) = facts.into_lists();
    Some(Api {
        org_id: root.at("org_id").string().to_owned(),
        name: root.at("name").string().to_owned(),
        active: root.at("active").bool_or(true),
        internal: root.at("internal").bool(),
        listener: ApiListener {
            proxy_protocol: listener.proxy_protocol || ours.at("enable_proxy_protocol").bool(),
            ..listener
        },
        domain: domain_name.filter(|_| !domain_disabled),
        named_certificates,
        server_certificates: if domain_disabled {
            Vec::new()
        } else {
            server_certificates
        },
        strip_listen_path: proxy.at("strip_listen_path").bool(),
        versioning,
        enforce_timeout: paths.timeout.or_else(|| {
            let everywhere = root.at("global_enforce_timeout");
            duration(&everywhere)
        }),
        endpoint_timeouts: paths.timeouts,
        breakers: paths.breakers,
        uptime_tests,
        open_paths: paths.open,
        do_not_track: root.at("do_not_track").bool(),
        client_certificates,
        client_rules: client_rules.unwrap_or_default(),
        client_crls: crate::client_crls::read(&ours),
        client_identity: crate::ours::client_identity(&ours),
        error_overrides: error_overrides(root),
        event_handlers: crate::events::classic(root),
        authentication,
        limits: authentication::limits(root),
        session_lifetime: authentication::session_lifetime(root),
        protections,
        unsupported,
        // Last, so that every other member has been read and checked by now.
        id: id?,
        listen_path: path?,
        upstream: upstream?,
    })
}

/// The place an API asks for, read from `root`; what does not decide about it from `lenient`, the
/// same tree with a report nobody reads.
pub(crate) fn place(
    root: &Node<'_, '_>,
    lenient: &Node<'_, '_>,
    fallback_id: &str,
) -> Option<Place> {
    let listener = listener(root);
    let domain_disabled = root.at("domain_disabled").bool();
    let domain = domain(&root.at("domain"), root.at("domain").string());
    Some(Place {
        id: id(&lenient.at("api_id"), Some(fallback_id))?,
        name: lenient.at("name").string().to_owned(),
        active: lenient.at("active").bool_or(true),
        internal: lenient.at("internal").bool(),
        domain: domain.filter(|_| !domain_disabled),
        listen_path: path(&root.at("proxy"), listener.protocol)?,
        listener,
    })
}

fn path(proxy: &Node<'_, '_>, protocol: Option<Protocol>) -> Option<String> {
    let node = proxy.at("listen_path");
    match protocol {
        // A raw listener has no paths.
        Some(Protocol::Tcp | Protocol::Tls) if node.is_empty() => Some("/".to_owned()),
        _ => listen_path(&node, node.string()),
    }
}

/// The id as written, else the fallback, else a problem.
pub(crate) fn id(node: &Node<'_, '_>, fallback: Option<&str>) -> Option<String> {
    match (node.string(), fallback) {
        ("", Some(fallback)) if !fallback.is_empty() => Some(fallback.to_owned()),
        ("", _) => {
            node.error(
                "the API has no id",
                "text that is unique in this gateway",
                "",
            );
            None
        }
        (id, _) => Some(id.to_owned()),
    }
}

/// The protocol an API names; reported when it is none of `accepted`.
pub(crate) fn protocol(node: &Node<'_, '_>, accepted: &[(&str, Protocol)]) -> Option<Protocol> {
    let name = node.string();
    if name.is_empty() {
        return None;
    }
    let found = accepted
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, p)| *p);
    if found.is_none() {
        let names: Vec<&str> = accepted.iter().map(|(n, _)| *n).collect();
        node.error(format!("unknown protocol {name:?}"), names.join(", "), "");
    }
    found
}

fn listener(root: &Node<'_, '_>) -> ApiListener {
    let port_node = root.at("listen_port");
    let port = port_node
        .integer(0..=65535)
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p != 0);
    let protocol = protocol(
        &root.at("protocol"),
        &[
            ("http", Protocol::Http),
            ("https", Protocol::Https),
            ("h2c", Protocol::H2c),
            ("tcp", Protocol::Tcp),
            ("tls", Protocol::Tls),
        ],
    );
    if matches!(protocol, Some(Protocol::Tcp | Protocol::Tls)) && port.is_none() {
        port_node.error(
            "a tcp or tls API needs a port of its own",
            "1 to 65535, not the gateway's main port",
            "",
        );
    }
    ApiListener {
        port,
        protocol,
        proxy_protocol: root.at("enable_proxy_protocol").bool(),
    }
}

/// Rules that are switched off are read all the same: a mistake in them does not wait for the switch.
fn error_overrides(root: &Node<'_, '_>) -> Vec<ErrorOverride> {
    let rules = error_overrides::read(&root.at("error_overrides"), &error_overrides::CLASSIC);
    let disabled = root.at("error_overrides_disabled").bool();
    if disabled { Vec::new() } else { rules }
}

fn upstream(
    proxy: &Node<'_, '_>,
    protocol: Option<Protocol>,
    forward: UpstreamProxy,
) -> Option<Upstream> {
    let transport = proxy.at("transport");
    let tls = UpstreamTls {
        insecure_skip_verify: transport.at("ssl_insecure_skip_verify").bool(),
        min_version: tls_version(&transport.at("ssl_min_version")),
        max_version: tls_version(&transport.at("ssl_max_version")),
        ciphers: transport.at("ssl_ciphers").strings(),
        ..UpstreamTls::default()
    };
    let targets = targets(proxy, protocol);
    let skip = proxy.at("check_host_against_uptime_tests");
    let balanced = proxy.at("enable_load_balancing").bool();
    if skip.bool() && !balanced {
        skip.warn("has no effect without load balancing");
    }
    Some(Upstream {
        skip_down: skip.bool() && balanced,
        preserve_host_header: proxy.at("preserve_host_header").bool(),
        keep_final_slash: proxy.at("disable_strip_slash").bool(),
        tls: raised(tls),
        proxy: forward,
        auth: None,
        targets: targets?,
    })
}

fn targets(proxy: &Node<'_, '_>, protocol: Option<Protocol>) -> Option<Vec<Target>> {
    let url = proxy.at("target_url");
    if !proxy.at("enable_load_balancing").bool() {
        return Some(vec![target(&url, url.string(), protocol)?]);
    }
    // The single URL is not used, but a broken one keeps Tyk from loading the API too.
    if !url.is_empty() {
        target(&url, url.string(), protocol)?;
    }
    let list = proxy.at("target_list");
    let mut targets = Vec::new();
    let mut whole = true;
    for entry in list.elements() {
        let written = entry.string();
        let with_scheme = match (written.contains("://"), protocol) {
            (true, _) => written.to_owned(),
            (false, Some(Protocol::Tcp)) => format!("tcp://{written}"),
            (false, Some(Protocol::Tls)) => format!("tls://{written}"),
            (false, _) => format!("http://{written}"),
        };
        match target(&entry, &with_scheme, protocol) {
            Some(target) => targets.push(target),
            None => whole = false,
        }
    }
    if targets.is_empty() && whole {
        list.error(NO_WEIGHTED_TARGET, "one URL per share of the traffic", "");
    }
    Some(targets).filter(|t| whole && !t.is_empty())
}

/// A TLS version number; 0 and absent inherit.
pub(crate) fn tls_version(node: &Node<'_, '_>) -> Option<u16> {
    match node.integer(0..=65535)? {
        0 => None,
        v @ 769..=772 => u16::try_from(v).ok(),
        other => {
            node.error(
                format!("{other} is no TLS version"),
                "769, 770, 771 or 772, 0 to inherit",
                "",
            );
            None
        }
    }
}

/// The load-time correction of a range: a maximum below TLS 1.2 is raised to it, and never
/// stays below the minimum.
pub(crate) fn raised(mut tls: UpstreamTls) -> UpstreamTls {
    if let Some(max) = tls.max_version {
        tls.max_version = Some(max.max(771).max(tls.min_version.unwrap_or(0)));
    }
    tls
}
