//! What becomes of a connection to an upstream: for `doctor`.
//!
//! It is connected to as a worker connects: the same endpoint, with the same proxy, certificate, pins and
//! authorities, made by the same builder. No byte of a request is sent.
//!
//! Invariant: what is said of a check is what the connection itself met.

use std::{future::poll_fn, sync::Arc, time::Duration};

use openssl::{ssl::SslRef, x509::X509};
use portcullis_apidef::{Api, SourceFile, parse_files};
use portcullis_config::GatewayConfig;
use portcullis_pki::{
    CertificateFacts,
    names::distinguished_name,
    verify::{Purpose, Question, verify},
};
use portcullis_tls::{
    ClientConfig, Negotiated, Renegotiation, Roots, UpstreamTlsFailure, Verification,
    failure::UpstreamCheck, version::Version,
};
use serde_json::json;

use crate::{
    aside::Aside,
    build::{Builder, Built},
    diagnosis::{Diagnosis, Outcome, not_looked_into},
    engine::Loader,
    observe::Registry,
    proxy::{
        dial::{Way, dial},
        failure::Outage,
        pool::{Endpoint, EndpointTls, Http2Use},
    },
    run::{StartError, VERSION},
    snapshot::{RunningApi, Service},
    timers::Timers,
    transport::Transport,
};

/// How long an upstream may take to say that it does not take our certificate: in TLS 1.3 it says so only
/// after the handshake.
const SECOND_THOUGHTS: Duration = Duration::from_millis(500);

/// Days before its end at which a certificate is worth a word.
const SOON: i64 = 30;

/// What to connect to.
#[derive(Debug, Clone, Copy)]
pub enum Destination<'d> {
    /// Every target of an API, by its id.
    Api(&'d str),
    /// An URL, with the gateway's own settings alone.
    Url(&'d str),
}

/// Connects and tells hop by hop. `at` is now, in Unix seconds.
///
/// # Errors
/// As [`crate::check`], and when the system gives no runtime.
pub fn reach(
    config: &GatewayConfig,
    destination: Destination<'_>,
    at: i64,
) -> Result<Diagnosis, StartError> {
    let config = Arc::new(config.clone());
    let aside = Aside::open(&config)?;
    let registry = Arc::new(Registry::new(VERSION));
    let builder = Builder::new(config.clone(), registry, aside.certificates())?;
    let mut diagnosis = Diagnosis::new();
    if let Err(error) = aside.stores() {
        diagnosis.step("store", Outcome::Note, not_looked_into(error));
    }
    let (built, id) = match destination {
        Destination::Api(id) => {
            let (built, _) = Loader::new(config, builder)
                .load()
                .map_err(StartError::Load)?;
            (built, id)
        }
        Destination::Url(url) => (alone(builder, url)?, ALONE),
    };
    let Some(api) = running(&built, id) else {
        missing(&mut diagnosis, &built, id);
        return Ok(diagnosis);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let timers = Timers::new();
        let sweeping = timers.clone();
        tokio::task::spawn_local(async move { sweeping.sweep().await });
        for endpoint in &api.endpoints {
            let mut hop = Hops {
                diagnosis: &mut diagnosis,
                endpoint,
                at,
            };
            if hop.prepared(&api.api) {
                let dialled = dial(endpoint, &timers).await;
                match dialled {
                    Ok(transport) => hop.reached(transport, &timers).await,
                    Err(error) => hop.failed(Outage::Connect(error)),
                }
            }
        }
    });
    Ok(diagnosis)
}

/// The id of the API that stands for an URL.
const ALONE: &str = "doctor";

/// One API that leads to an URL and says nothing more.
fn alone(mut builder: Builder, url: &str) -> Result<Built, StartError> {
    let definition = json!({
        "name": ALONE, "api_id": ALONE, "org_id": "", "active": true, "use_keyless": true,
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
        "proxy": {"listen_path": "/", "target_url": url},
    });
    let file = SourceFile {
        name: "--upstream.json".to_owned(),
        text: definition.to_string().into(),
    };
    Ok(builder.build(&parse_files(&[file]), &[])?)
}

