//! Real Redis servers for tests: one, one with replicas behind a sentinel, or a cluster of three.
//!
//! Invariants: a server lives in a directory of its own on ports of its own and ends with its owner;
//! whoever has started it may rely on it answering.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take to do what is waited for. Generous: machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server that was started.
pub struct Server {
    child: Child,
    directory: tempfile::TempDir,
    options: Vec<String>,
    port: u16,
}

impl Server {
    /// Starts a server that keeps nothing on disk, with these options of `redis-server`. `{port}` in
    /// them stands for its port; without it the port speaks clear text.
    ///
    /// # Panics
    /// When there is no server to start: `scripts/needs test` installs one.
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for a server");
        let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        if !options.iter().any(|option| option.contains("{port}")) {
            options.extend(["--port".to_owned(), "{port}".to_owned()]);
        }
        // Another process may take the port in between: then there is another.
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = spawn(directory.path(), &options, port) {
                return Self {
                    child,
                    directory,
                    options,
                    port,
                };
            }
        }
        panic!("redis-server does not start: {}", log(directory.path()));
    }

    /// The same with TLS for whom `ca` vouches; clients need a certificate when `clients` says so.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_with_tls(files: &TlsFiles, clients: bool, options: &[&str]) -> Self {
        let path = |path: &Path| path.to_str().expect("a path of text").to_owned();
        let (certificate, key, ca) = (path(&files.certificate), path(&files.key), path(&files.ca));
        let mut all = vec![
            "--port",
            "0",
            "--tls-port",
            "{port}",
            "--tls-replication",
            "yes",
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            if clients { "yes" } else { "no" },
        ];
        all.extend(options);
        Self::start(&all)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as the kernel ends what uses too much memory.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("a server can be killed");
        self.child.wait().expect("a server that was killed ends");
    }

    /// Starts it again after [`Server::kill`], where it was.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let begun = Instant::now();
        loop {
            if let Some(child) = spawn(self.directory.path(), &self.options, self.port) {
                self.child = child;
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", log(self.directory.path()));
        }
    }

    /// Stops it where it stands, with its connections open.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When there is no `kill`.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success(), "no signal {name}");
    }

    /// What a server without TLS and password answers to a command.
    ///
    /// # Panics
    /// When `redis-cli` does not run.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until the answer to a command is as wanted.
    ///
    /// # Panics
    /// When it never is.
    pub fn ask_until(&self, words: &[&str], wanted: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        loop {
            let answer = self.ask(words);
            if wanted(&answer) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{words:?}: {answer}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of a server with TLS.
pub struct TlsFiles {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who issues certificates of clients, and its own.
    pub ca: PathBuf,
}

/// A primary with a replica, and a sentinel that knows them as `main`.
pub struct Watched {
    /// The first primary.
    pub primary: Server,
    /// Its replica.
    pub replica: Server,
    /// Who watches both.
    pub sentinel: Server,
}

impl Watched {
    /// Starts all three and waits until each knows the others.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start() -> Self {
        let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
        let port = primary.port().to_string();
        let replica = Server::start(&[
            "--replicaof",
            &format!("127.0.0.1 {port}"),
            "--repl-diskless-sync-delay",
            "0",
        ]);
        replica.ask_until(&["ROLE"], |role| role.contains("connected"));
        let sentinel = Server::start(&["--sentinel", "--port", "{port}"]);
        let ok = sentinel.ask(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]);
        assert_eq!(ok, "OK");
        for (name, millis) in [
            ("down-after-milliseconds", "400"),
            ("failover-timeout", "3000"),
        ] {
            assert_eq!(
                sentinel.ask(&["SENTINEL", "SET", "main", name, millis]),
                "OK"
            );
        }
        sentinel.ask_until(&["SENTINEL", "REPLICAS", "main"], |replicas| {
            replicas.contains(&replica.port().to_string())
                && replicas.contains("master-link-status\nok")
        });
        Self {
            primary,
            replica,
            sentinel,
        }
    }
}

/// Starts three nodes that share the slots.
///
/// # Panics
/// As [`Server::start`].
pub fn cluster() -> [Server; 3] {
    let nodes = [(0, 5460), (5461, 10922), (10923, 16383)].map(|(first, last)| {
        let bus = free_port();
        let node = Server::start(&[
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus.to_string(),
            "--cluster-node-timeout",
            "3000",
            "--port",
            "{port}",
        ]);
        let added = node.ask(&[
            "CLUSTER",
            "ADDSLOTSRANGE",
            &first.to_string(),
            &last.to_string(),
        ]);
        assert_eq!(added, "OK");
        (node, bus)
    });
    let first = &nodes[0].0;
    for (node, bus) in &nodes[1..] {
        let met = first.ask(&[
            "CLUSTER",
            "MEET",
            "127.0.0.1",
            &node.port().to_string(),
            &bus.to_string(),
        ]);
        assert_eq!(met, "OK");
    }
    for (node, _) in &nodes {
        node.ask_until(&["CLUSTER", "INFO"], |info| {
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        });
        // Clients ask any node where the slots are: each has to know.
        node.ask_until(&["CLUSTER", "SLOTS"], |slots| {
            ["5460", "10922", "16383"]
                .iter()
                .all(|last| slots.contains(last))
        });
    }
    nodes.map(|(node, _)| node)
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// A server that accepts connections; `None` when it ended before.
fn spawn(directory: &Path, options: &[String], port: u16) -> Option<Child> {
    let log = directory.join("log");
    let _ = fs::remove_file(&log);
    let mut command = Command::new("redis-server");
    if options.iter().any(|option| option == "--sentinel") {
        // A sentinel keeps what it knows in its configuration.
        let configuration = directory.join("sentinel.conf");
        if !configuration.exists() {
            fs::write(&configuration, "").expect("a configuration");
        }
        command.arg(configuration);
    }
    let mut child = command
        .current_dir(directory)
        .args(
            options
                .iter()
                .map(|option| option.replace("{port}", &port.to_string())),
        )
        .args(["--bind", "127.0.0.1", "--logfile"])
        .arg(&log)
        .args(if options.iter().any(|option| option == "--sentinel") {
            &[][..]
        } else {
            &["--save", ""][..]
        })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: scripts/needs test");
    let begun = Instant::now();
    loop {
        let said = fs::read_to_string(&log).unwrap_or_default();
        if said.contains("Ready to accept connections") || said.contains("Sentinel ID is") {
            return Some(child);
        }
        if child
            .try_wait()
            .expect("a child can be looked at")
            .is_some()
        {
            return None;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "redis-server is not ready: {said}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}
