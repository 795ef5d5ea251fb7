//! Keeps the link to a Redis: notices that it is away or back, and that TLS files and entries have changed.
//!
//! Invariants:
//! - A store that is away is looked for without end, with growing pauses; its return makes a new link.
//! - What there is nothing to connect with is not looked for at all; whether that has changed is seen soon.
//! - New files replace the link only once a connection with them serves; until then the old one stays.
//! - Entries of the certificate store that are gone, or that cannot be used, end the link.
//! - Every change is logged once.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use portcullis_pki::file::FileStamp;
use portcullis_tls::contact::Session;

use super::{
    Inner,
    link::Link,
    material::{self, Material, Unusable},
    probe, reason,
    stored::{Chosen, Entries},
};
use crate::{Health, StoreError};

/// Time between two looks at a store that answers.
const LOOK: Duration = Duration::from_secs(1);

/// Pauses between two looks at one that does not: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Time between two attempts to connect with new files that did not serve.
const FILES_AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    store: Weak<Inner>,
    /// How everything looked last time; what is in use is in the material.
    seen: Sources,
    /// How it looked when it could not be used.
    refused: Option<Sources>,
    /// New files are in the material but not in the link.
    pending: Option<tokio::time::Instant>,
    pause: Duration,
}

/// What connections are made of, as it looks.
#[derive(Clone, PartialEq)]
struct Sources {
    /// `None` for a file that cannot be looked at.
    files: Vec<Option<FileStamp>>,
    /// `None` while the certificate store was not heard of.
    entries: Option<Entries>,
}

impl Keeper {
    pub(super) fn of(store: &Arc<Inner>) -> Self {
        Self {
            store: Arc::downgrade(store),
            seen: Sources {
                files: stamps(store),
                entries: store.stored.is_none().then(Vec::new),
            },
            refused: None,
            pending: None,
            pause: PAUSES.0,
        }
    }

