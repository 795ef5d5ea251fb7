//! What would break without a certificate.
//!
//! For server certificates that follows from the names that others have as well: the rules of
//! [`portcullis_tls::serving`], applied to the inventory.

use std::collections::{BTreeMap, HashMap};

use portcullis_apidef::{Api, Protocol};
use portcullis_config::GatewayConfig;
use serde::Serialize;

use super::{Known, Role, UsedBy};
use crate::control::LoadedSet;

/// Something that is lost with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// In words.
    pub text: String,
    /// What happens then.
    pub effect: Effect,
    /// The port it happens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The host name, or the host that is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The APIs it happens to; all of the port, or all there are, when none is listed.
    pub api_ids: Vec<String>,
}

/// What happens without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Handshakes end with the alert `unrecognized_name` (112).
    HandshakesRefused,
    /// Clients get a certificate of other names.
    OtherCertificate,
    /// A client that was let in no longer is.
    ClientRefused,
    /// Requests to upstreams are not made.
    RequestsFail,
    /// Services no longer learn who calls.
    CallsUnauthenticated,
    /// Servers that were trusted no longer are.
    ServerRefused,
}

/// A certificate that a port serves.
struct Served {
    /// Its place in the inventory.
    index: usize,
    names: Vec<String>,
}

/// Fills in what would be lost without each certificate.
pub(super) fn judge(known: &mut [Known], config: &GatewayConfig, loaded: &LoadedSet) {
    let apis: Vec<&Api> = loaded
        .parsed()
        .map(|(_, parsed)| &parsed.api)
        .filter(|api| api.active)
        .collect();
    let mut losses: Vec<Vec<Loss>> = known.iter().map(others).collect();
    for (port, served) in ports(known, config, &apis) {
        of_port(port, &served, known, config, &apis, &mut losses);
    }
    for (known, losses) in known.iter_mut().zip(losses) {
        known.losses = losses;
    }
}

/// Losses that are not about server certificates.
fn others(known: &Known) -> Vec<Loss> {
    let loss = |user: &UsedBy| {
        let (effect, text) = match user.role {
            Role::Server => return None,
            Role::AllowList => (
                Effect::ClientRefused,
                "clients it stands for are no longer let in",
            ),
            Role::ControlApi => (
                Effect::ClientRefused,
                "clients it stands for can no longer use the Control API",
            ),
            Role::Key => (
                Effect::ClientRefused,
                "its client is no longer let in where the certificate is the key",
            ),
            Role::UpstreamClient => (
                Effect::RequestsFail,
                "requests to upstreams that are shown it fail",
            ),
            Role::ServiceClient => (
                Effect::CallsUnauthenticated,
                "the service is called without this client certificate",
            ),
            Role::Pin => (
                Effect::ServerRefused,
                "an upstream with this key is refused",
            ),
            Role::Trust => (
                Effect::ServerRefused,
                "servers that this authority vouches for are refused",
            ),
        };
        Some(Loss {
            text: format!("{user}: {text}"),
            effect,
            port: None,
            name: user.host.clone(),
            api_ids: user.api_id.iter().cloned().collect(),
        })
    };
    known.used_by.iter().filter_map(loss).collect()
}

/// What each TLS port serves, in order.
fn ports(known: &[Known], config: &GatewayConfig, apis: &[&Api]) -> BTreeMap<u16, Vec<Served>> {
    let port_of = |api: &Api| api.listener.port.unwrap_or(config.listen.port);
    let mut ports: BTreeMap<u16, Vec<Served>> = BTreeMap::new();
    if config.server.use_ssl {
        ports.insert(config.listen.port, Vec::new());
        if let Some(port) = config.listen.control_port {
            ports.insert(port, Vec::new());
        }
    }
    for api in apis {
        let tls = match api.listener.protocol {
            Some(protocol) => matches!(protocol, Protocol::Https | Protocol::Tls),
            None => config.server.use_ssl,
        };
        if tls {
            ports.entry(port_of(api)).or_default();
        }
    }
    let of_api: HashMap<&str, u16> = apis
        .iter()
        .map(|api| (api.id.as_str(), port_of(api)))
        .collect();
    for (index, known) in known.iter().enumerate() {
        let Some(facts) = known.facts.as_ref().filter(|_| known.has_private) else {
            continue;
        };
        let servers = || {
            known
                .used_by
                .iter()
                .filter(|user| user.role == Role::Server)
        };
        for (port, served) in &mut ports {
            let mut names: Vec<String> = Vec::new();
            let mut here = false;
            for user in servers() {
                match &user.api_id {
                    None => {
                        here = true;
                        names.extend(facts.names().map(str::to_owned));
                        names.extend(user.host.as_ref().map(|host| host.to_ascii_lowercase()));
                    }
                    Some(api) if of_api.get(api.as_str()) == Some(port) => {
                        here = true;
                        names.push(facts.subject_cn.to_ascii_lowercase());
                        names.extend(facts.dns_names.iter().cloned());
                    }
                    Some(_) => {}
                }
            }
            names.retain(|name| !name.is_empty());
            names.sort_unstable();
            names.dedup();
            if here {
                served.push(Served { index, names });
            }
        }
    }
    ports
}

fn of_port(
    port: u16,
    served: &[Served],
    known: &[Known],
    config: &GatewayConfig,
    apis: &[&Api],
    losses: &mut [Vec<Loss>],
) {
    let mut claims: HashMap<&str, usize> = HashMap::new();
    for name in served.iter().flat_map(|served| &served.names) {
        *claims.entry(name).or_default() += 1;
    }
    let here: Vec<&&Api> = apis
        .iter()
        .filter(|api| api.listener.port.unwrap_or(config.listen.port) == port)
        .collect();
    let mut of_domain: HashMap<&str, Vec<String>> = HashMap::new();
    for api in &here {
        if let Some(domain) = &api.domain {
            of_domain.entry(domain).or_default().push(api.id.clone());
        }
    }
    for one in served {
        let other = served.iter().find(|other| other.index != one.index);
        for name in &one.names {
            let wildcard = || {
                let parent = name.split_once('.').map_or("", |(_, parent)| parent);
                claims.contains_key(format!("*.{parent}").as_str())
            };
            let covered = claims.get(name.as_str()).is_some_and(|claims| *claims > 1)
                || (!name.starts_with('*')
                    && wildcard()
                    && !one.names.iter().any(|own| {
                        // A wildcard of its own goes with it.
                        own.starts_with('*') && claims.get(own.as_str()) == Some(&1)
                    }));
            if covered {
                continue;
            }
            let api_ids = of_domain.get(name.as_str()).cloned().unwrap_or_else(|| {
                let users = known[one.index].used_by.iter();
                let mut ids: Vec<String> = users.filter_map(|user| user.api_id.clone()).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            });
            let who = match api_ids.as_slice() {
                [] => format!("port {port} loses its"),
                [api] => format!("API {api} loses its"),
                many => format!("{} APIs lose their", many.len()),
            };
            let (effect, then) = match other {
                None => (
                    Effect::HandshakesRefused,
                    "handshakes are refused (alert 112)".to_owned(),
                ),
                Some(other) => (
                    Effect::OtherCertificate,
                    format!(
                        "clients get the certificate of {}, which does not name it",
                        other.names.first().map_or("another host", String::as_str)
                    ),
                ),
            };
            losses[one.index].push(Loss {
                text: format!("{who} only certificate for {name} on port {port}: {then}"),
                effect,
                port: Some(port),
                name: Some(name.clone()),
                api_ids,
            });
        }
    }
}
