//! Where values are kept, as `secrets` and `kv` say.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::secret::Secret;
use crate::settings::Settings;
use crate::value::{GoDuration, Rejection};

/// Everything references may lead to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct References {
    /// Named texts (`secrets`).
    pub secrets: Vec<(String, Secret)>,
    /// Directory that `file://` may not leave (`kv.file.base_path`).
    pub file_base: Option<PathBuf>,
    /// `kv.vault`.
    pub vault: Vault,
    /// `kv.consul`.
    pub consul: Consul,
    /// `kv.stores`.
    pub stores: Vec<Store>,
}

/// A HashiCorp Vault. Empty members are taken from the variables of Vault's own tools.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vault {
    /// URL of the server.
    pub address: String,
    /// URL of an agent to be asked instead.
    pub agent_address: String,
    /// Attempts after the first that failed with the server; `None` for the default.
    pub max_retries: Option<u32>,
    /// For one value, all attempts together.
    pub timeout: Option<Duration>,
    /// What it asks for.
    pub token: Secret,
    /// The key-value engine is of version 1, not 2.
    pub version_1: bool,
    /// Where the engine is mounted; empty for the first part of a path.
    pub mount_path: String,
    /// Namespace of the Enterprise edition.
    pub namespace: String,
}

/// A HashiCorp Consul. Empty members are taken from the variables of Consul's own tools.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Consul {
    /// Host and port.
    pub address: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Datacenter to read from; empty for the agent's own.
    pub datacenter: String,
    /// ACL token.
    pub token: Secret,
    /// User of basic authentication; empty for none.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// TLS towards it.
    pub tls: TlsFiles,
}

/// TLS towards a source of values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TlsFiles {
    /// The name its certificate is for, when that is not its host.
    pub address: String,
    /// File of authorities.
    pub ca_file: Option<PathBuf>,
    /// Directory of authorities.
    pub ca_path: Option<PathBuf>,
    /// Authorities as PEM.
    pub ca_pem: String,
    /// File of the client certificate.
    pub cert_file: Option<PathBuf>,
    /// Client certificate as PEM.
    pub cert_pem: String,
    /// File of its key.
    pub key_file: Option<PathBuf>,
    /// Its key as PEM.
    pub key_pem: Secret,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// One entry of `kv.stores`.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// The name references use.
    pub name: String,
    /// The gateway does not start without it.
    pub required: bool,
    /// What it is.
    pub kind: StoreKind,
}

/// Kinds of stores.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreKind {
    /// Environment variables.
    Env {
        /// What every name begins with.
        prefix: String,
        /// Names are in capitals.
        uppercase: bool,
    },
    /// Texts in the configuration.
    Inline(Vec<(String, Secret)>),
    /// Files below a directory.
    File(PathBuf),
    /// A Vault.
    Vault(Box<Vault>),
    /// A Consul.
    Consul(Box<Consul>),
}

impl References {
    pub(crate) fn from_settings(settings: &Settings) -> Self {
        let vault = |name: &str| format!("kv.vault.{name}");
        let consul = |name: &str| format!("kv.consul.{name}");
        let tls = |name: &str| format!("kv.consul.tls_config.{name}");
        // Asked for so that the table of keys is complete: reading a value never waits for a change.
        let _ = settings.duration(&consul("wait_time"));
        let retries = settings.count(&vault("max_retries"));
        Self {
            secrets: settings.secrets("secrets"),
            file_base: settings.path("kv.file.base_path"),
            vault: Vault {
                address: settings.text(&vault("address")),
                agent_address: settings.text(&vault("agent_address")),
                max_retries: u32::try_from(retries).ok().filter(|count| *count > 0),
                timeout: settings.duration(&vault("timeout")),
                token: settings.secret(&vault("token")),
                version_1: settings.integer(&vault("kv_version")) == 1,
                mount_path: String::new(),
                namespace: String::new(),
            },
            consul: Consul {
                address: settings.text(&consul("address")),
                scheme: settings.text(&consul("scheme")),
                datacenter: settings.text(&consul("datacenter")),
                token: settings.secret(&consul("token")),
                username: settings.text(&consul("http_auth.username")),
                password: settings.secret(&consul("http_auth.password")),
                tls: TlsFiles {
                    address: settings.text(&tls("address")),
                    ca_file: settings.path(&tls("ca_file")),
                    ca_path: settings.path(&tls("ca_path")),
                    ca_pem: settings.text(&tls("ca_pem")),
                    cert_file: settings.path(&tls("cert_file")),
                    cert_pem: settings.text(&tls("cert_pem")),
                    key_file: settings.path(&tls("key_file")),
                    key_pem: settings.secret(&tls("key_pem")),
                    insecure_skip_verify: settings.bool(&tls("insecure_skip_verify")),
                },
            },
            stores: settings.stores("kv.stores"),
        }
    }
}

/// Judges `kv.stores`.
pub(crate) fn stores_from_json(json: Json) -> Result<Vec<Store>, Rejection> {
    let Json::Object(members) = json else {
        return Err(Rejection::new("is not an object of stores"));
    };
    members
        .into_iter()
        .map(|(name, json)| {
            store(&name, json).map_err(|rejection| Rejection {
                inside: match rejection.inside.as_str() {
                    "" => name.clone(),
                    inside => format!("{name}.{inside}"),
                },
                ..rejection
            })
        })
        .collect()
}

