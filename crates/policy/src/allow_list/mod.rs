//! Which client certificates an API lets pass: its static allow list (inbound sheet 5, decisions 13
//! and 14), and our typed entries.
//!
//! An entry is what a reference holds. It matches the leaf, whose key the client has proven, if its
//! first certificate is that leaf; or, if its first certificate is an authority, when one of its
//! authorities issued the leaf over a path that verifies with what the client sent. Nothing else a
//! client sends along ever matches. A typed entry names a certificate, a key, an authority, or a name
//! that an authority has to vouch for.
//!
//! Invariants:
//! - An empty list, or one whose entries hold nothing, lets nobody pass.
//! - A name lets nobody pass without an authority that vouches for it.
//! - What its revocation lists refuse passes by no entry.
//! - Looking for a listed leaf costs the same however long the list is.

mod rules;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use openssl::{
    error::ErrorStack,
    sha::Sha256,
    x509::{X509, X509Ref},
};
use portcullis_apidef::{ClientMatch, ClientRule};
use portcullis_pki::{
    CertificateFacts, Fingerprint, PresentedChain, Refusal, Revocation, TrustAnchors, Usage,
    trust::{Way, is_for_servers_only, valid_at},
};

use self::rules::{Closed, Names, Window, Windows, named};

/// An allow list, prepared once.
#[derive(Debug)]
pub struct AllowList {
    listed: HashMap<Fingerprint, Windows>,
    keys: HashMap<[u8; 32], Windows>,
    authorities: TrustAnchors,
    /// Authorities whose entries count for a time only.
    limited: TrustAnchors,
    limits: HashMap<Fingerprint, Windows>,
    names: Names,
    /// Empty without entries by name.
    vouching: TrustAnchors,
    revocation: Arc<Revocation>,
    announced: Vec<Box<[u8]>>,
    announces_all: bool,
    digest: [u8; 32],
}

/// The entries of an allow list to be.
#[derive(Debug, Default)]
pub struct AllowListBuilder {
    listed: HashMap<Fingerprint, Windows>,
    keys: HashMap<[u8; 32], Windows>,
    authorities: Vec<X509>,
    limited: Vec<(X509, Fingerprint, Window)>,
    names: Names,
    vouching: Vec<X509>,
    revocation: Arc<Revocation>,
    announced: Vec<Box<[u8]>>,
    /// Somebody may pass whose name or issuer is not known.
    anonymous: bool,
}

/// Why a client certificate does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It is listed and past its validity.
    #[error("the listed certificate has expired")]
    Expired,
    /// It is listed and before its validity.
    #[error("the listed certificate is not valid yet")]
    NotYetValid,
    /// The entry that matches it has ended.
    #[error("the entry that lists it has ended (not_after)")]
    EntryOver,
    /// The entry that matches it has not begun.
    #[error("the entry that lists it has not begun (not_before)")]
    EntryAhead,
    /// It, or an authority above it, was revoked.
    #[error("{0}")]
    Revoked(Refusal),
    /// Whether it was revoked cannot be told.
    #[error("{0}")]
    RevocationUnknown(Refusal),
    /// No entry matches, and no authority vouches for it.
    #[error("no entry lists it, and no listed authority vouches for it: {0}")]
    NotListed(Refusal),
}

/// How a client certificate passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The last second (Unix time) for which it was decided.
    pub until: i64,
    /// A listed authority vouches for it, and its extended key usage lists servers only.
    pub for_servers_only: bool,
}

impl AllowListBuilder {
    /// Takes in what a reference holds; whether anybody can pass by it.
    pub fn entry(&mut self, certificates: &[X509]) -> bool {
        let Some(first) = certificates.first() else {
            return false;
        };
        let Ok(facts) = CertificateFacts::of(first) else {
            return false;
        };
        let windows = self.listed.entry(facts.fingerprint).or_default();
        windows.add(Window::ALWAYS);
        if !facts.is_ca {
            self.announce(first);
            return true;
        }
        for authority in authorities(certificates) {
            self.announce(authority);
            self.authorities.push(authority.clone());
        }
        true
    }

