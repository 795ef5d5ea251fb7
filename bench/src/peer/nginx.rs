//! nginx: one worker, `proxy_pass` to a kept-alive upstream.

use std::fmt::Write as _;

use super::{Peer, SUITE, ask_version};
use crate::certificate::name_of;
use crate::error::Error;
use crate::lab::{Clients, Lab, Site};
use crate::process::Invocation;

pub(super) struct Nginx;

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn version(&self, lab: &Lab) -> Result<String, Error> {
        ask_version(self.name(), &lab.programs.nginx, "-v")
    }

    fn serves_many_certificates(&self) -> bool {
        true
    }

    fn set_up(&self, site: &Site<'_>) -> Result<Invocation, Error> {
        let dir = site.dir.display();
        let port = site.port;
        let upstream = site.upstream();
        let certificate = site.lab.pair.certificate.display();
        let key = site.lab.pair.key.display();
        // Root's nginx would drop to a user who cannot enter the temporary directory.
        let user = if rustix::process::geteuid().is_root() {
            "user root root;"
        } else {
            ""
        };
        let hosts = hosts(site)?;
        let clients = match site.clients {
            Clients::Anybody => String::new(),
            Clients::OfAuthority | Clients::Listed(_) => format!(
                "ssl_client_certificate {}; ssl_verify_client on;",
                site.lab.pair.authority.display()
            ),
        };
        let scheme = if site.behind.is_tls() {
            "https"
        } else {
            "http"
        };
        let tls = tls(site);
        let kept = if site.behind.is_afresh() {
            ""
        } else {
            "keepalive 256; keepalive_requests 1000000000; keepalive_timeout 600s;"
        };
        let conf = site.write(
            "nginx.conf",
            &format!(
                r#"{user}
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
worker_processes 1;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;

    # No request may find its connection closed for age or use.
    keepalive_timeout 600s;
    keepalive_requests 1000000000;

    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;

    upstream pages {{
        server {upstream};
        {kept}
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name localhost;
        {clients}
        location / {{
            proxy_pass {scheme}://pages;
            {tls}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            # A response is never written to disk.
            proxy_max_temp_file_size 0;
        }}
    }}
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
    {hosts}
}}
"#
            ),
        )?;
        Ok(Invocation::of(&site.lab.programs.nginx)
            .arg("-e")
            .arg(site.dir.join("start.log"))
            .arg("-p")
            .arg(&site.dir)
            .arg("-c")
            .arg(conf))
    }
}

/// TLS towards the upstream.
fn tls(site: &Site<'_>) -> String {
    if !site.behind.is_tls() {
        return String::new();
    }
    let pair = &site.lab.pair;
    let mut text = format!(
        "proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; \
         proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_session_reuse off; \
         proxy_ssl_conf_command Ciphersuites {SUITE};",
        pair.authority.display()
    );
    if site.behind.is_afresh() {
        let (certificate, key) = (pair.client.0.display(), pair.client.1.display());
        write!(
            text,
            " proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key};"
        )
        .expect("text takes text");
    }
    text
}

/// A server for each of many certificates.
fn hosts(site: &Site<'_>) -> Result<String, Error> {
    let mut text = String::new();
    for (number, pair) in site.certificates.iter().enumerate() {
        let (name, port) = (name_of(number), site.port);
        let file = site.write(format!("{name}.pem"), pair)?;
        let file = file.display();
        writeln!(
            text,
            "server {{ listen 127.0.0.1:{port} ssl http2; server_name {name}; ssl_certificate {file}; \
             ssl_certificate_key {file}; location / {{ proxy_pass http://pages; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; }} }}"
        )
        .expect("text takes text");
    }
    Ok(text)
}
