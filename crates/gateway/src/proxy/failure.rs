//! What a failed upstream means: for the client, for the log, for metrics (outbound sheet 7).

use std::{io, sync::Arc};

use portcullis_tls::UpstreamTlsFailure;

use super::{dial::ConnectError, hop::HopFailure, upstream::UpstreamError};
use crate::observe::ResponseFlag;

/// Why an upstream gave no response.
#[derive(Debug)]
pub enum Outage {
    /// There was no connection to be had.
    Connect(ConnectError),
    /// It failed while it was spoken to.
    Failed(UpstreamError),
    /// It took too long.
    Timeout,
    /// There is no token to show it, whose endpoint and why; nothing was sent.
    NoToken(Arc<str>),
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Status for the client.
    pub status: u16,
    /// Message for the client. It never says what was wrong with a certificate.
    pub message: &'static str,
    /// Flag and detail for log and metrics.
    pub flag: ResponseFlag,
}

const PROBLEM: &str = "There was a problem proxying the request";
const TIMEOUT: &str = "Upstream service reached hard timeout.";
const LOOKUP: &str = "Upstream host lookup failed";

impl Outage {
    /// The row for this outage.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Timeout => timeout(),
            Self::NoToken(_) => problem(ResponseFlag::NoUpstreamToken),
            Self::Connect(error) => of_connecting(error),
            Self::Failed(UpstreamError::Transport(source)) => problem(flag_of(source)),
            Self::Failed(UpstreamError::Silent) => problem(ResponseFlag::ConnectionReset),
            Self::Failed(_) => problem(ResponseFlag::UpstreamError),
        }
    }

    /// Where it happened: at the proxy on the way, or beyond.
    pub fn hop(&self) -> &'static str {
        match self {
            Self::Connect(ConnectError::Proxy(_)) | Self::Failed(UpstreamError::ByProxy) => "proxy",
            Self::NoToken(_) => "token endpoint",
            Self::Connect(_) | Self::Failed(_) | Self::Timeout => "upstream",
        }
    }

    /// A connection that had been made ended before it was answered on.
    pub fn ended_connection(&self) -> bool {
        matches!(
            self,
            Self::Failed(
                UpstreamError::Silent | UpstreamError::Transport(_) | UpstreamError::ByProxy
            )
        )
    }

    /// What was wrong with TLS, on whichever hop.
    pub fn into_tls_failure(self) -> Option<UpstreamTlsFailure> {
        match self {
            Self::Connect(ConnectError::Tls(failure)) => Some(failure),
            Self::Connect(ConnectError::Proxy(error)) => match error.cause {
                HopFailure::Reach(ConnectError::Tls(failure)) => Some(failure),
                _ => None,
            },
            _ => None,
        }
    }
}

fn problem(flag: ResponseFlag) -> Verdict {
    Verdict {
        status: 500,
        message: PROBLEM,
        flag,
    }
}

fn timeout() -> Verdict {
    Verdict {
        status: 504,
        message: TIMEOUT,
        flag: ResponseFlag::DeadlineExceeded,
    }
}

/// The row for a connection that could not be had.
fn of_connecting(error: &ConnectError) -> Verdict {
    match error {
        ConnectError::Lookup { source, .. } => Verdict {
            status: 500,
            message: LOOKUP,
            flag: match source.kind() {
                io::ErrorKind::TimedOut => ResponseFlag::DnsTimeout,
                io::ErrorKind::NotFound => ResponseFlag::DnsNotFound,
                _ if source.to_string().contains("not known") => ResponseFlag::DnsNotFound,
                _ => ResponseFlag::DnsFailed,
            },
        },
        ConnectError::DialTimeout(_) | ConnectError::HandshakeTimeout(_) => {
            problem(ResponseFlag::RequestTimeout)
        }
        ConnectError::Tls(failure) | ConnectError::Unready(failure) => {
            problem(ResponseFlag::of_detail(failure.detail).unwrap_or(ResponseFlag::UpstreamError))
        }
        ConnectError::Connect { source, .. } | ConnectError::Ended(source) => {
            problem(flag_of(source))
        }
        ConnectError::Http2(_) | ConnectError::Setup(_) => problem(ResponseFlag::UpstreamError),
        ConnectError::Proxy(error) => match &error.cause {
            HopFailure::Reach(error) => of_connecting(error),
            HopFailure::Silent => timeout(),
            HopFailure::Ended(source) => problem(flag_of(source)),
            HopFailure::Barred(_) | HopFailure::Malformed(_) | HopFailure::Refused { .. } => {
                problem(ResponseFlag::UpstreamError)
            }
        },
    }
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
            Self::Timeout => f.write_str("timeout awaiting response headers"),
            Self::NoToken(why) => write!(
                f,
                "no access token for the upstream could be had, and nothing is sent without: {why}"
            ),
        }
    }
}

fn flag_of(error: &io::Error) -> ResponseFlag {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => ResponseFlag::ConnectionRefused,
        Kind::TimedOut => ResponseFlag::ConnectionTimeout,
        Kind::ConnectionReset => ResponseFlag::ConnectionReset,
        Kind::NetworkUnreachable => ResponseFlag::NetworkUnreachable,
        Kind::HostUnreachable => ResponseFlag::HostUnreachable,
        Kind::BrokenPipe => ResponseFlag::BrokenPipe,
        Kind::ConnectionAborted => ResponseFlag::ConnectionAborted,
        Kind::NetworkDown => ResponseFlag::NetworkReset,
        // A handshake that ends without a word.
        Kind::UnexpectedEof => ResponseFlag::ConnectionReset,
        _ => ResponseFlag::UpstreamError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of outbound sheet 7 that need no certificate.
    #[test]
    fn every_outage_has_the_row_of_the_table() {
        let connect = |kind: io::ErrorKind| {
            Outage::Connect(ConnectError::Connect {
                address: ([127, 0, 0, 1], 1).into(),
                source: kind.into(),
            })
        };
        let rows = [
            (
                connect(io::ErrorKind::ConnectionRefused),
                500,
                "UCF",
                "connection_refused",
            ),
            (
                connect(io::ErrorKind::TimedOut),
                500,
                "UCT",
                "connection_timeout",
            ),
            (
                connect(io::ErrorKind::HostUnreachable),
                500,
                "NRH",
                "host_unreachable",
            ),
            (Outage::Timeout, 504, "URT", "context_deadline_exceeded"),
            (
                Outage::Connect(ConnectError::DialTimeout("h".into())),
                500,
                "URT",
                "request_timeout",
            ),
            (
                Outage::Failed(UpstreamError::Silent),
                500,
                "URR",
                "connection_reset",
            ),
            (
                Outage::Failed(UpstreamError::Transport(io::ErrorKind::BrokenPipe.into())),
                500,
                "EPI",
                "broken_pipe",
            ),
        ];
        for (outage, status, flag, detail) in rows {
            let verdict = outage.verdict();
            assert_eq!(
                (verdict.status, verdict.flag.flag(), verdict.flag.detail()),
                (status, flag, detail),
                "{outage}"
            );
        }
        let lookup = Outage::Connect(ConnectError::Lookup {
            host: "h".into(),
            source: io::ErrorKind::NotFound.into(),
        });
        assert_eq!(lookup.verdict().message, "Upstream host lookup failed");
    }
}
