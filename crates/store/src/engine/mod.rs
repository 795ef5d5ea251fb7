//! The key-value contract that both engines keep.
//!
//! Invariants, whichever engine:
//! - What was acknowledged is there after a crash (embedded: flushed to the disk, counts within a
//!   second; Redis: as durable as that Redis is).
//! - An expired entry is never handed out.
//! - A failed write changed nothing that a reader could take for success.
//! - An operation on an entry of another type is refused and changes nothing.
//!
//! Every operation is one round trip, [`Engine::keys_with_prefix`] excepted.

mod embedded;
pub(crate) mod messages;
mod redis;
pub(crate) mod slides;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use portcullis_tls::contact::Seen;
use tokio::sync::{broadcast, watch};

pub use self::{
    embedded::{Embedded, Inspection},
    messages::Message,
    redis::{Redis, StoredMaterial},
};
use crate::StoreError;

/// A store, one of two kinds. Cheap to clone.
#[derive(Clone)]
pub enum Engine {
    /// One file beside the configuration.
    Embedded(Embedded),
    /// A Redis or Valkey that other nodes share.
    Redis(Redis),
}

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody removes it.
    Forever,
    /// This long from now.
    For(Duration),
}

/// When a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Whatever was there.
    Always,
    /// Only when the entry exists: what was deleted stays deleted.
    IfPresent,
    /// Only when it does not.
    IfAbsent,
}

/// A counter after it was increased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Its value, this increase included.
    pub value: i64,
    /// Time until it starts anew; `None` when it never does.
    pub renews_in: Option<Duration>,
}

/// A sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How long it is.
    pub per: Duration,
    /// How many requests it has room for.
    pub most: u64,
    /// The request that fills it leaves a marker beside it, `<name>.BLOCKED`, and while that is there, for
    /// `per`, nothing more is let in: nodes that do not look at the window see it as well.
    pub blocks: bool,
}

/// One more request in a sliding window, let in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slide {
    /// There was room for it, and it counts.
    pub allowed: bool,
    /// How many are in the window, this one included when it was let in.
    pub in_window: u64,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// It does not.
    Down {
        /// Why, in words for a log and `/ready`.
        reason: String,
    },
}

/// How a store elsewhere is connected to.
#[derive(Debug, Clone)]
pub struct Outward {
    /// The object of the configuration that says so.
    pub settings: &'static str,
    /// Its addresses.
    pub address: String,
    /// By TLS.
    pub tls: bool,
    /// Chain and name of its certificate are verified.
    pub verified: bool,
    /// With how many authorities, where they are not the system's.
    pub authorities: Option<usize>,
    /// The certificate that is shown, in DER.
    pub own: Option<Arc<[u8]>>,
    /// What became of it. Connections are counted as often as all of them are made anew, and of TLS nothing is
    /// known but the server's certificate.
    pub seen: Seen,
}

/// Calls the same operation of whichever engine it is.
macro_rules! either {
    ($engine:expr, $operation:ident ( $($argument:expr),* )) => {
        match $engine {
            Engine::Embedded(embedded) => embedded.$operation($($argument),*).await,
            // The client's futures are large, and a round trip costs more than a box.
            Engine::Redis(redis) => Box::pin(redis.$operation($($argument),*)).await,
        }
    };
}

impl Engine {
    /// What it is, in one word for a metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Redis(_) => "redis",
        }
    }

    /// Writes what is in memory only and lets go of the store: the process is about to end. Everything
    /// that is asked of it afterwards may fail.
    pub async fn close(&self) -> Result<(), StoreError> {
        either!(self, close())
    }

    /// Tells every node of this store that listens, this one included.
    pub async fn publish(&self, channel: &str, message: &str) -> Result<(), StoreError> {
        either!(self, publish(channel, message))
    }

    /// Every message on the channels of nodes from now on, unverified.
    pub fn messages(&self) -> broadcast::Receiver<Message> {
        match self {
            Self::Embedded(embedded) => embedded.messages(),
            Self::Redis(redis) => redis.messages(),
        }
    }

    /// How the store is, and every change of it. [`Health::Up`] after [`Health::Up`] says that a
    /// connection was lost in between: messages may have been missed.
    pub fn health(&self) -> watch::Receiver<Health> {
        match self {
            Self::Embedded(embedded) => embedded.health(),
            Self::Redis(redis) => redis.health(),
        }
    }

    /// How it is connected to; `None` for one that is a file.
    pub fn outward(&self) -> Option<Outward> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(redis) => Some(redis.outward()),
        }
    }

    /// Whether other processes write to it as well.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Embedded(_))
    }

    /// The value of an entry.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        either!(self, get(key))
    }

    /// The values of several entries, in order. What is a list counts as absent here.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        either!(self, get_many(keys))
    }

    /// The lengths of several values in bytes, in order; `None` for what is not there.
    pub async fn lengths(&self, keys: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        either!(self, lengths(keys))
    }

    /// Writes an entry; whether `condition` let it.
    pub async fn set(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        either!(self, set(key, value, lifetime, condition))
    }

    /// Writes `after` where `before` stands, for as long as that would have lived; whether it stood
    /// there. What somebody else has written meanwhile is never lost.
    pub async fn replace(
        &self,
        key: &str,
        before: Bytes,
        after: Bytes,
    ) -> Result<bool, StoreError> {
        either!(self, replace(key, before, after))
    }

    /// Writes an entry that lives forever and appends `member` to a list, both or neither, unless there
    /// is an entry of this name; whether there was none.
    ///
    /// In a Redis Cluster the two names may have different nodes, so there it is two steps, the entry
    /// first; a node that is killed in between leaves an entry that no list has.
    pub async fn create_listed(
        &self,
        key: &str,
        value: Bytes,
        list: &str,
        member: &str,
    ) -> Result<bool, StoreError> {
        either!(self, create_listed(key, value, list, member))
    }

    /// Removes entries of any type; how many there were.
    pub async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        either!(self, remove(keys))
    }

    /// Whether an entry of any type exists.
    pub async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        either!(self, exists(key))
    }

    /// How long an entry still lives; `None` when there is no such entry.
    pub async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>, StoreError> {
        either!(self, lifetime(key))
    }

    /// Appends to a list, which begins to exist with its first member.
    pub async fn list_append(&self, key: &str, values: &[String]) -> Result<(), StoreError> {
        either!(self, list_append(key, values))
    }

    /// The members of a list, in order; `None` when there is no such list.
    pub async fn list(&self, key: &str) -> Result<Option<Vec<String>>, StoreError> {
        either!(self, list(key))
    }

    /// Removes every occurrence of a member; how many there were.
    pub async fn list_remove(&self, key: &str, value: &str) -> Result<u64, StoreError> {
        either!(self, list_remove(key, value))
    }

    /// The names of entries that begin with `prefix`, taken literally; no order.
    pub async fn keys_with_prefix(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        either!(self, keys_with_prefix(prefix))
    }

    /// Increases a counter by `by`. A counter that does not exist starts at 0 and lives for `window`,
    /// without end for `None`. The embedded engine answers before it has flushed: a crash may lose the
    /// counts of the last second.
    pub async fn count(
        &self,
        key: &str,
        by: i64,
        window: Option<Duration>,
    ) -> Result<Count, StoreError> {
        either!(self, count(key, by, window))
    }

    /// Lets one more request into a window, when there is room. A refused request leaves no trace.
    pub async fn slide(
        &self,
        key: &str,
        now: SystemTime,
        window: Window,
    ) -> Result<Slide, StoreError> {
        either!(self, slide(key, now, window))
    }
}
