//! HTTP/2 over TLS 1.3: 16 connections with 8 streams each, one request after the other on
//! each stream.

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::http2::Http2;
use crate::client::{Failure, Offer};
use crate::lab::Lab;
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::upstream::Page;

const CONNECTIONS: usize = 16;
const STREAMS: usize = 8;

pub(super) struct Http2Streams;

impl Scene for Http2Streams {
    fn name(&self) -> &'static str {
        "h2"
    }

    fn title(&self) -> &'static str {
        "HTTP/2, 16 connections × 8 streams"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost(
                    "cpu_us_per_request",
                    "CPU µs/request",
                    &[Goal::TimesBest(1.0)],
                ),
                Measure::shown("requests_per_second", "requests/s"),
                PROXY_BUSY,
                LOAD_BUSY,
                OTHERS_BUSY,
            ]
        }
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned(peer, lab).await?;
            let dial = running.dial(Offer::Http2)?;
            let tally = Tally::default();
            let connections = (0..CONNECTIONS).map(|_| {
                let (dial, tally) = (dial.clone(), tally.clone());
                async move {
                    let connection = Http2::open(&dial, Page::Small).await?;
                    let mut streams = tokio::task::JoinSet::new();
                    for _ in 0..STREAMS {
                        let (mut connection, tally) = (connection.clone(), tally.clone());
                        streams.spawn(async move {
                            while tally.goes_on() {
                                connection.fetch(Page::Small).await?;
                                tally.answered();
                                tally.add(1);
                            }
                            Ok::<_, Failure>(())
                        });
                    }
                    while let Some(stream) = streams.join_next().await {
                        stream.expect("the task does not panic")?;
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
