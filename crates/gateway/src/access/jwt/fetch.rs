//! How key sets are fetched: one GET, bounded in time and size.
//!
//! Invariants:
//! - Where `external_services.oauth` asks for something this build cannot do, nothing is fetched at all.
//! - Redirections are not followed.

use std::{sync::OnceLock, time::Duration};

use portcullis_config::{GatewayConfig, causes};
use portcullis_tls::Roots;
use reqwest::{Client, redirect::Policy};

/// For one attempt, from the connection to the end of the answer.
const LIMIT: Duration = Duration::from_secs(15);

/// For the connection alone, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Most bytes of a key set.
const MOST: usize = 1 << 20;

/// Fetches key sets.
pub struct Fetcher {
    /// Nothing may be fetched without a protection that is asked for.
    forbidden: Option<&'static str>,
    /// Any certificate will do.
    accepts_any: bool,
    client: OnceLock<Result<Client, String>>,
}

impl Fetcher {
    /// As a configuration says.
    pub fn of(config: &GatewayConfig) -> Self {
        let services = &config.external_services;
        let proxies = services.global.enabled || services.oauth.proxy.enabled;
        let forbidden = if services.oauth.mtls.enabled {
            Some("external_services.oauth.mtls is set, and this version cannot do it yet")
        } else if proxies {
            Some("a proxy is set for it in external_services, and this version cannot use one yet")
        } else {
            None
        };
        Self {
            forbidden,
            accepts_any: config.upstream.jwt_insecure_skip_verify,
            client: OnceLock::new(),
        }
    }

    /// What is published at a URL.
    ///
    /// # Errors
    /// A text that says why it cannot be had.
    pub async fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        if let Some(reason) = self.forbidden {
            return Err(reason.to_owned());
        }
        let client = self.client.get_or_init(|| client(self.accepts_any));
        let client = client.as_ref().map_err(Clone::clone)?;
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => format!("no answer within {} s", LIMIT.as_secs()),
            // Without the URL, which may hold a password.
            false => causes(&error.without_url()),
        };
        let mut answer = client.get(url).send().await.map_err(failed)?;
        if answer.status().as_u16() != 200 {
            return Err(format!("it answers {}", answer.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > MOST {
                return Err(format!("it is larger than {MOST} bytes"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

fn client(accepts_any: bool) -> Result<Client, String> {
    let mut trusted = Vec::new();
    for root in Roots::of_system().certificates() {
        let der = root.to_der().map_err(|error| error.to_string())?;
        trusted.extend(reqwest::Certificate::from_der(&der));
    }
    if accepts_any {
        tracing::warn!(
            key = "jwt_ssl_insecure_skip_verify",
            "THE CERTIFICATES OF THOSE WHO PUBLISH KEYS FOR TOKENS ARE NOT VERIFIED: whoever stands in between \
             can make tokens for every API that fetches its keys"
        );
    }
    Client::builder()
        .tls_certs_only(trusted)
        .danger_accept_invalid_certs(accepts_any)
        .danger_accept_invalid_hostnames(accepts_any)
        .redirect(Policy::none())
        .timeout(LIMIT)
        .connect_timeout(CONNECT_LIMIT)
        .build()
        .map_err(|error| causes(&error))
}
