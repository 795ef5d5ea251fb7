//! The certificates of a serving set, in order of configuration.
//!
//! Every reference has a slot, also one that leads to nothing yet, so that numbers stay while
//! certificates come and go.
//!
//! Invariant: slots are kept in shards that sets share; a change copies the shards it touches.

use std::sync::Arc;

use portcullis_pki::{CertifiedKey, KeyKind};

/// Slots in a shard.
pub(crate) const SHARD: usize = 256;

/// A reference and the certificate it leads to.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) key: Option<Arc<CertifiedKey>>,
    pub(crate) place: Place,
}

/// Where a reference stands.
#[derive(Clone)]
pub(crate) enum Place {
    /// `http_server_options.certificates`, with its `domain_name`.
    Pair(Box<str>),
    /// `http_server_options.ssl_certificates`.
    Listed,
    /// An API with a custom domain.
    Api,
}

/// All slots.
#[derive(Clone, Default)]
pub(crate) struct Slots {
    shards: Vec<Arc<Shard>>,
    length: usize,
}

#[derive(Clone, Default)]
struct Shard {
    slots: Vec<Slot>,
    present: usize,
    /// The first of each kind of key, in order.
    first_of_kind: Vec<(KeyKind, u32)>,
}

/// What selection needs to know of all slots together.
#[derive(Clone, Default)]
pub(crate) struct Summary {
    /// How many certificates there are.
    pub(crate) present: usize,
    /// The first certificate of each kind of key, in order of configuration; the first is the
    /// default.
    pub(crate) first_of_kind: Vec<u32>,
}

impl Slots {
    pub(crate) fn new(slots: Vec<Slot>) -> Slots {
        let length = slots.len();
        let mut rest = slots.into_iter();
        let shards = (0..length.div_ceil(SHARD))
            .map(|number| {
                let mut shard = Shard {
                    slots: rest.by_ref().take(SHARD).collect(),
                    ..Shard::default()
                };
                shard.count(number);
                Arc::new(shard)
            })
            .collect();
        Slots { shards, length }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        let index = index as usize;
        self.shards.get(index / SHARD)?.slots.get(index % SHARD)
    }

    pub(crate) fn key(&self, index: u32) -> Option<&Arc<CertifiedKey>> {
        self.get(index)?.key.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.shards.iter().flat_map(|shard| &shard.slots)
    }

    /// Puts another certificate, or none, into a slot.
    pub(crate) fn put(&mut self, index: u32, key: Option<Arc<CertifiedKey>>) {
        let (number, within) = (index as usize / SHARD, index as usize % SHARD);
        let Some(shard) = self.shards.get_mut(number) else {
            return;
        };
        let shard = Arc::make_mut(shard);
        if let Some(slot) = shard.slots.get_mut(within) {
            slot.key = key;
            shard.count(number);
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let mut seen: Vec<KeyKind> = Vec::new();
        for shard in &self.shards {
            summary.present += shard.present;
            for (kind, index) in &shard.first_of_kind {
                if !seen.iter().any(|other| same_kind(*other, *kind)) {
                    seen.push(*kind);
                    summary.first_of_kind.push(*index);
                }
            }
        }
        summary
    }

    /// How many shards these slots and those hold in common.
    #[cfg(test)]
    pub(crate) fn shared_with(&self, other: &Slots) -> (usize, usize) {
        let shared = self.shards.iter().zip(&other.shards);
        let shared = shared.filter(|(one, other)| Arc::ptr_eq(one, other));
        (shared.count(), self.shards.len())
    }
}

impl Shard {
    fn count(&mut self, number: usize) {
        let first = u32::try_from(number * SHARD).unwrap_or(u32::MAX);
        self.present = 0;
        self.first_of_kind.clear();
        for (index, slot) in (first..).zip(&self.slots) {
            let Some(key) = &slot.key else { continue };
            self.present += 1;
            let kind = key.facts().key;
            if !self
                .first_of_kind
                .iter()
                .any(|(other, _)| same_kind(*other, kind))
            {
                self.first_of_kind.push((kind, index));
            }
        }
    }
}

/// The size of a key makes no other kind.
fn same_kind(one: KeyKind, other: KeyKind) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}
