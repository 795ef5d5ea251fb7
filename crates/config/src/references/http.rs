//! Asking a server for a value over HTTP.
//!
//! Invariants: one question ends within its time limit, attempts that follow a failed one included;
//! a token goes to the server it was given for and to nobody else; no answer's body gets into a
//! message but the reason that a server gives for refusing.

use std::fs;
use std::io::Read as _;
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use openssl::pkey::PKey;
use reqwest::Url;
use reqwest::blocking::{Client, ClientBuilder};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;

use super::settings::TlsFiles;
use crate::causes::causes;
use crate::secret::Secret;

/// No value is larger.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Why a server gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Its settings cannot be used.
    #[error("cannot be asked for: {0}")]
    Settings(String),
    /// It cannot be reached.
    #[error("cannot be asked for: {address} cannot be reached: {reason}")]
    Unreachable {
        /// The server.
        address: String,
        /// Why.
        reason: String,
    },
    /// It takes too long.
    #[error("cannot be asked for: {address} did not answer within {} s", limit.as_secs_f32())]
    Slow {
        /// The server.
        address: String,
        /// The time limit.
        limit: Duration,
    },
    /// It does not let us.
    #[error("is refused by {address} (403): {reason}; look at the token and what it may read")]
    Denied {
        /// The server.
        address: String,
        /// What it says.
        reason: String,
    },
    /// It has no such value.
    #[error("leads to nothing: {address} has no `{path}`")]
    Missing {
        /// The server.
        address: String,
        /// What was asked for.
        path: String,
    },
    /// It is there and does not serve.
    #[error("cannot be asked for: {address} answers {status}: {reason}")]
    Status {
        /// The server.
        address: String,
        /// The status.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// Its answer makes no sense.
    #[error("cannot be asked for: {address} answers `{path}` with something else than {wanted}")]
    Garbage {
        /// The server.
        address: String,
        /// What was asked for.
        path: String,
        /// What was expected.
        wanted: &'static str,
    },
}

impl FetchError {
    /// Whether it may pass by itself. What a server does not have does not come back by waiting.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Missing { .. } | Self::Settings(_))
    }

    /// Whether the server as a whole is not to be had, so that asking for more is of no use.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Settings(_) => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Denied { .. } | Self::Missing { .. } | Self::Garbage { .. } => false,
        }
    }
}

/// A server that can be asked.
pub(super) struct Server {
    client: Client,
    base: Url,
    fields: HeaderMap,
    login: Option<(String, Secret)>,
    limit: Duration,
    attempts: u32,
    outage: Option<FetchError>,
}

/// How a server is asked.
pub(super) struct Access<'a> {
    /// Scheme, host and port.
    pub(super) base: &'a str,
    /// Fields that prove who asks.
    pub(super) fields: &'a [(&'static str, &'a str)],
    /// User and password.
    pub(super) login: Option<(&'a str, &'a Secret)>,
    /// Authorities, client certificate.
    pub(super) tls: &'a TlsFiles,
    /// For one question.
    pub(super) limit: Duration,
    /// How often, at most.
    pub(super) attempts: u32,
}

