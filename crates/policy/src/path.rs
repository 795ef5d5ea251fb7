//! The path a request is routed by.
//!
//! A path can be read in more than one way: `%61` is an `a`, `//` may mean `/`, and some
//! servers take `%2F` or `\` for a slash. A gateway that reads a path one way while the
//! upstream reads it another can be talked into using the wrong API's rules. Two steps
//! close that gap:
//!
//! 1. [`clean_path`] resolves `.` and `..` (also written `%2e`) and joins double slashes,
//!    as Go's path cleaning does, and refuses what cannot be resolved without guessing.
//!    All other bytes stay as the client wrote them, so signatures over a path survive.
//! 2. Routing looks at the *readings* of the cleaned path. When the strictest and the
//!    loosest reading lead to different APIs, neither answers.
//!
//! Invariants:
//! - A path with a dot segment in any reading is never routed.
//! - An encoded slash is data: it never separates segments of a listen path.
//! - `%25` is never decoded, so nothing is decoded twice.

use std::borrow::Cow;

/// Why a request path is refused; the client gets 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not start with `/`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the path holds a percent sign that does not start an escape")]
    BadEscape,
    /// `%00`.
    #[error("the path holds an encoded NUL")]
    Nul,
    /// A `.` or `..` that only appears once encoded slashes, backslashes or `;` parameters
    /// are taken for separators.
    #[error("the path hides a dot segment behind an encoded slash, a backslash or a semicolon")]
    HiddenDotSegment,
}

/// How much [`clean_path`] changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cleaning {
    /// Join double slashes and resolve dot segments.
    #[default]
    Full,
    /// Resolve dot segments only (`skip_url_cleaning: true`).
    KeepDoubleSlashes,
}

/// Resolves dot segments and, unless told otherwise, joins double slashes. A final slash is
/// kept; `..` at the root stays at the root. `Cow::Borrowed` means the path was clean.
///
/// `path` is the raw path of the request target: still percent-encoded, without query.
pub fn clean_path(path: &str, cleaning: Cleaning) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(path.as_bytes()) && !path.contains(';') {
        return Ok(Cow::Borrowed(path));
    }
    check_escapes(path.as_bytes())?;
    let join_slashes = cleaning == Cleaning::Full;
    let mut kept: Vec<&str> = Vec::new();
    let mut changed = false;
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        match dots(segment) {
            Some(Dots::Current) => changed = true,
            Some(Dots::Parent) => {
                changed = true;
                kept.pop();
            }
            None if hides_dots(segment) => return Err(PathError::HiddenDotSegment),
            None if join_slashes && segment.is_empty() => changed |= segments.peek().is_some(),
            None => kept.push(segment),
        }
    }
    if !changed {
        return Ok(Cow::Borrowed(path));
    }
    let mut clean = String::with_capacity(path.len());
    for segment in &kept {
        clean.push('/');
        clean.push_str(segment);
    }
    if clean.is_empty() || (join_slashes && path.ends_with('/')) {
        clean.push('/');
    }
    Ok(Cow::Owned(clean))
}

/// True when a path has one reading only, its own bytes.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in path {
        match byte {
            b'%' | b'\\' => return false,
            b'/' | b'.' if after_slash => return false,
            _ => after_slash = byte == b'/',
        }
    }
    true
}

/// The strict reading: escapes decoded, except the slash and the percent sign themselves,
/// which stay escapes in capitals. Listen paths are stored in this form.
pub(crate) fn strict_reading(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }
    let mut reading = Vec::with_capacity(path.len());
    for unit in Units(path.as_bytes()) {
        unit.push_strict(&mut reading);
    }
    Cow::Owned(reading)
}

/// The loosest reading an upstream may take: every escape but `%25` decoded, `\` taken for
/// `/`, slashes joined. `None` when a dot segment or a NUL shows up.
pub(crate) fn loose_reading(path: &str) -> Option<Vec<u8>> {
    let mut reading: Vec<u8> = Vec::with_capacity(path.len());
    for unit in Units(path.as_bytes()) {
        match unit.decoded() {
            0 => return None,
            b'/' | b'\\' if reading.last() == Some(&b'/') => {}
            b'/' | b'\\' => reading.push(b'/'),
            b'%' => unit.push_strict(&mut reading),
            byte => reading.push(byte),
        }
    }
    let dotted = reading.split(|&byte| byte == b'/').any(is_dotted);
    (!dotted).then_some(reading)
}

