//! Closed-loop load: connections that ask again as soon as they are answered, a warm-up, and
//! a measured window between two readings of the proxy's CPU time.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::client::Failure;
use crate::error::Error;
use crate::peer::Running;
use crate::usage::{Reading, Usage};

/// How long one kind of load has the proxy to itself.
const TURN: Duration = Duration::from_millis(100);

/// How long the connections may take to notice that the load has ended.
const WIND_DOWN: Duration = Duration::from_secs(10);

/// How long a measurement takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Load before the window, not measured.
    pub(crate) warm_up: Duration,
    /// The measured part.
    pub(crate) window: Duration,
}

/// What the connections of one load share. A clone is another handle on the same counts.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Counts>);

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    /// What the scene counts its cost by: requests, or the bytes of long bodies.
    units: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<Failure>>,
    on_failure: Notify,
    over: AtomicBool,
}

impl Tally {
    /// Whether to go on asking.
    pub(crate) fn goes_on(&self) -> bool {
        !self.0.over.load(Ordering::Relaxed)
    }

    /// Counts one request that was answered in full.
    pub(crate) fn answered(&self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what the scene's cost is divided by.
    pub(crate) fn add(&self, units: u64) {
        self.0.units.fetch_add(units, Ordering::Relaxed);
    }

    /// How many requests were answered in full so far.
    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    fn units(&self) -> u64 {
        self.0.units.load(Ordering::Relaxed)
    }

    fn failed(&self, failure: Failure) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
        let mut first = self
            .0
            .first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
        drop(first);
        self.0.on_failure.notify_one();
    }

    fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Error> {
        let failed = self.0.failed.load(Ordering::Relaxed);
        let first = self
            .0
            .first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*first {
            None => Ok(()),
            Some(first) => Err(Error::FailedRequests {
                failed,
                succeeded: self.0.requests.load(Ordering::Relaxed),
                first: first.clone(),
            }),
        }
    }
}

/// What a load took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The proxy's CPU time per unit.
    pub(crate) cpu: Duration,
    /// Units per second.
    pub(crate) rate: f64,
    /// Who used how much meanwhile.
    pub(crate) usage: Usage,
}

/// Runs `connections` until the window is over; a unit is `unit` of what they [`Tally::add`].
///
/// # Errors
/// When a single request fails, also during the warm-up: then there is no number at all.
pub(crate) async fn run<F>(
    peer: &Running<'_>,
    timing: Timing,
    unit: u64,
    connections: impl IntoIterator<Item = F>,
    tally: &Tally,
) -> Result<Cost, Error>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let tasks = begin(connections, tally);
    pause(timing.warm_up, tally).await?;
    let proxy = peer.processes();
    let before = Reading::of(&proxy);
    let units_before = tally.units();
    pause(timing.window, tally).await?;
    let units = tally.units() - units_before;
    let usage = Reading::of(&proxy).since(&before);
    end(tasks, tally).await?;

    if units == 0 {
        return Err(Error::NothingDone);
    }
    let units = units as f64 / unit as f64;
    Ok(Cost {
        cpu: usage.proxy.div_f64(units),
        rate: units / usage.elapsed.as_secs_f64(),
        usage,
    })
}

/// What two kinds of load took that had turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    /// The proxy's CPU time per unit of each kind.
    pub(crate) cpu: [Duration; 2],
    /// Who used how much in all of them.
    pub(crate) usage: Usage,
}

/// Runs `connections` that look at `kind` before they ask, and gives each kind every other [`TURN`], for a window
/// each: what disturbs the machine for longer than a turn disturbs both.
///
/// # Errors
/// As [`run`].
pub(crate) async fn take_turns<F>(
    peer: &Running<'_>,
    timing: Timing,
    kind: &AtomicUsize,
    connections: impl IntoIterator<Item = F>,
    tally: &Tally,
) -> Result<Turns, Error>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let tasks = begin(connections, tally);
    for turn in [0, 1] {
        kind.store(turn, Ordering::Relaxed);
        pause(timing.warm_up / 2, tally).await?;
    }
    let proxy = peer.processes();
    let whole = Reading::of(&proxy);
    let (mut cpu, mut units) = ([Duration::ZERO; 2], [0; 2]);
    for _ in 0..timing.window.div_duration_f64(TURN).round().max(1.0) as u32 {
        for turn in [0, 1] {
            kind.store(turn, Ordering::Relaxed);
            // What was under way is of the other kind.
            pause(TURN / 10, tally).await?;
            let (before, units_before) = (Reading::of(&proxy), tally.units());
            pause(TURN, tally).await?;
            units[turn] += tally.units() - units_before;
            cpu[turn] += Reading::of(&proxy).since(&before).proxy;
        }
    }
    let usage = Reading::of(&proxy).since(&whole);
    end(tasks, tally).await?;

    if units.contains(&0) {
        return Err(Error::NothingDone);
    }
    let each = |turn: usize| cpu[turn].div_f64(units[turn] as f64);
    Ok(Turns {
        cpu: [each(0), each(1)],
        usage,
    })
}

fn begin<F>(connections: impl IntoIterator<Item = F>, tally: &Tally) -> JoinSet<()>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for connection in connections {
        let tally = tally.clone();
        tasks.spawn(async move {
            if let Err(failure) = connection.await {
                tally.failed(failure);
            }
        });
    }
    tasks
}

/// Lets the connections come to their ends.
async fn end(mut tasks: JoinSet<()>, tally: &Tally) -> Result<(), Error> {
    tally.end();
    let wound_down = tokio::time::timeout(WIND_DOWN, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    if wound_down.is_err() {
        tally.failed(Failure::Late(WIND_DOWN.as_secs()));
    }
    tally.check()
}

/// Lets the load run for `time`, or until the first failure.
async fn pause(time: Duration, tally: &Tally) -> Result<(), Error> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = tally.0.on_failure.notified() => {
            tally.end();
            tally.check()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_spoils_the_tally_and_the_first_is_told() {
        let tally = Tally::default();
        tally.answered();
        assert!(tally.check().is_ok());
        tally.failed(Failure::Status(502));
        tally.failed(Failure::Closed);
        let error = tally.check().unwrap_err();
        assert!(
            matches!(
                error,
                Error::FailedRequests {
                    failed: 2,
                    succeeded: 1,
                    first: Failure::Status(502)
                }
            ),
            "{error:?}"
        );
    }
}
