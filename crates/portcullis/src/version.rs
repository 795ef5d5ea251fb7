//! `portcullis version`.

use std::io::Write;

use crate::exit::{Exit, Failure};

/// The version of this program.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

/// What `--version` adds to the name.
pub const LINE: &str = NUMBER;

/// Prints the version and the TLS library.
///
/// # Errors
/// When standard output is closed.
pub fn run() -> Result<Exit, Failure> {
    writeln!(
        std::io::stdout(),
        "portcullis {NUMBER}\ntls: {}\ntarget: {} {}",
        openssl::version::version(),
        std::env::consts::ARCH,
        std::env::consts::OS
    )?;
    Ok(Exit::Success)
}
