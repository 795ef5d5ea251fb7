//! The Redis engine: one server, a primary behind Sentinel, or a Cluster; shared with a Tyk fleet.
//!
//! ```text
//! material  TLS files and versions      stored  entries of the certificate store in their place
//! link      connections made with them
//! keeper    notices that the store is away or back, that files changed; replaces the link
//! probe     why a connection does not come about
//! reason    words of servers and of TLS, with what to do
//! script    several commands in one
//! slide     sliding windows, and the markers of those that are used up
//! ```
//!
//! Invariants:
//! - An operation takes no longer than `timeout`; while the store is known to be away it fails at once.
//! - A command is sent once. What fails midway may or may not have happened, and is reported as failed.

mod keeper;
mod link;
mod material;
mod probe;
mod reason;
mod script;
mod slide;
mod stored;

use std::{
    sync::{Arc, LazyLock, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use fred::{
    clients::{Client, WithOptions},
    error::Error,
    interfaces::{KeysInterface, ListInterface, PubsubInterface},
    types::{Expiration, SetOptions, Value, scan::Scanner},
};
use futures_util::{StreamExt, future::try_join_all};
use portcullis_config::Redis as Config;
use portcullis_tls::Contact;
use tokio::sync::{Notify, broadcast, watch};

pub use self::stored::StoredMaterial;
use self::{
    keeper::Keeper,
    link::Link,
    material::{Material, Unusable},
    script::Script,
    stored::Chosen,
};
use super::{
    Condition, Count, Health, Lifetime, Outward,
    messages::{Inbox, Message},
};
use crate::StoreError;

/// Names in one command that reads or removes many.
const CHUNK: usize = 256;

/// Names a server looks at in one step of a scan.
const SCAN: u32 = 1000;

/// Longest wait for the first connection before a start goes on without.
const PATIENCE_AT_START: Duration = Duration::from_secs(2);

/// Increases a counter and starts its window when it is new; value as text, time left in milliseconds.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::of(
        "local new = redis.call('EXISTS', KEYS[1]) == 0 \
         redis.call('INCRBY', KEYS[1], ARGV[1]) \
         if new and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
         return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}",
    )
});

/// Writes a value in the place of another, with the lifetime of that one.
static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::of(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         local left = redis.call('PTTL', KEYS[1]) \
         redis.call('SET', KEYS[1], ARGV[2]) \
         if left >= 0 then redis.call('PEXPIRE', KEYS[1], math.max(left, 1)) end \
         return 1",
    )
});

/// Makes an entry and its place in a list, unless the entry exists. The list comes first: what is no
/// list refuses it before anything is written.
static CREATE_LISTED: LazyLock<Script> = LazyLock::new(|| {
    Script::of(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
         local pushed = redis.pcall('RPUSH', KEYS[2], ARGV[2]) \
         if type(pushed) == 'table' and pushed.err then return pushed end \
         redis.call('SET', KEYS[1], ARGV[1]) \
         return 1",
    )
});

/// The Redis engine. Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    config: Config,
    /// Name of the settings' object, for errors.
    block: &'static str,
    /// The configured addresses as one text.
    address: String,
    material: ArcSwap<Material>,
    /// Where the certificates of connections are, when it is no file.
    stored: Option<StoredMaterial>,
    link: ArcSwapOption<Link>,
    health: watch::Sender<Health>,
    inbox: Inbox,
    listening: watch::Sender<bool>,
    hint: Arc<Notify>,
    /// The link leads to what is a primary no more.
    stale: AtomicBool,
    /// What became of connecting.
    contact: Contact,
}

/// What the key that turns verification off is called in this block.
fn skip_verify(block: &str) -> &'static str {
    if block.ends_with(".mtls") {
        "insecure_skip_verify"
    } else {
        "ssl_insecure_skip_verify"
    }
}

impl Redis {
    /// Connects as `config` says, which is the object `block` of the configuration. A server that is
    /// away is no failure: it is looked for from now on.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for settings and files that cannot be right.
    pub async fn open(config: Config, block: &'static str) -> Result<Self, StoreError> {
        Self::open_with(config, block, None).await
    }

