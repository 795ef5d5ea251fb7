//! The library's contexts of policies and certificates, each made when it is first needed.
//!
//! Invariant: contexts are kept in shards that configurations share; one that replaces
//! certificates has new shards where they are and keeps what was made for their neighbours.

use std::sync::{Arc, OnceLock};

use openssl::ssl::SslContext;

use crate::serving::{Replacement, SHARD};

/// `None` when the library refused the certificate.
type Place = OnceLock<Option<SslContext>>;

/// Places of neighbouring certificates under one policy; made with the first context.
type Shard = OnceLock<Box<[Place]>>;

/// Contexts by policy, then by certificate.
pub(super) struct Contexts {
    by_policy: Vec<Vec<Arc<Shard>>>,
}

impl Contexts {
    pub(super) fn new(policies: usize, slots: usize) -> Contexts {
        let shards = || (0..slots.div_ceil(SHARD)).map(|_| Arc::default());
        Contexts {
            by_policy: (0..policies).map(|_| shards().collect()).collect(),
        }
    }

    /// The same without what was made for slots that have another certificate.
    pub(super) fn without(&self, replacements: &[Replacement]) -> Contexts {
        let mut by_policy = self.by_policy.clone();
        for shards in &mut by_policy {
            for (slot, _) in replacements {
                let slot = *slot as usize;
                let Some(shard) = shards.get_mut(slot / SHARD) else {
                    continue;
                };
                let next = Shard::new();
                if let Some(places) = shard.get() {
                    let mut places = places.clone();
                    places[slot % SHARD] = Place::new();
                    let _ = next.set(places);
                }
                *shard = Arc::new(next);
            }
        }
        Contexts { by_policy }
    }

    /// The context of a policy and a certificate.
    pub(super) fn get(
        &self,
        policy: usize,
        slot: u32,
        make: impl FnOnce() -> Option<SslContext>,
    ) -> Option<&SslContext> {
        let shard = self.by_policy.get(policy)?.get(slot as usize / SHARD)?;
        let places = shard.get_or_init(|| (0..SHARD).map(|_| Place::new()).collect());
        places
            .get(slot as usize % SHARD)?
            .get_or_init(make)
            .as_ref()
    }
}

#[cfg(test)]
mod tests {
    use openssl::ssl::SslMethod;

    use super::*;

    fn context() -> Option<SslContext> {
        Some(SslContext::builder(SslMethod::tls()).unwrap().build())
    }

    fn made(contexts: &Contexts, slot: u32) -> bool {
        let mut made = true;
        contexts.get(0, slot, || {
            made = false;
            context()
        });
        made
    }

    #[test]
    fn only_what_was_made_for_a_replaced_certificate_is_made_anew() {
        let contexts = Contexts::new(1, 3 * SHARD);
        let far = 2 * SHARD as u32;
        for slot in [0, 1, far] {
            assert!(!made(&contexts, slot) && made(&contexts, slot));
        }
        let next = contexts.without(&[(1, None)]);
        assert!(made(&next, 0) && made(&next, far) && !made(&next, 1));
        let [old, new] = [&contexts, &next].map(|contexts| &contexts.by_policy[0]);
        let shared: Vec<bool> = old
            .iter()
            .zip(new)
            .map(|(a, b)| Arc::ptr_eq(a, b))
            .collect();
        assert_eq!(shared, [false, true, true]);
    }
}
