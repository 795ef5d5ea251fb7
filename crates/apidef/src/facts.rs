//! Gathers what a definition asks for beyond routing: protections and extras.

use std::collections::BTreeSet;

use crate::api::{AuthMethod, CertificateRole, NamedCertificate, Protection};

/// Protections and unsupported extras of one definition, each once.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    protections: BTreeSet<Protection>,
    unsupported: BTreeSet<&'static str>,
    certificates: Vec<NamedCertificate>,
}

impl Facts {
    /// The API must not be served by a build that lacks `protection`.
    pub(crate) fn protect(&mut self, wanted: bool, protection: Protection) {
        if wanted {
            self.protections.insert(protection);
        }
    }

    pub(crate) fn authenticate(&mut self, wanted: bool, method: AuthMethod) {
        self.protect(wanted, Protection::Authentication(method));
    }

    /// The API is served without `feature`, and that is said.
    pub(crate) fn extra(&mut self, wanted: bool, feature: &'static str) {
        if wanted {
            self.unsupported.insert(feature);
        }
    }

    /// The definition names a certificate that is not served.
    pub(crate) fn certificate(&mut self, role: CertificateRole, host: &str, reference: &str) {
        if !reference.is_empty() {
            self.certificates.push(NamedCertificate {
                role,
                host: (!host.is_empty()).then(|| host.to_owned()),
                reference: reference.to_owned(),
            });
        }
    }

    /// What [`Facts::certificate`] was told.
    pub(crate) fn take_certificates(&mut self) -> Vec<NamedCertificate> {
        std::mem::take(&mut self.certificates)
    }

    pub(crate) fn into_lists(self) -> (Vec<Protection>, Vec<String>) {
        (
            self.protections.into_iter().collect(),
            self.unsupported.into_iter().map(str::to_owned).collect(),
        )
    }
}
