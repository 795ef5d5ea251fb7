//! Whom a handshake that requires a client certificate lets in.
//!
//! A listed certificate is trusted for itself, whoever issued it, and so is whatever has a listed key;
//! a listed authority for what it issued. All are looked at by [`portcullis_pki::trust`]. Whom every set of
//! revocation lists refuses is let in by none.

use std::{collections::HashSet, sync::Arc};

use openssl::{error::ErrorStack, sha::Sha256, x509::X509};
use portcullis_pki::{
    Fingerprint, PresentedChain, Refusal, Revocation, TrustAnchors, Usage,
    trust::{serves_clients, valid_at},
};

/// Trusted certificates, prepared once.
#[derive(Debug)]
pub struct ClientTrust {
    listed: HashSet<Fingerprint>,
    keys: HashSet<[u8; 32]>,
    authorities: TrustAnchors,
    /// Those of the lists that let clients in, each once.
    revocations: Vec<Arc<Revocation>>,
    digest: [u8; 32],
}

impl ClientTrust {
    /// Trusts `listed` certificates and certificates of `keys` (SHA-256 of their
    /// SubjectPublicKeyInfo) for themselves, and `authorities` for what they issued; short of whom all of
    /// `revocations` refuse. Which of them counts is decided with each request.
    ///
    /// # Errors
    /// When the library cannot take an authority.
    pub fn new(
        listed: HashSet<Fingerprint>,
        keys: HashSet<[u8; 32]>,
        authorities: Vec<X509>,
        mut revocations: Vec<Arc<Revocation>>,
    ) -> Result<Self, ErrorStack> {
        let authorities = TrustAnchors::new(authorities)?;
        revocations.sort_unstable_by_key(|revocation| revocation.digest());
        revocations.dedup_by_key(|revocation| revocation.digest());

        let mut in_order: Vec<&Fingerprint> = listed.iter().collect();
        in_order.sort_unstable();
        let mut digest = Sha256::new();
        digest.update(&authorities.digest());
        for fingerprint in in_order {
            digest.update(fingerprint.as_bytes());
        }
        let mut in_order: Vec<&[u8; 32]> = keys.iter().collect();
        in_order.sort_unstable();
        // Sets of equal members, one of certificates and one of keys, are told apart.
        digest.update(&in_order.len().to_be_bytes());
        for key in in_order {
            digest.update(key);
        }
        for revocation in &revocations {
            digest.update(&revocation.digest());
        }
        Ok(Self {
            digest: digest.finish(),
            revocations,
            listed,
            keys,
            authorities,
        })
    }

    /// Nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.keys.is_empty() && self.authorities.is_empty()
    }

    /// A digest of all that is trusted.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Judges a chain at a time (Unix seconds): until when what it was judged by is valid.
    ///
    /// # Errors
    /// Why it is refused. The leaf's own validity is looked at first (inbound sheet 4.6).
    pub fn judge(&self, shown: &PresentedChain, at: i64) -> Result<i64, Refusal> {
        valid_at(shown.leaf(), at)?;
        let known_key = || {
            let key = shown.public_key_digest();
            key.is_some_and(|key| self.keys.contains(&key))
        };
        if self.listed.contains(&shown.fingerprint()) || (!self.keys.is_empty() && known_key()) {
            serves_clients(shown.leaf())?;
            let known = self.unrevoked(|revocation| {
                let authorities = self.authorities.anchors().iter();
                revocation.leaf(shown, authorities, at)
            })?;
            return Ok(shown.not_after().min(known));
        }
        let way = self.authorities.way(shown, Usage::Client, at)?;
        let known = self.unrevoked(|revocation| revocation.way(&way.certificates, at))?;
        Ok(way.until().min(known))
    }

    /// Until when somebody is known to pass one of the sets.
    fn unrevoked(&self, ask: impl Fn(&Revocation) -> Result<i64, Refusal>) -> Result<i64, Refusal> {
        let (mut until, mut refused) = (None, None);
        for revocation in &self.revocations {
            match ask(revocation) {
                Ok(known) => until = until.max(Some(known)),
                Err(refusal) => refused = Some(refusal),
            }
        }
        match (until, refused) {
            (None, Some(refusal)) => Err(refusal),
            (until, _) => Ok(until.unwrap_or(i64::MAX)),
        }
    }
}
