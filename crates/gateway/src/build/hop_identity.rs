//! What the gateway shows to a proxy that speaks TLS, and whom it believes there: `portcullis.proxy.tls` of an API;
//! where that says nothing and the proxy is the environment's, `portcullis.proxy_tls` of the gateway.
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

/// Where a reference stands.
struct Place {
    /// What a finding is about.
    about: String,
    /// What its message begins with.
    key: &'static str,
}

impl Place {
    fn of_api(api: &Api, key: &'static str) -> Self {
        Self {
            about: format!("API {}", api.id),
            key,
        }
    }

    fn of_gateway(key: &str) -> Self {
        Self {
            about: key.to_owned(),
            key: "",
        }
    }

    fn error(&self, said: &str) -> Finding {
        error(&self.about, format!("{}{said}", self.key))
    }

    fn warning(&self, said: &str) -> Finding {
        warning(&self.about, format!("{}{said}", self.key))
    }
}

impl Endpoints {
    /// What is said of TLS with an API's proxy, read. What only the certificate store could tell is left out
    /// where nobody looks into it, and nothing is connected to.
    ///
    /// # Errors
    /// Why the proxy cannot be used as it is meant to be.
    pub(super) fn hop_identity(
        &mut self,
        api: &Api,
        findings: &mut Vec<Finding>,
    ) -> Result<HopIdentity, Arc<str>> {
        let own = &api.upstream.proxy;
        let config = self.config.clone();
        // Proxies that definitions name are no business of the gateway's certificate.
        let by_environment = own.url.is_none() && self.hops.environment_speaks_tls();
        let shared = by_environment.then_some(&config.upstream.proxy_tls);
        let mut identity = HopIdentity::default();
        let certificate = match (&own.certificate, shared) {
            (Some(text), _) => Some((
                text.reveal(),
                Place::of_api(api, "portcullis.proxy.tls.certificate: "),
            )),
            (None, Some(shared)) => Some((
                shared.certificate.reveal(),
                Place::of_gateway("portcullis.proxy_tls.certificate"),
            )),
            (None, None) => None,
        };
        if let Some((reference, place)) = certificate.filter(|(text, _)| !text.is_empty()) {
            self.references.identities.prepare([reference].into_iter());
            let found = self.references.identities.of_reference(reference);
            let looked = found.failure != Some(Failure::StoreClosed);
            let certificate = usable(&place, reference, found, findings);
            if looked {
                let certificate = certificate.ok_or("the certificate for it cannot be used")?;
                identity.certificate = Some(certificate);
            }
        }
        let (references, place) = match (&own.authorities[..], shared) {
            ([], Some(shared)) => (
                &shared.authorities[..],
                Place::of_gateway("portcullis.proxy_tls.ca"),
            ),
            (own, _) => (own, Place::of_api(api, "portcullis.proxy.tls.ca: ")),
        };
        if !references.is_empty() {
            let references = references.iter().map(String::as_str);
            self.references.authorities.prepare(references.clone());
            let mut certificates: Vec<X509> = Vec::new();
            let mut looked = true;
            for reference in references {
                let found = self.references.authorities.of_reference(reference);
                looked &= found.failure != Some(Failure::StoreClosed);
                if let Some(listed) = usable(&place, reference, found, findings) {
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

    /// What is worth saying of `portcullis.proxy_tls` as a whole.
    pub(super) fn proxy_tls_remark(&self) -> Option<Finding> {
        let is_idle =
            self.config.upstream.proxy_tls.says_something() && !self.hops.environment_speaks_tls();
        is_idle.then(|| {
            warning(
                "portcullis.proxy_tls",
                "has no effect: no proxy of the environment (HTTP_PROXY, HTTPS_PROXY) has a URL that begins \
                 with https://"
                    .to_owned(),
            )
        })
    }
}

/// Says what is wrong with what a reference leads to, once for all APIs that need it, and hands out what can be
/// used.
fn usable<C: Content>(
    place: &Place,
    reference: &str,
    found: Found<C>,
    findings: &mut Vec<Finding>,
) -> Option<Arc<C>> {
    let mut say = |finding: Finding| {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    };
    match found.failure {
        Some(Failure::Said(failure)) => say(place.error(&failure)),
        Some(Failure::StoreClosed) => say(place.warning(&format!(
            "{} is no file, so it is an entry of the certificate store, which is not looked into here",
            shown(reference)
        ))),
        // Said once for all of them.
        Some(Failure::StoreAway) | None => {}
    }
    if found.repaired {
        say(place.warning("inline PEM had lost its line breaks and was repaired"));
    }
    found.key
}

fn shown(reference: &str) -> &str {
    match Reference::classify(reference) {
        Reference::Inline(_) => "inline PEM",
        _ => reference,
    }
}
