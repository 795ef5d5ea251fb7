//! The configuration file as text: its members with the lines they stand on.
//!
//! Invariants: a text that is not JSON is refused with line, column and a caret; the excerpt
//! shows keys and punctuation only, because any value in it might be a secret; the order of
//! the file is kept.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

/// A member of the file whose path is a key, or that no key matches.
#[derive(Debug, PartialEq)]
pub(crate) struct Member {
    /// As written, JSON keys joined by dots.
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) json: Json,
}

/// Why a text is not a configuration.
#[derive(Debug, PartialEq)]
pub(crate) struct Broken {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
    pub(crate) excerpt: String,
}

/// Reads a text into its members.
///
/// `is_group` says whether a lower-case path holds further keys; its members are listed one by one then.
pub(crate) fn read(text: &str, is_group: &dyn Fn(&str) -> bool) -> Result<Vec<Member>, Broken> {
    // An editor's byte order mark is no part of JSON, and no reason to refuse a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let whole: Json = serde_json::from_str(text).map_err(|error| broken(text, &error))?;
    if !whole.is_object() {
        let message = "the file does not hold an object".to_owned();
        return Err(Broken {
            line: 1,
            column: 1,
            message,
            excerpt: excerpt(text, 1, 1),
        });
    }
    let mut members = Vec::new();
    let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
    walk(&Text { text, line_ends }, text, "", is_group, &mut members)
        .map_err(|error| broken(text, &error))?;
    Ok(members)
}

/// The whole text, and where its lines end.
struct Text<'a> {
    text: &'a str,
    line_ends: Vec<usize>,
}

impl Text<'_> {
    /// The line a part of the text begins on.
    fn line_of(&self, part: &str) -> usize {
        let offset = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        1 + self.line_ends.partition_point(|end| *end < offset)
    }
}

fn walk(
    text: &Text<'_>,
    object: &str,
    prefix: &str,
    is_group: &dyn Fn(&str) -> bool,
    found: &mut Vec<Member>,
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    for (name, raw) in deserializer.deserialize_map(Members)? {
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        if raw.get().starts_with('{') && is_group(&path.to_ascii_lowercase()) {
            walk(text, raw.get(), &path, is_group, found)?;
        } else {
            found.push(Member {
                path,
                line: text.line_of(raw.get()),
                json: serde_json::from_str(raw.get())?,
            });
        }
    }
    Ok(())
}

/// The members of one object, in order, repeated ones included.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

fn broken(text: &str, error: &serde_json::Error) -> Broken {
    let message = error.to_string();
    let message = message
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned();
    let (line, column) = (error.line().max(1), error.column().max(1));
    Broken {
        line,
        column,
        message,
        excerpt: excerpt(text, line, column),
    }
}

/// The line with a caret below the column, everything but keys and punctuation masked.
fn excerpt(text: &str, line: usize, column: usize) -> String {
    const WIDTH: usize = 100;
    let whole = text.lines().nth(line - 1).unwrap_or_default();
    // The parser counts bytes, a terminal shows characters.
    let caret = whole
        .char_indices()
        .take_while(|(at, _)| *at < column - 1)
        .count();
    let from = caret.saturating_sub(WIDTH - 20);
    let shown: String = masked(whole).chars().skip(from).take(WIDTH).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    format!(
        "{number} | {}\n{margin} | {}^",
        shown.trim_end(),
        " ".repeat(caret - from)
    )
}

fn masked(line: &str) -> String {
    let characters: Vec<char> = line.chars().collect();
    let mut shown: Vec<char> = characters
        .iter()
        .map(|c| {
            if c.is_whitespace() {
                ' '
            } else if "{}[],:\"".contains(*c) {
                *c
            } else {
                '*'
            }
        })
        .collect();
    // A quoted word that looks like a key and is followed by a colon is shown.
    let mut at = 0;
    while at < characters.len() {
        if characters[at] == '"' {
            let end = (at + 1..characters.len())
                .find(|&end| !(characters[end].is_ascii_alphanumeric() || characters[end] == '_'))
                .unwrap_or(characters.len());
            let colon = (end + 1..characters.len()).find(|&next| !characters[next].is_whitespace());
            let closed = characters.get(end) == Some(&'"');
            let begins_a_member = characters[..at].iter().rev().find(|c| !c.is_whitespace());
            let fits = matches!(begins_a_member, None | Some('{' | ','));
            if closed && fits && colon.is_some_and(|colon| characters[colon] == ':') {
                shown[at + 1..end].copy_from_slice(&characters[at + 1..end]);
                at = end;
            }
        }
        at += 1;
    }
    shown.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(text: &str) -> Vec<(String, usize)> {
        let members = read(text, &|path| {
            path == "security" || path == "security.certificates"
        })
        .expect("JSON");
        members
            .into_iter()
            .map(|member| (member.path, member.line))
            .collect()
    }

    #[test]
    fn members_come_in_order_with_the_line_of_their_value() {
        let text = "{\n  \"listen_port\": 1,\n  \"Security\": {\n    \"certificates\": {\"apis\": []},\n    \"x\": 2\n  }\n}";
        let expected = [
            ("listen_port", 2),
            ("Security.certificates.apis", 4),
            ("Security.x", 5),
        ];
        assert_eq!(
            paths(text),
            expected.map(|(path, line)| (path.to_owned(), line))
        );
    }

    #[test]
    fn a_repeated_member_is_listed_twice_and_a_byte_order_mark_is_no_obstacle() {
        let members = read("\u{feff}{\"a\": 1, \"a\": {\"b\": 2}}", &|_| false).expect("JSON");
        assert_eq!(members[0].json, json!(1));
        assert_eq!(members[1].json, json!({"b": 2}));
    }

    #[test]
    fn broken_json_is_shown_with_a_caret_and_without_values() {
        let text = "{\n  \"secret\": \"hunter2\",\n  \"node_secret\": \"hunter3\" \"x\": 8080\n}";
        let broken = read(text, &|_| false).expect_err("a comma is missing");
        assert_eq!((broken.line, broken.column), (3, 28));
        assert_eq!(
            broken.excerpt,
            "3 |   \"node_secret\": \"*******\" \"*\": ****\n  |                            ^"
        );
    }

    #[test]
    fn an_excerpt_never_shows_a_value_however_the_quotes_are_broken() {
        for line in [
            "\"secret: \"hunter2\",",
            "\"secret\" \"hunter2\",",
            "\"secret\": hunter2,",
            "\"secret\": \"hunter2",
            "\"list\": [\"hunter2\": 1]",
            "secret: \"hunter2\": 1",
        ] {
            let text = format!("{{\n{line}\n}}");
            let broken = read(&text, &|_| false).expect_err("broken on purpose");
            assert!(!broken.excerpt.contains("hunter2"), "{}", broken.excerpt);
        }
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for text in ["", "[]", "1", "{} {}", "{\"a\": 1,}", "\u{0}"] {
            assert!(read(text, &|_| false).is_err(), "{text:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&format!("{{\"a\": {deep}"), &|_| false).is_err());
    }
}
