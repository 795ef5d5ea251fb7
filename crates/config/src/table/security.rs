//! Secrets, trust lists and certificate monitoring.

use super::{Section, at_least, tyk};
use crate::key::Kind;

pub(super) const SECURITY: Section = Section {
    title: "Security",
    about: "Secrets, and which certificates are trusted or used where.",
    keys: &[
        tyk(
            "secret",
            "SECRET",
            Kind::SecretOrReference,
            "\"352d20ee67be67f6340b4c0605b044b7\"",
            "What `X-Tyk-Authorization` must carry. The default is public knowledge: change it.",
        ),
        tyk(
            "security.private_certificate_encoding_secret",
            "SECURITY_PRIVATECERTIFICATEENCODINGSECRET",
            Kind::SecretOrReference,
            "\"\"",
            "Passphrase of private keys at rest; empty means `secret`.",
        ),
        tyk(
            "security.control_api_use_mutual_tls",
            "SECURITY_CONTROLAPIUSEMUTUALTLS",
            Kind::Bool,
            "false",
            "Demands a listed client certificate on the Control API, besides the secret.",
        ),
        tyk(
            "security.allow_unsafe_dynamic_mtls_token",
            "SECURITY_ALLOWUNSAFEDYNAMICMTLSTOKEN",
            Kind::Bool,
            "false",
            "Lets a token stand in for the client certificate its key was made for, also without TLS.",
        ),
        tyk(
            "security.pinned_public_keys",
            "SECURITY_PINNEDPUBLICKEYS",
            Kind::TextMap,
            "{}",
            "Public keys an upstream must show, by host; several are separated by commas.",
        ),
        tyk(
            "security.certificates.apis",
            "SECURITY_CERTIFICATES_API",
            Kind::TextList,
            "[]",
            "Client certificates added to the allow list of every API that has one.",
        ),
        tyk(
            "security.certificates.control_api",
            "SECURITY_CERTIFICATES_CONTROLAPI",
            Kind::TextList,
            "[]",
            "Client certificates the Control API accepts.",
        ),
        tyk(
            "security.certificates.upstream",
            "SECURITY_CERTIFICATES_UPSTREAM",
            Kind::TextMap,
            "{}",
            "Client certificates shown to upstreams, by host.",
        )
        .also(&["security.certificate.upstream"]),
        tyk(
            "security.certificates.dashboard_api",
            "SECURITY_CERTIFICATES_DASHBOARD",
            Kind::TextList,
            "[]",
            "Authorities that verify the Dashboard; they replace the system's.",
        )
        .also(&["certificates.dashboard_api"])
        .not_yet("the Dashboard client"),
        tyk(
            "security.certificates.mdcb_api",
            "SECURITY_CERTIFICATES_MDCB",
            Kind::TextList,
            "[]",
            "Client certificates for the link to the control plane's bridge.",
        )
        .not_yet("the bridge client"),
        tyk(
            "security.certificate_expiry_monitor.warning_threshold_days",
            "SECURITY_CERTIFICATEEXPIRYMONITOR_WARNINGTHRESHOLDDAYS",
            at_least(0),
            "30",
            "Days before expiry from which a certificate in use is reported; 0 means 30.",
        ),
        tyk(
            "security.certificate_expiry_monitor.check_cooldown_seconds",
            "SECURITY_CERTIFICATEEXPIRYMONITOR_CHECKCOOLDOWNSECONDS",
            Kind::Seconds(0),
            "3600",
            "Shortest time between two checks of a certificate; 0 means 3600.",
        ),
        tyk(
            "security.certificate_expiry_monitor.event_cooldown_seconds",
            "SECURITY_CERTIFICATEEXPIRYMONITOR_EVENTCOOLDOWNSECONDS",
            Kind::Seconds(0),
            "86400",
            "Shortest time between two events for a certificate; 0 means 86400.",
        ),
    ],
};