fn running<'b>(built: &'b Built, id: &str) -> Option<&'b Arc<RunningApi>> {
    built
        .snapshot
        .ports
        .values()
        .find_map(|port| match &*port.service {
            Service::Http(service) => service.versions.get(id),
            Service::Tcp { apis, .. } => apis.get(id),
        })
}

/// Why there is nothing to connect for.
fn missing(diagnosis: &mut Diagnosis, built: &Built, id: &str) {
    let quarantined = built.quarantine.iter().find(|entry| entry.api_id == id);
    let says = match quarantined.or(built.quarantine.first().filter(|_| id == ALONE)) {
        Some(entry) if id == ALONE => format!("nothing can be connected to: {}", entry.reason),
        Some(entry) => format!("API {id} is quarantined: {}", entry.reason),
        None => format!("no API has the id {id}"),
    };
    diagnosis.step("upstream", Outcome::Refused, says);
    diagnosis.advise(match id {
        ALONE => "Give an URL such as https://host:port/.".to_owned(),
        _ => "Run `portcullis check`, which names every API and what is wrong with it.".to_owned(),
    });
}

/// One endpoint, hop by hop.
struct Hops<'h> {
    diagnosis: &'h mut Diagnosis,
    endpoint: &'h Endpoint,
    at: i64,
}

