//! Why a handshake failed, in words for people and in a closed set for metrics.
//!
//! In front: [`HandshakeFailure`], what a client did or met. Towards upstreams:
//! [`UpstreamTlsFailure`], the flags of the access log.

mod upstream;

use std::{fmt, io};

use openssl::{
    error::ErrorStack,
    ssl::{Error, ErrorCode},
};
use openssl_sys as ffi;
use portcullis_pki::{PresentedError, Refusal};

pub use self::upstream::{UpstreamCheck, UpstreamTlsFailure};
use crate::server::{ClientRefused, RefusedFor};

/// Why a client's handshake failed; the label of a metric, so the set is closed and small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No cipher suite, group or signature algorithm in common.
    NoSharedCipher,
    /// No version in common.
    ProtocolVersion,
    /// There is no certificate to answer with.
    UnrecognizedName,
    /// ALPN without a protocol we speak.
    NoApplicationProtocol,
    /// Clear-text HTTP on a TLS port.
    PlainHttp,
    /// A certificate was required and none came.
    CertificateRequired,
    /// The client's certificate is out of its validity.
    CertificateExpired,
    /// The client's certificate leads to nobody trusted.
    CertificateUntrusted,
    /// The client's certificate, or one above it, was revoked.
    CertificateRevoked,
    /// Whether the client's certificate was revoked cannot be told.
    RevocationUnknown,
    /// The client's certificate is not good for another reason.
    CertificateRefused,
    /// The client refused, with this alert.
    ClientAlert(u8),
    /// The client went away.
    Eof,
    /// The client was too slow.
    Timeout,
    /// Not TLS, or broken TLS.
    BadRecord,
    /// Anything else.
    Other,
}

impl Reason {
    /// The label. All alerts of clients share one.
    pub fn label(self) -> &'static str {
        match self {
            Reason::NoSharedCipher => "no_shared_cipher",
            Reason::ProtocolVersion => "protocol_version",
            Reason::UnrecognizedName => "unrecognized_name",
            Reason::NoApplicationProtocol => "no_application_protocol",
            Reason::PlainHttp => "plain_http",
            Reason::CertificateRequired => "certificate_required",
            Reason::CertificateExpired => "certificate_expired",
            Reason::CertificateUntrusted => "certificate_untrusted",
            Reason::CertificateRevoked => "certificate_revoked",
            Reason::RevocationUnknown => "revocation_unknown",
            Reason::CertificateRefused => "certificate_refused",
            Reason::ClientAlert(_) => "client_alert",
            Reason::Eof => "eof",
            Reason::Timeout => "timeout",
            Reason::BadRecord => "bad_record",
            Reason::Other => "other",
        }
    }
}

/// A client's handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFailure {
    /// Why.
    pub reason: Reason,
    /// What the library said, for [`Reason::Other`] and [`Reason::BadRecord`].
    pub detail: String,
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::NoSharedCipher => f.write_str(
                "client and gateway share no cipher suite, group or signature algorithm",
            ),
            Reason::ProtocolVersion => f.write_str("client and gateway share no TLS version"),
            Reason::UnrecognizedName => f.write_str("there is no certificate to serve"),
            Reason::NoApplicationProtocol => {
                f.write_str("the client offers neither h2 nor http/1.1")
            }
            Reason::PlainHttp => f.write_str("the client speaks clear-text HTTP on a TLS port"),
            Reason::CertificateRequired => {
                f.write_str("the client presented no certificate and one is required")
            }
            Reason::CertificateExpired
            | Reason::CertificateUntrusted
            | Reason::CertificateRevoked
            | Reason::RevocationUnknown
            | Reason::CertificateRefused => {
                write!(f, "the client's certificate is refused: {}", self.detail)
            }
            Reason::ClientAlert(alert) => {
                write!(
                    f,
                    "the client refused with alert {} ({alert})",
                    alert_name(alert)
                )
            }
            Reason::Eof => f.write_str("the client closed the connection"),
            Reason::Timeout => f.write_str("the handshake took too long"),
            Reason::BadRecord => write!(f, "the client does not speak proper TLS: {}", self.detail),
            Reason::Other => write!(f, "the handshake failed: {}", self.detail),
        }
    }
}

impl std::error::Error for HandshakeFailure {}

impl HandshakeFailure {
    /// A failure the library reported.
    pub fn of(error: &Error) -> HandshakeFailure {
        let (reason, detail) = match (error.io_error(), error.ssl_error()) {
            (Some(io), _) => return HandshakeFailure::io(io),
            (None, Some(stack)) => (server_reason(stack), text(stack)),
            (None, None) if error.code() == ErrorCode::SYSCALL => (Reason::Eof, String::new()),
            (None, None) if error.code() == ErrorCode::ZERO_RETURN => (Reason::Eof, String::new()),
            (None, None) => (Reason::Other, error.to_string()),
        };
        HandshakeFailure { reason, detail }
    }

