//! What readers and the writer share: the open database, the counters, the clock, the health.
//!
//! A database refuses everything after one failed access, so it is opened again then: for reading and
//! writing, or for reading alone while the disk takes no writes. Readers go on at most one opening
//! later.
//!
//! Invariant: the database is replaced only by the writer, and only while nobody reads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::watch;

use super::{
    clock::Clock,
    counters::Counters,
    file::{Access, Extent, Place},
    revocable::Opened,
    tables::{Failure, View},
};
use crate::{Health, StoreError};

/// The store as all its users know it.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) clock: Clock,
    pub(super) counters: Counters,
    pub(super) health: watch::Sender<Health>,
    /// The file after the last change of ours.
    extent: Mutex<Option<Extent>>,
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
    Open(Opened),
    /// For reading; why not for writing.
    Unwritable(Opened, StoreError),
    /// For nothing.
    Broken(StoreError),
}

impl State {
    fn health(&self) -> Health {
        match self {
            Self::Open(_) => Health::Up,
            Self::Unwritable(_, error) => Health::Down {
                reason: format!("{error} (what is in it can still be read)"),
            },
            Self::Broken(error) => Health::Down {
                reason: error.to_string(),
            },
        }
    }
}

/// Why something could not be read.
pub(super) enum Unread {
    /// It cannot.
    No(StoreError),
    /// The database of this generation failed; the next one may do better.
    Failed(u64, StoreError),
}

impl Shared {
    pub(super) fn new(place: Place, opened: Result<Opened, StoreError>) -> Self {
        let state = opened.map_or_else(State::Broken, State::Open);
        let health = state.health();
        if let Health::Down { reason } = &health {
            tracing::error!("the store has failed, what needs none is served: {reason}");
        }
        let extent = Mutex::new(place.extent().ok().flatten());
        Self {
            extent,
            place,
            clock: Clock::new(),
            counters: Counters::default(),
            health: watch::Sender::new(health),
            slot: RwLock::new(Slot {
                generation: 0,
                state,
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
        // The old one lets go of the file first, and leaves it as it is.
        if let State::Open(database) | State::Unwritable(database, _) = &slot.state {
            database.revoke();
        }
        slot.state = State::Broken(cause.clone());
        self.place.distrust_memory();
        let opened = match access {
            Access::Writing => self.place.open(Access::Writing).map(State::Open),
            Access::Reading => Err(cause),
        };
        *self.known_extent() = self.place.extent().ok().flatten();
        slot.state = opened.unwrap_or_else(|cause| match self.place.open(Access::Reading) {
            Ok(database) => State::Unwritable(database, cause),
            Err(error) => State::Broken(error),
        });
        let health = slot.state.health();
        drop(slot);
        self.tell(health)
    }

    fn known_extent(&self) -> MutexGuard<'_, Option<Extent>> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the file as the last transaction left it.
    pub(super) fn changed(&self) {
        *self.known_extent() = self.place.extent().ok().flatten();
    }

    /// What somebody else did to the file, if so: a change of ours would be lost with it.
    pub(super) fn interference(&self) -> Option<StoreError> {
        let known = (*self.known_extent())?;
        match self.place.extent() {
            Ok(Some(extent)) if extent.is_less_than(&known) => Some(self.place.broken(
                "another program has replaced it or cut it short; stop the gateway and put a backup in its \
                 place",
            )),
            // What the system refuses to tell, the transaction will meet.
            Ok(Some(_)) | Err(_) => None,
            Ok(None) => Some(self.place.broken(
                "somebody has removed it; put it or a backup in its place, then writing goes on by itself",
            )),
        }
    }

    /// Writes no more to the database that is open, which can still be read though its file has lost
    /// its name.
    pub(super) fn write_no_more(&self, cause: StoreError) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let state = std::mem::replace(&mut slot.state, State::Broken(cause.clone()));
        slot.state = match state {
            State::Open(database) | State::Unwritable(database, _) => {
                State::Unwritable(database, cause)
            }
            broken @ State::Broken(_) => broken,
        };
        let health = slot.state.health();
        drop(slot);
        self.tell(health);
    }

    /// A store that has not been opened yet cannot be for another reason, perhaps.
    pub(super) fn still_broken(&self, cause: StoreError) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        slot.state = State::Broken(cause);
        let health = slot.state.health();
        drop(slot);
        self.tell(health);
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
