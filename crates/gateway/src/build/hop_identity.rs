//! What the gateway shows to a proxy that speaks TLS, and whom it believes there: `portcullis.proxy.tls`.
//!
//! Invariants:
//! - A certificate that is asked for and cannot be used bars the proxy; it is never left out.
//! - Authorities that are named take the place of the system's; when none of them can be used, nobody is
//!   believed.

use std::sync::Arc;

use openssl::x509::X509;
use portcullis_apidef::Api;
use portcullis_pki::{CertifiedKey, Reference};
use portcullis_tls::Roots;

use super::{Finding, endpoints::Endpoints, error, warning};
use crate::certificates::{Content, Failure, Found};

/// Who the gateway is to a proxy, and who vouches for the proxy.
#[derive(Clone, Default)]
pub(super) struct HopIdentity {
    /// Shown when the proxy asks.
    pub(super) certificate: Option<Arc<CertifiedKey>>,
    /// Believed instead of the system's.
    pub(super) authorities: Option<Arc<Roots>>,
}

impl PartialEq for HopIdentity {
    fn eq(&self, other: &Self) -> bool {
        let same_certificate = match (&self.certificate, &other.certificate) {
            (Some(one), Some(other)) => one.same_as(other),
            (None, None) => true,
            _ => false,
        };
        let ders = |roots: &Option<Arc<Roots>>| -> Option<Vec<Vec<u8>>> {
            let certificates = roots.as_ref()?.certificates().iter();
            Some(
                certificates
                    .map(|certificate| certificate.to_der().unwrap_or_default())
                    .collect(),
            )
        };
        same_certificate && ders(&self.authorities) == ders(&other.authorities)
    }
}

impl Endpoints {
    /// What an API says of TLS with its proxy, read. What only the certificate store could tell is left out
    /// where nobody looks into it, and nothing is connected to.
    ///
    /// # Errors
    /// Why the proxy cannot be used as it is meant to be.
    pub(super) fn hop_identity(
        &mut self,
        api: &Api,
        findings: &mut Vec<Finding>,
    ) -> Result<HopIdentity, Arc<str>> {
        let proxy = &api.upstream.proxy;
        let place = format!("API {}", api.id);
        let mut identity = HopIdentity::default();
        if let Some(reference) = proxy.certificate.as_ref().map(|text| text.reveal()) {
            self.references.identities.prepare([reference].into_iter());
            let found = self.references.identities.of_reference(reference);
            let looked = found.failure != Some(Failure::StoreClosed);
            let certificate = usable(&place, "certificate", reference, found, findings);
            if looked {
                let certificate = certificate.ok_or("the certificate for it cannot be used")?;
                identity.certificate = Some(certificate);
            }
        }
        if !proxy.authorities.is_empty() {
            let references = proxy.authorities.iter().map(String::as_str);
            self.references.authorities.prepare(references.clone());
            let mut certificates: Vec<X509> = Vec::new();
            let mut looked = true;
            for reference in references {
                let found = self.references.authorities.of_reference(reference);
                looked &= found.failure != Some(Failure::StoreClosed);
                if let Some(listed) = usable(&place, "ca", reference, found, findings) {
                    certificates.extend(listed.as_slice().iter().cloned());
                }
            }
            if !certificates.is_empty() {
                identity.authorities = Some(Arc::new(Roots::of(certificates)));
            } else if looked {
                return Err("none of the authorities named for it can be used".into());
            }
        }
        Ok(identity)
    }
}

/// Says what is wrong with what a reference leads to, and hands out what can be used.
fn usable<C: Content>(
    place: &str,
    key: &str,
    reference: &str,
    found: Found<C>,
    findings: &mut Vec<Finding>,
) -> Option<Arc<C>> {
    let key = format!("portcullis.proxy.tls.{key}");
    match found.failure {
        Some(Failure::Said(failure)) => findings.push(error(place, format!("{key}: {failure}"))),
        Some(Failure::StoreClosed) => findings.push(warning(
            place,
            format!(
                "{key}: {} is no file, so it is an entry of the certificate store, which is not looked into here",
                shown(reference)
            ),
        )),
        // Said once for all of them.
        Some(Failure::StoreAway) | None => {}
    }
    if found.repaired {
        let said = format!("{key}: inline PEM had lost its line breaks and was repaired");
        findings.push(warning(place, said));
    }
    found.key
}

fn shown(reference: &str) -> &str {
    match Reference::classify(reference) {
        Reference::Inline(_) => "inline PEM",
        _ => reference,
    }
}
