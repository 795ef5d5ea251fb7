//! Whoever has the secret may send any bytes to the certificate store: what it takes, it reads back.
#![no_main]

use std::sync::OnceLock;

use portcullis_pki::{
    Entry, Upload,
    block::blocks,
    make::{Algorithm, make_ca, make_client},
};

const SECRET: &str = "passphrase";

/// A certificate and its key: chance finds no two that belong together.
fn pair() -> &'static [u8] {
    static PAIR: OnceLock<Vec<u8>> = OnceLock::new();
    PAIR.get_or_init(|| {
        let ca = make_ca("Fuzz CA", Algorithm::P256, 30).expect("a CA");
        let client = make_client(&ca, "client", Algorithm::P256, 30).expect("a pair");
        (client.certificate_pem() + &client.key_pem()).into_bytes()
    })
}

fn take(text: &[u8]) {
    let Ok(upload) = Upload::parse(text, 0) else {
        return;
    };
    assert_eq!(upload.id("1").len(), 65);
    // Header lines of a certificate are kept, and some make it one that cannot be read.
    let headers =
        |text| blocks(text).any(|block| !block.is_private_key() && !block.headers.is_empty());
    if headers(text) {
        return;
    }
    let stored = upload.to_stored(SECRET).expect("the library encrypts");
    let entry = Entry::parse(stored.as_bytes(), SECRET).expect("what was taken is read");
    assert_eq!(entry.has_private_key(), upload.private_key().is_some());
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A colon in a label makes the END line of an empty block look like a header line.
    let plain =
        blocks(bytes).filter(|block| block.headers.is_empty() && !block.label.contains(':'));
    for block in plain {
        let text = block.to_pem();
        let again = blocks(text.as_bytes())
            .next()
            .expect("what was written is a block");
        assert_eq!(again.bytes, block.bytes);
    }
    let _ = Entry::parse(bytes, SECRET);
    take(bytes);
    take(&[bytes, b"\n", pair()].concat());
});
