//! Whom a handshake that requires a client certificate lets in.
//!
//! A listed certificate is trusted for itself, whoever issued it; a listed authority for what it
//! issued. Both are looked at by [`portcullis_pki::trust`].

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
    authorities: TrustAnchors,
    digest: [u8; 32],
}

impl ClientTrust {
    /// Trusts `listed` certificates for themselves and `authorities` for what they issued.
    ///
    /// # Errors
    /// When the library cannot take an authority.
    pub fn new(listed: HashSet<Fingerprint>, authorities: Vec<X509>) -> Result<Self, ErrorStack> {
        let authorities = TrustAnchors::new(authorities)?;
        let mut in_order: Vec<&Fingerprint> = listed.iter().collect();
        in_order.sort_unstable();
        let mut digest = Sha256::new();
        digest.update(&authorities.digest());
        for fingerprint in in_order {
            digest.update(fingerprint.as_bytes());
        }
        Ok(Self {
            digest: digest.finish(),
            listed,
            authorities,
        })
    }

    /// Nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.authorities.is_empty()
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
        if self.listed.contains(&shown.fingerprint()) {
            serves_clients(shown.leaf())?;
            return Ok(shown.not_after());
        }
        let way = self.authorities.way(shown, Usage::Client, at)?;
        Ok(way.until())
    }
}
