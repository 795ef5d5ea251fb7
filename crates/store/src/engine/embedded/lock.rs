//! One writer at a time: a file beside the store, locked by the process that has the store open.
//!
//! Invariants:
//! - The lock is the kernel's (`flock`), so it ends with its holder, however that ends; what the
//!   file says is for people and decides nothing.
//! - The file is never removed: two processes would lock two files of one name.

use std::{
    fmt::{self, Display},
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Its name in the directory of the store.
const NAME: &str = "store.lock";

/// How long to ask again: `check` holds the lock for a moment, and a process that was told to stop
/// may still be at it.
const PATIENCE: Duration = Duration::from_millis(400);

/// Who has the store open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pid: u32,
    program: String,
    host: String,
    since: String,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
pub(super) struct WriterLock(
    #[expect(dead_code, reason = "held for what it does when it goes")] File,
);

/// Why the right to write is not to be had.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody has it.
    Held(String),
    /// The file cannot be opened or written.
    Io(io::Error),
}

impl Holder {
    fn this_process() -> Self {
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default();
        let host = rustix::system::uname();
        Self {
            pid: std::process::id(),
            program: program.to_string_lossy().into_owned(),
            host: host.nodename().to_string_lossy().into_owned(),
            since: OffsetDateTime::from(SystemTime::now())
                .replace_nanosecond(0)
                .ok()
                .and_then(|now| now.format(&Rfc3339).ok())
                .unwrap_or_default(),
        }
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            program,
            host,
            since,
        } = self;
        write!(f, "process {pid} ({program}) on host {host} since {since}")
    }
}

impl WriterLock {
    /// Takes the lock of a directory and writes there who has it.
    pub(super) fn take(directory: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(directory.join(NAME))
            .map_err(LockError::Io)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(said_in(&mut file))),
            }
        }
        let holder = serde_json::to_string(&Holder::this_process()).unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{holder}"))
            .map_err(LockError::Io)?;
        Ok(Self(file))
    }

    /// Who has the lock of a directory, if anybody does. Leaves nothing behind.
    pub(super) fn holder(directory: &Path) -> io::Result<Option<String>> {
        let mut file = match File::open(directory.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(said_in(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// What the file says about its holder, who may just have begun to write it.
fn said_in(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read.map(|_| serde_json::from_str::<Holder>(&text)) {
        Ok(Ok(holder)) => holder.to_string(),
        _ => format!("another process ({NAME} does not say which)"),
    }
}

/// A link in place of the file would let its maker choose what is overwritten.
fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(WriterLock::holder(dir.path()).unwrap(), None);
        let lock = WriterLock::take(dir.path()).unwrap();
        let pid = format!("process {} (", std::process::id());
        match WriterLock::take(dir.path()).unwrap_err() {
            LockError::Held(holder) => {
                assert!(holder.starts_with(&pid), "{holder}");
                assert!(
                    holder.contains(" on host ") && holder.contains(" since 20"),
                    "{holder}"
                );
            }
            LockError::Io(error) => panic!("{error}"),
        }
        let seen = WriterLock::holder(dir.path()).unwrap();
        assert!(seen.is_some_and(|holder| holder.starts_with(&pid)));
        drop(lock);
        assert_eq!(WriterLock::holder(dir.path()).unwrap(), None);
        WriterLock::take(dir.path()).unwrap();
    }

    #[test]
    fn what_a_dead_holder_left_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        for left in ["", "{\"pid\":1", "not for machines"] {
            std::fs::write(dir.path().join(NAME), left).unwrap();
            assert_eq!(WriterLock::holder(dir.path()).unwrap(), None);
            let _lock = WriterLock::take(dir.path()).unwrap();
            assert!(WriterLock::holder(dir.path()).unwrap().is_some(), "{left}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("precious");
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join(NAME)).unwrap();
        assert!(matches!(
            WriterLock::take(dir.path()),
            Err(LockError::Io(_))
        ));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    }
}
