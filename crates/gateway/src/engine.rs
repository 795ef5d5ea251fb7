//! The running gateway as its control side sees it: reloads, readiness, ports.
//!
//! One task owns the [`Builder`] and takes requests one at a time, so reloads never overlap and
//! several requests that wait for the same reload share it. Whatever goes wrong in a reload, the
//! snapshot in force stays in force.

use std::{
    collections::{BTreeSet, HashSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use portcullis_apidef::{DefinitionFile, parse_resolved};
use portcullis_config::{GatewayConfig, Resolver};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot},
};

use crate::{
    build::{BuildError, Builder, Built, CrlInUse, Finding, Update},
    certificates::StoredReference,
    control::{LoadedSet, Readiness, Runtime},
    definitions::{Definitions, Fingerprint, ReadError, Referring, UnreadableFile, fingerprint},
    inventory::{beside_served, users_of},
    listen::{self, BindError},
    live::Live,
    loader_thread::LoaderThread,
    observe::Registry,
    policies::PolicyReader,
    worker::Order,
};

/// How often files are looked at for changes.
const WATCH: Duration = Duration::from_millis(400);

/// How long after a reference had no value it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How often ticket keys are looked at.
const ROTATION_CHECK: Duration = Duration::from_secs(60);

/// The gateway as the Control API sees it.
pub struct Engine {
    config: Arc<GatewayConfig>,
    readiness: AtomicU8,
    loaded: ArcSwap<LoadedSet>,
    requests: mpsc::UnboundedSender<Request>,
}

/// A request for a reload.
pub enum Request {
    /// Within `reload_interval`.
    Soon,
    /// Now; the sender is told when it is over.
    Now(oneshot::Sender<()>),
    /// What the certificate store holds now under some ids.
    Entries(Vec<(String, Option<Bytes>)>),
    /// Which references may be entries of the certificate store.
    Stored(oneshot::Sender<Vec<StoredReference>>),
    /// Whether certificates wait for the store; then a reload.
    StoreIsBack,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The definitions could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No snapshot can be built of them.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Reads definitions and builds snapshots; belongs to one task.
pub struct Loader {
    config: Arc<GatewayConfig>,
    builder: Builder,
    policies: PolicyReader,
    resolver: Resolver,
    /// When a value that was missed is asked for again.
    ask_again: Option<Instant>,
    seen: Option<Seen>,
}

/// The directory as it was last read.
struct Seen {
    fingerprint: Option<Fingerprint>,
    files: Arc<Vec<DefinitionFile>>,
    referring: Referring,
    unreadable: Vec<UnreadableFile>,
}

impl Loader {
    /// A loader with nothing loaded.
    pub fn new(config: Arc<GatewayConfig>, builder: Builder) -> Self {
        Self {
            policies: PolicyReader::new(&config.definitions),
            resolver: Resolver::new(config.references.clone(), config.base.clone(), |name| {
                std::env::var(name).ok()
            }),
            ask_again: None,
            config,
            builder,
            seen: None,
        }
    }

    /// Who builds, to be asked about what it has built.
    pub fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }

    /// Reads what is there now and builds a snapshot of it. Unchanged files are not parsed again.
    ///
    /// # Errors
    /// [`ReloadError`]; what was loaded before stays good.
    pub fn load(&mut self) -> Result<(Built, Arc<Vec<DefinitionFile>>), ReloadError> {
        let directory = &self.config.definitions.app_path;
        // Taken before reading: a change during it is seen the next time.
        let now = fingerprint(directory).ok();
        self.resolver.begin();
        // Set again once it is known what was missed: a directory that cannot be read is told once.
        self.ask_again = None;
        let seen = match self.seen.take() {
            Some(seen)
                if now.is_some()
                    && seen.fingerprint == now
                    && seen.referring.are_the_same(&mut self.resolver) =>
            {
                seen
            }
            old => match Definitions::read(directory) {
                Ok(read) => {
                    let referring = Referring::among(&read.files, &mut self.resolver);
                    Seen {
                        fingerprint: now,
                        files: Arc::new(parse_resolved(&read.files, referring.resolved())),
                        referring,
                        unreadable: read.unreadable,
                    }
                }
                Err(error) => {
                    // Asking again and again would only say the same.
                    let old = old.map(|seen| Seen {
                        fingerprint: now,
                        ..seen
                    });
                    match old {
                        // What revokes does not wait until the directory can be read.
                        Some(seen) if self.builder.revocations_changed() => {
                            tracing::error!("{error}; the definitions read before stay");
                            seen
                        }
                        old => {
                            self.seen = old;
                            return Err(error.into());
                        }
                    }
                }
            },
        };
        self.builder
            .set_policies(self.policies.read(&mut self.resolver));
        let missed = self.resolver.missed_something();
        self.ask_again = missed.then(|| Instant::now() + ASK_AGAIN);
        let seen = self.seen.insert(seen);
        let built = self.builder.build(&seen.files, &seen.unreadable)?;
        Ok((built, seen.files.clone()))
    }

