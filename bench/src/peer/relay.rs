//! The floor: HAProxy in TCP mode, carrying the same requests as plain bytes.
//!
//! It neither decrypts nor reads anything. What it costs is what the kernel takes for one
//! read and one write on each side; no proxy that does the same system calls can cost less.

use super::{Peer, ask_version};
use crate::error::Error;
use crate::lab::{Lab, Site};
use crate::process::Invocation;

/// Its name, which goals refer to.
pub(crate) const NAME: &str = "relay";

pub(super) struct Relay;

impl Peer for Relay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn terminates_tls(&self) -> bool {
        false
    }

    fn version(&self, lab: &Lab) -> Result<String, Error> {
        let version = ask_version(self.name(), &lab.programs.haproxy, "-v")?;
        Ok(format!("{version}, TCP mode"))
    }

    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error> {
        let port = site.port;
        let upstream = site.upstream();
        let conf = site.write(
            "relay.cfg",
            &format!(
                r"global
    nbthread 1
    maxconn 8000

defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s

listen pages
    bind 127.0.0.1:{port}
    server pages {upstream}
"
            ),
        )?;
        Ok(Invocation::of(&site.lab.programs.haproxy)
            .arg("-db")
            .arg("-f")
            .arg(conf))
    }
}
