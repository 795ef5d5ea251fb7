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
    #[error("the embedded store {} (portcullis.data_dir): {reason}", path.display())]
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

impl StoreError {
    /// An entry is not what it should be. What may be a token in its name is masked.
    pub(crate) fn entry(key: &str, reason: impl Into<String>) -> Self {
        Self::Entry {
            name: shown(key),
            reason: reason.into(),
        }
    }
}

/// The name of an entry as it may be told: of what follows the first `-`, only the last four
/// characters, and those only when they are a small part of it.
fn shown(key: &str) -> String {
    if key.starts_with("cert-") || key.starts_with("orgkey.") {
        return key.to_owned();
    }
    let (kind, rest) = key.split_once('-').unwrap_or(("", key));
    let dash = if kind.is_empty() { "" } else { "-" };
    let characters = rest.chars().count();
    let tail: String = match characters {
        ..12 => String::new(),
        _ => rest.chars().skip(characters - 4).collect(),
    };
    format!("{kind}{dash}****{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_name_is_masked() {
        for (key, expected) in [
            ("apikey-5d1f0bb7c0ffee", "apikey-****ffee"),
            ("quota-5d1f0bb7c0ffee", "quota-****ffee"),
            ("apikey-short", "apikey-****"),
            ("notnamed5d1f0bb7c0ffee", "****ffee"),
            ("cert-raw-org0123456789", "cert-raw-org0123456789"),
            (
                "orgkey.5e9d9544a1dcd60001d0ed20",
                "orgkey.5e9d9544a1dcd60001d0ed20",
            ),
        ] {
            let error = StoreError::entry(key, "is odd").to_string();
            assert_eq!(error, format!("the entry {expected} of the store is odd"));
        }
    }
}
