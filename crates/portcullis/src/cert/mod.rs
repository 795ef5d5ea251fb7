//! `portcullis cert`: making, reading and checking certificates, and those a gateway holds.
//!
//! What is asked for goes to standard output, notes and errors to standard error. Nothing here
//! touches a running gateway but through its Control API.

pub mod arguments;
mod create;
pub mod input;
mod inspect;
pub mod remote;
mod verify;
pub mod when;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use openssl::error::ErrorStack;
use portcullis_config::Problems;
use portcullis_pki::{make::MakeError, pem::PemError};

use self::{arguments::CertCommand, input::Place, remote::RemoteError};
use crate::exit::{Exit, Failure};

/// Why a verb of `cert` could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file that cannot be read.
    #[error("cannot read {place}")]
    Read {
        /// The file.
        place: Place,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that would be replaced.
    #[error("`{}` is there already; choose another --out, or --force to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no certificate by its size.
    #[error("{place} is too large to hold certificates")]
    TooLarge {
        /// The file.
        place: Place,
    },
    /// PEM that cannot be used.
    #[error("{place} cannot be used")]
    Content {
        /// The file.
        place: Place,
        /// What is wrong with it.
        #[source]
        source: PemError,
    },
    /// Neither PEM nor DER of a kind we know.
    #[error(
        "{place} is neither PEM nor the DER of a certificate or key; a PKCS#12 file becomes PEM with `openssl pkcs12 -in FILE -nodes`"
    )]
    Unknown {
        /// The file.
        place: Place,
    },
    /// No certificate where one is needed.
    #[error("{place} holds no certificate")]
    NoCertificate {
        /// The file.
        place: Place,
    },
    /// No private key where one is needed.
    #[error("{place} holds no private key")]
    NoKey {
        /// The file.
        place: Place,
    },
    /// An encrypted key without a passphrase.
    #[error("the private key in {place} is encrypted; give --passphrase-file")]
    Locked {
        /// The file.
        place: Place,
    },
    /// A key of another certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    WrongKey {
        /// The certificate's file.
        certificate: Place,
        /// The key's file.
        key: Place,
    },
    /// An authority that has expired.
    #[error("the authority in {place} expired on {on}; nobody would accept what it signs")]
    IssuerExpired {
        /// Its file.
        place: Place,
        /// The day.
        on: String,
    },
    /// A server certificate without a name to serve.
    #[error(
        "a server certificate needs a host name or address, and `{name}` is neither; give one with --san, or --client for a client certificate"
    )]
    NoHostName {
        /// The common name.
        name: String,
    },
    /// A secret's file without a secret.
    #[error("{place} holds no secret: text in UTF-8 is expected")]
    NoSecret {
        /// The file.
        place: Place,
    },
    /// The certificate cannot be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The library failed at a certificate.
    #[error("the certificate cannot be taken apart")]
    Library(#[source] ErrorStack),
    /// The configuration that should say where a gateway is cannot be used.
    #[error("{0}")]
    Configuration(Problems),
    /// A gateway did not do what it was asked to.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl CertError {
    /// The exit status that says so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::Exists { .. } => Exit::System,
            Self::TooLarge { .. }
            | Self::Content { .. }
            | Self::Unknown { .. }
            | Self::NoCertificate { .. }
            | Self::NoKey { .. }
            | Self::Locked { .. }
            | Self::WrongKey { .. }
            | Self::IssuerExpired { .. }
            | Self::NoHostName { .. }
            | Self::NoSecret { .. }
            | Self::Make(_)
            | Self::Library(_)
            | Self::Configuration(_) => Exit::Configuration,
            Self::Remote(error) => error.exit(),
        }
    }
}

/// Does what one verb says.
///
/// # Errors
/// [`CertError`], or when the outcome cannot be printed.
pub fn run(command: &CertCommand) -> Result<Exit, Failure> {
    let (text, exit) = match command {
        CertCommand::Create(arguments) => (create::run(arguments)?, Exit::Success),
        CertCommand::Inspect(arguments) => (inspect::inspect(arguments)?, Exit::Success),
        CertCommand::Fingerprint(arguments) => (inspect::fingerprint(arguments)?, Exit::Success),
        CertCommand::Id(arguments) => (inspect::id(arguments)?, Exit::Success),
        CertCommand::Verify(arguments) => verify::run(arguments)?,
        CertCommand::Add(arguments) => (remote::add(arguments)?, Exit::Success),
        CertCommand::List(arguments) => (remote::list(arguments)?, Exit::Success),
        CertCommand::Show(arguments) => (remote::show(arguments)?, Exit::Success),
        CertCommand::Rm(arguments) => (remote::remove(arguments)?, Exit::Success),
        CertCommand::Inventory(arguments) => (remote::inventory(arguments)?, Exit::Success),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(exit)
}

/// The passphrase in a file.
fn passphrase(file: Option<&Path>) -> Result<Option<String>, CertError> {
    file.map(input::secret).transpose()
}

/// Tells the user something that is no part of the outcome.
fn note(text: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
