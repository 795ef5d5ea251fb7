//! Ten thousand API definitions: how long they take to load, what they keep, and what light
//! traffic feels while they are loaded again and again.
//!
//! Nobody is pinned here: a reload works beside the worker that serves, on another core where
//! there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{OTHERS_BUSY, Scene, Unpinned, Values};
use crate::client::http1::{Http1, request};
use crate::client::light::{Pace, latencies, percentile};
use crate::client::{Dial, Failure, Offer};
use crate::error::Error;
use crate::lab::{Lab, listen_path};
use crate::load::Timing;
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running, SECRET};
use crate::upstream::Page;
use crate::usage::{self, Reading};

const DEFINITIONS: usize = 10_000;

/// 400 requests a second.
const LIGHT: Pace = Pace {
    connections: 4,
    every: Duration::from_millis(10),
};

/// How often rest and reloading take turns in the measured time.
const TURNS: u32 = 2;

/// Of so many definitions, one is asked for; the step spreads them over all.
const ASKED_EVERY: usize = 37;

pub(super) struct Definitions;

impl Scene for Definitions {
    fn name(&self) -> &'static str {
        "definitions"
    }

    fn title(&self) -> &'static str {
        "10,000 API definitions"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost(
                    "load_seconds",
                    "s from start to serving",
                    &[Goal::AtMost(2.0)],
                ),
                Measure::cost("mib_loaded", "MiB RSS", &[Goal::AtMost(100.0)]),
                Measure::shown("p99_rest_us", "p99 µs at rest"),
                Measure::shown("p99_reloading_us", "p99 µs while reloading"),
                Measure::cost(
                    "p99_ratio",
                    "p99 while reloading / at rest",
                    &[Goal::AtMost(2.0)],
                ),
                Measure::shown("reload_ms", "ms per reload"),
                Measure::noted("reloads", "reloads in the window"),
                Measure::noted("p50_rest_us", "p50 µs at rest"),
                Measure::noted("p50_reloading_us", "p50 µs while reloading"),
                Measure::noted("mib_reloaded", "MiB RSS after reloads"),
                OTHERS_BUSY,
            ]
        }
    }

    fn suits(&self, peer: &dyn Peer) -> bool {
        peer.loads_definitions()
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let _unpinned = Unpinned::until_dropped(&lab.cores)?;
            let running = Running::with_definitions(peer, lab, DEFINITIONS).await?;
            let at_once = usage::resident(&running.processes());
            let dial = running.dial(Offer::Http1)?;
            let requests: Vec<_> = (0..DEFINITIONS)
                .step_by(ASKED_EVERY)
                .map(|api| {
                    request(
                        &format!("{}{}", listen_path(api), &Page::Small.path()[1..]),
                        "",
                    )
                })
                .collect();

            // Also lets what was needed only for loading go.
            traffic(&dial, &requests, timing.warm_up).await?;
            let loaded = at_once.max(usage::resident(&running.processes()));

            // In turns, so that what disturbs the machine for a while disturbs both.
            let (mut rest, mut disturbed, mut reloads) =
                (Vec::new(), Vec::new(), Reloads::default());
            let before = Reading::of(&running.processes());
            for _ in 0..TURNS {
                rest.extend(traffic(&dial, &requests, timing.window / TURNS).await?);
                let reloading = Reloading::start(&dial);
                let latencies = traffic(&dial, &requests, timing.window / TURNS).await;
                let done = reloading.end().await.map_err(failed)?;
                disturbed.extend(latencies?);
                reloads.count += done.count;
                reloads.took += done.took;
            }
            let usage = Reading::of(&running.processes()).since(&before);
            let reloaded = usage::resident(&running.processes());
            rest.sort_unstable();
            disturbed.sort_unstable();

            let micros = |latencies: &[Duration], share| {
                percentile(latencies, share)
                    .map(|latency| latency.as_secs_f64() * 1e6)
                    .ok_or(Error::NothingDone)
            };
            let (rest_99, disturbed_99) = (micros(&rest, 0.99)?, micros(&disturbed, 0.99)?);
            Ok(vec![
                running.took.as_secs_f64(),
                mib(loaded),
                rest_99,
                disturbed_99,
                disturbed_99 / rest_99,
                reloads.took.as_secs_f64() * 1e3 / f64::from(reloads.count),
                f64::from(reloads.count),
                micros(&rest, 0.5)?,
                micros(&disturbed, 0.5)?,
                mib(reloaded),
                usage.percent(usage.others),
            ])
        })
    }
}

async fn traffic(
    dial: &Dial,
    requests: &[Vec<u8>],
    window: Duration,
) -> Result<Vec<Duration>, Error> {
    latencies(dial, LIGHT, requests, window)
        .await
        .map_err(failed)
}

fn failed(first: Failure) -> Error {
    Error::FailedRequests {
        failed: 1,
        succeeded: 0,
        first,
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// Reloads one after the other, each awaited before the next.
struct Reloading {
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<Reloads, Failure>>,
}

#[derive(Default)]
struct Reloads {
    count: u32,
    took: Duration,
}

impl Reloading {
    fn start(dial: &Dial) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (dial, seen) = (dial.clone(), Arc::clone(&over));
        let task = tokio::spawn(async move {
            let reload = request(
                "/tyk/reload?block=true",
                &format!("X-Tyk-Authorization: {SECRET}\r\n"),
            );
            let start = Instant::now();
            let mut count = 0;
            let mut connection = Http1::open(&dial, 4096).await?;
            // At least one, however short the window is.
            while count == 0 || !seen.load(Ordering::Relaxed) {
                // One definition differs each time: a reload that finds nothing new proves little.
                connection.ask(&edition(count)).await?;
                connection.ask(&reload).await?;
                count += 1;
            }
            Ok(Reloads {
                count,
                took: start.elapsed(),
            })
        });
        Self { over, task }
    }

    async fn end(self) -> Result<Reloads, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let limit = Duration::from_secs(60);
        match tokio::time::timeout(limit, self.task).await {
            Ok(reloads) => reloads.expect("the task does not panic"),
            Err(_) => Err(Failure::Late(limit.as_secs())),
        }
    }
}

/// Replaces a definition that no traffic asks for by a new edition of itself.
fn edition(number: u32) -> Vec<u8> {
    let api = 1;
    let definition = serde_json::json!({
        "name": format!("API {api}, edition {number}"),
        "api_id": format!("api-{api:05}"),
        "org_id": "bench",
        "active": true,
        "use_keyless": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default"}}
        },
        "proxy": {
            "listen_path": listen_path(api),
            "target_url": "http://127.0.0.1:9/",
            "strip_listen_path": true
        }
    })
    .to_string();
    format!(
        "PUT /tyk/apis/api-{api:05} HTTP/1.1\r\nHost: localhost\r\nX-Tyk-Authorization: {SECRET}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{definition}",
        definition.len()
    )
    .into_bytes()
}
