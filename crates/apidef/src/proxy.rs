//! The forward proxy towards an upstream, as a definition names it.
//!
//! Only the switch and the shape are judged here. Whether the URL can be used is found when a snapshot is
//! built, because an API with one that cannot is still served: it answers 500 (outbound sheet 6).

use crate::api::{Protection, UpstreamProxy};
use crate::classic::tls_version;
use crate::facts::Facts;
use crate::reader::Node;
use crate::session::SecretText;

/// The proxy of a Classic definition: `proxy.transport.proxy_url`, or `proxy.proxy_url` as Tyk's manual
/// has it; and what `portcullis.proxy` adds.
pub(crate) fn classic(
    proxy: &Node<'_, '_>,
    ours: &Node<'_, '_>,
    facts: &mut Facts,
) -> UpstreamProxy {
    let transport = proxy.at("transport");
    let (working, documented) = (transport.at("proxy_url"), proxy.at("proxy_url"));
    let url = match (working.string(), documented.string()) {
        ("", documented) => documented,
        (working, _) => working,
    };
    named(url, ours, facts)
}

/// The proxy of an OAS definition: `upstream.proxy`, unless its `enabled` says otherwise; and what
/// `x-portcullis.proxy` adds.
pub(crate) fn oas(
    upstream: &Node<'_, '_>,
    ours: &Node<'_, '_>,
    facts: &mut Facts,
) -> UpstreamProxy {
    let node = upstream.at("proxy");
    let url = node.at("url").string();
    let enabled = node.is_not_disabled();
    if enabled && url.is_empty() {
        node.warn("no URL: the proxies of the environment are used, where there are any");
    }
    named(if enabled { url } else { "" }, ours, facts)
}

fn named(url: &str, ours: &Node<'_, '_>, facts: &mut Facts) -> UpstreamProxy {
    let scheme = url.split("://").next().unwrap_or_default();
    let socks = ["socks", "socks4", "socks4a", "socks5", "socks5h"];
    facts.protect(
        url.contains("://") && socks.iter().any(|name| scheme.eq_ignore_ascii_case(name)),
        Protection::SocksProxy,
    );
    let holder = ours.at("proxy");
    let tls = holder.at("tls");
    let text = |name| Some(tls.at(name).string().to_owned()).filter(|text| !text.is_empty());
    UpstreamProxy {
        url: (!url.is_empty()).then(|| SecretText::new(url)),
        certificate: text("certificate").map(SecretText::new),
        authorities: tls.at("ca").strings(),
        server_name: text("server_name"),
        min_version: tls_version(&tls.at("min_version")),
        max_version: tls_version(&tls.at("max_version")),
    }
}
