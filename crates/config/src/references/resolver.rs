//! Gives references their values.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value as Json};

use super::settings::{References, StoreKind, text_of};
use super::{FetchError, ReferenceError, consul, files, vault};
use crate::paths::BasePaths;
use crate::secret::Secret;

/// What variables of `tyk.conf` references begin with.
const VARIABLE: &str = "TYK_SECRET_";
/// Where `consul://` of API definitions looks.
const CONSUL_FOLDER: &str = "tyk-apis";
/// Where `vault://` of API definitions looks.
const VAULT_SECRET: &str = "secret/tyk-apis";

type Variable = dyn Fn(&str) -> Option<String> + Send;

/// Gives references their values, in rounds: what was asked once in a round is not asked again.
///
/// Asking blocks, within the time limits of the sources.
pub struct Resolver {
    pub(super) references: References,
    base: BasePaths,
    variable: Box<Variable>,
    round: Round,
    /// The value that a reference last had.
    pub(super) last: HashMap<String, Secret>,
    /// A source was away in this round.
    pub(super) away: bool,
}

/// Clients of this round, made when they are first needed.
#[derive(Default)]
struct Round {
    vault: Option<Result<vault::Client, FetchError>>,
    consul: Option<Result<consul::Client, FetchError>>,
    vaults: HashMap<String, Result<vault::Client, FetchError>>,
    consuls: HashMap<String, Result<consul::Client, FetchError>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver with nothing asked yet. `variable` is the environment; relative paths are meant
    /// as `base` says.
    pub fn new(
        references: References,
        base: BasePaths,
        variable: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> Self {
        Self {
            references,
            base,
            variable: Box::new(variable),
            round: Round::default(),
            last: HashMap::new(),
            away: false,
        }
    }

    /// Begins a round: every value is asked for anew.
    pub fn begin(&mut self) {
        self.round = Round::default();
        self.away = false;
    }

    /// Whether a value was missed in this round that may be there later.
    #[must_use]
    pub fn missed_something(&self) -> bool {
        self.away
    }

    /// The value of a text of `tyk.conf`; `None` when it is no reference.
    pub(crate) fn setting(&mut self, text: &str) -> Option<Result<Secret, ReferenceError>> {
        if text.contains("$kv{") {
            return Some(self.inline(text));
        }
        let (scheme, rest) = text.split_once("://")?;
        let value = match scheme {
            "env" => self.variable_of_settings(rest),
            "secrets" => self.secret(rest),
            "file" => match self.references.file_base.clone() {
                Some(base) => files::below(&base, rest, "kv.file.base_path"),
                None => files::text(self.base.resolve(rest)),
            },
            "consul" => self.consul().and_then(|consul| Ok(consul.get(rest)?)),
            "vault" => self.vault_setting(rest),
            "kv" => self.of_store(rest),
            // A Dashboard's address is no reference.
            _ => return None,
        };
        Some(value.and_then(not_empty))
    }

    /// What a reference to a certificate stands for: the path of a file, so that a change of it is
    /// noticed, or else PEM text. `None` when it is a path, an id or PEM already.
    pub(crate) fn certificate(&mut self, text: &str) -> Option<Result<String, ReferenceError>> {
        if text.contains("-----BEGIN") {
            return None;
        }
        let Some(path) = text.strip_prefix("file://") else {
            let value = self.setting(text)?;
            return Some(value.map(|pem| pem.reveal().to_owned()));
        };
        let path = match &self.references.file_base {
            Some(base) => match files::inside(base, path, "kv.file.base_path") {
                Ok(path) => path,
                Err(error) => return Some(Err(error)),
            },
            None => self.base.resolve(path),
        };
        Some(Ok(path.to_string_lossy().into_owned()))
    }

    /// A text with every `$kv{store:path}` replaced.
    fn inline(&mut self, text: &str) -> Result<Secret, ReferenceError> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("$kv{") {
            let wanted = "$kv{STORE:PATH}";
            let (inner, behind) = after
                .split_once('}')
                .ok_or(ReferenceError::Form { wanted })?;
            whole.push_str(before);
            whole.push_str(self.token(inner)?.reveal());
            rest = behind;
        }
        whole.push_str(rest);
        not_empty(Secret::new(whole))
    }

    /// What stands between the braces of `$kv{…}`.
    pub(super) fn token(&mut self, inner: &str) -> Result<Secret, ReferenceError> {
        let wanted = "$kv{STORE:PATH}";
        let (store, path) = inner
            .split_once(':')
            .ok_or(ReferenceError::Form { wanted })?;
        self.store_value(store, path).and_then(not_empty)
    }

