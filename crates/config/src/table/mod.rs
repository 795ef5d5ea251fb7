//! The table of every key the gateway reads.
//!
//! Invariant: a key exists exactly once. Reading the file, reading the environment, the
//! defaults, "did you mean" and the reference page all walk this table and nothing else.

mod control;
mod identity;
mod listener;
mod own;
mod references;
mod remote;
mod security;
mod services;
mod storage;
mod upstream;
mod uptime;

use crate::key::{Key, Kind, Owner, Status};

/// Keys that belong together on the reference page.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// What the keys have in common.
    pub about: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

/// Every section, in the order of the reference page.
pub const SECTIONS: &[Section] = &[
    listener::LISTENERS,
    listener::SERVER,
    security::SECURITY,
    references::REFERENCES,
    upstream::UPSTREAM,
    uptime::UPTIME,
    control::DEFINITIONS,
    control::CONTROL,
    control::OBSERVABILITY,
    own::OWN,
    identity::IDENTITY,
    storage::STORAGE,
    storage::CACHE_STORAGE,
    storage::ANALYTICS_STORAGE,
    remote::DASHBOARD,
    remote::BRIDGE,
    services::GLOBAL,
    services::OAUTH,
    services::STORAGE,
    services::WEBHOOKS,
    services::HEALTH,
    services::DISCOVERY,
];

/// Every key of every section.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

const fn tyk(
    path: &'static str,
    env: &'static str,
    kind: Kind,
    default: &'static str,
    effect: &'static str,
) -> Key {
    Key {
        path,
        env: Some(env),
        owner: Owner::Tyk,
        kind,
        default,
        effect,
        status: Status::InUse,
        aliases: &[],
        env_aliases: &[],
    }
}

const fn own(
    path: &'static str,
    env: &'static str,
    kind: Kind,
    default: &'static str,
    effect: &'static str,
) -> Key {
    let mut key = tyk(path, env, kind, default, effect);
    key.owner = Owner::Own;
    key
}

/// A whole number without an upper limit of its own.
const fn at_least(min: i64) -> Kind {
    Kind::Integer { min, max: i64::MAX }
}

const ANY: i64 = i64::MIN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;
    use std::collections::BTreeMap;

    #[test]
    fn every_path_and_every_environment_name_stands_once() {
        let mut paths = BTreeMap::new();
        let mut names = BTreeMap::new();
        for key in keys() {
            for path in std::iter::once(&key.path).chain(key.aliases) {
                assert_eq!(
                    paths.insert(path.to_ascii_lowercase(), key.path),
                    None,
                    "{path} twice"
                );
            }
            for tail in key.env.iter().chain(key.env_aliases) {
                let name = format!("{}{tail}", key.owner.prefix());
                assert_eq!(names.insert(name.clone(), key.path), None, "{name} twice");
            }
        }
    }

    #[test]
    fn no_key_lies_inside_another() {
        for key in keys() {
            let inside = format!("{}.", key.path);
            let nested = keys().find(|other| other.path.starts_with(&inside));
            assert!(
                nested.is_none(),
                "{} contains {:?}",
                key.path,
                nested.map(|other| other.path)
            );
        }
    }

    #[test]
    fn every_default_is_a_value_its_own_kind_accepts() {
        for key in keys() {
            let default = serde_json::from_str(key.default)
                .unwrap_or_else(|error| panic!("{}: {error}", key.path));
            if default != serde_json::Value::Null {
                let read = value::from_json(key.kind, default);
                assert!(read.is_ok(), "{}: {:?}", key.path, read.err());
            }
        }
    }

    #[test]
    fn every_effect_is_a_sentence_and_every_name_fits_its_owner() {
        for key in keys() {
            assert!(
                key.effect.ends_with('.') && key.effect.len() > 10,
                "{}: {}",
                key.path,
                key.effect
            );
            assert!(
                !key.effect.contains('|'),
                "{}: a bar would break the table",
                key.path
            );
            assert_eq!(
                key.path.starts_with("portcullis."),
                key.owner == Owner::Own,
                "{}",
                key.path
            );
            if let Some(env) = key.env {
                assert!(!env.contains(|c: char| c.is_ascii_lowercase()), "{env}");
            }
            if key.owner == Owner::Own {
                let tail = key
                    .path
                    .trim_start_matches("portcullis.")
                    .to_ascii_uppercase()
                    .replace('.', "_");
                assert_eq!(key.env, Some(tail.as_str()));
            }
        }
    }
}