/// How many bytes of the raw path make up the first `len` bytes of its strict reading.
pub(crate) fn raw_len(path: &str, len: usize) -> usize {
    let (mut raw, mut read) = (0, 0);
    for unit in Units(path.as_bytes()) {
        if read >= len {
            break;
        }
        raw += unit.raw_len();
        read += unit.strict_len();
    }
    raw
}

/// Percent-decodes a piece of a path or, with `plus_is_space`, of a query. What is not an
/// escape stays.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Cow<'_, [u8]> {
    if !(text.contains('%') || plus_is_space && text.contains('+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let decoded = Units(text.as_bytes()).map(|unit| match unit {
        Unit::Plain(b'+') if plus_is_space => b' ',
        unit => unit.decoded(),
    });
    Cow::Owned(decoded.collect())
}

enum Dots {
    Current,
    Parent,
}

/// Whether a raw segment is `.` or `..`, each dot perhaps escaped.
fn dots(segment: &str) -> Option<Dots> {
    if segment.is_empty() || segment.len() > "%2e%2e".len() {
        return None;
    }
    if !Units(segment.as_bytes()).all(|unit| unit.decoded() == b'.') {
        return None;
    }
    match Units(segment.as_bytes()).count() {
        1 => Some(Dots::Current),
        2 => Some(Dots::Parent),
        _ => None,
    }
}

/// Whether a raw segment turns into a dot segment for a server that takes `%2F` or `\` for
/// a slash or drops `;` parameters.
fn hides_dots(segment: &str) -> bool {
    if !segment
        .bytes()
        .any(|byte| matches!(byte, b'%' | b'\\' | b';'))
    {
        return false;
    }
    percent_decode(segment, false)
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(is_dotted)
}

/// `.` or `..`, perhaps with `;` parameters behind it.
fn is_dotted(segment: &[u8]) -> bool {
    let end = segment
        .iter()
        .position(|&byte| byte == b';')
        .unwrap_or(segment.len());
    matches!(&segment[..end], b"." | b"..")
}

fn check_escapes(path: &[u8]) -> Result<(), PathError> {
    for unit in Units(path) {
        match unit {
            Unit::Plain(b'%') => return Err(PathError::BadEscape),
            Unit::Escaped(0) | Unit::Plain(0) => return Err(PathError::Nul),
            _ => {}
        }
    }
    Ok(())
}

/// One byte of a path, as written or escaped.
#[derive(Clone, Copy)]
enum Unit {
    Plain(u8),
    Escaped(u8),
}

impl Unit {
    fn decoded(self) -> u8 {
        match self {
            Unit::Plain(byte) | Unit::Escaped(byte) => byte,
        }
    }

    fn raw_len(self) -> usize {
        match self {
            Unit::Plain(_) => 1,
            Unit::Escaped(_) => 3,
        }
    }

    fn strict_len(self) -> usize {
        match self {
            Unit::Escaped(b'/' | b'%') => 3,
            _ => 1,
        }
    }

    fn push_strict(self, reading: &mut Vec<u8>) {
        match self {
            Unit::Escaped(b'/') => reading.extend_from_slice(b"%2F"),
            Unit::Escaped(b'%') => reading.extend_from_slice(b"%25"),
            Unit::Plain(byte) | Unit::Escaped(byte) => reading.push(byte),
        }
    }
}

