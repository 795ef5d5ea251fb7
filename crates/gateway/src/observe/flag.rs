//! Why a request failed: the flags and details of the access log and the metrics.
//!
//! One table, so that a flag, its detail and its source cannot drift apart. The set is closed:
//! it labels metrics.

/// Why a request failed on its way to or from an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResponseFlag {
    /// The upstream's certificate has expired or is not yet valid.
    TlsCertificateExpired,
    /// The upstream's certificate may not be used for this.
    TlsCertificateInvalid,
    /// The upstream's certificate is for another host.
    TlsHostnameMismatch,
    /// Nobody we trust signed the upstream's certificate.
    TlsUnknownAuthority,
    /// The upstream does not speak TLS.
    TlsProtocolError,
    /// The upstream speaks none of our TLS versions.
    TlsProtocolVersion,
    /// The upstream refused the handshake.
    TlsHandshakeFailure,
    /// The upstream sent another alert.
    TlsAlertReceived,
    /// There are no roots to verify the upstream with.
    TlsChainIncomplete,
    /// Nobody listens there.
    ConnectionRefused,
    /// The kernel gave up connecting.
    ConnectionTimeout,
    /// The upstream reset the connection.
    ConnectionReset,
    /// No route to the network.
    NetworkUnreachable,
    /// No route to the host.
    HostUnreachable,
    /// The upstream closed while we were sending.
    BrokenPipe,
    /// The connection was aborted.
    ConnectionAborted,
    /// The network reset the connection.
    NetworkReset,
    /// The host name does not exist.
    DnsNotFound,
    /// The name server did not answer in time.
    DnsTimeout,
    /// Any other failure of the name lookup.
    DnsFailed,
    /// The deadline of the API passed.
    DeadlineExceeded,
    /// Connecting, the TLS handshake or the response head took too long.
    RequestTimeout,
    /// The client went away.
    ClientDisconnected,
    /// The upstream answered with a 5xx of its own, which was passed on.
    UpstreamStatus,
    /// No target is healthy.
    NoHealthyUpstreams,
    /// The circuit breaker is open.
    CircuitBreakerOpen,
    /// There is no access token to show the upstream.
    NoUpstreamToken,
    /// Anything else: a pin, the common name, a forward proxy, a broken response.
    UpstreamError,
}

use ResponseFlag as F;

/// Flag, its short text, its detail; in the order of the variants.
const TABLE: [(ResponseFlag, &str, &str); 28] = [
    (F::TlsCertificateExpired, "TLE", "tls_certificate_expired"),
    (F::TlsCertificateInvalid, "TLI", "tls_certificate_invalid"),
    (F::TlsHostnameMismatch, "TLM", "tls_hostname_mismatch"),
    (F::TlsUnknownAuthority, "TLN", "tls_unknown_authority"),
    (F::TlsProtocolError, "TLP", "tls_protocol_error"),
    (F::TlsProtocolVersion, "TLP", "tls_protocol_version_error"),
    (F::TlsHandshakeFailure, "TLH", "tls_handshake_failure"),
    (F::TlsAlertReceived, "TLA", "tls_alert_received"),
    (
        F::TlsChainIncomplete,
        "TLC",
        "tls_certificate_chain_incomplete",
    ),
    (F::ConnectionRefused, "UCF", "connection_refused"),
    (F::ConnectionTimeout, "UCT", "connection_timeout"),
    (F::ConnectionReset, "URR", "connection_reset"),
    (F::NetworkUnreachable, "NRH", "network_unreachable"),
    (F::HostUnreachable, "NRH", "host_unreachable"),
    (F::BrokenPipe, "EPI", "broken_pipe"),
    (F::ConnectionAborted, "CAB", "connection_aborted"),
    (F::NetworkReset, "NRS", "network_reset"),
    (F::DnsNotFound, "DNS", "dns_not_found"),
    (F::DnsTimeout, "DNS", "dns_timeout"),
    (F::DnsFailed, "DNS", "dns_resolution_failed"),
    (F::DeadlineExceeded, "URT", "context_deadline_exceeded"),
    (F::RequestTimeout, "URT", "request_timeout"),
    (F::ClientDisconnected, "CDC", "client_disconnected"),
    (F::UpstreamStatus, "URS", "upstream_response_5xx"),
    (F::NoHealthyUpstreams, "NHU", "no_healthy_upstreams"),
    (F::CircuitBreakerOpen, "CBO", "circuit_breaker_open"),
    (F::NoUpstreamToken, "UPE", "upstream_token_unavailable"),
    (F::UpstreamError, "UPE", "upstream_error"),
];

impl ResponseFlag {
    /// How many there are.
    pub(super) const COUNT: usize = TABLE.len();

    /// `response_flag`: three letters, shared by related failures.
    pub fn flag(self) -> &'static str {
        TABLE[self.index()].1
    }

    /// `response_code_details`, one for each variant.
    pub fn detail(self) -> &'static str {
        TABLE[self.index()].2
    }

    /// `error_source`: who made the error the client sees.
    pub fn source(self) -> &'static str {
        if self == Self::UpstreamStatus {
            "Upstream"
        } else {
            "ReverseProxy"
        }
    }

    /// The variant with this `response_code_details`.
    pub fn of_detail(detail: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == detail).map(|row| row.0)
    }

    /// All of them, in the order of [`ResponseFlag::index`].
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_stands_in_its_row_and_details_are_unique() {
        for (place, flag) in ResponseFlag::all().enumerate() {
            assert_eq!(flag.index(), place);
            assert_eq!(ResponseFlag::of_detail(flag.detail()), Some(flag));
            assert_eq!(flag.flag().len(), 3);
        }
        assert_eq!(ResponseFlag::UpstreamError.index() + 1, ResponseFlag::COUNT);
        assert_eq!(ResponseFlag::of_detail("no such detail"), None);
    }

    #[test]
    fn a_5xx_of_the_upstream_is_the_upstreams_own() {
        assert_eq!(ResponseFlag::UpstreamStatus.source(), "Upstream");
        assert_eq!(ResponseFlag::ConnectionRefused.source(), "ReverseProxy");
    }
}
