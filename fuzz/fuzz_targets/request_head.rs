//! A request head has one meaning, whatever follows it and in whatever pieces it arrives.
#![no_main]

use portcullis_gateway::http1::{
    Framing,
    head::{HeadLimits, field_space, may_be_complete, request},
};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 8192,
    fields: 64,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut space = field_space();
    let Ok(Some(head)) = request(bytes, LIMITS, &mut space) else {
        return;
    };
    assert!(head.length <= bytes.len() && head.length <= LIMITS.bytes);
    assert!(head.fields.len() <= LIMITS.fields);
    assert_ne!(
        head.framing,
        Framing::UntilEnd,
        "a request never ends with its connection"
    );
    assert!(
        head.path == "*" || head.path.starts_with('/'),
        "{}",
        head.path
    );
    assert!(
        may_be_complete(&bytes[..head.length], 0),
        "a whole head would be waited for"
    );

    let alone = &bytes[..head.length];
    let mut other = field_space();
    let again = request(alone, LIMITS, &mut other)
        .expect("the same head")
        .expect("all of it");
    assert_eq!(
        (
            again.method,
            again.target,
            again.host,
            again.framing,
            again.keep_alive,
            again.length
        ),
        (
            head.method,
            head.target,
            head.host,
            head.framing,
            head.keep_alive,
            head.length
        ),
    );
    let mut other = field_space();
    let short = request(&bytes[..head.length - 1], LIMITS, &mut other);
    assert!(
        !matches!(short, Ok(Some(_))),
        "a part is taken for the whole"
    );
});
