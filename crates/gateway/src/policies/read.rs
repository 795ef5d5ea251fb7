//! Reading policies.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_apidef::{
    Warning,
    policies::{Policy, PolicyError, PolicySet},
};
use portcullis_config::Definitions;

use super::Place;
use crate::{
    build::{Finding, error, warning},
    definitions::{Fingerprint, fingerprint},
};

/// Largest file in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct LoadedPolicies {
    /// The policies. The same value as long as they are the same.
    pub set: Arc<PolicySet>,
    /// What to say about them.
    pub findings: Vec<Finding>,
}

/// Reads policies when they have changed.
pub struct PolicyReader {
    place: Place,
    stamp: Option<Stamp>,
    loaded: LoadedPolicies,
}

/// The state of the file or directory in short; `None` when it cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    Nothing,
    File(Option<[i64; 6]>),
    Directory(Option<Fingerprint>),
}

impl PolicyReader {
    /// A reader that has read nothing.
    pub fn new(definitions: &Definitions) -> Self {
        Self {
            place: Place::of(definitions),
            stamp: None,
            loaded: LoadedPolicies::default(),
        }
    }

    /// True when there is something new to read.
    pub fn has_changed(&self) -> bool {
        self.stamp != Some(self.place.stamp())
    }

    /// What is there now.
    pub fn read(&mut self) -> LoadedPolicies {
        // Taken before reading: a change during it is seen the next time.
        let stamp = self.place.stamp();
        if self.stamp != Some(stamp) {
            let mut reading = Reading::default();
            match &self.place {
                Place::None => {}
                Place::File(path) => reading.file(path),
                Place::Directory(path) => reading.directory(path),
            }
            if *self.loaded.set != reading.set {
                self.loaded.set = Arc::new(reading.set);
            }
            self.loaded.findings = reading.findings;
            self.stamp = Some(stamp);
        }
        self.loaded.clone()
    }
}

impl Place {
    fn stamp(&self) -> Stamp {
        match self {
            Self::None => Stamp::Nothing,
            Self::File(path) => Stamp::File(fs::metadata(path).ok().map(|file| {
                [
                    file.ino().cast_signed(),
                    file.size().cast_signed(),
                    file.mtime(),
                    file.mtime_nsec(),
                    file.ctime(),
                    file.ctime_nsec(),
                ]
            })),
            Self::Directory(path) => Stamp::Directory(fingerprint(path).ok()),
        }
    }
}

#[derive(Default)]
struct Reading {
    set: PolicySet,
    findings: Vec<Finding>,
    /// Which file each policy came from.
    origins: HashMap<String, String>,
}

impl Reading {
    fn file(&mut self, path: &Path) {
        let place = path.display().to_string();
        let text = match text(path) {
            Ok(text) => text,
            Err(cause) => return self.unreadable(&place, "policies.policy_record_name", &cause),
        };
        let policies = match Policy::all_from_json(&text) {
            Ok(policies) => policies,
            Err(cause) => return self.unreadable(&place, "policies.policy_record_name", &cause),
        };
        for (id, policy) in policies {
            let place = format!("{place}: {id}");
            if let Some(policy) = self.usable(&place, policy) {
                self.set.insert(id, policy);
            }
        }
    }

    fn directory(&mut self, path: &Path) {
        let files = match files(path) {
            Ok(files) => files,
            Err(cause) => {
                return self.unreadable(
                    &path.display().to_string(),
                    "policies.policy_path",
                    &cause,
                );
            }
        };
        for file in files {
            let place = file.display().to_string();
            let policy = match text(&file) {
                Ok(text) => Policy::from_json(&text),
                Err(cause) => {
                    self.broken(&place, &cause);
                    continue;
                }
            };
            let Some(policy) = self.usable(&place, policy) else {
                continue;
            };
            let id = policy.key().to_owned();
            if id.is_empty() {
                self.broken(&place, &"it has neither `id` nor `_id`");
            } else if let Some(first) = self.origins.get(&id) {
                let cause = format!(
                    "{first} has a policy with the same id {id:?}, which counts; give one of them another"
                );
                self.broken(&place, &cause);
            } else {
                self.origins.insert(id.clone(), place);
                self.set.insert(id, policy);
            }
        }
    }

    fn usable(
        &mut self,
        place: &str,
        policy: Result<(Policy, Vec<Warning>), PolicyError>,
    ) -> Option<Policy> {
        match policy {
            Ok((policy, warnings)) => {
                let warnings = warnings.iter().map(|note| warning(place, note.to_string()));
                self.findings.extend(warnings);
                Some(policy)
            }
            Err(cause) => {
                self.broken(place, &cause);
                None
            }
        }
    }

