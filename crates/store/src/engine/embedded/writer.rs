//! The one thread that writes.
//!
//! It takes what is queued and commits it in one transaction, so that any number of writers share one
//! flush; each is answered after the flush. Between groups it writes counters behind, removes what has
//! expired, and opens the store again after a failure.
//!
//! Invariants:
//! - Who is answered with success finds the change after a crash.
//! - When a commit fails, everybody in it is told, and nobody sees any of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use redb::{Database, Durability};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    file::Access,
    lock::WriterLock,
    shared::{Shared, State, Unread},
    tables::{Failure, Live, Tables, is_a_list, number},
};
use crate::{Count, Lifetime, StoreError};

/// How often counters are written and expired entries looked for.
const TICK: Duration = Duration::from_millis(500);

/// How often idle counters are forgotten, in ticks.
const TIDY: u32 = 20;

/// How many changes share a transaction at most.
const GROUP: usize = 1_024;

/// How many counters or expired entries a transaction takes at most, so that changes do not wait.
const STEP: usize = 2_048;

/// Until the store is opened again after a failure; doubled up to a minute while that fails.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// What the writer is asked.
pub(super) enum Message {
    /// To change something.
    Change(Box<dyn Change>),
    /// To count on a counter that is not in memory.
    Count(CountRequest),
    /// To open the store again, unless it has been since this generation.
    Reopen(u64, StoreError, oneshot::Sender<()>),
    /// To write all that is in memory.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// To write all that is in memory and let go of the file.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A request to count on a counter that is not in memory.
pub(super) struct CountRequest {
    pub(super) key: String,
    pub(super) by: i64,
    pub(super) window: Option<Duration>,
    pub(super) reply: oneshot::Sender<Result<Count, StoreError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// A change somebody waits for.
pub(super) trait Change: Send {
    /// Makes the change in a transaction. An error ends the transaction.
    fn apply(&mut self, tables: &mut Tables<'_>, settle: Settle<'_>) -> Result<(), redb::Error>;

    /// Answers once the transaction has been flushed, or has failed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// Brings a counter from memory into the transaction, before something else is done with its name.
pub(super) type Settle<'a> = &'a mut dyn FnMut(&mut Tables<'_>, &str) -> Result<(), redb::Error>;

/// A change of these entries that a closure makes.
pub(super) struct Task<W, T> {
    pub(super) keys: Vec<String>,
    pub(super) work: Option<W>,
    pub(super) outcome: Option<Result<T, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

impl<W, T> Change for Task<W, T>
where
    W: FnOnce(&mut Tables<'_>, &[String]) -> Result<T, Failure> + Send,
    T: Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>, settle: Settle<'_>) -> Result<(), redb::Error> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        for key in &self.keys {
            settle(tables, key)?;
        }
        self.outcome = Some(match work(tables, &self.keys) {
            Ok(result) => Ok(result),
            Err(Failure::Rule(error)) => Err(error),
            Err(Failure::Storage(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (committed, self.outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome,
            // A transaction is not committed before every change in it has been made.
            (Ok(()), None) => return,
        };
        // Who asked may have left; what was written stays.
        let _ = self.reply.send(result);
    }
}

/// The writer.
pub(super) struct Writer {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    retry: Duration,
    retry_at: Instant,
    /// Held from the first opening to the end.
    lock: Option<WriterLock>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        messages: mpsc::Receiver<Message>,
        lock: Option<WriterLock>,
    ) -> Self {
        Self {
            shared,
            messages,
            retry: RETRY,
            retry_at: Instant::now(),
            lock,
        }
    }

    /// Works until it is told to close, or nobody is left to tell it anything.
    pub(super) fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        let mut ticks = 0_u32;
        let close = loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            let first = match self.messages.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            };
            if let Some(close) = first.and_then(|first| self.serve(first)) {
                break Some(close);
            }
            if Instant::now() >= next_tick {
                ticks = ticks.wrapping_add(1);
                let more = self.tick(ticks.is_multiple_of(TIDY));
                next_tick = Instant::now() + if more { Duration::ZERO } else { TICK };
            }
        };
        let flushed = self.flush();
        self.shared.close();
        drop(self.lock);
        if let Some(reply) = close {
            // Who waits for it may have given up.
            let _ = reply.send(flushed);
        } else if let Err(error) = flushed {
            tracing::error!("the last counts are lost: {error}");
        }
    }

    /// Serves a message and all that wait behind it; who is told when the store has been closed.
    fn serve(&mut self, first: Message) -> Option<oneshot::Sender<Result<(), StoreError>>> {
        let mut changes = Vec::new();
        let mut close = None;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Change(change) => changes.push(change),
                // Before the changes: those are not committed yet, so the file is what counts.
                Message::Count(request) => self.count(request),
                Message::Reopen(generation, cause, reply) => {
                    if self.shared.generation() == generation {
                        self.fail(cause);
                    }
                    let _ = reply.send(());
                }
                Message::Flush(reply) => {
                    self.commit(std::mem::take(&mut changes));
                    let _ = reply.send(self.flush());
                }
                Message::Close(reply) => close = Some(reply),
            }
            next = match close.is_none() && changes.len() < GROUP {
                true => self.messages.try_recv().ok(),
                false => None,
            };
        }
        self.commit(changes);
        close
    }

