//! A worker: one thread that owns connections from accept to close.
//!
//! Each worker has its own runtime, its own listening sockets (`SO_REUSEPORT`; the kernel spreads
//! connections), its own upstream pools and its own counters. Nothing on a request's way is
//! shared with another thread but the snapshot, which is only read.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    fmt::Display,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use portcullis_tls::failure::Reason;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    access::AccessLink,
    connection,
    control_link::ControlLink,
    flight::{Check, Entry, Notes},
    live::Live,
    observe::{AccessLog, WorkerCounters},
    proxy::pool::Pool,
    settings::Settings,
    snapshot::Snapshot,
    timers::Timers,
    upstream_tokens::TokenLink,
    watch::{self, Watch},
};

/// How often idle upstream connections are looked at.
const POOL_SWEEP: Duration = Duration::from_secs(10);

/// What the control side tells a worker.
pub enum Order {
    /// Accept connections from this socket.
    Listen {
        /// Its port.
        port: u16,
        /// Bound and listening, not blocking.
        socket: std::net::TcpListener,
    },
    /// Stop accepting on a port; its connections go on.
    Unlisten {
        /// The port.
        port: u16,
    },
    /// Stop accepting, let requests finish, then end.
    Drain,
}

/// State of one worker.
pub struct Worker {
    /// Fixed settings.
    pub settings: Arc<Settings>,
    /// Deadlines.
    pub timers: Rc<Timers>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Where requests are recorded.
    pub access_log: AccessLog,
    /// Where Control API requests are answered.
    pub control: ControlLink,
    /// Who may call, and how often.
    pub access: AccessLink,
    /// Tokens to show upstreams.
    pub upstream_tokens: TokenLink,
    /// Where refusals are noted.
    pub flight: Notes,
    /// What is open for clients that may lose the right to it.
    pub watch: Watch,
    live: Arc<Live>,
    held: RefCell<Rc<Held>>,
    pools: RefCell<Vec<Option<Rc<Pool>>>>,
    handshakes: RefCell<HashMap<IpAddr, u32>>,
    connections: Cell<usize>,
    draining: Cell<bool>,
    turn: Cell<usize>,
}

/// The snapshot a worker holds, counted without atomics.
pub struct Held {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
}

/// A place among the concurrent handshakes of an address; given back when dropped.
pub struct HandshakePlace {
    worker: Rc<Worker>,
    address: IpAddr,
}

/// A connection being served; uncounted when dropped.
pub struct Counted(Rc<Worker>);

impl Worker {
    /// The current snapshot. Costs an atomic read and a plain count.
    pub fn snapshot(&self) -> Rc<Held> {
        let held = self.held.borrow();
        if held.snapshot.generation == self.live.generation() {
            return held.clone();
        }
        drop(held);
        let fresh = Rc::new(Held {
            snapshot: self.live.load(),
        });
        self.held.replace(fresh.clone());
        fresh
    }

    /// The pool of an endpoint, by its number.
    pub fn pool(&self, id: usize) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if pools.len() <= id {
            pools.resize_with(id + 1, || None);
        }
        pools[id].get_or_insert_with(Rc::default).clone()
    }

    /// Lets go of connections that no request will use any more: their endpoint is gone, or is shown
    /// another certificate.
    fn retire_pools(&self, in_force: &HashSet<usize>) {
        for (id, pool) in self.pools.borrow().iter().enumerate() {
            if let Some(pool) = pool {
                pool.retire(!in_force.contains(&id));
            }
        }
    }

    /// Takes a place among the handshakes of an address, unless they are too many.
    pub fn begin_handshake(self: &Rc<Self>, address: IpAddr) -> Option<HandshakePlace> {
        let most = self.settings.handshakes_per_address;
        let mut handshakes = self.handshakes.borrow_mut();
        let count = handshakes.entry(address).or_insert(0);
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(HandshakePlace {
            worker: self.clone(),
            address,
        })
    }

    /// Counts and notes that a client was refused; `more` adds what is known of it.
    pub fn refused(
        &self,
        check: Check,
        from: IpAddr,
        port: u16,
        detail: &dyn Display,
        more: impl FnOnce(Entry) -> Entry,
    ) {
        match check {
            Check::Handshake(reason) => self.counters.handshake_failed(reason.label()),
            Check::TooManyHandshakes => self.counters.handshake_failed(Reason::Other.label()),
            Check::List(..) | Check::Key(_) | Check::Misdirected => {
                self.counters.client_refused(check.label());
            }
        }
        self.flight.note(|| {
            let now = SystemTime::now();
            more(Entry::new(now, from, port, check, &detail.to_string()))
        });
    }

    /// Counts a connection until the value is dropped.
    pub fn count_connection(self: &Rc<Self>) -> Counted {
        self.connections.set(self.connections.get() + 1);
        self.counters.connection_opened();
        Counted(self.clone())
    }

    /// True once the worker lets go of its connections.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A number that is different each time: whose turn it is among equals.
    pub fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        let mut handshakes = self.worker.handshakes.borrow_mut();
        if let Some(count) = handshakes.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                handshakes.remove(&self.address);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.counters.connection_closed();
    }
}

