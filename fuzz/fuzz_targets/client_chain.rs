//! Whatever a client presents is judged without a panic, and only what the authority issued passes.
#![no_main]

use std::sync::OnceLock;

use openssl::x509::X509;
use portcullis_pki::PresentedChain;
use portcullis_policy::{AllowList, AllowListBuilder};

/// An authority whose key nobody has kept: what it issued are the seeds.
const AUTHORITY: &[u8] = include_bytes!("client_chain_ca.pem");

/// In the validity of all of them.
const NOW: i64 = 1_900_000_000;

fn list() -> &'static AllowList {
    static LIST: OnceLock<AllowList> = OnceLock::new();
    LIST.get_or_init(|| {
        let mut builder = AllowListBuilder::default();
        assert!(builder.entry(&[X509::from_pem(AUTHORITY).expect("an authority")]));
        builder.build().expect("a list")
    })
}

/// Certificates, each behind its length in two bytes.
fn certificates(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (certificate, after) = rest.split_at(length);
        found.push(certificate);
        bytes = after;
    }
    found
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(chain) = PresentedChain::of_der(&certificates(bytes)) else {
        return;
    };
    let _ = chain.names();
    let _ = chain.public_key_digest();
    if list().judge(&chain, NOW).is_ok() {
        let issuer = format!("{:?}", chain.leaf().issuer_name());
        assert!(
            issuer.contains("Fuzz CA") || issuer.contains("middle"),
            "{issuer}"
        );
    }
    // Nothing of them is valid then.
    assert!(list().judge(&chain, 0).is_err());
});
