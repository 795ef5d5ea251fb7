//! A response head of an upstream has one meaning, whatever follows it.
#![no_main]

use portcullis_gateway::http1::{
    Framing,
    head::{HeadLimits, field_space, response},
};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 8192,
    fields: 64,
};

libfuzzer_sys::fuzz_target!(|input: (bool, &[u8])| {
    let (to_head, bytes) = input;
    let mut space = field_space();
    let Ok(Some(head)) = response(bytes, LIMITS, to_head, &mut space) else {
        return;
    };
    assert!(head.length <= bytes.len() && head.length <= LIMITS.bytes);
    assert!((100..1000).contains(&head.status), "{}", head.status);
    if to_head || head.status < 200 || matches!(head.status, 204 | 304) {
        assert_eq!(
            head.framing,
            Framing::Length(0),
            "such a response has no body"
        );
    }
    assert!(!(head.keep_alive && head.framing == Framing::UntilEnd));
    let mut other = field_space();
    let again = response(&bytes[..head.length], LIMITS, to_head, &mut other);
    let again = again.expect("the same head").expect("all of it");
    assert_eq!(
        (again.status, again.framing, again.length),
        (head.status, head.framing, head.length)
    );
});
