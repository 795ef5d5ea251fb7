//! Values in HashiCorp Vault: key-value engines of version 1 and 2.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::FetchError;
use super::http::{Access, Server, is_true};
use super::settings::{TlsFiles, Vault};

const ADDRESS: &str = "https://127.0.0.1:8200";
/// A start or reload that waits longer helps nobody.
const LIMIT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 2;

/// A Vault during one round of questions: what it said is remembered.
pub(super) struct Client {
    server: Server,
    version_1: bool,
    mount_path: String,
    known: HashMap<String, Result<Map<String, Json>, FetchError>>,
}

impl Client {
    pub(super) fn new(
        settings: &Vault,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, FetchError> {
        let or_variable = |text: &str, name: &str| match text {
            "" => variable(name).unwrap_or_default(),
            text => text.to_owned(),
        };
        let agent = or_variable(&settings.agent_address, "VAULT_AGENT_ADDR");
        let address = match agent.as_str() {
            "" => or_variable(&settings.address, "VAULT_ADDR"),
            agent => agent.to_owned(),
        };
        let token = or_variable(settings.token.reveal(), "VAULT_TOKEN");
        if token.is_empty() {
            let reason = "Vault needs a token: set `kv.vault.token`, the `token` of the store, or VAULT_TOKEN";
            return Err(FetchError::Settings(reason.to_owned()));
        }
        let namespace = or_variable(&settings.namespace, "VAULT_NAMESPACE");
        let mut fields = vec![
            ("x-vault-token", token.as_str()),
            ("x-vault-request", "true"),
        ];
        if !namespace.is_empty() {
            fields.push(("x-vault-namespace", namespace.as_str()));
        }
        let tls = TlsFiles {
            ca_file: variable("VAULT_CACERT").map(Into::into),
            ca_path: variable("VAULT_CAPATH").map(Into::into),
            cert_file: variable("VAULT_CLIENT_CERT").map(Into::into),
            key_file: variable("VAULT_CLIENT_KEY").map(Into::into),
            address: variable("VAULT_TLS_SERVER_NAME").unwrap_or_default(),
            insecure_skip_verify: is_true(variable("VAULT_SKIP_VERIFY").as_deref()),
            ..TlsFiles::default()
        };
        let server = Server::new(&Access {
            base: match address.as_str() {
                "" => ADDRESS,
                address => address,
            },
            fields: &fields,
            login: None,
            tls: &tls,
            limit: settings.timeout.unwrap_or(LIMIT),
            attempts: 1 + settings.max_retries.unwrap_or(RETRIES),
        })?;
        Ok(Self {
            server,
            version_1: settings.version_1,
            mount_path: settings.mount_path.clone(),
            known: HashMap::new(),
        })
    }

    /// The fields of the secret at `path`, mount included and without the `data` of version 2.
    pub(super) fn read(&mut self, path: &str) -> Result<Map<String, Json>, FetchError> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let found = self.ask(path);
        self.known.insert(path.to_owned(), found.clone());
        found
    }

    fn ask(&mut self, path: &str) -> Result<Map<String, Json>, FetchError> {
        let (mount, rest) = self.split(path)?;
        let parts = match self.version_1 {
            true => vec!["v1", mount, rest],
            false => vec!["v1", mount, "data", rest],
        };
        let body = self.server.ask(&parts, &[])?;
        let garbage = || self.server.garbage(path, "the JSON of a secret");
        let mut answer: Json = serde_json::from_slice(&body).map_err(|_| garbage())?;
        let mut data = answer.get_mut("data").map(Json::take);
        if !self.version_1 {
            data = data.and_then(|mut data| data.get_mut("data").map(Json::take));
        }
        match data {
            Some(Json::Object(data)) => Ok(data),
            // The newest version of a secret has been deleted.
            Some(Json::Null) => Err(FetchError::Missing {
                address: self.server.address(),
                path: path.to_owned(),
            }),
            _ => Err(garbage()),
        }
    }

    /// Mount and path of a secret.
    fn split<'a>(&self, path: &'a str) -> Result<(&'a str, &'a str), FetchError> {
        let path = path.trim_matches('/');
        let split = match self.mount_path.as_str() {
            "" => path.split_once('/'),
            mount => path
                .strip_prefix(mount)
                .and_then(|rest| rest.strip_prefix('/'))
                .map(|rest| (&path[..mount.len()], rest)),
        };
        split.filter(|(_, rest)| !rest.is_empty()).ok_or_else(|| {
            FetchError::Settings(match self.mount_path.as_str() {
                "" => format!("`{path}` names no secret: MOUNT/PATH is expected"),
                mount => format!("`{path}` does not lie under the mount `{mount}`"),
            })
        })
    }

    /// Whether it is there at all.
    pub(super) fn probe(&mut self) -> Result<(), FetchError> {
        let whatever_it_is = [("standbyok", "true"), ("perfstandbyok", "true")];
        self.server
            .ask(&["v1", "sys", "health"], &whatever_it_is)
            .map(drop)
    }
}
