//! What the certificate store holds, read back.
//!
//! Invariant: an entry is read whole or not at all. One whose key does not open is not used without it,
//! not even where the certificate would do: what was stored with a key was meant to have one.

use openssl::error::ErrorStack;

use crate::{
    block::blocks,
    certificate::Fingerprint,
    pem::{Bundle, PemError},
};

/// An entry of the certificate store.
#[derive(Debug)]
pub enum Entry {
    /// Certificates, the first of which gave the entry its id, and the private key when it has one.
    Certificate(Bundle),
    /// A public key and nothing else, known by the SHA-256 of its DER.
    PublicKey(Fingerprint),
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The secret does not open its key.
    #[error(
        "the secret does not open its private key: it was stored under another one; give this gateway \
         that one (security.private_certificate_encoding_secret, or secret where that is empty), or \
         delete the entry and upload it again"
    )]
    Secret,
    /// Its text is damaged or was never a bundle.
    #[error("{0}; delete it and upload it again")]
    Broken(PemError),
    /// Nothing in it.
    #[error("it holds neither a certificate nor a public key; delete it and upload it again")]
    Nothing,
    /// Certificates alone, where a key is needed.
    #[error("it holds no private key; delete it and upload certificate and key together")]
    NoKey,
    /// Its key is another certificate's.
    #[error(
        "its private key does not belong to its first certificate; delete it and upload it again"
    )]
    KeyMismatch,
}

impl Entry {
    /// Reads the text of an entry; `passphrase` opens its key.
    ///
    /// # Errors
    /// [`EntryError`]; nothing of the entry is to be used then.
    pub fn parse(text: &[u8], passphrase: &str) -> Result<Self, EntryError> {
        let is = |label| move |block: &crate::block::Block| block.label == label;
        if blocks(text).any(|block| block.is_private_key() || block.label == "CERTIFICATE") {
            let bundle = Bundle::parse(text, Some(passphrase)).map_err(|error| match error {
                PemError::PassphraseWrong { .. } => EntryError::Secret,
                other => EntryError::Broken(other),
            })?;
            let leaf = bundle.certificates.first().ok_or(EntryError::Nothing)?;
            if let Some(key) = &bundle.key
                && !leaf.public_key().is_ok_and(|public| public.public_eq(key))
            {
                // The comparison leaves its reason in the library's error queue: not ours to keep.
                let _ = ErrorStack::get();
                return Err(EntryError::KeyMismatch);
            }
            return Ok(Self::Certificate(bundle));
        }
        match blocks(text).find(is("PUBLIC KEY")) {
            Some(block) => Ok(Self::PublicKey(Fingerprint::of_der(&block.bytes))),
            None => Err(EntryError::Nothing),
        }
    }

    /// Whether it holds a private key.
    pub fn has_private_key(&self) -> bool {
        matches!(self, Self::Certificate(bundle) if bundle.key.is_some())
    }
}
