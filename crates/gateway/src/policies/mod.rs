//! Policies of keys on the disk: read with every reload, written by the Control API.
//!
//! ```text
//! read   what is there, and has it changed
//! write  one file for each policy
//! ```
//!
//! Invariants:
//! - A policy that cannot be read keeps no other out. Keys that have it open nothing.
//! - Nothing is ever written outside the directory.

mod read;
mod write;

use std::path::PathBuf;

use portcullis_config::Definitions;

pub use self::{
    read::{LoadedPolicies, PolicyReader},
    write::{PolicyFiles, PolicyWriteError},
};

/// Where policies are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Nowhere.
    None,
    /// One file with all of them, by id.
    File(PathBuf),
    /// One file for each.
    Directory(PathBuf),
}

impl Place {
    fn of(definitions: &Definitions) -> Self {
        match (&definitions.policy_path, &definitions.policy_record_name) {
            (Some(directory), _) => Self::Directory(directory.clone()),
            (None, Some(file)) => Self::File(file.clone()),
            (None, None) => Self::None,
        }
    }
}
