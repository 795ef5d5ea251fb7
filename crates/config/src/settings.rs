//! Every key with its value, whichever of file, environment and default it came from.
//!
//! Invariant: the accessors know the type from the table, so asking for a key that does not
//! exist, or for another type than its kind gives, is a mistake in this crate and panics; the
//! test that builds the default configuration asks for every key there is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use crate::compound::{CertificatePair, MessageOverride, ProxyProtocol};
use crate::key::Key;
use crate::paths::BasePaths;
use crate::ports::PortRules;
use crate::problem::Origin;
use crate::references::Store;
use crate::secret::Secret;
use crate::table;
use crate::value::{self, Value};

/// The value of every key.
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Setting>,
    pub(crate) base: BasePaths,
    #[cfg(test)]
    asked: std::cell::RefCell<std::collections::BTreeSet<&'static str>>,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Settings {
    /// Everything at its default.
    pub(crate) fn defaults(base: BasePaths) -> Self {
        let values = table::keys()
            .map(|key| {
                (
                    key.path,
                    Setting {
                        value: default_of(key),
                        origin: Origin::Default,
                    },
                )
            })
            .collect();
        Self {
            values,
            base,
            #[cfg(test)]
            asked: std::cell::RefCell::default(),
        }
    }

    pub(crate) fn set(&mut self, key: &Key, value: Value, origin: Origin) {
        self.values.insert(key.path, Setting { value, origin });
    }

    /// The value as it stands, and where it was written.
    pub(crate) fn setting(&self, path: &str) -> &Setting {
        let (name, setting) = self
            .values
            .get_key_value(path)
            .unwrap_or_else(|| panic!("the table has no key `{path}`"));
        #[cfg(test)]
        self.asked.borrow_mut().insert(name);
        #[cfg(not(test))]
        let _ = name;
        setting
    }

    /// Where the value of a key was written.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        self.setting(path).origin.clone()
    }

    /// Whether anything but the default stands at one of these keys.
    pub(crate) fn any_written(&self, prefix: &str) -> bool {
        self.values
            .iter()
            .any(|(path, setting)| path.starts_with(prefix) && setting.origin != Origin::Default)
    }

    pub(crate) fn bool(&self, path: &str) -> bool {
        match &self.setting(path).value {
            Value::Bool(value) => *value,
            other => wrong(path, "true or false", other),
        }
    }

    pub(crate) fn text(&self, path: &str) -> String {
        match &self.setting(path).value {
            Value::Text(text) => text.clone(),
            other => wrong(path, "a text", other),
        }
    }

    /// The text, or `None` when it is empty.
    pub(crate) fn optional_text(&self, path: &str) -> Option<String> {
        Some(self.text(path)).filter(|text| !text.is_empty())
    }

    /// A host name in the form hosts are compared in: lower case, no trailing dot.
    pub(crate) fn host_name(&self, path: &str) -> Option<String> {
        let name = self.text(path).trim().to_lowercase();
        Some(name.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty())
    }

    pub(crate) fn path(&self, path: &str) -> Option<PathBuf> {
        self.optional_text(path).map(|text| self.base.resolve(text))
    }

    pub(crate) fn secret(&self, path: &str) -> Secret {
        match &self.setting(path).value {
            Value::Secret(secret) => secret.clone(),
            other => wrong(path, "a secret", other),
        }
    }

    pub(crate) fn secrets(&self, path: &str) -> Vec<(String, Secret)> {
        match &self.setting(path).value {
            Value::Secrets(secrets) => secrets.clone(),
            other => wrong(path, "secrets", other),
        }
    }

    pub(crate) fn address(&self, path: &str) -> Option<IpAddr> {
        match &self.setting(path).value {
            Value::Address(address) => *address,
            other => wrong(path, "an address", other),
        }
    }

    pub(crate) fn integer(&self, path: &str) -> i64 {
        self.optional_integer(path)
            .unwrap_or_else(|| panic!("`{path}` has no default"))
    }

    pub(crate) fn optional_integer(&self, path: &str) -> Option<i64> {
        match &self.setting(path).value {
            Value::Integer(number) => Some(*number),
            Value::Unset => None,
            other => wrong(path, "an integer", other),
        }
    }

    /// A port or a TLS version.
    pub(crate) fn u16(&self, path: &str) -> u16 {
        u16::try_from(self.integer(path)).expect("the kind of the key limits it to 16 bits")
    }

    /// A TLS version number; `None` when 0 asks for the default.
    pub(crate) fn tls_version(&self, path: &str) -> Option<u16> {
        Some(self.u16(path)).filter(|version| *version != 0)
    }

    /// A count; negative ones are excluded by the kind of the key.
    pub(crate) fn count(&self, path: &str) -> usize {
        usize::try_from(self.integer(path)).expect("the kind of the key excludes negative numbers")
    }

    /// A count; `None` when 0 asks for no limit.
    pub(crate) fn limit(&self, path: &str) -> Option<usize> {
        Some(self.count(path)).filter(|count| *count > 0)
    }

    /// A duration; `None` when it is 0 or less.
    pub(crate) fn duration(&self, path: &str) -> Option<Duration> {
        let key = table::keys()
            .find(|key| key.path == path)
            .expect("the table has this key");
        let seconds = match (&self.setting(path).value, key.kind) {
            (Value::Integer(number), crate::key::Kind::Milliseconds(_)) => {
                return u64::try_from(*number)
                    .ok()
                    .filter(|number| *number > 0)
                    .map(Duration::from_millis);
            }
            (Value::Integer(number), _) => {
                return u64::try_from(*number)
                    .ok()
                    .filter(|number| *number > 0)
                    .map(Duration::from_secs);
            }
            (Value::Number(seconds), _) => *seconds,
            (Value::Unset, _) => return None,
            (other, _) => wrong(path, "a duration", other),
        };
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| !duration.is_zero())
    }

    /// A duration; the default when it is 0 or less.
    pub(crate) fn duration_or_default(&self, path: &str) -> Duration {
        let key = table::keys()
            .find(|key| key.path == path)
            .expect("the table has this key");
        self.duration(path)
            .unwrap_or_else(|| match default_of(key) {
                Value::Integer(seconds) => {
                    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
                }
                Value::Number(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or_default(),
                other => wrong(path, "a duration as default", &other),
            })
    }

    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        match &self.setting(path).value {
            Value::List(list) => list.clone(),
            other => wrong(path, "a list", other),
        }
    }

    pub(crate) fn map(&self, path: &str) -> Vec<(String, String)> {
        match &self.setting(path).value {
            Value::Map(map) => map.clone(),
            other => wrong(path, "a map", other),
        }
    }

    pub(crate) fn certificate_pairs(&self, path: &str) -> Vec<CertificatePair> {
        match &self.setting(path).value {
            Value::CertificatePairs(pairs) => pairs.clone(),
            other => wrong(path, "certificate pairs", other),
        }
    }

    pub(crate) fn port_rules(&self, path: &str) -> PortRules {
        match &self.setting(path).value {
            Value::PortRules(rules) => rules.clone(),
            other => wrong(path, "port rules", other),
        }
    }

    pub(crate) fn messages(&self, path: &str) -> Vec<(String, MessageOverride)> {
        match &self.setting(path).value {
            Value::Messages(messages) => messages.clone(),
            other => wrong(path, "messages", other),
        }
    }

    pub(crate) fn proxy_protocol(&self, path: &str) -> ProxyProtocol {
        match &self.setting(path).value {
            Value::Ports(ports) => ports.clone(),
            other => wrong(path, "ports", other),
        }
    }

    pub(crate) fn stores(&self, path: &str) -> Vec<Store> {
        match &self.setting(path).value {
            Value::Stores(stores) => stores.clone(),
            other => wrong(path, "stores", other),
        }
    }

    pub(crate) fn opaque(&self, path: &str) -> Json {
        match &self.setting(path).value {
            Value::Opaque(json) => json.clone(),
            other => wrong(path, "an object", other),
        }
    }

    /// The keys nobody asked for.
    #[cfg(test)]
    pub(crate) fn never_asked(&self) -> Vec<&'static str> {
        let asked = self.asked.borrow();
        self.values
            .keys()
            .filter(|path| !asked.contains(*path))
            .copied()
            .collect()
    }
}

/// The default of a key. A test proves that every default in the table is acceptable.
pub(crate) fn default_of(key: &Key) -> Value {
    match serde_json::from_str(key.default) {
        Ok(Json::Null) => Value::Unset,
        Ok(json) => value::from_json(key.kind, json)
            .unwrap_or_else(|rejection| panic!("default of `{}` {}", key.path, rejection.message)),
        Err(error) => panic!("default of `{}`: {error}", key.path),
    }
}

fn wrong(path: &str, wanted: &str, found: &Value) -> ! {
    // Names the variant only: the value may be a secret.
    panic!(
        "`{path}` is asked for {wanted}, the table says {:?}",
        std::mem::discriminant(found)
    )
}