    /// True when what revokes client certificates has changed since the last load.
    fn revocations_changed(&self) -> bool {
        self.builder.revocations_changed()
    }

    /// True when files have changed since the last load.
    fn is_outdated(&self) -> bool {
        let definitions_changed = self.config.definitions.watch_app_path
            && self.seen.as_ref().map(|seen| seen.fingerprint)
                != Some(fingerprint(&self.config.definitions.app_path).ok());
        let policies_changed =
            self.config.definitions.watch_app_path && self.policies.has_changed();
        let values_missed = self.ask_again.is_some_and(|at| Instant::now() >= at);
        definitions_changed
            || values_missed
            || policies_changed
            || self.builder.certificates_changed()
    }
}

/// Whether a reload lets traffic go first.
#[derive(Clone, Copy)]
enum Urgency {
    GivingWay,
    AtOnce,
}

/// Everything the control task works with.
pub struct ControlLoop {
    /// Shared with the Control API.
    pub engine: Arc<Engine>,
    /// Fixed configuration.
    pub config: Arc<GatewayConfig>,
    /// Where snapshots go.
    pub live: Arc<Live>,
    /// Where reloads are counted.
    pub registry: Arc<Registry>,
    /// How workers are told.
    pub orders: Vec<mpsc::UnboundedSender<Order>>,
    /// Where certificates are that are not served.
    pub certificates: portcullis_store::Certificates,
    /// Drives what nobody waits for.
    pub runtime: Handle,
    /// Ports that are open.
    pub open: BTreeSet<u16>,
    /// Findings already logged.
    pub said: HashSet<String>,
    /// What was loaded before, until it is taken apart.
    pub past: Vec<Arc<LoadedSet>>,
    /// Who is told that a snapshot came into force.
    pub in_force: Arc<Notify>,
}

impl Engine {
    /// An engine that has loaded nothing, and the requests it will be sent.
    pub fn new(config: Arc<GatewayConfig>) -> (Arc<Self>, mpsc::UnboundedReceiver<Request>) {
        let (requests, received) = mpsc::unbounded_channel();
        let engine = Self {
            config,
            readiness: AtomicU8::new(0),
            loaded: ArcSwap::default(),
            requests,
        };
        (Arc::new(engine), received)
    }

    /// Where requests are sent to.
    pub fn requests(&self) -> mpsc::UnboundedSender<Request> {
        self.requests.clone()
    }

    /// Says how far the gateway is.
    pub fn set_readiness(&self, readiness: Readiness) {
        let number = match readiness {
            Readiness::Starting => 0,
            Readiness::Ready => 1,
            Readiness::Draining => 2,
        };
        self.readiness.store(number, Ordering::Release);
    }

    /// Says what is loaded; what was before.
    pub fn set_loaded(&self, loaded: LoadedSet) -> Arc<LoadedSet> {
        self.loaded.swap(Arc::new(loaded))
    }
}

impl Runtime for Engine {
    fn loaded(&self) -> Arc<LoadedSet> {
        self.loaded.load_full()
    }

    fn readiness(&self) -> Readiness {
        match self.readiness.load(Ordering::Acquire) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }

    fn users_of_certificate(&self, id: &str) -> Vec<String> {
        let users = users_of(id, &self.config, &self.loaded());
        users.iter().map(ToString::to_string).collect()
    }

    fn request_reload(&self) {
        // The task ends only with the process.
        let _ = self.requests.send(Request::Soon);
    }

    fn reload_and_wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let (done, wait) = oneshot::channel();
            if self.requests.send(Request::Now(done)).is_ok() {
                let _ = wait.await;
            }
        })
    }
}