    /// Takes in a typed entry. What the reference of an entry for an authority holds is given beside
    /// it; other entries need nothing. Whether anybody can pass by it.
    pub fn rule(&mut self, rule: &ClientRule, referred: &[X509]) -> bool {
        let window = Window::of(rule);
        match &rule.who {
            ClientMatch::Certificate(digest) => {
                self.anonymous = true;
                let windows = self
                    .listed
                    .entry(Fingerprint::of_bytes(*digest))
                    .or_default();
                windows.add(window);
                true
            }
            ClientMatch::Key(digest) => {
                self.anonymous = true;
                self.keys.entry(*digest).or_default().add(window);
                true
            }
            ClientMatch::Authority(_) => {
                let mut any = false;
                for authority in authorities(referred) {
                    let Ok(fingerprint) = Fingerprint::of(authority) else {
                        continue;
                    };
                    any = true;
                    self.announce(authority);
                    if window == Window::ALWAYS {
                        self.authorities.push(authority.clone());
                    } else {
                        self.limited.push((authority.clone(), fingerprint, window));
                    }
                }
                any
            }
            name => {
                self.names.entry(name.clone()).or_default().add(window);
                true
            }
        }
    }

    /// Takes in authorities that vouch for names and let nobody pass by themselves; whether there is
    /// one.
    pub fn vouching(&mut self, certificates: &[X509]) -> bool {
        let before = self.vouching.len();
        self.vouching.extend(authorities(certificates).cloned());
        self.vouching.len() > before
    }

    /// Sets the revocation lists that count for it.
    pub fn revocation(&mut self, revocation: Arc<Revocation>) {
        self.revocation = revocation;
    }

    /// Entries by name that nobody vouches for, so that nobody passes by them.
    #[must_use]
    pub fn names_without_authority(&self) -> usize {
        match self.vouching.is_empty() && self.authorities.is_empty() {
            true => self.names.len(),
            false => 0,
        }
    }

    fn announce(&mut self, certificate: &X509Ref) {
        // A certificate without a name that can be encoded is not announced.
        self.announced.extend(
            certificate
                .subject_name()
                .to_der()
                .map(Vec::into_boxed_slice),
        );
    }

    /// The list.
    ///
    /// # Errors
    /// When the library cannot take an authority.
    pub fn build(mut self) -> Result<AllowList, ErrorStack> {
        let mut vouching = Vec::new();
        if !self.names.is_empty() {
            for authority in std::mem::take(&mut self.vouching) {
                self.announce(&authority);
                vouching.push(authority);
            }
            vouching.extend(self.authorities.iter().cloned());
        }
        let mut limits: HashMap<Fingerprint, Windows> = HashMap::new();
        let mut limited = Vec::new();
        for (authority, fingerprint, window) in self.limited {
            limits.entry(fingerprint).or_default().add(window);
            limited.push(authority);
        }
        let mut list = AllowList {
            listed: self.listed,
            keys: self.keys,
            authorities: TrustAnchors::new(self.authorities)?,
            limited: TrustAnchors::new(limited)?,
            limits,
            names: self.names,
            vouching: TrustAnchors::new(vouching)?,
            revocation: self.revocation,
            announced: self.announced,
            announces_all: !self.anonymous,
            digest: [0; 32],
        };
        list.digest = list.digested();
        Ok(list)
    }
}

