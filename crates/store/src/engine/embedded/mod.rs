//! The embedded engine: one file, one process that writes it.
//!
//! ```text
//! file       the file: made, opened, looked at; what to do about what is wrong with it
//! lock       who has it open
//! tables     what it holds, and every change as a function of a transaction
//! writer     the thread that writes: groups of changes, counters behind, sweeping, opening again
//! shared     what readers and the writer share
//! counters   counters that are at work, in memory
//! revocable  keeping a database from a file that somebody else has damaged
//! unwritten  reading a file that cannot be written
//! clock      the time expiries are compared with
//! ```
//!
//! Invariants:
//! - A change that was answered with success was flushed before. Only counts are answered earlier; a
//!   crash may lose those of the last second.
//! - While the disk takes no writes, what is stored can still be read, and counters go on in memory.
//! - The file is never overwritten, shortened or put aside because something is wrong with it.

mod clock;
mod counters;
mod file;
mod lock;
mod revocable;
mod shared;
mod tables;
mod unwritten;
mod writer;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast, oneshot, watch};

pub use self::file::Inspection;
use self::{
    clock::left,
    counters::Known,
    file::{Access, Place},
    lock::WriterLock,
    revocable::Opened,
    shared::{Shared, Unread},
    tables::{Failure, Live, Tables, View, is_a_list},
    writer::{CountRequest, Message as Order, Task, Writer},
};
use super::{
    Condition, Count, Health, Lifetime, Slide, Window,
    messages::{Inbox, Message},
    slides::Slides,
};
use crate::StoreError;

/// How many changes may wait for the writer; whoever comes then waits for room.
const QUEUE: usize = 8_192;

/// The longest value, in bytes.
const LONGEST: usize = 64 << 20;

/// The embedded engine. Cheap to clone.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    orders: Option<mpsc::Sender<Order>>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
    inbox: Inbox,
    slides: Slides,
}

impl Drop for Inner {
    /// Waits until the last counts are written and the lock is free.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(writer) = self.writer.take() {
            // It catches what a damaged file does to it.
            let _ = writer.join();
        }
    }
}

