//! Time spans as definitions write them.

use std::time::Duration;

use serde_json::Value;

use crate::reader::Node;

/// Reads a time span: a number of seconds (fractions kept) or text such as `250ms`, `1m30s`.
/// Zero and absent mean no limit. A negative or unreadable span is reported.
pub(crate) fn duration(node: &Node<'_, '_>) -> Option<Duration> {
    let seconds = match node.value()? {
        Value::Number(n) => n.as_f64(),
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => seconds(text),
        _ => None,
    };
    match seconds
        .filter(|s| *s >= 0.0)
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
    {
        Some(span) => Some(span).filter(|d| !d.is_zero()),
        None => {
            node.error(
                "not a time span",
                "seconds as a number that is not negative, or text such as \"250ms\" or \"1m30s\"",
                "",
            );
            None
        }
    }
}

/// Seconds of a sequence of numbers with units, `h`, `m`, `s`, `ms`, `us`, `ns`.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                "" if total == 0.0 => 1.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_every_unit() {
        for (text, expected) in [
            ("5", Some(5.0)),
            ("0.25s", Some(0.25)),
            ("1m30s", Some(90.0)),
            ("2h", Some(7200.0)),
            ("200ms", Some(0.2)),
            ("", None),
            ("ms", None),
            ("-1s", None),
            ("1d", None),
            ("1s5", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
