//! Everything that is counted, and how it is shown.
//!
//! Workers register once and count alone; here their numbers are added up when somebody asks.
//! What happens on the control side (reloads, certificates) is told to the registry directly.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    AccessLog, EventCounters, ResponseFlag,
    counters::{ApiCounters, CLASSES, WorkerCounters},
    exposition,
    histogram::Distribution,
    process,
    text::Page,
};
use portcullis_store::Health as StoreHealth;
use tokio::sync::watch;

use crate::health::Health;

/// All counters of a gateway.
pub struct Registry {
    version: &'static str,
    started: SystemTime,
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    apis: Mutex<Apis>,
    state: Mutex<State>,
    access_log: Mutex<Option<AccessLog>>,
    certificates: Mutex<Option<CertificateSource>>,
    health: Mutex<Option<HealthSource>>,
    store: Mutex<Option<(&'static str, watch::Receiver<StoreHealth>)>>,
    events: Arc<EventCounters>,
}

/// Numbers given to APIs.
#[derive(Default)]
struct Apis {
    slots: HashMap<Arc<str>, usize>,
    ids: Vec<Arc<str>>,
}

/// What the control side says.
#[derive(Default)]
struct State {
    loaded: usize,
    quarantined: usize,
    unverified: usize,
    unreadable_certificates: usize,
    /// Certificates in use that are not served.
    other_certificates: Vec<CertificateExpiry>,
    crls: Vec<CrlExpiry>,
    generation: u64,
    reloads: u64,
    failed_reloads: u64,
    reload_time: Distribution,
}

/// Who knows which certificates are in use when somebody asks.
type CertificateSource = Arc<dyn Fn() -> Vec<CertificateExpiry> + Send + Sync>;

/// Who knows what is watched of upstreams when somebody asks.
type HealthSource = Arc<dyn Fn() -> Arc<Health> + Send + Sync>;

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// What it is for, as in the inventory.
    pub role: &'static str,
    /// Its id or fingerprint; only the first eight characters are shown.
    pub id: String,
    /// Its common name or first host name.
    pub name: String,
    /// `notAfter` in seconds since 1970.
    pub not_after: i64,
}

/// When the next revocation list of an issuer is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrlExpiry {
    /// The issuer.
    pub issuer: String,
    /// Where the list comes from.
    pub list: String,
    /// `nextUpdate` in seconds since 1970.
    pub next_update: i64,
}

/// Sums of one API over all workers, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApiTotals {
    /// Requests.
    pub requests: u64,
    /// Time spent waiting for upstreams, microseconds.
    pub upstream_micros: u64,
}

impl Registry {
    /// An empty registry of a gateway of this version.
    pub fn new(version: &'static str) -> Self {
        Self {
            version,
            started: SystemTime::now(),
            workers: Mutex::default(),
            apis: Mutex::default(),
            state: Mutex::default(),
            access_log: Mutex::default(),
            certificates: Mutex::default(),
            health: Mutex::default(),
            store: Mutex::default(),
            events: Arc::default(),
        }
    }

    /// Counters for one more worker.
    pub fn worker(&self) -> Arc<WorkerCounters> {
        // Held over both steps, so that no number is handed out in between.
        let apis = lock(&self.apis);
        let counters = Arc::new(WorkerCounters::default());
        if let Some(last) = apis.ids.len().checked_sub(1) {
            counters.make_room(last);
        }
        lock(&self.workers).push(counters.clone());
        counters
    }

    /// The number of an API: the same for the life of the process, whatever is reloaded.
    pub fn slot(&self, api_id: &str) -> usize {
        let mut apis = lock(&self.apis);
        if let Some(slot) = apis.slots.get(api_id) {
            return *slot;
        }
        let slot = apis.ids.len();
        lock(&self.workers)
            .iter()
            .for_each(|worker| worker.make_room(slot));
        let id: Arc<str> = api_id.into();
        apis.slots.insert(id.clone(), slot);
        apis.ids.push(id);
        slot
    }