    /// The same with certificates of the certificate store, which has another connection. While they are not
    /// there, nothing is connected to.
    ///
    /// # Errors
    /// As [`Redis::open`].
    pub async fn open_with(
        config: Config,
        block: &'static str,
        stored: Option<StoredMaterial>,
    ) -> Result<Self, StoreError> {
        if config.database > usize::from(u8::MAX) {
            return Err(StoreError::Settings {
                key: format!("{block}.database"),
                reason: format!("is {}; numbers from 0 to 255 are accepted", config.database),
            });
        }
        if config.enable_cluster && config.master_name.is_none() && config.database > 0 {
            tracing::warn!(
                key = format!("{block}.database"),
                "a cluster has database 0 alone; that is used"
            );
        }
        let loaded = match &stored {
            None => material::load(&config, block, Vec::new(), Chosen::default()),
            Some(stored) => match stored.read().await {
                Err(error) => Err(Unusable::Entries(format!(
                    "mTLS certificate store access failed: {error}"
                ))),
                Ok(entries) => match stored.choose(&entries) {
                    Err(why) => Err(Unusable::Entries(why)),
                    Ok(chosen) => material::load(&config, block, entries, chosen),
                },
            },
        };
        let material = match loaded {
            Ok(material) => material,
            Err(Unusable::Settings(error)) => return Err(error),
            // Whoever mends an entry need not start the gateway again.
            Err(Unusable::Entries(why)) => Material::Missing(why),
        };
        if config.use_ssl && config.ssl_insecure_skip_verify {
            tracing::warn!(
                key = format!("{block}.{}", skip_verify(block)),
                "THE CERTIFICATE OF THE STORE IS NOT VERIFIED: whoever is in between reads and changes keys, \
                 sessions and certificates"
            );
        }
        let address = config.addresses.join(", ");
        let health = watch::Sender::new(Health::Down {
            reason: format!("the store at {address}: not connected yet"),
        });
        let inner = Arc::new(Inner {
            block,
            address,
            material: ArcSwap::from_pointee(material),
            stored,
            link: ArcSwapOption::empty(),
            inbox: Inbox::default(),
            listening: watch::Sender::new(false),
            hint: Arc::default(),
            stale: AtomicBool::new(false),
            contact: Contact::default(),
            health,
            config,
        });
        let mut first = inner.health.subscribe();
        tokio::spawn(Keeper::of(&inner).run());
        // Up, or the reason why not: either is the first change.
        let _ = tokio::time::timeout(PATIENCE_AT_START, first.changed()).await;
        Ok(Self(inner))
    }

    /// How it is connected to, for whoever shows it.
    pub(super) fn outward(&self) -> Outward {
        let material = self.0.material.load();
        let tls = material.tls();
        Outward {
            settings: self.0.block,
            address: self.0.address.clone(),
            tls: self.0.config.use_ssl,
            verified: !self.0.config.ssl_insecure_skip_verify,
            authorities: tls.and_then(|tls| tls.authorities),
            own: tls.and_then(|tls| tls.own.clone()),
            seen: self.0.contact.look(),
        }
    }

    /// Whether names may have nodes of their own.
    fn is_cluster(&self) -> bool {
        self.0.config.enable_cluster && self.0.config.master_name.is_none()
    }

    /// The link, unless the store is known to be away.
    fn link(&self) -> Result<Arc<Link>, StoreError> {
        if let Health::Down { reason } = &*self.0.health.borrow() {
            return Err(StoreError::Away {
                address: self.0.address.clone(),
                reason: reason
                    .split_once(&format!("{}: ", self.0.address))
                    .map_or(reason.as_str(), |(_, why)| why)
                    .to_owned(),
            });
        }
        self.0.link.load_full().ok_or_else(|| StoreError::Away {
            address: self.0.address.clone(),
            reason: "not connected yet".to_owned(),
        })
    }

    fn client(&self) -> Result<WithOptions<Client>, StoreError> {
        Ok(self.link()?.client())
    }

    fn named<'a>(&'a self, key: &'a str) -> impl Fn(Error) -> StoreError + 'a {
        move |error| self.0.failed(&error, Some(key))
    }