impl Embedded {
    /// Opens the store in a directory, which is made when it is missing, for this process alone.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open; [`StoreError::File`] when it cannot be
    /// made, read or written.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let place = Place::of(directory);
        let lock = place.prepare()?;
        let database = place.open(Access::Writing)?;
        Self::start(place, Ok((database, lock)))
    }

    /// The same, but what cannot be made, read or written is opened as soon as it has been mended. Until
    /// then everything that is asked of it fails, its health says why, and no lock is held.
    ///
    /// # Errors
    /// [`StoreError::InUse`]: two processes on one store are a mistake that does not mend itself.
    pub fn open_when_mended(directory: &Path) -> Result<Self, StoreError> {
        let place = Place::of(directory);
        let opened = place
            .prepare()
            .and_then(|lock| Ok((place.open(Access::Writing)?, lock)));
        match opened {
            Err(error @ StoreError::InUse { .. }) => Err(error),
            opened => Self::start(place, opened),
        }
    }

    fn start(
        place: Place,
        opened: Result<(Opened, WriterLock), StoreError>,
    ) -> Result<Self, StoreError> {
        let (database, lock) = match opened {
            Ok((database, lock)) => (Ok(database), Some(lock)),
            Err(error) => (Err(error), None),
        };
        let shared = Arc::new(Shared::new(place, database));
        let (orders, received) = mpsc::channel();
        let writer = Writer::new(shared.clone(), received, lock);
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| {
                shared
                    .place
                    .broken(format!("its thread cannot be started: {error}"))
            })?;
        Ok(Self(Arc::new(Inner {
            shared,
            orders: Some(orders),
            room: Arc::new(Semaphore::new(QUEUE)),
            writer: Some(writer),
            inbox: Inbox::default(),
            slides: Slides::default(),
        })))
    }

    /// What the store of a directory holds now, for somebody who only wants to read it: a copy, which
    /// what the store's own process writes afterwards does not reach. Whatever is to be changed fails.
    /// Where there is no store, none is made, and nothing is in it.
    ///
    /// # Errors
    /// [`StoreError::File`] when it cannot be read.
    pub fn aside(directory: &Path) -> Result<Self, StoreError> {
        let place = Place::of(directory);
        let opened = place.open_copy()?;
        Ok(Self(Arc::new(Inner {
            shared: Arc::new(Shared::new(place, Ok(opened))),
            orders: None,
            room: Arc::new(Semaphore::new(QUEUE)),
            writer: None,
            inbox: Inbox::default(),
            slides: Slides::default(),
        })))
    }

    /// Looks at the store of a directory without changing anything, whoever has it open.
    ///
    /// # Errors
    /// What [`open`](Self::open) would fail with, a store that is in use excepted.
    pub fn inspect(directory: &Path) -> Result<Inspection, StoreError> {
        Place::of(directory).inspect()
    }

    /// Writes what is in memory only, lets go of the file and refuses everything from then on.
    ///
    /// # Errors
    /// [`StoreError`] when counts could not be written; they are lost then.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, wait) = oneshot::channel();
        self.order(Order::Close(reply));
        // Without an answer it has been closed before.
        wait.await.unwrap_or(Ok(()))
    }

    /// Writes what is in memory only.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let (reply, wait) = oneshot::channel();
        self.order(Order::Flush(reply));
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.0.orders {
            // A writer that is gone drops the order, and whoever waits for an answer sees that.
            let _ = orders.send(order);
        }
    }

    fn closed(&self) -> StoreError {
        let why = match self.0.orders {
            Some(_) => "it has been closed: the process is stopping",
            None => "it was opened to be looked into, not to be changed",
        };
        self.0.shared.place.broken(why)
    }

    /// Reads; once more when the database had to be opened again.
    async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&View) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let work = Arc::new(work);
        let attempt = || {
            let (shared, work) = (self.0.shared.clone(), work.clone());
            tokio::task::spawn_blocking(move || shared.read(&*work))
        };
        for _ in 0..2 {
            match attempt().await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(Unread::No(error))) => return Err(error),
                Ok(Err(Unread::Failed(generation, error))) => {
                    let (reply, wait) = oneshot::channel();
                    self.order(Order::Reopen(generation, error, reply));
                    // A writer that is gone has closed the store: the next attempt says so.
                    let _ = wait.await;
                }
                Err(error) => return Err(self.0.shared.place.broken(error.to_string())),
            }
        }
        match attempt().await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Unread::No(error) | Unread::Failed(_, error))) => Err(error),
            Err(error) => Err(self.0.shared.place.broken(error.to_string())),
        }
    }

    /// Changes what is under these names, in a transaction with whatever else waits.
    async fn change<T: Send + 'static>(
        &self,
        keys: Vec<String>,
        work: impl FnOnce(&mut Tables<'_>, &[String]) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let room = self.0.room.clone().acquire_owned().await;
        let room = room.map_err(|_| self.closed())?;
        let (reply, wait) = oneshot::channel();
        self.order(Order::Change(Box::new(Task {
            keys,
            work: Some(work),
            outcome: None,
            reply,
            _room: room,
        })));
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn now(&self) -> u64 {
        self.0.shared.clock.now()
    }

    fn known(&self, key: &str) -> Known {
        self.0.shared.counters.known(key, self.now())
    }

    pub(super) async fn publish(&self, channel: &str, message: &str) -> Result<(), StoreError> {
        self.0.inbox.deliver(channel, message);
        Ok(())
    }

    pub(super) async fn slide(
        &self,
        key: &str,
        now: SystemTime,
        window: Window,
    ) -> Result<Slide, StoreError> {
        Ok(self.0.slides.slide(key, now, window))
    }

    pub(super) fn messages(&self) -> broadcast::Receiver<Message> {
        self.0.inbox.subscribe()
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.0.shared.health.subscribe()
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self.known(key) {
            Known::Value(number, _) => return Ok(Some(number.to_string().into())),
            Known::Expired => return Ok(None),
            Known::Nothing => {}
        }
        let key = key.to_owned();
        self.read(move |view| {
            view.entry(&key, |live| match live {
                Live::Value { value, .. } => Ok(Bytes::copy_from_slice(value)),
                Live::List => Err(is_a_list(&key)),
            })
        })
        .await
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.each(
            keys,
            |number| Some(number.to_string().into()),
            |live| match live {
                Live::Value { value, .. } => Some(Bytes::copy_from_slice(value)),
                Live::List => None,
            },
        )
        .await
    }

    pub(super) async fn lengths(&self, keys: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        self.each(
            keys,
            |number| Some(number.to_string().len() as u64),
            |live| match live {
                Live::Value { value, .. } => Some(value.len() as u64),
                Live::List => None,
            },
        )
        .await
    }

    /// Something about each of several values; what is a list counts as absent.
    async fn each<T: Send + 'static>(
        &self,
        keys: &[String],
        of_number: impl Fn(i64) -> Option<T>,
        of_entry: impl Fn(Live<'_>) -> Option<T> + Send + Sync + 'static,
    ) -> Result<Vec<Option<T>>, StoreError> {
        let known = self.0.shared.counters.known_of(keys, self.now());
        let keys = keys.to_vec();
        let mut results = self
            .read(move |view| {
                let one = |key: &String| Ok(view.entry(key, |live| Ok(of_entry(live)))?.flatten());
                keys.iter().map(one).collect::<Result<Vec<_>, Failure>>()
            })
            .await?;
        for (result, known) in results.iter_mut().zip(known.into_iter().flatten()) {
            match known {
                Known::Value(number, _) => *result = of_number(number),
                Known::Expired => *result = None,
                Known::Nothing => {}
            }
        }
        Ok(results)
    }

    pub(super) async fn set(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        check_length(key, &value)?;
        let expires = self.0.shared.clock.end(lifetime);
        self.change(vec![key.to_owned()], move |tables, keys| {
            tables.set(&keys[0], &value, expires, condition)
        })
        .await
    }

    pub(super) async fn replace(
        &self,
        key: &str,
        before: Bytes,
        after: Bytes,
    ) -> Result<bool, StoreError> {
        check_length(key, &after)?;
        self.change(vec![key.to_owned()], move |tables, keys| {
            tables.replace(&keys[0], &before, &after)
        })
        .await
    }

    pub(super) async fn create_listed(
        &self,
        key: &str,
        value: Bytes,
        list: &str,
        member: &str,
    ) -> Result<bool, StoreError> {
        check_length(key, &value)?;
        let member = [member.to_owned()];
        self.change(
            vec![key.to_owned(), list.to_owned()],
            move |tables, keys| {
                if tables.holds(&keys[0])? {
                    return Ok(false);
                }
                // What is no list refuses it, and nothing has been changed then.
                tables.list_append(&keys[1], &member)?;
                tables.put(&keys[0], &value, clock::NEVER)?;
                Ok(true)
            },
        )
        .await
    }

    pub(super) async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let unmarked = self.0.slides.unmark(keys, SystemTime::now());
        self.change(keys.to_vec(), move |tables, keys| {
            let mut removed = unmarked;
            for key in keys {
                removed += u64::from(tables.remove(key)?);
            }
            Ok(removed)
        })
        .await
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.lifetime(key).await?.is_some())
    }

    pub(super) async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>, StoreError> {
        let expires = match self.known(key) {
            Known::Value(_, expires) => Some(expires),
            Known::Expired => None,
            Known::Nothing => {
                let key = key.to_owned();
                self.read(move |view| {
                    view.entry(&key, |live| match live {
                        Live::Value { expires, .. } => Ok(expires),
                        Live::List => Ok(clock::NEVER),
                    })
                })
                .await?
            }
        };
        let now = self.now();
        Ok(expires.map(|expires| left(expires, now).map_or(Lifetime::Forever, Lifetime::For)))
    }

    pub(super) async fn list_append(&self, key: &str, values: &[String]) -> Result<(), StoreError> {
        let values = values.to_vec();
        self.change(vec![key.to_owned()], move |tables, keys| {
            tables.list_append(&keys[0], &values)
        })
        .await
    }

    pub(super) async fn list(&self, key: &str) -> Result<Option<Vec<String>>, StoreError> {
        let key = key.to_owned();
        if self.known(&key) != Known::Nothing {
            // Written down, it is refused with the words for any other value.
            self.flush().await?;
        }
        self.read(move |view| view.list(&key)).await
    }

    pub(super) async fn list_remove(&self, key: &str, value: &str) -> Result<u64, StoreError> {
        let value = value.to_owned();
        self.change(vec![key.to_owned()], move |tables, keys| {
            tables.list_remove(&keys[0], &value)
        })
        .await
    }

    pub(super) async fn keys_with_prefix(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let counters = self.0.shared.counters.names(prefix, self.now());
        let prefix = prefix.to_owned();
        let names = self.read(move |view| view.names(&prefix)).await?;
        if counters.is_empty() {
            return Ok(names);
        }
        let mut names: BTreeSet<String> = names.into_iter().collect();
        for (name, is_live) in counters {
            if is_live {
                names.insert(name);
            } else {
                names.remove(&name);
            }
        }
        Ok(names.into_iter().collect())
    }

    pub(super) async fn count(
        &self,
        key: &str,
        by: i64,
        window: Option<Duration>,
    ) -> Result<Count, StoreError> {
        let Shared {
            clock, counters, ..
        } = &*self.0.shared;
        let end = |lifetime| clock.end(lifetime);
        if let Some(result) = counters.count(key, by, window, clock.now(), end) {
            return result;
        }
        let room = self.0.room.clone().acquire_owned().await;
        let room = room.map_err(|_| self.closed())?;
        let (reply, wait) = oneshot::channel();
        self.order(Order::Count(CountRequest {
            key: key.to_owned(),
            by,
            window,
            reply,
            _room: room,
        }));
        wait.await.unwrap_or_else(|_| Err(self.closed()))
    }
}

fn check_length(key: &str, value: &[u8]) -> Result<(), StoreError> {
    if value.len() > LONGEST {
        let reason = format!("would hold {} bytes; {LONGEST} are the most", value.len());
        return Err(StoreError::entry(key, reason));
    }
    Ok(())
}
