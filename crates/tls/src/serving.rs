//! Which certificate a client sees.
//!
//! A client names a host in its ClientHello; the answer is one lookup in a [`ServingSet`].
//! The set is built whole from everything configured and replaced whole, so a handshake waits
//! for no lock and no disk.
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

use std::{collections::HashMap, fmt, sync::Arc};

use portcullis_pki::{CertifiedKey, KeyKind};

use crate::{cipher::CipherList, hello::Hello, version::VersionRange};

/// Certificates by name. Made by [`ServingSet::builder`].
#[derive(Default)]
pub struct ServingSet {
    list: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Choice>,
    /// By what follows `*.`; the bare `*` has the empty key.
    wildcard: HashMap<Box<str>, Choice>,
    /// For clients that name no host: the first certificate of each kind of key, in order.
    first_of_kind: Vec<u32>,
}

impl fmt::Debug for ServingSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingSet")
            .field("certificates", &self.list.len())
            .field("names", &(self.exact.len() + self.wildcard.len()))
            .finish()
    }
}

/// The certificates of one name: at most one of each family.
#[derive(Clone, Copy, Default)]
struct Choice {
    ecdsa: Option<u32>,
    ed25519: Option<u32>,
    rsa: Option<u32>,
    /// Which configuration step it came from; a later step starts anew.
    step: u8,
}

impl Choice {
    fn put(&mut self, step: u8, index: u32, key: KeyKind) {
        if self.step != step {
            *self = Choice {
                step,
                ..Choice::default()
            };
        }
        match key {
            KeyKind::Rsa { .. } => self.rsa = Some(index),
            KeyKind::Ed25519 => self.ed25519 = Some(index),
            _ => self.ecdsa = Some(index),
        }
    }

    fn candidates(self) -> impl Iterator<Item = u32> {
        [self.ecdsa, self.ed25519, self.rsa].into_iter().flatten()
    }
}

/// Collects certificates source by source; the order of calls within one source counts.
#[derive(Default)]
pub struct ServingSetBuilder {
    pairs: Vec<(String, Arc<CertifiedKey>)>,
    listed: Vec<Arc<CertifiedKey>>,
    of_apis: Vec<Arc<CertifiedKey>>,
}

impl ServingSetBuilder {
    /// An entry of `http_server_options.certificates`, with its `domain_name`.
    pub fn pair(&mut self, domain_name: &str, key: Arc<CertifiedKey>) -> &mut Self {
        self.pairs.push((domain_name.to_owned(), key));
        self
    }

    /// An entry of `http_server_options.ssl_certificates`.
    pub fn listed(&mut self, key: Arc<CertifiedKey>) -> &mut Self {
        self.listed.push(key);
        self
    }

    /// A certificate of an API with a custom domain, in load order of the APIs.
    pub fn of_api(&mut self, key: Arc<CertifiedKey>) -> &mut Self {
        self.of_apis.push(key);
        self
    }

    /// The finished set.
    pub fn build(self) -> ServingSet {
        let mut set = ServingSet::default();
        let gateways: Vec<_> = self
            .pairs
            .iter()
            .map(|(_, key)| key)
            .chain(&self.listed)
            .cloned()
            .collect();
        for key in gateways {
            let index = set.append(&key);
            for name in key.facts().names() {
                set.assign(1, name, index, key.facts().key);
            }
        }
        for (index, (name, key)) in (0..).zip(&self.pairs) {
            set.assign(2, name, index, key.facts().key);
        }
        for key in &self.of_apis {
            let index = set.append(key);
            let facts = key.facts();
            let common_name = std::iter::once(facts.subject_cn.as_str()).filter(|n| !n.is_empty());
            for name in common_name.chain(facts.dns_names.iter().map(String::as_str)) {
                set.assign(3, name, index, facts.key);
            }
        }
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
        self.list.is_empty()
    }

    /// Every certificate, in order of configuration; the first is the default.
    pub fn certificates(&self) -> &[Arc<CertifiedKey>] {
        &self.list
    }

    /// The certificate for `host` without regard to what a client can verify: what an operator
    /// means by "the certificate of this host". `host` is lower-cased, without trailing dot.
    pub fn for_host(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let index = match self.list.len() {
            1 => 0,
            _ => self
                .named(host)
                .and_then(|choice| choice.candidates().next())
                .unwrap_or(0),
        };
        self.list.get(index as usize)
    }

    /// The index of the certificate for a handshake; `None` when the set is empty.
    pub(crate) fn select(
        &self,
        host: &str,
        hello: &Hello<'_>,
        versions: VersionRange,
        ciphers: &CipherList,
    ) -> Option<usize> {
        if self.list.len() < 2 {
            return (!self.list.is_empty()).then_some(0);
        }
        let usable = |index: &u32| {
            let key = self.list.get(*index as usize).map(|key| key.facts().key);
            key.is_some_and(|key| hello.can_use(key, versions, ciphers))
        };
        let index = match self.named(host) {
            // A hit is final: a client that can verify none gets a handshake failure.
            Some(choice) => {
                let mut candidates = choice.candidates().peekable();
                let first = candidates.peek().copied();
                candidates.find(usable).or(first)
            }
            // Every name of every certificate is in the maps, so none here covers the host.
            None if !host.is_empty() => None,
            None => self.first_of_kind.iter().copied().find(usable),
        };
        Some(index.unwrap_or(0) as usize)
    }

    fn named(&self, host: &str) -> Option<Choice> {
        let exact = self.exact.get(host).copied();
        if host.is_empty() {
            return exact;
        }
        exact.or_else(|| {
            let parent = host.split_once('.').map_or("", |(_, parent)| parent);
            self.wildcard.get(parent).copied()
        })
    }

    fn append(&mut self, key: &Arc<CertifiedKey>) -> u32 {
        let index = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let kind = key.facts().key;
        let seen = self.first_of_kind.iter().any(|first| {
            self.list.get(*first as usize).is_some_and(|other| {
                std::mem::discriminant(&other.facts().key) == std::mem::discriminant(&kind)
            })
        });
        if !seen {
            self.first_of_kind.push(index);
        }
        self.list.push(key.clone());
        index
    }

    fn assign(&mut self, step: u8, name: &str, index: u32, key: KeyKind) {
        let name = name.trim().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let (map, key_name) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest),
            None if name == "*" => (&mut self.wildcard, ""),
            None => (&mut self.exact, name),
        };
        map.entry(key_name.into())
            .or_default()
            .put(step, index, key);
    }
}
