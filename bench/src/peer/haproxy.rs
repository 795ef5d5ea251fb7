//! HAProxy: one thread, HTTP mode, connections to the upstream shared among clients.

use std::fmt::Write as _;
use std::fs;

use super::{Peer, SUITE, ask_version};
use crate::certificate::name_of;
use crate::error::Error;
use crate::lab::{Clients, Lab, Site};
use crate::process::Invocation;

pub(super) struct Haproxy;

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn version(&self, lab: &Lab) -> Result<String, Error> {
        ask_version(self.name(), &lab.programs.haproxy, "-v")
    }

    fn serves_many_certificates(&self) -> bool {
        true
    }

    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error> {
        let port = site.port;
        let upstream = upstream(site);
        let reuse = if site.behind.is_afresh() {
            "http-reuse never\n    option http-server-close"
        } else {
            // A new client takes an idle upstream connection too, as it does with every other peer.
            "http-reuse always"
        };
        let pair = site.lab.pair.both.display();
        let many = many(site)?;
        let clients = match site.clients {
            Clients::Anybody => String::new(),
            Clients::OfAuthority | Clients::Listed(_) => format!(
                " verify required ca-file {}",
                site.lab.pair.authority.display()
            ),
        };
        // HAProxy prefers its own order of suites; the client's first is made its first.
        let conf = site.write(
            "haproxy.cfg",
            &format!(
                r"global
    nbthread 1
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256

defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    option forwardfor
    {reuse}

frontend clients
    bind 127.0.0.1:{port} ssl crt {pair}{many}{clients} alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    default_backend pages

backend pages
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

/// Address and TLS of the server.
fn upstream(site: &Site<'_>) -> String {
    let (address, pair) = (site.upstream(), &site.lab.pair);
    if !site.behind.is_tls() {
        return address.to_string();
    }
    let mut text = format!(
        "{address} ssl verify required ca-file {} sni str(localhost) verifyhost localhost no-ssl-reuse \
         ciphersuites {SUITE}",
        pair.authority.display()
    );
    if site.behind.is_afresh() {
        write!(text, " crt {}", pair.client_both.display()).expect("text takes text");
    }
    text
}

/// A directory with one file for each of many certificates, as an argument of `bind`.
fn many(site: &Site<'_>) -> Result<String, Error> {
    if site.certificates.is_empty() {
        return Ok(String::new());
    }
    let dir = site.dir.join("certificates");
    fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
    for (number, pair) in site.certificates.iter().enumerate() {
        site.write(format!("certificates/{}.pem", name_of(number)), pair)?;
    }
    Ok(format!(" crt {}", dir.display()))
}