impl ControlLoop {
    /// Serves requests for reloads and watches files until the process ends.
    pub async fn run(
        mut self,
        loader: LoaderThread,
        mut requests: mpsc::UnboundedReceiver<Request>,
    ) {
        let mut interval = tokio::time::interval(
            self.config
                .definitions
                .reload_interval
                .max(Duration::from_millis(50)),
        );
        let mut watch = tokio::time::interval(WATCH);
        let mut rotation = tokio::time::interval(ROTATION_CHECK);
        for timer in [&mut interval, &mut watch, &mut rotation] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut wanted = false;
        let mut changing = false;
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Now(done)) => waiting.push(done),
                    Some(request) => {
                        wanted |= self.serve(&loader, request).await;
                        continue;
                    }
                    None => return,
                },
                _ = interval.tick() => {
                    if !wanted {
                        self.bury(&loader);
                        continue;
                    }
                }
                _ = watch.tick() => {
                    // Somebody may have lost the right to be here: it does not wait its turn. Half a list leaves
                    // the one before in force.
                    let revoking = loader.ask_at_once(|loader| loader.revocations_changed()).await;
                    if revoking.unwrap_or(false) {
                        self.reload(&loader, Urgency::AtOnce).await;
                        continue;
                    }
                    let outdated = loader.ask(|loader| loader.is_outdated()).await.unwrap_or(false);
                    // Loaded once the files have stayed the same for a moment: half a file is no file.
                    let changed_before = std::mem::replace(&mut changing, outdated);
                    if !(outdated && changed_before) { continue; }
                }
                _ = rotation.tick() => {
                    loader.ask(rotate).await;
                    continue;
                }
            }
            // Everybody who asked before the reading begins is served by it.
            (wanted, changing) = (false, false);
            while let Ok(request) = requests.try_recv() {
                match request {
                    Request::Now(done) => waiting.push(done),
                    Request::Soon | Request::StoreIsBack => {}
                    other => wanted |= self.serve(&loader, other).await,
                }
            }
            self.reload(&loader, Urgency::GivingWay).await;
            for done in waiting {
                // Whoever asked may have left.
                let _ = done.send(());
            }
        }
    }

    /// Does what is asked, short of a reload; whether one is wanted.
    async fn serve(&mut self, loader: &LoaderThread, request: Request) -> bool {
        match request {
            Request::Soon | Request::Now(_) => return true,
            Request::StoreIsBack => {
                let waits = loader.ask(|loader| loader.builder.waits_for_store()).await;
                return waits.unwrap_or(false);
            }
            Request::Stored(answer) => loader.tell(move |loader| {
                // Whoever asked may have left.
                let _ = answer.send(loader.builder.stored_references());
            }),
            Request::Entries(entries) => {
                let update =
                    move |loader: &mut Loader| loader.builder.update_certificates(&entries);
                if let Some(Some(update)) = loader.ask_at_once(update).await {
                    let lists_changed = update.lists_changed;
                    self.put_certificates_in_force(update);
                    if lists_changed {
                        // Somebody may have lost the right to be here: it does not wait its turn.
                        self.reload(loader, Urgency::AtOnce).await;
                    }
                    self.bury(loader);
                }
            }
        }
        false
    }

    /// Puts in force a snapshot that differs from the one in force in certificates only.
    fn put_certificates_in_force(&self, update: Update) {
        for finding in &update.findings {
            match finding.is_error {
                true => tracing::error!("{finding}"),
                false => tracing::warn!("{finding}"),
            }
        }
        self.registry.set_unreadable_certificates(update.unreadable);
        if update.servers.is_empty() {
            return;
        }
        let mut next = (*self.live.load()).clone();
        next.generation = update.generation;
        let ports: Vec<u16> = update.servers.iter().map(|(port, _)| *port).collect();
        for (port, server) in update.servers {
            if let Some(port) = next.ports.get_mut(&port) {
                port.tls = Some(server);
            }
        }
        self.live.replace(next);
        self.registry.set_generation(update.generation);
        tracing::info!(
            generation = update.generation,
            certificates = update.changed,
            ?ports,
            "certificates in force"
        );
    }

    async fn reload(&mut self, loader: &LoaderThread, urgency: Urgency) {
        let begun = Instant::now();
        let result = match urgency {
            Urgency::GivingWay => loader.ask(Loader::load).await,
            Urgency::AtOnce => loader.ask_at_once(Loader::load).await,
        };
        let good = matches!(result, Some(Ok(_)));
        match result {
            Some(Ok((built, files))) => {
                for failure in self.put_in_force(built, files) {
                    tracing::error!("{failure}");
                }
            }
            Some(Err(error)) => {
                tracing::error!("reload failed, the configuration in force stays: {error}");
            }
            None => tracing::error!("reload failed by a defect, the configuration in force stays"),
        }
        self.bury(loader);
        self.registry.reload_finished(good, begun.elapsed());
    }

    /// Takes apart past snapshots and definitions where it holds nobody up.
    fn bury(&mut self, loader: &LoaderThread) {
        let live = self.live.clone();
        let past = std::mem::take(&mut self.past);
        loader.tell(move |_| {
            live.bury();
            drop(past);
        });
    }

    /// Puts a snapshot in force and opens and closes ports to match; which ports could not be opened.
    pub fn put_in_force(
        &mut self,
        built: Built,
        files: Arc<Vec<DefinitionFile>>,
    ) -> Vec<BindError> {
        let wanted: BTreeSet<u16> = built.snapshot.ports.keys().copied().collect();
        for port in self.open.difference(&wanted) {
            self.tell_all(|| Order::Unlisten { port: *port });
        }
        let generation = built.snapshot.generation;
        let policies = built.snapshot.policies.clone();
        self.say(&built.findings);
        self.registry
            .set_loaded(generation, built.served, built.quarantine.len());
        self.registry.set_unreadable_certificates(built.unreadable);
        self.registry.set_unverified(built.unverified);
        self.registry
            .set_crls(built.crls.iter().flat_map(CrlInUse::ends).collect());
        self.live.replace(built.snapshot);
        let past = self.engine.set_loaded(LoadedSet {
            generation,
            files,
            policies,
            quarantine: built.quarantine,
            closed: built.closed,
            doubtful_crls: built.crls.iter().flat_map(CrlInUse::told).collect(),
        });
        self.past.push(past);
        self.in_force.notify_one();
        self.look_at_other_certificates();
        let mut failures = Vec::new();
        let new: Vec<u16> = wanted.difference(&self.open).copied().collect();
        self.open.retain(|port| wanted.contains(port));
        for port in new {
            match listen::open(self.config.listen.address, port, self.orders.len()) {
                Ok((_, sockets)) => {
                    self.listen(port, sockets);
                }
                Err(error) => failures.push(error),
            }
        }
        tracing::info!(generation, ports = ?self.open, "configuration in force");
        failures
    }

    /// Says when certificates end that are in use and not served; nobody waits for it.
    fn look_at_other_certificates(&self) {
        let (config, registry) = (self.config.clone(), self.registry.clone());
        let (loaded, store) = (self.engine.loaded(), self.certificates.clone());
        self.runtime.spawn(async move {
            match beside_served(&config, &loaded, &store).await {
                Ok(certificates) => registry.set_other_certificates(certificates),
                Err(error) => tracing::warn!(%error,
                    "when certificates end that are not served cannot be told until the next reload"),
            }
        });
    }

    /// Gives each worker its socket of a port.
    pub fn listen(&mut self, port: u16, sockets: Vec<std::net::TcpListener>) {
        for (orders, socket) in self.orders.iter().zip(sockets) {
            // A worker that is gone has no use for it.
            let _ = orders.send(Order::Listen { port, socket });
        }
        self.open.insert(port);
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for orders in &self.orders {
            let _ = orders.send(order());
        }
    }

    /// Logs what has not been logged since it last was true.
    fn say(&mut self, findings: &[Finding]) {
        let mut now = HashSet::new();
        for finding in findings {
            let text = finding.to_string();
            if !self.said.contains(&text) && !now.contains(&text) {
                match finding.is_error {
                    true => tracing::error!("{text}"),
                    false => tracing::warn!("{text}"),
                }
            }
            now.insert(text);
        }
        self.said = now;
    }
}

fn rotate(loader: &mut Loader) {
    match loader.builder.tickets().rotate(SystemTime::now()) {
        Ok(true) => tracing::info!("session ticket keys rotated"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(%error, "session ticket keys could not be rotated; the old ones stay");
        }
    }
}
