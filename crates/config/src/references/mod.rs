//! References that stand for a value kept elsewhere: a variable, a file, Vault, Consul.
//!
//! ```text
//! tyk.conf          ─ one value, or the start fails ─────────────┐
//!                                                                ├─ Resolver ─ vault, consul, files …
//! API definitions   ─ every reference in a text, or reported ────┘
//! ```
//!
//! Invariants:
//! - In `tyk.conf` a text that looks like a reference is either resolved or refused. It is never
//!   used as the secret itself, where anybody who has seen the file could present it.
//! - A value appears in no message; references, addresses and causes do.
//! - Asking is bounded: a source that does not answer is asked once a round, within its timeout.

mod consul;
mod files;
mod http;
mod resolver;
mod settings;
mod text;
mod vault;

use std::io;
use std::path::PathBuf;

pub use http::FetchError;
pub use resolver::Resolver;
pub use settings::{Consul, References, Store, StoreKind, TlsFiles, Vault};
pub use text::{Problem, Substitution};

pub(crate) use settings::stores_from_json;

/// Why a reference has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A variable that is not set.
    #[error("refers to environment variable {name}, which is not set")]
    NoVariable {
        /// The variable.
        name: String,
    },
    /// A name that `secrets` does not have.
    #[error("refers to `secrets` entry `{name}`, which does not exist")]
    NoSecret {
        /// The name.
        name: String,
    },
    /// A store that `kv.stores` does not have.
    #[error("refers to store `{name}`, which `kv.stores` does not have")]
    NoStore {
        /// The name.
        name: String,
    },
    /// A name that a store of texts does not have.
    #[error("refers to `{name}`, which store `{store}` does not have")]
    NoEntry {
        /// The store.
        store: String,
        /// The name.
        name: String,
    },
    /// A file that cannot be read.
    #[error("refers to file {}, which cannot be read: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file elsewhere.
    #[error("refers to file `{path}`, which lies outside `{base}`")]
    Outside {
        /// As written.
        path: String,
        /// The key of the directory.
        base: &'static str,
    },
    /// A directory that has to be set.
    #[error("refers to a file, and `{key}` does not say below which directory")]
    NoBase {
        /// The key of the directory.
        key: &'static str,
    },
    /// A form that the source does not have.
    #[error("is not complete: {wanted} is expected")]
    Form {
        /// What is expected.
        wanted: &'static str,
    },
    /// A field that a value does not have.
    #[error("refers to field `{field}` of a value that has none of this name")]
    NoField {
        /// The field.
        field: String,
    },
    /// A value that is empty.
    #[error("refers to something empty")]
    Empty,
    /// A server that did not give it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl ReferenceError {
    /// Whether it may pass by itself: the value is there, its source is not to be had.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_passing())
    }

    fn read(path: PathBuf, error: &io::Error) -> Self {
        Self::Read {
            path,
            reason: error.to_string(),
        }
    }
}
