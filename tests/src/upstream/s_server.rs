//! A real `openssl s_server`: an upstream with the suites, versions and habits of other libraries.

use std::{
    io::Write,
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use portcullis_pki::make::Pair;
use tempfile::TempDir;

use crate::{certs, log::Log, ports::free_port, wait::eventually};

/// One that runs as long as the value lives.
pub struct SServer {
    process: Child,
    input: ChildStdin,
    output: Log,
    port: u16,
    _dir: TempDir,
}

impl SServer {
    /// Starts one with a certificate; `arguments` are added.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start(pair: &Pair, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("portcullis-s_server-")
            .tempdir()
            .expect("a directory");
        let file = dir.path().join("pair.pem");
        std::fs::write(&file, certs::bundle(pair)).expect("a file");
        let port = free_port();
        let mut process = command(&file, port)
            .args(arguments)
            .spawn()
            .expect("openssl is installed");
        let output = Log::of(process.stdout.take().expect("a pipe"));
        let input = process.stdin.take().expect("a pipe");
        let server = Self {
            process,
            input,
            output,
            port,
            _dir: dir,
        };
        eventually("s_server listens", || {
            server.output.text().contains("ACCEPT")
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What it has printed.
    pub fn output(&self) -> &Log {
        &self.output
    }

    /// Has it send a text, or do what the letter at its beginning stands for: `r` asks for
    /// renegotiation.
    ///
    /// # Panics
    /// When it has ended.
    pub fn say(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("it listens");
        self.input.flush().expect("it listens");
    }
}

fn command(pair: &Path, port: u16) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
        .arg(pair)
        .arg("-key")
        .arg(pair)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

impl Drop for SServer {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
