//! Certificates of the certificate store that connections are made with
//! (`external_services.storage.mtls.cert_id` and `ca_cert_ids`).
//!
//! Invariants:
//! - What the store said last counts while it is away. An entry that is gone or cannot be used leaves nothing to
//!   connect with: nothing is connected to with less than was asked for.
//! - The store that is asked is another connection than the one that is made with the answer.

use bytes::Bytes;
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use portcullis_pki::{CertificateFacts, Entry};

use crate::{Certificates, StoreError, certificates::Stored};

/// Which entries connections are made with.
pub struct StoredMaterial {
    certificates: Certificates,
    /// The pair we show.
    identity: Option<String>,
    /// Who vouches for the server.
    authorities: Vec<String>,
}

/// The texts of entries: the pair's first, where there is one.
pub(super) type Entries = Vec<Option<Bytes>>;

/// What entries hold.
#[derive(Default)]
pub(super) struct Chosen {
    /// Certificates, the first of which is ours, and its key.
    pub(super) pair: Option<(Vec<X509>, PKey<Private>)>,
    /// Who vouches for the server; `None` where nobody is named.
    pub(super) authorities: Option<Vec<X509>>,
}

impl StoredMaterial {
    /// These entries; `None` where none is named.
    #[must_use]
    pub fn of(
        certificates: Certificates,
        identity: Option<String>,
        authorities: Vec<String>,
    ) -> Option<Self> {
        (identity.is_some() || !authorities.is_empty()).then_some(Self {
            certificates,
            identity,
            authorities,
        })
    }

    /// What the store holds now.
    pub(super) async fn read(&self) -> Result<Entries, StoreError> {
        let ids: Vec<String> = self
            .identity
            .iter()
            .chain(&self.authorities)
            .cloned()
            .collect();
        self.certificates.raw(&ids).await
    }

    /// What the entries hold.
    ///
    /// # Errors
    /// A text that says which one is to be mended.
    pub(super) fn choose(&self, entries: &Entries) -> Result<Chosen, String> {
        let mut texts = entries.iter().map(Option::as_ref);
        let pair = match &self.identity {
            None => None,
            Some(id) => Some(self.pair(id, texts.next().flatten())?),
        };
        if self.authorities.is_empty() {
            let authorities = None;
            return Ok(Chosen { pair, authorities });
        }
        let mut trusted = Vec::new();
        for (id, text) in self.authorities.iter().zip(texts) {
            match self.trusted(text) {
                Ok(certificates) => trusted.extend(certificates),
                Err(why) => tracing::error!(
                    key = "external_services.storage.mtls.ca_cert_ids",
                    entry = id,
                    "an authority cannot be used and is left out: {why}"
                ),
            }
        }
        match trusted.is_empty() {
            true => Err(
                "mTLS CA certificate loading failed: none of the entries in \
                 external_services.storage.mtls.ca_cert_ids can be used; nothing is trusted until one of them \
                 leads to an authority"
                    .to_owned(),
            ),
            false => Ok(Chosen {
                pair,
                authorities: Some(trusted),
            }),
        }
    }

    fn pair(&self, id: &str, text: Option<&Bytes>) -> Result<(Vec<X509>, PKey<Private>), String> {
        let unusable = |why: &str| {
            format!(
                "mTLS certificate loading failed: external_services.storage.mtls.cert_id: the store entry {id} \
                 cannot be used: {why}"
            )
        };
        match self.certificates.parse(text.map(AsRef::as_ref)) {
            Stored::Absent => Err(format!(
                "mTLS certificate store access failed: certificate not found in store: {id} \
                 (external_services.storage.mtls.cert_id); upload it with its key, or name another"
            )),
            Stored::Unreadable(error) => Err(unusable(&error.to_string())),
            Stored::Entry(Entry::Certificate(bundle)) => match bundle.key {
                Some(key) => Ok((bundle.certificates, key)),
                None => Err(unusable("it holds no private key")),
            },
            Stored::Entry(Entry::PublicKey(_)) => Err(unusable("it is a public key")),
        }
    }

    /// Who is trusted of an entry: a certificate that stands alone, as it is; of several, those that may issue
    /// others.
    fn trusted(&self, text: Option<&Bytes>) -> Result<Vec<X509>, String> {
        match self.certificates.parse(text.map(AsRef::as_ref)) {
            Stored::Absent => Err("it is not in the certificate store".to_owned()),
            Stored::Unreadable(error) => Err(error.to_string()),
            Stored::Entry(Entry::PublicKey(_)) => Err("it is a public key".to_owned()),
            Stored::Entry(Entry::Certificate(bundle)) if bundle.certificates.len() == 1 => {
                Ok(bundle.certificates)
            }
            Stored::Entry(Entry::Certificate(bundle)) => {
                let issues = |certificate: &X509| {
                    CertificateFacts::of(certificate).is_ok_and(|facts| facts.is_ca)
                };
                Ok(bundle.certificates.into_iter().filter(issues).collect())
            }
        }
    }
}
