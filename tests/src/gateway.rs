//! A gateway of its own for each test: the real program in a directory of its own.
//!
//! Invariants:
//! - It listens on loopback only, on a port the system chose, unless the test asks for another.
//! - It is gone, with its directory, when the value is dropped; a failing test prints its
//!   configuration and the end of its log first.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use rustix::process::Signal;

use crate::{
    certs,
    curl::{Curl, Response},
    log::Log,
    ports, program,
    wait::{PATIENCE, within},
};

/// What the tests send as `X-Tyk-Authorization`.
pub const SECRET: &str = "a secret of the tests";

/// A gateway to be.
pub struct Builder {
    dir: TempDir,
    config: Value,
    environment: Vec<(String, String)>,
}

/// A gateway that runs.
pub struct Gateway {
    dir: TempDir,
    config: Value,
    process: Child,
    log: Log,
    output: Log,
    address: IpAddr,
    port: u16,
    ports: BTreeSet<u16>,
    tls: bool,
}

/// How a gateway ended that was meant not to start.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote on standard error.
    pub log: String,
    /// What it wrote on standard output.
    pub output: String,
}

/// A keyless Classic definition: its name and id, its listen path, which is stripped, and where it
/// leads.
pub fn api(name: &str, listen_path: &str, target_url: &str) -> Value {
    json!({
        "name": name, "api_id": name, "org_id": "default", "active": true, "use_keyless": true,
        "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
        "proxy": {"listen_path": listen_path, "target_url": target_url, "strip_listen_path": true},
    })
}

