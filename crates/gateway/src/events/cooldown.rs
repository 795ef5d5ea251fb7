//! How often a certificate is looked at and told of, by all nodes of a store together.
//!
//! A node remembers the certificates it met last and asks the store about others:
//! `cert-cooldown:cert_check_cooldown:<fingerprint>` and `cert-cooldown:cert_expiry_event_cooldown:<fingerprint>`
//! live as long as the cool-down they stand for, whichever node or API began it.
//!
//! Invariant: among the nodes of a store one alone gets to tell of a certificate within a cool-down.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use portcullis_pki::Fingerprint;
use portcullis_store::{Condition, Engine, Lifetime, StoreError};

/// Certificates that are remembered.
const REMEMBERED: usize = 512;

/// The cool-downs of certificates.
pub struct Cooldowns {
    engine: Engine,
    check: Duration,
    event: Duration,
    known: HashMap<Fingerprint, Windows>,
    /// Counts what is remembered, so that the oldest can be told.
    uses: u64,
}

/// Until when a certificate is left alone, in Unix seconds.
struct Windows {
    checked: i64,
    told: i64,
    used: u64,
}

impl Cooldowns {
    /// None begun yet.
    pub fn new(engine: Engine, check: Duration, event: Duration) -> Self {
        Self {
            engine,
            check,
            event,
            known: HashMap::new(),
            uses: 0,
        }
    }

    /// Whether a certificate was looked at lately.
    ///
    /// # Errors
    /// When it is not remembered and the store does not say.
    pub async fn was_checked(&mut self, id: Fingerprint, now: i64) -> Result<bool, StoreError> {
        Ok(self.windows(id, now).await?.checked > now)
    }

    /// Whether a certificate may be told of; from then on it may not, until the cool-down is over.
    ///
    /// # Errors
    /// When the store does not say; nothing has begun then.
    pub async fn may_be_told(&mut self, id: Fingerprint, now: i64) -> Result<bool, StoreError> {
        if self.windows(id, now).await?.told > now {
            return Ok(false);
        }
        let name = event_name(id);
        let first = begin(&self.engine, &name, self.event, Condition::IfAbsent).await?;
        let until = match first {
            true => now.saturating_add(seconds(self.event)),
            // Another node has begun it since this one looked.
            false => until(&self.engine, &name, now).await?,
        };
        self.windows(id, now).await?.told = until;
        Ok(first)
    }

    /// Begins the time in which a certificate is not looked at again.
    ///
    /// # Errors
    /// When the store does not take it; this node remembers all the same.
    pub async fn checked(&mut self, id: Fingerprint, now: i64) -> Result<(), StoreError> {
        let until = now.saturating_add(seconds(self.check));
        self.windows(id, now).await?.checked = until;
        let name = check_name(id);
        begin(&self.engine, &name, self.check, Condition::Always).await?;
        Ok(())
    }

    /// What is remembered of a certificate, else what the store says.
    async fn windows(&mut self, id: Fingerprint, now: i64) -> Result<&mut Windows, StoreError> {
        if !self.known.contains_key(&id) {
            let windows = Windows {
                checked: until(&self.engine, &check_name(id), now).await?,
                told: until(&self.engine, &event_name(id), now).await?,
                used: 0,
            };
            self.make_room();
            self.known.insert(id, windows);
        }
        self.uses += 1;
        let windows = self.known.entry(id).or_insert(Windows {
            checked: 0,
            told: 0,
            used: 0,
        });
        windows.used = self.uses;
        Ok(windows)
    }

    fn make_room(&mut self) {
        while self.known.len() >= REMEMBERED {
            let oldest = self.known.iter().min_by_key(|(_, windows)| windows.used);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                return;
            };
            self.known.remove(&id);
        }
    }
}

fn check_name(id: Fingerprint) -> String {
    format!("cert-cooldown:cert_check_cooldown:{id}")
}

fn event_name(id: Fingerprint) -> String {
    format!("cert-cooldown:cert_expiry_event_cooldown:{id}")
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// Writes a cool-down; whether it began with that.
async fn begin(
    engine: &Engine,
    name: &str,
    span: Duration,
    condition: Condition,
) -> Result<bool, StoreError> {
    let value = Bytes::from_static(b"1");
    engine
        .set(name, value, Lifetime::For(span), condition)
        .await
}

/// Until when a cool-down lasts; in the past when there is none.
async fn until(engine: &Engine, name: &str, now: i64) -> Result<i64, StoreError> {
    Ok(match engine.lifetime(name).await? {
        None => i64::MIN,
        Some(Lifetime::Forever) => i64::MAX,
        // A part of a second is a second: it is not over yet.
        Some(Lifetime::For(left)) => now.saturating_add(seconds(left)).saturating_add(1),
    })
}

#[cfg(test)]
mod tests {
    use portcullis_store::Embedded;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn id(number: usize) -> Fingerprint {
        Fingerprint::of_der(&number.to_be_bytes())
    }

    fn cooldowns(engine: &Engine) -> Cooldowns {
        let (check, event) = (Duration::from_secs(60), Duration::from_secs(3600));
        Cooldowns::new(engine.clone(), check, event)
    }

    #[tokio::test]
    async fn nodes_of_one_store_tell_once_and_remember_for_the_cool_down() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
        let (mut one, mut other) = (cooldowns(&engine), cooldowns(&engine));
        // Both know of no cool-down before either begins one.
        assert!(!one.was_checked(id(1), NOW).await.unwrap());
        assert!(!other.was_checked(id(1), NOW).await.unwrap());
        assert!(one.may_be_told(id(1), NOW).await.unwrap());
        assert!(!other.may_be_told(id(1), NOW).await.unwrap());
        assert!(!one.may_be_told(id(1), NOW + 3599).await.unwrap());
        assert!(!other.may_be_told(id(1), NOW + 3599).await.unwrap());
        one.checked(id(1), NOW).await.unwrap();
        assert!(one.was_checked(id(1), NOW + 59).await.unwrap());
        assert!(!one.was_checked(id(1), NOW + 60).await.unwrap());
        let value = engine.get(&event_name(id(1))).await.unwrap();
        assert_eq!(value.as_deref(), Some(&b"1"[..]));
    }

    #[tokio::test]
    async fn the_store_is_asked_only_about_what_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded(Embedded::open(dir.path()).unwrap());
        let mut node = cooldowns(&engine);
        node.checked(id(0), NOW).await.unwrap();
        engine.remove(&[check_name(id(0))]).await.unwrap();
        assert!(node.was_checked(id(0), NOW).await.unwrap());
        for number in 1..=REMEMBERED {
            node.was_checked(id(number), NOW).await.unwrap();
        }
        assert_eq!(node.known.len(), REMEMBERED);
        assert!(!node.was_checked(id(0), NOW).await.unwrap());
    }
}
