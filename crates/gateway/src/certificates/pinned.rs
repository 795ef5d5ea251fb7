//! Keys that upstreams are pinned to.

use portcullis_pki::{
    Entry, EntryError, ReferenceError, certificate::public_key_digest, reference::load_bundle,
};

use super::Content;

/// SHA-256 of a public key (SubjectPublicKeyInfo): one that was named, or that of the first certificate
/// where a certificate was. None where neither is; no upstream has that.
pub struct PinnedKey(Option<[u8; 32]>);

impl PinnedKey {
    /// The digest.
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.0
    }
}

impl Content for PinnedKey {
    const OUTLIVES_ITS_SOURCE: bool = false;

    fn of_entry(text: &[u8], passphrase: &str) -> Result<Self, EntryError> {
        Ok(Self(match Entry::parse(text, passphrase)? {
            Entry::PublicKey(digest) => Some(*digest.as_bytes()),
            Entry::Certificate(bundle) => {
                let first = bundle.certificates.first();
                first.and_then(|first| public_key_digest(first))
            }
        }))
    }

    fn of_text(reference: &str, passphrase: &str) -> Result<(Self, bool), ReferenceError> {
        let (bundle, ..) = load_bundle(reference, Some(passphrase))?;
        let of_key = || {
            let der = bundle.public_keys.first()?.public_key_to_der().ok()?;
            Some(openssl::sha::sha256(&der))
        };
        let of_certificate = || public_key_digest(bundle.certificates.first()?);
        Ok((Self(of_certificate().or_else(of_key)), bundle.repaired))
    }

    fn unusable(&self) -> Option<String> {
        let said = "it holds neither a certificate nor a public key";
        self.0.is_none().then(|| said.to_owned())
    }

    fn same_as(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
