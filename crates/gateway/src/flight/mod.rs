//! The flight recorder: the last failed handshakes and refusals for want of a listed certificate.
//!
//! Workers hand entries to the control side through a bounded channel and never wait: while it is full,
//! entries are dropped and counted, and nothing is made of them. The control side keeps the newest.
//!
//! Invariants:
//! - At most [`MOST_ENTRIES`] entries and [`MOST_BYTES`] bytes are kept, and [`WAITING`] entries wait.
//! - An entry holds no secret: no query, no header but `Host`, no key, no session ticket.
//! - Noting takes no lock and makes no entry that nobody keeps.

mod check;
mod entry;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, sync::mpsc};

pub use self::{
    check::{Check, REFUSALS, Stage},
    entry::{Entry, Leaf, Row},
};

/// Most entries that are kept.
pub const MOST_ENTRIES: usize = 1000;

/// Most bytes that kept entries take, about.
pub const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Entries that may wait to be taken in.
const WAITING: usize = 256;

/// Where workers note what was refused. Cheap to clone.
#[derive(Clone)]
pub struct Notes {
    sender: mpsc::Sender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// What was noted.
pub struct FlightRecorder {
    ring: Mutex<Ring>,
    dropped: Arc<AtomicU64>,
}

/// The newest entries, oldest first.
#[derive(Default)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Notes {
    /// Notes an entry, unless too many wait already.
    pub fn note(&self, entry: impl FnOnce() -> Entry) {
        match self.sender.try_reserve() {
            Ok(place) => place.send(entry()),
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl FlightRecorder {
    /// A recorder that takes in what is noted for as long as anybody may note anything.
    #[must_use]
    pub fn start(runtime: &Handle) -> (Notes, Arc<Self>) {
        let (notes, recorder, mut received) = Self::new();
        let keeper = recorder.clone();
        runtime.spawn(async move {
            while let Some(entry) = received.recv().await {
                keeper.keep(entry);
            }
        });
        (notes, recorder)
    }

    fn new() -> (Notes, Arc<Self>, mpsc::Receiver<Entry>) {
        let (sender, received) = mpsc::channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let recorder = Arc::new(Self {
            ring: Mutex::default(),
            dropped: dropped.clone(),
        });
        (Notes { sender, dropped }, recorder, received)
    }

    /// Takes in an entry; for the control side.
    pub fn keep(&self, entry: Entry) {
        let mut ring = self.ring();
        ring.bytes += entry.bytes();
        ring.entries.push_back(Arc::new(entry));
        while ring.entries.len() > MOST_ENTRIES || ring.bytes > MOST_BYTES {
            let Some(oldest) = ring.entries.pop_front() else {
                break;
            };
            ring.bytes -= oldest.bytes();
        }
    }

    /// The entries, newest first.
    #[must_use]
    pub fn newest(&self) -> Vec<Arc<Entry>> {
        self.ring().entries.iter().rev().cloned().collect()
    }

    /// How many entries were dropped because too many came at once.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing that is done with it can leave it half done.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::SystemTime,
    };

    use portcullis_tls::failure::Reason;

    use super::*;

    fn entry(port: u16) -> Entry {
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let check = Check::Handshake(Reason::Eof);
        Entry::new(SystemTime::UNIX_EPOCH, from, port, check, "")
    }

    #[test]
    fn the_newest_thousand_are_kept_and_told_first() {
        let (_, recorder, _) = FlightRecorder::new();
        for port in 0..1200 {
            recorder.keep(entry(port));
        }
        let kept: Vec<u16> = recorder.newest().iter().map(|entry| entry.port).collect();
        assert_eq!(kept, (200..1200).rev().collect::<Vec<u16>>());
    }

    #[test]
    fn large_entries_push_out_older_ones_before_they_are_too_many() {
        let (_, recorder, _) = FlightRecorder::new();
        let long = "x".repeat(100_000);
        for port in 0..1000 {
            recorder.keep(entry(port).of_request(&long, &long).with_server_name(&long));
        }
        let ring = recorder.ring();
        assert!(ring.bytes <= MOST_BYTES);
        assert_eq!(
            ring.bytes,
            ring.entries
                .iter()
                .map(|entry| entry.bytes())
                .sum::<usize>()
        );
        // What a client can make long is cut, so that it takes many of them.
        assert!(ring.entries.len() > 500, "{}", ring.entries.len());
    }

    #[test]
    fn a_flood_is_dropped_and_counted_and_nothing_is_made_of_it() {
        let (notes, recorder, mut received) = FlightRecorder::new();
        let made = std::cell::Cell::new(0);
        for port in 0..1000 {
            notes.note(|| {
                made.set(made.get() + 1);
                entry(port)
            });
        }
        assert_eq!(made.get(), WAITING);
        assert_eq!(recorder.dropped(), (1000 - WAITING) as u64);
        while let Ok(entry) = received.try_recv() {
            recorder.keep(entry);
        }
        notes.note(|| entry(7));
        assert_eq!(received.try_recv().unwrap().port, 7);
        assert_eq!(recorder.newest().len(), WAITING);
    }
}
