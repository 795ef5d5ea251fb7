//! Which entry of the store a key has, and what may be shown of it.

use super::Sessions;
use crate::token;

/// Which entry is meant.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: String,
    token: Option<String>,
}

impl Key {
    /// What follows `apikey-` in its name: the token, or its hash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its token, unless only its hash is known. A secret.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What a client calls it by: the token, else the hash.
    pub fn presented(&self) -> &str {
        self.token.as_deref().unwrap_or(&self.name)
    }
}

/// Tokens are secrets.
impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Key({})", token::masked(self.presented()))
    }
}

impl Sessions {
    /// The key of a token.
    pub fn key(&self, token: impl Into<String>) -> Key {
        let token = token.into();
        Key {
            name: token::stored_name(&token, self.0.identity.hash_keys),
            token: Some(token),
        }
    }

    /// The key of which only the name is known: the hash of its token.
    pub fn key_by_name(&self, name: impl Into<String>) -> Key {
        Key {
            name: name.into(),
            token: None,
        }
    }

    /// The token of a key of `org`, as keys are made now.
    pub fn compose(&self, org: &str, key: &str) -> String {
        let function = self.0.identity.hash_key_function.as_deref();
        token::compose(org, key, function.unwrap_or_default())
    }
}
