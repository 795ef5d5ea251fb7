//! Which certificate a client sees.
//!
//! A client names a host in its ClientHello; the answer is one lookup in a [`ServingSet`].
//! The set is built whole from everything configured and replaced whole, so a handshake waits
//! for no lock and no disk. A set in which a few certificates differ from another shares with it
//! whatever they have in common, so that one of a hundred thousand is replaced in no time.
//!
//! The rules, in order:
//! 1. A set with one certificate serves it for every name.
//! 2. The exact name, then the name with its first label replaced by `*`.
//! 3. Otherwise the first certificate configured; when the client names no host, the first
//!    one it can verify.
//!
//! Invariants:
//! - Names are compared lower-cased, without a trailing dot.
//! - Within one source a later certificate takes a name over from an earlier one, and a later
//!   source from an earlier source. RSA and ECDSA certificates of one source share a name: the
//!   client gets the one it can verify, ECDSA first.
//! - A set with certificates replaced is the set that would have been built with them.

mod names;
mod slots;

use std::{borrow::Cow, fmt, sync::Arc};

use portcullis_pki::{CertificateFacts, CertifiedKey};

use self::{
    names::{Choice, Claim, Family, Names},
    slots::{Place, Slot, Slots, Summary},
};
use crate::{cipher::CipherList, hello::Hello, version::VersionRange};

pub(crate) use self::slots::SHARD;

/// A slot whose certificate is another from here on, or none.
pub type Replacement = (u32, Option<Arc<CertifiedKey>>);

/// Certificates by name. Made by [`ServingSet::builder`]. Cheap to clone.
#[derive(Clone, Default)]
pub struct ServingSet {
    slots: Slots,
    summary: Summary,
    exact: Names,
    /// By what follows `*.`; the bare `*` has the empty key.
    wildcard: Names,
}

impl fmt::Debug for ServingSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingSet")
            .field("certificates", &self.summary.present)
            .field("names", &(self.exact.len() + self.wildcard.len()))
            .finish()
    }
}

/// Collects certificates source by source; the order of calls within one source counts.
///
/// A reference that leads to no certificate (`None`) keeps its place. Slots are numbered from 0: first
/// all of [`pair`](Self::pair), then all of [`listed`](Self::listed), then all of
/// [`of_api`](Self::of_api).
#[derive(Default)]
pub struct ServingSetBuilder {
    pairs: Vec<Slot>,
    listed: Vec<Slot>,
    of_apis: Vec<Slot>,
}

impl ServingSetBuilder {
    /// An entry of `http_server_options.certificates`, with its `domain_name`.
    pub fn pair(
        &mut self,
        domain_name: &str,
        key: impl Into<Option<Arc<CertifiedKey>>>,
    ) -> &mut Self {
        self.pairs.push(Slot {
            key: key.into(),
            place: Place::Pair(domain_name.into()),
        });
        self
    }

    /// An entry of `http_server_options.ssl_certificates`.
    pub fn listed(&mut self, key: impl Into<Option<Arc<CertifiedKey>>>) -> &mut Self {
        self.listed.push(Slot {
            key: key.into(),
            place: Place::Listed,
        });
        self
    }

    /// A certificate of an API with a custom domain, in load order of the APIs.
    pub fn of_api(&mut self, key: impl Into<Option<Arc<CertifiedKey>>>) -> &mut Self {
        self.of_apis.push(Slot {
            key: key.into(),
            place: Place::Api,
        });
        self
    }

    /// The finished set.
    pub fn build(self) -> ServingSet {
        let mut slots = self.pairs;
        slots.extend(self.listed);
        slots.extend(self.of_apis);
        let wildcards = slots
            .iter()
            .filter_map(|slot| slot.key.as_ref())
            .filter(|key| key.facts().names().any(|name| name.starts_with('*')));
        let mut set = ServingSet {
            exact: Names::for_about(slots.len()),
            wildcard: Names::for_about(wildcards.count()),
            slots: Slots::new(slots),
            ..ServingSet::default()
        };
        for index in set.indices() {
            set.claim(index, Names::claim);
        }
        set.exact.shrink();
        set.wildcard.shrink();
        set.summary = set.slots.summary();
        set
    }
}

