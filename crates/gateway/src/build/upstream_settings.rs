//! What is spoken with an upstream, what it is shown and what is asked of it: an API's settings over the
//! gateway's (outbound sheet 1 to 5, decisions 8 and 16).
//!
//! Invariants:
//! - A client certificate that is mapped and cannot be shown fails the requests it was meant for; they
//!   are never made without it.
//! - A pin or an authority that cannot be read lets nobody pass.

use std::sync::Arc;

use openssl::x509::X509;
use portcullis_apidef::{Renegotiation as Granted, SYSTEM_AUTHORITIES, Target, Upstream};
use portcullis_config::Renegotiation as Configured;
use portcullis_pki::{CertifiedKey, Fingerprint};
use portcullis_tls::{
    ClientSettings, Pins, Renegotiation, Roots, UpstreamTlsFailure, Verification,
};

use super::{Finding, by_host::ByHost, endpoints::Endpoints, error, told, warning};
use crate::certificates::{Content, Failure, Found};

/// An API as far as its upstream is concerned.
pub(super) struct ApiUpstream<'a> {
    /// `API <id>`, for what is found.
    pub(super) place: String,
    pub(super) upstream: &'a Upstream,
    pub(super) maps: ByHost,
}

/// What else settings depend on.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// HTTP/2 is offered.
    pub(super) http2: bool,
    /// The way leads through a tunnel of a proxy.
    pub(super) proxied: bool,
}

impl Endpoints {
    /// The settings for a target; or why its requests must fail.
    ///
    /// # Errors
    /// Why the API cannot be enforced as written.
    pub(super) fn settings(
        &mut self,
        target: &Target,
        api: &ApiUpstream<'_>,
        Wanted { http2, proxied }: Wanted,
        findings: &mut Vec<Finding>,
    ) -> Result<Result<ClientSettings, UpstreamTlsFailure>, String> {
        let config = self.config.clone();
        let (gateway, tls) = (&config.upstream, &api.upstream.tls);
        let Ok(versions) = self.versions(tls) else {
            findings.push(error(
                &api.place,
                "its TLS versions and the gateway's leave none towards its upstream, so its requests fail"
                    .to_owned(),
            ));
            return Ok(Err(UpstreamTlsFailure::no_version()));
        };
        let ciphers = self.suites(tls, versions)?;
        let identity = match self.identity(target, api, findings) {
            Ok(identity) => identity,
            Err(failure) => return Ok(Err(failure)),
        };
        let pins = self.pins(target, api, findings);
        let common_name = gateway.force_common_name_check || tls.force_common_name_check;
        let skips = gateway.insecure_skip_verify || tls.insecure_skip_verify;
        let pin_only = pins.is_some() && tls.pin_only.unwrap_or(gateway.pin_only);
        // Through a proxy the chain is verified in any case (outbound sheet 4).
        let strict = proxied || gateway.strict_common_name || tls.strict_common_name;
        let verification = if skips {
            if tls.insecure_skip_verify {
                findings.push(warning(
                    &api.place,
                    "ssl_insecure_skip_verify: any certificate of its upstream is accepted, so whoever sits \
                     in between can read and change everything"
                        .to_owned(),
                ));
            }
            Verification::DangerousNone
        } else if pin_only {
            findings.push(warning(
                &api.place,
                "pin_only: where a host has pins, nothing but the key is verified, neither authority nor \
                 validity nor name"
                    .to_owned(),
            ));
            Verification::DangerousNone
        } else if common_name && !strict {
            findings.push(warning(
                &api.place,
                "ssl_force_common_name_check: of its upstream's certificate nothing but the common name is \
                 verified, which anybody can write into a certificate; set portcullis.strict_common_name to \
                 verify the chain as well"
                    .to_owned(),
            ));
            Verification::DangerousNone
        } else {
            let roots = self.roots(target, api, findings);
            match common_name {
                true => Verification::Chain(roots),
                false => Verification::Full(roots),
            }
        };
        let forbidden = gateway.disable_renegotiation;
        let renegotiation = match tls.renegotiation {
            _ if forbidden => Renegotiation::Refused,
            Some(Granted::Never) => Renegotiation::Ignored,
            Some(Granted::Once) => Renegotiation::Once,
            Some(Granted::Freely) => Renegotiation::Freely,
            None => match gateway.renegotiation {
                Configured::Never => Renegotiation::Ignored,
                Configured::Once => Renegotiation::Once,
                Configured::Freely => Renegotiation::Freely,
            },
        };
        Ok(Ok(ClientSettings {
            versions,
            ciphers,
            verification,
            http2,
            identity,
            pins,
            common_name,
            renegotiation,
        }))
    }