/// Puts every member of `more` into `value`; objects are merged, everything else is replaced.
pub fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(members), Value::Object(more)) => {
            for (key, more) in more {
                merge(members.entry(key).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more,
    }
}

/// `value` with every member of `more`.
pub fn with(mut value: Value, more: Value) -> Value {
    merge(&mut value, more);
    value
}

impl Gateway {
    /// A gateway with nothing but a loopback address, a secret and an empty directory of APIs.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    pub fn builder() -> Builder {
        let dir = tempfile::Builder::new()
            .prefix("portcullis-test-")
            .tempdir()
            .expect("a directory of its own");
        fs::create_dir(dir.path().join("apps")).expect("a directory of APIs");
        let config = json!({
            "listen_address": "127.0.0.1",
            "listen_port": 0,
            "secret": SECRET,
            "app_path": "apps",
            "portcullis": {"workers": 2},
        });
        Builder {
            dir,
            config,
            environment: Vec::new(),
        }
        .file("ca.pem", &certs::ca().certificate_pem())
    }

    /// The main port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every port that was open when the gateway became ready.
    pub fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    /// The address of the main port.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The URL of a path on the main port; by name where it speaks TLS, so that the certificate fits.
    pub fn url(&self, path: &str) -> String {
        self.url_on(self.port, path)
    }

    /// The URL of a path on another port that speaks what the main port does.
    pub fn url_on(&self, port: u16, path: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", SocketAddr::new(self.address, port))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The directory with `tyk.conf`, `apps/`, `ca.pem` and what else the test put there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in that directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The log so far, and a means to wait for more of it.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Standard output: the access log.
    pub fn output(&self) -> &Log {
        &self.output
    }

    /// Waits for a log line that holds `needle`; the line.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_log(&self, needle: &str) -> String {
        self.log.wait(needle)
    }

    /// A connection to the main port.
    ///
    /// # Panics
    /// When it is refused.
    pub fn connect(&self) -> TcpStream {
        self.connect_to(self.port)
    }

    /// A connection to one of its ports, whose reads give up in time.
    ///
    /// # Panics
    /// When it is refused.
    pub fn connect_to(&self, port: u16) -> TcpStream {
        let stream =
            TcpStream::connect(SocketAddr::new(self.address, port)).expect("the gateway accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit can be set");
        stream
    }

    /// A curl that trusts the tests' CA.
    pub fn curl(&self) -> Curl {
        Curl::new().arguments(&[
            "--cacert",
            self.path("ca.pem")
                .to_str()
                .expect("paths of tests are text"),
        ])
    }

    /// GETs a path of the main port.
    pub fn get(&self, path: &str) -> Response {
        self.curl().send(&self.url(path))
    }

    /// Asks the Control API on the main port.
    pub fn control(&self, path: &str) -> Response {
        self.control_on(self.port, path)
    }

    /// Asks the Control API on its own port.
    pub fn control_on(&self, port: u16, path: &str) -> Response {
        let secret = format!("X-Tyk-Authorization: {SECRET}");
        self.curl()
            .arguments(&["-H", &secret])
            .send(&self.url_on(port, path))
    }

    /// Puts an API definition into `app_path` as one step.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_api(&self, name: &str, definition: &Value) {
        write_whole(
            &self.path("apps").join(format!("{name}.json")),
            &definition.to_string(),
        );
    }

    /// Puts any file into the gateway's directory as one step.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        write_whole(&self.path(name), text);
    }

    /// Takes an API definition out of `app_path`.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove_api(&self, name: &str) {
        fs::remove_file(self.path("apps").join(format!("{name}.json")))
            .expect("the definition was there");
    }

    /// Reloads through SIGHUP and waits until what is in the files now is in force.
    ///
    /// # Panics
    /// When it does not end.
    pub fn reload(&self) {
        let mark = self.log.mark();
        self.signal(Signal::HUP);
        // A reload that the watched directory caused may be under way; the one meant comes after.
        let asked = self.log.wait_since(mark, "SIGHUP: reloading");
        let after = mark
            + self
                .log
                .since(mark)
                .find(&asked)
                .expect("the line just found")
            + asked.len();
        let over = within(PATIENCE, || {
            let text = self.log.since(after);
            text.contains("configuration in force") || text.contains("reload failed")
        });
        assert!(over, "the reload did not end");
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the gateway runs");
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = self.process.try_wait().expect("our own process");
            status.is_some()
        });
        assert!(ended, "the gateway did not end");
        status.expect("just seen")
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("our own process").is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(self.dir.path(), &self.config, &self.log.text());
        }
        // Both fail only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Builder {
    /// Adds to the configuration.
    #[must_use]
    pub fn config(mut self, more: Value) -> Self {
        merge(&mut self.config, more);
        self
    }

    /// Speaks TLS 1.2 and 1.3 on the main port with a certificate for `localhost`, `127.0.0.1` and
    /// `::1` from the tests' CA, in `server.pem`.
    #[must_use]
    pub fn tls(self) -> Self {
        self.file("server.pem", &certs::bundle(certs::localhost())).config(json!({
            "http_server_options": {"use_ssl": true, "ssl_certificates": ["server.pem"], "max_version": 772},
        }))
    }

    /// Adds a definition as `apps/NAME.json`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn api(self, name: &str, definition: &Value) -> Self {
        self.file(&format!("apps/{name}.json"), &definition.to_string())
    }

    /// Adds a file; names are relative to the directory of `tyk.conf`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        write_whole(&self.dir.path().join(name), text);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the gateway's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `tyk.conf` and prepares the program to run in its directory.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let conf = self.path("tyk.conf");
        let text = serde_json::to_string_pretty(&self.config).expect("a value is JSON");
        write_whole(&conf, &text);
        let mut command = program::command(arguments);
        command
            .arg("--conf")
            .arg(&conf)
            .current_dir(self.dir.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(self) -> Gateway {
        let mut process = self
            .command(&["gateway"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Log::of(process.stderr.take().expect("asked for"));
        let output = Log::of(process.stdout.take().expect("asked for"));
        let Some(line) = log.find(0, "gateway is ready", PATIENCE) else {
            // Whatever the reason is, it is in the log.
            let _ = process.kill();
            let _ = process.wait();
            tell(self.dir.path(), &self.config, &log.text());
            panic!("the gateway did not become ready");
        };
        let ports = ports_in(&line);
        let wanted = self.config["listen_port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        // A port the system chose is the one that no test had asked for.
        let port = match wanted {
            Some(port) if port != 0 => port,
            _ => *ports
                .iter()
                .find(|port| !ports::is_reserved(**port))
                .expect("the main port is open"),
        };
        let address = self.config["listen_address"]
            .as_str()
            .and_then(|text| text.parse().ok());
        let tls = self.config["http_server_options"]["use_ssl"] == true;
        Gateway {
            dir: self.dir,
            config: self.config,
            process,
            log,
            output,
            address: address.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            port,
            ports,
            tls,
        }
    }

    /// Starts it though it must not start, and waits for its end.
    ///
    /// # Panics
    /// When it runs.
    pub fn fail(self) -> Ended {
        let ended = self.run(&["gateway"]);
        assert!(
            !ended.status.success(),
            "it should not have started:\n{}",
            ended.log
        );
        ended
    }

    /// Runs a verb such as `check` on this configuration to its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut process = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Log::of(process.stderr.take().expect("asked for"));
        let output = Log::of(process.stdout.take().expect("asked for"));
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = process.try_wait().expect("our own process");
            status.is_some()
        });
        if !ended {
            let _ = process.kill();
            let _ = process.wait();
            tell(self.dir.path(), &self.config, &log.text());
        }
        let status = status.expect("the program ends by itself");
        Ended {
            status,
            log: log.whole(),
            output: output.whole(),
        }
    }
}

/// The ports of the line that says the gateway is ready.
fn ports_in(line: &str) -> BTreeSet<u16> {
    let list = line
        .split_once("ports")
        .and_then(|(_, rest)| rest.split_once('{')?.1.split_once('}'));
    let (list, _) = list.expect("the line names the ports");
    list.split(',')
        .map(|port| port.trim().parse().expect("ports are numbers"))
        .collect()
}

/// Nobody sees half a file: it gets its name once it is whole.
fn write_whole(path: &Path, text: &str) {
    let unfinished = path.with_extension("unfinished");
    fs::create_dir_all(path.parent().expect("a file is in a directory"))
        .expect("directories can be made");
    fs::write(&unfinished, text).expect("files can be written");
    fs::rename(&unfinished, path).expect("files can be renamed");
}

/// Says all there is to say about a gateway of a test that fails.
#[expect(clippy::print_stderr, reason = "for whoever reads the failure")]
fn tell(dir: &Path, config: &Value, log: &str) {
    const LINES: usize = 60;
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
    eprintln!(
        "--- configuration in {}\n{config:#}\n--- its log ended with\n{tail}\n---",
        dir.display()
    );
}
