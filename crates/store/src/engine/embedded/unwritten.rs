//! A file that can be read as a database though nothing may be written to it.
//!
//! After a crash or a failed write a database repairs itself when it is opened, which writes. Here
//! those writes stay in memory, so that what was acknowledged can be read from a disk that is full or
//! read-only, and can be looked at without being touched.
//!
//! Invariant: the file is never written.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    ops::{Bound, Range},
    os::unix::fs::FileExt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{BackendError, StorageBackend};

const PAGE: u64 = 4096;

/// A file, and what was written over it.
#[derive(Debug)]
pub(super) struct Unwritten {
    file: File,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    /// Length as the database sees it.
    len: u64,
    /// How much of the file still counts: it was never shorter than this.
    file_len: u64,
    /// Whole pages, by number.
    pages: HashMap<u64, Box<[u8]>>,
}

impl Unwritten {
    pub(super) fn over(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let over = Mutex::new(Over {
            len,
            file_len: len,
            pages: HashMap::new(),
        });
        Ok(Self { file, over })
    }

    fn lock(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the file; zeros where it has ended.
    fn read_file(&self, file_len: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = file_len.saturating_sub(offset).min(out.len() as u64);
        let (there, rest) = out.split_at_mut(usize::try_from(there).unwrap_or(usize::MAX));
        rest.fill(0);
        self.file.read_exact_at(there, offset)
    }
}

/// The pages of a range, each with the part of it and the part of the buffer that belong together.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE).ok()?;
        let take = (len - done).min(usize::try_from(PAGE).ok()? - within);
        let piece = (at / PAGE, within..within + take, done..done + take);
        done += take;
        Some(piece)
    })
}

impl StorageBackend for Unwritten {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        if offset.saturating_add(out.len() as u64) > over.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, within, part) in pieces(offset, out.len()) {
            let out = &mut out[part];
            match over.pages.get(&page) {
                Some(bytes) => out.copy_from_slice(&bytes[within]),
                None => self.read_file(over.file_len, page * PAGE + within.start as u64, out)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.lock();
        if len < over.len {
            over.file_len = over.file_len.min(len);
            over.pages.retain(|page, _| page * PAGE < len);
            if let Some(last) = over.pages.get_mut(&(len / PAGE)) {
                last[usize::try_from(len % PAGE).unwrap_or_default()..].fill(0);
            }
        }
        over.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        let file_len = over.file_len;
        for (page, within, part) in pieces(offset, data.len()) {
            let bytes = match over.pages.entry(page) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let mut bytes = vec![0; usize::try_from(PAGE).unwrap_or_default()];
                    self.read_file(file_len, page * PAGE, &mut bytes)?;
                    entry.insert(bytes.into_boxed_slice())
                }
            };
            bytes[within].copy_from_slice(&data[part]);
        }
        Ok(())
    }

    // Nobody else can see what is written here; who may read the file has been settled before.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is written, what is read is what a file would hold, and the file is as before.
    #[test]
    fn it_reads_like_a_file_that_was_written() {
        let before: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        let dir = tempfile::tempdir().unwrap();
        let (path, model_path) = (dir.path().join("file"), dir.path().join("model"));
        std::fs::write(&path, &before).unwrap();
        std::fs::write(&model_path, &before).unwrap();
        let unwritten = Unwritten::over(File::open(&path).unwrap()).unwrap();
        let model = File::options()
            .read(true)
            .write(true)
            .open(&model_path)
            .unwrap();
        let same = || {
            let len = unwritten.len().unwrap();
            assert_eq!(len, model.metadata().unwrap().len());
            let (mut ours, mut theirs) = (vec![1; len as usize], vec![2; len as usize]);
            unwritten.read(0, &mut ours).unwrap();
            model.read_exact_at(&mut theirs, 0).unwrap();
            assert!(ours == theirs);
            let mut part = vec![0; 5_000];
            unwritten.read(4_000, &mut part).unwrap();
            assert!(part == theirs[4_000..9_000]);
            assert!(unwritten.read(len - 1, &mut [0; 2]).is_err());
        };
        same();
        for (offset, len) in [
            (0, 10),
            (4_090, 20),
            (8_192, 4_096),
            (15_000, 5_000),
            (3, 12_000),
        ] {
            unwritten.write(offset, &vec![7; len]).unwrap();
            model.write_all_at(&vec![7; len], offset).unwrap();
            same();
        }
        for len in [40_000, 13_001, 30_000, 12_288, 20_000] {
            unwritten.set_len(len).unwrap();
            model.set_len(len).unwrap();
            same();
            unwritten.write(len - 10, b"0123456789").unwrap();
            model.write_all_at(b"0123456789", len - 10).unwrap();
            same();
        }
        assert!(std::fs::read(&path).unwrap() == before);
    }
}