    /// What stands behind `kv://`.
    pub(super) fn of_store(&mut self, rest: &str) -> Result<Secret, ReferenceError> {
        let wanted = "kv://STORE/PATH";
        let (store, path) = rest
            .split_once('/')
            .ok_or(ReferenceError::Form { wanted })?;
        self.store_value(store, path).and_then(not_empty)
    }

    pub(super) fn secret(&self, name: &str) -> Result<Secret, ReferenceError> {
        let mut secrets = self.references.secrets.iter();
        secrets
            .find(|(known, _)| known == name)
            .map(|(_, secret)| secret.clone())
            .ok_or_else(|| ReferenceError::NoSecret {
                name: name.to_owned(),
            })
    }

    fn variable_of_settings(&self, name: &str) -> Result<Secret, ReferenceError> {
        self.variable(format!("{VARIABLE}{}", name.to_uppercase()))
    }

    fn variable(&self, name: String) -> Result<Secret, ReferenceError> {
        (self.variable)(&name)
            .map(Secret::new)
            .ok_or(ReferenceError::NoVariable { name })
    }

    /// `env://` of an API definition: the variable as it is written or, when it is not set, the one
    /// that `tyk.conf` would mean.
    pub(super) fn variable_of_definition(&self, name: &str) -> Result<Secret, ReferenceError> {
        let literal = self.variable(name.to_owned()).and_then(not_empty);
        literal.or_else(|error| {
            let of_settings = self.variable_of_settings(name).and_then(not_empty);
            of_settings.map_err(|_| error)
        })
    }

    /// `file://` of an API definition.
    pub(super) fn file_of_definition(&self, path: &str) -> Result<Secret, ReferenceError> {
        let key = "kv.file.base_path";
        let base = self.references.file_base.as_ref();
        let base = base.ok_or(ReferenceError::NoBase { key })?;
        files::below(base, path, key).and_then(not_empty)
    }

    /// Everything `consul://` of API definitions can mean.
    pub(super) fn consul_names(&mut self) -> Result<Vec<(String, Secret)>, ReferenceError> {
        let consul = self.consul()?;
        match consul.list(CONSUL_FOLDER) {
            Err(FetchError::Missing { .. }) => Ok(Vec::new()),
            list => Ok(list?),
        }
    }

    /// Everything `vault://` of API definitions can mean.
    pub(super) fn vault_names(&mut self) -> Result<Map<String, Json>, ReferenceError> {
        Ok(self.vault()?.read(VAULT_SECRET)?)
    }

    /// Asks the stores that are `required` whether they are there; why not, by name.
    pub(crate) fn missing_stores(&mut self) -> Vec<(String, FetchError)> {
        let required: Vec<String> = self
            .references
            .stores
            .iter()
            .filter(|store| store.required)
            .map(|store| store.name.clone())
            .collect();
        required
            .into_iter()
            .filter_map(|name| {
                let error = self.probe(&name).err()?;
                Some((name, error))
            })
            .collect()
    }

    fn probe(&mut self, name: &str) -> Result<(), FetchError> {
        match self.kind(name) {
            Some(StoreKind::Vault(_)) => self.vault_of(name)?.probe(),
            Some(StoreKind::Consul(_)) => self.consul_of(name)?.probe(),
            Some(StoreKind::File(base)) if !base.is_dir() => Err(FetchError::Settings(format!(
                "{} is not a directory",
                base.display()
            ))),
            _ => Ok(()),
        }
    }

    fn kind(&self, name: &str) -> Option<&StoreKind> {
        let mut stores = self.references.stores.iter();
        stores
            .find(|store| store.name == name)
            .map(|store| &store.kind)
    }