impl Server {
    pub(super) fn new(access: &Access<'_>) -> Result<Self, FetchError> {
        let settings = |text: String| FetchError::Settings(text);
        let mut base: Url = access
            .base
            .parse()
            .ok()
            .filter(|url: &Url| {
                matches!(url.scheme(), "http" | "https") && url.host_str().is_some()
            })
            .ok_or_else(|| settings(format!("`{}` is no address of a server", access.base)))?;
        let mut fields = HeaderMap::new();
        for (name, value) in access.fields {
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                settings("the token holds characters that no header field may have".to_owned())
            })?;
            value.set_sensitive(true);
            fields.insert(HeaderName::from_static(name), value);
        }
        let mut client = Client::builder().redirect(Policy::none());
        if base.scheme() == "https" {
            client = secured(client, access.tls)?;
            if !access.tls.address.is_empty() {
                client = named(client, &mut base, &access.tls.address)?;
            }
        }
        let client = client.build().map_err(|error| settings(causes(&error)))?;
        Ok(Self {
            client,
            base,
            fields,
            login: access
                .login
                .map(|(user, password)| (user.to_owned(), password.clone())),
            limit: access.limit,
            attempts: access.attempts.max(1),
            outage: None,
        })
    }

    /// Its address, for messages.
    pub(super) fn address(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Asks for `path` below the base. While it is known to be away the answer is that.
    pub(super) fn ask(
        &mut self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<u8>, FetchError> {
        if let Some(outage) = &self.outage {
            return Err(outage.clone());
        }
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts
                .pop_if_empty()
                .extend(path.iter().flat_map(|part| part.split('/')));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let answer = self.attempt(&url, &path.join("/"));
        if let Err(error) = &answer
            && error.is_outage()
        {
            self.outage = Some(error.clone());
        }
        answer
    }

    fn attempt(&self, url: &Url, path: &str) -> Result<Vec<u8>, FetchError> {
        let deadline = Instant::now() + self.limit;
        let mut pause = Duration::from_millis(100);
        let mut tried = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.once(url, path, left);
            let worth_again = answer.as_ref().is_err_and(FetchError::is_outage);
            let over = Instant::now() + pause >= deadline || tried >= self.attempts;
            if !worth_again || over {
                return answer;
            }
            tried += 1;
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    fn once(&self, url: &Url, path: &str, limit: Duration) -> Result<Vec<u8>, FetchError> {
        let mut url = url.clone();
        for _ in 0..2 {
            let mut request = self
                .client
                .get(url.clone())
                .headers(self.fields.clone())
                .timeout(limit);
            if let Some((user, password)) = &self.login {
                request = request.basic_auth(user, Some(password.reveal()));
            }
            let response = request.send().map_err(|error| self.failed(&error))?;
            let status = response.status().as_u16();
            if matches!(status, 307 | 308) {
                // A standby names the active server; the token goes there only if that is as safe.
                let next = response
                    .headers()
                    .get("location")
                    .and_then(|to| url.join(to.to_str().ok()?).ok());
                match next {
                    Some(next) if next.scheme() == url.scheme() || next.scheme() == "https" => {
                        url = next;
                        continue;
                    }
                    _ => {
                        return Err(self.status(
                            status,
                            "it leads to a place without TLS, or to none".to_owned(),
                        ));
                    }
                }
            }
            let mut body = Vec::new();
            response
                .take(LARGEST + 1)
                .read_to_end(&mut body)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::TimedOut => self.slow(),
                    _ => FetchError::Unreachable {
                        address: self.address(),
                        reason: error.to_string(),
                    },
                })?;
            if body.len() as u64 > LARGEST {
                return Err(self.garbage(path, "a value of at most 4 MiB"));
            }
            return match status {
                200 => Ok(body),
                404 => Err(FetchError::Missing {
                    address: self.address(),
                    path: path.to_owned(),
                }),
                403 => Err(FetchError::Denied {
                    address: self.address(),
                    reason: reason(&body),
                }),
                _ => Err(self.status(status, reason(&body))),
            };
        }
        Err(self.status(307, "it leads from one server to the next".to_owned()))
    }

    fn status(&self, status: u16, reason: String) -> FetchError {
        FetchError::Status {
            address: self.address(),
            status,
            reason,
        }
    }

    fn slow(&self) -> FetchError {
        FetchError::Slow {
            address: self.address(),
            limit: self.limit,
        }
    }

    fn failed(&self, error: &reqwest::Error) -> FetchError {
        if error.is_timeout() {
            return self.slow();
        }
        let why = causes(error);
        FetchError::Unreachable {
            address: self.address(),
            reason: format!("{why}{}", advice(&why)),
        }
    }

    pub(super) fn garbage(&self, path: &str, wanted: &'static str) -> FetchError {
        FetchError::Garbage {
            address: self.address(),
            path: path.to_owned(),
            wanted,
        }
    }
}

/// What a server says about refusing: the `errors` of its JSON, or the first line.
fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let errors = json
        .as_ref()
        .and_then(|json| json.get("errors")?.as_array());
    let text = match errors {
        Some(errors) => errors
            .iter()
            .filter_map(serde_json::Value::as_str)
            .collect::<Vec<_>>()
            .join("; "),
        None => String::from_utf8_lossy(body)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    match shown.is_empty() {
        true => "it gives no reason".to_owned(),
        false => shown,
    }
}

