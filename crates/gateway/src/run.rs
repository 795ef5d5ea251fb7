//! The gateway from start to stop.
//!
//! Threads: one for each worker, and a small runtime for everything that must not run on a
//! worker (reloads, the Control API, signals). The calling thread waits.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    net::IpAddr,
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use portcullis_config::GatewayConfig;
use portcullis_store::{Inspection, StoreError};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    access::{Access, AccessLink},
    aside::Aside,
    build::{BuildError, Builder, CrlInUse, ExplainedPort, Finding},
    certificate_watch::CertificateWatch,
    certificates::StoreAccess,
    control::{ControlApi, QuarantineEntry, Readiness},
    control_link::ControlLink,
    engine::{ControlLoop, Engine, Loader, ReloadError},
    events::{Deliveries, ExpiryMonitor},
    flight::FlightRecorder,
    health,
    links::Links,
    listen::{self, BindError},
    live::Live,
    loader_thread::LoaderThread,
    nodes,
    observe::{AccessLog, Registry},
    services::{Service, Services},
    settings::Settings,
    shared_tickets,
    snapshot::Snapshot,
    stores::Stores,
    upstream_tokens::TokenLink,
    worker::{Order, WorkerSeed},
};

/// The version that metrics and health answers name.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the store may take to write what is in memory only, on stopping.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// How a gateway is run.
#[derive(Default)]
pub struct RunOptions {
    /// Called once the gateway accepts connections.
    pub ready: Option<Box<dyn FnOnce(Ready) + Send>>,
}

/// Where a gateway that has started can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Main address; `None` is every interface.
    pub address: Option<IpAddr>,
    /// Main port, the one chosen when 0 was asked for.
    pub port: u16,
    /// The main port speaks TLS.
    pub tls: bool,
    /// Every open port.
    pub ports: BTreeSet<u16>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its settings make no snapshot.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Its definitions cannot be read.
    #[error(transparent)]
    Load(ReloadError),
    /// A port it cannot do without is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every request was finished.
    Drained,
    /// Some were cut: the deadline passed or a second signal came.
    Cut,
}

/// What `check` has to say.
pub struct Report {
    /// Everything wrong or odd.
    pub findings: Vec<Finding>,
    /// APIs that would answer 503.
    pub quarantine: Vec<QuarantineEntry>,
    /// What each host and listen path would do.
    pub routes: Vec<portcullis_policy::ExplainedRoute>,
    /// What each port asks of clients.
    pub clients: Vec<ExplainedPort>,
    /// Revocation lists for client certificates.
    pub crls: Vec<CrlInUse>,
    /// What keeps requests from upstreams that are not well, one line each.
    pub health: Vec<String>,
    /// How the embedded store is; `None` when a Redis takes its place.
    pub store: Result<Option<Inspection>, StoreError>,
}

/// Whether the certificate store is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookIntoStore {
    /// It is, and must be there.
    Yes,
    /// What it holds is not known.
    No,
}

/// Looks at a configuration and its definitions as a start would, without starting; into the
/// certificate store as well where `look` says so.
///
/// # Errors
/// [`StartError::Build`] and [`StartError::Load`]: a start would fail with the same.
/// [`StartError::Store`] when the store was to be looked into and cannot be.
pub fn check(config: &GatewayConfig, look: LookIntoStore) -> Result<Report, StartError> {
    let config = Arc::new(config.clone());
    let registry = Arc::new(Registry::new(VERSION));
    let aside = match look {
        LookIntoStore::Yes => Some(Aside::open(&config)?),
        LookIntoStore::No => None,
    };
    let certificates = match &aside {
        Some(aside) => {
            aside.stores().map_err(Clone::clone)?;
            aside.certificates()
        }
        None => None,
    };
    let builder = Builder::new(config.clone(), registry, certificates)?.explaining();
    let (built, _) = Loader::new(config.clone(), builder)
        .load()
        .map_err(StartError::Load)?;
    Ok(Report {
        store: Stores::inspect(&config),
        findings: built.findings,
        quarantine: built.quarantine,
        routes: built.routes,
        clients: built.clients,
        crls: built.crls,
        health: built.snapshot.health.told(&config.uptime),
    })
}

