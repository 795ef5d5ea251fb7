//! A new TLS 1.3 connection for every request: full handshake, one request that asks to close,
//! until the server has closed.

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::Offer;
use crate::client::http1::{Http1, request};
use crate::lab::Lab;
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::upstream::Page;

/// How many are under way at a time.
const AT_ONCE: usize = 32;

pub(super) struct NewConnection;

impl Scene for NewConnection {
    fn name(&self) -> &'static str {
        "new-connection"
    }

    fn title(&self) -> &'static str {
        "a new TLS 1.3 connection per request, 32 at a time"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost(
                    "cpu_us_per_connection",
                    "CPU µs/connection",
                    &[Goal::Times(0.75, "envoy"), Goal::Times(0.60, "haproxy")],
                ),
                Measure::shown("connections_per_second", "connections/s"),
                PROXY_BUSY,
                LOAD_BUSY,
                OTHERS_BUSY,
            ]
        }
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned(peer, lab).await?;
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
