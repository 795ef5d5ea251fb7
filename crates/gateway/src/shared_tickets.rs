//! Keys of session tickets that the nodes of one Redis share: a session that one node made is resumed by
//! every other.
//!
//! Time is cut into periods of `portcullis.ticket_rotation`. Each has a secret of its own, made at random
//! by the node that comes first and kept in the store, encrypted with the passphrase of private keys,
//! until no ticket of it is taken any more.
//!
//! Invariants:
//! - The store never sees a secret in clear; one that does not open is reported and not used.
//! - A store that is away, or nodes that disagree about the passphrase, cost resumption and nothing else.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    pkcs5::pbkdf2_hmac,
    rand::rand_bytes,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};
use portcullis_config::Secret;
use portcullis_store::{Condition, Engine, Health, Lifetime, StoreError};
use portcullis_tls::TicketKeys;

/// How often the secrets are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// How long a node waits at the beginning of a period before it makes a key for itself alone.
const ALONE_AFTER: Duration = Duration::from_secs(120);

const NONCE: usize = 12;
const TAG: usize = 16;

/// Keeps the ticket keys of this node those of all nodes. Runs until the runtime it is called on ends.
pub(crate) fn share(engine: &Engine, tickets: &Arc<TicketKeys>, passphrase: &Secret) {
    let Some(rotation) = tickets.rotation().filter(|_| engine.is_shared()) else {
        return;
    };
    let sharing = Sharing {
        engine: engine.clone(),
        tickets: tickets.clone(),
        seconds: rotation.as_secs().max(1),
        passphrase: passphrase.clone(),
    };
    tokio::spawn(sharing.run());
}

struct Sharing {
    engine: Engine,
    tickets: Arc<TicketKeys>,
    seconds: u64,
    passphrase: Secret,
}

/// Why secrets could not be shared.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the TLS library failed: {0}")]
    Library(#[from] ErrorStack),
    #[error(
        "the entry {0} was not made with this node's passphrase \
         (security.private_certificate_encoding_secret, or secret); sessions are resumed by the node that \
         made them only"
    )]
    Sealed(String),
}

impl Sharing {
    async fn run(self) {
        let passphrase = self.passphrase.clone();
        // Deriving is meant to take long, and is done once.
        let derived = tokio::task::spawn_blocking(move || sealing_key(&passphrase)).await;
        let key = match derived {
            Ok(Ok(key)) => key,
            Ok(Err(error)) => {
                tracing::error!(%error, "keys of session tickets cannot be shared");
                return;
            }
            // The runtime ends.
            Err(_) => return,
        };
        let mut health = self.engine.health();
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said = String::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *health.borrow_and_update() != Health::Up {
                        continue;
                    }
                }
            }
            match self.look(&key, SystemTime::now()).await {
                Ok(()) => said.clear(),
                Err(Trouble::Store(error)) => {
                    tracing::debug!(%error, "keys of session tickets could not be read");
                }
                Err(trouble) => {
                    let text = trouble.to_string();
                    if text != said {
                        tracing::warn!("session tickets: {text}");
                    }
                    said = text;
                }
            }
        }
    }

    /// Takes the secrets of this period and those before it.
    async fn look(&self, key: &[u8; 32], now: SystemTime) -> Result<(), Trouble> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let period = since / self.seconds;
        let kept = TicketKeys::kept() as u64;
        let names: Vec<String> = (0..kept)
            .map(|back| name(self.seconds, period.saturating_sub(back)))
            .collect();
        let mut values = self.engine.get_many(&names).await?;
        if values.first().is_some_and(Option::is_none) {
            let made = seal(key, &names[0])?;
            let lifetime =
                Lifetime::For(Duration::from_secs(self.seconds.saturating_mul(kept + 1)));
            self.engine
                .set(&names[0], made, lifetime, Condition::IfAbsent)
                .await?;
            // Another node may have been first.
            values = self.engine.get_many(&names).await?;
        }
        let mut secrets = Vec::new();
        for (name, value) in names.iter().zip(values) {
            let Some(value) = value else { continue };
            let secret = open(key, name, &value).ok_or_else(|| Trouble::Sealed(name.clone()))?;
            secrets.push(secret);
        }
        let begun = UNIX_EPOCH + Duration::from_secs(period * self.seconds);
        self.tickets.install(&secrets, begun + ALONE_AFTER)?;
        Ok(())
    }
}

/// Nodes that rotate at another pace share nothing.
fn name(seconds: u64, period: u64) -> String {
    format!("portcullis-ticket-key-{seconds}-{period}")
}

fn sealing_key(passphrase: &Secret) -> Result<[u8; 32], ErrorStack> {
    const ROUNDS: usize = 200_000;
    let mut key = [0; 32];
    let salt = b"portcullis session ticket secrets 1";
    let digest = MessageDigest::sha256();
    pbkdf2_hmac(
        passphrase.reveal().as_bytes(),
        salt,
        ROUNDS,
        digest,
        &mut key,
    )?;
    Ok(key)
}

/// A new secret, encrypted for the entry of this name.
fn seal(key: &[u8; 32], name: &str) -> Result<Bytes, ErrorStack> {
    let (mut secret, mut nonce, mut tag) = ([0; 32], [0; NONCE], [0; TAG]);
    rand_bytes(&mut secret)?;
    rand_bytes(&mut nonce)?;
    let cipher = Cipher::aes_256_gcm();
    let sealed = encrypt_aead(
        cipher,
        key,
        Some(&nonce),
        name.as_bytes(),
        &secret,
        &mut tag,
    )?;
    Ok([&nonce[..], &sealed, &tag].concat().into())
}

/// The secret of an entry; `None` when it was made with another passphrase or changed.
fn open(key: &[u8; 32], name: &str, value: &[u8]) -> Option<[u8; 32]> {
    let (nonce, rest) = value.split_at_checked(NONCE)?;
    let (sealed, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
    let cipher = Cipher::aes_256_gcm();
    let opened = decrypt_aead(cipher, key, Some(nonce), name.as_bytes(), sealed, tag).ok();
    // One that does not open leaves its reason in the library's error queue: not ours to keep.
    let _ = ErrorStack::get();
    opened?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_its_passphrase_under_its_name_and_unchanged() {
        let [key, other] = ["one", "other"].map(|text| sealing_key(&Secret::new(text)).unwrap());
        let sealed = seal(&key, "n").unwrap();
        assert!(open(&key, "n", &sealed).is_some());
        assert_ne!(
            open(&key, "n", &sealed),
            open(&key, "n", &seal(&key, "n").unwrap())
        );
        assert_eq!(open(&other, "n", &sealed), None);
        assert_eq!(open(&key, "m", &sealed), None);
        for length in 0..sealed.len() {
            assert_eq!(open(&key, "n", &sealed[..length]), None);
        }
    }
}
