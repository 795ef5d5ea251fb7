//! Files that hold certificates: noticing a change, writing a private one.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What a file looked like when it was read. Two stamps of an unchanged file are equal.
///
/// The path a symbolic link leads to is part of it, so that swapping the link (as Kubernetes
/// does with mounted secrets) counts as a change even when the content has the same size and age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// The path as configured.
    pub path: PathBuf,
    /// Where it leads, links resolved.
    pub target: PathBuf,
    /// Last modification.
    pub modified: SystemTime,
    /// Inode number and device, which change when a file is replaced.
    pub inode: (u64, u64),
    /// Length in bytes.
    pub size: u64,
}

impl FileStamp {
    /// Takes the stamp of the file at `path`.
    pub fn of(path: &Path) -> io::Result<FileStamp> {
        let target = fs::canonicalize(path)?;
        let metadata = fs::metadata(&target)?;
        Ok(FileStamp {
            path: path.to_owned(),
            target,
            modified: metadata.modified()?,
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
        })
    }

    /// Whether the file is still what it was. A file that cannot be looked at has changed.
    pub fn is_current(&self) -> bool {
        FileStamp::of(&self.path).is_ok_and(|now| now == *self)
    }
}

/// Writes `pem` to `path`, readable and writable by the owner only.
///
/// The file appears whole or not at all: it is written beside its place, flushed to the disk
/// and renamed, so a reader never sees half a key and an old file stays when the disk is full.
pub fn write_private(path: &Path, pem: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = (|| {
        // A leftover of a crash may have other permissions: start anew.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(pem)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Writes `bytes` to a file that is not there yet, with these permissions.
///
/// What is there is never touched: that is [`io::ErrorKind::AlreadyExists`].
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file is of no use to anybody.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_private_file_is_for_its_owner_only_and_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.key");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_has_its_permissions_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.key");
        write_new(&path, b"one", 0o600).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let again = write_new(&path, b"two", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_stamp_notices_new_content_a_swapped_link_and_a_missing_file() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "same").unwrap();
        fs::write(&b, "same").unwrap();
        let link = dir.path().join("link");
        symlink(&a, &link).unwrap();
        let (of_file, of_link) = (FileStamp::of(&a).unwrap(), FileStamp::of(&link).unwrap());
        assert!(of_file.is_current() && of_link.is_current());

        fs::remove_file(&link).unwrap();
        symlink(&b, &link).unwrap();
        assert!(!of_link.is_current());

        fs::write(&a, "longer").unwrap();
        assert!(!of_file.is_current());
        fs::remove_file(&a).unwrap();
        assert!(!of_file.is_current());
    }
}
