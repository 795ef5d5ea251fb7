//! Everything the measurements share: directory, certificate, upstream, cores, programs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

use crate::certificate::Pair;
use crate::error::Error;
use crate::upstream::Upstream;

/// Open files a run needs in one process: 3,000 idle connections and room for the rest.
const FILES: u64 = 8192;

/// The programs whose place may differ from machine to machine.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) portcullis: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) haproxy: PathBuf,
    pub(crate) envoy: PathBuf,
    pub(crate) redis: PathBuf,
}

/// The place where peers are measured. Its directory is removed with it.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) programs: Programs,
    pub(crate) pair: Pair,
    pub(crate) upstream: Upstream,
    pub(crate) cores: Cores,
    dir: TempDir,
}

impl Lab {
    /// Makes the certificate, moves this thread to its core and starts the upstream on it.
    pub(crate) async fn open(programs: Programs) -> Result<Self, Error> {
        allow_files()?;
        let cores = Cores::divide()?;
        cores.settle()?;
        let dir = TempDir::with_prefix("portcullis-bench-")
            .map_err(Error::io("make a temporary directory"))?;
        let pair = Pair::make(dir.path())?;
        Ok(Self {
            upstream: Upstream::start(&pair).await?,
            pair,
            programs,
            cores,
            dir,
        })
    }

    /// An empty directory for one start of `peer`, and a free port.
    pub(crate) fn site(&self, peer: &str) -> Result<Site<'_>, Error> {
        let port = free_port()?;
        let dir = self.dir.path().join(format!("{peer}-{port}"));
        fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
        Ok(Site {
            lab: self,
            dir,
            port,
            apis: 1,
            certificates: Vec::new(),
            clients: Clients::Anybody,
            behind: Behind::Plain,
            redis: None,
        })
    }
}

/// A port nobody has.
pub(crate) fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("find a free port"))
}

/// Where one peer is set up once.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) dir: PathBuf,
    /// The port the peer listens on, on 127.0.0.1.
    pub(crate) port: u16,
    /// How many API definitions it serves. With one, it is at `/`; with more, at [`listen_path`].
    pub(crate) apis: usize,
    /// Certificates with keys in PEM, for names of their own; with none, there is one for `localhost`.
    pub(crate) certificates: Vec<String>,
    /// Who may connect.
    pub(crate) clients: Clients,
    /// How the upstream is reached.
    pub(crate) behind: Behind,
    /// The port of the Redis that is its store; with none, it has a store of its own.
    pub(crate) redis: Option<u16>,
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Everybody.
    Anybody,
    /// Clients of the run's CA, which the handshake demands.
    OfAuthority,
    /// The run's client, on a list that has so many entries; ours alone.
    Listed(usize),
}

/// How the upstream is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// In the clear, by kept-alive connections.
    Plain,
    /// Over TLS, verified by the run's CA and its name, by kept-alive connections.
    Tls,
    /// The same with the run's client certificate, by a new connection for each request.
    MutualAfresh,
}

impl Behind {
    /// Whether it is TLS.
    pub(crate) fn is_tls(self) -> bool {
        self != Self::Plain
    }

    /// Whether a connection serves one request and a client certificate is shown.
    pub(crate) fn is_afresh(self) -> bool {
        self == Self::MutualAfresh
    }
}

impl Site<'_> {
    /// Where the upstream is.
    pub(crate) fn upstream(&self) -> SocketAddr {
        let upstream = &self.lab.upstream;
        match self.behind {
            Behind::Plain => upstream.plain,
            Behind::Tls => upstream.tls,
            Behind::MutualAfresh => upstream.mutual,
        }
    }

    /// The peer's address.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Writes a configuration file and returns its path.
    pub(crate) fn write(&self, name: impl AsRef<Path>, text: &str) -> Result<PathBuf, Error> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(path)
    }
}

/// The listen path of the API with this number, where there are many.
pub(crate) fn listen_path(api: usize) -> String {
    format!("/api-{api:05}/")
}

/// Who runs where.
#[derive(Debug)]
pub(crate) struct Cores {
    /// The proxy's core.
    pub(crate) proxy: usize,
    /// The core of the generator and the upstream.
    pub(crate) load: usize,
    all: CpuSet,
    all_listed: String,
}

impl Cores {
    /// Gives the first usable core to the proxy, the second to the load.
    fn divide() -> Result<Self, Error> {
        let all = sched_getaffinity(None)
            .map_err(|error| Error::io("read the usable cores")(error.into()))?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| all.is_set(*core))
            .collect();
        let [proxy, load, ..] = usable[..] else {
            return Err(Error::OneCore);
        };
        let listed: Vec<String> = usable.iter().map(ToString::to_string).collect();
        Ok(Self {
            proxy,
            load,
            all,
            all_listed: listed.join(","),
        })
    }

    /// Every usable core, as `taskset -c` reads them.
    pub(crate) fn all(&self) -> &str {
        &self.all_listed
    }

    /// Moves this thread to the load's core.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        let mut own = CpuSet::new();
        own.set(self.load);
        move_to(&own)
    }

    /// Lets this thread run everywhere, for scenes that pin nobody.
    pub(crate) fn roam(&self) -> Result<(), Error> {
        move_to(&self.all)
    }
}

fn move_to(cores: &CpuSet) -> Result<(), Error> {
    sched_setaffinity(None, cores)
        .map_err(|error| Error::io("choose the core to run on")(error.into()))
}

/// Raises the limit of open files as far as it goes; peers inherit it.
fn allow_files() -> Result<(), Error> {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if maximum < FILES {
        return Err(Error::TooFewFiles {
            limit: maximum,
            needed: FILES,
        });
    }
    let wanted = Rlimit {
        current: Some(maximum.min(65_536)),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wanted)
        .map_err(|error| Error::io("raise the limit of open files")(error.into()))
}
