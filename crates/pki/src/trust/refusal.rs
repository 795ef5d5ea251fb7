//! Why a chain is refused, in words that name the certificate at fault.

use openssl::x509::X509VerifyResult;

/// Why a chain does not lead to an anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A certificate on the way is past its validity.
    #[error("`{subject}` has expired")]
    Expired {
        /// Its subject.
        subject: String,
    },
    /// A certificate on the way is before its validity.
    #[error("`{subject}` is not valid yet")]
    NotYetValid {
        /// Its subject.
        subject: String,
    },
    /// There is no way from the leaf to an anchor.
    #[error("`{subject}` does not lead to a trusted authority: {reason}")]
    Untrusted {
        /// The certificate the way ends at.
        subject: String,
        /// Why it ends there.
        reason: &'static str,
    },
    /// The way leads through what is no authority, or has more below it than it allows.
    #[error("`{subject}` {reason}")]
    Authority {
        /// Its subject.
        subject: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// A certificate is not for this use.
    #[error("the extended key usage of `{subject}` does not list clientAuth")]
    Purpose {
        /// Its subject.
        subject: String,
    },
    /// An authority's name constraints exclude it.
    #[error("`{subject}`: its names are not among those its authority may vouch for")]
    NameConstraints {
        /// Its subject.
        subject: String,
    },
    /// A key or a signature that is too weak to mean anything, or unusually costly.
    #[error("`{subject}` {reason}")]
    Weak {
        /// Its subject.
        subject: String,
        /// What is weak.
        reason: &'static str,
    },
    /// Its issuer has revoked a certificate on the way.
    #[error("`{subject}` was revoked on {since}, says the list of `{issuer}`")]
    Revoked {
        /// Its subject.
        subject: String,
        /// When, in RFC 3339.
        since: String,
        /// Who says so.
        issuer: String,
    },
    /// There is a list that could tell whether its issuer has revoked a certificate, and it cannot be relied
    /// on.
    #[error("whether `{subject}` was revoked cannot be told: {reason}")]
    RevocationUnknown {
        /// Its subject.
        subject: String,
        /// What is wrong with the list.
        reason: String,
    },
    /// Anything else the library found.
    #[error("`{subject}`: {reason}")]
    Other {
        /// The certificate it is about.
        subject: String,
        /// What the library says.
        reason: String,
    },
}

impl Refusal {
    /// It says no more than that the way ends somewhere.
    pub(super) fn is_untrusted(&self) -> bool {
        matches!(self, Self::Untrusted { .. })
    }
}

/// What the library's result means.
pub(super) fn of_result(result: X509VerifyResult, subject: String) -> Refusal {
    let untrusted = |reason| Refusal::Untrusted {
        subject: subject.clone(),
        reason,
    };
    let authority = |reason| Refusal::Authority {
        subject: subject.clone(),
        reason,
    };
    match result.as_raw() {
        2 | 20 | 21 | 27 => untrusted("its issuer is neither trusted nor among what was sent"),
        18 => untrusted("it is signed by itself and not trusted"),
        19 => untrusted("the root it leads to is not trusted"),
        7 => untrusted("the signature on it is not its issuer's"),
        22 => untrusted("the way is longer than is followed"),
        9 => Refusal::NotYetValid { subject },
        10 => Refusal::Expired { subject },
        24 | 32 | 35 | 37 => authority("issued a certificate and is no authority"),
        25 => authority("has more authorities below it than its path length allows"),
        47..=53 => Refusal::NameConstraints { subject },
        34 => Refusal::Other {
            subject,
            reason: "it has a critical extension nobody here understands".to_owned(),
        },
        _ => Refusal::Other {
            subject,
            reason: result.error_string().to_owned(),
        },
    }
}
