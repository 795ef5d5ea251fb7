//! Certificates of the tests, made once a process.

use std::sync::OnceLock;

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::MessageDigest,
    x509::{
        X509, X509Name,
        extension::{ExtendedKeyUsage, SubjectAlternativeName},
    },
};
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

/// A certificate for `localhost` with just these properties; valid from and until so
/// many days from now; without an issuer it signs itself.
///
/// # Panics
/// When the library cannot make it.
pub fn made(
    names: Option<&str>,
    for_clients: bool,
    days: (i64, i64),
    issuer: Option<&Pair>,
) -> Pair {
    let day = 86_400;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let now = i64::try_from(now.as_secs()).expect("not that late");
    let key = Algorithm::P256.generate().expect("a key");
    let mut name = X509Name::builder().expect("a name");
    name.append_entry_by_text("CN", "localhost")
        .expect("an entry");
    let name = name.build();
    let mut builder = X509::builder().expect("a certificate");
    builder.set_version(2).expect("version 3");
    let serial = BigNum::from_u32(77)
        .and_then(|number| number.to_asn1_integer())
        .expect("a number");
    builder.set_serial_number(&serial).expect("set");
    builder.set_subject_name(&name).expect("set");
    builder
        .set_issuer_name(issuer.map_or(&name, |issuer| issuer.certificate.subject_name()))
        .expect("set");
    builder.set_pubkey(&key).expect("set");
    let time = |days: i64| Asn1Time::from_unix(now + days * day).expect("a time");
    builder.set_not_before(&time(days.0)).expect("set");
    builder.set_not_after(&time(days.1)).expect("set");
    if let Some(names) = names {
        let context = builder.x509v3_context(issuer.map(|issuer| &*issuer.certificate), None);
        let names = SubjectAlternativeName::new()
            .dns(names)
            .build(&context)
            .expect("names");
        builder.append_extension(names).expect("set");
    }
    let mut usage = ExtendedKeyUsage::new();
    let usage = if for_clients {
        usage.client_auth()
    } else {
        usage.server_auth()
    };
    builder
        .append_extension(usage.build().expect("a usage"))
        .expect("set");
    builder
        .sign(
            issuer.map_or(&key, |issuer| &issuer.key),
            MessageDigest::sha256(),
        )
        .expect("signed");
    Pair {
        certificate: builder.build(),
        key,
    }
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
        .digest(MessageDigest::sha256())
        .expect("SHA-256 is there");
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
