//! Tokens: what a client presents, what is inside, and under which name its session is stored.
//!
//! A token is either the older form, organisation and key id put together, or Base64 of
//! `{"org":…,"id":…,"h":…}`, where `h` names the hash of its stored name. So a token knows by itself
//! how it is stored, whatever the configuration has become since.

use serde_json::Value;

use crate::hash::HashFunction;

/// What names of sessions begin with.
pub const SESSION_PREFIX: &str = "apikey-";

/// What a Base64 token begins with: `{"`.
const BASE64_OBJECT: &str = "ey";

/// Length of an organisation id as a Dashboard makes them, in hex digits.
const ORG_DIGITS: usize = 24;

/// The token of a key. `function` empty gives the older form; a function nobody knows counts as
/// `murmur64`.
///
/// A key id that begins with the organisation loses it, so the id of a certificate gives the token
/// of its fingerprint.
pub fn compose(org: &str, key: &str, function: &str) -> String {
    let key = key.strip_prefix(org).unwrap_or(key);
    if function.is_empty() {
        return format!("{org}{key}");
    }
    let function = HashFunction::named(function).unwrap_or(HashFunction::Murmur64);
    // As a Tyk fleet writes it: values are not escaped.
    let text = format!(
        r#"{{"org":"{org}","id":"{key}","h":"{}"}}"#,
        function.name()
    );
    openssl::base64::encode_block(text.as_bytes())
}

/// A key id nobody can guess: 32 hex digits.
///
/// # Errors
/// When the system gives no random numbers.
pub fn random_key() -> Result<String, openssl::error::ErrorStack> {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The organisation a token belongs to, as far as it says so.
pub fn organisation(token: &str) -> Option<String> {
    if let Some(org) = member(token, "org") {
        return Some(org);
    }
    let start = token
        .get(..ORG_DIGITS)
        .filter(|_| token.len() > ORG_DIGITS)?;
    start
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| start.to_owned())
}

/// The key id inside a token: what a client may present in its place.
pub fn key_id(token: &str) -> Option<String> {
    member(token, "id")
}

/// The hash a token names for itself; the older form and functions nobody knows count as `murmur32`.
pub fn hash_function(token: &str) -> HashFunction {
    let Some(name) = member(token, "h") else {
        return HashFunction::Murmur32;
    };
    HashFunction::named(&name).unwrap_or_else(|| {
        tracing::error!(
            token = masked(token),
            function = ?name,
            "a token names a hash function that does not exist; murmur32 is taken"
        );
        HashFunction::Murmur32
    })
}

/// What follows `apikey-` in the name its session is stored under.
pub fn stored_name(token: &str, hash_keys: bool) -> String {
    if hash_keys {
        hash_function(token).hex(token)
    } else {
        token.to_owned()
    }
}

