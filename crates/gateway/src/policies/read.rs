//! Reading policies.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis_apidef::{
    Resolved, Warning,
    policies::{Policy, PolicyError, PolicySet},
};
use portcullis_config::{Definitions, Resolver};

use super::Place;
use crate::{
    build::{Finding, error, warning},
    definitions::{Fingerprint, fingerprint, replaced},
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
    /// The texts with references, and what these stood for.
    referring: Vec<(String, Resolved)>,
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
            referring: Vec::new(),
            loaded: LoadedPolicies::default(),
        }
    }

    /// True when there is something new to read.
    pub fn has_changed(&self) -> bool {
        self.stamp != Some(self.place.stamp())
    }

    /// What is there now. References in it are asked for, which takes as long as their sources do.
    pub fn read(&mut self, resolver: &mut Resolver) -> LoadedPolicies {
        // Taken before reading: a change during it is seen the next time.
        let stamp = self.place.stamp();
        if self.stamp != Some(stamp) || !self.values_are_the_same(resolver) {
            let mut reading = Reading {
                resolver,
                set: PolicySet::default(),
                findings: Vec::new(),
                origins: HashMap::new(),
                referring: Vec::new(),
            };
            match &self.place {
                Place::None => {}
                Place::File(path) => reading.file(path),
                Place::Directory(path) => reading.directory(path),
            }
            if *self.loaded.set != reading.set {
                self.loaded.set = Arc::new(reading.set);
            }
            self.loaded.findings = reading.findings;
            self.referring = reading.referring;
            self.stamp = Some(stamp);
        }
        self.loaded.clone()
    }

    fn values_are_the_same(&self, resolver: &mut Resolver) -> bool {
        self.referring.iter().all(|(text, resolved)| {
            Resolved::of_json(text, &mut |text| replaced(resolver, text)).as_ref() == Some(resolved)
        })
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

struct Reading<'r> {
    resolver: &'r mut Resolver,
    set: PolicySet,
    findings: Vec<Finding>,
    /// Which file each policy came from.
    origins: HashMap<String, String>,
    referring: Vec<(String, Resolved)>,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path) {
        let (place, key) = (path.display().to_string(), "policies.policy_record_name");
        let text = match text(path) {
            Ok(text) => text,
            Err(cause) => return self.unreadable(&place, key, &cause),
        };
        let resolved = self.resolve(&place, &text);
        let policies = match Policy::all_from_json(live(&text, resolved.as_ref())) {
            Ok(policies) => policies,
            Err(cause) => {
                return self.unreadable(&place, key, &hidden(&cause, resolved.as_ref()));
            }
        };
        let mut written = match resolved {
            Some(_) => Policy::all_from_json(&text).unwrap_or_default(),
            None => Vec::new(),
        }
        .into_iter()
        .collect::<HashMap<_, _>>();
        for (id, policy) in policies {
            let place = format!("{place}: {id}");
            if let Some(policy) = self.usable(&place, policy, resolved.as_ref()) {
                if let Some(Ok((written, _))) = written.remove(&id) {
                    self.is_written(&id, &policy, &written);
                }
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
            let text = match text(&file) {
                Ok(text) => text,
                Err(cause) => {
                    self.broken(&place, &cause);
                    continue;
                }
            };
            let resolved = self.resolve(&place, &text);
            let policy = Policy::from_json(live(&text, resolved.as_ref()));
            let Some(policy) = self.usable(&place, policy, resolved.as_ref()) else {
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
                if resolved.is_some()
                    && let Ok((written, _)) = Policy::from_json(&text)
                {
                    self.is_written(&id, &policy, &written);
                }
                self.origins.insert(id.clone(), place);
                self.set.insert(id, policy);
            }
        }
    }

    /// The text of a file with its references replaced; `None` when it has none.
    fn resolve(&mut self, place: &str, text: &[u8]) -> Option<Resolved> {
        // What is no text is told when it is read.
        let text = std::str::from_utf8(text).ok()?;
        let resolved = Resolved::of_json(text, &mut |text| replaced(self.resolver, text))?;
        let notes = resolved.notes().iter();
        self.findings
            .extend(notes.map(|note| warning(place, note.clone())));
        self.referring.push((text.to_owned(), resolved.clone()));
        Some(resolved)
    }

    /// Keeps how a policy is written, where that is not how it is in force.
    fn is_written(&mut self, id: &str, policy: &Policy, written: &Policy) {
        if policy != written
            && let Ok(written) = serde_json::to_value(written)
        {
            self.set.set_written(id, written);
        }
    }

    fn usable(
        &mut self,
        place: &str,
        policy: Result<(Policy, Vec<Warning>), PolicyError>,
        resolved: Option<&Resolved>,
    ) -> Option<Policy> {
        match policy {
            Ok((policy, warnings)) => {
                let warnings = warnings
                    .iter()
                    .map(|note| warning(place, hidden(note, resolved)));
                self.findings.extend(warnings);
                Some(policy)
            }
            Err(cause) => {
                self.broken(place, &hidden(&cause, resolved));
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

/// What a file says with the values of its references.
fn live<'t>(text: &'t [u8], resolved: Option<&'t Resolved>) -> &'t [u8] {
    resolved.map_or(text, |resolved| resolved.text().as_bytes())
}

/// A message without the values of references.
fn hidden(message: &impl ToString, resolved: Option<&Resolved>) -> String {
    let message = message.to_string();
    resolved.map_or_else(
        || message.clone(),
        |resolved| resolved.without_values(&message),
    )
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
            referring: Vec::new(),
            loaded: LoadedPolicies::default(),
        }
    }

    /// For whom variables are what their names say.
    fn resolver() -> Resolver {
        let base = portcullis_config::BasePaths {
            working_dir: PathBuf::new(),
            config_dir: PathBuf::new(),
        };
        Resolver::new(portcullis_config::References::default(), base, |name| {
            name.starts_with("VALUE")
                .then(|| format!("value of {name}"))
        })
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
        let loaded = reader(Place::Directory(dir.path().to_owned())).read(&mut resolver());
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
        let loaded = reader(Place::File(path)).read(&mut resolver());
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
            let loaded = reader(place).read(&mut resolver());
            assert!(loaded.set.is_empty());
            let finding = &loaded.findings[0];
            assert!(
                finding.is_error && finding.message.contains(key),
                "{finding}"
            );
        }
        assert!(
            reader(Place::None)
                .read(&mut resolver())
                .findings
                .is_empty()
        );
    }

    #[test]
    fn policies_that_stay_the_same_are_the_same_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gold.json");
        fs::write(&path, json!({"id": "gold", "rate": 1}).to_string()).unwrap();
        let mut reader = reader(Place::Directory(dir.path().to_owned()));
        assert!(reader.has_changed());
        let first = reader.read(&mut resolver());
        assert!(!reader.has_changed());
        fs::write(
            &path,
            json!({"id": "gold", "rate": 1, "per": 0}).to_string(),
        )
        .unwrap();
        assert!(reader.has_changed());
        let second = reader.read(&mut resolver());
        assert!(Arc::ptr_eq(&first.set, &second.set));
        fs::write(&path, json!({"id": "gold", "rate": 22}).to_string()).unwrap();
        assert!(!Arc::ptr_eq(&first.set, &reader.read(&mut resolver()).set));
    }

    /// In force with their values, shown as they are written, in either layout.
    #[test]
    fn references_in_policies_are_replaced_and_what_is_written_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let gold = json!({"id": "gold", "name": "env://VALUE_A", "tags": ["env://MISSING"]});
        let plain = json!({"id": "plain", "name": "https://h/"});
        let path = dir.path().join("gold.json");
        fs::write(&path, gold.to_string()).unwrap();
        fs::write(dir.path().join("plain.json"), plain.to_string()).unwrap();
        let all = dir.path().join("all");
        fs::write(&all, json!({"gold": gold, "plain": plain}).to_string()).unwrap();
        for place in [Place::Directory(dir.path().to_owned()), Place::File(all)] {
            let mut reader = reader(place);
            let loaded = reader.read(&mut resolver());
            assert_eq!(loaded.set.get("gold").unwrap().name, "value of VALUE_A");
            assert_eq!(loaded.set.written("gold").unwrap()["name"], "env://VALUE_A");
            assert_eq!(loaded.set.written("plain"), None);
            let told: Vec<_> = loaded.findings.iter().map(ToString::to_string).collect();
            assert!(told.join("\n").contains("env://MISSING"), "{told:?}");
            // The same files, and another value.
            let base = portcullis_config::BasePaths {
                working_dir: PathBuf::new(),
                config_dir: PathBuf::new(),
            };
            let references = portcullis_config::References::default();
            let mut other = Resolver::new(references, base, |_| Some("changed".to_owned()));
            let again = reader.read(&mut other);
            assert_eq!(again.set.get("gold").unwrap().name, "changed");
            assert!(Arc::ptr_eq(&again.set, &reader.read(&mut other).set));
        }
    }

    #[test]
    fn no_value_gets_into_a_message_about_a_policy() {
        let dir = tempfile::tempdir().unwrap();
        let text = json!({"id": "gold", "rate": "env://VALUE_SECRET"}).to_string();
        fs::write(dir.path().join("gold.json"), text).unwrap();
        let loaded = reader(Place::Directory(dir.path().to_owned())).read(&mut resolver());
        let told = loaded.findings[0].to_string();
        assert!(loaded.set.is_empty() && told.contains("rate"), "{told}");
        assert!(!told.contains("value of VALUE_SECRET\""), "{told}");
    }
}
