//! Writing to `app_path`, one whole file at a time.
//!
//! Invariant: no name leads out of the directory, wherever it came from.

use std::{fs, io, path::PathBuf};

use portcullis_apidef::{SourceFile, parse_definition};

use super::{MAX_DEFINITION, is_definition};
use crate::whole_file::{self, MAX_NAME};

/// Writes the definitions of a directory.
#[derive(Debug, Clone)]
pub struct DefinitionFiles {
    app_path: PathBuf,
}

/// A definition was not written or not deleted. Nothing has changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The name would be hidden, too long, no definition's, or lead elsewhere.
    #[error("{0:?} cannot be the name of a definition's file")]
    Name(String),
    /// Larger than what would be read again.
    #[error("{name} would have {size} bytes, more than the {MAX_DEFINITION} a definition may have")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The file is there and belongs to somebody else.
    #[error("{name} holds the definition of another API, {id:?}")]
    Taken {
        /// The file.
        name: String,
        /// The API it defines.
        id: String,
    },
    /// The system refused. Of several files, those before this one are done.
    #[error("{} cannot be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read`, `written` or `deleted`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl DefinitionFiles {
    /// The definitions of this directory.
    pub fn new(app_path: impl Into<PathBuf>) -> Self {
        Self {
            app_path: app_path.into(),
        }
    }

    /// Writes the files of one API, in their order, each atomically. Everything that can be
    /// checked is checked before the first is touched.
    ///
    /// # Errors
    /// [`WriteError`]; also when a file of that name defines another API.
    pub fn write(&self, api_id: &str, files: &[SourceFile]) -> Result<(), WriteError> {
        for file in files {
            check_name(&file.name)?;
            let size = file.text.len() as u64;
            if size > MAX_DEFINITION {
                return Err(WriteError::TooLarge {
                    name: file.name.clone(),
                    size,
                });
            }
            self.check_owner(api_id, &file.name)?;
        }
        for file in files {
            self.replace(&file.name, file.text.as_bytes())?;
        }
        Ok(())
    }

    /// Deletes files, in their order. True when at least one of them was there.
    ///
    /// # Errors
    /// [`WriteError`] with the first that cannot be deleted; those before it are gone.
    pub fn delete(&self, names: &[impl AsRef<str>]) -> Result<bool, WriteError> {
        names
            .iter()
            .try_for_each(|name| check_name(name.as_ref()))?;
        let mut any = false;
        for name in names {
            let path = self.app_path.join(name.as_ref());
            match fs::remove_file(&path) {
                Ok(()) => any = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(WriteError::Io {
                        path,
                        action: "deleted",
                        source,
                    });
                }
            }
        }
        if any {
            whole_file::settle(&self.app_path);
        }
        Ok(any)
    }

    /// The texts of those of these files that are there and can be read.
    pub fn read(&self, names: &[String]) -> Vec<SourceFile> {
        let present = names.iter().filter(|name| check_name(name).is_ok());
        present
            .filter_map(|name| {
                let text = fs::read_to_string(self.app_path.join(name)).ok()?;
                Some(SourceFile {
                    name: name.clone(),
                    text: text.into(),
                })
            })
            .collect()
    }

    /// Refuses to take away another API's file. A file nobody can make sense of may be replaced.
    fn check_owner(&self, api_id: &str, name: &str) -> Result<(), WriteError> {
        let path = self.app_path.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                ) =>
            {
                return Ok(());
            }
            Err(source) => {
                return Err(WriteError::Io {
                    path,
                    action: "read",
                    source,
                });
            }
        };
        let id = match parse_definition(&text, None) {
            Ok(parsed) => Some(parsed.api.id),
            // It may be broken only in what does not matter here.
            Err(_) => serde_json::from_str::<serde_json::Value>(&text)
                .ok()
                .and_then(|value| written_id(&value)),
        };
        match id {
            Some(id) if id != api_id => Err(WriteError::Taken {
                name: name.to_owned(),
                id,
            }),
            _ => Ok(()),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        whole_file::replace(&self.app_path, name, bytes).map_err(|source| WriteError::Io {
            path: self.app_path.join(name),
            action: "written",
            source,
        })
    }
}

fn check_name(name: &str) -> Result<(), WriteError> {
    // Without a slash, and not beginning with a dot, a name stays in its directory.
    let plain = name.len() <= MAX_NAME
        && is_definition(name)
        && !name.contains('/')
        && !name.chars().any(char::is_control);
    if plain {
        Ok(())
    } else {
        Err(WriteError::Name(name.to_owned()))
    }
}

