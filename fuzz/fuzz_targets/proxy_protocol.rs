//! A PROXY header means the same however its bytes arrive, and never claims bytes that are not there.
#![no_main]

use portcullis_gateway::proxy_protocol::{Header, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let Ok(Some(header)) = whole else { return };
    let (Header::Client { length, .. } | Header::Local { length }) = header;
    assert!(length <= bytes.len());
    assert_eq!(
        parse(&bytes[..length]),
        whole,
        "what follows a header changes it"
    );
    for end in 0..length {
        assert_eq!(
            parse(&bytes[..end]),
            Ok(None),
            "a part of {end} bytes is taken for the whole"
        );
    }
});
