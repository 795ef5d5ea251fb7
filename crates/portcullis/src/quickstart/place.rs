//! The directory of the quickstart, and what was done in it.
//!
//! Invariant: a file appears whole or not at all, and one that exists is not replaced unless the
//! caller says so.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Why a file or directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be made or entered.
    #[error("cannot use the directory `{}`", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The recorded port is none.
    #[error(
        "`{}` holds no port; remove the file and the definitions in `apps` to have them made again",
        path.display()
    )]
    Port {
        /// The file.
        path: PathBuf,
    },
}

/// What was done in the directory, for the announcement.
#[derive(Debug, Default)]
pub struct Made {
    entries: Vec<(Deed, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    New,
    Kept,
    Renewed,
    Note,
}

impl Made {
    /// Something was made.
    pub fn add(&mut self, what: impl Into<String>) {
        self.entries.push((Deed::New, what.into()));
    }

    /// Something was there.
    pub fn keep(&mut self, what: impl Into<String>) {
        self.entries.push((Deed::Kept, what.into()));
    }

    /// Something had expired and was made anew.
    pub fn renew(&mut self, what: impl Into<String>) {
        self.entries.push((Deed::Renewed, what.into()));
    }

    /// Something is odd.
    pub fn note(&mut self, what: impl Into<String>) {
        self.entries.push((Deed::Note, what.into()));
    }

    /// What was made.
    pub fn fresh(&self) -> impl Iterator<Item = &str> {
        self.with(Deed::New)
    }

    /// What was there.
    pub fn kept(&self) -> impl Iterator<Item = &str> {
        self.with(Deed::Kept)
    }

    /// What was made anew.
    pub fn renewed(&self) -> impl Iterator<Item = &str> {
        self.with(Deed::Renewed)
    }

    /// What is odd.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.with(Deed::Note)
    }

    fn with(&self, deed: Deed) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(move |(done, _)| *done == deed)
            .map(|(_, what)| what.as_str())
    }
}

/// Makes a directory and those above it; one that exists is fine.
///
/// # Errors
/// [`PlaceError::Unusable`].
pub fn directory(path: &Path) -> Result<(), PlaceError> {
    fs::create_dir_all(path).map_err(|source| PlaceError::Unusable {
        path: path.to_owned(),
        source,
    })
}

/// The path from the root, links resolved.
///
/// # Errors
/// [`PlaceError::Unusable`].
pub fn resolve(path: &Path) -> Result<PathBuf, PlaceError> {
    fs::canonicalize(path).map_err(|source| PlaceError::Unusable {
        path: path.to_owned(),
        source,
    })
}

/// Writes a file so that a reader sees all of it or none; replaces what was there.
///
/// # Errors
/// [`PlaceError::Write`].
pub fn write_whole(path: &Path, text: &str) -> Result<(), PlaceError> {
    let mut beside = OsString::from(path);
    beside.push(format!(".{}.new", std::process::id()));
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| PlaceError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Removes a file if it is there.
///
/// # Errors
/// [`PlaceError::Write`].
pub fn forget(path: &Path) -> Result<(), PlaceError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(PlaceError::Write {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The text of a file, `None` when there is none.
///
/// # Errors
/// [`PlaceError::Read`].
pub fn read(path: &Path) -> Result<Option<String>, PlaceError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PlaceError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
