//! The certificate we show to a service and the authorities we believe, as they were read.
//!
//! Invariants:
//! - What cannot be used is an error that names key and source; there is no material with less than was
//!   asked for.
//! - A certificate of files that turn bad stays in use, as everywhere; authorities do not: whoever takes
//!   them away takes the trust away. What the store says is in force as long as it is not asked again, and an
//!   entry that was deleted is out.
//! - System roots are read once a process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use openssl::x509::X509;
use portcullis_config::Secret;
use portcullis_pki::{
    CertifiedKey, Entry, Reference, file::FileStamp, load, load_pair, pem::Bundle,
    reference::load_bundle,
};
use portcullis_store::Certificates;
use portcullis_tls::{ClientConfig, ClientSettings, Identity, Roots, Verification, VersionRange};

use super::settings::{IdentitySource, Tls, TrustSource};
use crate::certificates::with_causes;

/// What opens the places that material is read from.
pub struct Access {
    /// The certificate store.
    pub store: Certificates,
    /// Opens private keys at rest.
    pub passphrase: Secret,
}

/// Both sides of TLS with a service, ready to use.
pub struct Material {
    /// Towards the service. An error where the system has no roots: plain calls need none.
    pub target: Result<ClientConfig, String>,
    /// Towards a proxy, which learns nobody's certificate.
    pub proxy: Result<ClientConfig, String>,
    identity: Identity,
    files: Vec<(PathBuf, Option<FileStamp>)>,
    entries: Entries,
}

/// Entries of the store by their ids.
type Entries = Vec<(String, Option<Bytes>)>;

impl Material {
    /// Reads what the settings name. `before` is the material in use.
    ///
    /// # Errors
    /// What cannot be used.
    pub async fn load(
        tls: &Arc<Tls>,
        access: &Arc<Access>,
        before: Option<Arc<Self>>,
    ) -> Result<Self, String> {
        let ids = tls.ids();
        let entries = match (access.ask(&ids).await, &before) {
            (Ok(entries), _) => entries,
            // What was known before the store went away is known still.
            (Err(_), Some(before)) => before.entries.clone(),
            (Err(why), None) => {
                return Err(format!(
                    "mTLS certificate store access failed: the store cannot be asked for {}: {why}",
                    ids.join(", ")
                ));
            }
        };
        let (tls, access) = (tls.clone(), access.clone());
        let reading = move || Self::read(&tls, &access, entries, before.as_deref());
        tokio::task::spawn_blocking(reading)
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Whether everything it was read from is as it was. A store that is away says nothing new.
    pub async fn is_current(self: &Arc<Self>, access: &Access) -> bool {
        if !self.entries.is_empty() {
            let ids: Vec<String> = self.entries.iter().map(|(id, _)| id.clone()).collect();
            if access.ask(&ids).await.is_ok_and(|now| now != self.entries) {
                return false;
            }
        }
        if self.files.is_empty() {
            return true;
        }
        let material = self.clone();
        let looking = move || {
            let mut files = material.files.iter();
            files.all(|(path, seen)| FileStamp::of(path).ok() == *seen)
        };
        tokio::task::spawn_blocking(looking).await.unwrap_or(false)
    }

    fn read(
        tls: &Tls,
        access: &Access,
        entries: Entries,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let mut reader = Reader {
            tls,
            passphrase: access.passphrase.reveal(),
            entries: &entries,
            files: Vec::new(),
        };
        let identity = reader.identity(before.map(|before| &before.identity))?;
        let trusted = reader.trusted()?;
        let files = reader.files;
        let verification = match (tls.skip_verify, trusted) {
            (true, _) => Verification::DangerousNone,
            (false, Some(roots)) => Verification::Full(Arc::new(Roots::of(roots))),
            (false, None) => Verification::Full(system_roots()),
        };
        let versions = tls
            .versions
            .ok_or_else(|| format!("{} leave no TLS version", tls.keys.versions))?;
        let client = |identity| client(versions, &verification, identity);
        Ok(Self {
            target: client(identity.clone()),
            proxy: client(Identity::None),
            identity,
            files,
            entries,
        })
    }
}

fn client(
    versions: VersionRange,
    verification: &Verification,
    identity: Identity,
) -> Result<ClientConfig, String> {
    let settings = ClientSettings {
        versions,
        ..ClientSettings::new(verification.clone())
    };
    ClientConfig::with_identity(settings, identity).map_err(|error| with_causes(&error))
}

fn system_roots() -> Arc<Roots> {
    static ROOTS: OnceLock<Arc<Roots>> = OnceLock::new();
    ROOTS.get_or_init(|| Arc::new(Roots::of_system())).clone()
}

impl Access {
    async fn ask(&self, ids: &[String]) -> Result<Entries, String> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let texts = self
            .store
            .raw(ids)
            .await
            .map_err(|error| error.to_string())?;
        Ok(ids.iter().cloned().zip(texts).collect())
    }
}