    /// The certificate that is mapped for a target: the API's, else the gateway's.
    fn identity(
        &mut self,
        target: &Target,
        api: &ApiUpstream<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Arc<CertifiedKey>>, UpstreamTlsFailure> {
        let authority = &target.authority;
        let (reference, key) = match api.maps.certificates.find(authority) {
            Some(reference) => (reference.clone(), "upstream_certificates"),
            None => match self.gateway.certificates.find(authority) {
                Some(reference) => (reference.clone(), "security.certificates.upstream"),
                None => return Ok(None),
            },
        };
        let found = self.references.identities.of_reference(&reference);
        let name = told(&reference);
        // Where nobody looks into the store, that an entry is not found says nothing.
        let looked = found.failure != Some(Failure::StoreClosed);
        self.note(api, &found, findings);
        let why = found.failure.map(|failure| match failure {
            Failure::Said(said) => said,
            Failure::StoreAway => "the certificate store does not answer".to_owned(),
            Failure::StoreClosed => {
                "it is no file, so it is an entry of the certificate store, which is not looked into here"
                    .to_owned()
            }
        });
        match (found.key, why) {
            (Some(identity), why) => {
                findings.extend(why.map(|why| {
                    let said = format!(
                        "{key} for {authority}: {why}; the certificate read before stays in use"
                    );
                    error(&api.place, said)
                }));
                Ok(Some(identity))
            }
            (None, why) => {
                let why = why.unwrap_or_else(|| "there is none".to_owned());
                let said = format!(
                    "the client certificate that {key} maps for {authority} ({name}) cannot be used: {why}"
                );
                findings.push(match looked {
                    true => error(
                        &api.place,
                        format!("{said}; requests to {authority} fail, none is made without it"),
                    ),
                    false => warning(&api.place, said.clone()),
                });
                Err(UpstreamTlsFailure::no_identity(said))
            }
        }
    }

    /// The keys a target is pinned to: the API's, else the gateway's.
    fn pins(
        &mut self,
        target: &Target,
        api: &ApiUpstream<'_>,
        findings: &mut Vec<Finding>,
    ) -> Option<Pins> {
        let own = api.maps.pins.find(&target.authority);
        let references = own
            .or_else(|| self.gateway.pins.find(&target.authority))?
            .clone();
        let mut digests = Vec::with_capacity(references.len());
        let mut looked = true;
        for reference in &references {
            let found = self.references.pinned.of_reference(reference);
            self.note(api, &found, findings);
            looked &= found.failure != Some(Failure::StoreClosed);
            digests.extend(found.key.as_ref().and_then(|key| key.digest()));
            self.complain(
                api,
                "pinned_public_keys",
                reference,
                found.failure,
                findings,
            );
        }
        if digests.is_empty() && looked {
            let said = format!(
                "none of the keys {} is pinned to can be read: no connection to it passes",
                target.authority
            );
            findings.push(error(&api.place, said));
        }
        Some(Pins::new(digests))
    }

    /// Whom to believe about a target: the API's authorities, else the gateway's, else the system's.
    fn roots(
        &mut self,
        target: &Target,
        api: &ApiUpstream<'_>,
        findings: &mut Vec<Finding>,
    ) -> Arc<Roots> {
        let own = api.maps.authorities.find(&target.authority);
        let Some(references) = own.or_else(|| self.gateway.authorities.find(&target.authority))
        else {
            return self.system.clone();
        };
        let references = references.clone();
        let system = references
            .iter()
            .any(|reference| reference == SYSTEM_AUTHORITIES);
        let mut named: Vec<X509> = Vec::new();
        for reference in references.iter().filter(|one| *one != SYSTEM_AUTHORITIES) {
            let found = self.references.authorities.of_reference(reference);
            self.note(api, &found, findings);
            named.extend(found.key.iter().flat_map(|list| list.as_slice()).cloned());
            self.complain(api, "upstream_ca", reference, found.failure, findings);
        }
        let prints = named
            .iter()
            .filter_map(|authority| Fingerprint::of(authority).ok());
        let key = (system, prints.collect::<Vec<_>>());
        let of_system = if system {
            self.system.certificates()
        } else {
            &[]
        };
        let roots = self.roots.entry(key).or_insert_with(|| {
            Arc::new(Roots::of(of_system.iter().cloned().chain(named).collect()))
        });
        roots.clone()
    }

    fn note<C: Content>(
        &self,
        api: &ApiUpstream<'_>,
        found: &Found<C>,
        findings: &mut Vec<Finding>,
    ) {
        if found.repaired {
            let said = "inline PEM had lost its line breaks and was repaired";
            findings.push(warning(&api.place, said.to_owned()));
        }
    }

    /// Says why a reference counts for nothing.
    fn complain(
        &self,
        api: &ApiUpstream<'_>,
        key: &str,
        reference: &str,
        failure: Option<Failure>,
        findings: &mut Vec<Finding>,
    ) {
        match failure {
            Some(Failure::Said(said)) => findings.push(error(
                &api.place,
                format!("{key}: {said}; it counts for nothing"),
            )),
            Some(Failure::StoreClosed) => findings.push(warning(
                &api.place,
                format!(
                    "{key}: {} is no file, so it is an entry of the certificate store, which is not looked into \
                     here",
                    told(reference)
                ),
            )),
            // Said once for all of them.
            Some(Failure::StoreAway) | None => {}
        }
    }
}