/// What a worker is started with.
pub struct WorkerSeed {
    /// Its place among the workers, from 0.
    pub id: usize,
    /// Fixed settings.
    pub settings: Arc<Settings>,
    /// The current snapshot, always.
    pub live: Arc<Live>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Where requests are recorded.
    pub access_log: AccessLog,
    /// Where Control API requests are answered.
    pub control: ControlLink,
    /// Who may call, and how often.
    pub access: AccessLink,
    /// Tokens to show upstreams.
    pub upstream_tokens: TokenLink,
    /// Where refusals are noted.
    pub flight: Notes,
    /// What it is told.
    pub orders: mpsc::UnboundedReceiver<Order>,
}

impl WorkerSeed {
    /// Runs the worker on this thread until it has drained.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn run(self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(8)
            .thread_name(format!("worker-{}-lookup", self.id))
            .build_local(tokio::runtime::LocalOptions::default())?;
        runtime.block_on(work(self));
        // Name lookups that hang must not hold up the end.
        runtime.shutdown_timeout(Duration::ZERO);
        Ok(())
    }
}

async fn work(seed: WorkerSeed) {
    let held = Rc::new(Held {
        snapshot: seed.live.load(),
    });
    let worker = Rc::new(Worker {
        settings: seed.settings,
        timers: Timers::new(),
        counters: seed.counters,
        access_log: seed.access_log,
        control: seed.control,
        access: seed.access,
        upstream_tokens: seed.upstream_tokens,
        flight: seed.flight,
        watch: Watch::default(),
        live: seed.live,
        held: RefCell::new(held),
        pools: RefCell::default(),
        handshakes: RefCell::default(),
        connections: Cell::new(0),
        draining: Cell::new(false),
        turn: Cell::new(seed.id),
    });
    let timers = worker.timers.clone();
    tokio::task::spawn_local(async move { timers.sweep().await });
    tokio::task::spawn_local(keep_house(worker.clone()));
    tokio::task::spawn_local(watch::keep(worker.clone()));

    let mut orders = seed.orders;
    let mut accepting: HashMap<u16, tokio::task::JoinHandle<()>> = HashMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen { port, socket } => match TcpListener::from_std(socket) {
                Ok(listener) => {
                    let task = tokio::task::spawn_local(accept(worker.clone(), listener, port));
                    if let Some(old) = accepting.insert(port, task) {
                        old.abort();
                    }
                }
                Err(error) => tracing::error!(port, %error, "cannot listen"),
            },
            Order::Unlisten { port } => {
                if let Some(task) = accepting.remove(&port) {
                    task.abort();
                }
            }
            Order::Drain => break,
        }
    }
    accepting.into_values().for_each(|task| task.abort());
    worker.draining.set(true);
    worker.timers.end_idle();
    while worker.connections.get() > 0 {
        tokio::time::sleep(crate::timers::TICK).await;
        // Connections that became idle since.
        worker.timers.end_idle();
    }
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, port: u16) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                let counted = worker.count_connection();
                let worker = worker.clone();
                tokio::task::spawn_local(async move {
                    connection::serve(&worker, socket, address, port).await;
                    drop(counted);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                tracing::error!(port, %error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Closes idle upstream connections, forgets sessions and lets go of a snapshot that nobody asks for.
async fn keep_house(worker: Rc<Worker>) {
    let mut swept = Instant::now();
    let mut forgot = swept;
    let mut generation = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = worker.snapshot();
        if std::mem::replace(&mut generation, held.snapshot.generation) != generation {
            worker.retire_pools(&held.snapshot.endpoints);
        }
        drop(held);
        let now = Instant::now();
        if now - swept >= POOL_SWEEP {
            swept = now;
            let pools: Vec<_> = worker.pools.borrow().iter().flatten().cloned().collect();
            pools.iter().for_each(|pool| pool.expire(now));
        }
        if now - forgot >= worker.access.sweep_interval() {
            forgot = now;
            worker.access.sweep();
        }
    }
}