/// What Base64 tokens of organisations that begin with `org` have in common at their start.
pub fn base64_prefix(org: &str) -> String {
    let text = openssl::base64::encode_block(format!(r#"{{"org":"{org}""#).as_bytes());
    // The last digits depend on what follows.
    let whole = text.trim_end_matches('=');
    whole[..whole.len().saturating_sub(2)].to_owned()
}

/// A token as it may stand in a log: eight characters, four of them its own.
pub fn masked(token: &str) -> String {
    let end = token
        .char_indices()
        .nth_back(3)
        .and_then(|(at, _)| token.get(at..))
        .filter(|end| end.len() < token.len());
    match end {
        Some(end) => format!("****{end}"),
        None => "--".to_owned(),
    }
}

/// A text member of the object in a Base64 token.
fn member(token: &str, name: &str) -> Option<String> {
    if !token.starts_with(BASE64_OBJECT) || !is_base64(token) {
        return None;
    }
    let bytes = openssl::base64::decode_block(token).ok()?;
    match serde_json::from_slice::<Value>(&bytes)
        .ok()?
        .get_mut(name)?
        .take()
    {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Standard Base64 with its padding and nothing else: decoders differ about the rest.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str = "eyJvcmciOiJkZWZhdWx0IiwiaWQiOiJteWtleSIsImgiOiJtdXJtdXI2NCJ9";

    #[test]
    fn a_token_names_organisation_key_and_hash() {
        assert_eq!(compose("default", "mykey", ""), "defaultmykey");
        assert_eq!(compose("default", "mykey", "murmur64"), SHORT);
        assert_eq!(
            compose("default", "mykey", "wrong"),
            SHORT,
            "a function nobody knows is murmur64"
        );
        assert_eq!(
            compose("default", "mykey", "sha256"),
            "eyJvcmciOiJkZWZhdWx0IiwiaWQiOiJteWtleSIsImgiOiJzaGEyNTYifQ=="
        );
        assert_eq!(organisation(SHORT).as_deref(), Some("default"));
        assert_eq!(key_id(SHORT).as_deref(), Some("mykey"));
        assert_eq!(hash_function(SHORT), HashFunction::Murmur64);
    }

    #[test]
    fn the_id_of_a_certificate_gives_the_token_of_its_fingerprint() {
        assert_eq!(compose("1", "1a", ""), "1a");
        assert_eq!(
            compose("1", "1a", "murmur64"),
            compose("1", "a", "murmur64")
        );
        let fingerprint = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            compose("default", &format!("default{fingerprint}"), "sha256"),
            "eyJvcmciOiJkZWZhdWx0IiwiaWQiOiJlM2IwYzQ0Mjk4ZmMxYzE0OWFmYmY0Yzg5OTZmYjkyNDI3YWU0MWU0NjQ5YjkzNGNhNDk1OTkxYjc4NTJiODU1IiwiaCI6InNoYTI1NiJ9"
        );
    }

    #[test]
    fn the_older_form_begins_with_an_organisation_of_24_hex_digits_or_says_nothing() {
        let org = "5e9d9544a1dcd60001d0ed20";
        assert_eq!(organisation(&format!("{org}abc")).as_deref(), Some(org));
        assert_eq!(organisation(org), None, "nothing follows");
        assert_eq!(organisation("defaultmykey"), None);
        assert_eq!(organisation("zz9d9544a1dcd60001d0ed20abc"), None);
        assert_eq!(organisation("ääääääääääääääääää"), None);
        assert_eq!(hash_function("defaultmykey"), HashFunction::Murmur32);
    }

    #[test]
    fn what_is_not_exactly_base64_of_an_object_is_the_older_form() {
        for token in [
            &format!("{SHORT}abc"),
            "ey",
            "eyJ",
            "eyJ9==",
            &format!("{SHORT}\n"),
            "ey!!",
        ] {
            assert_eq!(hash_function(token), HashFunction::Murmur32, "{token:?}");
            assert_eq!(organisation(token), None, "{token:?}");
        }
    }

    #[test]
    fn a_stored_name_is_the_token_or_its_own_hash() {
        assert_eq!(stored_name(SHORT, false), SHORT);
        assert_eq!(stored_name(SHORT, true), "20996d934a45f3af");
        assert_eq!(stored_name("defaultmykey", true), "259d945d");
        let unknown = openssl::base64::encode_block(br#"{"org":"o","id":"i","h":"md5"}"#);
        assert_eq!(stored_name(&unknown, true).len(), 8);
    }

    #[test]
    fn tokens_of_an_organisation_begin_alike() {
        for org in ["default", "a", "ab", "5e9d9544a1dcd60001d0ed20"] {
            let prefix = base64_prefix(org);
            for key in ["mykey", "other"] {
                assert!(compose(org, key, "murmur64").starts_with(&prefix), "{org}");
            }
            assert!(!compose("other", "mykey", "murmur64").starts_with(&prefix));
        }
    }

    #[test]
    fn random_keys_have_32_hex_digits_and_differ() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }

    #[test]
    fn a_masked_token_shows_four_characters_of_a_longer_one() {
        assert_eq!(masked(SHORT), "****NCJ9");
        assert_eq!(masked("abcd"), "--");
        assert_eq!(masked("äöüßx"), "****öüßx");
        assert_eq!(masked(""), "--");
    }
}
