//! A real nginx with a directory and configuration of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{ports::free_port, wait::eventually};

/// An nginx that runs as long as the value lives. It serves the files of its `www` directory.
pub struct Nginx {
    dir: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// Starts one; `locations` are added to its only server.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start(locations: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("portcullis-nginx-")
            .tempdir()
            .expect("a directory");
        std::fs::create_dir(dir.path().join("www")).expect("a directory");
        let port = free_port();
        let text = configuration(dir.path(), port, locations);
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, text).expect("a file");
        let process = Command::new("nginx")
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let nginx = Self {
            dir,
            address,
            process,
        };
        eventually("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }

    /// Puts a file under its root.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: &[u8]) {
        std::fs::write(self.dir.path().join("www").join(name), content).expect("a file");
    }

    /// Its base URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(dir: &Path, port: u16, locations: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    types {{ text/plain txt; application/octet-stream bin; }}
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        root {dir}/www;
        {locations}
    }}
}}
"
    )
}