    fn unnamed(&self) -> impl Fn(Error) -> StoreError + '_ {
        |error| self.0.failed(&error, None)
    }

    /// Lets go of the connections.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        if let Some(link) = self.0.link.swap(None) {
            link.close().await;
        }
        Ok(())
    }

    pub(super) async fn publish(&self, channel: &str, message: &str) -> Result<(), StoreError> {
        let sent = self.client()?.publish::<(), _, _>(channel, message).await;
        sent.map_err(self.unnamed())
    }

    pub(super) fn messages(&self) -> broadcast::Receiver<Message> {
        let receiver = self.0.inbox.subscribe();
        self.0.listening.send_replace(true);
        if let Some(link) = self.0.link.load_full() {
            self.0.let_hear(&link);
        }
        receiver
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.client()?.get(key).await.map_err(self.named(key))
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let client = self.client()?;
        let mut values = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let found: Vec<Option<Bytes>> = if self.0.config.enable_cluster {
                // Each name has a node of its own.
                let (client, each) = (&client, chunk.iter());
                let each = each.map(|key| async move {
                    absent_when_of_another_type(client.get::<Option<Bytes>, _>(key).await)
                });
                try_join_all(each).await.map_err(self.unnamed())?
            } else {
                client.mget(chunk.to_vec()).await.map_err(self.unnamed())?
            };
            values.extend(found);
        }
        Ok(values)
    }

    pub(super) async fn lengths(&self, keys: &[String]) -> Result<Vec<Option<u64>>, StoreError> {
        let client = self.client()?;
        let mut lengths = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            // Both are asked together: an empty value and none have the same length.
            let (client, each) = (&client, chunk.iter());
            let each = each.map(|key| async move {
                let (length, exists) =
                    tokio::join!(client.strlen::<u64, _>(key), client.exists::<u64, _>(key));
                let length = absent_when_of_another_type(length.map(Some))?;
                Ok::<_, Error>(length.filter(|length| *length > 0 || matches!(exists, Ok(1))))
            });
            lengths.extend(try_join_all(each).await.map_err(self.unnamed())?);
        }
        Ok(lengths)
    }

    pub(super) async fn set(
        &self,
        key: &str,
        value: Bytes,
        lifetime: Lifetime,
        condition: Condition,
    ) -> Result<bool, StoreError> {
        let expires = match lifetime {
            Lifetime::Forever => None,
            Lifetime::For(time) => Some(Expiration::PX(millis(time))),
        };
        let options = match condition {
            Condition::Always => None,
            Condition::IfPresent => Some(SetOptions::XX),
            Condition::IfAbsent => Some(SetOptions::NX),
        };
        let written: Value = self
            .client()?
            .set(key, value, expires, options, false)
            .await
            .map_err(self.named(key))?;
        Ok(!written.is_null())
    }

    pub(super) async fn replace(
        &self,
        key: &str,
        before: Bytes,
        after: Bytes,
    ) -> Result<bool, StoreError> {
        let arguments = vec![Value::Bytes(before), Value::Bytes(after)];
        let replaced: i64 = REPLACE
            .run(&self.client()?, &[key], arguments)
            .await
            .map_err(self.named(key))?;
        Ok(replaced == 1)
    }

    pub(super) async fn create_listed(
        &self,
        key: &str,
        value: Bytes,
        list: &str,
        member: &str,
    ) -> Result<bool, StoreError> {
        if self.0.config.enable_cluster {
            return self.create_and_list(key, value, list, member).await;
        }
        let arguments = vec![Value::Bytes(value), member.into()];
        let created: i64 = CREATE_LISTED
            .run(&self.client()?, &[key, list], arguments)
            .await
            .map_err(self.named(list))?;
        Ok(created == 1)
    }

    /// The same where each name has a node of its own.
    async fn create_and_list(
        &self,
        key: &str,
        value: Bytes,
        list: &str,
        member: &str,
    ) -> Result<bool, StoreError> {
        let created = self
            .set(key, value, Lifetime::Forever, Condition::IfAbsent)
            .await?;
        if created && let Err(error) = self.list_append(list, &[member.to_owned()]).await {
            // In no list and yet in the way of the next try: better not there at all.
            if let Err(again) = self.remove(&[key.to_owned()]).await {
                tracing::error!(key, list, error = %again,
                    "an entry is stored without its place in a list; delete it by its name");
            }
            return Err(error);
        }
        Ok(created)
    }

    pub(super) async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let client = self.client()?;
        let mut removed = 0;
        for chunk in keys.chunks(CHUNK) {
            removed += if self.0.config.enable_cluster {
                let each = chunk.iter().map(|key| client.del::<u64, _>(key));
                let counts = try_join_all(each).await.map_err(self.unnamed())?;
                counts.iter().sum()
            } else {
                client
                    .del::<u64, _>(chunk.to_vec())
                    .await
                    .map_err(self.unnamed())?
            };
        }
        Ok(removed)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        let count: u64 = self.client()?.exists(key).await.map_err(self.named(key))?;
        Ok(count > 0)
    }

    pub(super) async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>, StoreError> {
        let left: i64 = self.client()?.pttl(key).await.map_err(self.named(key))?;
        Ok(match left {
            -2 => None,
            -1 => Some(Lifetime::Forever),
            left => Some(Lifetime::For(Duration::from_millis(left.unsigned_abs()))),
        })
    }

    pub(super) async fn list_append(&self, key: &str, values: &[String]) -> Result<(), StoreError> {
        let client = self.client()?;
        if values.is_empty() {
            return Ok(());
        }
        let appended = client.rpush::<(), _, _>(key, values.to_vec()).await;
        appended.map_err(self.named(key))
    }

    pub(super) async fn list(&self, key: &str) -> Result<Option<Vec<String>>, StoreError> {
        let members: Vec<String> = self
            .client()?
            .lrange(key, 0, -1)
            .await
            .map_err(self.named(key))?;
        Ok((!members.is_empty()).then_some(members))
    }

    pub(super) async fn list_remove(&self, key: &str, value: &str) -> Result<u64, StoreError> {
        self.client()?
            .lrem(key, 0, value)
            .await
            .map_err(self.named(key))
    }

    pub(super) async fn keys_with_prefix(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let link = self.link()?;
        let pattern = format!("{}*", literally(prefix));
        let mut names = Vec::new();
        let mut pages = if self.is_cluster() {
            link.plain().scan_cluster(pattern, Some(SCAN), None).boxed()
        } else {
            link.plain().scan(pattern, Some(SCAN), None).boxed()
        };
        let late = |_| StoreError::TimedOut {
            address: self.0.address.clone(),
            millis: self.0.config.timeout.as_millis(),
        };
        while let Some(page) = tokio::time::timeout(self.0.config.timeout, pages.next())
            .await
            .map_err(late)?
        {
            let mut page = page.map_err(self.unnamed())?;
            let found = page.take_results().unwrap_or_default();
            // A name that is no text is nobody's of ours.
            names.extend(found.into_iter().filter_map(|name| name.into_string()));
            page.next();
        }
        // A server may name an entry twice.
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    pub(super) async fn count(
        &self,
        key: &str,
        by: i64,
        window: Option<Duration>,
    ) -> Result<Count, StoreError> {
        let window = window.map_or(0, millis);
        let (value, left): (i64, i64) = COUNT
            .run(&self.client()?, &[key], vec![by.into(), window.into()])
            .await
            .map_err(self.named(key))?;
        let renews_in = (left >= 0).then(|| Duration::from_millis(left.unsigned_abs()));
        Ok(Count { value, renews_in })
    }
}

fn absent_when_of_another_type<T>(answer: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if error.details().starts_with("WRONGTYPE") => Ok(None),
        answer => answer,
    }
}

/// At least one: no entry lives for no time.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// `prefix` as a pattern that stands for itself.
fn literally(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len());
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_signs_of_patterns_stands_for_itself() {
        assert_eq!(
            literally("cert-raw-1*[a]?\\"),
            "cert-raw-1\\*\\[a\\]\\?\\\\"
        );
    }
}
