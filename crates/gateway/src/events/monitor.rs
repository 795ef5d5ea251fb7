//! Looks at the certificates of allow lists that are in use, and at those shown to upstreams, and tells of
//! those that end soon or have ended.
//!
//! A request that meets a list sets the list's flag; whether it passes does not matter, and every entry of
//! the list counts, not the client's alone. A request that goes to an upstream sets the flag of what its API
//! shows to upstreams. The lists whose flag is set are looked at when a snapshot comes
//! into force and every [`EVERY`]; each certificate once, for the API that comes first: one with handlers
//! before one without, then by id.
//!
//! A certificate that is good for longer than the threshold costs a comparison. For others cool-downs
//! decide ([`super::cooldown`]).
//!
//! Invariant: a certificate that the store could not be asked about is not told of, and not forgotten
//! either: its list is looked at again the next time.

use std::{collections::HashSet, sync::Arc, time::Duration};

use portcullis_apidef::EventKind;
use portcullis_config::ExpiryMonitor as Settings;
use portcullis_pki::Fingerprint;
use portcullis_store::{Engine, StoreError};
use tokio::{sync::Notify, time::MissedTickBehavior};

use super::{Deliveries, Event, Handlers, cooldown::Cooldowns};
use crate::{
    clients::{ClientList, InUse, Watched, unix_now},
    live::Live,
    snapshot::{RunningApi, Service, Snapshot},
};

/// How often lists in use are looked at.
const EVERY: Duration = Duration::from_secs(30);

/// Watches over the certificates in use.
pub struct ExpiryMonitor {
    threshold: u32,
    cooldowns: Cooldowns,
    deliveries: Arc<Deliveries>,
    /// The store did not answer the last time.
    away: bool,
}

/// Certificates that a request met since they were last looked at.
struct Met {
    api_id: String,
    handlers: Arc<Handlers>,
    certificates: Certificates,
}

/// What they are for.
enum Certificates {
    /// They let clients in.
    List(Arc<ClientList>),
    /// They are shown to upstreams.
    Shown(Arc<InUse>),
}

impl Certificates {
    fn role(&self) -> &'static str {
        match self {
            Self::List(_) => "client",
            Self::Shown(_) => "upstream",
        }
    }

    fn watched(&self) -> &[Watched] {
        match self {
            Self::List(list) => list.watched(),
            Self::Shown(shown) => shown.watched(),
        }
    }

    fn note_use(&self) {
        match self {
            Self::List(list) => list.note_use(),
            Self::Shown(shown) => shown.note_use(),
        }
    }
}

impl ExpiryMonitor {
    /// A monitor that has looked at nothing.
    pub fn new(settings: &Settings, engine: Engine, deliveries: Arc<Deliveries>) -> Self {
        Self {
            threshold: settings.warning_threshold_days,
            cooldowns: Cooldowns::new(engine, settings.check_cooldown, settings.event_cooldown),
            deliveries,
            away: false,
        }
    }

    /// Watches over the lists in force for as long as the process runs; `loaded` says that a snapshot came
    /// into force.
    pub async fn run(self, live: Arc<Live>, loaded: Arc<Notify>) {
        self.watch(EVERY, loaded, unix_now, move || in_use(&live.load()))
            .await;
    }

    /// Looks at what `in_use` tells whenever it is time.
    async fn watch(
        mut self,
        every: Duration,
        loaded: Arc<Notify>,
        now: impl Fn() -> i64,
        in_use: impl Fn() -> Vec<Met>,
    ) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = loaded.notified() => {}
            }
            self.look(in_use(), now()).await;
        }
    }

    /// Looks at lists at a time.
    async fn look(&mut self, in_use: Vec<Met>, now: i64) {
        let mut seen = HashSet::new();
        let mut lists = in_use.iter();
        while let Some(entry) = lists.next() {
            for certificate in entry.certificates.watched() {
                let role = entry.certificates.role();
                let event = Event::of(role, certificate, &entry.api_id, self.threshold, now);
                let Some(event) = event else { continue };
                if !seen.insert(certificate.fingerprint) {
                    continue;
                }
                let looked = self.consider(certificate.fingerprint, event, entry, now);
                if let Err(error) = looked.await {
                    self.postpone(&error);
                    entry.certificates.note_use();
                    lists
                        .by_ref()
                        .for_each(|entry| entry.certificates.note_use());
                    return;
                }
            }
        }
        self.away = false;
    }

    /// Tells of a certificate unless that is too soon.
    async fn consider(
        &mut self,
        id: Fingerprint,
        event: Event,
        entry: &Met,
        now: i64,
    ) -> Result<(), StoreError> {
        if self.cooldowns.was_checked(id, now).await? {
            return Ok(());
        }
        if self.cooldowns.may_be_told(id, now).await? {
            let Some(told) = event.certificate() else {
                return Ok(());
            };
            let said = match event.kind {
                EventKind::CertificateExpired => "certificate expired",
                _ => "certificate expiring soon",
            };
            tracing::warn!(
                prefix = "certificates",
                cert_id = told.masked_id(),
                cert_name = told.name,
                cert_role = told.role,
                api_id = event.api_id,
                days = told.days,
                "{said}"
            );
            self.deliveries.fire(event, &entry.handlers);
        }
        self.cooldowns.checked(id, now).await
    }

    fn postpone(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(%error,
                "whether certificates in use were told of is not known; they are looked at again every {} s",
                EVERY.as_secs());
        }
    }
}

