//! A new TLS 1.3 connection for every request: full handshake, one request that asks to close,
//! until the server has closed; with client certificates, or without.

use std::time::Duration;

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::Offer;
use crate::client::http1::{Http1, request};
use crate::lab::{Clients, Lab};
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{OURS, Peer, Running};
use crate::upstream::Page;
use crate::usage::Reading;

/// How many are under way at a time.
const AT_ONCE: usize = 32;

pub(super) struct NewConnection {
    name: &'static str,
    title: &'static str,
    measures: &'static [Measure],
    clients: Clients,
    alone: bool,
}

impl NewConnection {
    /// Everybody may connect.
    pub(super) const fn open() -> Self {
        Self {
            name: "new-connection",
            title: "a new TLS 1.3 connection per request, 32 at a time",
            measures: const {
                &[
                    Measure::cost(
                        "cpu_us_per_connection",
                        "CPU µs/connection",
                        &[Goal::Times(0.75, "envoy"), Goal::Times(0.60, "haproxy")],
                    ),
                    RATE,
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            clients: Clients::Anybody,
            alone: false,
        }
    }

    /// Clients of the run's authority.
    pub(super) const fn mutual() -> Self {
        Self {
            name: "mutual-connection",
            title: "the same with client certificates",
            measures: const {
                &[
                    Measure::cost(
                        "cpu_us_per_connection",
                        "CPU µs/connection",
                        &[Goal::Times(0.85, "envoy"), Goal::Times(0.45, "haproxy")],
                    ),
                    RATE,
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            clients: Clients::OfAuthority,
            alone: false,
        }
    }

    /// A client on a list of so many, ours alone.
    pub(super) const fn listed(name: &'static str, title: &'static str, count: usize) -> Self {
        Self {
            name,
            title,
            measures: const {
                &[
                    Measure::cost("cpu_us_per_connection", "CPU µs/connection", &[]),
                    RATE,
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            clients: Clients::Listed(count),
            alone: true,
        }
    }
}

const RATE: Measure = Measure::shown("connections_per_second", "connections/s");

impl Scene for NewConnection {
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
        peer.terminates_tls() && (!self.alone || peer.name() == OURS)
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned_for(peer, lab, self.clients).await?;
            if self.alone {
                // It looks through what it was given once it serves; that is not what is asked here.
                until_calm(&running).await;
            }
            let dial = running.dial(Offer::Http1)?;
            let tally = Tally::default();
            let connections = (0..AT_ONCE).map(|_| {
                let (dial, tally) = (dial.clone(), tally.clone());
                async move {
                    let request = request(Page::Small.path(), "Connection: close\r\n");
                    while tally.goes_on() {
                        let mut connection = Http1::open(&dial, 4096).await?;
                        connection.fetch(&request, Page::Small, |_| ()).await?;
                        connection.closed().await?;
                        tally.answered();
                        tally.add(1);
                    }
                    Ok(())
                }
            });
            Ok(values(
                load::run(&running, timing, 1, connections, &tally).await?,
            ))
        })
    }
}

/// Waits until a gateway has nothing to do any more, a minute at most.
async fn until_calm(running: &Running<'_>) {
    const CALM_PERCENT: f64 = 3.0;
    let processes = running.processes();
    for _ in 0..60 {
        let before = Reading::of(&processes);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let usage = Reading::of(&processes).since(&before);
        if usage.percent(usage.proxy) < CALM_PERCENT {
            return;
        }
    }
}