impl AllowList {
    /// Nobody passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
            && self.keys.is_empty()
            && self.authorities.is_empty()
            && self.limited.is_empty()
            && self.vouching.is_empty()
    }

    /// A digest of its entries, whatever their order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Certificates that pass for themselves.
    pub fn listed(&self) -> impl Iterator<Item = Fingerprint> {
        self.listed.keys().copied()
    }

    /// SHA-256 of the keys that pass whatever certificate they have.
    pub fn keys(&self) -> impl Iterator<Item = [u8; 32]> {
        self.keys.keys().copied()
    }

    /// How many names (host names, URIs, addresses, subjects) have entries.
    #[must_use]
    pub fn entries_by_name(&self) -> usize {
        self.names.len()
    }

    /// Authorities some clients of which pass.
    pub fn authorities(&self) -> impl Iterator<Item = &X509> {
        let sets = [&self.authorities, &self.limited, &self.vouching];
        sets.into_iter().flat_map(TrustAnchors::anchors)
    }

    /// Subjects (DER) to announce to clients: of listed certificates and of authorities.
    #[must_use]
    pub fn names(&self) -> &[Box<[u8]>] {
        &self.announced
    }

    /// Everybody who passes has a subject or an issuer among [`names`](Self::names): a client that
    /// finds itself nowhere there may keep its certificate back.
    #[must_use]
    pub fn announces_all(&self) -> bool {
        self.announces_all
    }

    /// Whether the client that presented a chain passes at a time (Unix seconds).
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn judge(&self, shown: &PresentedChain, at: i64) -> Result<Allowed, NotAllowed> {
        let mut closed = None;
        let listed = self.listed.get(&shown.fingerprint());
        let key = match self.keys.is_empty() {
            true => None,
            false => shown
                .public_key_digest()
                .and_then(|key| self.keys.get(&key)),
        };
        for windows in [listed, key].into_iter().flatten() {
            match windows.at(at) {
                Ok(until) => return self.by_itself(shown, at, until),
                Err(why) => closed = Some(why),
            }
        }
        if !self.names.is_empty() && !self.vouching.is_empty() {
            match named(&self.names, shown, at) {
                Some(Ok(until)) => {
                    if let Ok(way) = self.vouching.way(shown, Usage::Client, at) {
                        return self.vouched(shown, &way, until, at);
                    }
                }
                Some(Err(why)) => closed = Some(why),
                None => {}
            }
        }
        let refusal = match self.authorities.way(shown, Usage::ClientOrServer, at) {
            Ok(way) => return self.vouched(shown, &way, i64::MAX, at),
            Err(refusal) => refusal,
        };
        if !self.limited.is_empty()
            && let Ok(way) = self.limited.way(shown, Usage::ClientOrServer, at)
        {
            let anchor = way.certificates.last();
            let anchor = anchor.and_then(|anchor| Fingerprint::of(anchor).ok());
            match anchor
                .and_then(|anchor| self.limits.get(&anchor))
                .map(|w| w.at(at))
            {
                Some(Ok(until)) => return self.vouched(shown, &way, until, at),
                Some(Err(why)) => closed = Some(why),
                None => {}
            }
        }
        Err(match closed {
            Some(Closed::Ahead) => NotAllowed::EntryAhead,
            Some(Closed::Over) => NotAllowed::EntryOver,
            None => NotAllowed::NotListed(refusal),
        })
    }

    /// The revocation lists that count for it.
    #[must_use]
    pub fn revocation(&self) -> &Arc<Revocation> {
        &self.revocation
    }

    /// A certificate that is trusted for itself passes in its validity, unless its issuer has revoked it.
    fn by_itself(
        &self,
        shown: &PresentedChain,
        at: i64,
        until: i64,
    ) -> Result<Allowed, NotAllowed> {
        match valid_at(shown.leaf(), at) {
            Ok(()) => {}
            Err(Refusal::NotYetValid { .. }) => return Err(NotAllowed::NotYetValid),
            Err(_) => return Err(NotAllowed::Expired),
        }
        let known = self.revocation.leaf(shown, self.authorities(), at)?;
        Ok(Allowed {
            until: shown.not_after().min(until).min(known),
            for_servers_only: false,
        })
    }

    /// One an authority vouches for passes while all of the way is good.
    fn vouched(
        &self,
        shown: &PresentedChain,
        way: &Way,
        until: i64,
        at: i64,
    ) -> Result<Allowed, NotAllowed> {
        let known = self.revocation.way(&way.certificates, at)?;
        Ok(Allowed {
            until: way.until().min(until).min(known),
            for_servers_only: is_for_servers_only(shown.leaf()),
        })
    }

    fn digested(&self) -> [u8; 32] {
        let mut rules: Vec<String> = Vec::new();
        let mut add = |who: String, windows: &Windows| {
            rules.extend(
                windows
                    .all()
                    .iter()
                    .map(|window| format!("{who} {}", window.text())),
            );
        };
        for (fingerprint, windows) in &self.listed {
            add(format!("certificate {fingerprint}"), windows);
        }
        for (key, windows) in &self.keys {
            add(format!("key {key:?}"), windows);
        }
        for (fingerprint, windows) in &self.limits {
            add(format!("authority {fingerprint}"), windows);
        }
        for (name, windows) in &self.names {
            add(format!("{name:?}"), windows);
        }
        rules.sort_unstable();
        let mut digest = Sha256::new();
        for set in [&self.authorities, &self.limited, &self.vouching] {
            digest.update(&set.digest());
        }
        digest.update(&self.revocation.digest());
        for rule in &rules {
            digest.update(&rule.len().to_be_bytes());
            digest.update(rule.as_bytes());
        }
        digest.finish()
    }
}

impl From<Refusal> for NotAllowed {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Revoked { .. } => Self::Revoked(refusal),
            Refusal::RevocationUnknown { .. } => Self::RevocationUnknown(refusal),
            other => Self::NotListed(other),
        }
    }
}

fn authorities(certificates: &[X509]) -> impl Iterator<Item = &X509> {
    certificates
        .iter()
        .filter(|certificate| CertificateFacts::of(certificate).is_ok_and(|facts| facts.is_ca))
}
