//! The proxies that are measured. A peer writes its configuration and says how it is started;
//! everything else is the same for all.
//!
//! A new peer is a file here and a line in [`all`].

mod envoy;
mod haproxy;
mod nginx;
mod ours;
mod relay;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;

use crate::certificate::name_of;
use crate::client::http1::{Http1, request};
use crate::client::{Dial, Failure, Identity, Offer};
use crate::error::Error;
use crate::lab::{Behind, Clients, Lab, Site, listen_path};
use crate::process::{Invocation, Process};
use crate::upstream::Page;

pub(crate) use ours::{NAME as OURS, ORG, SECRET};
pub(crate) use relay::NAME as RELAY;

/// How long a peer may take to serve its first request.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The TLS 1.3 suite every peer must agree to, so that all pay for the same cipher.
pub(crate) const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// A proxy.
pub(crate) trait Peer {
    /// Its name in options and tables.
    fn name(&self) -> &'static str;

    /// Whether it terminates TLS. The bare relay does not, and takes part only as a floor.
    fn terminates_tls(&self) -> bool {
        true
    }

    /// Whether it loads API definitions.
    fn loads_definitions(&self) -> bool {
        false
    }

    /// Whether it takes part with thousands of certificates.
    fn serves_many_certificates(&self) -> bool {
        false
    }

    /// What it calls itself, with its version, on one line.
    fn version(&self, lab: &Lab) -> Result<String, Error>;

    /// Writes its configuration for `site` and says how to start it.
    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error>;
}

/// Every known peer, ours first.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(ours::Ours),
        Box::new(nginx::Nginx),
        Box::new(haproxy::Haproxy),
        Box::new(envoy::Envoy),
        Box::new(relay::Relay),
    ]
}

/// A peer that serves.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub(crate) site: Site<'a>,
    /// From the start of the program to its first proxied answer.
    pub(crate) took: Duration,
    process: Process,
    terminates_tls: bool,
}

impl<'a> Running<'a> {
    /// Starts `peer` alone on the proxy's core and checks that it is set up like the others.
    pub(crate) async fn pinned(peer: &dyn Peer, lab: &'a Lab) -> Result<Self, Error> {
        Self::alone(peer, lab.site(peer.name())?).await
    }

    /// As [`Running::pinned`], for these clients.
    pub(crate) async fn pinned_for(
        peer: &dyn Peer,
        lab: &'a Lab,
        clients: Clients,
    ) -> Result<Self, Error> {
        let mut site = lab.site(peer.name())?;
        site.clients = clients;
        Self::alone(peer, site).await
    }

    /// As [`Running::pinned`], with its upstream reached in another way.
    pub(crate) async fn pinned_before(
        peer: &dyn Peer,
        lab: &'a Lab,
        behind: Behind,
    ) -> Result<Self, Error> {
        let mut site = lab.site(peer.name())?;
        site.behind = behind;
        Self::alone(peer, site).await
    }

    /// As [`Running::pinned`], with the Redis at this port as its store.
    pub(crate) async fn pinned_with_store(
        peer: &dyn Peer,
        lab: &'a Lab,
        redis: Option<u16>,
    ) -> Result<Self, Error> {
        let mut site = lab.site(peer.name())?;
        site.redis = redis;
        Self::alone(peer, site).await
    }

    async fn alone(peer: &dyn Peer, site: Site<'a>) -> Result<Self, Error> {
        let cores = site.lab.cores.proxy.to_string();
        let running = Self::start(peer, site, &cores).await?;
        if peer.terminates_tls() {
            running.check_equal(peer.name()).await?;
        }
        Ok(running)
    }

    /// Starts `peer` with `apis` API definitions, on every core.
    pub(crate) async fn with_definitions(
        peer: &dyn Peer,
        lab: &'a Lab,
        apis: usize,
    ) -> Result<Self, Error> {
        let mut site = lab.site(peer.name())?;
        site.apis = apis;
        Self::start(peer, site, lab.cores.all()).await
    }

    /// Starts `peer` with these certificates, on every core.
    pub(crate) async fn with_certificates(
        peer: &dyn Peer,
        lab: &'a Lab,
        certificates: Vec<String>,
    ) -> Result<Self, Error> {
        let mut site = lab.site(peer.name())?;
        site.certificates = certificates;
        Self::start(peer, site, lab.cores.all()).await
    }