impl ServingSet {
    /// An empty collection.
    pub fn builder() -> ServingSetBuilder {
        ServingSetBuilder::default()
    }

    /// Whether there is no certificate: every handshake ends with `unrecognized_name`.
    pub fn is_empty(&self) -> bool {
        self.summary.present == 0
    }

    /// Every certificate, in order of configuration; the first is the default.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        self.slots.iter().filter_map(|slot| slot.key.as_ref())
    }

    /// The certificate in a slot.
    pub fn slot(&self, index: u32) -> Option<&Arc<CertifiedKey>> {
        self.slots.key(index)
    }

    /// How many slots there are, empty ones included.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// This set with other certificates in some slots.
    #[must_use]
    pub fn with(&self, replacements: &[Replacement]) -> ServingSet {
        let mut next = self.clone();
        for (index, key) in replacements {
            next.claim(*index, Names::give_up);
            next.slots.put(*index, key.clone());
            next.claim(*index, Names::claim);
        }
        next.summary = next.slots.summary();
        next
    }

    /// The certificate for `host` without regard to what a client can verify: what an operator
    /// means by "the certificate of this host". `host` is lower-cased, without trailing dot.
    pub fn for_host(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let named = || self.named(host)?.into_iter().flatten().next();
        let index = match self.summary.present {
            1 => None,
            _ => named(),
        };
        self.slots.key(index.or(self.fallback())?)
    }

    /// The slot of the certificate for a handshake; `None` when the set is empty.
    pub(crate) fn select(
        &self,
        host: &str,
        hello: &Hello<'_>,
        versions: VersionRange,
        ciphers: &CipherList,
    ) -> Option<u32> {
        if self.summary.present < 2 {
            return self.fallback();
        }
        let usable = |index: &u32| {
            let key = self.slots.key(*index).map(|key| key.facts().key);
            key.is_some_and(|key| hello.can_use(key, versions, ciphers))
        };
        let index = match self.named(host) {
            // A hit is final: a client that can verify none gets a handshake failure.
            Some(choice) => {
                let mut candidates = choice.into_iter().flatten().peekable();
                let first = candidates.peek().copied();
                candidates.find(usable).or(first)
            }
            // Every name of every certificate is in the maps, so none here covers the host.
            None if !host.is_empty() => None,
            None => self.summary.first_of_kind.iter().copied().find(usable),
        };
        index.or(self.fallback())
    }

    fn fallback(&self) -> Option<u32> {
        self.summary.first_of_kind.first().copied()
    }

    fn indices(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    fn named(&self, host: &str) -> Option<Choice> {
        let exact = self.exact.find(host);
        if host.is_empty() {
            return exact;
        }
        exact.or_else(|| {
            let parent = host.split_once('.').map_or("", |(_, parent)| parent);
            self.wildcard.find(parent)
        })
    }

    /// Makes or gives up the claims of the certificate in a slot.
    fn claim(&mut self, index: u32, change: impl Fn(&mut Names, &str, Claim)) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let Some(key) = &slot.key else { return };
        let family = Family::from(key.facts().key);
        for (step, name) in claims(&slot.place, key.facts()) {
            let claim = Claim {
                index,
                step,
                family,
            };
            let name = normal(name);
            match name.strip_prefix("*.") {
                Some(rest) => change(&mut self.wildcard, rest, claim),
                None if name == "*" => change(&mut self.wildcard, "", claim),
                None => change(&mut self.exact, &name, claim),
            }
        }
    }

    /// Shards of slots and names that both sets hold, of how many.
    #[cfg(test)]
    fn shared_with(&self, other: &ServingSet) -> [(usize, usize); 2] {
        [
            self.slots.shared_with(&other.slots),
            self.exact.shared_with(&other.exact),
        ]
    }
}

/// The names a certificate goes by, each with its configuration step.
fn claims<'a>(
    place: &'a Place,
    facts: &'a CertificateFacts,
) -> impl Iterator<Item = (u8, &'a str)> {
    let of_api = matches!(place, Place::Api);
    let own = facts.names().filter(move |_| !of_api).map(|name| (1, name));
    let given = match place {
        Place::Pair(domain_name) => Some((2, &**domain_name)),
        Place::Listed | Place::Api => None,
    };
    let common_name = Some(facts.subject_cn.as_str()).filter(|name| of_api && !name.is_empty());
    let dns_names = facts.dns_names.iter().filter(move |_| of_api);
    let api = common_name.into_iter().chain(dns_names.map(String::as_str));
    own.chain(given).chain(api.map(|name| (3, name)))
}