/// What requests have met since this was last asked, in the order in which APIs count.
fn in_use(snapshot: &Snapshot) -> Vec<Met> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut take = |running: &Arc<RunningApi>| {
        if !seen.insert(Arc::as_ptr(running)) {
            return;
        }
        let list = running.clients.iter().filter(|list| list.take_use());
        let list = list.map(|list| Certificates::List(list.clone()));
        let shown = running.shown.iter().filter(|shown| shown.take_use());
        let shown = shown.map(|shown| Certificates::Shown(shown.clone()));
        found.extend(list.chain(shown).map(|certificates| Met {
            api_id: running.api.id.clone(),
            handlers: running.events.clone(),
            certificates,
        }));
    };
    for port in snapshot.ports.values() {
        match &*port.service {
            Service::Http(service) => service.versions.values().for_each(&mut take),
            Service::Tcp { apis, .. } => apis.values().for_each(&mut take),
        }
    }
    found.sort_by(|a, b| {
        (a.handlers.is_empty(), &a.api_id).cmp(&(b.handlers.is_empty(), &b.api_id))
    });
    found
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use portcullis_apidef::parse_classic;
    use portcullis_config::BasePaths;
    use portcullis_pki::make::{Algorithm, make_ca, make_client};
    use portcullis_policy::AllowListBuilder;
    use portcullis_store::Embedded;
    use serde_json::json;

    use super::*;
    use crate::{
        observe::Registry,
        services::{Service, services_on},
    };

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    /// A monitor with a clock of its own, and what it tells.
    struct Bench {
        monitor: ExpiryMonitor,
        registry: Registry,
        engine: Engine,
        now: i64,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new(threshold: u32) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
            let registry = Registry::new("1");
            let settings = Settings {
                warning_threshold_days: threshold,
                check_cooldown: Duration::from_secs(3600),
                event_cooldown: Duration::from_secs(86_400),
            };
            let client = services_on(dir.path(), &engine)
                .client(Service::Webhooks)
                .clone();
            let deliveries = Deliveries::start(client, engine.clone(), registry.events());
            Self {
                monitor: ExpiryMonitor::new(&settings, engine.clone(), Arc::new(deliveries)),
                registry,
                engine,
                now: NOW,
                _dir: dir,
            }
        }

        /// One request on an API: its whole list is looked at.
        async fn request(&mut self, api: &str, list: &Arc<ClientList>) {
            self.look(vec![in_use_of(api, list)]).await;
        }

        async fn look(&mut self, in_use: Vec<Met>) {
            self.monitor.look(in_use, self.now).await;
        }

        /// Events so far: certificates that end soon, and those that have ended.
        fn told(&self) -> (u64, u64) {
            let page = self.registry.render();
            let count = |event: &str| {
                let series = format!("portcullis_events_total{{event=\"{event}\"}} ");
                let line = page.lines().find_map(|line| line.strip_prefix(&series));
                line.unwrap().parse().unwrap()
            };
            (
                count("CertificateExpiringSoon"),
                count("CertificateExpired"),
            )
        }
    }

    fn in_use_of(api: &str, list: &Arc<ClientList>) -> Met {
        Met {
            api_id: api.to_owned(),
            handlers: log_handlers(api),
            certificates: Certificates::List(list.clone()),
        }
    }

    fn log_handlers(api: &str) -> Arc<Handlers> {
        let log = json!([{"handler_name": "eh_log_handler", "handler_meta": {}}]);
        let definition = json!({
            "api_id": api, "use_keyless": true,
            "proxy": {"listen_path": "/", "target_url": "http://up.test"},
            "event_handlers": {"events": {"CertificateExpired": log, "CertificateExpiringSoon": log}},
        });
        let api = parse_classic(definition.to_string().as_bytes())
            .unwrap()
            .api;
        let here = std::path::PathBuf::new();
        let base = BasePaths {
            working_dir: here.clone(),
            config_dir: here,
        };
        Handlers::prepare(&api, &base, &mut Vec::new())
    }

    /// A list of certificates that end so many seconds from the beginning of the test's time; each is
    /// another certificate.
    fn list(ends: &[i64]) -> Arc<ClientList> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let watched = ends.iter().map(|left| {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            Watched {
                fingerprint: Fingerprint::of_der(&number.to_be_bytes()),
                name: format!("client {number}"),
                not_after: NOW + left,
            }
        });
        let empty = AllowListBuilder::default().build().unwrap();
        Arc::new(ClientList::new(empty, watched.collect()))
    }

    /// IN-95
    #[tokio::test]
    async fn a_certificate_beyond_the_threshold_is_not_told_of() {
        let mut bench = Bench::new(60);
        let list = list(&[90 * DAY]);
        bench.request("a", &list).await;
        assert_eq!(bench.told(), (0, 0));
        bench.now += 30 * DAY;
        bench.request("a", &list).await;
        assert_eq!(bench.told(), (1, 0));
    }

    /// IN-96
    #[tokio::test]
    async fn a_certificate_that_ends_soon_is_told_of_once_in_a_cool_down() {
        for days in [15, 5] {
            let mut bench = Bench::new(60);
            let list = list(&[days * DAY]);
            for _ in 0..2 {
                bench.request("a", &list).await;
                assert_eq!(bench.told(), (1, 0));
            }
            // The check's cool-down is over, the event's is not.
            bench.now += 3600;
            bench.request("a", &list).await;
            assert_eq!(bench.told(), (1, 0));
        }
    }

    /// IN-97
    #[tokio::test]
    async fn a_certificate_that_has_ended_is_told_of() {
        let mut bench = Bench::new(60);
        bench.request("a", &list(&[-15 * DAY])).await;
        assert_eq!(bench.told(), (0, 1));
    }

    /// IN-98
    #[tokio::test]
    async fn every_entry_of_a_list_is_told_of_by_its_own_end() {
        let mut bench = Bench::new(60);
        bench
            .request("a", &list(&[90 * DAY, 15 * DAY, 5 * DAY, -15 * DAY]))
            .await;
        assert_eq!(bench.told(), (2, 1));
    }

    #[tokio::test]
    async fn a_certificate_of_two_apis_is_told_of_once_and_cool_downs_end() {
        let mut bench = Bench::new(30);
        let list = list(&[-DAY]);
        bench
            .look(vec![in_use_of("a", &list), in_use_of("b", &list)])
            .await;
        bench.request("b", &list).await;
        assert_eq!(bench.told(), (0, 1));
        // A day later for the monitor; the store measures real time, so its entries end by hand.
        bench.now += DAY + 1;
        let id = list.watched()[0].fingerprint;
        let names = ["check", "expiry_event"];
        let names = names.map(|kind| format!("cert-cooldown:cert_{kind}_cooldown:{id}"));
        assert_eq!(bench.engine.remove(&names).await.unwrap(), 2);
        bench.request("b", &list).await;
        assert_eq!(bench.told(), (0, 2));
    }

    #[tokio::test]
    async fn what_the_store_cannot_be_asked_about_is_looked_at_again() {
        let mut bench = Bench::new(30);
        let lists = [list(&[-DAY]), list(&[90 * DAY])];
        bench.engine.close().await.unwrap();
        bench
            .look(lists.iter().map(|list| in_use_of("a", list)).collect())
            .await;
        assert_eq!(bench.told(), (0, 0));
        for list in lists {
            assert!(list.take_use() && !list.take_use());
        }
    }

    #[tokio::test]
    async fn it_looks_when_a_snapshot_comes_into_force_and_when_its_time_has_come() {
        for every in [Duration::from_secs(86_400), Duration::from_millis(5)] {
            let bench = Bench::new(30);
            let (list, loaded) = (list(&[-DAY]), Arc::new(Notify::new()));
            let (looks, mut looked) = tokio::sync::mpsc::unbounded_channel();
            let used = list.clone();
            let in_use = move || {
                let _ = looks.send(());
                let met = used.take_use();
                met.then(|| in_use_of("a", &used)).into_iter().collect()
            };
            let watching = bench.monitor.watch(every, loaded.clone(), || NOW, in_use);
            let watching = tokio::spawn(watching);
            // The first look is that of the start; nobody has met the list yet.
            looked.recv().await.unwrap();
            list.note_use();
            if every > Duration::from_secs(1) {
                loaded.notify_one();
            }
            // A look ends before the next begins: two more, and the one that found the list is over.
            for _ in 0..2 {
                looked.recv().await.unwrap();
                loaded.notify_one();
            }
            looked.recv().await.unwrap();
            watching.abort();
            let page = bench.registry.render();
            let told = "portcullis_events_total{event=\"CertificateExpired\"} 1\n";
            assert!(page.contains(told), "{page}");
        }
    }

    #[test]
    fn an_entry_is_watched_in_every_certificate_that_lets_somebody_pass() {
        let [first, second] =
            ["First", "Second"].map(|name| make_ca(name, Algorithm::P256, 30).unwrap());
        let client = make_client(&first, "client", Algorithm::P256, 10).unwrap();
        let names = |entry: &[&portcullis_pki::make::Pair]| {
            let certificates: Vec<_> = entry.iter().map(|pair| pair.certificate.clone()).collect();
            let watched = Watched::of(&certificates);
            watched.into_iter().map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[&client, &first]), ["client"]);
        assert_eq!(names(&[&first, &client, &second]), ["First", "Second"]);
        assert!(names(&[]).is_empty());
    }
}
