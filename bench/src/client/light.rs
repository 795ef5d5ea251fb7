//! Light traffic at a fixed pace, with the latency of every request.
//!
//! The pace does not wait for answers: when an answer is late, the requests that should
//! have been sent meanwhile count from when they were due. So a pause of the server shows
//! in every request it would have delayed, not in one.

use std::time::{Duration, Instant};

use super::http1::Http1;
use super::{Dial, Failure};
use crate::upstream::Page;

/// How much light traffic is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Connections, each with its own clock.
    pub(crate) connections: u32,
    /// Time from one request to the next on one connection.
    pub(crate) every: Duration,
}

/// Sends `requests` in turn for `window` and returns the latencies.
pub(crate) async fn latencies(
    dial: &Dial,
    pace: Pace,
    requests: &[Vec<u8>],
    window: Duration,
) -> Result<Vec<Duration>, Failure> {
    let start = Instant::now() + Duration::from_millis(20);
    let mut connections = tokio::task::JoinSet::new();
    for index in 0..pace.connections {
        let dial = dial.clone();
        let offset = pace.every * index / pace.connections;
        let own: Vec<Vec<u8>> = requests
            .iter()
            .skip(index as usize)
            .step_by(pace.connections as usize)
            .cloned()
            .collect();
        connections
            .spawn(async move { one(&dial, start + offset, pace.every, &own, window).await });
    }
    let mut all = Vec::new();
    while let Some(connection) = connections.join_next().await {
        all.extend(connection.expect("the task does not panic")?);
    }
    Ok(all)
}

async fn one(
    dial: &Dial,
    start: Instant,
    every: Duration,
    requests: &[Vec<u8>],
    window: Duration,
) -> Result<Vec<Duration>, Failure> {
    let mut connection = Http1::open(dial, 4096).await?;
    let mut latencies = Vec::new();
    let mut due = start;
    for request in requests.iter().cycle() {
        if due >= start + window {
            break;
        }
        // A timer may wake up late; that is the client's delay. A request that is already
        // due when the connection becomes free was delayed by the server.
        let from = if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
            Instant::now()
        } else {
            due
        };
        connection.fetch(request, Page::Small, |_| ()).await?;
        latencies.push(from.elapsed());
        due += every;
    }
    Ok(latencies)
}

/// The value below which `share` of the sorted latencies lie.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small index is a small index"
    )]
    let at = (last as f64 * share).ceil() as usize;
    sorted.get(at.min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.99), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&sorted, 0.5), Some(Duration::from_millis(51)));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
