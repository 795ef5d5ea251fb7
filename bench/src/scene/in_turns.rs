//! Two kinds of requests to one gateway, in turns: what disturbs the machine for a while disturbs both.

use serde_json::Value;

use crate::client::http1::{Http1, request};
use crate::client::{Dial, Failure};
use crate::error::Error;
use crate::load::{self, Cost, Tally, Timing};
use crate::peer::{Running, SECRET};
use crate::upstream::Page;
use crate::usage::Usage;

const CONNECTIONS: usize = 64;

/// How often the two take turns.
const TURNS: u32 = 2;

/// What two kinds of requests cost.
pub(super) struct Costs {
    /// CPU µs for one of the first kind.
    pub(super) first: f64,
    /// CPU µs for one of the second.
    pub(super) second: f64,
    /// Who used how much in the last turn.
    pub(super) usage: Usage,
}

/// Sends both kinds of requests for the small page, one kind after the other.
pub(super) async fn in_turns(
    running: &Running<'_>,
    dial: &Dial,
    timing: Timing,
    kinds: [&[u8]; 2],
) -> Result<Costs, Error> {
    let turn = Timing {
        window: timing.window / TURNS,
        ..timing
    };
    let (mut sums, mut last) = ([0.0; 2], None);
    for _ in 0..TURNS {
        for (sum, request) in sums.iter_mut().zip(kinds) {
            let cost = ask(running, dial, turn, request).await?;
            *sum += cost.cpu.as_secs_f64() * 1e6 / f64::from(TURNS);
            last = Some(cost.usage);
        }
    }
    let [first, second] = sums;
    Ok(Costs {
        first,
        second,
        usage: last.ok_or(Error::NothingDone)?,
    })
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
