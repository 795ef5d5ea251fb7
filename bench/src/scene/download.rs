//! A 10 MiB response, again and again over four kept-alive HTTP/1.1 connections.

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values, values};
use crate::client::Offer;
use crate::client::http1::{Http1, request};
use crate::lab::Lab;
use crate::load::{self, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::upstream::Page;

const CONNECTIONS: usize = 4;
const READ: usize = 128 * 1024;

pub(super) struct Download;

impl Scene for Download {
    fn name(&self) -> &'static str {
        "download"
    }

    fn title(&self) -> &'static str {
        "10 MiB download, 4 connections"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost(
                    "cpu_us_per_download",
                    "CPU µs/download",
                    &[Goal::TimesBest(0.80)],
                ),
                Measure::shown("downloads_per_second", "downloads/s"),
                PROXY_BUSY,
                LOAD_BUSY,
                OTHERS_BUSY,
            ]
        }
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned(peer, lab).await?;
            let dial = running.dial(Offer::Http1)?.reading(READ);
            let tally = Tally::default();
            let connections = (0..CONNECTIONS).map(|_| {
                let (dial, tally) = (dial.clone(), tally.clone());
                async move {
                    let request = request(Page::Large.path(), "");
                    let mut connection = Http1::open(&dial, READ).await?;
                    while tally.goes_on() {
                        // By bytes, so that a download cut by the window's edge counts in part.
                        connection
                            .fetch(&request, Page::Large, |bytes| tally.add(bytes))
                            .await?;
                        tally.answered();
                    }
                    Ok(())
                }
            });
            let cost =
                load::run(&running, timing, Page::Large.length(), connections, &tally).await?;
            Ok(values(cost))
        })
    }
}
