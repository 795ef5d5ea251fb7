//! Where requests go: endpoints made once and shared by every API that means the same.
//!
//! Invariant: two endpoints are the same only where connections to them may serve each other's requests.
//! Whatever a connection was made with, a certificate that is shown included, is part of what tells them
//! apart.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use portcullis_apidef::{Api, Scheme, Target, UpstreamTls};
use portcullis_config::GatewayConfig;
use portcullis_pki::Fingerprint;
use portcullis_tls::{
    CipherList, ClientConfig, ClientSettings, Roots, UpstreamTlsFailure, Verification,
    VersionRange, version::NoVersion,
};

use super::{
    BuildError, Finding,
    by_host::{ByHost, References},
    hop_identity::HopIdentity,
    hops::{HopTlsSettings, Hops},
    upstream_settings::{ApiUpstream, Wanted},
};
use crate::{
    certificates::StoreAccess,
    proxy::{
        dial::Way,
        pool::{Endpoint, EndpointTls, Http2Use},
    },
    snapshot::{EndpointKey, Numbers, WayKey},
};

/// Idle connections kept to an upstream when `max_idle_connections_per_host` is not set.
const KEEP: usize = 1000;

/// Endpoints, and what they are made of.
pub(super) struct Endpoints {
    pub(super) config: Arc<GatewayConfig>,
    pub(super) gateway: ByHost,
    pub(super) references: References,
    /// The operating system's authorities.
    pub(super) system: Arc<Roots>,
    /// Authorities that upstreams are verified with: whether the system's are among them, and the others.
    pub(super) roots: HashMap<(bool, Vec<Fingerprint>), Arc<Roots>>,
    /// By the digest of their settings; made once for all endpoints that have the same.
    clients: HashMap<[u8; 32], ClientConfig>,
    numbers: Numbers,
    pub(super) hops: Hops,
    held: HashMap<EndpointKey, Held>,
}

struct Held {
    endpoint: Arc<Endpoint>,
    used: bool,
}

impl Endpoints {
    /// None yet.
    ///
    /// # Errors
    /// [`BuildError`] for hosts in the configuration that are none.
    pub(super) fn new(
        config: Arc<GatewayConfig>,
        store: Option<StoreAccess>,
    ) -> Result<Self, BuildError> {
        let (gateway, problems) = ByHost::of_gateway(&config);
        if !problems.is_empty() {
            return Err(BuildError { problems });
        }
        Ok(Self {
            references: References::new(&config, store),
            config,
            gateway,
            system: Arc::new(Roots::of_system()),
            roots: HashMap::new(),
            clients: HashMap::new(),
            numbers: Numbers::default(),
            hops: Hops::new(),
            held: HashMap::new(),
        })
    }

    /// A build begins: whatever the gateway's maps name is read anew where it may have changed.
    pub(super) fn begin(&mut self, findings: &mut Vec<Finding>) {
        findings.extend(self.proxy_tls_remark());
        self.references.ask_again();
        self.references.prepare(&self.gateway);
    }

    /// A build is over: forgets what it did not use.
    pub(super) fn end(&mut self) {
        self.held.retain(|_, held| std::mem::take(&mut held.used));
        let endpoints = self.held.values();
        let digests: HashSet<[u8; 32]> = endpoints
            .filter_map(|held| held.endpoint.tls.digest())
            .collect();
        self.clients.retain(|digest, _| digests.contains(digest));
        self.roots.retain(|_, roots| Arc::strong_count(roots) > 1);
        self.references.forget_unused();
    }

