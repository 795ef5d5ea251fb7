//! How to reach a gateway's Control API, and what went wrong when it could not be.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use portcullis_config::{GatewayConfig, Secret, causes};
use portcullis_pki::CertificateFacts;
use reqwest::{Method, Url, blocking::Client, redirect::Policy};
use serde_json::Value;

use super::{
    super::{CertError, arguments::GatewayAccess, input, note},
    trust,
};
use crate::{configuration, exit::Exit};

const GATEWAY: &str = "PORTCULLIS_GATEWAY";
const SECRET: &str = "PORTCULLIS_SECRET";
/// What a removed certificate was used by.
const WARNING: &str = "x-portcullis-warning";

/// Why a gateway did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody said which one.
    #[error(
        "which gateway? give --gateway URL (or PORTCULLIS_GATEWAY), or --conf tyk.conf for one on this machine"
    )]
    NoGateway,
    /// Nobody said its secret.
    #[error(
        "the gateway's secret is needed: give --secret-file FILE, PORTCULLIS_SECRET, or --conf tyk.conf"
    )]
    NoSecret,
    /// Its address is no URL.
    #[error("`{0}` is not a gateway's address: https://HOST:PORT or http://HOST:PORT is expected")]
    Address(String),
    /// The client's own settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// It cannot be connected to.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The gateway.
        url: String,
        /// The causes, outermost first.
        why: String,
    },
    /// Its certificate is not good.
    #[error("{url} is not trusted: {why}\n  hint: {hint}")]
    Untrusted {
        /// The gateway.
        url: String,
        /// What the library said.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// It takes too long.
    #[error("{url} did not answer within {seconds} s")]
    Slow {
        /// The gateway.
        url: String,
        /// The time limit.
        seconds: u64,
    },
    /// It refuses, and says why.
    #[error("the gateway refuses ({status}): {message}")]
    Refused {
        /// Status of its answer.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// It does not accept the secret.
    #[error("the gateway does not accept the secret (403): {0}")]
    WrongSecret(String),
    /// Its answer is not one of a gateway.
    #[error("this is no answer of a gateway: {0}")]
    Strange(String),
    /// It is one without this.
    #[error("this gateway has no {0}: a Tyk gateway, or an older version")]
    Lacks(&'static str),
    /// A text that is no id.
    #[error("`{0}` is no certificate id: an organisation and 64 hex digits are expected")]
    Id(String),
}

impl RemoteError {
    /// The exit status that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoGateway
            | Self::NoSecret
            | Self::Address(_)
            | Self::Settings(_)
            | Self::Id(_) => Exit::Configuration,
            Self::Unreachable { .. }
            | Self::Untrusted { .. }
            | Self::Slow { .. }
            | Self::Refused { .. }
            | Self::WrongSecret(_)
            | Self::Strange(_)
            | Self::Lacks(_) => Exit::Remote,
        }
    }
}

/// A gateway that can be asked.
pub struct Gateway {
    client: Client,
    base: Url,
    secret: Secret,
    timeout: u64,
}

impl Gateway {
    /// The gateway the arguments and the environment name.
    ///
    /// # Errors
    /// [`CertError`]; nothing was sent to anybody.
    pub fn reach(access: &GatewayAccess) -> Result<Self, CertError> {
        let config = match &access.conf {
            Some(conf) => Some(
                configuration::read(Some(conf), None)
                    .map_err(CertError::Configuration)?
                    .config,
            ),
            None => None,
        };
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let mut client = Client::builder()
            .redirect(Policy::none())
            .timeout(Duration::from_secs(access.timeout))
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        let base = match (&access.gateway, &config) {
            (Some(url), _) => parse(url)?,
            (None, Some(config)) => {
                let (url, at) = local(config)?;
                client = client
                    .no_proxy()
                    .resolve(url.host_str().unwrap_or_default(), at);
                url
            }
            (None, None) => parse(&variable(GATEWAY).ok_or(RemoteError::NoGateway)?)?,
        };
        let secret = match (
            &access.secret_file,
            &access.secret,
            variable(SECRET),
            &config,
        ) {
            (Some(file), ..) => Secret::new(input::secret(file)?),
            (None, Some(text), ..) => {
                note(
                    "warning: every user of this machine can read --secret in the list of processes; \
                     --secret-file and PORTCULLIS_SECRET keep it to yourself",
                );
                Secret::new(text.as_str())
            }
            (None, None, Some(text), _) => Secret::new(text),
            (None, None, None, Some(config)) => config.security.secret.clone(),
            (None, None, None, None) => return Err(RemoteError::NoSecret.into()),
        };
        if base.scheme() == "http" && !is_loopback(&base) {
            note("warning: the secret goes to the gateway in clear text; use https://");
        }
        client = trust::apply(client, access)?;
        let client = client
            .build()
            .map_err(|error| RemoteError::Settings(causes(&error)))?;
        Ok(Self {
            client,
            base,
            secret,
            timeout: access.timeout,
        })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, RemoteError> {
        self.ask(Method::GET, path, query, None)
    }

    /// Removes something; what the gateway warns of.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn delete(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<String>, RemoteError> {
        let (_, warning) = self.exchange(Method::DELETE, path, query, None)?;
        Ok(warning)
    }

    /// Sends something.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn post(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Value, RemoteError> {
        self.ask(Method::POST, path, query, Some(body))
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Value, RemoteError> {
        let (answer, _) = self.exchange(method, path, query, body)?;
        Ok(answer)
    }