    /// How to connect, offering HTTP/1.1 or HTTP/2.
    pub(crate) fn dial(&self, offer: Offer) -> Result<Dial, Error> {
        let address = self.site.address();
        Ok(if self.terminates_tls {
            Dial::tls(address, offer, self.identity())?
        } else {
            Dial::plain(address)
        })
    }

    /// What clients present.
    fn identity(&self) -> Identity<'_> {
        let (certificate, key) = &self.site.lab.pair.client;
        (self.site.clients != Clients::Anybody).then_some((certificate, key))
    }

    /// The peer's processes now.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.process.ids()
    }

    async fn start(peer: &dyn Peer, site: Site<'a>, cores: &str) -> Result<Self, Error> {
        let invocation = peer.set_up(&site)?;
        let start = Instant::now();
        let process = Process::start(peer.name(), &invocation, cores, &site.dir)?;
        let mut running = Self {
            site,
            took: Duration::ZERO,
            process,
            terminates_tls: peer.terminates_tls(),
        };

        // Ready is who answers: the last definition's page, through to the upstream, under the last
        // certificate's name.
        let mut dial = running.dial(Offer::Http1)?;
        if let Some(last) = running.site.certificates.len().checked_sub(1) {
            dial = dial.named(&name_of(last));
        }
        let path = match running.site.apis {
            1 => Page::Small.path().to_owned(),
            many => listen_path(many - 1) + &Page::Small.path()[1..],
        };
        let request = request(&path, "");
        loop {
            running.process.check_alive()?;
            let answer = tokio::time::timeout(Duration::from_secs(5), probe(&dial, &request)).await;
            let failure = match answer {
                Ok(Ok(())) => break,
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Late(5),
            };
            if start.elapsed() > START_LIMIT {
                return Err(Error::NotReady {
                    peer: peer.name(),
                    seconds: START_LIMIT.as_secs(),
                    output: running.process.last_output(),
                    last: failure,
                });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.took = start.elapsed();
        Ok(running)
    }

    /// The same certificate, versions, suite and protocols everywhere, or no number.
    async fn check_equal(&self, peer: &'static str) -> Result<(), Error> {
        let authority = &self.site.lab.pair.authority;
        for (version, offer) in [
            (SslVersion::TLS1_3, Offer::Http1),
            (SslVersion::TLS1_3, Offer::Http2),
            (SslVersion::TLS1_2, Offer::Http2),
        ] {
            let unequal = |difference: String| Error::Unequal { peer, difference };
            let wanted = format!("{version:?} with {offer:?}");
            let stream = Dial::verifying(
                self.site.address(),
                offer,
                version,
                authority,
                self.identity(),
            )?
            .connect_tls()
            .await
            .map_err(|failure| unequal(format!("{wanted}: {failure}")))?;
            let agreed = stream.ssl().selected_alpn_protocol();
            // Without ALPN, HTTP/1.1 is what is spoken: Go's servers, and ours after them, say nothing then.
            let silent_http1 = offer == Offer::Http1 && agreed.is_none();
            if agreed != Some(offer.protocol()) && !silent_http1 {
                return Err(unequal(format!("{wanted}: it chose {agreed:?} by ALPN")));
            }
            let suite = stream.ssl().current_cipher().map(|cipher| cipher.name());
            if version == SslVersion::TLS1_3 && suite != Some(SUITE) {
                return Err(unequal(format!(
                    "{wanted}: it chose {suite:?} instead of {SUITE}"
                )));
            }
        }
        Ok(())
    }
}

async fn probe(dial: &Dial, request: &[u8]) -> Result<(), Failure> {
    Http1::open(dial, 4096)
        .await?
        .fetch(request, Page::Small, |_| ())
        .await
}

/// The first line of what `program` prints about itself.
fn ask_version(peer: &'static str, program: &Path, argument: &str) -> Result<String, Error> {
    let cannot_run = |why: String| Error::CannotRun { peer, why };
    let answer = Command::new(program)
        .arg(argument)
        .output()
        .map_err(|error| cannot_run(format!("{}: {error}", program.display())))?;
    if !answer.status.success() {
        return Err(cannot_run(format!(
            "{} {argument}: {}",
            program.display(),
            answer.status
        )));
    }
    // nginx answers on the error stream.
    let text = [answer.stdout, answer.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or("unknown");
    // Some name themselves by the path they were called by.
    let line = line
        .strip_prefix(&*program.to_string_lossy())
        .unwrap_or(line);
    let line = line.trim();
    Ok(line
        .strip_prefix("version:")
        .unwrap_or(line)
        .trim()
        .to_owned())
}
