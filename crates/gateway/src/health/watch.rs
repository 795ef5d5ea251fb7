//! Tells what happened to breakers, in the log and to whom the API names; and notices new snapshots for the tester.
//!
//! Workers only count; here, on the control side, the counts are looked at four times a second, so that nothing is
//! told on a request's way.

use std::{sync::Arc, time::Duration};

use super::{Tester, WatchedBreaker};
use crate::{
    events::{Deliveries, Event},
    live::Live,
};

const EVERY: Duration = Duration::from_millis(250);

/// Watches what is in force for as long as the process runs.
pub async fn watch(live: Arc<Live>, mut tester: Tester, deliveries: Arc<Deliveries>) {
    let mut adopted = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let health = live.load().health.clone();
        if adopted
            .as_ref()
            .is_none_or(|known| !Arc::ptr_eq(known, &health))
        {
            tester.adopt(&health);
            adopted = Some(health.clone());
        }
        for watched in &health.breakers {
            look(watched, &deliveries);
        }
    }
}

fn look(watched: &WatchedBreaker, deliveries: &Deliveries) {
    // Closes it when its time is over, though no request comes.
    let is_open = watched.breaker.is_open();
    let news = watched.breaker.take_news();
    let (api_id, path) = (&watched.api_id, &watched.settings.path);
    // Of several changes since the last look the order is known by how it ended.
    let mut changes = Vec::new();
    for n in 0..news.trips.max(news.resets) {
        let (trip, reset) = (n < news.trips, n < news.resets);
        let order = if is_open {
            [(reset, false), (trip, true)]
        } else {
            [(trip, true), (reset, false)]
        };
        changes.extend(
            order
                .into_iter()
                .filter(|(happened, _)| *happened)
                .map(|(_, trip)| trip),
        );
    }
    for tripped in changes {
        if tripped {
            tracing::warn!(
                prefix = "circuit-breaker",
                api_id,
                path,
                "circuit breaker tripped"
            );
        } else {
            tracing::warn!(
                prefix = "circuit-breaker",
                api_id,
                path,
                "circuit breaker reset"
            );
        }
        for event in Event::of_breaker(api_id, path, tripped) {
            deliveries.fire(event, &watched.handlers);
        }
    }
}