impl Hops<'_> {
    /// Tells what is configured; whether there is anything to try.
    fn prepared(&mut self, api: &Api) -> bool {
        let Endpoint { host, port, .. } = self.endpoint;
        let scheme = match (self.endpoint.tls.is_encrypted(), self.endpoint.http2) {
            (true, _) => "by TLS",
            (false, Http2Use::Always) => "in clear text, HTTP/2",
            (false, _) => "in clear text",
        };
        let of = match api.id.as_str() {
            ALONE => String::new(),
            id => format!(", for API {id}"),
        };
        self.note("upstream", format!("{host}, port {port}, {scheme}{of}"));
        let way = match &self.endpoint.way {
            Way::Direct => "straight, by no proxy".to_owned(),
            Way::Forwarded(hop) => format!("the proxy {} forwards each request", hop.shown()),
            Way::Tunnelled(hop) => format!("through a tunnel of the proxy {}", hop.shown()),
            Way::Barred(reason) => {
                let says = format!("the proxy cannot be used: {reason}");
                self.diagnosis.step("way", Outcome::Refused, says);
                self.diagnosis
                    .advise("Correct the proxy's URL in the definition.".to_owned());
                return false;
            }
        };
        self.note("way", way);
        match &self.endpoint.tls {
            EndpointTls::Clear => true,
            EndpointTls::Client(client, _) => {
                self.settings(client);
                true
            }
            EndpointTls::Unready(failure) => {
                self.refused("settings", failure);
                false
            }
        }
    }

    /// With what TLS is spoken.
    fn settings(&mut self, client: &ClientConfig) {
        let settings = client.settings();
        let versions = format!(
            "{} to {}",
            version(settings.versions.min()),
            version(settings.versions.max())
        );
        let verified = match &settings.verification {
            Verification::Full(roots) => {
                format!("chain and name are verified with {}", authorities(roots))
            }
            Verification::Chain(roots) => {
                format!(
                    "the chain is verified with {}, the name is not",
                    authorities(roots)
                )
            }
            Verification::DangerousNone => "NOTHING IS VERIFIED of chain and name".to_owned(),
        };
        let mut says = format!("{versions}; {verified}");
        if let Some(pins) = &settings.pins {
            says += match pins.digests().count() {
                1 => "; its key is pinned".to_owned(),
                keys => format!("; one of {keys} keys is pinned"),
            }
            .as_str();
        }
        if settings.common_name {
            says += "; the common name has to be the host";
        }
        says += match settings.renegotiation {
            Renegotiation::Ignored | Renegotiation::Refused => "",
            _ => "; another handshake on the connection is allowed",
        };
        self.note("settings", says);
        let Some(identity) = &settings.identity else {
            return self.note(
                "identity",
                "no client certificate is mapped to this host".to_owned(),
            );
        };
        let facts = identity.facts();
        let left = (facts.not_after - self.at).div_euclid(86_400);
        let name = &facts.subject_cn;
        let says = format!("the client certificate of `{name}` is shown when it is asked for");
        if facts.not_after < self.at {
            self.note("identity", format!("{says}; IT HAS EXPIRED"));
            self.diagnosis.advise(format!(
                "Renew the client certificate of `{name}`: upstreams refuse one that has expired."
            ));
        } else if left < SOON {
            self.note(
                "identity",
                format!("{says}; it ends in {left} days: renew it"),
            );
        } else {
            self.note("identity", format!("{says}; it is good for {left} days"));
        }
    }

    /// There is a connection.
    async fn reached(&mut self, mut transport: Transport, timers: &std::rc::Rc<Timers>) {
        if let Some(hop) = self.endpoint.way.hop() {
            let says = format!("the proxy {} was reached and lets us through", hop.shown());
            self.diagnosis.step("proxy", Outcome::Passes, says);
        }
        match transport
            .session()
            .filter(|_| self.endpoint.tls.is_encrypted())
        {
            None => {
                let says = "connected; without TLS nobody knows to whom".to_owned();
                return self.diagnosis.step("connect", Outcome::Passes, says);
            }
            Some(session) => self.agreed(session),
        }
        let mut said = portcullis_tls::buffer::Chunk::new();
        let more = poll_fn(|cx| transport.poll_fill(cx, &mut said));
        match timers.within(SECOND_THOUGHTS, more).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(Ok(_)) => {
                let says =
                    "the upstream closed the connection at once, without an alert".to_owned();
                self.note("identity", says);
            }
            Ok(Err(error)) => {
                let says =
                    format!("the upstream ended the connection after the handshake: {error}");
                self.diagnosis.step("identity", Outcome::Refused, says);
                self.diagnosis.advise(
                    "In TLS 1.3 a server refuses a client certificate after the handshake: map one that it \
                     trusts to this host (security.certificates.upstream, upstream_certificates), or look at \
                     the upstream's log."
                        .to_owned(),
                );
            }
            Err(_) => {
                let says = "the upstream has nothing against the connection".to_owned();
                self.diagnosis.step("identity", Outcome::Passes, says);
            }
        }
    }

    /// What a handshake came to.
    fn agreed(&mut self, session: &SslRef) {
        let agreed = Negotiated::of(session);
        let group = agreed.group.unwrap_or("no group");
        let protocol = match (self.endpoint.http2, agreed.http2) {
            (Http2Use::Negotiated, true) => ", HTTP/2",
            (Http2Use::Negotiated, false) => ", HTTP/1.1 though HTTP/2 was offered",
            _ => "",
        };
        let says = format!(
            "{} with {} and {group}{protocol}",
            agreed.version, agreed.cipher
        );
        self.diagnosis.step("handshake", Outcome::Passes, says);
        let Some(leaf) = session.peer_certificate() else {
            return;
        };
        let Ok(facts) = CertificateFacts::of(&leaf) else {
            return;
        };
        let left = (facts.not_after - self.at).div_euclid(86_400);
        let names = match facts.dns_names.is_empty() {
            true => String::new(),
            false => format!(" for {}", facts.dns_names.join(", ")),
        };
        let says = format!(
            "{}{names}, issued by {}, {left} days left",
            distinguished_name(leaf.subject_name()),
            distinguished_name(leaf.issuer_name()),
        );
        self.note("peer", says);
        self.trust(session);
        if left < SOON {
            self.note(
                "expiry",
                format!("the upstream's certificate ends in {left} days"),
            );
        }
    }

    /// By which way the certificate is trusted.
    fn trust(&mut self, session: &SslRef) {
        let settings = self.endpoint.tls.client().map(ClientConfig::settings);
        let Some(Verification::Full(roots) | Verification::Chain(roots)) =
            settings.map(|settings| &settings.verification)
        else {
            return;
        };
        let chain = session.peer_cert_chain().into_iter().flatten();
        let chain: Vec<X509> = chain.map(ToOwned::to_owned).collect();
        let question = Question {
            chain: &chain,
            anchors: roots.certificates(),
            purpose: Some(Purpose::Server),
            host: None,
            at: self.at,
        };
        let checks = verify(&question).unwrap_or_default();
        let mut chains = checks
            .into_iter()
            .filter(|check| check.aspect.name() == "chain");
        if let Some(Ok(says)) = chains.next().map(|check| check.outcome) {
            self.note("trust", says);
        }
    }

    /// There is none.
    fn failed(&mut self, outage: Outage) {
        let verdict = outage.verdict();
        let hop = outage.hop();
        let says = format!(
            "{outage}; a request gets {} and the flag {} ({})",
            verdict.status,
            verdict.flag.flag(),
            verdict.flag.detail()
        );
        self.diagnosis.step(hop, Outcome::Refused, says);
        let advice = match (hop, outage.into_tls_failure()) {
            (_, Some(failure)) => remedy(failure.check).to_owned(),
            ("proxy", None) => {
                "Look at the proxy: its address, the name and password in its URL, and \
                                whether it lets the gateway through to this host and port."
                    .to_owned()
            }
            (_, None) => {
                "Look at name, port and firewall, and whether the upstream runs.".to_owned()
            }
        };
        self.diagnosis.advise(advice);
    }

    fn refused(&mut self, step: &'static str, failure: &UpstreamTlsFailure) {
        let says = format!("no connection is made: {failure}");
        self.diagnosis.step(step, Outcome::Refused, says);
        self.diagnosis.advise(remedy(failure.check).to_owned());
    }

    fn note(&mut self, step: &'static str, says: String) {
        self.diagnosis.step(step, Outcome::Note, says);
    }
}

