//! A real `redis-server` of its own for a test.

use std::{
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{gateway::Signal, ports, wait::eventually};

/// A Redis that runs; gone when dropped.
pub struct Redis {
    dir: TempDir,
    port: u16,
    process: Child,
}

impl Redis {
    /// Starts one that keeps nothing on disk.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not come up.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory for Redis");
        let port = ports::free_port();
        let process = spawn(dir.path(), port);
        let redis = Self { dir, port, process };
        redis.wait();
        redis
    }

    /// The members of a gateway's configuration that make it use this Redis.
    pub fn configuration(&self) -> Value {
        json!({"storage": {"type": "redis", "host": "127.0.0.1", "port": self.port, "timeout": 1}})
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
        self.process = spawn(self.dir.path(), self.port);
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

fn spawn(dir: &std::path::Path, port: u16) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &port.to_string()])
        .arg("--dir")
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