    /// A client whose certificate was refused.
    pub fn refused(refused: &ClientRefused) -> HandshakeFailure {
        let reason = match &refused.reason {
            RefusedFor::Presented(PresentedError::Empty) => Reason::CertificateRequired,
            RefusedFor::Judged(Refusal::Expired { .. } | Refusal::NotYetValid { .. }) => {
                Reason::CertificateExpired
            }
            RefusedFor::Judged(Refusal::Untrusted { .. }) => Reason::CertificateUntrusted,
            RefusedFor::Judged(Refusal::Revoked { .. }) => Reason::CertificateRevoked,
            RefusedFor::Judged(Refusal::RevocationUnknown { .. }) => Reason::RevocationUnknown,
            RefusedFor::Judged(_) | RefusedFor::Presented(_) => Reason::CertificateRefused,
        };
        HandshakeFailure {
            reason,
            detail: refused.to_string(),
        }
    }

    /// A failure of the connection below.
    pub fn io(error: &io::Error) -> HandshakeFailure {
        use io::ErrorKind as Kind;
        let reason = match error.kind() {
            Kind::UnexpectedEof
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::ConnectionAborted => Reason::Eof,
            Kind::TimedOut => Reason::Timeout,
            _ => Reason::Other,
        };
        HandshakeFailure {
            reason,
            detail: error.to_string(),
        }
    }

    /// The deadline passed.
    pub fn timeout() -> HandshakeFailure {
        HandshakeFailure {
            reason: Reason::Timeout,
            detail: String::new(),
        }
    }

    /// The first bytes were clear-text HTTP.
    pub fn plain_http() -> HandshakeFailure {
        HandshakeFailure {
            reason: Reason::PlainHttp,
            detail: String::new(),
        }
    }
}

fn server_reason(stack: &ErrorStack) -> Reason {
    let mut bad_record = false;
    for code in tls_codes(stack) {
        match code {
            ffi::SSL_R_NO_SHARED_CIPHER
            | ffi::SSL_R_NO_SHARED_GROUP
            | ffi::SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS => return Reason::NoSharedCipher,
            ffi::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE => return Reason::CertificateRequired,
            ffi::SSL_R_UNSUPPORTED_PROTOCOL => return Reason::ProtocolVersion,
            ffi::SSL_R_CLIENTHELLO_TLSEXT => return Reason::UnrecognizedName,
            ffi::SSL_R_NO_APPLICATION_PROTOCOL => return Reason::NoApplicationProtocol,
            ffi::SSL_R_HTTP_REQUEST | ffi::SSL_R_HTTPS_PROXY_REQUEST => return Reason::PlainHttp,
            ffi::SSL_R_WRONG_VERSION_NUMBER
            | ffi::SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC
            | ffi::SSL_R_UNEXPECTED_RECORD
            | ffi::SSL_R_UNEXPECTED_MESSAGE
            | ffi::SSL_R_DECODE_ERROR
            | ffi::SSL_R_ENCRYPTED_LENGTH_TOO_LONG
            | ffi::SSL_R_EXCESSIVE_MESSAGE_SIZE
            | ffi::SSL_R_BAD_ALERT => bad_record = true,
            code => {
                if let Some(alert) = alert_of(code) {
                    return Reason::ClientAlert(alert);
                }
            }
        }
    }
    if bad_record {
        Reason::BadRecord
    } else {
        Reason::Other
    }
}

/// The reasons in a stack of errors that come from the TLS part of the library.
fn tls_codes(stack: &ErrorStack) -> impl Iterator<Item = i32> {
    const TLS: i32 = ffi::ERR_LIB_SSL;
    stack
        .errors()
        .iter()
        .filter(|e| e.library_code() == TLS)
        .map(|e| e.reason_code())
}

/// The alert that a peer ended a connection with; `None` for every other failure.
pub fn alert_received(error: &Error) -> Option<u8> {
    tls_codes(error.ssl_error()?).find_map(alert_of)
}

/// The alert behind a reason, if it says that the peer sent one.
fn alert_of(code: i32) -> Option<u8> {
    u8::try_from(code - ffi::SSL_AD_REASON_OFFSET).ok()
}

fn text(stack: &ErrorStack) -> String {
    let reasons: Vec<_> = stack
        .errors()
        .iter()
        .filter_map(|error| error.reason())
        .collect();
    reasons.join(", ").to_ascii_lowercase().replace('_', " ")
}

/// The name of an alert in RFC 8446.
pub fn alert_name(alert: u8) -> &'static str {
    match alert {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "unknown",
    }
}
