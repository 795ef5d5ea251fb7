//! Why a call did not come about: at which hop, at which check, and what to do.
//!
//! Invariant: hosts, keys and certificates' names are shown; paths, queries, passwords and bodies are not.

use std::{error::Error, fmt, io, time::Duration};

use portcullis_config::causes;
use portcullis_tls::{UpstreamTlsFailure, failure};

use super::settings::Keys;

/// Why a call did not come about.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// What the client is configured with, or what is asked of it, cannot be used; nothing was connected to.
    #[error("{0}")]
    Settings(String),
    /// The way to the server failed, before anything was asked.
    #[error(transparent)]
    Way(#[from] WayError),
    /// The server took longer than the call may take.
    #[error("{place}: no whole answer within {} s", limit.as_secs_f32())]
    Slow {
        /// The server.
        place: String,
        /// The time limit.
        limit: Duration,
    },
    /// The answer is larger than it may be.
    #[error("{place}: it answers with more than {largest} bytes")]
    TooLarge {
        /// The server.
        place: String,
        /// The limit.
        largest: usize,
    },
    /// The connection failed while it was used.
    #[error("{place}: {reason}")]
    Broken {
        /// The server.
        place: String,
        /// How.
        reason: String,
    },
}

/// Which hop of the way failed, and how.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{hop}{place}: {reason}")]
pub struct WayError {
    hop: Hop,
    place: String,
    reason: String,
}

/// A hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// To the proxy.
    Proxy,
    /// To the server.
    Target,
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy => f.write_str("the proxy "),
            Self::Target => Ok(()),
        }
    }
}

impl WayError {
    /// A hop to a place that failed.
    pub fn new(hop: Hop, place: &str, reason: impl Into<String>) -> Self {
        Self {
            hop,
            place: place.to_owned(),
            reason: reason.into(),
        }
    }

    /// Which hop it was.
    pub fn hop(&self) -> Hop {
        self.hop
    }

    /// TLS that failed.
    pub fn tls(hop: Hop, place: &str, failure: &UpstreamTlsFailure, keys: &Keys) -> Self {
        let what = match failure.detail {
            "tls_certificate_expired" => format!(
                "{}; it has to be renewed",
                failure.message.replace("the upstream's", "its")
            ),
            "tls_hostname_mismatch" => {
                "its certificate is for another name: call it by a name that the certificate has"
                    .to_owned()
            }
            "tls_unknown_authority" => format!(
                "nobody who is trusted issued its certificate ({}): name the authority by {}",
                failure.message.rsplit(": ").next().unwrap_or_default(),
                keys.authorities
            ),
            "tls_protocol_version_error" => format!(
                "no TLS version in common: it may speak none that {} let",
                keys.versions
            ),
            "tls_handshake_failure" => format!(
                "{}: if it asks for a client certificate, name one by {}",
                failure.message.replace("the upstream", "it"),
                keys.certificate
            ),
            _ => failure.message.replace("the upstream", "it"),
        };
        Self::new(hop, place, format!("TLS failed: {what}"))
    }
}

impl CallError {
    /// What became of an exchange with a place.
    pub fn of(error: &(dyn Error + 'static), place: &str, keys: &Keys) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(way) = error.downcast_ref::<WayError>() {
                return Self::Way(way.clone());
            }
            if let Some(alert) = alert(error) {
                return Self::Broken {
                    place: place.to_owned(),
                    reason: refused(alert, keys),
                };
            }
            cause = error.source();
        }
        Self::Broken {
            place: place.to_owned(),
            reason: causes(error),
        }
    }
}

/// The alert that ended a connection: with TLS 1.3 a server judges its client after the handshake.
fn alert(error: &(dyn Error + 'static)) -> Option<u8> {
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    failure::alert_received(inner.downcast_ref()?)
}

fn refused(alert: u8, keys: &Keys) -> String {
    let name = failure::alert_name(alert);
    let advice = match name {
        "certificate_required" | "handshake_failure" | "bad_certificate" => format!(
            "; if it asks for a client certificate, name one by {}",
            keys.certificate
        ),
        "unknown_ca" => "; it does not trust the authority of the client certificate".to_owned(),
        "certificate_expired" => "; the client certificate has to be renewed".to_owned(),
        _ => String::new(),
    };
    format!("it refused with alert {name} ({alert}){advice}")
}
