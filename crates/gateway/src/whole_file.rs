//! Writing a file of a directory that others read at any time.
//!
//! Invariant: a reader sees the file as it was or as it will be, never half of it; what is there once
//! [`replace`] returns is there after a power cut.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Longest name of a file; with what is added while writing it fits what file systems allow.
pub const MAX_NAME: usize = 200;

/// Writes the file `name` of a directory, whole or not at all: beside its place under a hidden name,
/// which is then made its own.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = directory.join(name);
    // The permissions of the file that is replaced, else what the process's mask leaves.
    let old = fs::metadata(&path)
        .ok()
        .map(|metadata| metadata.permissions());
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".tmp")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    if let Some(permissions) = old {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    settle(directory);
    Ok(())
}

/// Brings the names of a directory to the disk. Not every file system can, and then the files
/// themselves, which are safe, must do.
pub fn settle(directory: &Path) {
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        tracing::debug!(directory = %directory.display(), %error, "directory not synchronised");
    }
}
