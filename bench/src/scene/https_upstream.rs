//! An upstream over TLS 1.3: by pooled connections, or by a new one with a client certificate for each
//! request. Clients stay connected, as in `keep-alive`.
//!
//! That connections are kept, or not, is counted by the upstream.

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::Offer;
use crate::client::http1::{Http1, request};
use crate::error::Error;
use crate::lab::{Behind, Lab};
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::upstream::Page;

pub(super) struct HttpsUpstream {
    name: &'static str,
    title: &'static str,
    measures: &'static [Measure],
    connections: usize,
    behind: Behind,
}

impl HttpsUpstream {
    /// Connections that are kept.
    pub(super) const fn pooled() -> Self {
        Self {
            name: "https-upstream",
            title: "HTTP/1.1 keep-alive, 64 connections, to an HTTPS upstream",
            measures: const {
                &[
                    Measure::cost(
                        "cpu_us_per_request",
                        "CPU µs/request",
                        &[Goal::TimesBest(0.95)],
                    ),
                    Measure::shown("requests_per_second", "requests/s"),
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            connections: 64,
            behind: Behind::Tls,
        }
    }

    /// A connection for each request.
    pub(super) const fn afresh() -> Self {
        Self {
            name: "upstream-connection",
            title: "a new mutual connection to the upstream per request, 32 at a time",
            measures: const {
                &[
                    Measure::cost(
                        "cpu_us_per_connection",
                        "CPU µs/connection",
                        &[Goal::TimesBest(0.9)],
                    ),
                    Measure::shown("connections_per_second", "connections/s"),
                    PROXY_BUSY,
                    LOAD_BUSY,
                    OTHERS_BUSY,
                ]
            },
            connections: 32,
            behind: Behind::MutualAfresh,
        }
    }

    /// Whether the upstream met what the scene is about.
    fn check(&self, peer: &'static str, accepted: u64, requests: u64) -> Result<(), Error> {
        let as_meant = match self.behind.is_afresh() {
            true => accepted >= requests,
            false => accepted <= requests / 10,
        };
        match as_meant {
            true => Ok(()),
            false => Err(Error::Unequal {
                peer,
                difference: format!("{accepted} upstream connections for {requests} requests"),
            }),
        }
    }
}

impl Scene for HttpsUpstream {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn measures(&self) -> &'static [Measure] {
        self.measures
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned_before(peer, lab, self.behind).await?;
            let dial = running.dial(Offer::Http1)?;
            let before = lab.upstream.accepted();
            let tally = Tally::default();
            let connections = (0..self.connections).map(|_| {
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
            let cost = load::run(&running, timing, 1, connections, &tally).await?;
            let accepted = lab.upstream.accepted() - before;
            self.check(peer.name(), accepted, tally.requests())?;
            Ok(values(cost))
        })
    }
}
