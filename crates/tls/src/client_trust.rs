//! Whom a handshake that requires a client certificate lets in.
//!
//! A listed certificate is trusted for itself, whoever issued it, and so is whatever has a listed key;
//! a listed authority for what it issued. All are looked at by [`portcullis_pki::trust`].

use std::collections::HashSet;

use openssl::{error::ErrorStack, sha::Sha256, x509::X509};
use portcullis_pki::{
    Fingerprint, PresentedChain, Refusal, TrustAnchors, Usage,
    trust::{serves_clients, valid_at},
};

/// Trusted certificates, prepared once.
#[derive(Debug)]
pub struct ClientTrust {
    listed: HashSet<Fingerprint>,
    keys: HashSet<[u8; 32]>,
    authorities: TrustAnchors,
    digest: [u8; 32],
}

impl ClientTrust {
    /// Trusts `listed` certificates and certificates of `keys` (SHA-256 of their
    /// SubjectPublicKeyInfo) for themselves, and `authorities` for what they issued.
    ///
    /// # Errors
    /// When the library cannot take an authority.
    pub fn new(
        listed: HashSet<Fingerprint>,
        keys: HashSet<[u8; 32]>,
        authorities: Vec<X509>,
    ) -> Result<Self, ErrorStack> {
        let authorities = TrustAnchors::new(authorities)?;
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
        Ok(Self {
            digest: digest.finish(),
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
            return Ok(shown.not_after());
        }
        let way = self.authorities.way(shown, Usage::Client, at)?;
        Ok(way.until())
    }
}
