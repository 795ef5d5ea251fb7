//! A real squid: a forward proxy in clear text or behind TLS, for everybody or for those who say who they are.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use portcullis_pki::make::Pair;
use tempfile::TempDir;

use crate::{
    certs, ports,
    wait::{PATIENCE, eventually, within},
};

/// Whom a squid lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Everybody,
    /// The user `us@er` with the password `pa:ss`.
    Password,
    /// Whoever shows a certificate of the tests' CA.
    Certificate,
}

/// A squid to be.
pub struct Builder {
    door: Door,
    server: Option<String>,
}

/// A squid that runs; gone when dropped.
pub struct Squid {
    dir: TempDir,
    /// What it calls its shared memory by.
    name: String,
    address: SocketAddr,
    secure: bool,
    process: Child,
}

/// What `us@er` and `pa:ss` are in a URL.
pub const CREDENTIALS: &str = "us%40er:pa%3Ass";

impl Builder {
    /// It speaks TLS, with this pair.
    #[must_use]
    pub fn tls(mut self, pair: &Pair) -> Self {
        self.server = Some(certs::bundle(pair));
        self
    }

    /// It wants [`CREDENTIALS`].
    #[must_use]
    pub fn with_password(mut self) -> Self {
        self.door = Door::Password;
        self
    }

    /// It wants a certificate of the tests' CA.
    #[must_use]
    pub fn with_certificate(mut self) -> Self {
        self.door = Door::Certificate;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When squid is not installed, has no TLS, or does not come up.
    pub fn start(self) -> Squid {
        let dir = tempfile::Builder::new()
            .prefix("portcullis-squid-")
            .tempdir()
            .expect("a directory");
        // Started by root, squid goes on as somebody else.
        open_to_all(dir.path());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()));
        let configuration = self.configuration(dir.path(), address);
        let file = dir.path().join("squid.conf");
        write(&file, &configuration);
        write(
            &dir.path().join("hosts"),
            "127.0.0.1 localhost upstream.test other.test\n",
        );
        let name = format!("t{}p{}", std::process::id(), address.port());
        let process = Command::new(program())
            .args(["-N", "-n", &name, "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("squid is installed");
        let squid = Squid {
            dir,
            name,
            address,
            secure: self.server.is_some(),
            process,
        };
        let listens = within(PATIENCE, || TcpStream::connect(address).is_ok());
        assert!(
            listens,
            "squid does not listen:\n{}",
            squid.read("cache.log")
        );
        squid
    }

    fn configuration(&self, dir: &Path, address: SocketAddr) -> String {
        let dir_text = dir.display();
        let port = match &self.server {
            None => format!("http_port {address}"),
            Some(pair) => {
                write(&dir.join("proxy.pem"), pair);
                write(&dir.join("ca.pem"), &certs::ca().certificate_pem());
                let clients = if self.door == Door::Certificate {
                    format!(" clientca={dir_text}/ca.pem")
                } else {
                    String::new()
                };
                format!("https_port {address} tls-cert={dir_text}/proxy.pem{clients}")
            }
        };
        let access = if self.door == Door::Password {
            let knows = "while read -r name password rest; do
if [ \"$name:$password\" = 'us@er:pa:ss' ]; then echo OK; else echo ERR; fi
done
";
            write(&dir.join("knows.sh"), knows);
            format!(
                "auth_param basic program /bin/sh {dir_text}/knows.sh\n\
                 auth_param basic children 1\n\
                 acl known proxy_auth REQUIRED\n\
                 http_access deny !known\n"
            )
        } else {
            String::new()
        };
        format!(
            "{port}\n\
             {access}\
             http_access allow all\n\
             cache deny all\n\
             cache_mem 0\n\
             logformat seen %rm %ru %>Hs [%un] [%ssl::>cert_subject]\n\
             access_log stdio:{dir_text}/access.log seen\n\
             cache_log {dir_text}/cache.log\n\
             pid_filename none\n\
             coredump_dir {dir_text}\n\
             hosts_file {dir_text}/hosts\n\
             visible_hostname squid.test\n\
             strip_query_terms off\n\
             pinger_enable off\n\
             digest_generation off\n\
             max_filedescriptors 1024\n"
        )
    }
}

impl Squid {
    /// One in clear text, for everybody, unless told otherwise.
    pub fn builder() -> Builder {
        Builder {
            door: Door::Everybody,
            server: None,
        }
    }

    /// The same, started.
    ///
    /// # Panics
    /// As [`Builder::start`].
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Its URL, by a name that [`certs::localhost`] is for.
    pub fn url(&self) -> String {
        self.url_with("")
    }

    /// Its URL with name and password, percent-encoded.
    pub fn url_as(&self, credentials: &str) -> String {
        self.url_with(&format!("{credentials}@"))
    }

    fn url_with(&self, before: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{before}localhost:{}", self.address.port())
    }

    /// What it was asked for so far, a line each: `METHOD TARGET STATUS [USER] [SUBJECT]`. A tunnel is told
    /// once it has ended.
    pub fn seen(&self) -> Vec<String> {
        self.read("access.log").lines().map(str::to_owned).collect()
    }

    /// Tunnels that have ended.
    pub fn tunnels(&self) -> usize {
        let lines = self.seen();
        lines
            .iter()
            .filter(|line| line.starts_with("CONNECT "))
            .count()
    }

    /// Waits for a line of [`Squid::seen`] that begins so; the line.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait(&self, beginning: &str) -> String {
        let mut found = None;
        eventually(&format!("squid tells of {beginning:?}"), || {
            found = self
                .seen()
                .into_iter()
                .find(|line| line.starts_with(beginning));
            found.is_some()
        });
        found.expect("just seen")
    }

    fn read(&self, name: &str) -> String {
        // A log that is not there yet is empty.
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // It had no time to do this itself, and would have taken seconds.
        let shared = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        let prefix = format!("{}-", self.name);
        for part in shared.filter(|part| part.file_name().to_string_lossy().starts_with(&prefix)) {
            let _ = fs::remove_file(part.path());
        }
    }
}

/// Where Debian and others put it is not always on the path.
fn program() -> &'static str {
    let place = "/usr/sbin/squid";
    if Path::new(place).exists() {
        place
    } else {
        "squid"
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
}

fn open_to_all(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("our own directory");
}
