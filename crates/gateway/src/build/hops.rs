//! Which way leads to an upstream: straight, or by the forward proxy of its API, or by one of the environment
//! (outbound sheet 6).
//!
//! Invariants:
//! - Where a proxy is named, no other way is taken: one that cannot be used bars it, and requests are answered
//!   with 500.
//! - Connections are shared where proxy, credentials and TLS settings towards it are the same, and nowhere
//!   else.

use std::{collections::HashMap, sync::Arc};

use portcullis_apidef::{Api, Scheme, Target, Upstream, UpstreamTls};
use portcullis_config::ProxyAddress;
use portcullis_policy::ExplainedRoute;
use portcullis_tls::ClientConfig;

use super::{Finding, error, hop_identity::HopIdentity, warning};
use crate::{
    proxy::{
        dial::Way,
        hop::{Hop, HopTls},
        pool::Endpoint,
    },
    services::{Environment, Proxies},
    snapshot::{RunningApi, WayKey},
};

/// Every proxy there ever was, so that one that comes back finds its connections.
#[derive(Default)]
pub(super) struct Hops {
    environment: Proxies,
    held: Vec<(HopSettings, Arc<Hop>)>,
}

/// What makes one proxy differ from another.
#[derive(PartialEq)]
struct HopSettings {
    address: ProxyAddress,
    /// Of one that speaks TLS.
    tls: Option<HopTlsSettings>,
}

/// How TLS is spoken to a proxy, beside the gateway's own settings, which are the same for all.
#[derive(PartialEq)]
pub(super) struct HopTlsSettings {
    /// Versions, suites, and whether nothing is verified.
    pub(super) tls: UpstreamTls,
    /// The name to ask for and to verify instead of the address's host.
    pub(super) server_name: Option<String>,
    /// What to show, and whom to believe.
    pub(super) identity: HopIdentity,
}

impl HopTlsSettings {
    /// An API's settings towards its upstream, with what it says of its proxy instead.
    fn of(upstream: &Upstream, identity: &HopIdentity) -> Self {
        let (tls, proxy) = (&upstream.tls, &upstream.proxy);
        Self {
            tls: UpstreamTls {
                min_version: proxy.min_version.or(tls.min_version),
                max_version: proxy.max_version.or(tls.max_version),
                insecure_skip_verify: tls.insecure_skip_verify,
                ciphers: tls.ciphers.clone(),
                ..UpstreamTls::default()
            },
            server_name: proxy.server_name.clone(),
            identity: identity.clone(),
        }
    }
}

impl Hops {
    /// None yet; the environment is read now and not again.
    pub(super) fn new() -> Self {
        Self {
            environment: Proxies::of_environment(&Environment::of_process()),
            held: Vec::new(),
        }
    }

    /// Whether one of the environment's proxies is spoken to by TLS.
    pub(super) fn environment_speaks_tls(&self) -> bool {
        self.environment.any_by_tls()
    }

    /// The way to a target of an API, which is `identity` to a proxy that speaks TLS. `client` makes the
    /// client side of that TLS.
    ///
    /// # Errors
    /// When the settings towards the proxy leave nothing to speak.
    pub(super) fn way(
        &mut self,
        target: &Target,
        upstream: &Upstream,
        identity: &Result<HopIdentity, Arc<str>>,
        client: impl FnOnce(&HopTlsSettings) -> Result<ClientConfig, String>,
    ) -> Result<(Way, WayKey), String> {
        let address = match &upstream.proxy.url {
            Some(url) => match ProxyAddress::parse(url.reveal()) {
                Ok(address) => address,
                Err(error) => {
                    let accepted = ProxyAddress::ACCEPTED;
                    return Ok(barred(&format!("{error}; accepted is {accepted}")));
                }
            },
            None => match self.of_environment(target) {
                Some(address) => address,
                None => return Ok((Way::Direct, WayKey::Direct)),
            },
        };
        let tls = match (address.secure, identity) {
            (false, _) => None,
            (true, Ok(identity)) => Some(HopTlsSettings::of(upstream, identity)),
            (true, Err(reason)) => return Ok(barred(reason)),
        };
        let (number, hop) = self.hop(HopSettings { address, tls }, client)?;
        Ok(match target.scheme {
            Scheme::Http => (Way::Forwarded(hop), WayKey::Forwarded(number)),
            Scheme::Https | Scheme::H2c | Scheme::Tcp | Scheme::Tls | Scheme::Loop => {
                (Way::Tunnelled(hop), WayKey::Tunnelled(number))
            }
        })
    }

