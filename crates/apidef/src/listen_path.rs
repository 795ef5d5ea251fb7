//! Listen paths and the patterns allowed in them and in domains.

use crate::reader::Node;

/// The listen path as it is matched: with a leading slash, `//`, `.` and `..` resolved, a
/// trailing slash kept. Reported and `None` when it cannot be one.
pub(crate) fn listen_path(node: &Node<'_, '_>, written: &str) -> Option<String> {
    if written.is_empty() {
        node.error("the listen path is empty", "a path such as /orders/", "");
        return None;
    }
    if written.contains(' ') {
        node.error(
            format!("the listen path {written:?} contains a space"),
            "a path without spaces",
            "",
        );
        return None;
    }
    if written.chars().any(char::is_control) {
        node.error(
            "the listen path contains a control character",
            "a printable path",
            "",
        );
        return None;
    }
    if let Err(problem) = check_pattern(written) {
        node.error(
            format!("{problem} in {written:?}"),
            "{name} or {name:regex}",
            "",
        );
        return None;
    }
    Some(clean(written))
}

/// A domain lower-cased where it is literal and without a trailing dot. `None` when empty or
/// reported.
pub(crate) fn domain(node: &Node<'_, '_>, written: &str) -> Option<String> {
    if written.is_empty() {
        return None;
    }
    if let Err(problem) = check_pattern(written) {
        node.error(
            format!("{problem} in {written:?}"),
            "a host name, {name} or {name:regex}",
            "",
        );
        return None;
    }
    if written
        .chars()
        .any(|c| c.is_control() || c == ' ' || c == '/')
        && !written.contains('{')
    {
        node.error(
            format!("{written:?} is not a host name"),
            "a host name without scheme or path",
            "",
        );
        return None;
    }
    let mut depth = 0_u32;
    let mut lowered = String::with_capacity(written.len());
    for c in written.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        lowered.push(if depth == 0 {
            c.to_ascii_lowercase()
        } else {
            c
        });
    }
    let trimmed = lowered.strip_suffix('.').unwrap_or(&lowered);
    Some(trimmed.to_owned()).filter(|d| !d.is_empty())
}

/// Checks that braces match and that every `{name:regex}` holds a regular expression.
fn check_pattern(text: &str) -> Result<(), String> {
    let mut depth = 0_u32;
    let mut start = 0;
    for (i, c) in text.char_indices() {
        match c {
            '{' => {
                if depth == 0 {
                    start = i + 1;
                }
                depth += 1;
            }
            '}' => {
                depth = depth.checked_sub(1).ok_or("a closing brace too many")?;
                if depth == 0
                    && let Some((_, pattern)) = text[start..i].split_once(':')
                {
                    regex::Regex::new(pattern)
                        .map_err(|_| format!("broken regular expression {pattern:?}"))?;
                }
            }
            _ => {}
        }
    }
    if depth == 0 {
        Ok(())
    } else {
        Err("a brace is not closed".to_owned())
    }
}

/// Resolves `.`, `..` and empty segments; braces are left as they stand.
fn clean(written: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let (mut depth, mut start) = (0_u32, 0);
    let ends = written
        .char_indices()
        .filter(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            *c == '/' && depth == 0
        })
        .map(|(i, _)| i);
    for end in ends.chain([written.len()]) {
        match &written[start..end] {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
        start = end + 1;
    }
    let trailing = written.ends_with('/') && !segments.is_empty();
    format!("/{}{}", segments.join("/"), if trailing { "/" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_keep_their_trailing_slash() {
        for (written, expected) in [
            ("a", "/a"),
            ("/a/", "/a/"),
            ("//a//b//", "/a/b/"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/./a/.", "/a"),
            ("/", "/"),
            ("///", "/"),
            ("/{id}/x/", "/{id}/x/"),
            ("/{id:[a//b]+}/../y", "/y"),
            ("/{v:a//b}/y", "/{v:a//b}/y"),
        ] {
            assert_eq!(clean(written), expected, "{written}");
        }
    }

    #[test]
    fn patterns_need_matching_braces_and_working_expressions() {
        assert!(check_pattern("/{id}/{v:[0-9]{1,3}}/").is_ok());
        assert!(check_pattern("/{id/").is_err());
        assert!(check_pattern("/id}/").is_err());
        assert!(check_pattern("/{id:(}/").is_err());
    }
}
