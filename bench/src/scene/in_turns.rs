//! Two kinds of requests to one gateway, in turns: what disturbs the machine for a while disturbs both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::client::http1::{Http1, request};
use crate::client::{Dial, Failure};
use crate::error::Error;
use crate::load::{self, Tally, Timing};
use crate::peer::{Running, SECRET};
use crate::upstream::Page;
use crate::usage::Usage;

const CONNECTIONS: usize = 64;

/// What two kinds of requests cost.
pub(super) struct Costs {
    /// CPU µs for one of the first kind.
    pub(super) first: f64,
    /// CPU µs for one of the second.
    pub(super) second: f64,
    /// Who used how much meanwhile.
    pub(super) usage: Usage,
}

/// Sends both kinds of requests for the small page, on the same connections.
pub(super) async fn in_turns(
    running: &Running<'_>,
    dial: &Dial,
    timing: Timing,
    kinds: [&[u8]; 2],
) -> Result<Costs, Error> {
    let (tally, kind) = (Tally::default(), Arc::new(AtomicUsize::new(0)));
    let kinds = Arc::new(kinds.map(<[u8]>::to_vec));
    let connections = (0..CONNECTIONS).map(|_| {
        let (dial, tally) = (dial.clone(), tally.clone());
        let (kind, kinds) = (kind.clone(), kinds.clone());
        async move {
            let mut connection = Http1::open(&dial, 4096).await?;
            while tally.goes_on() {
                let request = &kinds[kind.load(Ordering::Relaxed)];
                connection.fetch(request, Page::Small, |_| ()).await?;
                tally.answered();
                tally.add(1);
            }
            Ok(())
        }
    });
    let turns = load::take_turns(running, timing, &kind, connections, &tally).await?;
    let [first, second] = turns.cpu.map(|cpu| cpu.as_secs_f64() * 1e6);
    Ok(Costs {
        first,
        second,
        usage: turns.usage,
    })
}

/// Asks the Control API for one thing after the other: paths, each with what to send to it, if anything.
pub(super) async fn prepare(dial: &Dial, steps: &[(&str, Value)]) -> Result<(), Error> {
    let asked = async {
        let mut connection = Http1::open(dial, 4096).await?;
        for (path, body) in steps {
            connection.ask(&control(path, body)).await?;
        }
        Ok(())
    };
    asked.await.map_err(|first: Failure| Error::FailedRequests {
        failed: 1,
        succeeded: 0,
        first,
    })
}

fn control(path: &str, body: &Value) -> Vec<u8> {
    let secret = format!("X-Tyk-Authorization: {SECRET}\r\n");
    if body.is_null() {
        return request(path, &secret);
    }
    let body = body.to_string();
    let length = format!("{secret}Content-Length: {}\r\n", body.len());
    let mut text = request(path, &length);
    text.splice(..3, *b"POST");
    text.extend_from_slice(body.as_bytes());
    text
}
