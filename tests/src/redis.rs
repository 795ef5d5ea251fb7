//! A real `redis-server` of its own for a test.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{certs, gateway::Signal, mtls, ports, wait::eventually};

/// A Redis that runs; gone when dropped.
pub struct Redis {
    dir: TempDir,
    port: u16,
    process: Child,
    tls: Tls,
}

/// How a server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    No,
    /// With anybody.
    Open,
    /// With whom the tests' authority has given a certificate.
    Mutual,
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not come up.
    pub fn start() -> Self {
        Self::start_as(Tls::No)
    }

    /// The same, speaking TLS alone, with [`certs::localhost`]. Clients may come without a certificate.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn start_with_tls() -> Self {
        Self::start_as(Tls::Open)
    }

    /// The same, for those alone who come with a certificate of the tests' authority.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn start_with_mutual_tls() -> Self {
        Self::start_as(Tls::Mutual)
    }

    fn start_as(tls: Tls) -> Self {
        let dir = tempfile::tempdir().expect("a directory for Redis");
        let pair = certs::localhost();
        let client = mtls::issued(certs::ca(), "storage");
        for (name, text) in [
            ("server.pem", pair.certificate_pem()),
            ("server.key", pair.key_pem()),
            ("ca.pem", certs::ca().certificate_pem()),
            ("client.pem", client.certificate_pem()),
            ("client.key", client.key_pem()),
        ] {
            fs::write(dir.path().join(name), text).expect("a file for Redis");
        }
        let port = ports::free_port();
        let process = spawn(dir.path(), port, tls);
        let redis = Self {
            dir,
            port,
            process,
            tls,
        };
        redis.wait();
        redis
    }

    /// The certificate of the authority that vouches for a Redis with TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The members of a gateway's configuration that make it use this Redis.
    pub fn configuration(&self) -> Value {
        let mut storage =
            json!({"type": "redis", "host": "127.0.0.1", "port": self.port, "timeout": 1});
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        if self.tls != Tls::No {
            storage["use_ssl"] = true.into();
            storage["ca_file"] = file("ca.pem").into();
        }
        if self.tls == Tls::Mutual {
            storage["cert_file"] = file("client.pem").into();
            storage["key_file"] = file("client.key").into();
        }
        json!({ "storage": storage })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once; what it held is gone.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("our own process");
    }

    /// Sends it a signal, such as one that makes it hang.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }

    /// Starts it again at the same place, empty.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn revive(&mut self) {
        self.process = spawn(self.dir.path(), self.port, self.tls);
        self.wait();
    }

    /// What `redis-cli` answers to a command.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn wait(&self) {
        eventually("Redis answers", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A test may have ended it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &Path, port: u16, tls: Tls) -> Child {
    let port = port.to_string();
    let listening = if tls == Tls::No {
        vec!["--port", &port]
    } else {
        vec![
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-cert-file",
            "server.pem",
            "--tls-key-file",
            "server.key",
            "--tls-ca-cert-file",
            "ca.pem",
            "--tls-auth-clients",
            if tls == Tls::Mutual { "yes" } else { "no" },
        ]
    };
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(listening)
        .arg("--dir")
        .arg(dir)
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
