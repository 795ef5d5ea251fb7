//! A file that its database can be kept from.
//!
//! A database writes once more when it is closed. Where that would add damage to a file that somebody
//! else has cut short or replaced, the right to write is revoked first.

use std::{
    io,
    ops::{Bound, Deref},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{BackendError, Database, StorageBackend, backends::FileBackend};

/// A database, and the right of it to write.
pub(super) struct Opened {
    database: Database,
    revoked: Revoked,
}

/// Set once the file may not be written any more.
pub(super) type Revoked = Arc<AtomicBool>;

/// A file that can be read, and written until that is revoked.
#[derive(Debug)]
pub(super) struct Revocable {
    file: FileBackend,
    revoked: Revoked,
}

impl Opened {
    pub(super) fn new(database: Database, revoked: Revoked) -> Self {
        Self { database, revoked }
    }

    /// From here on the database writes nothing, not even when it goes.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }
}

impl Deref for Opened {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl Revocable {
    pub(super) fn new(file: FileBackend, revoked: Revoked) -> Self {
        Self { file, revoked }
    }

    fn check(&self) -> io::Result<()> {
        match self.revoked.load(Ordering::Acquire) {
            true => Err(io::Error::other("the right to write was revoked")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Revocable {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(from, to)
    }

    fn try_lock_shared_range(
        &self,
        from: Bound<u64>,
        to: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(from, to)
    }

    fn lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(from, to)
    }

    fn lock_shared_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(from, to)
    }

    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(from, to)
    }

    fn query_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_whose_right_was_revoked_writes_nothing_on_closing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        let revoked = Revoked::default();
        let backend = Revocable::new(FileBackend::new(file).unwrap(), revoked.clone());
        let database = Database::builder().create_with_backend(backend).unwrap();
        let opened = Opened::new(database, revoked);
        super::super::tables::make(&opened).unwrap();
        let before = std::fs::read(&path).unwrap();
        opened.revoke();
        assert!(super::super::tables::make(&opened).is_err());
        drop(opened);
        assert!(std::fs::read(&path).unwrap() == before);
    }
}
