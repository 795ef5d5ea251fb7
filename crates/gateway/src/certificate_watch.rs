//! Notices that entries of the certificate store came, changed or went.
//!
//! Changes that this node or another of ours makes are told at once. A Tyk node tells nobody, so the
//! entries that are referred to are looked at again from time to time. What changed is read here, where
//! waiting holds nobody up, and handed to the control task.
//!
//! Invariant: a change that was told is not forgotten while the store does not answer.

use std::{collections::BTreeSet, time::Duration};

use portcullis_store::{Health, Signal, StoreError};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, oneshot, watch,
    },
    time::{Instant, MissedTickBehavior},
};

use crate::{certificates::StoredReference, engine::Request, stores::Stores};

/// How soon a store that gave no answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Entries looked at or read at a time.
const BATCH: usize = 1000;

/// The task that watches the certificate store.
pub struct CertificateWatch {
    stores: Stores,
    requests: mpsc::UnboundedSender<Request>,
    signals: broadcast::Receiver<Signal>,
    health: watch::Receiver<Health>,
    /// How often entries that others may have changed are looked at.
    every: Duration,
    /// Ids whose change has not been read yet.
    pending: BTreeSet<String>,
}

impl CertificateWatch {
    /// Begins to listen; nothing that changes from here on is missed.
    pub fn new(stores: Stores, requests: mpsc::UnboundedSender<Request>, every: Duration) -> Self {
        Self {
            signals: stores.signals().subscribe(),
            health: stores.engine().health(),
            stores,
            requests,
            every,
            pending: BTreeSet::new(),
        }
    }

    /// Watches until the process ends.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval_at(Instant::now() + self.every, self.every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry_at = None;
        loop {
            tokio::select! {
                signal = self.signals.recv() => match signal {
                    Ok(Signal::CertificateChanged { id }) => {
                        self.pending.insert(id);
                    }
                    // Others are for others.
                    Ok(_) => continue,
                    // More changed than was kept for us: which ones shows by looking.
                    Err(RecvError::Lagged(_)) => self.look(&mut retry_at).await,
                    Err(RecvError::Closed) => return,
                },
                _ = look.tick(), if self.stores.engine().is_shared() => self.look(&mut retry_at).await,
                changed = self.health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *self.health.borrow_and_update() != Health::Up {
                        continue;
                    }
                    // What it could not answer is asked again, and what changed meanwhile was not told.
                    retry_at = None;
                    // Nobody is left to ask when the process ends.
                    let _ = self.requests.send(Request::StoreIsBack);
                    self.look(&mut retry_at).await;
                }
                () = until(retry_at), if retry_at.is_some() => {
                    retry_at = None;
                    let _ = self.requests.send(Request::StoreIsBack);
                }
            }
            while let Ok(signal) = self.signals.try_recv() {
                if let Signal::CertificateChanged { id } = signal {
                    self.pending.insert(id);
                }
            }
            if retry_at.is_none()
                && let Err(error) = self.hand_over().await
            {
                tracing::warn!(%error, waiting = self.pending.len(),
                    "changed certificates cannot be read; trying again");
                retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Reads what changed and hands it to the control task.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        while !self.pending.is_empty() {
            let ids: Vec<String> = self.pending.iter().take(BATCH).cloned().collect();
            let texts = self.stores.certificates().raw(&ids).await?;
            for id in &ids {
                self.pending.remove(id);
            }
            let entries = ids.into_iter().zip(texts).collect();
            // Nobody is left to take it when the process ends.
            let _ = self.requests.send(Request::Entries(entries));
        }
        Ok(())
    }

    /// Looks for entries that are not what they were when they were read.
    async fn look(&mut self, retry_at: &mut Option<Instant>) {
        let (answer, stored) = oneshot::channel();
        let _ = self.requests.send(Request::Stored(answer));
        let Ok(stored) = stored.await else { return };
        for batch in stored.chunks(BATCH) {
            match self.changed(batch).await {
                Ok(ids) => self.pending.extend(ids),
                Err(error) => {
                    tracing::warn!(%error, "stored certificates cannot be looked at; trying again");
                    *retry_at = Some(Instant::now() + RETRY);
                    return;
                }
            }
        }
    }

    async fn changed(&self, batch: &[StoredReference]) -> Result<Vec<String>, StoreError> {
        let ids: Vec<String> = batch.iter().map(|stored| stored.id.to_string()).collect();
        let lengths = self.stores.certificates().lengths(&ids).await?;
        let known = batch.iter().map(|stored| stored.length);
        let changed = ids.into_iter().zip(known.zip(lengths));
        Ok(changed
            .filter(|(_, (known, length))| known != length)
            .map(|(id, _)| id)
            .collect())
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
