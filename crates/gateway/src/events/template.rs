//! Bodies of webhooks written as Go templates: the part of that language which such bodies need.
//!
//! ```text
//! {{.Type}} {{.TimeStamp}} {{.Meta.Message}}            values of the event
//! {{.Meta.ExpiresAt.Format "2006-01-02T15:04:05Z07:00"}} the same as without Format
//! {{if .X}} {{if eq .X "a" "b"}} {{if ne .X "a"}} {{else if …}} {{else}} {{end}}
//! {{/* a comment */}}   {{- and -}} trim white space
//! ```
//!
//! Invariants:
//! - What is beyond this part is an error when the template is read, never a wrong body.
//! - A value cannot end the text it stands in: in JSON it is escaped as in JSON, elsewhere as in HTML.

use super::event::{Event, Value};

/// The one layout of dates that `Format` may ask for: how they are written anyway.
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

/// How deep choices may be within choices.
const DEEPEST: usize = 32;

/// A template that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    escape: Escape,
}

/// How values are kept from ending the text they stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// As in a JSON string.
    Json,
    /// As in HTML.
    Html,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More of the language than is here.
    #[error(
        "line {line}: `{{{{{action}}}}}` is not supported; what is: values, if, eq, ne, else, end"
    )]
    Unsupported {
        /// Where, from 1.
        line: usize,
        /// What stands between the braces.
        action: String,
    },
    /// Braces that do not close.
    #[error("line {0}: `{{{{` is never closed")]
    Open(usize),
    /// `if` without `end`.
    #[error("line {0}: `if` has no `end`")]
    Unended(usize),
    /// More choices within choices than anybody writes.
    #[error("line {0}: `if` within `if` more than {DEEPEST} deep")]
    Deep(usize),
    /// The event has no such value.
    #[error("`.{path}` is no value of {event} events")]
    NoSuchValue {
        /// What was asked for.
        path: String,
        /// Of which kind of event.
        event: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(String),
    /// The first arm whose condition holds.
    Choice(Vec<(Condition, Vec<Part>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// The value is there and neither empty nor 0.
    Holds(String),
    /// The value is one of these.
    Is(String, Vec<String>),
    /// The value is another.
    IsNot(String, String),
    Always,
}

impl Template {
    /// Understands a text.
    ///
    /// # Errors
    /// [`TemplateError`] with the first place that is not understood.
    pub fn read(text: &str, escape: Escape) -> Result<Self, TemplateError> {
        let mut reader = Reader {
            text,
            offset: 0,
            depth: 0,
        };
        let (parts, ending) = reader.parts()?;
        match ending {
            None => Ok(Self { parts, escape }),
            Some(ending) => Err(reader.unsupported(ending.at, ending.action)),
        }
    }

    /// The body for an event.
    ///
    /// # Errors
    /// [`TemplateError::NoSuchValue`].
    pub fn render(&self, event: &Event) -> Result<String, TemplateError> {
        let mut out = String::new();
        self.write(&self.parts, event, &mut out)?;
        Ok(out)
    }

    fn write(&self, parts: &[Part], event: &Event, out: &mut String) -> Result<(), TemplateError> {
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(path) => match value(event, path)? {
                    Value::Number(number) => out.push_str(&number.to_string()),
                    Value::Text(text) => self.escape.write(&text, out),
                },
                Part::Choice(arms) => {
                    for (condition, parts) in arms {
                        if condition.holds(event)? {
                            self.write(parts, event, out)?;
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Condition {
    fn holds(&self, event: &Event) -> Result<bool, TemplateError> {
        let text = |path: &str| {
            value(event, path).map(|value| match value {
                Value::Text(text) => text,
                Value::Number(number) => number.to_string(),
            })
        };
        Ok(match self {
            Self::Holds(path) => match value(event, path)? {
                Value::Text(text) => !text.is_empty(),
                Value::Number(number) => number != 0,
            },
            Self::Is(path, texts) => texts.contains(&text(path)?),
            Self::IsNot(path, other) => *other != text(path)?,
            Self::Always => true,
        })
    }
}

fn value(event: &Event, path: &str) -> Result<Value, TemplateError> {
    event.value(path).ok_or_else(|| TemplateError::NoSuchValue {
        path: path.to_owned(),
        event: event.kind.name(),
    })
}

impl Escape {
    fn write(self, text: &str, out: &mut String) {
        match self {
            Self::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                out.push_str(&quoted[1..quoted.len() - 1]);
            }
            Self::Html => {
                for character in text.chars() {
                    match character {
                        '&' => out.push_str("&amp;"),
                        '<' => out.push_str("&lt;"),
                        '>' => out.push_str("&gt;"),
                        '"' => out.push_str("&#34;"),
                        '\'' => out.push_str("&#39;"),
                        other => out.push(other),
                    }
                }
            }
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    offset: usize,
    depth: usize,
}

/// What ends a list of parts: `else …` or `end`.
struct Ending<'t> {
    action: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn unsupported(&self, at: usize, action: &str) -> TemplateError {
        TemplateError::Unsupported {
            line: self.line(at),
            action: action.to_owned(),
        }
    }

    /// Everything up to the end of the text, or to what ends this list.
    fn parts(&mut self) -> Result<(Vec<Part>, Option<Ending<'t>>), TemplateError> {
        let mut parts = Vec::new();
        let mut trim = false;
        loop {
            let rest = &self.text[self.offset..];
            let Some(begin) = rest.find("{{") else {
                self.offset = self.text.len();
                push_text(&mut parts, if trim { rest.trim_start() } else { rest });
                return Ok((parts, None));
            };
            let at = self.offset + begin;
            let inside = &rest[begin + 2..];
            // A comment may hold braces.
            let comment = inside
                .trim_start_matches('-')
                .trim_start()
                .starts_with("/*");
            let end = match comment {
                true => inside
                    .find("*/")
                    .and_then(|end| Some(end + inside[end..].find("}}")?)),
                false => inside.find("}}"),
            };
            let end = end.ok_or_else(|| TemplateError::Open(self.line(at)))?;
            let mut text = &rest[..begin];
            if trim {
                text = text.trim_start();
            }
            let mut action = &inside[..end];
            if let Some(trimmed) = action
                .strip_prefix('-')
                .filter(|rest| rest.starts_with(char::is_whitespace))
            {
                action = trimmed;
                text = text.trim_end();
            }
            let trimmed = action
                .strip_suffix('-')
                .filter(|rest| rest.ends_with(char::is_whitespace));
            trim = trimmed.is_some();
            let action = trimmed.unwrap_or(action).trim();
            push_text(&mut parts, text);
            self.offset = at + 2 + end + 2;
            let (word, arguments) = action
                .split_once(char::is_whitespace)
                .unwrap_or((action, ""));
            match word {
                "end" | "else" => {
                    // Trimming goes on behind the ending; there it is asked for again.
                    if trim {
                        self.skip_white_space();
                    }
                    return Ok((parts, Some(Ending { action, at })));
                }
                "if" => {
                    if trim {
                        self.skip_white_space();
                        trim = false;
                    }
                    parts.push(self.choice(arguments, action, at)?);
                }
                _ if comment => {}
                _ => {
                    let path = printed(action).ok_or_else(|| self.unsupported(at, action))?;
                    parts.push(Part::Value(path));
                }
            }
        }
    }

    fn skip_white_space(&mut self) {
        let rest = &self.text[self.offset..];
        self.offset += rest.len() - rest.trim_start().len();
    }

    /// From an `if` to its `end`.
    fn choice(&mut self, first: &str, action: &str, at: usize) -> Result<Part, TemplateError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(TemplateError::Deep(self.line(at)));
        }
        let mut arms = Vec::new();
        let read = condition(first).ok_or_else(|| self.unsupported(at, action))?;
        let mut next = read;
        loop {
            let last = next == Condition::Always;
            let (parts, ending) = self.parts()?;
            arms.push((next, parts));
            let ending = ending.ok_or_else(|| TemplateError::Unended(self.line(at)))?;
            let words: Vec<&str> = ending.action.splitn(3, char::is_whitespace).collect();
            next = match words[..] {
                ["end"] => {
                    self.depth -= 1;
                    return Ok(Part::Choice(arms));
                }
                ["else"] if !last => Condition::Always,
                ["else", "if", arguments] if !last => condition(arguments)
                    .ok_or_else(|| self.unsupported(ending.at, ending.action))?,
                _ => return Err(self.unsupported(ending.at, ending.action)),
            };
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// What `.X` or `.X.Format "…"` prints.
fn printed(action: &str) -> Option<String> {
    let words = words(action)?;
    match &words[..] {
        [Word::Path(path)] => Some(path.clone()),
        [Word::Path(path), Word::Text(layout)] if layout == LAYOUT => {
            path.strip_suffix(".Format").map(str::to_owned)
        }
        _ => None,
    }
}

fn condition(text: &str) -> Option<Condition> {
    let mut words = words(text)?.into_iter();
    match words.next()? {
        Word::Path(path) => words.next().is_none().then_some(Condition::Holds(path)),
        Word::Name(name) => {
            let Some(Word::Path(path)) = words.next() else {
                return None;
            };
            let texts: Option<Vec<String>> = words
                .map(|word| match word {
                    Word::Text(text) => Some(text),
                    _ => None,
                })
                .collect();
            let mut texts = texts?;
            match (&*name, texts.len()) {
                ("eq", 1..) => Some(Condition::Is(path, texts)),
                ("ne", 1) => Some(Condition::IsNot(path, texts.pop()?)),
                _ => None,
            }
        }
        Word::Text(_) => None,
    }
}

enum Word {
    /// Without its first dot.
    Path(String),
    Text(String),
    Name(String),
}

/// The words of an action; `None` when one is of no kind that is known.
fn words(action: &str) -> Option<Vec<Word>> {
    let mut rest = action.trim();
    let mut words = Vec::new();
    let is_name = |text: &str| {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !text.is_empty() && text.chars().all(letters)
    };
    while !rest.is_empty() {
        let (word, length) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            // Escapes in texts are not needed here.
            let text = Some(&quoted[..end]).filter(|text| !text.contains('\\'))?;
            (Word::Text(text.to_owned()), end + 2)
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let word = &rest[..end];
            let word = match word.strip_prefix('.') {
                Some(path) if path.split('.').all(is_name) => Word::Path(path.to_owned()),
                None if is_name(word) => Word::Name(word.to_owned()),
                _ => return None,
            };
            (word, end)
        };
        words.push(word);
        rest = &rest[length..];
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return None;
        }
        rest = rest.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use portcullis_apidef::EventKind;

    use super::*;

    fn event() -> Event {
        let mut event = Event::sample(EventKind::CertificateExpiringSoon);
        event.certificate_mut().name = "a \"b\" <c>".to_owned();
        event
    }

    fn json(text: &str) -> Result<String, TemplateError> {
        Template::read(text, Escape::Json)?.render(&event())
    }

    #[test]
    fn values_stand_where_the_template_names_them_and_cannot_end_their_text() {
        let text =
            r#"{"e": "{{.Type}}", "n": "{{ .Meta.CertName }}", "d": {{.Meta.DaysRemaining}}}"#;
        assert_eq!(
            json(text).unwrap(),
            r#"{"e": "CertificateExpiringSoon", "n": "a \"b\" <c>", "d": 2}"#
        );
        let html = Template::read("<p>{{.Meta.CertName}}</p>", Escape::Html).unwrap();
        assert_eq!(
            html.render(&event()).unwrap(),
            "<p>a &#34;b&#34; &lt;c&gt;</p>"
        );
    }

    #[test]
    fn the_first_arm_that_holds_is_taken() {
        let text = concat!(
            "{{- /* {{braces}} in a comment */ -}}\n",
            "{{ if eq .Type \"AuthFailure\" -}} {{.Meta.Path}}\n",
            "{{- else if eq .Type \"X\" \"CertificateExpiringSoon\" -}}\n soon{{if .Meta.OriginatingRequest}}never{{end}}",
            "{{- else -}} other {{- end }}!"
        );
        assert_eq!(json(text).unwrap(), "soon!");
        assert_eq!(
            json("{{if ne .Meta.CertRole \"client\"}}a{{else}}b{{end}}").unwrap(),
            "b"
        );
        assert_eq!(
            json("{{.Meta.ExpiresAt.Format \"2006-01-02T15:04:05Z07:00\"}}").unwrap(),
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn what_is_beyond_is_named_with_its_line() {
        for (text, said) in [
            (
                "a\n{{range .Meta}}{{end}}",
                "line 2: `{{range .Meta}}` is not supported",
            ),
            (
                "{{.Meta.Message | js}}",
                "line 1: `{{.Meta.Message | js}}` is not supported",
            ),
            (
                "{{if and .A .B}}{{end}}",
                "`{{if and .A .B}}` is not supported",
            ),
            ("{{printf \"%s\" .Type}}", "is not supported"),
            ("{{.Meta.ExpiresAt.Format \"2006\"}}", "is not supported"),
            ("{{else}}", "line 1: `{{else}}` is not supported"),
            (
                "{{if .Type}}{{else}}{{else}}{{end}}",
                "`{{else}}` is not supported",
            ),
            ("x\n\n{{.Type", "line 3: `{{` is never closed"),
            ("{{if .Type}}", "line 1: `if` has no `end`"),
            (
                "{{.Meta.Path}}",
                "`.Meta.Path` is no value of CertificateExpiringSoon events",
            ),
            ("{{}}", "is not supported"),
        ] {
            let error = json(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        let deep = |depth: usize| "{{if .Type}}".repeat(depth) + &"{{end}}".repeat(depth);
        assert_eq!(json(&deep(DEEPEST)).unwrap(), "");
        let error = json(&deep(100_000)).unwrap_err();
        assert_eq!(error, TemplateError::Deep(1));
    }
}
