//! Where requests go: endpoints made once and shared by every API that means the same.

use std::{collections::HashMap, sync::Arc};

use portcullis_apidef::{Scheme, Target, Upstream, UpstreamTls};
use portcullis_config::GatewayConfig;
use portcullis_tls::{
    CipherList, ClientConfig, ClientSettings, Identity, Roots, Verification, VersionRange,
};

use super::{
    hop_identity::HopIdentity,
    hops::{HopTlsSettings, Hops},
};
use crate::{
    proxy::{
        dial::Way,
        pool::{Endpoint, Http2Use},
    },
    snapshot::{EndpointKey, Numbers, WayKey},
};

/// Idle connections kept to an upstream when `max_idle_connections_per_host` is not set.
const KEEP: usize = 1000;

/// Every endpoint there ever was, so that one that comes back finds its connections.
pub(super) struct Endpoints {
    config: Arc<GatewayConfig>,
    roots: Arc<Roots>,
    numbers: Numbers,
    hops: Hops,
    held: HashMap<EndpointKey, Arc<Endpoint>>,
}

impl Endpoints {
    /// None yet.
    pub(super) fn new(config: Arc<GatewayConfig>) -> Self {
        Self {
            config,
            roots: Arc::new(Roots::of_system()),
            numbers: Numbers::default(),
            hops: Hops::new(),
            held: HashMap::new(),
        }
    }

    /// The endpoint of a target of an API.
    ///
    /// # Errors
    /// When its TLS settings leave nothing to speak.
    pub(super) fn of(
        &mut self,
        target: &Target,
        upstream: &Upstream,
        identity: &Result<HopIdentity, Arc<str>>,
    ) -> Result<Arc<Endpoint>, String> {
        let mut hops = std::mem::take(&mut self.hops);
        let way = hops.way(target, upstream, identity, |hop| self.hop_client(hop));
        self.hops = hops;
        let (way, key) = way?;
        let http2 = match target.scheme {
            Scheme::H2c => Http2Use::Always,
            Scheme::Https if self.config.upstream.enable_http2 => Http2Use::Negotiated,
            _ => Http2Use::Never,
        };
        self.speaking(http2, target, &upstream.tls, (way, key))
    }

    fn speaking(
        &mut self,
        http2: Http2Use,
        target: &Target,
        tls: &UpstreamTls,
        (way, way_key): (Way, WayKey),
    ) -> Result<Arc<Endpoint>, String> {
        let encrypted = matches!(target.scheme, Scheme::Https | Scheme::Tls);
        let key = EndpointKey {
            scheme: target.scheme,
            http2,
            authority: target.authority.clone(),
            host: target.host.clone(),
            port: target.port,
            tls: encrypted.then(|| tls.clone()),
            way: way_key.clone(),
        };
        if let Some(endpoint) = self.held.get(&key) {
            return Ok(endpoint.clone());
        }
        let client = encrypted
            .then(|| self.client(tls, http2 == Http2Use::Negotiated))
            .transpose()?;
        let switching = match (&way, way_key, http2) {
            (Way::Forwarded(hop), WayKey::Forwarded(number), _) => {
                let tunnel = (Way::Tunnelled(hop.clone()), WayKey::Tunnelled(number));
                Some(self.speaking(Http2Use::Never, target, tls, tunnel)?)
            }
            (_, way_key, Http2Use::Negotiated) => {
                let same = (way.clone(), way_key);
                Some(self.speaking(Http2Use::Never, target, tls, same)?)
            }
            (_, _, Http2Use::Never | Http2Use::Always) => None,
        };
        let upstream = &self.config.upstream;
        let endpoint = Arc::new(Endpoint {
            id: self.numbers.endpoint(&key),
            host: target.host.as_str().into(),
            port: target.port,
            authority: target.authority.as_str().into(),
            tls: client,
            http2,
            way,
            switching,
            dial: upstream.default_timeout,
            keep: upstream.max_idle_connections_per_host.unwrap_or(KEEP),
            max_age: upstream.max_connection_age,
        });
        self.held.insert(key, endpoint.clone());
        Ok(endpoint)
    }

    /// The client side of TLS for an API.
    fn client(&self, tls: &UpstreamTls, http2: bool) -> Result<ClientConfig, String> {
        let settings = self.settings(tls, http2, &self.roots)?;
        ClientConfig::new(settings).map_err(|error| format!("upstream TLS: {error}"))
    }

    /// The client side of TLS towards a proxy.
    fn hop_client(&self, hop: &HopTlsSettings) -> Result<ClientConfig, String> {
        let roots = hop.identity.authorities.as_ref().unwrap_or(&self.roots);
        let settings = self.settings(&hop.tls, false, roots)?;
        let identity = match &hop.identity.certificate {
            Some(pair) => Identity::One(pair.clone()),
            None => Identity::None,
        };
        ClientConfig::with_identity(settings, identity)
            .map_err(|error| format!("TLS with the proxy: {error}"))
    }

    /// An API's own settings over the gateway's.
    fn settings(
        &self,
        tls: &UpstreamTls,
        http2: bool,
        roots: &Arc<Roots>,
    ) -> Result<ClientSettings, String> {
        let gateway = &self.config.upstream;
        let range = |min: Option<u16>, max: Option<u16>| (min.unwrap_or(0), max.unwrap_or(0));
        let versions = VersionRange::for_api(
            range(gateway.tls.min_version, gateway.tls.max_version),
            range(tls.min_version, tls.max_version),
        )
        .map_err(|error| format!("upstream TLS: {error}"))?;
        let names = if tls.ciphers.is_empty() {
            &gateway.tls.ciphers
        } else {
            &tls.ciphers
        };
        let (ciphers, _) = CipherList::resolve(names, versions)
            .map_err(|error| format!("upstream TLS: {error}"))?;
        let verification = if gateway.insecure_skip_verify || tls.insecure_skip_verify {
            Verification::DangerousNone
        } else {
            Verification::Full(roots.clone())
        };
        Ok(ClientSettings {
            versions,
            ciphers,
            verification,
            http2,
        })
    }
}
