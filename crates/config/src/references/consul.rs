//! Values in the key-value store of HashiCorp Consul.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::FetchError;
use super::http::{Access, Server, is_false, is_true};
use super::settings::{Consul, TlsFiles};
use crate::secret::Secret;

const ADDRESS: &str = "127.0.0.1:8500";
/// As Consul's own clients wait for an ordinary question.
const LIMIT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;

/// A Consul during one round of questions: what it said is remembered.
pub(super) struct Client {
    server: Server,
    datacenter: String,
    known: HashMap<String, Result<Secret, FetchError>>,
    lists: HashMap<String, Result<Vec<(String, Secret)>, FetchError>>,
}

impl Client {
    pub(super) fn new(
        settings: &Consul,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, FetchError> {
        let or_variable = |text: &str, name: &str| match text {
            "" => variable(name).unwrap_or_default(),
            text => text.to_owned(),
        };
        let address = match or_variable(&settings.address, "CONSUL_HTTP_ADDR") {
            address if address.is_empty() => ADDRESS.to_owned(),
            address => address,
        };
        let by_variable = match is_true(variable("CONSUL_HTTP_SSL").as_deref()) {
            true => "https",
            false => "http",
        };
        let base = match (address.contains("://"), settings.scheme.as_str()) {
            (true, _) => address,
            (false, "") => format!("{by_variable}://{address}"),
            (false, scheme) => format!("{scheme}://{address}"),
        };
        let token = or_variable(settings.token.reveal(), "CONSUL_HTTP_TOKEN");
        let mut fields = Vec::new();
        if !token.is_empty() {
            fields.push(("x-consul-token", token.as_str()));
        }
        let tls = with_variables(settings.tls.clone(), variable);
        let login = (!settings.username.is_empty())
            .then_some((settings.username.as_str(), &settings.password));
        let server = Server::new(&Access {
            base: &base,
            fields: &fields,
            login,
            tls: &tls,
            limit: LIMIT,
            attempts: ATTEMPTS,
        })?;
        Ok(Self {
            server,
            datacenter: settings.datacenter.clone(),
            known: HashMap::new(),
            lists: HashMap::new(),
        })
    }

    /// The value of a key.
    pub(super) fn get(&mut self, key: &str) -> Result<Secret, FetchError> {
        if let Some(known) = self.known.get(key) {
            return known.clone();
        }
        let query = query(("raw", "true"), &self.datacenter);
        let found = self
            .server
            .ask(&["v1", "kv", key.trim_matches('/')], &query)
            .and_then(|body| match String::from_utf8(body) {
                Ok(text) => Ok(Secret::new(text)),
                Err(_) => Err(self.server.garbage(key, "text in UTF-8")),
            });
        self.known.insert(key.to_owned(), found.clone());
        found
    }

    /// Every key below `prefix` with its value; the keys without the prefix.
    pub(super) fn list(&mut self, prefix: &str) -> Result<Vec<(String, Secret)>, FetchError> {
        if let Some(known) = self.lists.get(prefix) {
            return known.clone();
        }
        let found = self.ask_list(prefix);
        self.lists.insert(prefix.to_owned(), found.clone());
        found
    }

    fn ask_list(&mut self, prefix: &str) -> Result<Vec<(String, Secret)>, FetchError> {
        let query = query(("recurse", "true"), &self.datacenter);
        let body = self.server.ask(&["v1", "kv", prefix], &query)?;
        let garbage = || self.server.garbage(prefix, "a list of keys");
        let entries: Vec<Json> = serde_json::from_slice(&body).map_err(|_| garbage())?;
        let mut found = Vec::new();
        for entry in &entries {
            let key = entry
                .get("Key")
                .and_then(Json::as_str)
                .ok_or_else(garbage)?;
            let below = key
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('/'));
            // The folder itself has no value.
            let (Some(name), Some(value)) = (
                below.filter(|name| !name.is_empty()),
                entry.get("Value").and_then(Json::as_str),
            ) else {
                continue;
            };
            let value = decoded(value).ok_or_else(garbage)?;
            found.push((name.to_owned(), Secret::new(value)));
        }
        Ok(found)
    }

    /// Whether it is there at all.
    pub(super) fn probe(&mut self) -> Result<(), FetchError> {
        self.server.ask(&["v1", "status", "leader"], &[]).map(drop)
    }
}

/// What the settings leave out of TLS, as the variables of Consul's own tools have it.
fn with_variables(mut tls: TlsFiles, variable: &dyn Fn(&str) -> Option<String>) -> TlsFiles {
    if tls.ca_file.is_none() && tls.ca_path.is_none() && tls.ca_pem.is_empty() {
        tls.ca_file = variable("CONSUL_CACERT").map(Into::into);
        tls.ca_path = variable("CONSUL_CAPATH").map(Into::into);
    }
    let has_pair = tls.cert_file.is_some() || !tls.cert_pem.is_empty();
    if !has_pair && tls.key_file.is_none() && tls.key_pem.is_empty() {
        tls.cert_file = variable("CONSUL_CLIENT_CERT").map(Into::into);
        tls.key_file = variable("CONSUL_CLIENT_KEY").map(Into::into);
    }
    if tls.address.is_empty() {
        tls.address = variable("CONSUL_TLS_SERVER_NAME").unwrap_or_default();
    }
    tls.insecure_skip_verify |= is_false(variable("CONSUL_HTTP_SSL_VERIFY").as_deref());
    tls
}

fn query<'a>(what: (&'a str, &'a str), datacenter: &'a str) -> Vec<(&'a str, &'a str)> {
    let datacenter = (!datacenter.is_empty()).then_some(("dc", datacenter));
    std::iter::once(what).chain(datacenter).collect()
}

/// Text in base64, as Consul lists values.
fn decoded(base64: &str) -> Option<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = base64.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    let (mut collected, mut bits) = (0u32, 0);
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        collected = collected << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(collected >> bits & 0xff).ok()?);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_length_is_decoded_and_other_text_is_not() {
        for (base64, text) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("w6k=", "é"),
        ] {
            assert_eq!(decoded(base64).as_deref(), Some(text));
        }
        assert_eq!(decoded("a b"), None);
        assert_eq!(decoded("/w=="), None);
    }
}