    /// A value of a store of `kv.stores`. Behind `#` stands which field of a JSON value is meant.
    fn store_value(&mut self, name: &str, path: &str) -> Result<Secret, ReferenceError> {
        let (path, field) = match path.split_once('#') {
            Some((path, field)) => (path, Some(field)),
            None => (path, None),
        };
        let value = match self.kind(name) {
            None if name == "env" => self.variable_of_settings(path)?,
            None => {
                return Err(ReferenceError::NoStore {
                    name: name.to_owned(),
                });
            }
            Some(StoreKind::Env { prefix, uppercase }) => {
                let tail = match uppercase {
                    true => path.to_uppercase(),
                    false => path.to_owned(),
                };
                self.variable(format!("{prefix}{tail}"))?
            }
            Some(StoreKind::Inline(texts)) => texts
                .iter()
                .find(|(known, _)| known == path)
                .map(|(_, text)| text.clone())
                .ok_or_else(|| ReferenceError::NoEntry {
                    store: name.to_owned(),
                    name: path.to_owned(),
                })?,
            Some(StoreKind::File(base)) => files::below(base, path, "kv.stores")?,
            Some(StoreKind::Consul(_)) => self.consul_of(name)?.get(path)?,
            Some(StoreKind::Vault(_)) => return of_vault(self.vault_of(name)?, path, field),
        };
        match field {
            None => Ok(value),
            Some(field) => serde_json::from_str(value.reveal())
                .ok()
                .and_then(|json| at_pointer(&json, field))
                .ok_or_else(|| no_field(field)),
        }
    }

    /// `vault://MOUNT/PATH.FIELD` of `tyk.conf`.
    fn vault_setting(&mut self, rest: &str) -> Result<Secret, ReferenceError> {
        let wanted = "vault://MOUNT/PATH.FIELD";
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (head, field) = rest[last..]
            .split_once('.')
            .ok_or(ReferenceError::Form { wanted })?;
        let path = &rest[..last + head.len()];
        let fields = self.vault()?.read(path)?;
        at_dots(&fields, field).ok_or_else(|| no_field(field))
    }

    fn vault(&mut self) -> Result<&mut vault::Client, ReferenceError> {
        let made = self
            .round
            .vault
            .get_or_insert_with(|| vault::Client::new(&self.references.vault, &*self.variable));
        made.as_mut().map_err(|error| error.clone().into())
    }

    fn consul(&mut self) -> Result<&mut consul::Client, ReferenceError> {
        let made = self
            .round
            .consul
            .get_or_insert_with(|| consul::Client::new(&self.references.consul, &*self.variable));
        made.as_mut().map_err(|error| error.clone().into())
    }

    fn vault_of(&mut self, name: &str) -> Result<&mut vault::Client, FetchError> {
        let stores = &self.references.stores;
        let made = self.round.vaults.entry(name.to_owned()).or_insert_with(|| {
            match stores
                .iter()
                .find(|store| store.name == name)
                .map(|store| &store.kind)
            {
                Some(StoreKind::Vault(settings)) => vault::Client::new(settings, &*self.variable),
                _ => Err(no_server(name)),
            }
        });
        made.as_mut().map_err(|error| error.clone())
    }

    fn consul_of(&mut self, name: &str) -> Result<&mut consul::Client, FetchError> {
        let stores = &self.references.stores;
        let made = self
            .round
            .consuls
            .entry(name.to_owned())
            .or_insert_with(|| {
                match stores
                    .iter()
                    .find(|store| store.name == name)
                    .map(|store| &store.kind)
                {
                    Some(StoreKind::Consul(settings)) => {
                        consul::Client::new(settings, &*self.variable)
                    }
                    _ => Err(no_server(name)),
                }
            });
        made.as_mut().map_err(|error| error.clone())
    }
}

fn no_server(name: &str) -> FetchError {
    FetchError::Settings(format!("store `{name}` is no server"))
}

fn no_field(field: &str) -> ReferenceError {
    ReferenceError::NoField {
        field: field.to_owned(),
    }
}

fn not_empty(secret: Secret) -> Result<Secret, ReferenceError> {
    match secret.is_empty() {
        true => Err(ReferenceError::Empty),
        false => Ok(secret),
    }
}

