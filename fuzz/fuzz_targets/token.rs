//! Whatever is presented as a token, and whatever is published as keys, is read without a panic; and only what the
//! owners of the keys have signed is verified.
#![no_main]

use portcullis_gateway::signed_claims;

/// Keys whose private halves nobody has kept: what they signed are the seeds.
const KEYS: &[u8] = include_bytes!("token_keys.json");

/// The claims of every seed that is signed.
const SIGNED: &[u8] = br#"{"sub":"anna","iss":"fuzz","aud":["a","b"],"#;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // As published keys, which are strangers' bytes as well.
    let _ = signed_claims(bytes, "e30.e30.e30");
    let Ok(token) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(claims) = signed_claims(KEYS, token) {
        assert!(claims.starts_with(SIGNED), "a forged token is verified");
        // One bit more or less and it is not the same token.
        assert!(signed_claims(KEYS, &format!("{token}A")).is_none());
        assert!(signed_claims(KEYS, &token[1..]).is_none());
    }
});