/// Runs a gateway until it is told to stop (TERM, INT).
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn run(mut config: GatewayConfig, options: RunOptions) -> Result<Stopped, StartError> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let settings = Arc::new(Settings::of(&config, cores));

    // The main port first: port 0 becomes a real one before anything is built on it.
    let (main_port, main_sockets) =
        listen::open(config.listen.address, config.listen.port, settings.workers)?;
    if main_port != config.listen.port {
        config.listen.port_was_chosen(main_port);
    }
    let config = Arc::new(config);
    let control_sockets = match config.listen.control_port.filter(|port| *port != main_port) {
        Some(port) => Some((
            port,
            listen::open(config.listen.address, port, settings.workers)?.1,
        )),
        None => None,
    };

    let registry = Arc::new(Registry::new(VERSION));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()?;
    {
        // A limit on the size of files is an error that the store tells, not the end of the process.
        // Once taken, a signal stays taken.
        let _entered = runtime.enter();
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
    }
    let (engine, requests) = Engine::new(config.clone());
    let stores = runtime.block_on(Stores::open(&config))?;
    registry.watch_store(stores.engine().kind(), stores.engine().health());
    let services = Services::new(&config, stores.certificates());
    // Before anything is loaded: what others change meanwhile is told to somebody.
    let watch = CertificateWatch::new(
        stores.clone(),
        engine.requests(),
        config.signals.certificate_check_interval,
    );
    {
        // What changes meanwhile is asked for again.
        let _entered = runtime.enter();
        nodes::obey(&stores, engine.clone());
        nodes::announce(&stores, &config, registry.clone());
    }
    let access = StoreAccess::new(stores.certificates().clone(), runtime.handle().clone());
    let builder = Builder::new(config.clone(), registry.clone(), Some(access))?;
    {
        let _entered = runtime.enter();
        shared_tickets::share(stores.engine(), builder.tickets(), config.key_passphrase());
    }
    let mut loader = Loader::new(config.clone(), builder);
    let (built, files) = loader.load().map_err(StartError::Load)?;

    let providers = services.client(Service::Oauth).clone();
    let access =
        Access::new(&config, &stores, providers.clone(), cores.get()).map_err(io::Error::from)?;
    {
        let _entered = runtime.enter();
        access.obey(&stores, &config);
    }
    let certificates = stores.certificates().clone();
    let live = Arc::new(Live::new(Snapshot::default()));
    let (flight, recorder) = FlightRecorder::start(runtime.handle());
    let api = Arc::new(ControlApi::new(
        config.clone(),
        engine.clone(),
        registry.clone(),
        stores.clone(),
        recorder,
        Links::new(live.clone(), services.clone(), stores.clone()),
    ));
    let control = ControlLink::new(api, runtime.handle().clone());
    let (access_log, log_writer) = AccessLog::start(&config.logs, io::stdout())?;
    registry.watch(&access_log);

    let served = live.clone();
    registry.watch_certificates(move || served.load().server_certificates());
    let watched = live.clone();
    registry.watch_health(move || watched.load().health.clone());
    let mut orders = Vec::new();
    let (gone, mut workers_gone) = mpsc::unbounded_channel::<()>();
    for id in 0..settings.workers {
        let (order, received) = mpsc::unbounded_channel();
        let seed = WorkerSeed {
            id,
            settings: settings.clone(),
            live: live.clone(),
            counters: registry.worker(),
            access_log: access_log.clone(),
            control: control.clone(),
            flight: flight.clone(),
            access: AccessLink::new(access.clone(), runtime.handle().clone()),
            upstream_tokens: TokenLink::new(providers.clone(), runtime.handle().clone()),
            orders: received,
        };
        let gone = gone.clone();
        std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || {
                if let Err(error) = seed.run() {
                    tracing::error!(%error, "a worker could not run");
                }
                let _ = gone.send(());
            })?;
        orders.push(order);
    }
    drop(gone);

    let mut control_loop = ControlLoop {
        engine: engine.clone(),
        config: config.clone(),
        live,
        registry: registry.clone(),
        orders: orders.clone(),
        certificates,
        runtime: runtime.handle().clone(),
        open: BTreeSet::new(),
        said: HashSet::new(),
        past: Vec::new(),
        in_force: Arc::default(),
    };
    // Ports whose sockets stand are open before the snapshot opens the rest.
    control_loop.open.insert(main_port);
    control_loop
        .open
        .extend(control_sockets.iter().map(|(port, _)| *port));
    for failure in control_loop.put_in_force(built, files) {
        tracing::error!("{failure}");
    }
    control_loop.listen(main_port, main_sockets);
    if let Some((port, sockets)) = control_sockets {
        control_loop.listen(port, sockets);
    }
    // Before anybody is told that we are ready: until then a signal would end the process.
    let (mut terminate, mut interrupt, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    engine.set_readiness(Readiness::Ready);
    let ready = Ready {
        address: config.listen.address,
        port: main_port,
        tls: config.server.use_ssl,
        ports: control_loop.open.clone(),
    };
    tracing::info!(workers = settings.workers, ports = ?ready.ports, tls = ready.tls, "gateway is ready");
    if config.listen.control_port.is_none() {
        tracing::info!(
            "the Control API shares the main port; control_api_port gives it one of its own, as is \
             best in production"
        );
    }
    notify(&[sd_notify::NotifyState::Ready]);
    if let Some(tell) = options.ready {
        tell(ready);
    }

    let stopped = runtime.block_on(async {
        let reloads = engine.clone();
        let receivers = services.client(Service::Webhooks).clone();
        let store = stores.engine().clone();
        let deliveries = Arc::new(Deliveries::start(receivers, store, registry.events()));
        let tests = services.client(Service::Health).clone();
        let tester = health::Tester::new(&config, tests, deliveries.clone());
        let live = control_loop.live.clone();
        tokio::spawn(health::watch(live, tester, deliveries.clone()));
        let expiry = &config.security.expiry_monitor;
        let expiry = ExpiryMonitor::new(expiry, stores.engine().clone(), deliveries);
        tokio::spawn(expiry.run(control_loop.live.clone(), control_loop.in_force.clone()));
        tokio::spawn(control_loop.run(LoaderThread::start(loader)?, requests));
        tokio::spawn(watch.run());
        tokio::spawn(async move {
            use crate::control::Runtime as _;
            while hangup.recv().await.is_some() {
                tracing::info!("SIGHUP: reloading");
                notify(&[sd_notify::NotifyState::Reloading, monotonic()]);
                reloads.reload_and_wait().await;
                notify(&[sd_notify::NotifyState::Ready]);
            }
        });
        if let Some(every) = sd_notify::watchdog_enabled() {
            tokio::spawn(async move {
                loop {
                    notify(&[sd_notify::NotifyState::Watchdog]);
                    tokio::time::sleep(every / 2).await;
                }
            });
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }

        // Draining: say so first, so that load balancers stop sending; then let go.
        engine.set_readiness(Readiness::Draining);
        notify(&[sd_notify::NotifyState::Stopping]);
        let (delay, patience) = (
            config.control.graceful_shutdown_delay,
            config.control.graceful_shutdown_timeout,
        );
        tracing::info!(
            ?delay,
            ?patience,
            "stopping: requests in flight may finish; a second signal ends at once"
        );
        let drain = async {
            tokio::time::sleep(delay).await;
            for order in &orders {
                let _ = order.send(Order::Drain);
            }
            let all_gone = async { while workers_gone.recv().await.is_some() {} };
            match tokio::time::timeout(patience, all_gone).await {
                Ok(()) => Stopped::Drained,
                Err(_) => {
                    tracing::warn!(
                        "the deadline for stopping has passed; connections that are left are cut"
                    );
                    Stopped::Cut
                }
            }
        };
        let stopped = tokio::select! {
            stopped = drain => stopped,
            _ = terminate.recv() => Stopped::Cut,
            _ = interrupt.recv() => Stopped::Cut,
        };
        // Counts are written behind, and nobody counts any more.
        match tokio::time::timeout(STORE_PATIENCE, stores.engine().close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the last counts are lost: {error}"),
            Err(_) => tracing::error!(
                "the store does not let itself be closed; the last counts may be lost"
            ),
        }
        io::Result::Ok(stopped)
    })?;
    runtime.shutdown_timeout(Duration::from_millis(200));
    if stopped == Stopped::Drained {
        // Every worker is gone and with it every holder of the log but ours.
        registry.unwatch();
        drop(access_log);
        log_writer.join();
    }
    Ok(stopped)
}

/// Tells systemd, where it started us.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Nobody listens outside systemd.
    let _ = sd_notify::notify(states);
}

fn monotonic() -> sd_notify::NotifyState<'static> {
    sd_notify::NotifyState::monotonic_usec_now().unwrap_or(sd_notify::NotifyState::Reloading)
}
