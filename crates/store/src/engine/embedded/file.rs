//! The file of the store: made, opened, looked at, and what to do about each thing that can be wrong
//! with it.
//!
//! Invariants:
//! - A file that is there is never overwritten, shortened or put aside, whatever is wrong with it.
//! - A store gets its name once it is whole, so an empty or half-made file under that name is damage.
//! - Only its owner can read it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, StorageBackend as _,
    backends::{FileBackend, InMemoryBackend},
};
use rustix::fs::access;

use super::{
    lock::{LockError, WriterLock},
    revocable::{Opened, Revocable, Revoked},
    tables,
    unwritten::Unwritten,
};
use crate::StoreError;

/// Name of the store in its directory.
const NAME: &str = "store.redb";

/// Memory for pages of the file, read or about to be written.
const CACHE: usize = 32 << 20;

/// Bytes at the start of the file that every commit changes.
const HEAD_OF_FILE: usize = 4096;

/// How often a copy is tried while its writer commits in between.
const COPIES: usize = 50;

/// How often a copy that does not pass its checks is taken again.
const OPENINGS: usize = 3;

/// The longest file that is copied, in bytes.
const LONGEST_COPY: u64 = 2 << 30;

/// Where a store is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    directory: PathBuf,
    file: PathBuf,
}

/// Whether a database that is opened may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Yes; repairs go to the file.
    Writing,
    /// No; repairs stay in memory.
    Reading,
}

/// Which file it is and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    device: u64,
    inode: u64,
    len: u64,
}

/// What a look at a store found that can be used.
#[derive(Debug, Clone)]
pub enum Inspection {
    /// There is none yet; a start makes it.
    Absent,
    /// A process has it open, so it was good when that process opened it.
    InUse {
        /// Which process.
        holder: String,
    },
    /// Whoever looks may not write it, so a start by the same user would fail.
    Unwritable {
        /// What is in the way and what to do.
        error: StoreError,
    },
    /// It is whole and can be written.
    Good,
}

impl Extent {
    /// Whether a file that was like `before` has been replaced or cut short by somebody else.
    pub(super) fn is_less_than(&self, before: &Self) -> bool {
        (self.device, self.inode) != (before.device, before.inode) || self.len < before.len
    }
}

