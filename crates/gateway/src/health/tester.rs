//! Runs the tests of the snapshot in force, each by a task of its own, so many at a time.
//!
//! A new snapshot begins a new era: tasks of the era before end after the run they are at, those of the new one go
//! on where they were. So a reload neither forgets a result nor runs a test twice, and what comes of a test that
//! is gone is nobody's ([`Ruling`]).

use std::{sync::Arc, time::Duration};

use portcullis_config::{GatewayConfig, UptimeTests};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

use super::{
    Health,
    host::{Change, Test},
    ruling::Ruling,
    run::{Report, run},
};
use crate::{
    events::{Deliveries, Event},
    services::Client,
};

/// How long a test may take of which nothing is said, where the client of tests has no settings (the sheet's
/// legacy client).
const WITHOUT_SETTINGS: Duration = Duration::from_millis(500);

/// Runs tests.
pub struct Tester {
    shared: Arc<Shared>,
    disabled: bool,
    /// Whoever holds the other end belongs to the era.
    era: Option<watch::Sender<()>>,
}

struct Shared {
    client: Client,
    limit: Option<Duration>,
    settings: UptimeTests,
    room: Semaphore,
    ruling: Ruling,
    deliveries: Arc<Deliveries>,
}

impl Tester {
    /// A tester that has no test yet.
    pub fn new(config: &GatewayConfig, client: Client, deliveries: Arc<Deliveries>) -> Self {
        let services = &config.external_services;
        let limit = (!services.is_configured(&services.health)).then_some(WITHOUT_SETTINGS);
        Self {
            disabled: config.uptime.disabled,
            shared: Arc::new(Shared {
                client,
                limit,
                room: Semaphore::new(config.uptime.at_a_time),
                ruling: Ruling::default(),
                settings: config.uptime.clone(),
                deliveries,
            }),
            era: None,
        }
    }

    /// From now on these tests are run, and no others.
    pub fn adopt(&mut self, health: &Arc<Health>) {
        let (era, belongs) = watch::channel(());
        self.era = Some(era);
        self.shared.ruling.adopt(health);
        if self.disabled {
            return;
        }
        for test in &health.tests {
            tokio::spawn(repeat(test.clone(), self.shared.clone(), belongs.clone()));
        }
    }
}

/// Runs a test again and again until the era ends.
async fn repeat(test: Arc<Test>, shared: Arc<Shared>, mut era: watch::Receiver<()>) {
    // The task of the era before may be at its last run.
    let mut due = test.state.due.lock().await;
    loop {
        let at = due.unwrap_or_else(Instant::now);
        let Some(_room) = turn(at, &shared.room, &mut era).await else {
            return;
        };
        let report = run(&test, &shared.client, shared.limit).await;
        let every = shared.settings.every;
        let pause = match report.failure {
            Some(_) => test.asked.again.unwrap_or(every),
            None => every,
        };
        *due = Some(Instant::now() + pause);
        shared.note(&test, &report);
    }
}

/// Waits until a test is due and there is room for it; `None` when its era is over.
async fn turn<'r>(
    at: Instant,
    room: &'r Semaphore,
    era: &mut watch::Receiver<()>,
) -> Option<SemaphorePermit<'r>> {
    // Nobody ever sends: a change is the end. It is looked at first, so a test that is due does not win over it.
    tokio::select! {
        biased;
        _ = era.changed() => return None,
        () = sleep_until(at) => {}
    }
    tokio::select! {
        biased;
        _ = era.changed() => None,
        permit = room.acquire() => permit.ok(),
    }
}

impl Shared {
    fn note(&self, test: &Test, report: &Report) {
        let in_a_row = self.settings.in_a_row.get();
        let noted = self.ruling.note(test, report.failure.is_none(), in_a_row);
        let Some((test, change)) = noted else { return };
        let (api_id, host, url) = (&test.api_id, &test.host.name, test.asked.url());
        match (change, &report.failure) {
            (Some(Change::Down), reason) => {
                let reason = reason.as_deref().unwrap_or_default();
                tracing::warn!(
                    prefix = "host-check",
                    api_id,
                    host,
                    url,
                    "host is down: {reason}"
                );
            }
            (Some(Change::Up), _) => {
                tracing::warn!(prefix = "host-check", api_id, host, url, "host is up again");
            }
            (None, Some(reason)) => {
                tracing::debug!(
                    prefix = "host-check",
                    api_id,
                    host,
                    url,
                    "test failed: {reason}"
                );
            }
            (None, None) => {}
        }
        let Some(change) = change else { return };
        let event = Event::of_host(api_id, host, &url, change, report);
        self.deliveries.fire(event, &test.handlers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_that_is_due_when_its_era_ends_is_not_run() {
        let (here, mut era) = watch::channel(());
        let room = Semaphore::new(1);
        let held = turn(Instant::now(), &room, &mut era).await;
        assert!(held.is_some());
        drop(here);
        // With room and without: there are many looks, since any one may come out right by chance.
        assert!(turn(Instant::now(), &room, &mut era).await.is_none());
        drop(held);
        for _ in 0..100 {
            assert!(turn(Instant::now(), &room, &mut era).await.is_none());
        }
    }
}
