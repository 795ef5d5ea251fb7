//! A Redis for a gateway to have its store in: with the load, so that the proxy's core is its own.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::error::Error;
use crate::lab::Lab;
use crate::process::{Invocation, Process};

/// How long it may take to come up.
const START_LIMIT: Duration = Duration::from_secs(10);

const NAME: &str = "redis";

/// A Redis that runs; ended when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    _process: Process,
}

impl Redis {
    /// Starts one that keeps nothing on disk, on the load's core.
    pub(crate) async fn start(lab: &Lab) -> Result<Self, Error> {
        let site = lab.site(NAME)?;
        let invocation = Invocation::of(&lab.programs.redis)
            .arg("--bind")
            .arg("127.0.0.1")
            .arg("--port")
            .arg(site.port.to_string())
            .arg("--dir")
            .arg(&site.dir)
            .arg("--save")
            .arg("")
            .arg("--appendonly")
            .arg("no");
        let cores = lab.cores.load.to_string();
        let mut process = Process::start(NAME, &invocation, &cores, &site.dir)?;
        let begun = Instant::now();
        while let Err(error) = TcpStream::connect(site.address()).await {
            process.check_alive()?;
            if begun.elapsed() > START_LIMIT {
                return Err(Error::io(format!("connect to {NAME}"))(error));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self {
            port: site.port,
            _process: process,
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
