//! Reading `app_path`.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use portcullis_apidef::SourceFile;

use super::{MAX_DEFINITION, is_definition};

/// What the directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// Definitions, by name in ascending order.
    pub files: Vec<SourceFile>,
    /// Files that should be definitions and cannot be read, in the same order.
    pub unreadable: Vec<UnreadableFile>,
}

/// A file whose API has to be quarantined because nobody knows what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableFile {
    /// File name without directory.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// The directory as a whole cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the directory of API definitions {} (`app_path`) cannot be read{}", path.display(), hint(source))]
pub struct ReadError {
    /// The directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Definitions {
    /// Reads the directory.
    ///
    /// # Errors
    /// [`ReadError`] when it is missing, is no directory, or may not be listed.
    pub fn read(app_path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError {
            path: app_path.to_owned(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(app_path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // A name that is not Unicode has no ending we know.
            if let Some(name) = name.to_str().filter(|name| is_definition(name)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        let mut definitions = Self::default();
        for name in names {
            match text(&app_path.join(&name)) {
                Ok(Some(text)) => definitions.files.push(SourceFile {
                    name,
                    text: text.into(),
                }),
                Ok(None) => {}
                Err(reason) => definitions.unreadable.push(UnreadableFile { name, reason }),
            }
        }
        Ok(definitions)
    }
}

/// The text of a file; `None` when there is no file of that name (any more).
fn text(path: &Path) -> Result<Option<String>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match fs::read_link(path) {
                Ok(target) => Err(format!(
                    "a link to {}, which does not exist",
                    target.display()
                )),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(error.to_string()),
    };
    if metadata.is_dir() {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes =
        Vec::with_capacity(usize::try_from(metadata.len().min(MAX_DEFINITION)).unwrap_or(0));
    file.take(MAX_DEFINITION + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_DEFINITION {
        return Err(format!(
            "larger than {MAX_DEFINITION} bytes, the most a definition may have"
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        format!(
            "not UTF-8 text from byte {}",
            error.utf8_error().valid_up_to()
        )
    })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            ": create it, or set `app_path` to the directory that holds them"
        }
        io::ErrorKind::NotADirectory => ": it is not a directory",
        io::ErrorKind::PermissionDenied => ": let the gateway's user list it",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(definitions: &Definitions) -> Vec<&str> {
        definitions
            .files
            .iter()
            .map(|file| file.name.as_str())
            .collect()
    }

    #[test]
    fn definitions_come_in_the_order_of_their_names_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.json",
            "a.yaml",
            "c.yml",
            ".hidden.json",
            "README.md",
            "d.json.tmp",
        ] {
            fs::write(dir.path().join(name), "{}").unwrap();
        }
        fs::create_dir(dir.path().join("e.json")).unwrap();
        let definitions = Definitions::read(dir.path()).unwrap();
        assert_eq!(names(&definitions), ["a.yaml", "b.json", "c.yml"]);
        assert_eq!(definitions.unreadable, []);
    }

    #[test]
    fn a_missing_directory_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Definitions::read(&dir.path().join("apps"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`app_path`") && error.contains("create it"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.json"), [0x7b, 0xff]).unwrap();
        fs::write(dir.path().join("c.json"), "{}").unwrap();
        File::create(dir.path().join("b.json"))
            .unwrap()
            .set_len(MAX_DEFINITION + 1)
            .unwrap();
        std::os::unix::fs::symlink("nowhere.json", dir.path().join("d.json")).unwrap();
        let definitions = Definitions::read(dir.path()).unwrap();
        assert_eq!(names(&definitions), ["c.json"]);
        let reasons: Vec<_> = definitions
            .unreadable
            .iter()
            .map(|file| (file.name.as_str(), file.reason.as_str()))
            .collect();
        assert_eq!(reasons[0], ("a.json", "not UTF-8 text from byte 1"));
        assert!(reasons[1].0 == "b.json" && reasons[1].1.starts_with("larger than"));
        assert_eq!(
            reasons[2],
            ("d.json", "a link to nowhere.json, which does not exist")
        );
    }

    #[test]
    fn something_that_would_block_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("a.json")).unwrap();
        let definitions = Definitions::read(dir.path()).unwrap();
        assert_eq!(definitions.unreadable[0].reason, "not a regular file");
    }
}
