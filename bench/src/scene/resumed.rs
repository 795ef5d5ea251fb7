//! A resumed mutual connection beside a full one: handshakes only, by `openssl s_time`, in turns on one
//! gateway.
//!
//! In TLS 1.2, whose sessions `s_time` can offer again; the work that is saved (the client's and the
//! server's signatures, the chain) is the same as in TLS 1.3.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{PROXY_BUSY, Scene, Values};
use crate::client::Failure;
use crate::error::Error;
use crate::lab::{Clients, Lab};
use crate::load::Timing;
use crate::measure::{Goal, Measure};
use crate::peer::{OURS, Peer, Running};
use crate::usage::{Reading, Usage};

pub(super) struct Resumed;

impl Scene for Resumed {
    fn name(&self) -> &'static str {
        "mutual-resumed"
    }

    fn title(&self) -> &'static str {
        "a resumed mutual handshake beside a full one"
    }

    fn measures(&self) -> &'static [Measure] {
        const {
            &[
                Measure::cost("ratio", "CPU resumed / full", &[Goal::AtMost(0.5)]),
                Measure::shown("full_us", "CPU µs/handshake, full"),
                Measure::shown("resumed_us", "CPU µs/handshake, resumed"),
                PROXY_BUSY,
            ]
        }
    }

    fn suits(&self, peer: &dyn Peer) -> bool {
        peer.name() == OURS
    }

    fn play<'a>(&'a self, peer: &'a dyn Peer, lab: &'a Lab, timing: Timing) -> Values<'a> {
        Box::pin(async move {
            let running = Running::pinned_for(peer, lab, Clients::OfAuthority).await?;
            let seconds = timing.window.as_secs().max(2);
            let (full, _) = shake(&running, "-new", seconds).await?;
            let (resumed, usage) = shake(&running, "-reuse", seconds).await?;
            Ok(vec![
                resumed / full,
                full,
                resumed,
                usage.percent(usage.proxy),
            ])
        })
    }
}

/// Shakes hands for so many seconds; microseconds of the proxy's CPU time for each.
async fn shake(running: &Running<'_>, kind: &str, seconds: u64) -> Result<(f64, Usage), Error> {
    let failed = |why: String| Error::FailedRequests {
        failed: 1,
        succeeded: 0,
        first: Failure::Handshake(why),
    };
    let (certificate, key) = &running.site.lab.pair.client;
    let mut client = Command::new("openssl");
    client
        .args(["s_time", "-tls1_2", kind, "-connect"])
        .arg(running.site.address().to_string())
        .args(["-time", &seconds.to_string(), "-cert"])
        .arg(certificate)
        .arg("-key")
        .arg(key)
        .stdin(Stdio::null());
    let proxy = running.processes();
    let before = Reading::of(&proxy);
    let limit = Duration::from_secs(seconds + 20);
    let shaking = tokio::task::spawn_blocking(move || client.output());
    let output = tokio::time::timeout(limit, shaking)
        .await
        .map_err(|_| failed("openssl s_time does not end".to_owned()))?
        .expect("running a program does not panic")
        .map_err(|error| failed(format!("openssl s_time: {error}")))?;
    let usage = Reading::of(&proxy).since(&before);
    // "1234 connections in 3 real seconds, 0 bytes read per connection"
    let text = String::from_utf8_lossy(&output.stdout);
    let count = text
        .lines()
        .find(|line| line.contains(" real seconds"))
        .and_then(|line| line.split(' ').next()?.parse::<f64>().ok())
        .filter(|count| *count > 0.0)
        .ok_or_else(|| failed(format!("openssl s_time said {text:?}")))?;
    Ok((usage.proxy.as_secs_f64() * 1e6 / count, usage))
}
