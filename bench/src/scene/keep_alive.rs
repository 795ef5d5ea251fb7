//! HTTP/1.1 over TLS 1.3: 64 connections, one request after the other on each; with client
//! certificates, or without.

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::Offer;
use crate::client::http1::{Http1, request};
use crate::lab::{Clients, Lab};
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, RELAY, Running};
use crate::upstream::Page;

const CONNECTIONS: usize = 64;

pub(super) struct KeepAlive {
    name: &'static str,
    title: &'static str,
    measures: &'static [Measure],
    clients: Clients,
}

impl KeepAlive {
    /// Everybody may connect.
    pub(super) const fn open() -> Self {
        Self {
            name: "keep-alive",
            title: "HTTP/1.1 keep-alive, 64 connections",
            measures: const {
                &[
                    Measure::cost(
                        "cpu_us_per_request",
                        "CPU µs/request",
                        &[Goal::TimesBest(0.95), Goal::Times(1.3, RELAY)],
                    ),
                    RATE,
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            clients: Clients::Anybody,
        }
    }

    /// Clients of the run's authority, which the handshake demands; ours checks its list with each
    /// request as well.
    pub(super) const fn mutual() -> Self {
        Self {
            name: "mutual-keep-alive",
            title: "the same with client certificates",
            measures: const {
                &[
                    Measure::cost(
                        "cpu_us_per_request",
                        "CPU µs/request",
                        &[Goal::TimesBest(0.95)],
                    ),
                    RATE,
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            clients: Clients::OfAuthority,
        }
    }
}

const RATE: Measure = Measure::shown("requests_per_second", "requests/s");

impl Scene for KeepAlive {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn measures(&self) -> &'static [Measure] {
        self.measures
    }

    /// The bare relay too where anybody may connect: it is the floor of this scene.
    fn suits(&self, peer: &dyn Peer) -> bool {
        peer.terminates_tls() || self.clients == Clients::Anybody
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned_for(peer, lab, self.clients).await?;
            let dial = running.dial(Offer::Http1)?;
            let tally = Tally::default();
            let connections = (0..CONNECTIONS).map(|_| {
                let (dial, tally) = (dial.clone(), tally.clone());
                async move {
                    let request = request(Page::Small.path(), "");
                    let mut connection = Http1::open(&dial, 4096).await?;
                    while tally.goes_on() {
                        connection.fetch(&request, Page::Small, |_| ()).await?;
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