impl Place {
    pub(super) fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            file: directory.join(NAME),
        }
    }

    /// Something is wrong with the file.
    pub(super) fn broken(&self, reason: impl Into<String>) -> StoreError {
        StoreError::File {
            path: self.file.clone(),
            reason: reason.into(),
        }
    }

    /// Makes the directory when it is missing, takes the right to write and makes the store when it is
    /// missing.
    pub(super) fn prepare(&self) -> Result<WriterLock, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|error| {
                let directory = self.directory.display();
                self.broken(format!(
                    "its directory {directory} cannot be made: {}",
                    self.remedy(&error)
                ))
            })?;
        let lock = WriterLock::take(&self.directory).map_err(|error| self.locked_out(error))?;
        match fs::symlink_metadata(&self.file) {
            Ok(_) => self.warn_of_readers(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            Err(error) => return Err(self.broken(self.remedy(&error))),
        }
        Ok(lock)
    }

    /// Makes an empty store.
    fn make(&self) -> Result<(), StoreError> {
        let unfinished = self.file.with_extension("unfinished");
        let made = || -> Result<(), redb::Error> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)?;
            let backend = FileBackend::new(file.try_clone()?)?;
            let database = Builder::new().create_with_backend(backend)?;
            tables::make(&database)?;
            database.close()?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.file)?;
            // The name is flushed with the directory.
            File::open(&self.directory)?.sync_all()?;
            Ok(())
        };
        made().map_err(|error| {
            // Never the store itself: that has another name.
            let _ = fs::remove_file(&unfinished);
            self.broken(format!("it cannot be made: {}", self.explained(&error)))
        })
    }

    /// Opens the store and checks that it is whole.
    pub(super) fn open(&self, access: Access) -> Result<Opened, StoreError> {
        // A damaged file may make the database give up in its own way.
        let opened = catch_unwind(AssertUnwindSafe(|| self.try_open(access)));
        match opened {
            Ok(Ok(database)) => {
                self.check_format(&database)?;
                Ok(database)
            }
            Ok(Err(error)) => Err(self.broken(self.explained(&error.into()))),
            Err(_) => Err(self.broken(DAMAGED)),
        }
    }

    fn try_open(&self, access: Access) -> Result<Opened, DatabaseError> {
        let writing = access == Access::Writing;
        let file = OpenOptions::new()
            .read(true)
            .write(writing)
            .open(&self.file)?;
        if file.metadata()?.len() == 0 {
            // The database would take it for a new one.
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true);
        let revoked = Revoked::default();
        let database = if writing {
            let file = Revocable::new(FileBackend::new(file)?, revoked.clone());
            builder.create_with_backend(file)
        } else {
            builder.create_with_backend(Unwritten::over(file)?)
        };
        Ok(Opened::new(database?, revoked))
    }

    /// A copy in memory of what the store holds now, whoever has it open; an empty one where there is
    /// no store.
    pub(super) fn open_copy(&self) -> Result<Opened, StoreError> {
        let mut opened = self.open_one_copy();
        // A copy that was taken between two writes of a commit does not pass its checks.
        for _ in 1..OPENINGS {
            if opened.is_ok() {
                break;
            }
            opened = self.open_one_copy();
        }
        opened
    }

    fn open_one_copy(&self) -> Result<Opened, StoreError> {
        let copy = self.copy()?;
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, redb::Error> {
            let mut builder = Builder::new();
            builder.set_check_integrity_on_open(true);
            let database = match copy {
                Some(copy) => builder.create_with_backend(copy)?,
                None => {
                    let database = builder.create_with_backend(InMemoryBackend::new())?;
                    tables::make(&database)?;
                    database
                }
            };
            Ok(Opened::new(database, Revoked::default()))
        }));
        match opened {
            Ok(Ok(database)) => {
                self.check_format(&database)?;
                Ok(database)
            }
            Ok(Err(error)) => Err(self.broken(self.explained(&error))),
            Err(_) => Err(self.broken(DAMAGED)),
        }
    }

    /// The bytes of the file as one commit left them; `None` when there is no file.
    ///
    /// A commit writes pages that nobody needs, and says in the head of the file that they count. So
    /// bytes that were read while the head stayed the same belong together.
    fn copy(&self) -> Result<Option<InMemoryBackend>, StoreError> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.broken(self.remedy(&error))),
        };
        for _ in 0..COPIES {
            let len = file
                .metadata()
                .map_err(|error| self.broken(self.remedy(&error)))?;
            let len = len.len();
            if len > LONGEST_COPY {
                return Err(self.broken(format!(
                    "it has {len} bytes; looking into it copies it into memory, which is done up to \
                     {LONGEST_COPY}"
                )));
            }
            match copy_of(&file, len) {
                Ok(Some(copy)) => return Ok(Some(copy)),
                Ok(None) => {}
                Err(error) => return Err(self.broken(self.remedy(&error))),
            }
        }
        Err(self.broken(
            "the gateway that has it open writes so often that it cannot be looked into; try again",
        ))
    }

    /// The file under the store's name as it is now; `None` when there is none.
    pub(super) fn extent(&self) -> io::Result<Option<Extent>> {
        match fs::metadata(&self.file) {
            Ok(metadata) => Ok(Some(Extent {
                device: metadata.dev(),
                inode: metadata.ino(),
                len: metadata.len(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what the system believes the disk to hold: after a failed flush that may be wrong.
    pub(super) fn distrust_memory(&self) {
        #[cfg(target_os = "linux")]
        if let Ok(file) = File::open(&self.file) {
            // Advice that is not taken leaves things as they are.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }

    /// Whether the directory takes new bytes, tried out with a file of its own.
    pub(super) fn takes_writes(&self) -> bool {
        let probe = self.directory.join("store.probe");
        let written = File::create(&probe)
            .and_then(|mut file| {
                io::Write::write_all(&mut file, &[0; 64 << 10])?;
                file.sync_all()
            })
            .is_ok();
        // It may never have come to be.
        let _ = fs::remove_file(&probe);
        written
    }

    /// Looks at a store without changing anything or standing in anybody's way.
    pub(super) fn inspect(&self) -> Result<Inspection, StoreError> {
        let nearest = self.directory.ancestors().find(|path| path.exists());
        // An empty path is the current directory.
        let nearest = nearest.filter(|path| !path.as_os_str().is_empty());
        let nearest = nearest.unwrap_or(Path::new("."));
        let unwritable = |path: &Path| {
            let error = io::Error::from(access(path, rustix::fs::Access::WRITE_OK).err()?);
            let error = self.broken(format!("{}: {}", path.display(), self.remedy(&error)));
            Some(Inspection::Unwritable { error })
        };
        if let Some(found) = unwritable(nearest) {
            return Ok(found);
        }
        if !self.file.exists() {
            return Ok(Inspection::Absent);
        }
        if let Some(holder) = WriterLock::holder(&self.directory)
            .map_err(|error| self.locked_out(LockError::Io(error)))?
        {
            return Ok(Inspection::InUse { holder });
        }
        match unwritable(&self.file) {
            Some(found) => Ok(found),
            None => self.open(Access::Reading).map(|_| Inspection::Good),
        }
    }

    fn locked_out(&self, error: LockError) -> StoreError {
        match error {
            LockError::Held(holder) => StoreError::InUse {
                path: self.file.clone(),
                holder,
            },
            LockError::Io(error) => self.broken(format!(
                "the lock beside it cannot be taken: {}",
                self.remedy(&error)
            )),
        }
    }

    fn check_format(&self, database: &Database) -> Result<(), StoreError> {
        let found = database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|transaction| tables::format(&transaction));
        match found {
            Ok(Some(tables::FORMAT)) => Ok(()),
            Ok(Some(other)) => Err(self.broken(format!(
                "it has format {other}, this version reads format {}; start the version that wrote it",
                tables::FORMAT
            ))),
            Ok(None) => Err(self.broken(
                "it is a database of another program; name another directory in portcullis.data_dir",
            )),
            Err(error) => Err(self.broken(self.explained(&error))),
        }
    }

    fn warn_of_readers(&self) {
        if let Ok(metadata) = fs::metadata(&self.file)
            && metadata.permissions().mode() & 0o077 != 0
        {
            let path = self.file.display();
            tracing::warn!(%path, "others than its owner can open the embedded store; chmod 600 ends that");
        }
    }

    /// What is wrong and what to do, for an error of the database.
    pub(super) fn explained(&self, error: &redb::Error) -> String {
        match error {
            redb::Error::Io(error) => self.remedy(error),
            redb::Error::Corrupted(_) | redb::Error::RepairAborted => DAMAGED.to_owned(),
            redb::Error::UpgradeRequired(version) => {
                format!(
                    "its file format {version} is not read by this version; start the version that wrote it"
                )
            }
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                "a program that is no gateway has it open; end that program".to_owned()
            }
            redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => {
                "it is a database of another program; name another directory in portcullis.data_dir"
                    .to_owned()
            }
            other => other.to_string(),
        }
    }

    /// What is wrong and what to do, for an error of the system.
    fn remedy(&self, error: &io::Error) -> String {
        use io::ErrorKind;
        let remedy = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "make room on that disk; writing goes on by itself"
            }
            ErrorKind::FileTooLarge => {
                "raise the limit on the size of files (ulimit -f, LimitFSIZE of systemd)"
            }
            ErrorKind::ReadOnlyFilesystem => {
                "mount it writable, or name another directory in portcullis.data_dir"
            }
            ErrorKind::PermissionDenied => {
                let owner = fs::metadata(&self.directory).map(|metadata| metadata.uid());
                let user = rustix::process::geteuid().as_raw();
                let owner = owner.map_or_else(|_| "unknown".to_owned(), |uid| uid.to_string());
                return format!(
                    "{error}; the directory and what is in it must be writable for the user that runs the \
                     gateway (uid {user}; the directory belongs to uid {owner})"
                );
            }
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "a file stands where a directory should; name another directory in portcullis.data_dir"
            }
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => return DAMAGED.to_owned(),
            _ => "see to the disk and its file system",
        };
        format!("{error}; {remedy}")
    }
}

/// The first `len` bytes of a file, unless somebody commits to it meanwhile.
fn copy_of(file: &File, len: u64) -> io::Result<Option<InMemoryBackend>> {
    let mut head = [0; HEAD_OF_FILE];
    file.read_exact_at(&mut head, 0)?;
    let copy = InMemoryBackend::new();
    copy.set_len(len)?;
    let mut bytes = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).unwrap_or(usize::MAX);
        let part = part.min(bytes.len());
        file.read_exact_at(&mut bytes[..part], at)?;
        copy.write(at, &bytes[..part])?;
        at += part as u64;
    }
    let mut now = [0; HEAD_OF_FILE];
    file.read_exact_at(&mut now, 0)?;
    Ok((now == head).then_some(copy))
}

/// What to do about a file that is not what it was.
const DAMAGED: &str = "it is damaged or cut short; it has been left as it is: put a backup in its place, \
                       or move it away to begin with an empty store";