    /// Takes a counter into memory and counts.
    fn count(&mut self, request: CountRequest) {
        let CountRequest {
            key, by, window, ..
        } = request;
        let shared = self.shared.clone();
        let counted = || {
            let end = |lifetime| shared.clock.end(lifetime);
            shared
                .counters
                .count(&key, by, window, shared.clock.now(), end)
        };
        let result = match counted() {
            // Somebody else was first.
            Some(result) => result,
            None => self.stored_number(&key).and_then(|stored| {
                let (value, expires) = stored.unwrap_or_else(|| {
                    let lifetime = window.map_or(Lifetime::Forever, Lifetime::For);
                    (0, shared.clock.end(lifetime))
                });
                if !shared
                    .counters
                    .take_in(&key, value, expires, shared.clock.now())
                {
                    return Err(shared.place.broken("too many counters are at work"));
                }
                counted().unwrap_or_else(|| Err(shared.place.broken("a counter vanished")))
            }),
        };
        let _ = request.reply.send(result);
    }

    fn stored_number(&mut self, key: &str) -> Result<Option<(i64, u64)>, StoreError> {
        let shared = self.shared.clone();
        let read = || {
            shared.read(&|view| {
                view.entry(key, |live| match live {
                    Live::Value { value, expires } => Ok((number(key, value)?, expires)),
                    Live::List => Err(is_a_list(key)),
                })
            })
        };
        match read() {
            Ok(found) => Ok(found),
            Err(Unread::No(error)) => Err(error),
            Err(Unread::Failed(_, error)) => {
                self.fail(error);
                read().map_err(|unread| match unread {
                    Unread::No(error) | Unread::Failed(_, error) => error,
                })
            }
        }
    }

    /// Commits changes in one transaction and answers each.
    fn commit(&mut self, mut changes: Vec<Box<dyn Change>>) {
        if changes.is_empty() {
            return;
        }
        let shared = self.shared.clone();
        let counters = &shared.counters;
        let mut leaving = Vec::new();
        let result = self.transact(|tables| {
            let mut settle = |tables: &mut Tables<'_>, key: &str| {
                let Some((value, expires)) = counters.leave(key) else {
                    return Ok(());
                };
                leaving.push(key.to_owned());
                tables.put(key, value.to_string().as_bytes(), expires)
            };
            for change in &mut changes {
                change.apply(tables, &mut settle)?;
            }
            Ok(())
        });
        counters.left(leaving, result.is_ok());
        for change in changes {
            change.answer(result.clone());
        }
    }

