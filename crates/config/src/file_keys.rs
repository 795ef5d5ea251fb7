//! Gives each member of the file to its key.
//!
//! Invariants: keys match whatever their case, as Tyk reads them; the canonical spelling of
//! a key wins over its aliases; every member ends as a value, a problem or a warning, except
//! one whose value says that a feature we do not have is off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value as Json;

use crate::document::Member;
use crate::foreign;
use crate::key::Key;
use crate::nearest::nearest;
use crate::problem::{Origin, Problem};
use crate::settings::Settings;
use crate::shown;
use crate::table;
use crate::value;

/// Every spelling of every key, for the file.
pub(crate) struct FileKeys {
    /// Lower-case spelling to key.
    spellings: BTreeMap<String, &'static Key>,
    /// Lower-case paths that hold further keys.
    groups: BTreeSet<String>,
}

impl FileKeys {
    pub(crate) fn new() -> Self {
        let mut spellings = BTreeMap::new();
        let mut groups = BTreeSet::new();
        for key in table::keys() {
            for spelling in std::iter::once(&key.path).chain(key.aliases) {
                let spelling = spelling.to_ascii_lowercase();
                for (dot, _) in spelling.match_indices('.') {
                    groups.insert(spelling[..dot].to_owned());
                }
                spellings.insert(spelling, key);
            }
        }
        Self { spellings, groups }
    }

    /// Whether a lower-case path holds further keys.
    pub(crate) fn is_group(&self, path: &str) -> bool {
        self.groups.contains(path) || foreign::is_group(path)
    }

    pub(crate) fn give(
        &self,
        file: &Path,
        members: Vec<Member>,
        settings: &mut Settings,
        problems: &mut Vec<Problem>,
    ) {
        let mut taken: BTreeMap<&'static str, Taken> = BTreeMap::new();
        let mut features: BTreeMap<&'static str, (Origin, Vec<String>)> = BTreeMap::new();
        for member in members {
            let origin = Origin::File {
                path: file.to_owned(),
                line: Some(member.line),
            };
            let lower = member.path.to_ascii_lowercase();
            if let Some(&key) = self.spellings.get(&lower) {
                take(key, lower == key.path, origin, member, &mut taken, problems);
            } else if self.is_group(&lower) {
                problems.extend(not_a_group(origin, &member));
            } else if let Some(feature) = foreign::feature_of_key(&lower) {
                if !foreign::is_off(&member.json) {
                    let entry = features
                        .entry(feature.name)
                        .or_insert_with(|| (origin, Vec::new()));
                    entry.1.push(member.path);
                }
            } else {
                problems.push(self.unknown(origin, &member.path));
            }
        }
        for (feature, (origin, keys)) in features {
            problems.push(no_such_feature(feature, origin, &keys.join(", ")));
        }
        for taken in taken.into_values() {
            judge(taken, settings, problems);
        }
    }

    fn unknown(&self, origin: Origin, path: &str) -> Problem {
        let problem = Problem::warning(origin, path, "no such key; it has no effect");
        let lower = path.to_ascii_lowercase();
        let names = self
            .spellings
            .values()
            .map(|key| key.path)
            .chain(self.groups.iter().map(String::as_str));
        match nearest(&lower, names) {
            Some(name) => problem.hint(format!("did you mean `{name}`?")),
            None => problem.hint("remove it, or look it up in docs/configuration.md"),
        }
    }
}

/// A warning for keys of a feature that is not here.
pub(crate) fn no_such_feature(feature: &str, origin: Origin, keys: &str) -> Problem {
    Problem::warning(
        origin,
        keys,
        format!("belongs to {feature}, which this gateway does not have; it has no effect"),
    )
}

struct Taken {
    key: &'static Key,
    canonical: bool,
    origin: Origin,
    member: Member,
}

/// Keeps one member for a key, the canonical spelling before an alias, the later one otherwise.
fn take(
    key: &'static Key,
    canonical: bool,
    origin: Origin,
    member: Member,
    taken: &mut BTreeMap<&'static str, Taken>,
    problems: &mut Vec<Problem>,
) {
    let new = Taken {
        key,
        canonical,
        origin,
        member,
    };
    let Some(old) = taken.remove(key.path) else {
        taken.insert(key.path, new);
        return;
    };
    let (kept, dropped) = if old.canonical && !new.canonical {
        (old, new)
    } else {
        (new, old)
    };
    if kept.member.json != dropped.member.json {
        let message = format!(
            "stands there twice; `{}` at {} counts",
            kept.member.path, kept.origin
        );
        problems.push(
            Problem::warning(dropped.origin, &dropped.member.path, message)
                .hint("keep one of the two"),
        );
    }
    taken.insert(key.path, kept);
}

fn judge(taken: Taken, settings: &mut Settings, problems: &mut Vec<Problem>) {
    let Taken {
        key,
        origin,
        member,
        ..
    } = taken;
    if member.json == Json::Null {
        return;
    }
    let shown = shown::json(key, &member.json);
    match value::from_json(key.kind, member.json) {
        Ok(value) => settings.set(key, value, origin),
        Err(rejection) => {
            problems.push(shown::rejected(key, &member.path, origin, shown, rejection));
        }
    }
}

fn not_a_group(origin: Origin, member: &Member) -> Option<Problem> {
    if matches!(member.json, Json::Null | Json::Object(_)) {
        return None;
    }
    let problem = Problem::error(origin, &member.path, "is not an object");
    Some(problem.accepted("an object that holds further keys"))
}
