//! Certificates of the tests, made once a process.

use std::sync::OnceLock;

use portcullis_pki::make::{self, Pair};

pub use portcullis_pki::make::Algorithm;

/// Days that test certificates are good for; more than the gateway warns about.
const DAYS: u32 = 90;

/// The authority that issues what the tests serve and present.
///
/// # Panics
/// When the library cannot make certificates.
pub fn ca() -> &'static Pair {
    static CA: OnceLock<Pair> = OnceLock::new();
    CA.get_or_init(|| make::make_ca("Test CA", Algorithm::P256, DAYS).expect("a CA can be made"))
}

/// A P-256 server pair for `localhost`, `127.0.0.1` and `::1`, the same for the whole process.
///
/// # Panics
/// When the library cannot make certificates.
pub fn localhost() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| server(&["localhost", "127.0.0.1", "::1"]))
}

/// A new P-256 server pair for these names, the first of which is its common name.
///
/// # Panics
/// When the library cannot make certificates.
pub fn server(names: &[&str]) -> Pair {
    server_with(names, Algorithm::P256)
}

/// A new server pair with a key of this kind.
///
/// # Panics
/// When the library cannot make certificates.
pub fn server_with(names: &[&str], algorithm: Algorithm) -> Pair {
    make::make_server(ca(), names, algorithm, DAYS).expect("a pair can be made")
}

/// Certificate and key of a pair in one PEM text.
pub fn bundle(pair: &Pair) -> String {
    pair.certificate_pem() + &pair.key_pem()
}

/// The SHA-256 of a certificate in lower-case hexadecimal.
///
/// # Panics
/// Never for a certificate that was made.
pub fn fingerprint(certificate: &openssl::x509::X509Ref) -> String {
    let digest = certificate
        .digest(openssl::hash::MessageDigest::sha256())
        .expect("SHA-256 is there");
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
