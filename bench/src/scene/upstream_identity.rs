//! What a client certificate and a pin cost at an HTTPS upstream whose connections are kept: the same
//! request to an API that shows nothing, and to one that shows a certificate and pins the upstream's key.
//!
//! Both are asked when a connection is made, so a request should cost the same.

use serde_json::{Value, json};

use super::in_turns::{Costs, in_turns, prepare};
use super::{LOAD_BUSY, OTHERS_BUSY, PROXY_BUSY, Scene, Values};
use crate::client::Offer;
use crate::client::http1::request;
use crate::lab::{Behind, Lab};
use crate::load::Timing;
use crate::measure::{Goal, Measure};
use crate::peer::{Peer, Running};
use crate::upstream::Page;

pub(super) struct UpstreamIdentity;

impl Scene for UpstreamIdentity {
    fn name(&self) -> &'static str {
        "upstream-identity"
    }

    fn title(&self) -> &'static str {
        "a client certificate and a pin beside none, HTTPS upstream"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost("ratio", "CPU with / without", &[Goal::AtMost(1.03)]),
                Measure::shown("without_us", "CPU µs/request, without"),
                Measure::shown("with_us", "CPU µs/request, with"),
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
            let running = Running::pinned_before(peer, lab, Behind::Tls).await?;
            let dial = running.dial(Offer::Http1)?;
            prepare(
                &dial,
                &[
                    ("/tyk/apis", definition(lab)),
                    ("/tyk/reload?block=true", Value::Null),
                ],
            )
            .await?;
            let page = Page::Small.path();
            let without = request(page, "");
            let with = request(&format!("/mutual{page}"), "");
            let Costs {
                first: without,
                second: with,
                usage,
            } = in_turns(&running, &dial, timing, [&without, &with]).await?;
            Ok(vec![
                with / without,
                without,
                with,
                usage.percent(usage.proxy),
                usage.percent(usage.own),
                usage.percent(usage.others),
            ])
        })
    }
}

/// An API with a client certificate and a pin, whose upstream lets nobody else in.
fn definition(lab: &Lab) -> Value {
    json!({
        "name": "Mutual", "api_id": "mutual", "org_id": "bench", "active": true, "use_keyless": true,
        "version_data": {
            "not_versioned": true,
            "versions": {"Default": {"name": "Default"}}
        },
        "upstream_certificates": {"*": lab.pair.client_both},
        "pinned_public_keys": {"*": lab.pair.pin},
        "proxy": {
            "listen_path": "/mutual/", "strip_listen_path": true,
            "target_url": format!("https://{}/", lab.upstream.mutual),
        }
    })
}
