//! Tokens judged by keys that are at hand: no provider is asked, no clock is looked at, nobody is let in by it.

use portcullis_apidef::ClockRules;

use super::{claims::Claims, jwk::KeySet, jws::Jws};

/// The claims, as JSON, of a token in compact form that a key of this JWK Set has signed, and that are of the
/// types they must have. What they demand of times, of the audience or of a certificate is not looked at.
#[must_use]
pub fn signed_claims(keys: &[u8], token: &str) -> Option<Vec<u8>> {
    let keys = KeySet::parse(keys).ok()?;
    let jws = Jws::parse(token).ok()?;
    let mut named = keys.of(jws.key_id.as_deref()?, jws.algorithm);
    if !named.any(|key| key.verifies(jws.algorithm, jws.signed, &jws.signature)) {
        return None;
    }
    let claims = Claims::parse(&jws.payload).ok()?;
    let clock = ClockRules {
        expires: Some(std::time::Duration::ZERO),
        issued: Some(std::time::Duration::ZERO),
        not_before: Some(std::time::Duration::ZERO),
    };
    claims.validity(&clock).ok()?;
    claims.certificate().ok()?;
    Some(jws.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds of the fuzz target, which knows by these that it reads what it means to.
    #[test]
    fn what_a_published_key_has_signed_is_verified_and_nothing_else() {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
        let read = |name: &str| std::fs::read(format!("{place}/{name}")).expect("a file");
        let keys = read("fuzz_targets/token_keys.json");
        let claims = |seed: &str| {
            let token = String::from_utf8(read(&format!("seeds/token/{seed}"))).expect("text");
            signed_claims(&keys, &token)
        };
        for seed in ["rs256", "ps512", "es256", "eddsa"] {
            let claims = claims(seed).unwrap_or_else(|| panic!("{seed}"));
            assert!(claims.starts_with(br#"{"sub":"anna","iss":"fuzz","aud":["a","b"],"#));
        }
        for seed in ["none", "hmac_with_public_key"] {
            assert_eq!(claims(seed), None, "{seed}");
        }
    }
}
