//! What a key costs: the same request to an open API and to one that asks for a token, whose session
//! is at hand and has a rate.
//!
//! Both are measured on one gateway in turns, so that what disturbs the machine for a while disturbs
//! both. A session at hand asks nobody, so where it came from, the embedded store or a Redis, should not
//! matter; there is a scene for each, because it might.

use std::net::SocketAddr;

use serde_json::json;

use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values};
use crate::client::http1::{Http1, request};
use crate::client::{Dial, Failure, Offer};
use crate::error::Error;
use crate::lab::Lab;
use crate::load::{self, Cost, Tally, Timing};
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running, SECRET};
use crate::redis::Redis;
use crate::upstream::Page;

const CONNECTIONS: usize = 64;

/// How often open and closed take turns.
const TURNS: u32 = 2;

const TOKEN: &str = "benchmark-key";

pub(super) struct Authenticated {
    on_redis: bool,
}

impl Authenticated {
    /// With the gateway's own store.
    pub(super) fn embedded() -> Self {
        Self { on_redis: false }
    }

    /// With a Redis beside it.
    pub(super) fn on_redis() -> Self {
        Self { on_redis: true }
    }
}

impl Scene for Authenticated {
    fn name(&self) -> &'static str {
        if self.on_redis {
            "authenticated-redis"
        } else {
            "authenticated"
        }
    }

    fn title(&self) -> &'static str {
        if self.on_redis {
            "A token beside none, 64 connections, store on Redis"
        } else {
            "A token beside none, 64 connections"
        }
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost("extra_us", "CPU µs more with a token", &[Goal::AtMost(3.0)]),
                Measure::shown("open_us", "CPU µs/request, open"),
                Measure::shown("token_us", "CPU µs/request, token"),
                PROXY_BUSY,
                LOAD_BUSY,
                OTHERS_BUSY,
            ]
        }
    }

    fn suits(&self, peer: &dyn Peer) -> bool {
        peer.loads_definitions()
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let redis = match self.on_redis {
                true => Some(Redis::start(lab).await?),
                false => None,
            };
            let port = redis.as_ref().map(Redis::port);
            let running = Running::pinned_with_store(peer, lab, port).await?;
            let dial = running.dial(Offer::Http1)?;
            prepare(&dial, lab.upstream)
                .await
                .map_err(|first| Error::FailedRequests {
                    failed: 1,
                    succeeded: 0,
                    first,
                })?;
            let page = Page::Small.path();
            let open = request(page, "");
            let closed = request(
                &format!("/keyed{page}"),
                &format!("Authorization: {TOKEN}\r\n"),
            );
            let turn = Timing {
                window: timing.window / TURNS,
                ..timing
            };
            let (mut without, mut with, mut last) = (0.0, 0.0, None);
            for _ in 0..TURNS {
                without += micros(&ask(&running, &dial, turn, &open).await?);
                let cost = ask(&running, &dial, turn, &closed).await?;
                with += micros(&cost);
                last = Some(cost.usage);
            }
            let usage = last.ok_or(Error::NothingDone)?;
            let (without, with) = (without / f64::from(TURNS), with / f64::from(TURNS));
            Ok(vec![
                with - without,
                without,
                with,
                usage.percent(usage.proxy),
                usage.percent(usage.own),
                usage.percent(usage.others),
            ])
        })
    }
}

async fn ask(
    running: &Running<'_>,
    dial: &Dial,
    timing: Timing,
    request: &[u8],
) -> Result<Cost, Error> {
    let tally = Tally::default();
    let connections = (0..CONNECTIONS).map(|_| {
        let (dial, tally, request) = (dial.clone(), tally.clone(), request.to_vec());
        async move {
            let mut connection = Http1::open(&dial, 4096).await?;
            while tally.goes_on() {
                connection.fetch(&request, Page::Small, |_| ()).await?;
                tally.answered();
                tally.add(1);
            }
            Ok(())
        }
    });
    load::run(running, timing, 1, connections, &tally).await
}

/// Makes the API that asks for a token, and a key with a rate nobody reaches.
async fn prepare(dial: &Dial, upstream: SocketAddr) -> Result<(), Failure> {
    let definition = json!({
        "name": "Keyed", "api_id": "keyed", "org_id": "bench", "active": true,
        "use_keyless": false, "use_standard_auth": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default"}}
        },
        "proxy": {
            "listen_path": "/keyed/", "strip_listen_path": true,
            "target_url": format!("http://{upstream}/"),
        }
    });
    let session = json!({
        "org_id": "bench", "rate": 1_000_000, "per": 1,
        "access_rights": {"keyed": {"api_id": "keyed", "versions": ["Default"]}}
    });
    let mut connection = Http1::open(dial, 4096).await?;
    for (path, body) in [
        ("/tyk/apis", definition.to_string()),
        ("/tyk/reload?block=true", String::new()),
        (&*format!("/tyk/keys/{TOKEN}"), session.to_string()),
    ] {
        connection.ask(&control(path, &body)).await?;
    }
    Ok(())
}

fn control(path: &str, body: &str) -> Vec<u8> {
    let secret = format!("X-Tyk-Authorization: {SECRET}\r\n");
    if body.is_empty() {
        return request(path, &secret);
    }
    let length = format!("{secret}Content-Length: {}\r\n", body.len());
    let mut text = request(path, &length);
    text.splice(..3, *b"POST");
    text.extend_from_slice(body.as_bytes());
    text
}

fn micros(cost: &Cost) -> f64 {
    cost.cpu.as_secs_f64() * 1e6
}
