//! Any bytes may stand in a certificate file: they are certificates and keys or a reason why not.
#![no_main]

use portcullis_pki::{CertificateFacts, pem};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pem::certificate_ders(bytes);
    if let Ok(bundle) = pem::Bundle::parse(bytes, Some("passphrase")) {
        for certificate in &bundle.certificates {
            if let Ok(facts) = CertificateFacts::of(certificate) {
                let _ = (facts.covers("localhost"), facts.days_left(0));
            }
        }
    }
});
