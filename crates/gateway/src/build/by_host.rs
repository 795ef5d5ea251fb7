//! What configuration and definitions say of upstreams by host, and what their references lead to.

use bytes::Bytes;
use portcullis_apidef::{CertificateReference, SYSTEM_AUTHORITIES, UpstreamTls};
use portcullis_config::GatewayConfig;
use portcullis_pki::CertifiedKey;
use portcullis_policy::{DomainError, DomainMap};
use portcullis_store::StoreError;

use super::{Finding, error};
use crate::certificates::{
    Certificates, ListedCertificates, PinnedKey, StoreAccess, StoredReference,
};

/// Client certificates, pins and authorities by host, of the gateway or of an API.
#[derive(Default)]
pub(super) struct ByHost {
    pub(super) certificates: DomainMap<String>,
    pub(super) pins: DomainMap<Vec<String>>,
    pub(super) authorities: DomainMap<Vec<String>>,
}

impl ByHost {
    /// The gateway's, and what is wrong with them, each with its key.
    pub(super) fn of_gateway(config: &GatewayConfig) -> (Self, Vec<Finding>) {
        let mut maps = Self::default();
        let mut problems = Vec::new();
        let mut judge = |key: &str, inserted: Result<(), DomainError>| {
            problems.extend(inserted.err().map(|wrong| error(key, wrong.to_string())));
        };
        let security = &config.security;
        for (host, reference) in &security.upstream_certificates {
            let inserted = maps.certificates.insert(host, reference.clone());
            judge("security.certificates.upstream", inserted);
        }
        let list = |text: &str| -> Vec<String> {
            let parts = text.split(',').map(str::trim);
            parts
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        for (host, references) in &security.pinned_public_keys {
            let inserted = maps.pins.insert(host, list(references));
            judge("security.pinned_public_keys", inserted);
        }
        for (host, references) in &config.upstream.authorities {
            let inserted = maps.authorities.insert(host, list(references));
            judge("portcullis.upstream_ca", inserted);
        }
        (maps, problems)
    }

    /// Those of an API.
    ///
    /// # Errors
    /// [`DomainError`] for a pattern that fits no host.
    pub(super) fn of_api(tls: &UpstreamTls) -> Result<Self, DomainError> {
        let mut maps = Self::default();
        let texts = |references: &[CertificateReference]| {
            references
                .iter()
                .map(|reference| reference.0.clone())
                .collect()
        };
        for (host, reference) in &tls.certificates {
            maps.certificates.insert(host, reference.0.clone())?;
        }
        for (host, references) in &tls.pins {
            maps.pins.insert(host, texts(references))?;
        }
        for (host, references) in &tls.authorities {
            maps.authorities.insert(host, texts(references))?;
        }
        Ok(maps)
    }
}

/// What the references of upstreams lead to.
pub(super) struct References {
    pub(super) identities: Certificates<CertifiedKey>,
    pub(super) pinned: Certificates<PinnedKey>,
    pub(super) authorities: Certificates<ListedCertificates>,
}

impl References {
    /// Nothing read yet.
    pub(super) fn new(config: &GatewayConfig, store: Option<StoreAccess>) -> Self {
        let (passphrase, base) = (config.key_passphrase(), &config.base);
        Self {
            identities: Certificates::new(passphrase.clone(), base.clone(), store.clone()),
            pinned: Certificates::new(passphrase.clone(), base.clone(), store.clone()),
            authorities: Certificates::new(passphrase.clone(), base.clone(), store),
        }
    }

    /// Asks the store for whatever these maps name, all at once.
    pub(super) fn prepare(&mut self, maps: &ByHost) {
        let certificates = maps.certificates.values().map(String::as_str);
        self.identities.prepare(certificates);
        let pins = maps.pins.values().flatten().map(String::as_str);
        self.pinned.prepare(pins);
        let authorities = maps.authorities.values().flatten().map(String::as_str);
        self.authorities
            .prepare(authorities.filter(|reference| *reference != SYSTEM_AUTHORITIES));
    }

    /// Lets the store be asked again though it gave no answer before.
    pub(super) fn ask_again(&mut self) {
        self.identities.ask_again();
        self.pinned.ask_again();
        self.authorities.ask_again();
    }

    /// Takes in what the store holds now under these ids; whether anything is another.
    pub(super) fn update(&mut self, entries: &[(String, Option<Bytes>)]) -> bool {
        let changed = [
            self.identities.update(entries),
            self.pinned.update(entries),
            self.authorities.update(entries),
        ];
        changed.iter().any(|numbers| !numbers.is_empty())
    }

    /// True when a file has changed since it was read.
    pub(super) fn have_changed(&self) -> bool {
        self.identities.have_changed()
            || self.pinned.have_changed()
            || self.authorities.have_changed()
    }

    /// References that may be entries of the store.
    pub(super) fn stored(&self) -> Vec<StoredReference> {
        let mut stored = self.identities.stored();
        stored.extend(self.pinned.stored());
        stored.extend(self.authorities.stored());
        stored
    }

    /// Why the store could not be asked for everything, and how many references wait for it.
    pub(super) fn away(&self) -> Option<(&StoreError, usize)> {
        let away = [
            self.identities.away(),
            self.pinned.away(),
            self.authorities.away(),
        ];
        let waiting = away.iter().flatten().map(|(_, waiting)| waiting).sum();
        let (failure, _) = away.into_iter().flatten().next()?;
        Some((failure, waiting))
    }

    /// How many references lead to entries of the store that cannot be used.
    pub(super) fn unreadable(&self) -> usize {
        self.identities.unreadable() + self.pinned.unreadable() + self.authorities.unreadable()
    }

    /// Forgets what nobody has asked for since the last call.
    pub(super) fn forget_unused(&mut self) {
        self.identities.forget_unused();
        self.pinned.forget_unused();
        self.authorities.forget_unused();
    }
}
