//! Why no handshake with an upstream came about: which check failed, the flags of the access log, and a
//! sentence for the error log.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use openssl::ssl::{Error, SslRef};
use openssl_sys as ffi;
use portcullis_pki::{CertificateFacts, PresentedError};

use super::{alert_name, alert_of, text, tls_codes};
use crate::client::{self, ClientError, ServerRefused};

/// What an upstream, or our side of the connection, did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamCheck {
    /// What it speaks is TLS.
    Protocol,
    /// There is a version both speak.
    Version,
    /// It goes through with the handshake; its alert says that it will not.
    Agreement,
    /// Its certificate is within its validity.
    Validity,
    /// Its certificate is for this host.
    Name,
    /// An authority that is trusted vouches for its certificate.
    Authority,
    /// Its certificate may be used by a server.
    Usage,
    /// What it presents is no more than is looked at.
    Size,
    /// It has a pinned key.
    Pins,
    /// Its certificate's common name is the host.
    CommonName,
    /// There is a client certificate to be shown where one is mapped.
    Identity,
    /// There are authorities to verify it with.
    Roots,
    /// Our side can be set up.
    Setup,
}

impl UpstreamCheck {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            UpstreamCheck::Protocol => "protocol",
            UpstreamCheck::Version => "version",
            UpstreamCheck::Agreement => "agreement",
            UpstreamCheck::Validity => "validity",
            UpstreamCheck::Name => "name",
            UpstreamCheck::Authority => "authority",
            UpstreamCheck::Usage => "usage",
            UpstreamCheck::Size => "size",
            UpstreamCheck::Pins => "pins",
            UpstreamCheck::CommonName => "common_name",
            UpstreamCheck::Identity => "identity",
            UpstreamCheck::Roots => "roots",
            UpstreamCheck::Setup => "setup",
        }
    }

    /// `response_flag` and `response_code_details` (outbound sheet 7).
    fn flag(self) -> (&'static str, &'static str) {
        match self {
            UpstreamCheck::Protocol => ("TLP", "tls_protocol_error"),
            UpstreamCheck::Version => ("TLP", "tls_protocol_version_error"),
            UpstreamCheck::Agreement | UpstreamCheck::Setup => ("TLH", "tls_handshake_failure"),
            UpstreamCheck::Validity => ("TLE", "tls_certificate_expired"),
            UpstreamCheck::Name => ("TLM", "tls_hostname_mismatch"),
            UpstreamCheck::Authority => ("TLN", "tls_unknown_authority"),
            UpstreamCheck::Usage | UpstreamCheck::Size => ("TLI", "tls_certificate_invalid"),
            UpstreamCheck::Pins | UpstreamCheck::CommonName | UpstreamCheck::Identity => {
                ("UPE", "upstream_error")
            }
            UpstreamCheck::Roots => ("TLC", "tls_certificate_chain_incomplete"),
        }
    }
}

/// A TLS failure of an upstream, as the access log shows it. The certificate's details are
/// for the log and never for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTlsFailure {
    /// What was not passed.
    pub check: UpstreamCheck,
    /// `response_flag`.
    pub flag: &'static str,
    /// `response_code_details`.
    pub detail: &'static str,
    /// A sentence for the error log.
    pub message: String,
    /// When the certificate expires (Unix seconds), for an expired or not yet valid one.
    pub cert_expiry: Option<i64>,
    /// Common name of the certificate, for an expired or not yet valid one.
    pub cert_subject: Option<String>,
}

impl fmt::Display for UpstreamTlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UpstreamTlsFailure {}

impl UpstreamTlsFailure {
    /// A failure the library reported on `ssl`, a connection to `host`. `None` when it is one
    /// of the connection below (reset, closed, timed out), which has flags of its own.
    pub fn of(
        error: &Error,
        ssl: &SslRef,
        host: &str,
        now: SystemTime,
    ) -> Option<UpstreamTlsFailure> {
        let stack = error.ssl_error()?;
        if let Some(refused) = client::refused(ssl) {
            let check = match refused {
                ServerRefused::Pins { .. } => UpstreamCheck::Pins,
                ServerRefused::CommonName { .. } => UpstreamCheck::CommonName,
                ServerRefused::Presented(PresentedError::Malformed(_)) => UpstreamCheck::Usage,
                ServerRefused::Presented(_) => UpstreamCheck::Size,
            };
            return Some(UpstreamTlsFailure::new(check, refused.to_string()));
        }
        let mut found = None;
        for code in tls_codes(stack) {
            match code {
                ffi::SSL_R_CERTIFICATE_VERIFY_FAILED => return Some(unverified(ssl, host, now)),
                ffi::SSL_R_UNSUPPORTED_PROTOCOL | ffi::SSL_R_NO_SUPPORTED_VERSIONS_ENABLED => {
                    return Some(UpstreamTlsFailure::no_version());
                }
                ffi::SSL_R_EXCESSIVE_MESSAGE_SIZE => return Some(UpstreamTlsFailure::too_large()),
                _ => found = found.or_else(|| alert_of(code)),
            }
        }
        Some(match found {
            Some(alert) => UpstreamTlsFailure::refusal(alert),
            None => UpstreamTlsFailure::new(
                UpstreamCheck::Protocol,
                format!("the upstream does not speak proper TLS: {}", text(stack)),
            ),
        })
    }

