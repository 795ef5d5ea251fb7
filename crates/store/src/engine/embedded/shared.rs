//! What readers and the writer share: the open database, the counters, the clock, the health.
//!
//! A database refuses everything after one failed access, so it is opened again then: for reading and
//! writing, or for reading alone while the disk takes no writes. Readers go on at most one opening
//! later.
//!
//! Invariant: the database is replaced only by the writer, and only while nobody reads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use redb::Database;
use tokio::sync::watch;

use super::{
    clock::Clock,
    counters::Counters,
    file::{Access, Place},
    tables::{Failure, View},
};
use crate::{Health, StoreError};

/// The store as all its users know it.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) clock: Clock,
    pub(super) counters: Counters,
    pub(super) health: watch::Sender<Health>,
    slot: RwLock<Slot>,
}

/// The database, and since when it is this one.
struct Slot {
    generation: u64,
    state: State,
}

/// How far the store can be used.
pub(super) enum State {
    /// For everything.
    Open(Database),
    /// For reading; why not for writing.
    Unwritable(Database, StoreError),
    /// For nothing.
    Broken(StoreError),
}

/// Why something could not be read.
pub(super) enum Unread {
    /// It cannot.
    No(StoreError),
    /// The database of this generation failed; the next one may do better.
    Failed(u64, StoreError),
}

impl Shared {
    pub(super) fn new(place: Place, database: Database) -> Self {
        Self {
            place,
            clock: Clock::new(),
            counters: Counters::default(),
            health: watch::Sender::new(Health::Up),
            slot: RwLock::new(Slot {
                generation: 0,
                state: State::Open(database),
            }),
        }
    }

    /// Reads what `work` reads.
    pub(super) fn read<T>(&self, work: &impl Fn(&View) -> Result<T, Failure>) -> Result<T, Unread> {
        let slot = self.lock();
        let database = match &slot.state {
            State::Open(database) | State::Unwritable(database, _) => database,
            State::Broken(error) => return Err(Unread::No(error.clone())),
        };
        let now = self.clock.now();
        // A page that is not what it was may make the database give up in its own way.
        let read = catch_unwind(AssertUnwindSafe(|| work(&View::open(database, now)?)));
        let reason = match read {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Failure::Rule(error))) => return Err(Unread::No(error)),
            Ok(Err(Failure::Storage(error))) => self.place.explained(&error),
            Err(_) => "it cannot be read".to_owned(),
        };
        Err(Unread::Failed(slot.generation, self.place.broken(reason)))
    }

    fn lock(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `work` with the state as it is; it does not change meanwhile.
    pub(super) fn with_state<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.lock().state)
    }

    /// Which database it is: grows with each opening.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Opens the store again after `cause`; whether it can be written then.
    pub(super) fn reopen(&self, access: Access, cause: StoreError) -> bool {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.generation += 1;
        // The old one lets go of the file first.
        slot.state = State::Broken(cause.clone());
        self.place.distrust_memory();
        let opened = match access {
            Access::Writing => self.place.open(Access::Writing).map(State::Open),
            Access::Reading => Err(cause),
        };
        slot.state = opened.unwrap_or_else(|cause| match self.place.open(Access::Reading) {
            Ok(database) => State::Unwritable(database, cause),
            Err(error) => State::Broken(error),
        });
        let health = match &slot.state {
            State::Open(_) => Health::Up,
            State::Unwritable(_, error) => Health::Down {
                reason: format!("{error} (what is in it can still be read)"),
            },
            State::Broken(error) => Health::Down {
                reason: error.to_string(),
            },
        };
        drop(slot);
        self.tell(health)
    }

    /// Says how the store is, once for each change; whether it is well.
    fn tell(&self, health: Health) -> bool {
        let is_up = health == Health::Up;
        self.health.send_if_modified(|before| {
            let changed = (*before == Health::Up) != is_up;
            if changed {
                match &health {
                    Health::Up => tracing::info!("the embedded store can be written again"),
                    Health::Down { reason } => tracing::error!("the store has failed: {reason}"),
                }
            }
            let differs = *before != health;
            *before = health;
            differs
        });
        is_up
    }

    /// Lets go of the file for good.
    pub(super) fn close(&self) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.generation += 1;
        slot.state = State::Broken(
            self.place
                .broken("it has been closed: the process is stopping"),
        );
    }
}
