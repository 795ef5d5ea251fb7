//! Entries of the certificate store, read by the thousand.
//!
//! The store is asked in batches; while the next is on its way, the last is taken apart on every core
//! there is. The threads that do it have the priority of the one that asks.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel, sync_channel},
    },
    thread,
};

use bytes::Bytes;
use portcullis_config::Secret;
use portcullis_pki::EntryError;
use portcullis_store::{StoreError, certificates::Certificates};
use tokio::runtime::Handle;

use super::Content;

/// Entries asked for at a time.
const BATCH: usize = 1000;

/// Entries taken apart at a time.
const SHARE: usize = 50;

/// The certificate store, for a thread that may wait.
#[derive(Clone)]
pub struct StoreAccess {
    certificates: Certificates,
    runtime: Handle,
}

/// What the store says of an id.
pub enum Answer<C> {
    /// There is no such entry.
    Absent,
    /// There is one.
    Entry {
        /// Bytes of its text.
        length: u64,
        /// What it holds.
        content: Result<C, EntryError>,
    },
}

/// Entries with the place of the first.
type Share = (usize, Vec<Option<Bytes>>);

impl<C: Content> Answer<C> {
    /// Takes an entry's text apart.
    pub fn of(text: Option<&[u8]>, passphrase: &Secret) -> Self {
        text.map_or(Self::Absent, |text| Self::Entry {
            length: text.len() as u64,
            content: C::of_entry(text, passphrase.reveal()),
        })
    }
}

impl StoreAccess {
    /// Access by way of a runtime that drives the store's connections. Not to be used on one of its
    /// threads.
    pub fn new(certificates: Certificates, runtime: Handle) -> Self {
        Self {
            certificates,
            runtime,
        }
    }

    /// What the store says of these ids, in their order; `None` where it said nothing, and then why.
    pub fn read<C: Content>(
        &self,
        ids: &[String],
        passphrase: &Secret,
    ) -> (Vec<Option<Answer<C>>>, Option<StoreError>) {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = threads.get().min(ids.len().div_ceil(SHARE));
        let (shares, queue) = sync_channel::<Share>(4 * threads);
        let (done, results) = channel();
        let queue = Mutex::new(queue);
        let failure = thread::scope(|scope| {
            for _ in 0..threads {
                let (queue, done) = (&queue, done.clone());
                scope.spawn(move || take_apart(queue, &done, passphrase));
            }
            drop(done);
            for (batch, asked) in ids.chunks(BATCH).enumerate() {
                match self.runtime.block_on(self.certificates.raw(asked)) {
                    Ok(mut texts) => {
                        let mut first = batch * BATCH;
                        while !texts.is_empty() {
                            let rest = texts.split_off(texts.len().min(SHARE));
                            let length = texts.len();
                            // The threads take until this end is dropped.
                            let _ = shares.send((first, texts));
                            first += length;
                            texts = rest;
                        }
                    }
                    Err(error) => {
                        drop(shares);
                        return Some(error);
                    }
                }
            }
            drop(shares);
            None
        });
        let mut answers: Vec<Option<Answer<C>>> = ids.iter().map(|_| None).collect();
        for (first, share) in results {
            for (place, answer) in answers[first..].iter_mut().zip(share) {
                *place = Some(answer);
            }
        }
        (answers, failure)
    }
}

fn take_apart<C: Content>(
    queue: &Mutex<Receiver<Share>>,
    done: &Sender<(usize, Vec<Answer<C>>)>,
    passphrase: &Secret,
) {
    loop {
        let share = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((first, texts)) = share else { return };
        let answers = texts
            .into_iter()
            .map(|text| Answer::of(text.as_deref(), passphrase))
            .collect();
        // Whoever asked waits for this.
        let _ = done.send((first, answers));
    }
}
