//! TLS of one API towards its upstream: what it verifies, what it shows, what it speaks.
//!
//! Invariant: what a definition switches off is not here, and what it does not say inherits from the
//! gateway.

use crate::{api::CertificateRole, client_rules::CertificateReference, facts::Facts, reader::Node};

/// TLS settings of one API towards its upstream; absent values inherit the gateway's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// `ssl_insecure_skip_verify`; OR-ed with the gateway's.
    pub insecure_skip_verify: bool,
    /// 769–772, `None` inherits.
    pub min_version: Option<u16>,
    /// 769–772, `None` inherits.
    pub max_version: Option<u16>,
    /// Go names; empty inherits, non-empty replaces.
    pub ciphers: Vec<String>,
    /// Client certificates by domain (`upstream_certificates`).
    pub certificates: Vec<(String, CertificateReference)>,
    /// There are some and they are switched off (`upstream_certificates_disabled`); the gateway's are shown
    /// all the same.
    pub certificates_disabled: bool,
    /// Pinned keys by domain (`pinned_public_keys`).
    pub pins: Vec<(String, Vec<CertificateReference>)>,
    /// `ssl_force_common_name_check`; OR-ed with the gateway's.
    pub force_common_name_check: bool,
    /// Ours: where a host has pins, they take the place of all other verification.
    pub pin_only: Option<bool>,
    /// Ours: the common-name check verifies the chain as well; OR-ed with the gateway's.
    pub strict_common_name: bool,
    /// Ours: how often the upstream may renegotiate.
    pub renegotiation: Option<Renegotiation>,
    /// Ours: authorities by domain.
    pub authorities: Vec<(String, Vec<CertificateReference>)>,
}

/// How often an upstream may renegotiate a TLS 1.2 connection (decision 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renegotiation {
    /// Not at all.
    Never,
    /// Once per connection.
    Once,
    /// As often as it asks.
    Freely,
}

/// What stands for the operating system's authorities in a list of them.
pub const SYSTEM_AUTHORITIES: &str = "system";

/// References that a text separates by commas.
fn listed(text: &str) -> Vec<CertificateReference> {
    let parts = text.split(',').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| CertificateReference(part.to_owned()))
        .collect()
}

impl UpstreamTls {
    /// Reads the certificates and pins of a Classic definition.
    pub(crate) fn read_classic(&mut self, root: &Node<'_, '_>, facts: &mut Facts) {
        let proxy = root.at("proxy");
        let transport = proxy.at("transport");
        self.force_common_name_check = transport.at("ssl_force_common_name_check").bool()
            || transport.at("SSLForceCommonNameCheck").bool();
        let certificates = root.at("upstream_certificates").text_members();
        // Nothing is switched off where nothing is there: new definitions begin like that.
        self.certificates_disabled =
            root.at("upstream_certificates_disabled").bool() && !certificates.is_empty();
        for (domain, reference) in certificates {
            self.certificate(domain, reference, facts);
        }
        let pins = root.at("pinned_public_keys").text_members();
        if !root.at("certificate_pinning_disabled").bool() {
            for (domain, references) in pins {
                self.pins(domain, listed(references), facts);
            }
        }
    }

    /// Reads the certificates and pins of an OAS definition's `upstream`.
    pub(crate) fn read_oas(&mut self, upstream: &Node<'_, '_>, facts: &mut Facts) {
        let transport = upstream.at("tlsTransport");
        self.force_common_name_check = transport.at("forceCommonNameCheck").bool();
        let mutual = upstream.at("mutualTLS");
        let mapping = mutual.at("domainToCertificateMapping");
        self.certificates_disabled = !mutual.is_not_disabled() && !mapping.is_empty();
        for entry in mapping.elements() {
            let (domain, reference) = (entry.at("domain"), entry.at("certificate"));
            self.certificate(domain.string(), reference.string(), facts);
        }
        let pinning = upstream.at("certificatePinning");
        let pinned = pinning.is_not_disabled();
        for entry in pinning.at("domainToPublicKeysMapping").elements() {
            let keys = entry.at("publicKeys").strings();
            let keys = keys.iter().flat_map(|key| listed(key)).collect();
            if pinned {
                self.pins(entry.at("domain").string(), keys, facts);
            }
        }
    }

    /// Reads our own keys.
    pub(crate) fn read_ours(&mut self, ours: &Node<'_, '_>, facts: &mut Facts) {
        let pin_only = ours.at("pin_only");
        self.pin_only = pin_only.is_present().then(|| pin_only.bool());
        self.strict_common_name = ours.at("strict_common_name").bool();
        let node = ours.at("proxy_ssl_renegotiation");
        self.renegotiation = match node.string() {
            "" => None,
            "never" => Some(Renegotiation::Never),
            "once" => Some(Renegotiation::Once),
            "freely" => Some(Renegotiation::Freely),
            other => {
                let said = format!("unknown value {other:?}");
                node.error(said, "never, once or freely", "");
                None
            }
        };
        for (domain, node) in ours.at("upstream_ca").members() {
            let references: Vec<CertificateReference> = match node.value() {
                Some(serde_json::Value::Array(_)) => node
                    .strings()
                    .iter()
                    .flat_map(|text| listed(text))
                    .collect(),
                _ => listed(node.string()),
            };
            if references.is_empty() {
                node.error(
                    "no authority is named",
                    "ids, paths or PEM, or `system` for the authorities of the operating system",
                    "",
                );
            }
            for reference in references.iter().filter(|one| one.0 != SYSTEM_AUTHORITIES) {
                facts.certificate(CertificateRole::UpstreamAuthority, domain, &reference.0);
            }
            self.authorities.push((domain.to_owned(), references));
        }
    }

    fn certificate(&mut self, domain: &str, reference: &str, facts: &mut Facts) {
        if self.certificates_disabled {
            return;
        }
        facts.certificate(CertificateRole::UpstreamClient, domain, reference);
        let reference = CertificateReference(reference.to_owned());
        self.certificates.push((domain.to_owned(), reference));
    }

    fn pins(&mut self, domain: &str, references: Vec<CertificateReference>, facts: &mut Facts) {
        for reference in &references {
            facts.certificate(CertificateRole::Pin, domain, &reference.0);
        }
        self.pins.push((domain.to_owned(), references));
    }
}