    /// Runs until nobody holds the store any more.
    pub(super) async fn run(mut self) {
        loop {
            let Some(store) = self.store.upgrade() else {
                return;
            };
            self.follow(&store).await;
            let up = self.look(&store).await;
            let missing = matches!(**store.material.load(), Material::Missing(_));
            let wait = self.wait(up, missing);
            let hint = store.hint.clone();
            drop(store);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // While it is away, hints are the consequence, not news.
                () = hint.notified(), if up => {}
            }
        }
    }

    /// How long it is until the next look. Where there is nothing to connect with, no server is bothered and
    /// entries are looked at as ever.
    fn wait(&mut self, up: bool, missing: bool) -> Duration {
        if up || missing {
            self.pause = PAUSES.0;
            return LOOK;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES.1);
        pause
    }

    /// Whether the store serves.
    async fn look(&mut self, store: &Arc<Inner>) -> bool {
        let down = matches!(*store.health.borrow(), Health::Down { .. });
        let stale = store.stale.swap(false, Ordering::Relaxed);
        let link = store.link.load_full().filter(|_| !down && !stale);
        if let Some(link) = &link {
            match link.ping().await {
                Ok(()) => return true,
                // It serves, if only with words.
                Err(error) if reason::is_answer(&error) => {
                    store.set_down(&reason::of_answer(error.details()));
                    return false;
                }
                Err(error) => tracing::debug!(%error, "a sign of life from the store is missing"),
            }
        }
        match self.renew(store).await {
            Ok(()) => true,
            Err(why) => {
                // Meanwhile it may have come back by itself, after a fail-over for example.
                if let Some(link) = link
                    && link.ping().await.is_ok()
                {
                    return true;
                }
                store.set_down(&why);
                false
            }
        }
    }

    /// Makes a new link and puts it in the place of the one before.
    async fn renew(&mut self, store: &Arc<Inner>) -> Result<(), String> {
        let connector = store.material.load().connector()?;
        let looking = (store.clone(), connector.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let (store, connector) = looking;
            probe::look(&store.config, connector.as_ref())
        });
        let peer = looked
            .await
            .unwrap_or_else(|error| Err(error.to_string()))?;
        let link = Link::open(&store.config, connector.as_ref())
            .await
            .map_err(|error| reason::of_way(&error))?;
        self.pending = None;
        match peer {
            None => store.contact.made(),
            // The client library tells nothing else.
            Some(_) => store.contact.made_telling(Session {
                agreed: None,
                peer,
                shown: None,
            }),
        }
        store.replace_link(link);
        Ok(())
    }

    /// Takes up files and entries that have changed, and changed no more since the last look.
    async fn follow(&mut self, store: &Arc<Inner>) {
        let asked = store.clone();
        let Ok(files) = tokio::task::spawn_blocking(move || stamps(&asked)).await else {
            return;
        };
        let entries = match &store.stored {
            None => Some(Vec::new()),
            // What it said last counts while it is away.
            Some(stored) => match stored.read().await {
                Ok(entries) => Some(entries),
                Err(_) => self.seen.entries.clone(),
            },
        };
        let sources = Sources { files, entries };
        let settled = sources == self.seen;
        self.seen.clone_from(&sources);
        let current = sources.are_of(&store.material.load());
        if current || !settled || self.refused.as_ref() == Some(&sources) {
            return self.try_pending(store).await;
        }
        let Some(entries) = sources.entries.clone() else {
            return self.try_pending(store).await;
        };
        let chosen = match &store.stored {
            None => Chosen::default(),
            Some(stored) => match stored.choose(&entries) {
                Ok(chosen) => chosen,
                Err(why) => {
                    self.refused = Some(sources);
                    return store.give_up(&why);
                }
            },
        };
        let asked = store.clone();
        let loading = tokio::task::spawn_blocking(move || {
            material::load(&asked.config, asked.block, entries, chosen)
        });
        match loading.await {
            Ok(Ok(material)) => {
                self.refused = None;
                store.material.store(Arc::new(material));
                self.pending = Some(tokio::time::Instant::now());
            }
            Ok(Err(Unusable::Entries(why))) => {
                self.refused = Some(sources);
                return store.give_up(&why);
            }
            Ok(Err(Unusable::Settings(error))) => {
                self.refused = Some(sources);
                tracing::error!(
                    %error,
                    "the files for connections to the store have changed and cannot be used; those from \
                     before stay in use"
                );
            }
            Err(error) => tracing::error!(%error, "the files of the store could not be read"),
        }
        self.try_pending(store).await;
    }

    /// Replaces a link that serves by one with new files. While the store is away there is nothing to
    /// replace: the next link has them anyway.
    async fn try_pending(&mut self, store: &Arc<Inner>) {
        let due = self
            .pending
            .is_some_and(|due| due <= tokio::time::Instant::now());
        if !due || matches!(*store.health.borrow(), Health::Down { .. }) {
            return;
        }
        match self.renew(store).await {
            Ok(()) => tracing::info!(
                address = store.address,
                "connections to the store use the files that have changed"
            ),
            Err(why) => {
                self.pending = Some(tokio::time::Instant::now() + FILES_AGAIN);
                store.contact.failed(&why);
                tracing::error!(
                    address = store.address,
                    reason = why,
                    "no connection to the store with the files that have changed; those that stand stay \
                     in use, and it is tried again"
                );
            }
        }
    }
}

impl Sources {
    /// Whether the material was made of these.
    fn are_of(&self, material: &Material) -> bool {
        match material {
            Material::Clear => true,
            Material::Missing(_) => false,
            Material::Tls(tls) => {
                let files = self.files.iter().map(Option::as_ref);
                tls.stamps.iter().map(Some).eq(files) && self.entries.as_ref() == Some(&tls.entries)
            }
        }
    }
}