fn store(name: &str, json: Json) -> Result<Store, Rejection> {
    if name.is_empty() || name.contains(['/', ':', '}', '#']) {
        return Err(Rejection::new(
            "is no name for a store: it may not be empty or hold `/`, `:`, `#` or `}`",
        ));
    }
    let Json::Object(members) = json else {
        return Err(Rejection::new("is not an object"));
    };
    let mut members = Members::of(members, "");
    let kind = members.text("type")?;
    let required = members.bool("required")?;
    let config = match members.take("config") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(config)) => config,
        Some(_) => return Err(Rejection::at("config", "is not an object")),
    };
    members.nothing_else()?;
    let mut config = Members::of(config, "config.");
    let kind = match kind.as_str() {
        "env" => {
            let prefix = config.text("prefix")?;
            let uppercase = config.bool("uppercase")?;
            if !config.bool("allow_no_prefix")? && prefix.is_empty() {
                let message = "is empty, so a reference could read every variable of the process; set it, or `allow_no_prefix`";
                return Err(Rejection::at("config.prefix", message));
            }
            StoreKind::Env { prefix, uppercase }
        }
        "inline" => StoreKind::Inline(match config.take("data") {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Object(data)) => data
                .into_iter()
                .map(|(name, value)| (name, Secret::new(text_of(&value))))
                .collect(),
            Some(_) => return Err(Rejection::at("config.data", "is not an object")),
        }),
        "file" => {
            let base = PathBuf::from(config.text("base_path")?);
            if !base.is_absolute() {
                let message = "has to be the absolute path of a directory";
                return Err(Rejection::at("config.base_path", message));
            }
            StoreKind::File(base)
        }
        "hashicorp_vault" => StoreKind::Vault(Box::new(Vault {
            address: config.text("address")?,
            agent_address: config.text("agent_address")?,
            max_retries: config.count("max_retries")?,
            timeout: config.duration("timeout")?,
            token: Secret::new(config.text("token")?),
            version_1: config.count("kv_version")? == Some(1),
            mount_path: config.text("mount_path")?.trim_matches('/').to_owned(),
            namespace: config.text("namespace")?,
        })),
        "hashicorp_consul" => {
            let mut login = config.object("http_auth")?;
            let mut tls = config.object("tls_config")?;
            config.duration("wait_time")?;
            let consul = Consul {
                address: config.text("address")?,
                scheme: config.text("scheme")?,
                datacenter: config.text("datacenter")?,
                token: Secret::new(config.text("token")?),
                username: login.text("username")?,
                password: Secret::new(login.text("password")?),
                tls: TlsFiles {
                    address: tls.text("address")?,
                    ca_file: tls.path("ca_file")?,
                    ca_path: tls.path("ca_path")?,
                    ca_pem: tls.text("ca_pem")?,
                    cert_file: tls.path("cert_file")?,
                    cert_pem: tls.text("cert_pem")?,
                    key_file: tls.path("key_file")?,
                    key_pem: Secret::new(tls.text("key_pem")?),
                    insecure_skip_verify: tls.bool("insecure_skip_verify")?,
                },
            };
            login.nothing_else()?;
            tls.nothing_else()?;
            StoreKind::Consul(Box::new(consul))
        }
        "" => return Err(Rejection::at("type", "is missing")),
        _ => return Err(Rejection::at("type", "is not a kind of store that is here")),
    };
    config.nothing_else()?;
    Ok(Store {
        name: name.to_owned(),
        required,
        kind,
    })
}

/// The text of a value that is kept as JSON.
pub(super) fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// Members that are taken one by one, so that what is left over can be told. Messages hold no
/// value: any of them may be a secret.
struct Members {
    members: Map<String, Json>,
    at: &'static str,
}

impl Members {
    fn of(members: Map<String, Json>, at: &'static str) -> Self {
        Self { members, at }
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        self.members.remove(name)
    }

    fn wrong(&self, name: &str, message: &str) -> Rejection {
        Rejection::at(format!("{}{name}", self.at), message)
    }

    fn text(&mut self, name: &str) -> Result<String, Rejection> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(String::new()),
            Some(Json::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(name, "is not a text")),
        }
    }

    fn path(&mut self, name: &str) -> Result<Option<PathBuf>, Rejection> {
        let text = self.text(name)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn bool(&mut self, name: &str) -> Result<bool, Rejection> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(false),
            Some(Json::Bool(value)) => Ok(value),
            Some(_) => Err(self.wrong(name, "is neither true nor false")),
        }
    }

    /// A count; `None` for 0, which means the default.
    fn count(&mut self, name: &str) -> Result<Option<u32>, Rejection> {
        match self.take(name) {
            None | Some(Json::Null) => Ok(None),
            Some(json) => match json.as_u64().and_then(|count| u32::try_from(count).ok()) {
                Some(count) => Ok(Some(count).filter(|count| *count > 0)),
                None => Err(self.wrong(name, "is not a whole number from 0")),
            },
        }
    }

    fn duration(&mut self, name: &str) -> Result<Option<Duration>, Rejection> {
        let read = match self.take(name) {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(text)) => GoDuration::parse(&text),
            Some(json) => json.as_i64().and_then(GoDuration::from_number),
        };
        match read {
            Some(GoDuration(time)) => Ok(Some(time).filter(|time| !time.is_zero())),
            None => Err(self.wrong(name, "is not a duration such as \"5s\"")),
        }
    }

    fn object(&mut self, name: &'static str) -> Result<Self, Rejection> {
        let at = match name {
            "http_auth" => "config.http_auth.",
            _ => "config.tls_config.",
        };
        match self.take(name) {
            None | Some(Json::Null) => Ok(Self::of(Map::new(), at)),
            Some(Json::Object(members)) => Ok(Self::of(members, at)),
            Some(_) => Err(self.wrong(name, "is not an object")),
        }
    }

    fn nothing_else(&self) -> Result<(), Rejection> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.wrong(name, "is not a member that is known here")),
        }
    }
}
