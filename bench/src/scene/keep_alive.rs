//! HTTP/1.1 over TLS 1.3: 64 connections, one request after the other on each.

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::Offer;
use crate::client::http1::{Http1, request};
use crate::lab::Lab;
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, RELAY, Running};
use crate::upstream::Page;

const CONNECTIONS: usize = 64;

pub(super) struct KeepAlive;

impl Scene for KeepAlive {
    fn name(&self) -> &'static str {
        "keep-alive"
    }

    fn title(&self) -> &'static str {
        "HTTP/1.1 keep-alive, 64 connections"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost(
                    "cpu_us_per_request",
                    "CPU µs/request",
                    &[Goal::TimesBest(0.95), Goal::Times(1.3, RELAY)],
                ),
                Measure::shown("requests_per_second", "requests/s"),
                PROXY_BUSY,
                LOAD_BUSY,
                OTHERS_BUSY,
            ]
        }
    }

    /// The bare relay too: it is the floor of this scene.
    fn suits(&self, _: &dyn Peer) -> bool {
        true
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned(peer, lab).await?;
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
