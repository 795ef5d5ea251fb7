//! Why the store did not do what was asked, for the person who can mend it.

use std::path::PathBuf;

/// Why the store did not do what was asked. Nothing was acknowledged, so nothing is lost.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nobody answers at the other end.
    #[error("the store at {address} cannot be reached: {reason}")]
    Away {
        /// Where it was looked for.
        address: String,
        /// What the last attempt met.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the store at {address} did not answer within {millis} ms")]
    TimedOut {
        /// Where it is.
        address: String,
        /// The bound, in milliseconds.
        millis: u128,
    },
    /// It answered with an error: a wrong password, no memory left, a read-only replica.
    #[error("the store at {address} refused: {reason}")]
    Refused {
        /// Where it is.
        address: String,
        /// Its own words.
        reason: String,
    },
    /// Its settings cannot be right.
    #[error("{key}: {reason}")]
    Settings {
        /// The configuration key.
        key: String,
        /// What is wrong and what is accepted.
        reason: String,
    },
    /// Another process works with the embedded store.
    #[error(
        "the embedded store {} is in use by {holder}; stop that process, or give this one another portcullis.data_dir",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Which process, as far as it can be told.
        holder: String,
    },
    /// The embedded store cannot be read or written.
    #[error("the embedded store {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An entry holds something else than it should.
    #[error("the entry {name} of the store {reason}")]
    Entry {
        /// Its name; a token in it is masked.
        name: String,
        /// What is wrong.
        reason: String,
    },
}
