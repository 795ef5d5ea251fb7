//! What an idle connection keeps: 3,000 connections that have made one request each.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{Scene, Values};
use crate::client::http1::{Http1, request};
use crate::client::{Dial, Failure, Offer};
use crate::error::Error;
use crate::lab::Lab;
use crate::load::Timing;
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::upstream::Page;
use crate::usage;

const CONNECTIONS: usize = 3000;

/// How many are opened at a time.
const AT_ONCE: usize = 32;

/// Time to give memory back before it is read.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) struct Idle;

impl Scene for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn title(&self) -> &'static str {
        "3,000 idle TLS 1.3 connections"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost(
                    "kib_per_connection",
                    "KiB RSS/connection",
                    &[Goal::AtMost(8.0)],
                ),
                Measure::noted("mib_before", "MiB RSS before"),
            ]
        }
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, _: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned(peer, lab).await?;
            let dial = running.dial(Offer::Http1)?.reading(1024);

            // The upstream pool and whatever is made once for the first connections is not theirs.
            drop(open(&dial, AT_ONCE).await?);
            tokio::time::sleep(SETTLE).await;
            let before = usage::resident(&running.processes());

            let connections = open(&dial, CONNECTIONS).await?;
            tokio::time::sleep(SETTLE).await;
            let after = usage::resident(&running.processes());

            // Only connections that are still there have been measured.
            let request = request(Page::Small.path(), "");
            for mut connection in connections {
                let answer = connection.fetch(&request, Page::Small, |_| ()).await;
                answer.map_err(|failure| failed(failure, CONNECTIONS))?;
            }
            let kib = (after as f64 - before as f64) / 1024.0;
            Ok(vec![
                kib / CONNECTIONS as f64,
                before as f64 / (1024.0 * 1024.0),
            ])
        })
    }
}

/// Opens `count` connections and makes one request on each.
async fn open(dial: &Dial, count: usize) -> Result<Vec<Http1>, Error> {
    let mut openers = JoinSet::new();
    for index in 0..AT_ONCE {
        let dial = dial.clone();
        let share = (index..count).step_by(AT_ONCE).count();
        openers.spawn(async move {
            let request = request(Page::Small.path(), "");
            let mut opened = Vec::with_capacity(share);
            for _ in 0..share {
                let mut connection = Http1::open(&dial, 1024).await?;
                connection.fetch(&request, Page::Small, |_| ()).await?;
                opened.push(connection);
            }
            Ok::<_, Failure>(opened)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(opened) = openers.join_next().await {
        let opened = opened.expect("the task does not panic");
        all.extend(opened.map_err(|failure| failed(failure, all.len()))?);
    }
    Ok(all)
}

fn failed(first: Failure, succeeded: usize) -> Error {
    Error::FailedRequests {
        failed: 1,
        succeeded: succeeded as u64,
        first,
    }
}
