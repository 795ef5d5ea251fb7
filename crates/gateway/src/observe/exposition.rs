//! What workers count, added up and written as metrics.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{flight::REFUSALS, health::Health};

use super::{
    ResponseFlag,
    counters::{ApiCounters, CLASSES, REASONS, VERSIONS, WorkerCounters},
    histogram::{Distribution, Histogram},
    text::{Page, seconds},
};

/// Labels of the status classes.
const CLASS_LABELS: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How long requests took.
pub(super) fn durations(page: &mut Page, workers: &[Arc<WorkerCounters>]) {
    let sum = |histogram: &dyn Fn(&WorkerCounters) -> &Histogram| {
        let mut total = Distribution::default();
        workers
            .iter()
            .for_each(|worker| histogram(worker).add_to(&mut total));
        total
    };
    let name = "http_server_request_duration_seconds";
    page.family(
        name,
        "histogram",
        "Requests from first byte in to last byte out.",
    );
    for (class, label) in CLASS_LABELS.into_iter().enumerate() {
        let total = sum(&|worker| &worker.total_time[class]);
        if total.count() > 0 {
            page.histogram(name, &[("http_response_status_class", label)], &total);
        }
    }
    let name = "tyk_gateway_request_duration_seconds";
    page.family(name, "histogram", "The gateway's own part of a request.");
    page.histogram(name, &[], &sum(&|worker| &worker.own_time));
    let name = "tyk_upstream_request_duration_seconds";
    page.family(name, "histogram", "The upstream's part of a request.");
    page.histogram(name, &[], &sum(&|worker| &worker.upstream_time));
}

/// Requests and time by API.
pub(super) fn apis(page: &mut Page, workers: &[Arc<WorkerCounters>], ids: &[Arc<str>]) {
    // APIs that no request ever reached have no series: there may be ten thousand of them.
    let of = |slot: Option<usize>| -> Vec<&ApiCounters> {
        workers
            .iter()
            .filter_map(|worker| match slot {
                Some(slot) => worker.api(slot),
                None => Some(&worker.unrouted),
            })
            .collect()
    };
    let each = || {
        let unrouted = std::iter::once(("", of(None)));
        unrouted.chain(
            ids.iter()
                .enumerate()
                .map(|(slot, id)| (&**id, of(Some(slot)))),
        )
    };
    let name = "tyk_api_requests_total";
    page.family(
        name,
        "counter",
        "Requests by API, flag and status class; no API took those without one.",
    );
    for (id, counters) in each() {
        for flag in flag_texts() {
            let mut sums = [0; CLASSES];
            for variant in flags().filter(|variant| variant.map_or("", ResponseFlag::flag) == flag)
            {
                counters
                    .iter()
                    .for_each(|api| api.add_requests(variant, &mut sums));
            }
            for (class, count) in CLASS_LABELS
                .into_iter()
                .zip(sums)
                .filter(|(_, count)| *count > 0)
            {
                let labels = [
                    ("tyk_api_id", id),
                    ("tyk_response_flag", flag),
                    ("http_response_status_class", class),
                ];
                page.sample(name, &labels, count);
            }
        }
    }
    for (name, help, upstream) in [
        (
            "portcullis_api_request_seconds_total",
            "Time spent on an API's requests.",
            false,
        ),
        (
            "portcullis_api_upstream_seconds_total",
            "Time spent waiting for an API's upstreams.",
            true,
        ),
    ] {
        let number = |api: &ApiCounters| {
            let micros = if upstream {
                &api.upstream_micros
            } else {
                &api.micros
            };
            micros.load(Relaxed)
        };
        page.family(name, "counter", help);
        for (id, counters) in each() {
            let micros: u64 = counters.iter().map(|api| number(api)).sum();
            if micros > 0 {
                page.sample(name, &[("tyk_api_id", id)], seconds(micros));
            }
        }
    }
}