impl Tls {
    /// What may be entries of the store.
    fn ids(&self) -> Vec<String> {
        let stored =
            |reference: &&String| matches!(Reference::classify(reference), Reference::StoreId(_));
        let mut ids: Vec<String> = match &self.identity {
            IdentitySource::Stored(id) => vec![id.clone()],
            IdentitySource::Any(references) => references.iter().filter(stored).cloned().collect(),
            IdentitySource::None | IdentitySource::Files { .. } => Vec::new(),
        };
        match &self.trust {
            TrustSource::Stored(trusted) => ids.extend(trusted.iter().cloned()),
            TrustSource::Listed(references) => {
                ids.extend(references.iter().filter(stored).cloned());
            }
            TrustSource::System | TrustSource::File(_) => {}
        }
        ids
    }
}

/// Reads what settings name, and remembers which files it looked at.
struct Reader<'r> {
    tls: &'r Tls,
    passphrase: &'r str,
    entries: &'r Entries,
    files: Vec<(PathBuf, Option<FileStamp>)>,
}

impl Reader<'_> {
    fn identity(&mut self, before: Option<&Identity>) -> Result<Identity, String> {
        let block = &self.tls.keys.block;
        match &self.tls.identity {
            IdentitySource::None => Ok(Identity::None),
            IdentitySource::Files { certificate, key } => {
                self.look_at(certificate);
                self.look_at(key);
                match (load_pair(certificate, key, Some(self.passphrase)), before) {
                    (Ok(loaded), _) => Ok(Identity::One(Arc::new(loaded.pair))),
                    (Err(error), Some(before @ Identity::One(_))) => {
                        tracing::error!(
                            key = format!("{block}.cert_file"),
                            "the client certificate has changed and cannot be used; the one from before \
                             stays in use: {}",
                            with_causes(&error)
                        );
                        Ok(before.clone())
                    }
                    (Err(error), _) => Err(format!(
                        "mTLS certificate loading failed: {block}.cert_file and key_file: {}; nothing is \
                         called without it: name a certificate and its key, or set {block}.enabled to false",
                        with_causes(&error)
                    )),
                }
            }
            IdentitySource::Stored(id) => match self.entry(id) {
                None => Err(format!(
                    "mTLS certificate store access failed: certificate not found in store: {id} \
                     ({block}.cert_id); upload it with its key, or name another"
                )),
                Some(text) => CertifiedKey::from_entry(text, self.passphrase)
                    .map(|pair| Identity::One(Arc::new(pair)))
                    .map_err(|error| {
                        format!(
                            "mTLS certificate loading failed: {block}.cert_id: the store entry {id} cannot be \
                             used: {error}"
                        )
                    }),
            },
            IdentitySource::Any(references) => {
                let mut pairs = Vec::new();
                for reference in references {
                    match self.pair(reference) {
                        Ok(pair) => pairs.push(Arc::new(pair)),
                        Err(error) => tracing::error!(
                            key = block,
                            "a client certificate cannot be used and is left out: {error}"
                        ),
                    }
                }
                Ok(Identity::FirstFitting(pairs.into()))
            }
        }
    }

    /// The authorities that replace the system's; `None` when the system's are in force.
    fn trusted(&mut self) -> Result<Option<Vec<X509>>, String> {
        let (block, names) = (&self.tls.keys.block, &self.tls.keys.authorities);
        let failed = |reason: String| {
            format!(
                "mTLS CA certificate loading failed: {reason}; nothing is trusted until {names} leads to an \
                 authority"
            )
        };
        let authorities = match &self.tls.trust {
            TrustSource::System => return Ok(None),
            TrustSource::File(path) => {
                self.look_at(path);
                return self
                    .of_file(path)
                    .map(Some)
                    .map_err(|reason| failed(format!("{block}.ca_file: {reason}")));
            }
            TrustSource::Stored(ids) => self.of_entries(ids),
            TrustSource::Listed(references) => self.of_references(references),
        };
        match authorities.is_empty() {
            true => Err(failed("none of the entries can be used".to_owned())),
            false => Ok(Some(authorities)),
        }
    }

    fn of_file(&self, path: &Path) -> Result<Vec<X509>, String> {
        let text = std::fs::read(path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let unusable =
            |why: &str| format!("failed to parse CA certificate: {}: {why}", path.display());
        let bundle = Bundle::parse(&text, Some(self.passphrase))
            .map_err(|error| unusable(&with_causes(&error)))?;
        match bundle.certificates.is_empty() {
            true => Err(unusable("the file holds none")),
            false => Ok(bundle.certificates),
        }
    }

    fn of_entries(&self, ids: &[String]) -> Vec<X509> {
        let mut trusted = Vec::new();
        for id in ids {
            let read = match self.entry(id) {
                None => Err("it is not in the certificate store".to_owned()),
                Some(text) => {
                    Entry::parse(text, self.passphrase).map_err(|error| error.to_string())
                }
            };
            match read {
                Ok(Entry::Certificate(bundle)) => trusted.extend(authorities(bundle.certificates)),
                Ok(Entry::PublicKey(_)) => self.left_out(id, "it is a public key"),
                Err(why) => self.left_out(id, &why),
            }
        }
        trusted
    }

    fn of_references(&mut self, references: &[String]) -> Vec<X509> {
        let mut trusted = Vec::new();
        for reference in references {
            if let Some(text) = self.entry(reference) {
                match Entry::parse(text, self.passphrase) {
                    Ok(Entry::Certificate(bundle)) => {
                        trusted.extend(authorities(bundle.certificates));
                    }
                    Ok(Entry::PublicKey(_)) => self.left_out(reference, "it is a public key"),
                    Err(error) => self.left_out(reference, &error.to_string()),
                }
                continue;
            }
            self.look_at_reference(reference);
            match load_bundle(reference, Some(self.passphrase)) {
                Ok((bundle, _, _)) if !bundle.certificates.is_empty() => {
                    trusted.extend(bundle.certificates);
                }
                Ok((_, place, _)) => self.left_out(&place.to_string(), "it holds no certificate"),
                Err(error) => self.left_out("an entry", &with_causes(&error)),
            }
        }
        trusted
    }

    fn left_out(&self, entry: &str, why: &str) {
        tracing::error!(
            key = self.tls.keys.block,
            entry,
            "an authority cannot be used and is left out: {why}"
        );
    }

    fn pair(&mut self, reference: &str) -> Result<CertifiedKey, String> {
        if let Some(text) = self.entry(reference) {
            return CertifiedKey::from_entry(text, self.passphrase)
                .map_err(|error| format!("the store entry {reference}: {error}"));
        }
        self.look_at_reference(reference);
        load(reference, Some(self.passphrase))
            .map(|loaded| loaded.pair)
            .map_err(|error| with_causes(&error))
    }

    fn entry(&self, id: &str) -> Option<&Bytes> {
        let found = self.entries.iter().find(|(of, _)| of == id)?;
        found.1.as_ref()
    }

    /// Before it is read: a change meanwhile is seen the next time.
    fn look_at(&mut self, path: &Path) {
        self.files.push((path.to_owned(), FileStamp::of(path).ok()));
    }

    fn look_at_reference(&mut self, reference: &str) {
        match Reference::classify(reference) {
            Reference::Path(path) => self.look_at(path),
            Reference::StoreId(name) => self.look_at(Path::new(name)),
            Reference::Inline(_) => {}
        }
    }
}

/// Who is trusted of an entry of the store: a certificate that stands alone, as it is; of several, those that
/// may issue others.
fn authorities(certificates: Vec<X509>) -> Vec<X509> {
    if certificates.len() == 1 {
        return certificates;
    }
    let issues = |certificate: &X509| {
        portcullis_pki::CertificateFacts::of(certificate).is_ok_and(|facts| facts.is_ca)
    };
    certificates.into_iter().filter(issues).collect()
}
