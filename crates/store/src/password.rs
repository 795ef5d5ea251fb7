//! Passwords of basic authentication: hashed before they are stored, compared in constant time.
//!
//! Hashing takes as long as it should, so it runs where it holds nobody up.

use bcrypt::Version;
use portcullis_apidef::session::{BasicAuthData, SecretText};

use crate::hash::HashFunction;

/// Work factor of bcrypt: 2 to this power.
const COST: u32 = 10;

/// Longest password in bytes that bcrypt looks at.
const LONGEST: usize = 72;

/// A bcrypt hash with the work factor of ours that no password is known to have.
const NOBODYS: &str = "$2a$10$.....................................................";

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// bcrypt would not see its end.
    #[error("the password is longer than {LONGEST} bytes, the most that bcrypt looks at")]
    TooLong,
    /// Hashing failed.
    #[error("the password cannot be hashed")]
    Unusable,
}

/// A password as it is stored. `function` is `bcrypt` or the name of a hash.
///
/// # Errors
/// [`PasswordError`]; a password is never stored as it is.
pub async fn hashed(function: &str, password: SecretText) -> Result<BasicAuthData, PasswordError> {
    if let Some(function) = HashFunction::named(function) {
        return Ok(BasicAuthData {
            password: SecretText::new(function.hex(password.reveal())),
            hash: function.name().to_owned(),
        });
    }
    if password.reveal().len() > LONGEST {
        return Err(PasswordError::TooLong);
    }
    let hash = aside(move || {
        let parts = bcrypt::hash_with_result(password.reveal(), COST).ok()?;
        // The version that Go writes.
        Some(parts.format_for_version(Version::TwoA))
    });
    let hash = hash.await.flatten().ok_or(PasswordError::Unusable)?;
    Ok(BasicAuthData {
        password: SecretText::new(hash),
        hash: "bcrypt".to_owned(),
    })
}

/// What to compare a password with when there is no user, so that the answer takes as long as for one.
pub fn nobodys() -> BasicAuthData {
    BasicAuthData {
        password: SecretText::new(NOBODYS),
        hash: "bcrypt".to_owned(),
    }
}

/// Whether `presented` is the stored password. An empty stored password is nobody's.
pub async fn matches(stored: &BasicAuthData, presented: SecretText) -> bool {
    if stored.password.is_empty() {
        return false;
    }
    match stored.hash.as_str() {
        "" => same(stored.password.reveal(), presented.reveal()),
        "bcrypt" => {
            let stored = stored.password.clone();
            let verify = move || bcrypt::verify(presented.reveal(), stored.reveal());
            matches!(aside(verify).await, Some(Ok(true)))
        }
        name => HashFunction::named(name).is_some_and(|function| {
            same(stored.password.reveal(), &function.hex(presented.reveal()))
        }),
    }
}

/// Runs work on a thread that may be busy; `None` when it panicked.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && openssl::memcmp::eq(one.as_bytes(), other.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SecretText {
        SecretText::new(text)
    }

    #[tokio::test]
    async fn a_password_is_known_again_whichever_way_it_was_hashed() {
        for (function, length) in [
            ("bcrypt", 60),
            ("murmur32", 8),
            ("murmur64", 16),
            ("murmur128", 32),
            ("sha256", 64),
        ] {
            let stored = hashed(function, text("correct horse")).await.unwrap();
            assert_eq!(stored.hash, function);
            assert_eq!(stored.password.reveal().len(), length);
            assert!(matches(&stored, text("correct horse")).await, "{function}");
            assert!(!matches(&stored, text("wrong")).await, "{function}");
            assert!(!matches(&stored, text("")).await, "{function}");
        }
    }

    #[tokio::test]
    async fn a_hash_that_go_made_is_read_and_ours_has_its_form() {
        let stored = BasicAuthData {
            password: text("$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga"),
            hash: "bcrypt".to_owned(),
        };
        assert!(matches(&stored, text("allmine")).await);
        let ours = hashed("bcrypt", text("x")).await.unwrap();
        assert!(ours.password.reveal().starts_with("$2a$10$"));
    }

    #[tokio::test]
    async fn what_is_stored_as_it_is_is_compared_and_nothing_stored_is_nobodys() {
        let plain = BasicAuthData {
            password: text("secret"),
            hash: String::new(),
        };
        assert!(matches(&plain, text("secret")).await);
        assert!(!matches(&plain, text("secre")).await);
        assert!(!matches(&BasicAuthData::default(), text("")).await);
        let unknown = BasicAuthData {
            hash: "md5".to_owned(),
            ..plain
        };
        assert!(!matches(&unknown, text("secret")).await);
    }

    #[test]
    fn comparing_with_nobodys_password_is_hashing() {
        assert!(matches!(bcrypt::verify("allmine", NOBODYS), Ok(false)));
        assert_eq!(NOBODYS[4..6].parse(), Ok(COST));
    }

    #[tokio::test]
    async fn a_password_whose_end_nobody_would_look_at_is_refused() {
        assert_eq!(
            hashed("bcrypt", text(&"a".repeat(73))).await,
            Err(PasswordError::TooLong)
        );
        assert!(hashed("bcrypt", text(&"a".repeat(72))).await.is_ok());
    }
}