/// Connections and TLS handshakes.
pub(super) fn connections(page: &mut Page, workers: &[Arc<WorkerCounters>]) {
    let sum = |number: &dyn Fn(&WorkerCounters) -> &AtomicU64| -> u64 {
        workers
            .iter()
            .map(|worker| number(worker).load(Relaxed))
            .sum()
    };
    // Closed first: a connection that ends in between must not make the difference negative.
    let closed = sum(&|worker| &worker.closed);
    let opened = sum(&|worker| &worker.opened);
    page.single(
        "portcullis_connections_total",
        "counter",
        "Connections accepted.",
        opened,
    );
    let open = opened.saturating_sub(closed);
    page.single(
        "portcullis_connections_open",
        "gauge",
        "Connections open now.",
        open,
    );

    let name = "portcullis_tls_handshakes_total";
    page.family(name, "counter", "TLS handshakes with clients by result.");
    for (place, version) in VERSIONS.into_iter().enumerate() {
        for (kind, resumed) in ["false", "true"].into_iter().enumerate() {
            let count = sum(&|worker| &worker.handshakes[place][kind]);
            let labels = [
                ("result", "success"),
                ("reason", ""),
                ("version", version),
                ("resumed", resumed),
            ];
            page.sample(name, &labels, count);
        }
    }
    for (place, reason) in REASONS.into_iter().enumerate() {
        let count = sum(&|worker| &worker.handshake_failures[place]);
        let labels = [
            ("result", "failure"),
            ("reason", reason),
            ("version", ""),
            ("resumed", ""),
        ];
        page.sample(name, &labels, count);
    }

    let name = "portcullis_client_refusals_total";
    let help = "Requests and raw connections refused for want of a certificate that may pass.";
    page.family(name, "counter", help);
    for (place, reason) in REFUSALS.into_iter().enumerate() {
        let count = sum(&|worker| &worker.refusals[place]);
        page.sample(name, &[("reason", reason)], count);
    }
}

/// Which breakers are open.
pub(super) fn breakers(page: &mut Page, health: &Health) {
    let name = "portcullis_circuit_breaker_open";
    page.family(
        name,
        "gauge",
        "1 while the circuit breaker of a path is open.",
    );
    for watched in &health.breakers {
        page.sample(
            name,
            &watched.labels(),
            u64::from(watched.breaker.is_open()),
        );
    }
    let name = "portcullis_circuit_breaker_trips_total";
    page.family(
        name,
        "counter",
        "How often the circuit breaker of a path has opened.",
    );
    for watched in &health.breakers {
        page.sample(name, &watched.labels(), watched.breaker.trips());
    }
}

/// How the hosts of upstreams are.
pub(super) fn hosts(page: &mut Page, health: &Health) {
    let name = "portcullis_upstream_host_up";
    page.family(name, "gauge", "1 unless a host fails its uptime tests.");
    for host in &health.hosts {
        page.sample(name, &[("host", &host.name)], u64::from(!host.is_down()));
    }
    let name = "portcullis_uptime_test_up";
    page.family(name, "gauge", "1 unless an uptime test of an API fails.");
    // Tests that differ in what no label tells are one series: up while all of them are.
    let mut places: HashMap<_, usize> = HashMap::new();
    let mut series: Vec<(&str, String, bool)> = Vec::new();
    for test in &health.tests {
        let (api_id, url, up) = (&*test.api_id, test.asked.url(), !test.state.is_down());
        match places.entry((api_id, url.clone())) {
            Entry::Occupied(place) => series[*place.get()].2 &= up,
            Entry::Vacant(place) => {
                place.insert(series.len());
                series.push((api_id, url, up));
            }
        }
    }
    for (api_id, url, up) in series {
        page.sample(
            name,
            &[("tyk_api_id", api_id), ("url", &*url)],
            u64::from(up),
        );
    }
}

/// No flag, then every variant.
pub(super) fn flags() -> impl Iterator<Item = Option<ResponseFlag>> {
    std::iter::once(None).chain(ResponseFlag::all().map(Some))
}

/// No flag, then every short text once.
fn flag_texts() -> impl Iterator<Item = &'static str> {
    let mut last = None;
    flags()
        .map(|flag| flag.map_or("", ResponseFlag::flag))
        .filter(move |text| last.replace(*text) != Some(*text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::doubles::{host, tests};

    #[test]
    fn tests_of_one_url_are_one_series_that_is_up_while_all_of_them_are() {
        let host = host();
        let health = Health {
            tests: tests(
                &host,
                &json!([
                    {"url": "http://one.test/x"},
                    {"url": "http://one.test/x", "method": "POST"},
                    {"url": "http://one.test/y"},
                ]),
            ),
            hosts: vec![host],
            ..Health::default()
        };
        let shown = || {
            let mut page = Page::default();
            hosts(&mut page, &health);
            let page = page.finish();
            let lines = page
                .lines()
                .filter(|line| line.starts_with("portcullis_uptime_test_up{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let line = |path: &str, up: u8| {
            format!(
                "portcullis_uptime_test_up{{tyk_api_id=\"a\",url=\"http://one.test/{path}\"}} {up}"
            )
        };
        assert_eq!(shown(), [line("x", 1), line("y", 1)]);
        for place in 0..2 {
            health.tests[place].state.note(false, 1);
            assert_eq!(shown(), [line("x", 0), line("y", 1)]);
            health.tests[place].state.note(true, 1);
        }
    }
}