/// A value of a Vault: a field of the secret at `path` or, where nothing is at `path`, its last part
/// as a field of what is above. A secret without a field is its JSON.
fn of_vault(
    vault: &mut vault::Client,
    path: &str,
    field: Option<&str>,
) -> Result<Secret, ReferenceError> {
    if let Some(field) = field {
        let fields = Json::Object(vault.read(path)?);
        return at_pointer(&fields, field).ok_or_else(|| no_field(field));
    }
    match vault.read(path) {
        Ok(fields) => Ok(Secret::new(Json::Object(fields).to_string())),
        Err(missing @ FetchError::Missing { .. }) => match path.rsplit_once('/') {
            Some((above, name)) if above.contains('/') => {
                let fields = vault.read(above)?;
                let value = fields.get(name).map(|value| Secret::new(text_of(value)));
                value.ok_or_else(|| no_field(name))
            }
            _ => Err(missing.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The member at a JSON pointer without its first slash.
fn at_pointer(json: &Json, pointer: &str) -> Option<Secret> {
    let pointer = format!("/{}", pointer.trim_start_matches('/'));
    json.pointer(&pointer)
        .map(|value| Secret::new(text_of(value)))
}

/// The member of this name or, where there is none, at these names joined by dots.
pub(super) fn at_dots(fields: &Map<String, Json>, name: &str) -> Option<Secret> {
    if let Some(value) = fields.get(name) {
        return Some(Secret::new(text_of(value)));
    }
    let (first, rest) = name.split_once('.')?;
    at_dots(fields.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::references::{Consul, Store, Vault};

    fn resolved(text: &str, file_base: &str, root: &Path) -> Option<Result<String, String>> {
        let references = References {
            secrets: vec![("gateway".to_owned(), Secret::new("from map"))],
            file_base: (!file_base.is_empty()).then(|| root.join(file_base)),
            vault: Vault::default(),
            consul: Consul {
                // Nothing listens there.
                address: "127.0.0.1:1".to_owned(),
                ..Consul::default()
            },
            stores: vec![Store {
                name: "app".to_owned(),
                required: false,
                kind: StoreKind::Env {
                    prefix: "APP_".to_owned(),
                    uppercase: true,
                },
            }],
        };
        let base = BasePaths {
            working_dir: root.to_owned(),
            config_dir: root.to_owned(),
        };
        let mut resolver = Resolver::new(references, base, |name| match name {
            "TYK_SECRET_GATEWAY" => Some("from env".to_owned()),
            "TYK_SECRET_NOTHING" => Some(String::new()),
            "APP_TOKEN" => Some("of the app".to_owned()),
            _ => None,
        });
        resolver.setting(text).map(|result| {
            result
                .map(|secret| secret.reveal().to_owned())
                .map_err(|error| error.to_string())
        })
    }

    #[test]
    fn references_to_environment_map_file_and_stores_are_resolved() {
        let root = tempfile::tempdir().expect("temporary directory");
        std::fs::write(root.path().join("secret"), "from file\r\n").expect("file");
        let absolute = format!("file://{}", root.path().join("secret").display());
        for (text, value) in [
            ("env://gateway", "from env"),
            ("secrets://gateway", "from map"),
            ("file://secret", "from file"),
            (absolute.as_str(), "from file"),
            ("kv://env/gateway", "from env"),
            ("kv://app/token", "of the app"),
            ("a $kv{app:token} $kv{env:gateway}", "a of the app from env"),
        ] {
            let value = Some(Ok(value.to_owned()));
            assert_eq!(resolved(text, "", root.path()), value, "{text}");
        }
    }

    #[test]
    fn a_reference_that_cannot_be_resolved_is_an_error_and_never_the_secret() {
        let root = tempfile::tempdir().expect("temporary directory");
        for (text, reason) in [
            ("env://missing", "TYK_SECRET_MISSING"),
            ("env://nothing", "empty"),
            ("secrets://missing", "`missing`"),
            ("file://missing", "cannot be read"),
            ("consul://a", "http://127.0.0.1:1 cannot be reached"),
            ("vault://secret/a.b", "needs a token"),
            ("vault://secret/a", "vault://MOUNT/PATH.FIELD"),
            ("kv://none/a", "`none`"),
            ("kv://app", "kv://STORE/PATH"),
            ("kv://app/none", "APP_NONE"),
            ("$kv{a}", "$kv{STORE:PATH}"),
            ("$kv{app:token", "$kv{STORE:PATH}"),
        ] {
            let error = resolved(text, "", root.path()).expect("a reference");
            let error = error.expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        for text in ["plain", "https://dashboard:3000", ""] {
            assert_eq!(resolved(text, "", root.path()), None, "{text}");
        }
    }

    #[test]
    fn files_below_a_base_path_cannot_leave_it() {
        let root = tempfile::tempdir().expect("temporary directory");
        let base = root.path().join("kv");
        std::fs::create_dir(&base).expect("directory");
        std::fs::write(base.join("in"), "in").expect("file");
        std::fs::write(root.path().join("out"), "out").expect("file");
        std::os::unix::fs::symlink(root.path().join("out"), base.join("link")).expect("link");
        let inside = resolved("file://in", "kv", root.path());
        assert_eq!(inside, Some(Ok("in".to_owned())));
        for text in ["file://../out", "file://link", "file:///etc/hostname"] {
            let outside = resolved(text, "kv", root.path());
            assert!(matches!(outside, Some(Err(_))), "{text}");
        }
    }
}
