//! Why a measurement, or the whole run, could not be made.

use std::io;

use openssl::error::ErrorStack;

use crate::client::Failure;

/// What stops a measurement. A measurement with an error has no number.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {action}")]
    Io {
        /// What was tried, as in "cannot write /tmp/x".
        action: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot prepare TLS")]
    Tls(#[from] ErrorStack),
    #[error("cannot fill the store: {0}")]
    Store(String),
    #[error("unknown {kind} {given:?}; known are: {known}")]
    UnknownName {
        kind: &'static str,
        given: String,
        known: String,
    },
    #[error("{peer} cannot be run: {why}")]
    CannotRun { peer: &'static str, why: String },
    #[error("{peer} ended with {status} before it served; its output ends with:\n{output}")]
    Ended {
        peer: &'static str,
        status: String,
        output: String,
    },
    #[error("{peer} did not serve within {seconds} s; its output ends with:\n{output}")]
    NotReady {
        peer: &'static str,
        seconds: u64,
        output: String,
        #[source]
        last: Failure,
    },
    #[error("{peer} is not set up like the others: {difference}")]
    Unequal {
        peer: &'static str,
        difference: String,
    },
    #[error("{failed} requests failed against {succeeded} that succeeded; the first")]
    FailedRequests {
        failed: u64,
        succeeded: u64,
        #[source]
        first: Failure,
    },
    #[error("no request was answered within the measured time")]
    NothingDone,
    #[error("this machine has one core; the proxy and the load need one each")]
    OneCore,
    #[error("the limit of open files is {limit}, {needed} are needed (ulimit -Hn)")]
    TooFewFiles { limit: u64, needed: u64 },
}

impl Error {
    /// Names what was tried when the system refused.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// The error and everything that caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
