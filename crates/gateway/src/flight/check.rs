//! The checks that can refuse a client: a closed set, and what mends each.

use portcullis_tls::failure::Reason;

use crate::{access::refusal::Refused, clients::Barred};

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The handshake.
    Handshake(Reason),
    /// Its address had too many handshakes under way.
    TooManyHandshakes,
    /// A list was asked about somebody, at one of these stages.
    List(Stage, ListCheck),
    /// A certificate was to be the key of a request, or to go with it.
    Key(KeyCheck),
    /// The host of a request demands more than that of its handshake.
    Misdirected,
}

/// When a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In its handshake.
    Handshake,
    /// As it sent a request.
    Request,
    /// As it asked for a raw service.
    Connection,
    /// As it asked the Control API.
    ControlApi,
}

/// What a list wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListCheck {
    /// TLS.
    Tls,
    /// A certificate.
    Presented,
    /// One that has not expired.
    Expired,
    /// One whose time has come.
    NotYetValid,
    /// One whose entry has not ended.
    EntryOver,
    /// One whose entry has begun.
    EntryAhead,
    /// One nobody has revoked.
    Revoked,
    /// One that is known not to be revoked.
    RevocationKnown,
    /// One that is listed.
    Listed,
}

/// What certificates of keys have to be (inbound sheet 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCheck {
    /// There.
    Presented,
    /// Not past their end.
    Expired,
    /// Not before their beginning.
    NotYetValid,
    /// A key's.
    Known,
    /// In the certificate store still.
    Stored,
    /// Among those the key is bound to.
    Bound,
}

/// Labels of refusals that are none of handshakes.
pub const REFUSALS: [&str; 13] = [
    "tls_required",
    "certificate_required",
    "certificate_expired",
    "certificate_not_yet_valid",
    "certificate_entry_over",
    "certificate_entry_ahead",
    "certificate_revoked",
    "revocation_unknown",
    "certificate_not_listed",
    "misdirected",
    "certificate_without_key",
    "certificate_removed",
    "certificate_not_bound",
];

impl Stage {
    /// Its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::Connection => "connection",
            Self::ControlApi => "control_api",
        }
    }
}

impl Check {
    /// A refusal by a list.
    #[must_use]
    pub fn barred(stage: Stage, barred: &Barred) -> Self {
        let check = match barred {
            Barred::NoTls => ListCheck::Tls,
            Barred::NoCertificate => ListCheck::Presented,
            Barred::Expired => ListCheck::Expired,
            Barred::NotYetValid => ListCheck::NotYetValid,
            Barred::EntryOver => ListCheck::EntryOver,
            Barred::EntryAhead => ListCheck::EntryAhead,
            Barred::Revoked(_) => ListCheck::Revoked,
            Barred::RevocationUnknown(_) => ListCheck::RevocationKnown,
            Barred::NotAllowed(_) => ListCheck::Listed,
        };
        Self::List(stage, check)
    }

    /// A refusal for want of a key that is a certificate's; `None` where it is about something else.
    #[must_use]
    pub fn denied(refused: Refused) -> Option<Self> {
        Some(Self::Key(match refused {
            Refused::CertificateMissing => KeyCheck::Presented,
            Refused::CertificateExpired => KeyCheck::Expired,
            Refused::CertificateEarly => KeyCheck::NotYetValid,
            Refused::CertificateUnknown => KeyCheck::Known,
            Refused::CertificateRemoved => KeyCheck::Stored,
            Refused::CertificateMismatch => KeyCheck::Bound,
            _ => return None,
        }))
    }

    /// When it was made.
    #[must_use]
    pub fn stage(self) -> Stage {
        match self {
            Self::Handshake(_) | Self::TooManyHandshakes => Stage::Handshake,
            Self::List(stage, _) => stage,
            Self::Misdirected | Self::Key(_) => Stage::Request,
        }
    }

