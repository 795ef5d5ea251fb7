//! Writing policies, one file each.

use std::{fs, io, path::PathBuf};

use portcullis_apidef::policies::Policy;
use portcullis_config::{BasePaths, Definitions};

use super::read::{files, text};
use crate::whole_file::{self, MAX_NAME};

/// The directory policies are written to.
#[derive(Debug, Clone)]
pub struct PolicyFiles(PathBuf);

/// A policy was not written or not deleted. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyWriteError {
    /// The place is no directory.
    #[error("{} (`policies.policy_path`) is no directory", .0.display())]
    NoDirectory(PathBuf),
    /// The id would lead elsewhere or make a name that no file can have.
    #[error("{0:?} cannot be the name of a policy's file")]
    Name(String),
    /// There is no such policy.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// The system refused.
    #[error("{} cannot be written or deleted: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PolicyFiles {
    /// The policies of `policies.policy_path`, else of the working directory.
    pub fn new(definitions: &Definitions, base: &BasePaths) -> Self {
        let directory = definitions.policy_path.clone();
        Self(directory.unwrap_or_else(|| base.working_dir.clone()))
    }

    /// Whether the directory can be used at all.
    ///
    /// # Errors
    /// [`PolicyWriteError::NoDirectory`].
    pub fn check(&self) -> Result<(), PolicyWriteError> {
        match fs::metadata(&self.0) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            _ => Err(PolicyWriteError::NoDirectory(self.0.clone())),
        }
    }

    /// Writes a policy, whole or not at all.
    ///
    /// # Errors
    /// [`PolicyWriteError`].
    pub fn write(&self, id: &str, policy: &Policy) -> Result<(), PolicyWriteError> {
        let name = self.name(id)?;
        let path = self.0.join(&name);
        let failed = |source| PolicyWriteError::Io {
            path: path.clone(),
            source,
        };
        let text = serde_json::to_string_pretty(policy)
            .map_err(|error| failed(io::Error::other(error)))?;
        whole_file::replace(&self.0, &name, text.as_bytes()).map_err(failed)
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// [`PolicyWriteError`].
    pub fn delete(&self, id: &str) -> Result<(), PolicyWriteError> {
        let path = self.0.join(self.name(id)?);
        fs::remove_file(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => PolicyWriteError::Missing(path),
            _ => PolicyWriteError::Io { path, source },
        })
    }

    /// The file a policy is in, whatever that is called; for one that is in none, that of its id.
    fn name(&self, id: &str) -> Result<String, PolicyWriteError> {
        let own = file_name(id)?;
        let is_there = |path: &PathBuf| {
            let policy = text(path)
                .ok()
                .and_then(|text| Policy::from_json(&text).ok());
            policy.is_some_and(|(policy, _)| policy.key() == id)
        };
        let found = files(&self.0)
            .unwrap_or_default()
            .into_iter()
            .find(is_there);
        let name = found.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(name.unwrap_or(own))
    }
}

/// Without a slash, and not beginning with a dot, a name stays in its directory.
fn file_name(id: &str) -> Result<String, PolicyWriteError> {
    let name = format!("{id}.json");
    let plain = name.len() <= MAX_NAME
        && !id.is_empty()
        && !id.starts_with('.')
        && !id.contains('/')
        && !id.chars().any(char::is_control);
    if plain {
        Ok(name)
    } else {
        Err(PolicyWriteError::Name(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_under_its_id_and_deleted_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = PolicyFiles(dir.path().to_owned());
        let policy = Policy {
            id: "gold".to_owned(),
            rate: 5.0,
            ..Policy::default()
        };
        files.check().unwrap();
        files.write("gold", &policy).unwrap();
        let text = fs::read(dir.path().join("gold.json")).unwrap();
        assert_eq!(Policy::from_json(&text).unwrap().0, policy);
        files.delete("gold").unwrap();
        assert!(matches!(
            files.delete("gold"),
            Err(PolicyWriteError::Missing(_))
        ));
    }

    #[test]
    fn a_policy_stays_in_the_file_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let files = PolicyFiles(dir.path().to_owned());
        fs::write(dir.path().join("mine.json"), r#"{"id": "gold"}"#).unwrap();
        let policy = Policy {
            id: "gold".to_owned(),
            rate: 5.0,
            ..Policy::default()
        };
        files.write("gold", &policy).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let text = fs::read(dir.path().join("mine.json")).unwrap();
        assert_eq!(Policy::from_json(&text).unwrap().0.rate, 5.0);
        files.delete("gold").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_id_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let files = PolicyFiles(dir.path().to_owned());
        for id in ["../x", "..", "a/b", "", ".hidden", "a\nb"] {
            let written = files.write(id, &Policy::default());
            assert!(matches!(written, Err(PolicyWriteError::Name(_))), "{id:?}");
            assert!(
                matches!(files.delete(id), Err(PolicyWriteError::Name(_))),
                "{id:?}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = PolicyFiles(file.path().to_owned());
        assert!(matches!(
            files.check(),
            Err(PolicyWriteError::NoDirectory(_))
        ));
    }
}