/// The id a document is written with, in either format.
fn written_id(value: &serde_json::Value) -> Option<String> {
    let id = value
        .get("api_id")
        .or_else(|| value.pointer("/x-tyk-api-gateway/info/id"))?;
    id.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile {
            name: name.to_owned(),
            text: text.into(),
        }
    }

    fn classic(id: &str) -> String {
        format!(
            r#"{{"api_id":"{id}","use_keyless":true,"proxy":{{"listen_path":"/a/","target_url":"http://h"}}}}"#
        )
    }

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_replaced_and_deleted_without_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let files = DefinitionFiles::new(dir.path());
        files
            .write(
                "a",
                &[file("a-oas.json", "{}"), file("a.json", &classic("a"))],
            )
            .unwrap();
        assert_eq!(listing(dir.path()), ["a-oas.json", "a.json"]);
        fs::set_permissions(dir.path().join("a.json"), Permissions::from_mode(0o640)).unwrap();
        let text = classic("a") + "\n";
        files.write("a", &[file("a.json", &text)]).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a.json")).unwrap(), text);
        let mode = fs::metadata(dir.path().join("a.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        let read = files.read(&["a.json".to_owned(), "b.json".to_owned()]);
        assert_eq!(read, [file("a.json", &text)]);
        assert!(
            files
                .delete(&["a-oas.json", "a.json", "a-mcp.json"])
                .unwrap()
        );
        assert!(!files.delete(&["a.json"]).unwrap());
        assert_eq!(listing(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn no_name_leads_out_of_the_directory_or_into_hiding() {
        let dir = tempfile::tempdir().unwrap();
        let apps = dir.path().join("apps");
        fs::create_dir(&apps).unwrap();
        fs::write(dir.path().join("victim.json"), "x").unwrap();
        let files = DefinitionFiles::new(&apps);
        let long = format!("{}.json", "a".repeat(MAX_NAME));
        for name in [
            "../victim.json",
            "/etc/victim.json",
            "a/b.json",
            "..",
            ".a.json",
            "a.txt",
            "",
            "a\0.json",
            &long,
        ] {
            assert!(
                matches!(
                    files.write("a", &[file(name, "{}")]),
                    Err(WriteError::Name(_))
                ),
                "{name}"
            );
            assert!(
                matches!(files.delete(&[name]), Err(WriteError::Name(_))),
                "{name}"
            );
            assert_eq!(files.read(&[name.to_owned()]), []);
        }
        assert_eq!(
            fs::read_to_string(dir.path().join("victim.json")).unwrap(),
            "x"
        );
        assert_eq!(listing(&apps), Vec::<String>::new());
    }

    #[test]
    fn another_apis_file_is_not_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let files = DefinitionFiles::new(dir.path());
        // An API whose id looks like the companion of another.
        files
            .write("a-oas", &[file("a-oas.json", &classic("a-oas"))])
            .unwrap();
        let pair = [file("a.json", &classic("a")), file("a-oas.json", "{}")];
        let error = files.write("a", &pair).unwrap_err();
        assert!(
            matches!(&error, WriteError::Taken { id, .. } if id == "a-oas"),
            "{error}"
        );
        assert_eq!(listing(dir.path()), ["a-oas.json"]);
        assert_eq!(
            fs::read_to_string(dir.path().join("a-oas.json")).unwrap(),
            classic("a-oas")
        );
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = DefinitionFiles::new(dir.path());
        let huge = " ".repeat(usize::try_from(MAX_DEFINITION).unwrap() + 1);
        assert!(matches!(
            files.write("a", &[file("a.json", &huge)]),
            Err(WriteError::TooLarge { .. })
        ));
        assert_eq!(listing(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        // A directory stands where the file should go: the last step fails, for root as well.
        fs::create_dir(dir.path().join("b.json")).unwrap();
        fs::write(dir.path().join("b.json").join("inside"), "x").unwrap();
        let files = DefinitionFiles::new(dir.path());
        assert!(matches!(
            files.write("b", &[file("b.json", "{}")]),
            Err(WriteError::Io { .. })
        ));
        assert!(dir.path().join("b.json").join("inside").is_file());
        assert_eq!(listing(dir.path()), ["b.json"]);
        let gone = DefinitionFiles::new(dir.path().join("none"));
        assert!(matches!(
            gone.write("a", &[file("a.json", "{}")]),
            Err(WriteError::Io { .. })
        ));
    }
}
