//! What a key costs: the same request to an open API and to one that asks for a token, whose session
//! is at hand and has a rate.
//!
//! Both are measured on one gateway in turns. A session at hand asks nobody, so where it came from, the embedded store or a Redis, should not
//! matter; there is a scene for each, because it might.

use serde_json::{Value, json};

use super::in_turns::{Costs, in_turns, prepare};
use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values};
use crate::client::Offer;
use crate::client::http1::request;
use crate::lab::Lab;
use crate::load::Timing;
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::redis::Redis;
use crate::upstream::Page;

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
            prepare(
                &dial,
                &[
                    ("/tyk/apis", definition(lab)),
                    ("/tyk/reload?block=true", Value::Null),
                    (&format!("/tyk/keys/{TOKEN}"), session()),
                ],
            )
            .await?;
            let page = Page::Small.path();
            let open = request(page, "");
            let keyed = request(
                &format!("/keyed{page}"),
                &format!("Authorization: {TOKEN}\r\n"),
            );
            let Costs {
                first: without,
                second: with,
                usage,
            } = in_turns(&running, &dial, timing, [&open, &keyed]).await?;
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

/// An API that asks for a token.
fn definition(lab: &Lab) -> Value {
    json!({
        "name": "Keyed", "api_id": "keyed", "org_id": "bench", "active": true,
        "use_keyless": false, "use_standard_auth": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default"}}
        },
        "proxy": {
            "listen_path": "/keyed/", "strip_listen_path": true,
            "target_url": format!("http://{}/", lab.upstream.plain),
        }
    })
}

/// A key with a rate nobody reaches.
fn session() -> Value {
    json!({
        "org_id": "bench", "rate": 1_000_000, "per": 1,
        "access_rights": {"keyed": {"api_id": "keyed", "versions": ["Default"]}}
    })
}