fn authorities(roots: &Roots) -> String {
    match roots.certificates().len() {
        1 => "1 authority".to_owned(),
        many => format!("{many} authorities"),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Tls12 => "TLS 1.2",
        Version::Tls13 => "TLS 1.3",
    }
}

/// What mends a check that failed.
fn remedy(check: UpstreamCheck) -> &'static str {
    match check {
        UpstreamCheck::Protocol => {
            "Use http:// if the upstream speaks no TLS on this port, or its TLS port."
        }
        UpstreamCheck::Version => {
            "Let both speak one version: proxy_ssl_min_version and proxy_ssl_max_version (771 is 1.2, 772 is \
             1.3), or those of the API."
        }
        UpstreamCheck::Agreement => {
            "The upstream refuses the handshake: most often it wants a client certificate (map one to this \
             host), another suite (proxy_ssl_ciphers), or has no certificate for this name."
        }
        UpstreamCheck::Validity => "Renew the upstream's certificate, or correct the clock.",
        UpstreamCheck::Name => {
            "Give the upstream a certificate with this host among its alternative names, or use the name it has."
        }
        UpstreamCheck::Authority => {
            "Name the authority of the upstream in portcullis.upstream_ca, or have the upstream send its \
             intermediates."
        }
        UpstreamCheck::Usage => {
            "Have the upstream's certificate issued for servers (extended key usage serverAuth)."
        }
        UpstreamCheck::Size => {
            "Have the upstream send its certificate and its intermediates, each once, and nothing else."
        }
        UpstreamCheck::Pins => {
            "The upstream has another key than the pinned ones: correct the pins (pinned_public_keys), or find \
             out who answers there."
        }
        UpstreamCheck::CommonName => {
            "The certificate's common name has to be the host: have it issued so, or switch \
             ssl_force_common_name_check off."
        }
        UpstreamCheck::Identity => {
            "The client certificate mapped to this host cannot be used: correct the reference, or ask the running \
             gateway whether it has it (`portcullis cert list`)."
        }
        UpstreamCheck::Roots => {
            "Install ca-certificates, or name authorities in portcullis.upstream_ca."
        }
        UpstreamCheck::Setup => {
            "Correct the upstream's TLS settings: `portcullis check` names the key."
        }
    }
}