/// A name as it is looked up.
fn normal(name: &str) -> Cow<'_, str> {
    let name = name.trim();
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use portcullis_pki::{
        load,
        make::{Algorithm, Pair, make_ca, make_server},
    };

    use super::*;

    fn certified(names: &[&str]) -> Arc<CertifiedKey> {
        static CA: OnceLock<Pair> = OnceLock::new();
        let ca = CA.get_or_init(|| make_ca("Serving CA", Algorithm::P256, 30).unwrap());
        let pair = make_server(ca, names, Algorithm::P256, 30).unwrap();
        let text = pair.certificate_pem() + &pair.key_pem();
        Arc::new(load(&text, None).unwrap().pair)
    }

    fn serves(set: &ServingSet, host: &str, key: &Arc<CertifiedKey>) -> bool {
        set.for_host(host)
            .is_some_and(|found| Arc::ptr_eq(found, key))
    }

    #[test]
    fn a_certificate_that_leaves_hands_its_names_to_the_one_before() {
        let [first, second, other] = ["a.test", "a.test", "b.test"].map(|name| certified(&[name]));
        let mut builder = ServingSet::builder();
        builder
            .listed(first.clone())
            .listed(other)
            .of_api(second.clone());
        let set = builder.build();
        assert!(serves(&set, "a.test", &second));

        let without = set.with(&[(2, None)]);
        assert!(serves(&without, "a.test", &first) && without.slots() == 3);
        assert_eq!(without.certificates().count(), 2);
        assert!(serves(&set, "a.test", &second), "the old set is as it was");

        let again = without.with(&[(2, Some(second.clone()))]);
        assert!(serves(&again, "a.test", &second));
        assert!(set.with(&[(0, None), (1, None), (2, None)]).is_empty());
    }

    #[test]
    fn the_default_is_the_first_certificate_that_is_there() {
        let [first, second] = ["a.test", "b.test"].map(|name| certified(&[name]));
        let mut builder = ServingSet::builder();
        builder.listed(None).listed(second.clone());
        let set = builder.build();
        assert!(serves(&set, "nobody.test", &second));
        let set = set.with(&[(0, Some(first.clone()))]);
        assert!(serves(&set, "nobody.test", &first));
        // With one left, it is served for every name.
        let set = set.with(&[(0, None)]);
        assert!(serves(&set, "a.test", &second));
    }

    #[test]
    fn wildcards_come_and_go_as_exact_names_do() {
        let [wild, exact, rest] = [&["*.w.test"][..], &["x.w.test"], &["rest.test"]].map(certified);
        let mut builder = ServingSet::builder();
        builder
            .listed(rest.clone())
            .listed(None)
            .listed(wild.clone());
        let set = builder.build();
        assert!(serves(&set, "x.w.test", &wild));
        let set = set.with(&[(1, Some(exact.clone()))]);
        assert!(serves(&set, "x.w.test", &exact) && serves(&set, "y.w.test", &wild));
        let set = set.with(&[(2, None)]);
        assert!(serves(&set, "y.w.test", &rest));
    }

    #[test]
    fn a_replaced_certificate_copies_its_own_shard_and_those_of_its_names() {
        let [common, replacing] = [&["common.test"][..], &["new.test"]].map(certified);
        let mut builder = ServingSet::builder();
        let many: Vec<_> = (0..4 * SHARD).map(|_| common.clone()).collect();
        many.into_iter().for_each(|key| {
            builder.listed(key);
        });
        let set = builder.build();
        let next = set.with(&[(300, Some(replacing.clone()))]);
        assert!(serves(&next, "new.test", &replacing));
        let [(slots, of_slots), (names, of_names)] = next.shared_with(&set);
        assert_eq!((slots, of_slots), (3, 4));
        assert!(
            names >= of_names - 2 && of_names >= 8,
            "{names} of {of_names}"
        );
    }

    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<Slot>() <= 32);
    }
}