    fn broken(&mut self, place: &str, cause: &dyn std::fmt::Display) {
        let message = format!("policy is not in force, keys that have it open nothing: {cause}");
        self.findings.push(error(place, message));
    }

    fn unreadable(&mut self, place: &str, key: &str, cause: &dyn std::fmt::Display) {
        let message =
            format!("no policy is in force, keys that have one open nothing (`{key}`): {cause}");
        self.findings.push(error(place, message));
    }
}

/// The files of a directory that hold policies, by name.
pub(super) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let is_policy = |name: &str| name.ends_with(".json") && !name.starts_with('.');
        if name.to_str().is_some_and(is_policy) {
            files.push(directory.join(name));
        }
    }
    files.sort_unstable();
    Ok(files)
}

pub(super) fn text(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(io::Error::other(format!("larger than {MAX_FILE} bytes")));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader(place: Place) -> PolicyReader {
        PolicyReader {
            place,
            stamp: None,
            loaded: LoadedPolicies::default(),
        }
    }

    fn ids(loaded: &LoadedPolicies) -> Vec<String> {
        let mut ids: Vec<_> = loaded.set.iter().map(|(id, _)| id.to_owned()).collect();
        ids.sort();
        ids
    }

    #[test]
    fn each_file_of_a_directory_is_a_policy_and_a_broken_one_keeps_no_other_out() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.json", json!({"id": "gold", "rate": 1}).to_string()),
            (
                "b.json",
                json!({"_id": "5e9d9544a1dcd60001d0ed20"}).to_string(),
            ),
            ("c.json", "{broken".to_owned()),
            ("d.json", "{}".to_owned()),
            ("e.json", json!({"id": "gold", "rate": 2}).to_string()),
            ("f.json", json!({"id": "silver", "quota_mx": 2}).to_string()),
            ("README", "no policy".to_owned()),
            (".g.json", "left over".to_owned()),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let loaded = reader(Place::Directory(dir.path().to_owned())).read();
        assert_eq!(ids(&loaded), ["5e9d9544a1dcd60001d0ed20", "gold", "silver"]);
        assert_eq!(
            loaded.set.get("gold").unwrap().rate,
            1.0,
            "the first file counts"
        );
        let said = |file: &str, part: &str| {
            let of_file = |finding: &&Finding| finding.place.ends_with(file);
            let finding = loaded.findings.iter().find(of_file).unwrap();
            assert!(finding.message.contains(part), "{finding}");
            finding.is_error
        };
        assert!(said("c.json", "keys that have it open nothing"));
        assert!(said("d.json", "neither `id` nor `_id`"));
        assert!(said("e.json", "a.json has a policy with the same id"));
        assert!(!said("f.json", "`quota_max`"));
        assert_eq!(loaded.findings.len(), 4);
    }

    #[test]
    fn one_file_may_hold_all_policies_by_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policies.json");
        fs::write(
            &path,
            json!({"gold": {"rate": 1}, "bad": {"rate": "x"}}).to_string(),
        )
        .unwrap();
        let loaded = reader(Place::File(path)).read();
        assert_eq!(ids(&loaded), ["gold"]);
        assert!(loaded.findings[0].place.ends_with("policies.json: bad"));
    }

    #[test]
    fn what_cannot_be_read_at_all_is_said_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "[]").unwrap();
        for (place, key) in [
            (Place::Directory(file.clone()), "policies.policy_path"),
            (Place::File(file), "policies.policy_record_name"),
            (
                Place::File(dir.path().join("none")),
                "policies.policy_record_name",
            ),
            (Place::File(dir.path().to_owned()), "not a regular file"),
        ] {
            let loaded = reader(place).read();
            assert!(loaded.set.is_empty());
            let finding = &loaded.findings[0];
            assert!(
                finding.is_error && finding.message.contains(key),
                "{finding}"
            );
        }
        assert!(reader(Place::None).read().findings.is_empty());
    }

    #[test]
    fn policies_that_stay_the_same_are_the_same_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gold.json");
        fs::write(&path, json!({"id": "gold", "rate": 1}).to_string()).unwrap();
        let mut reader = reader(Place::Directory(dir.path().to_owned()));
        assert!(reader.has_changed());
        let first = reader.read();
        assert!(!reader.has_changed());
        fs::write(
            &path,
            json!({"id": "gold", "rate": 1, "per": 0}).to_string(),
        )
        .unwrap();
        assert!(reader.has_changed());
        let second = reader.read();
        assert!(Arc::ptr_eq(&first.set, &second.set));
        fs::write(&path, json!({"id": "gold", "rate": 22}).to_string()).unwrap();
        assert!(!Arc::ptr_eq(&first.set, &reader.read().set));
    }
}
