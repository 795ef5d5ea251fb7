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

use portcullis_config::{Definitions, GatewayConfig, PolicySource};

pub use self::{
    read::{LoadedPolicies, PolicyReader},
    write::{PolicyFiles, PolicyWriteError},
};
use crate::build::Finding;

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

/// Why this gateway cannot have the policies its configuration asks for. Without them keys would
/// have the rights they were made with rather than those they should have.
pub fn unsupported(config: &GatewayConfig) -> Option<Finding> {
    let (source, from) = match config.definitions.policy_source {
        PolicySource::File => return None,
        PolicySource::Service => ("service", "a Dashboard"),
        PolicySource::Rpc => ("rpc", "a control plane elsewhere"),
    };
    Some(Finding {
        is_error: true,
        place: "policies.policy_source".to_owned(),
        message: format!(
            "`{source}` takes policies from {from}, which this version does not do; accepted: `file`; \
             set it with `policies.policy_path` or `policies.policy_record_name`"
        ),
    })
}