    /// Flushed when it returns `Ok`; otherwise nothing happened and the store has been opened again.
    fn transact(
        &mut self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        if shared.with_state(|state| matches!(state, State::Open(_)))
            && let Some(error) = shared.interference()
        {
            self.fail(error.clone());
            return Err(error);
        }
        let failed = shared.with_state(|state| match state {
            State::Open(database) => {
                let now = shared.clock.now();
                // A page that is not what it was may make the database give up in its own way.
                match catch_unwind(AssertUnwindSafe(|| in_transaction(database, now, work))) {
                    Ok(Ok(())) => Ok(None),
                    Ok(Err(error)) => Ok(Some(shared.place.explained(&error))),
                    Err(_) => Ok(Some("it cannot be written".to_owned())),
                }
            }
            State::Unwritable(_, error) | State::Broken(error) => Err(error.clone()),
        })?;
        match failed {
            None => {
                shared.changed();
                self.retry = RETRY;
                Ok(())
            }
            Some(reason) => {
                let error = shared.place.broken(reason);
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Goes on reading after a failure, and plans to write again.
    fn fail(&mut self, cause: StoreError) {
        if self.is_there() {
            self.shared.reopen(Access::Reading, cause);
        } else {
            self.shared.write_no_more(cause);
        }
        self.retry_at = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(MAX_RETRY);
    }

    /// Without its name the file would be gone once it is let go of.
    fn is_there(&self) -> bool {
        !matches!(self.shared.place.extent(), Ok(None))
    }

    /// Opens the store after a failure; whether it can be written then.
    fn open_again(&mut self, cause: StoreError) -> bool {
        let shared = &self.shared;
        if self.lock.is_some() {
            return self.is_there()
                && shared.place.takes_writes()
                && shared.reopen(Access::Writing, cause);
        }
        // Nothing has been read or written yet, so it goes as at a start.
        match shared.place.prepare() {
            Ok(lock) => {
                let is_up = shared.reopen(Access::Writing, cause);
                // Nobody is shut out from what is of no use here.
                let is_of_use = shared.with_state(|state| !matches!(state, State::Broken(_)));
                self.lock = is_of_use.then_some(lock);
                is_up
            }
            Err(error) => {
                shared.still_broken(error);
                false
            }
        }
    }

    /// What is to be done from time to time; whether there is more of it.
    fn tick(&mut self, tidy: bool) -> bool {
        let shared = self.shared.clone();
        let failure = shared.with_state(|state| match state {
            State::Open(_) => None,
            State::Unwritable(_, error) | State::Broken(error) => Some(error.clone()),
        });
        if let Some(cause) = failure {
            if Instant::now() < self.retry_at {
                return false;
            }
            if !self.open_again(cause) {
                self.retry_at = Instant::now() + self.retry;
                self.retry = (self.retry * 2).min(MAX_RETRY);
                return false;
            }
        }
        if tidy {
            shared.counters.tidy(shared.clock.now());
        }
        // The failure has been told.
        let counted = self.write_counters().unwrap_or(0);
        let due = shared.read(&|view| view.has_due()).unwrap_or(false);
        if due && self.transact(|tables| tables.sweep(STEP)).is_err() {
            return false;
        }
        counted == STEP || due
    }

    /// Writes counters, a step of them; how many.
    fn write_counters(&mut self) -> Result<usize, StoreError> {
        let shared = self.shared.clone();
        let counters = shared.counters.to_write(STEP, shared.clock.now());
        if counters.is_empty() {
            return Ok(0);
        }
        let result = self.transact(|tables| {
            for (key, value, expires) in &counters {
                tables.put(key, value.to_string().as_bytes(), *expires)?;
            }
            Ok(())
        });
        let count = counters.len();
        if result.is_err() {
            let keys = counters.into_iter().map(|(key, ..)| key);
            shared.counters.not_written(keys);
        }
        result.map(|()| count)
    }

    /// Writes everything that is in memory only.
    fn flush(&mut self) -> Result<(), StoreError> {
        while self.write_counters()? > 0 {}
        Ok(())
    }
}

fn in_transaction(
    database: &Database,
    now: u64,
    work: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut tables = Tables::open(&transaction, now)?;
    work(&mut tables)?;
    drop(tables);
    transaction.commit()?;
    Ok(())
}
