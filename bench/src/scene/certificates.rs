//! Thousands of certificates, each for a name of its own: how long they take to load, what each keeps
//! while nobody asks for it, full handshakes for names at random, and how soon an upload is served.
//!
//! Nobody is pinned: loading uses every core there is.

use std::time::{Duration, Instant};

use portcullis_pki::Fingerprint;

use super::{OTHERS_BUSY, Scene, Unpinned, Values};
use crate::certificate::{many, name_of};
use crate::client::http1::{Http1, request};
use crate::client::{Dial, Failure, Offer};
use crate::error::Error;
use crate::lab::Lab;
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{ORG, OURS, Peer, Running, SECRET};
use crate::upstream::Page;
use crate::usage;

/// How many connections are under way at a time.
const AT_ONCE: usize = 16;

/// Time to give memory back before it is read.
const SETTLE: Duration = Duration::from_secs(1);

/// How long an upload may take until it is served.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Certificates {
    count: usize,
    name: &'static str,
    title: &'static str,
    measures: &'static [Measure],
    /// Only ours takes part.
    alone: bool,
}

impl Certificates {
    /// Ten thousand, beside peers.
    pub(super) const fn beside_peers() -> Self {
        Self {
            count: 10_000,
            name: "certificates",
            title: "10,000 certificates",
            measures: const {
                &[
                    Measure::cost("load_seconds", "s from start to serving", &[]),
                    Measure::cost("kib_per_certificate", "KiB RSS/certificate", &[]),
                    HANDSHAKE,
                    RATE,
                    OTHERS_BUSY,
                ]
            },
            alone: false,
        }
    }

    /// A hundred thousand, ours alone.
    pub(super) const fn alone() -> Self {
        Self {
            count: 100_000,
            name: "certificates-100k",
            title: "100,000 certificates",
            measures: const {
                &[
                    Measure::cost(
                        "load_seconds",
                        "s from start to serving",
                        &[Goal::AtMost(5.0)],
                    ),
                    Measure::cost(
                        "kib_per_certificate",
                        "KiB RSS/certificate",
                        &[Goal::AtMost(4.0)],
                    ),
                    HANDSHAKE,
                    RATE,
                    OTHERS_BUSY,
                    Measure::cost(
                        "update_ms",
                        "ms from upload to served",
                        &[Goal::AtMost(50.0)],
                    ),
                ]
            },
            alone: true,
        }
    }
}

const HANDSHAKE: Measure = Measure::cost(
    "cpu_us_per_connection",
    "CPU µs/connection, names at random",
    &[],
);
const RATE: Measure = Measure::shown("connections_per_second", "connections/s");

impl Scene for Certificates {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn measures(&self) -> &'static [Measure] {
        self.measures
    }

    fn suits(&self, peer: &dyn Peer) -> bool {
        peer.serves_many_certificates() && (!self.alone || peer.name() == OURS)
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let _unpinned = Unpinned::until_dropped(&lab.cores)?;
            // What the program takes without them.
            let bare = Running::with_certificates(peer, lab, Vec::new()).await?;
            tokio::time::sleep(SETTLE).await;
            let before = usage::resident(&bare.processes());
            drop(bare);

            let running = Running::with_certificates(peer, lab, many(self.count, name_of)?).await?;
            tokio::time::sleep(SETTLE).await;
            let after = usage::resident(&running.processes());
            let kib = (after as f64 - before as f64) / 1024.0 / self.count as f64;

            let dial = running.dial(Offer::Http1)?;
            let tally = Tally::default();
            let count = self.count;
            let connections = (0..AT_ONCE).map(|place| {
                let (dial, tally) = (dial.clone(), tally.clone());
                async move {
                    let request = request(Page::Small.path(), "Connection: close\r\n");
                    // A sequence that meets every name once before it meets one again.
                    let mut number = place * (count / AT_ONCE);
                    while tally.goes_on() {
                        number = (number + 7919) % (count - 1);
                        let dial = dial.clone().named(&name_of(number));
                        let mut connection = Http1::open(&dial, 4096).await?;
                        connection.fetch(&request, Page::Small, |_| ()).await?;
                        connection.closed().await?;
                        tally.answered();
                        tally.add(1);
                    }
                    Ok(())
                }
            });
            // Before anybody's handshakes have made anything that lasts.
            let update = match self.alone {
                true => Some(update(&running).await?),
                false => None,
            };
            let cost = load::run(&running, timing, 1, connections, &tally).await?;
            let mut values = vec![
                running.took.as_secs_f64(),
                kib,
                cost.cpu.as_secs_f64() * 1e6,
                cost.rate,
                cost.usage.percent(cost.usage.others),
            ];
            values.extend(update.map(|took| took.as_secs_f64() * 1e3));
            Ok(values)
        })
    }
}

/// Uploads the certificate that is named but not there; the time until a handshake shows it.
async fn update(running: &Running<'_>) -> Result<Duration, Error> {
    let certificates = &running.site.certificates;
    let last = certificates.len() - 1;
    let pair = &certificates[last];
    let upload = format!(
        "POST /tyk/certs?org_id={ORG} HTTP/1.1\r\nHost: localhost\r\nX-Tyk-Authorization: {SECRET}\r\n\
         Content-Length: {}\r\n\r\n{pair}",
        pair.len()
    );
    let wanted = Fingerprint::of(&*openssl::x509::X509::from_pem(pair.as_bytes())?)?;
    let dial = running.dial(Offer::Http1)?;
    let mut control = Http1::open(&dial, 4096).await.map_err(failed)?;
    let dial = dial.named(&name_of(last));
    let begun = Instant::now();
    control.ask(upload.as_bytes()).await.map_err(failed)?;
    while shown(&dial).await.map_err(failed)? != Some(wanted) {
        if begun.elapsed() > PATIENCE {
            return Err(failed(Failure::Late(PATIENCE.as_secs())));
        }
    }
    Ok(begun.elapsed())
}

async fn shown(dial: &Dial) -> Result<Option<Fingerprint>, Failure> {
    let stream = dial.connect_tls().await?;
    let shown = stream.ssl().peer_certificate();
    Ok(shown.and_then(|certificate| Fingerprint::of(&certificate).ok()))
}

fn failed(first: Failure) -> Error {
    Error::FailedRequests {
        failed: 1,
        succeeded: 0,
        first,
    }
}