struct Units<'a>(&'a [u8]);

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let (&first, rest) = self.0.split_first()?;
        if let (b'%', [high, low, after @ ..]) = (first, rest)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.0 = after;
            return Some(Unit::Escaped(high << 4 | low));
        }
        self.0 = rest;
        Some(Unit::Plain(first))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_follows_go_and_refuses_what_it_cannot_resolve() {
        let cases: &[(&str, Result<&str, PathError>)] = &[
            ("/", Ok("/")),
            ("/a/b/", Ok("/a/b/")),
            ("//", Ok("/")),
            ("//a///b//", Ok("/a/b/")),
            ("/a/./b", Ok("/a/b")),
            ("/a/../b", Ok("/b")),
            ("/a/b/..", Ok("/a")),
            ("/a/b/../", Ok("/a/")),
            ("/..", Ok("/")),
            ("/../../etc", Ok("/etc")),
            ("/a/%2e%2e/b", Ok("/b")),
            ("/a/.%2E/b", Ok("/b")),
            ("/a/%2e/b", Ok("/a/b")),
            ("/a/...", Ok("/a/...")),
            ("/.well-known/x", Ok("/.well-known/x")),
            ("/a%20b/%61", Ok("/a%20b/%61")),
            ("/files/a%2Fb", Ok("/files/a%2Fb")),
            ("/a;v=1/b", Ok("/a;v=1/b")),
            ("/a/..%2Fb", Err(PathError::HiddenDotSegment)),
            ("/a/x%2f..", Err(PathError::HiddenDotSegment)),
            ("/a/..\\b", Err(PathError::HiddenDotSegment)),
            ("/a/..%5cb", Err(PathError::HiddenDotSegment)),
            ("/a/..;/b", Err(PathError::HiddenDotSegment)),
            ("/a/%2e%2e;x/b", Err(PathError::HiddenDotSegment)),
            ("/a%zz", Err(PathError::BadEscape)),
            ("/a%2", Err(PathError::BadEscape)),
            ("/a%00", Err(PathError::Nul)),
            ("a", Err(PathError::NotAbsolute)),
            ("", Err(PathError::NotAbsolute)),
            ("*", Err(PathError::NotAbsolute)),
        ];
        for (path, expected) in cases {
            let cleaned = clean_path(path, Cleaning::Full);
            assert_eq!(
                cleaned.as_deref().map_err(|error| *error),
                *expected,
                "{path}"
            );
        }
    }

    #[test]
    fn double_slashes_stay_when_url_cleaning_is_skipped_but_dot_segments_never_do() {
        let cases = [
            ("/fetch/http://x/y", "/fetch/http://x/y"),
            ("/a//../b", "/a/b"),
            ("/a/../b//", "/b//"),
            ("/./", "/"),
            ("/.", "/"),
            ("/a/..", "/"),
        ];
        for (path, expected) in cases {
            let cleaned = clean_path(path, Cleaning::KeepDoubleSlashes).expect(path);
            assert_eq!(cleaned, expected, "{path}");
        }
    }

    #[test]
    fn a_clean_path_is_borrowed_and_cleaning_twice_changes_nothing() {
        for path in ["/", "/a/b", "/a%20b/", "/.well-known/x", "/a;b"] {
            assert!(
                matches!(clean_path(path, Cleaning::Full), Ok(Cow::Borrowed(_))),
                "{path}"
            );
        }
        for path in ["//a/../b/./", "/x/%2e%2e/y//"] {
            let once = clean_path(path, Cleaning::Full).expect(path);
            assert!(
                matches!(clean_path(&once, Cleaning::Full), Ok(Cow::Borrowed(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn the_strict_reading_decodes_all_but_slash_and_percent() {
        assert_eq!(
            &*strict_reading("/%61%2fb%25%C3%B6"),
            "/a%2Fb%25ö".as_bytes()
        );
        assert_eq!(raw_len("/%61%2fb/c", b"/a%2Fb".len()), "/%61%2fb".len());
    }

    #[test]
    fn the_loose_reading_takes_every_slash_for_a_slash_and_refuses_dot_segments() {
        assert_eq!(
            loose_reading("/a%2F%5Cb\\c//d").as_deref(),
            Some(&b"/a/b/c/d"[..])
        );
        assert_eq!(loose_reading("/a%252f").as_deref(), Some(&b"/a%252f"[..]));
        for path in ["/a/../b", "/a%2f..%2fb", "/a/..;x/b", "/a/%2e", "/%00"] {
            assert_eq!(loose_reading(path), None, "{path}");
        }
    }
}