    /// Numbers of the endpoints of the last build.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.held.values().map(|held| held.endpoint.id)
    }

    /// What an API says of its upstreams.
    ///
    /// # Errors
    /// Why it cannot be enforced as written.
    pub(super) fn of_api<'a>(&mut self, api: &'a Api) -> Result<ApiUpstream<'a>, String> {
        let maps =
            ByHost::of_api(&api.upstream.tls).map_err(|wrong| format!("upstream TLS: {wrong}"))?;
        self.references.prepare(&maps);
        let place = format!("API {}", api.id);
        Ok(ApiUpstream {
            place,
            upstream: &api.upstream,
            maps,
        })
    }

    /// The endpoint of a target of an API.
    ///
    /// # Errors
    /// Why the API cannot be enforced as written.
    pub(super) fn of(
        &mut self,
        target: &Target,
        api: &ApiUpstream<'_>,
        identity: &Result<HopIdentity, Arc<str>>,
        findings: &mut Vec<Finding>,
    ) -> Result<Arc<Endpoint>, String> {
        let mut hops = std::mem::take(&mut self.hops);
        let way = hops.way(target, api.upstream, identity, |hop| self.of_hop(hop));
        self.hops = hops;
        let way = way?;
        let http2 = match target.scheme {
            Scheme::H2c => Http2Use::Always,
            Scheme::Https if self.config.upstream.enable_http2 => Http2Use::Negotiated,
            _ => Http2Use::Never,
        };
        let settings = match target.scheme {
            Scheme::Https | Scheme::Tls => Some(self.settings(
                target,
                api,
                Wanted {
                    http2: http2 == Http2Use::Negotiated,
                    proxied: matches!(way.0, Way::Tunnelled(_)),
                },
                findings,
            )?),
            Scheme::Http | Scheme::H2c | Scheme::Tcp | Scheme::Loop => None,
        };
        Ok(self.speaking(http2, target, settings.as_ref(), way))
    }

    fn speaking(
        &mut self,
        http2: Http2Use,
        target: &Target,
        settings: Option<&Result<ClientSettings, UpstreamTlsFailure>>,
        (way, way_key): (Way, WayKey),
    ) -> Arc<Endpoint> {
        let tls = match settings {
            None => EndpointTls::Clear,
            Some(Err(failure)) => EndpointTls::Unready(failure.clone()),
            Some(Ok(settings)) => self.client(settings),
        };
        let key = EndpointKey {
            scheme: target.scheme,
            http2,
            authority: target.authority.clone(),
            host: target.host.clone(),
            port: target.port,
            tls: tls.key(),
            way: way_key.clone(),
        };
        let without_http2 = || {
            let plain = |settings| ClientSettings {
                http2: false,
                ..settings
            };
            settings.map(|settings| settings.clone().map(plain))
        };
        let switching = match (&way, way_key, http2) {
            (Way::Forwarded(hop), WayKey::Forwarded(number), _) => {
                let tunnel = (Way::Tunnelled(hop.clone()), WayKey::Tunnelled(number));
                let settings = without_http2();
                Some(self.speaking(Http2Use::Never, target, settings.as_ref(), tunnel))
            }
            (_, way_key, Http2Use::Negotiated) => {
                let same = (way.clone(), way_key);
                let settings = without_http2();
                Some(self.speaking(Http2Use::Never, target, settings.as_ref(), same))
            }
            (_, _, Http2Use::Never | Http2Use::Always) => None,
        };
        if let Some(held) = self.held.get_mut(&key) {
            held.used = true;
            return held.endpoint.clone();
        }
        let upstream = &self.config.upstream;
        let endpoint = Arc::new(Endpoint {
            id: self.numbers.endpoint(&key),
            host: target.host.as_str().into(),
            port: target.port,
            authority: target.authority.as_str().into(),
            tls,
            http2,
            way,
            // The same place, and the same asked of it.
            contact: match &switching {
                Some(switching) => switching.contact.clone(),
                None => Arc::default(),
            },
            switching,
            dial: upstream.default_timeout,
            keep: upstream.max_idle_connections_per_host.unwrap_or(KEEP),
            max_age: upstream.max_connection_age,
        });
        let held = Held {
            endpoint: endpoint.clone(),
            used: true,
        };
        self.held.insert(key, held);
        endpoint
    }

    /// The client side of TLS with these settings.
    fn client(&mut self, settings: &ClientSettings) -> EndpointTls {
        let digest = settings.digest();
        if let Some(client) = self.clients.get(&digest) {
            return EndpointTls::Client(client.clone(), digest);
        }
        match ClientConfig::new(settings.clone()) {
            Ok(client) => {
                self.clients.insert(digest, client.clone());
                EndpointTls::Client(client, digest)
            }
            Err(failure) => EndpointTls::Unready(UpstreamTlsFailure::of_setup(&failure)),
        }
    }

    /// The versions of an API, over the gateway's.
    pub(super) fn versions(&self, tls: &UpstreamTls) -> Result<VersionRange, NoVersion> {
        let gateway = &self.config.upstream.tls;
        let range = |min: Option<u16>, max: Option<u16>| (min.unwrap_or(0), max.unwrap_or(0));
        VersionRange::for_api(
            range(gateway.min_version, gateway.max_version),
            range(tls.min_version, tls.max_version),
        )
    }

    /// The suites of an API, else the gateway's.
    pub(super) fn suites(
        &self,
        tls: &UpstreamTls,
        versions: VersionRange,
    ) -> Result<CipherList, String> {
        let names = if tls.ciphers.is_empty() {
            &self.config.upstream.tls.ciphers
        } else {
            &tls.ciphers
        };
        let resolved = CipherList::resolve(names, versions);
        let (ciphers, _) = resolved.map_err(|wrong| format!("upstream TLS: {wrong}"))?;
        Ok(ciphers)
    }

    /// The client side of TLS towards a proxy: what an API says of versions, suites and verification over the
    /// gateway's settings. A proxy is shown no certificate that is meant for upstreams, and pins and common
    /// names are not asked of it (outbound sheet 6).
    fn of_hop(&self, hop: &HopTlsSettings) -> Result<ClientConfig, String> {
        let (gateway, tls) = (&self.config.upstream, &hop.tls);
        let versions = self
            .versions(tls)
            .map_err(|error| format!("upstream TLS: {error}"))?;
        let ciphers = self.suites(tls, versions)?;
        let verification = if gateway.insecure_skip_verify || tls.insecure_skip_verify {
            Verification::DangerousNone
        } else {
            let named = hop.identity.authorities.as_ref();
            Verification::Full(named.unwrap_or(&self.system).clone())
        };
        ClientConfig::new(ClientSettings {
            versions,
            ciphers,
            identity: hop.identity.certificate.clone(),
            ..ClientSettings::new(verification)
        })
        .map_err(|error| format!("TLS with the proxy: {error}"))
    }
}
