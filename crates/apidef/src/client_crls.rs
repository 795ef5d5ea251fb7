//! Certificate revocation lists that an API adds to the gateway's: `client_crls` and `crl_mode` of our own
//! object.
//!
//! Invariant: a mode that is not understood makes the definition unusable; nobody guesses how strict it was
//! meant.

use crate::{client_rules::CertificateReference, reader::Node};

/// The lists of an API, and how it takes one that cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCrls {
    /// Paths and inline PEM.
    pub lists: Vec<CertificateReference>,
    /// Its own mode, for the gateway's lists as well; `None` where the gateway's counts.
    pub mode: Option<CrlMode>,
}

/// What becomes of a client about whom a list that is there cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrlMode {
    /// It is refused.
    Strict,
    /// It passes.
    Lenient,
}

/// Reads what stands under our own key.
pub(crate) fn read(ours: &Node<'_, '_>) -> ClientCrls {
    let mut crls = ClientCrls::default();
    for node in ours.at("client_crls").elements() {
        match node.string() {
            "" => node.error("an empty reference", "a path, or PEM (X509 CRL)", ""),
            reference => crls.lists.push(CertificateReference(reference.to_owned())),
        }
    }
    let mode = ours.at("crl_mode");
    crls.mode = match mode.string() {
        "" => None,
        "strict" => Some(CrlMode::Strict),
        "lenient" => Some(CrlMode::Lenient),
        other => {
            mode.error(format!("unknown value {other:?}"), "strict or lenient", "");
            None
        }
    };
    crls
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::Report;

    fn read_value(value: &Value) -> (ClientCrls, Vec<String>) {
        let report = Report::default();
        let crls = read(&Node::root(value, &report));
        let errors = report.finish().err().unwrap_or_default();
        (crls, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lists_and_mode_are_read_and_what_is_not_understood_is_an_error() {
        assert_eq!(read_value(&json!({})).0, ClientCrls::default());
        let (crls, errors) = read_value(&json!({"client_crls": ["ca.crl"], "crl_mode": "lenient"}));
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(crls.lists, [CertificateReference("ca.crl".to_owned())]);
        assert_eq!(crls.mode, Some(CrlMode::Lenient));
        for wrong in [
            json!({"crl_mode": "lax"}),
            json!({"crl_mode": 1}),
            json!({"client_crls": "ca.crl"}),
            json!({"client_crls": [""]}),
        ] {
            let (_, errors) = read_value(&wrong);
            assert_eq!(errors.len(), 1, "{wrong}: {errors:?}");
        }
    }
}