    /// The upstream sent an alert.
    fn refusal(alert: u8) -> UpstreamTlsFailure {
        let message = format!(
            "the upstream refused with alert {} ({alert})",
            alert_name(alert)
        );
        match alert {
            70 => UpstreamTlsFailure::no_version(),
            40 | 42 | 80 | 116 => UpstreamTlsFailure::new(UpstreamCheck::Agreement, message),
            _ => UpstreamTlsFailure {
                flag: "TLA",
                detail: "tls_alert_received",
                ..UpstreamTlsFailure::new(UpstreamCheck::Agreement, message)
            },
        }
    }

    /// The client certificate that is mapped for a host cannot be shown.
    pub fn no_identity(message: String) -> UpstreamTlsFailure {
        UpstreamTlsFailure::new(UpstreamCheck::Identity, message)
    }

    /// Nothing of the configured suites can be offered.
    pub fn no_suites(message: String) -> UpstreamTlsFailure {
        UpstreamTlsFailure::new(UpstreamCheck::Setup, message)
    }

    /// The versions of gateway and API leave nothing, or the upstream speaks none of ours.
    pub fn no_version() -> UpstreamTlsFailure {
        let message = "the upstream and the gateway share no TLS version";
        UpstreamTlsFailure::new(UpstreamCheck::Version, message.to_owned())
    }

    /// A message of its handshake is larger than the library reads; only certificates grow like that.
    fn too_large() -> UpstreamTlsFailure {
        let message =
            "the upstream presents more than 100 KiB of certificates, which are not looked at";
        UpstreamTlsFailure::new(UpstreamCheck::Size, message.to_owned())
    }

    /// The client side could not be set up.
    pub fn of_setup(error: &ClientError) -> UpstreamTlsFailure {
        let check = match error {
            ClientError::NoRoots => UpstreamCheck::Roots,
            ClientError::Identity { .. } => UpstreamCheck::Identity,
            ClientError::NoCiphers | ClientError::Library(_) => UpstreamCheck::Setup,
        };
        UpstreamTlsFailure::new(check, error.to_string())
    }

    fn new(check: UpstreamCheck, message: String) -> UpstreamTlsFailure {
        let (flag, detail) = check.flag();
        UpstreamTlsFailure {
            check,
            flag,
            detail,
            message,
            cert_expiry: None,
            cert_subject: None,
        }
    }
}

/// A certificate that did not verify. Go looks at the leaf's validity before its name, and at
/// both before the chain; the library stops at what it meets first.
fn unverified(ssl: &SslRef, host: &str, now: SystemTime) -> UpstreamTlsFailure {
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs().cast_signed());
    let leaf = ssl.peer_certificate();
    let facts = leaf
        .as_ref()
        .and_then(|leaf| CertificateFacts::of(leaf).ok());
    let result = ssl.verify_result();
    let why = result.error_string();
    let outside = |facts: &CertificateFacts| now < facts.not_before || now > facts.not_after;
    if let Some(facts) = facts.filter(outside) {
        let when = if now < facts.not_before {
            "is not yet valid"
        } else {
            "has expired"
        };
        return UpstreamTlsFailure {
            cert_expiry: Some(facts.not_after),
            cert_subject: Some(facts.subject_cn),
            ..UpstreamTlsFailure::new(
                UpstreamCheck::Validity,
                format!("the upstream's certificate {when}"),
            )
        };
    }
    let check = match result.as_raw() {
        ffi::X509_V_ERR_CERT_HAS_EXPIRED | ffi::X509_V_ERR_CERT_NOT_YET_VALID => {
            UpstreamCheck::Validity
        }
        ffi::X509_V_ERR_HOSTNAME_MISMATCH | ffi::X509_V_ERR_IP_ADDRESS_MISMATCH => {
            UpstreamCheck::Name
        }
        _ if client::counts_names(ssl) && leaf.is_some_and(|leaf| !client::names(&leaf, host)) => {
            UpstreamCheck::Name
        }
        ffi::X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
        | ffi::X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
        | ffi::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
        | ffi::X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | ffi::X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
        | ffi::X509_V_ERR_CERT_SIGNATURE_FAILURE
        | ffi::X509_V_ERR_CERT_UNTRUSTED => UpstreamCheck::Authority,
        _ => UpstreamCheck::Usage,
    };
    UpstreamTlsFailure::new(
        check,
        format!("the upstream's certificate cannot be verified: {why}"),
    )
}