/// How the files look; `None` for one that cannot be looked at.
fn stamps(store: &Inner) -> Vec<Option<FileStamp>> {
    material::files(&store.config)
        .into_iter()
        .map(|path| FileStamp::of(path).ok())
        .collect()
}

impl Inner {
    fn set_down(&self, why: &str) {
        self.contact.failed(&why);
        let changed = self.health.send_if_modified(|health| {
            let now = Health::Down {
                reason: format!("the store at {}: {why}", self.address),
            };
            let changed = *health != now;
            *health = now;
            changed
        });
        if changed {
            tracing::error!(
                address = self.address,
                reason = why,
                "the store is away; it is looked for until it is back"
            );
        }
    }

    /// There is nothing to connect with any more, and what stands was made with what is gone.
    fn give_up(&self, why: &str) {
        self.material
            .store(Arc::new(Material::Missing(why.to_owned())));
        if let Some(before) = self.link.swap(None) {
            let grace = self.config.timeout;
            tokio::spawn(async move { before.retire(grace).await });
        }
        self.set_down(why);
    }

    fn replace_link(self: &Arc<Self>, link: Link) {
        let link = Arc::new(link);
        if *self.listening.borrow() {
            self.let_hear(&link);
        }
        let before = self.link.swap(Some(link));
        if let Some(before) = before {
            let grace = self.config.timeout + LOOK;
            tokio::spawn(async move { before.retire(grace).await });
        }
        let was = self.health.send_replace(Health::Up);
        if was == Health::Up {
            tracing::debug!(address = self.address, "connections to the store are new");
        } else {
            tracing::info!(address = self.address, "the store answers");
        }
    }

    /// Messages that come over `link` are handed out from now on.
    pub(super) fn let_hear(self: &Arc<Self>, link: &Link) {
        let store = Arc::downgrade(self);
        link.listen(&self.inbox, move || {
            if let Some(store) = store.upgrade() {
                // Tells those who watch that it is up again.
                store.health.send_modify(|_| {});
            }
        });
    }

    /// The failure of a command, and a hint that it is time to look.
    pub(super) fn failed(&self, error: &fred::error::Error, entry: Option<&str>) -> StoreError {
        use fred::error::ErrorKind;
        let address = self.address.clone();
        let words = error.details();
        if let Some(name) = entry {
            let about = |what: &str| StoreError::entry(name, what);
            if words.starts_with("WRONGTYPE") {
                return about("is of another type than it should be");
            }
            if words.contains("not an integer") || words.contains("would overflow") {
                return about("is no number that can be increased");
            }
        }
        if reason::is_answer(error) {
            // After a fail-over the connection may still lead to what was the primary.
            if words.starts_with("READONLY") || words.starts_with("MASTERDOWN") {
                self.stale.store(true, Ordering::Relaxed);
                self.hint.notify_one();
            }
            return StoreError::Refused {
                address,
                reason: reason::of_answer(words),
            };
        }
        self.hint.notify_one();
        match error.kind() {
            ErrorKind::Timeout => StoreError::TimedOut {
                address,
                millis: self.config.timeout.as_millis(),
            },
            _ => StoreError::Away {
                address,
                reason: reason::of_way(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_the_store_is_away_and_not_while_there_is_nothing_to_connect_with() {
        let mut keeper = Keeper {
            store: Weak::new(),
            seen: Sources {
                files: Vec::new(),
                entries: None,
            },
            refused: None,
            pending: None,
            pause: PAUSES.0,
        };
        let mut waits = |up, missing| [(); 10].map(|()| keeper.wait(up, missing));
        assert_eq!(waits(false, true), [LOOK; 10]);
        let away = waits(false, false);
        assert_eq!(
            (away[0], away[1], away[9]),
            (PAUSES.0, PAUSES.0 * 2, PAUSES.1)
        );
        assert_eq!(waits(false, true), [LOOK; 10]);
        assert_eq!(waits(true, false), [LOOK; 10]);
        assert_eq!(waits(false, false)[0], PAUSES.0);
    }
}
