//! Tells what happened to breakers, in the log and to whom the API names; and notices new snapshots for the tester.
//!
//! Workers only count; here, on the control side, the counts are looked at four times a second, so that nothing is
//! told on a request's way.

use std::{sync::Arc, time::Duration};

use super::{Tester, WatchedBreaker, breaker::News};
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
    for (tripped, times) in changes(is_open, news) {
        let told = match tripped {
            true => "circuit breaker tripped",
            false => "circuit breaker reset",
        };
        tracing::warn!(prefix = "circuit-breaker", api_id, path, times, "{told}");
        for event in Event::of_breaker(api_id, path, tripped) {
            deliveries.fire(event, &watched.handlers);
        }
    }
}

/// What is told of since the last look: at most that it opened and that it closed, each with how often, so that
/// nobody who makes it do both floods the log and those who are told. The order is known by how it ended.
fn changes(is_open: bool, news: News) -> impl Iterator<Item = (bool, u64)> {
    let (trips, resets) = ((true, news.trips), (false, news.resets));
    let changes = match is_open {
        true => [resets, trips],
        false => [trips, resets],
    };
    changes.into_iter().filter(|(_, times)| *times > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_often_it_opened_and_closed_each_is_told_once_with_a_count() {
        let told = |is_open, trips, resets| -> Vec<_> {
            changes(is_open, News { trips, resets }).collect()
        };
        assert_eq!(told(false, 0, 0), []);
        assert_eq!(told(true, 1, 0), [(true, 1)]);
        assert_eq!(told(false, 0, 1), [(false, 1)]);
        assert_eq!(told(false, 700, 701), [(true, 700), (false, 701)]);
        assert_eq!(told(true, 700, 699), [(false, 699), (true, 700)]);
    }
}