/// What to do about a handshake that failed, by the check that it failed at.
fn advice(why: &str) -> &'static str {
    let has = |words: &str| why.contains(words);
    if has("hostname mismatch") || has("IP address mismatch") {
        "; its certificate is for another name: dial that, or say it in `tls_config.address` \
         (CONSUL_TLS_SERVER_NAME, VAULT_TLS_SERVER_NAME)"
    } else if has("certificate has expired") {
        "; its certificate has to be renewed"
    } else if has("not yet valid") {
        "; compare the clocks of both machines"
    } else if has("certificate verify failed") {
        "; nobody who is trusted issued its certificate: name the authority in `tls_config.ca_file` \
         (CONSUL_CACERT, VAULT_CACERT)"
    } else if has("certificate required") || has("handshake failure") {
        "; it asks for a client certificate: set `tls_config.cert_file` and `key_file` \
         (CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY)"
    } else if has("alert unknown ca") || has("alert bad certificate") {
        "; it does not trust the authority of the client certificate"
    } else {
        ""
    }
}

/// Whether a variable switches something on, in the spellings that the servers' own tools take.
pub(super) fn is_true(value: Option<&str>) -> bool {
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Whether a variable switches something off.
pub(super) fn is_false(value: Option<&str>) -> bool {
    matches!(value, Some("0" | "f" | "F" | "false" | "FALSE" | "False"))
}

/// A private key in the one form that the client takes.
fn pkcs8(pem: &[u8]) -> Option<Vec<u8>> {
    // A passphrase would be asked for on the terminal.
    let key = PKey::private_key_from_pem_callback(pem, |_| Ok(0)).ok()?;
    key.private_key_to_pem_pkcs8().ok()
}

fn secured(mut client: ClientBuilder, tls: &TlsFiles) -> Result<ClientBuilder, FetchError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| {
            FetchError::Settings(format!("{} cannot be read: {error}", path.display()))
        })
    };
    let settings = |what: &str, error: &reqwest::Error| {
        FetchError::Settings(format!("{what} cannot be used: {}", causes(error)))
    };
    let mut authorities: Vec<(String, Vec<u8>)> = Vec::new();
    if let Some(file) = &tls.ca_file {
        authorities.push((file.display().to_string(), read(file)?));
    }
    if let Some(directory) = &tls.ca_path {
        let entries = fs::read_dir(directory).map_err(|error| {
            FetchError::Settings(format!("{} cannot be read: {error}", directory.display()))
        })?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort_unstable();
        for file in files.iter().filter(|file| file.is_file()) {
            authorities.push((file.display().to_string(), read(file)?));
        }
    }
    if !tls.ca_pem.is_empty() {
        authorities.push(("ca_pem".to_owned(), tls.ca_pem.clone().into_bytes()));
    }
    for (place, pem) in authorities {
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| settings(&place, &error))?;
        for certificate in certificates {
            client = client.add_root_certificate(certificate);
        }
    }
    let certificate = match (&tls.cert_file, tls.cert_pem.as_str()) {
        (Some(file), _) => Some(read(file)?),
        (None, "") => None,
        (None, pem) => Some(pem.as_bytes().to_owned()),
    };
    let key = match (&tls.key_file, tls.key_pem.reveal()) {
        (Some(file), _) => Some(read(file)?),
        (None, "") => None,
        (None, pem) => Some(pem.as_bytes().to_owned()),
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let key = pkcs8(&key).ok_or_else(|| {
                let reason = "the key of the client certificate cannot be used: a private key as PEM \
                              without a passphrase is expected";
                FetchError::Settings(reason.to_owned())
            })?;
            let identity = reqwest::Identity::from_pkcs8_pem(&certificate, &key)
                .map_err(|error| settings("the client certificate", &error))?;
            client = client.identity(identity);
        }
        (None, None) => {}
        _ => {
            return Err(FetchError::Settings(
                "a client certificate needs both certificate and key".to_owned(),
            ));
        }
    }
    if tls.insecure_skip_verify {
        client = client.tls_danger_accept_invalid_certs(true);
    }
    Ok(client)
}

/// Speaks to the host of `base` under another name, which its certificate has to be for.
fn named(client: ClientBuilder, base: &mut Url, name: &str) -> Result<ClientBuilder, FetchError> {
    let host = base.host_str().unwrap_or_default().to_owned();
    let port = base.port_or_known_default().unwrap_or(443);
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<_> = (bare, port)
        .to_socket_addrs()
        .map_err(|error| FetchError::Unreachable {
            address: base.as_str().trim_end_matches('/').to_owned(),
            reason: error.to_string(),
        })?
        .collect();
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    base.set_host(Some(name))
        .map_err(|_| FetchError::Settings(format!("`{name}` is no host name")))?;
    Ok(client.resolve_to_addrs(name, &addresses))
}