    /// Its name, one of a small set.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Handshake(reason) => reason.label(),
            Self::TooManyHandshakes => "too_many_handshakes",
            Self::List(_, ListCheck::Tls) => "tls_required",
            Self::List(_, ListCheck::Presented) | Self::Key(KeyCheck::Presented) => {
                "certificate_required"
            }
            Self::List(_, ListCheck::Expired) | Self::Key(KeyCheck::Expired) => {
                "certificate_expired"
            }
            Self::List(_, ListCheck::NotYetValid) | Self::Key(KeyCheck::NotYetValid) => {
                "certificate_not_yet_valid"
            }
            Self::Key(KeyCheck::Known) => "certificate_without_key",
            Self::Key(KeyCheck::Stored) => "certificate_removed",
            Self::Key(KeyCheck::Bound) => "certificate_not_bound",
            Self::List(_, ListCheck::EntryOver) => "certificate_entry_over",
            Self::List(_, ListCheck::EntryAhead) => "certificate_entry_ahead",
            Self::List(_, ListCheck::Revoked) => "certificate_revoked",
            Self::List(_, ListCheck::RevocationKnown) => "revocation_unknown",
            Self::List(_, ListCheck::Listed) => "certificate_not_listed",
            Self::Misdirected => "misdirected",
        }
    }

    /// What would mend it, in a sentence.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Handshake(Reason::NoSharedCipher) => {
                "Client and gateway share no cipher suite, group or signature algorithm: compare what the \
                 client offered with http_server_options.ssl_ciphers and with the key of the certificate \
                 for this name."
            }
            Self::Handshake(Reason::ProtocolVersion) => {
                "Client and gateway share no TLS version: let the client speak TLS 1.2 or 1.3, or look at \
                 http_server_options.min_version and max_version."
            }
            Self::Handshake(Reason::UnrecognizedName) => {
                "The gateway has no certificate for this server name that the client can use: add one, or \
                 correct the name the client asks for."
            }
            Self::Handshake(Reason::NoApplicationProtocol) => {
                "The client's ALPN names no protocol spoken here: let it offer http/1.1, or h2 where HTTP/2 \
                 is on."
            }
            Self::Handshake(Reason::PlainHttp) => {
                "The client spoke clear-text HTTP to a TLS port: use https."
            }
            Self::Handshake(Reason::CertificateRequired)
            | Self::List(_, ListCheck::Presented)
            | Self::Key(KeyCheck::Presented) => {
                "Configure the client with a certificate and its key; one that has them may leave the \
                 certificate out because its issuer is not among the announced authorities, or because it \
                 asked for a name at which no certificate is asked for."
            }
            Self::Handshake(Reason::CertificateExpired) | Self::Key(KeyCheck::Expired) => {
                "Renew the certificate, or correct the clock: it is outside its validity (not_before, \
                 not_after of the leaf, or of an authority above it)."
            }
            Self::List(_, ListCheck::Expired) => {
                "Renew the certificate and list the new one: the listed one has expired."
            }
            Self::List(_, ListCheck::NotYetValid) | Self::Key(KeyCheck::NotYetValid) => {
                "Wait for the certificate's not_before, or correct the clocks of issuer and gateway."
            }
            Self::Handshake(Reason::CertificateUntrusted) => {
                "List the leaf's fingerprint, or the authority that issued it; where an authority is listed, \
                 let the client send the intermediates between."
            }
            Self::Handshake(Reason::CertificateRevoked) | Self::List(_, ListCheck::Revoked) => {
                "A revocation list (portcullis.client_crls) has this certificate or an authority above it: let the \
                 client use one that is not revoked; after a mistake have its issuer publish a list without it."
            }
            Self::Handshake(Reason::RevocationUnknown)
            | Self::List(_, ListCheck::RevocationKnown) => {
                "A revocation list of this issuer is configured and cannot be relied on, as `detail` says: put a \
                 list in its place that is in date and signed by the issuer (`portcullis check` shows them), or set \
                 portcullis.crl_mode to lenient."
            }
            Self::Handshake(Reason::CertificateRefused) => {
                "The certificate or its chain breaks a rule that `detail` names: have it issued anew without \
                 that."
            }
            Self::Handshake(Reason::ClientAlert(_)) => {
                "The client refused the gateway's certificate or settings: `detail` has its alert; most often \
                 it does not trust the authority or connects by another name than the certificate's."
            }
            Self::Handshake(Reason::Eof) => {
                "The client went away before the handshake was over: a port check, a timeout of its own, or a \
                 refusal without an alert."
            }
            Self::Handshake(Reason::Timeout) => {
                "The client did not finish in portcullis.handshake_timeout: look at the network between, or \
                 allow more."
            }
            Self::Handshake(Reason::BadRecord) => {
                "What came is not TLS, or was damaged on its way: is this the port the client means, and does \
                 a load balancer in front send a PROXY header that is not expected here?"
            }
            Self::Handshake(Reason::Other) => "`detail` has what the TLS library says of it.",
            Self::TooManyHandshakes => {
                "One address has too many handshakes under way: let clients keep their connections, or raise \
                 portcullis.max_handshakes_per_address."
            }
            Self::List(_, ListCheck::Tls) => {
                "The API takes clients with certificates only, and this port does not speak TLS: use the TLS \
                 port, or let TLS end here and not in front."
            }
            Self::List(_, ListCheck::EntryOver) => {
                "The entry that lists this client has a not_after that is past: list it anew, or give the entry a \
                 later end."
            }
            Self::List(_, ListCheck::EntryAhead) => {
                "The entry that lists this client has a not_before that is still ahead: wait for it, or give the \
                 entry an earlier beginning."
            }
            Self::List(_, ListCheck::Listed) => {
                "Add the leaf's fingerprint or its issuer to client_certificates of the API, or let the client \
                 use the certificate that is listed."
            }
            Self::Key(KeyCheck::Known) => {
                "No key belongs to this certificate: create one with its id as `certificate`, in the \
                 organisation of the API."
            }
            Self::Key(KeyCheck::Stored) => {
                "The key's certificate was deleted from the certificate store: upload it again, or create a \
                 key for the client's new one."
            }
            Self::Key(KeyCheck::Bound) => {
                "The key is bound to other certificates: let the client use one of those, or add this one's id \
                 to mtls_static_certificate_bindings of the key."
            }
            Self::Misdirected => {
                "The host of the request demands more of clients than the name of the handshake: let the client \
                 open a connection for this host with its own server name."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_a_list_has_its_label_in_the_closed_set_and_a_remedy() {
        let checks = [
            ListCheck::Tls,
            ListCheck::Presented,
            ListCheck::Expired,
            ListCheck::NotYetValid,
            ListCheck::EntryOver,
            ListCheck::EntryAhead,
            ListCheck::Revoked,
            ListCheck::RevocationKnown,
            ListCheck::Listed,
        ];
        let checks = checks.map(|check| Check::List(Stage::Request, check));
        let keys = [KeyCheck::Known, KeyCheck::Stored, KeyCheck::Bound].map(Check::Key);
        let labels = checks.into_iter().chain([Check::Misdirected]).chain(keys);
        let labels: Vec<&str> = labels.map(Check::label).collect();
        assert_eq!(labels, REFUSALS);
        assert!(
            checks
                .into_iter()
                .chain(keys)
                .all(|check| check.remedy().ends_with('.'))
        );
    }
}
