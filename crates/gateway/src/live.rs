//! The current snapshot, for everybody, and a resting place for past ones.
//!
//! Taking apart a snapshot of ten thousand APIs takes milliseconds that no request should wait for.
//! So past snapshots stay here until no worker holds them and are taken apart by the control side.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use crate::snapshot::Snapshot;

/// The current snapshot.
pub struct Live {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
    past: Mutex<Vec<Arc<Snapshot>>>,
}

impl Live {
    /// Starts with a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        let generation = AtomicU64::new(first.generation);
        Self {
            current: ArcSwap::from_pointee(first),
            generation,
            past: Mutex::default(),
        }
    }

    /// Generation of the current snapshot.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a new snapshot in place. Control side only.
    pub fn replace(&self, next: Snapshot) {
        let generation = next.generation;
        let old = self.current.swap(Arc::new(next));
        self.generation.store(generation, Ordering::Release);
        let mut past = self
            .past
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        past.push(old);
    }

    /// Takes apart past snapshots that nobody holds. Control side only.
    pub fn bury(&self) {
        let mut past = self
            .past
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        past.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}