    /// The environment's proxies are for HTTP alone.
    fn of_environment(&self, target: &Target) -> Option<ProxyAddress> {
        let secure = match target.scheme {
            Scheme::Http => false,
            Scheme::Https => true,
            Scheme::H2c | Scheme::Tcp | Scheme::Tls | Scheme::Loop => return None,
        };
        let proxy = self.environment.choose(secure, &target.host, target.port);
        proxy.cloned()
    }

    fn hop(
        &mut self,
        wanted: HopSettings,
        client: impl FnOnce(&HopTlsSettings) -> Result<ClientConfig, String>,
    ) -> Result<(usize, Arc<Hop>), String> {
        let known = |(settings, _): &(HopSettings, _)| *settings == wanted;
        if let Some(number) = self.held.iter().position(known) {
            return Ok((number, self.held[number].1.clone()));
        }
        let tls = match &wanted.tls {
            Some(settings) => Some(HopTls {
                client: client(settings)?,
                server_name: settings.server_name.as_deref().map(Into::into),
            }),
            None => None,
        };
        let hop = Arc::new(Hop::new(&wanted.address, tls));
        self.held.push((wanted, hop.clone()));
        Ok((self.held.len() - 1, hop))
    }
}

fn barred(reason: &str) -> (Way, WayKey) {
    let reason: Arc<str> = reason.into();
    (Way::Barred(reason.clone()), WayKey::Barred(reason))
}

/// What is worth saying of an API's way to its upstream.
pub(super) fn remarks(api: &Api, endpoints: &[Arc<Endpoint>]) -> Vec<Finding> {
    let place = format!("API {}", api.id);
    let upstream = &api.upstream;
    let any = |is: &dyn Fn(&Way) -> bool| endpoints.iter().any(|endpoint| is(&endpoint.way));
    let mut said = Vec::new();
    let reason = endpoints.iter().find_map(|endpoint| match &endpoint.way {
        Way::Barred(reason) => Some(reason),
        _ => None,
    });
    if let Some(reason) = reason {
        said.push(error(
            &place,
            format!("the proxy towards its upstream cannot be used: {reason}; its requests are answered with 500"),
        ));
    }
    if upstream.preserve_host_header && any(&|way| way.forwarder().is_some()) {
        said.push(warning(
            &place,
            "the client's Host is not preserved: a proxy sends a request to http:// where its target says"
                .to_owned(),
        ));
    }
    if upstream.proxy.speaks_of_tls()
        && reason.is_none()
        && !any(&|way| way.hop().is_some_and(|hop| hop.tls().is_some()))
    {
        said.push(warning(
            &place,
            "portcullis.proxy.tls has no effect: its upstream is not reached by a proxy whose URL begins with \
             https://"
                .to_owned(),
        ));
    }
    said
}

/// A route as `check` shows it, with the proxy on its way.
pub(super) fn with_proxy(
    mut route: ExplainedRoute,
    running: &HashMap<String, Arc<RunningApi>>,
) -> ExplainedRoute {
    let api = running.get(&route.api_id);
    let hop = api.and_then(|api| api.endpoints.iter().find_map(|endpoint| endpoint.way.hop()));
    if let Some(hop) = hop.filter(|_| !route.upstream.is_empty()) {
        route.upstream = format!("{} by {}", route.upstream, hop.shown());
    }
    route
}