    /// Asks; the answer, and what the gateway warns of.
    fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<(Value, Option<String>), RemoteError> {
        let mut url = self.base.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{path}"));
        let given = query.iter().filter(|(_, value)| !value.is_empty());
        let given: Vec<_> = given.collect();
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
        let mut secret =
            reqwest::header::HeaderValue::from_str(self.secret.reveal()).map_err(|_| {
                RemoteError::Settings(
                    "the secret cannot be sent in a header field: it holds control characters"
                        .to_owned(),
                )
            })?;
        secret.set_sensitive(true);
        let mut request = self
            .client
            .request(method, url)
            .header("X-Tyk-Authorization", secret);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().map_err(|error| self.failed(&error))?;
        let status = response.status().as_u16();
        let warning = response.headers().get(WARNING);
        let warning = warning.and_then(|warning| warning.to_str().ok());
        let warning = warning.map(portcullis_pki::names::printable);
        let text = response.text().map_err(|error| self.failed(&error))?;
        Ok((answer(status, &text)?, warning))
    }

    fn failed(&self, error: &reqwest::Error) -> RemoteError {
        let url = self.base.as_str().trim_end_matches('/').to_owned();
        let why = causes(error);
        if error.is_timeout() {
            return RemoteError::Slow {
                url,
                seconds: self.timeout,
            };
        }
        match hint(&why) {
            Some(hint) => RemoteError::Untrusted { url, why, hint },
            None => RemoteError::Unreachable { url, why },
        }
    }
}

/// What to do about a handshake that failed at verification.
fn hint(why: &str) -> Option<&'static str> {
    let has = |words: &str| why.to_ascii_lowercase().contains(words);
    if has("hostname mismatch") || has("ip address mismatch") {
        Some("call it by a name its certificate is for")
    } else if has("expired") {
        Some("its certificate has to be renewed")
    } else if has("not yet valid") {
        Some("compare the clocks of both machines")
    } else if has("verify failed") || has("self-signed") || has("self signed") || has("issuer") {
        Some("give the authority that signed its certificate with --cacert")
    } else {
        None
    }
}

/// An answer's JSON, or what the gateway refuses with.
fn answer(status: u16, text: &str) -> Result<Value, RemoteError> {
    let json: Option<Value> = serde_json::from_str(text).ok();
    if status == 200 {
        return json.ok_or_else(|| RemoteError::Strange("its body is not JSON".to_owned()));
    }
    let message = json
        .as_ref()
        .and_then(|json| json.get("message").or_else(|| json.get("error")))
        .and_then(Value::as_str);
    let message = match message {
        Some(message) => portcullis_pki::names::printable(message),
        None => {
            let line = text.lines().next().unwrap_or_default();
            portcullis_pki::names::printable(&line.chars().take(200).collect::<String>())
        }
    };
    Err(match status {
        403 if message.starts_with("Attempted administrative access") => {
            RemoteError::WrongSecret(message)
        }
        _ => RemoteError::Refused { status, message },
    })
}

fn parse(text: &str) -> Result<Url, RemoteError> {
    let url: Option<Url> = text.trim().parse().ok();
    url.filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
    })
    .ok_or_else(|| RemoteError::Address(portcullis_pki::names::printable(text)))
}

/// Where the gateway of a configuration listens for its Control API, by a name that its
/// certificate is for.
fn local(config: &GatewayConfig) -> Result<(Url, SocketAddr), RemoteError> {
    let port = config.listen.control_port.unwrap_or(config.listen.port);
    let address = match config.listen.address {
        Some(address) if !address.is_unspecified() => address,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let at = SocketAddr::new(address, port);
    let url = match config.server.use_ssl {
        false => format!("http://{at}"),
        true => {
            let named = config
                .server
                .ssl_certificates
                .iter()
                .find_map(|reference| first_name(config, reference));
            format!(
                "https://{}:{port}",
                named.unwrap_or_else(|| "localhost".to_owned())
            )
        }
    };
    Ok((parse(&url)?, at))
}

/// The first host name a certificate of the configuration is for; `localhost` when it is among them.
fn first_name(config: &GatewayConfig, reference: &str) -> Option<String> {
    let text = match portcullis_pki::pem::looks_like_pem(reference) {
        true => reference.as_bytes().to_owned(),
        false => fs::read(config.base.resolve(reference)).ok()?,
    };
    let ders = portcullis_pki::pem::certificate_ders(&text);
    let leaf = openssl::x509::X509::from_der(ders.first()?).ok()?;
    let facts = CertificateFacts::of(&leaf).ok()?;
    if facts.covers("localhost") {
        return Some("localhost".to_owned());
    }
    facts
        .dns_names
        .into_iter()
        .map(|name| match name.strip_prefix("*.") {
            // Any name the wildcard stands for does.
            Some(parent) => format!("gateway.{parent}"),
            None => name,
        })
        .next()
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_gateways_are_urls_without_a_user_or_a_query() {
        for text in ["https://gw:8443", "http://[::1]:8080/", "https://gw/tenant"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["gw:8443", "ftp://gw", "https://u:p@gw", "https://gw?x", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_json_or_the_words_of_the_gateway() {
        assert_eq!(
            answer(200, "{\"certs\":null}\n").unwrap()["certs"],
            Value::Null
        );
        assert!(matches!(
            answer(200, "<html>"),
            Err(RemoteError::Strange(_))
        ));
        let refused = answer(
            403,
            r#"{"status":"error","message":"certificate is expired"}"#,
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the gateway refuses (403): certificate is expired"
        );
        let wrong = answer(
            403,
            r#"{"status":"error","message":"Attempted administrative access with invalid or missing key!"}"#,
        );
        assert!(matches!(wrong, Err(RemoteError::WrongSecret(_))));
        assert!(matches!(
            answer(404, "404 page not found\n"),
            Err(RemoteError::Refused { status: 404, .. })
        ));
    }
}
