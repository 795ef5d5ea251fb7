//! Why a verb ended without doing its work, and the exit status that says so.
//!
//! Invariant: every failure has one status, listed in `--help` and `docs/cli.md`; the `match`
//! below has no catch-all, so a new failure must choose.

use std::{error::Error, io::Write, process::ExitCode};

use portcullis_config::Problems;
use portcullis_gateway::StartError;
use portcullis_store::StoreError;

use crate::{cert::CertError, logging::FilterError, quickstart::QuickstartError};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// The configuration, a definition or a certificate is wrong.
    Configuration = 1,
    /// An address cannot be listened on. (2 is clap's, for a wrong command line.)
    Listen = 3,
    /// The system refused something else.
    System = 4,
    /// A gateway that was asked refused or could not be reached.
    Remote = 5,
}

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error("{0}")]
    Configuration(Problems),
    /// The log filter cannot be read.
    #[error(transparent)]
    Logging(#[from] FilterError),
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The directory of the quickstart cannot be set up.
    #[error(transparent)]
    Quickstart(#[from] QuickstartError),
    /// A verb of `cert` did not do its work.
    #[error(transparent)]
    Certificate(CertError),
    /// What there is to say cannot be written.
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// Prints the failure with its causes on standard error.
    pub fn report(self) -> Exit {
        let mut stderr = std::io::stderr().lock();
        // Where standard error is gone there is nobody to tell; the status still speaks.
        let _ = match &self {
            Self::Configuration(problems) => {
                let errors = problems.errors().count();
                let end = if errors == 1 {
                    "1 error"
                } else {
                    &format!("{errors} errors")
                };
                writeln!(
                    stderr,
                    "{problems}\n\nthe configuration cannot be used: {end}"
                )
            }
            // These say their causes themselves.
            Self::Start(error) => {
                // One line for each thing that is wrong.
                let text = error.to_string().replace('\n', "\nerror: ");
                writeln!(stderr, "error: {text}")
            }
            other => {
                let mut text = format!("error: {other}");
                let mut cause = other.source();
                while let Some(error) = cause {
                    text.push_str(&format!("\n  because: {error}"));
                    cause = error.source();
                }
                writeln!(stderr, "{text}")
            }
        };
        self.exit()
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_) | Self::Logging(_) => Exit::Configuration,
            Self::Start(error) => match error {
                StartError::Build(_) | StartError::Load(_) => Exit::Configuration,
                StartError::Store(StoreError::Settings { .. }) => Exit::Configuration,
                StartError::Bind(_) => Exit::Listen,
                StartError::Store(_) | StartError::System(_) => Exit::System,
            },
            Self::Quickstart(error) => error.exit(),
            Self::Certificate(error) => error.exit(),
            Self::Output(_) => Exit::System,
        }
    }
}

impl From<CertError> for Failure {
    fn from(error: CertError) -> Self {
        match error {
            CertError::Configuration(problems) => Self::Configuration(problems),
            other => Self::Certificate(other),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
