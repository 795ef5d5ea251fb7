//! W3C trace context: is a `traceparent` valid, and which trace does it name.
//!
//! The gateway makes no trace of its own: a valid header travels on unchanged, an invalid one is
//! dropped, because the next hop would have to restart the trace anyway.

/// Length of a version 00 header: `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;

/// True when the value of a `traceparent` header is valid.
pub fn is_traceparent(value: &[u8]) -> bool {
    trace_id(value).is_some()
}

/// The trace id of a `traceparent` header, 32 lower-case hex digits; `None` when it is not valid.
pub fn trace_id(value: &[u8]) -> Option<&str> {
    let value = value.trim_ascii();
    let (head, rest) = value.split_at_checked(LENGTH)?;
    let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
    let (version, trace, parent, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..]);
    // Version 00 ends here; a later one may go on after another dash.
    let ends_well = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    let valid = dashes
        && ends_well
        && [version, trace, parent, flags].into_iter().all(is_hex)
        && version != b"ff"
        && trace.iter().any(|digit| *digit != b'0')
        && parent.iter().any(|digit| *digit != b'0');
    if valid {
        std::str::from_utf8(trace).ok()
    } else {
        None
    }
}

fn is_hex(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_header_names_its_trace() {
        let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(header.as_bytes()), Some(TRACE));
        assert!(is_traceparent(format!(" {header} ").as_bytes()));
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(is_traceparent(
            format!("cc-{TRACE}-00f067aa0ba902b7-01").as_bytes()
        ));
        assert!(is_traceparent(
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what").as_bytes()
        ));
        assert!(!is_traceparent(
            format!("cc-{TRACE}-00f067aa0ba902b7-01.what").as_bytes()
        ));
    }

    #[test]
    fn everything_else_is_invalid() {
        let zeros = "0".repeat(32);
        for header in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-extra"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00_{TRACE}_00f067aa0ba902b7_01"),
        ] {
            assert!(!is_traceparent(header.as_bytes()), "{header}");
        }
    }
}
