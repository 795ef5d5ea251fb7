//! The directory of API definitions, `app_path`: reading it, noticing changes, writing to it.
//!
//! What the texts mean is the business of `portcullis-apidef`.
//!
//! Invariants:
//! - One file that cannot be read never hides the others.
//! - A reader sees a file as it was or as it will be, never half of it.
//! - Nothing is ever written outside the directory.

mod fingerprint;
mod read;
mod resolve;
mod write;

pub use fingerprint::{Fingerprint, fingerprint};
pub use read::{Definitions, ReadError, UnreadableFile};
pub use resolve::{Referring, replaced};
pub use write::{DefinitionFiles, WriteError};

/// Largest definition in bytes.
pub const MAX_DEFINITION: u64 = 16 * 1024 * 1024;

/// Whether a file of this name is a definition. Hidden files are leftovers of editors, of our
/// own unfinished writes, and the inner workings of mounted volumes.
fn is_definition(name: &str) -> bool {
    !name.starts_with('.') && portcullis_apidef::is_definition_name(name)
}