    /// Says what the snapshot in force holds.
    pub fn set_loaded(&self, generation: u64, apis: usize, quarantined: usize) {
        let mut state = lock(&self.state);
        (state.generation, state.loaded, state.quarantined) = (generation, apis, quarantined);
    }

    /// Says how many APIs accept any certificate of their upstreams.
    pub fn set_unverified(&self, apis: usize) {
        lock(&self.state).unverified = apis;
    }

    /// Counts a reload and how long it took.
    pub fn reload_finished(&self, succeeded: bool, took: Duration) {
        let mut state = lock(&self.state);
        if succeeded {
            state.reloads += 1;
        } else {
            state.failed_reloads += 1;
        }
        state
            .reload_time
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts a snapshot that differs from the one before in certificates only.
    pub fn set_generation(&self, generation: u64) {
        lock(&self.state).generation = generation;
    }

    /// Says how many references lead to entries of the certificate store that cannot be used.
    pub fn set_unreadable_certificates(&self, count: usize) {
        lock(&self.state).unreadable_certificates = count;
    }

    /// Says which certificates are in use that `watch_certificates` does not tell of.
    pub fn set_other_certificates(&self, certificates: Vec<CertificateExpiry>) {
        lock(&self.state).other_certificates = certificates;
    }

    /// Says which revocation lists are in force; one that several APIs name is shown once.
    pub fn set_crls(&self, mut crls: Vec<CrlExpiry>) {
        crls.sort_unstable();
        // Of lists that would be one line, the one that runs out first.
        crls.dedup_by(|next, kept| (&next.issuer, &next.list) == (&kept.issuer, &kept.list));
        lock(&self.state).crls = crls;
    }

    /// Asks `source` for the certificates in use whenever they are shown.
    pub fn watch_certificates(
        &self,
        source: impl Fn() -> Vec<CertificateExpiry> + Send + Sync + 'static,
    ) {
        *lock(&self.certificates) = Some(Arc::new(source));
    }

    /// Asks `source` for what is watched of upstreams whenever it is shown.
    pub fn watch_health(&self, source: impl Fn() -> Arc<Health> + Send + Sync + 'static) {
        *lock(&self.health) = Some(Arc::new(source));
    }

    /// Shows how many lines this log has dropped.
    pub fn watch(&self, access_log: &AccessLog) {
        *lock(&self.access_log) = Some(access_log.clone());
    }

    /// Lets go of the log it watched, so that the log can end.
    pub fn unwatch(&self) {
        *lock(&self.access_log) = None;
    }

    /// Shows how the store of this kind is.
    pub fn watch_store(&self, kind: &'static str, health: watch::Receiver<StoreHealth>) {
        *lock(&self.store) = Some((kind, health));
    }

    /// Where events are counted.
    pub fn events(&self) -> Arc<EventCounters> {
        self.events.clone()
    }

    /// Sums of an API over all workers; zeros for one that was never loaded.
    pub fn totals(&self, api_id: &str) -> ApiTotals {
        let mut totals = ApiTotals::default();
        let Some(slot) = lock(&self.apis).slots.get(api_id).copied() else {
            return totals;
        };
        for worker in lock(&self.workers).iter() {
            let Some(api) = worker.api(slot) else {
                continue;
            };
            totals.requests += exposition::flags()
                .map(|flag| requests(api, flag).iter().sum::<u64>())
                .sum::<u64>();
            totals.upstream_micros += api.upstream_micros.load(Relaxed);
        }
        totals
    }

    /// How many requests have been finished.
    pub fn finished(&self) -> u64 {
        let mut all = Distribution::default();
        for worker in lock(&self.workers).iter() {
            for times in &worker.total_time {
                times.add_to(&mut all);
            }
        }
        all.count()
    }

    /// Everything as Prometheus text.
    pub fn render(&self) -> String {
        let workers = lock(&self.workers).clone();
        let ids = lock(&self.apis).ids.clone();
        let mut page = Page::default();
        page.family(
            "portcullis_build_info",
            "gauge",
            "Always 1; the label tells the version.",
        );
        page.sample("portcullis_build_info", &[("version", self.version)], 1);
        exposition::durations(&mut page, &workers);
        exposition::apis(&mut page, &workers, &ids);
        exposition::connections(&mut page, &workers);
        self.render_state(&mut page);
        let health = lock(&self.health).clone();
        if let Some(health) = health {
            let health = health();
            exposition::breakers(&mut page, &health);
            exposition::hosts(&mut page, &health);
        }
        self.events.write(&mut page);
        let started = self
            .started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        process::write(&mut page, started);
        page.finish()
    }

    fn render_state(&self, page: &mut Page) {
        let state = lock(&self.state);
        page.single(
            "tyk_gateway_apis_loaded",
            "gauge",
            "APIs that are served.",
            state.loaded,
        );
        page.single(
            "portcullis_apis_quarantined",
            "gauge",
            "APIs that cannot be enforced as written and answer 503.",
            state.quarantined,
        );
        page.single(
            "portcullis_apis_upstream_unverified",
            "gauge",
            "APIs that accept any certificate of their upstreams.",
            state.unverified,
        );
        page.single(
            "portcullis_config_generation",
            "gauge",
            "Counts the snapshots that came into force.",
            state.generation,
        );
        let name = "tyk_gateway_config_reload_total";
        page.family(name, "counter", "Reloads by result.");
        page.sample(name, &[("result", "success")], state.reloads);
        page.sample(name, &[("result", "failure")], state.failed_reloads);
        let name = "tyk_gateway_config_reload_duration_seconds";
        page.family(name, "histogram", "How long reloads took.");
        page.histogram(name, &[], &state.reload_time);
        let name = "portcullis_certificate_expiry_timestamp_seconds";
        page.family(
            name,
            "gauge",
            "When a certificate ends, in seconds since 1970.",
        );
        let source = lock(&self.certificates).clone();
        let served = source.map(|source| source()).unwrap_or_default();
        for certificate in served.iter().chain(&state.other_certificates) {
            let id: String = certificate.id.chars().take(8).collect();
            let labels = [
                ("role", certificate.role),
                ("certificate", &*id),
                ("name", &*certificate.name),
            ];
            page.sample(name, &labels, certificate.not_after);
        }
        let name = "portcullis_crl_next_update_timestamp_seconds";
        page.family(
            name,
            "gauge",
            "When a revocation list for client certificates runs out, in seconds since 1970.",
        );
        for crl in &state.crls {
            let labels = [("issuer", &*crl.issuer), ("list", &*crl.list)];
            page.sample(name, &labels, crl.next_update);
        }
        page.single(
            "portcullis_certificates_unreadable",
            "gauge",
            "References to entries of the certificate store that cannot be used.",
            state.unreadable_certificates,
        );
        let dropped = lock(&self.access_log)
            .as_ref()
            .map_or(0, AccessLog::dropped);
        page.single(
            "portcullis_access_log_dropped_total",
            "counter",
            "Access log lines dropped because the log could not keep up.",
            dropped,
        );
        if let Some((kind, health)) = &*lock(&self.store) {
            let name = "portcullis_store_up";
            page.family(name, "gauge", "1 while the store can be read and written.");
            let up = u64::from(*health.borrow() == StoreHealth::Up);
            page.sample(name, &[("store", kind)], up);
        }
    }
}

fn requests(api: &ApiCounters, flag: Option<ResponseFlag>) -> [u64; CLASSES] {
    let mut sums = [0; CLASSES];
    api.add_requests(flag, &mut sums);
    sums
}

/// The numbers stay readable even if somebody panicked while holding them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up_by_api_flag_and_class() {
        let registry = Registry::new("1.2.3");
        let first = registry.worker();
        let slot = registry.slot("orders");
        let second = registry.worker();
        first.request(Some(slot), 200, None, 300, Some(200));
        second.request(Some(slot), 200, None, 300, Some(200));
        second.request(Some(slot), 500, Some(ResponseFlag::DnsNotFound), 10, None);
        second.request(Some(slot), 500, Some(ResponseFlag::DnsTimeout), 10, None);
        second.request(None, 404, None, 10, None);
        let text = registry.render();
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} in:\n{text}");
        has(r#"portcullis_build_info{version="1.2.3"} 1"#);
        has(
            r#"tyk_api_requests_total{tyk_api_id="orders",tyk_response_flag="",http_response_status_class="2xx"} 2"#,
        );
        has(
            r#"tyk_api_requests_total{tyk_api_id="orders",tyk_response_flag="DNS",http_response_status_class="5xx"} 2"#,
        );
        has(
            r#"tyk_api_requests_total{tyk_api_id="",tyk_response_flag="",http_response_status_class="4xx"} 1"#,
        );
        has(r#"http_server_request_duration_seconds_count{http_response_status_class="2xx"} 2"#);
        has("tyk_upstream_request_duration_seconds_count 2");
        has("tyk_gateway_request_duration_seconds_count 5");
        has(r#"portcullis_api_upstream_seconds_total{tyk_api_id="orders"} 0.0004"#);
        assert_eq!(
            registry.totals("orders"),
            ApiTotals {
                requests: 4,
                upstream_micros: 400
            }
        );
        assert_eq!(registry.totals("nobody"), ApiTotals::default());
    }

    #[test]
    fn an_api_keeps_its_number_and_its_counts_over_reloads() {
        let registry = Registry::new("1");
        let worker = registry.worker();
        let a = registry.slot("a");
        worker.request(Some(a), 200, None, 1, None);
        let others: Vec<_> = (0..1_000)
            .map(|n| registry.slot(&format!("api-{n}")))
            .collect();
        assert_eq!(registry.slot("a"), a);
        assert_eq!(
            others.len(),
            others
                .iter()
                .collect::<std::collections::HashSet<_>>()
                .len()
        );
        worker.request(Some(registry.slot("a")), 200, None, 1, None);
        assert_eq!(registry.totals("a").requests, 2);
        worker.request(Some(others[999]), 200, None, 1, None);
        assert_eq!(registry.totals("api-999").requests, 1);
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample_and_families_are_unique() {
        let registry = Registry::new("1");
        let worker = registry.worker();
        worker.request(Some(registry.slot("odd \"id\"")), 200, None, 1, Some(1));
        worker.handshake_failed("eof");
        worker.connection_opened();
        registry.set_loaded(3, 2, 1);
        registry.reload_finished(true, Duration::from_millis(5));
        registry.reload_finished(false, Duration::from_millis(5));
        let health = watch::Sender::new(StoreHealth::Up);
        registry.watch_store("embedded", health.subscribe());
        registry.watch_certificates(|| {
            vec![CertificateExpiry {
                role: "server",
                id: "0123456789abcdef".to_owned(),
                name: "localhost".to_owned(),
                not_after: 2_000_000_000,
            }]
        });
        let text = registry.render();
        let mut families = std::collections::HashSet::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(
                    families.insert(family.split(' ').next().unwrap().to_owned()),
                    "{line}"
                );
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = series.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|s| name.strip_suffix(s))
                    .unwrap_or(name);
                assert!(families.contains(name) || families.contains(base), "{line}");
            }
        }
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} in:\n{text}");
        has("tyk_gateway_apis_loaded 2");
        has("portcullis_apis_quarantined 1");
        has("portcullis_config_generation 3");
        has(r#"tyk_gateway_config_reload_total{result="failure"} 1"#);
        has("tyk_gateway_config_reload_duration_seconds_count 2");
        has("portcullis_connections_open 1");
        has(r#"portcullis_store_up{store="embedded"} 1"#);
        health.send_replace(StoreHealth::Down {
            reason: "no room".to_owned(),
        });
        let text = registry.render();
        let down = r#"portcullis_store_up{store="embedded"} 0"#;
        assert!(text.lines().any(|line| line == down), "{text}");
        has(
            r#"portcullis_tls_handshakes_total{result="failure",reason="eof",version="",resumed=""} 1"#,
        );
        has(concat!(
            r#"portcullis_certificate_expiry_timestamp_seconds{role="server","#,
            r#"certificate="01234567",name="localhost"} 2000000000"#
        ));
    }
}
