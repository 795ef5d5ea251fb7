//! References to values kept elsewhere, replaced in the text of a definition before it is read.
//!
//! What a reference stands for is somebody else's business; here is where in a text one may stand:
//! in any string that is a value, never in the name of a member.
//!
//! Invariants: everything but replaced strings stays byte for byte, so line and column of an error
//! are those of the file; a value is escaped when it is put in, so it cannot end the string it stands
//! in; values appear in no `Debug` and in no message about the definition.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::document::{Notation, tree};
use crate::report::{DefinitionError, ErrorKind, Warning};
use crate::source::{SourceFile, notation};

/// A string with its references replaced.
pub struct Replaced {
    /// The string.
    pub text: String,
    /// References that were replaced, each with its value.
    pub values: Vec<(String, String)>,
    /// What could not be done, a sentence each, without values.
    pub notes: Vec<String>,
}

/// Says what a string with references becomes; `None` when it has none.
pub type Replace<'r> = dyn FnMut(&str) -> Option<Replaced> + 'r;

/// For whom references are texts like any other.
#[must_use]
pub fn nothing_replaced(_: &str) -> Option<Replaced> {
    None
}

/// The text of a file with its references replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    text: SecretText,
    told: Told,
}

/// What to know about references that were replaced.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Told {
    values: Vec<(String, String)>,
    notes: Vec<String>,
}

/// A text with values in it, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
struct SecretText(Arc<str>);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

/// Values may be secrets.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let references: Vec<&str> = self.values.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Told")
            .field("references", &references)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl Resolved {
    /// Replaces the references of a file; `None` when it has none. `replace` is asked about each
    /// string.
    pub fn of(file: &SourceFile, replace: &mut Replace<'_>) -> Option<Self> {
        if !may_refer(&file.text) {
            return None;
        }
        Self::of_text(&file.text, notation(&file.name)?, replace)
    }

    /// Replaces the references of a text that is JSON; `None` when it has none.
    pub fn of_json(text: &str, replace: &mut Replace<'_>) -> Option<Self> {
        may_refer(text)
            .then(|| Self::of_text(text, Notation::Json, replace))
            .flatten()
    }

    fn of_text(text: &str, notation: Notation, replace: &mut Replace<'_>) -> Option<Self> {
        let mut told = Told::default();
        let mut replace = |text: &str| told.replaced(text, replace);
        let text = match notation {
            Notation::Json => in_json(text, &mut replace)?,
            Notation::Yaml => {
                // A text that is no YAML is told when it is read.
                let mut value = tree(text, Notation::Yaml).ok()?;
                in_tree(&mut value, &mut replace).then(|| value.to_string())?
            }
        };
        told.settle();
        Some(Self {
            text: SecretText(text.into()),
            told,
        })
    }

    /// The text, values and all.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text.0
    }

    /// What could not be done, a sentence each, without values.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.told.notes
    }

    /// A message about the text with references in the places of their values.
    #[must_use]
    pub fn without_values(&self, message: &str) -> String {
        self.told.without_values(message)
    }

    pub(crate) fn told(&self) -> &Told {
        &self.told
    }
}

/// The tree of a definition with its references replaced.
pub(crate) fn in_tree_of(value: &Value, replace: &mut Replace<'_>) -> (Value, Told) {
    let (mut value, mut told) = (value.clone(), Told::default());
    in_tree(&mut value, &mut |text| told.replaced(text, replace));
    told.settle();
    (value, told)
}

impl Told {
    /// What a string becomes.
    fn replaced(&mut self, text: &str, replace: &mut Replace<'_>) -> Option<String> {
        let replaced = may_refer(text).then(|| replace(text)).flatten()?;
        self.values.extend(replaced.values);
        self.notes.extend(replaced.notes);
        Some(replaced.text)
    }

    fn settle(&mut self) {
        self.notes.sort_unstable();
        self.notes.dedup();
    }

    /// Whether any reference was replaced.
    pub(crate) fn has_values(&self) -> bool {
        !self.values.is_empty()
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The warnings about the definition, without values, and those about its references.
    pub(crate) fn tell(&self, warnings: &mut Vec<Warning>) {
        for warning in warnings.iter_mut() {
            warning.message = self.without_values(&warning.message);
        }
        warnings.extend(self.notes.iter().map(|note| Warning {
            path: "definition".to_owned(),
            message: note.clone(),
            unknown_member: false,
        }));
    }

    /// The errors of the definition, without values, and those about its references, which may be
    /// what they come from.
    pub(crate) fn explain(&self, errors: &mut Vec<DefinitionError>) {
        self.hide_values(errors);
        errors.extend(self.notes.iter().map(|note| DefinitionError {
            path: "definition".to_owned(),
            problem: note.clone(),
            accepted: String::new(),
            hint: String::new(),
            kind: ErrorKind::Invalid,
        }));
    }

    /// The errors of the definition, without values.
    pub(crate) fn hide_values(&self, errors: &mut [DefinitionError]) {
        for error in errors {
            error.problem = self.without_values(&error.problem);
            error.hint = self.without_values(&error.hint);
        }
    }

    /// A message with references in the places of their values.
    pub(crate) fn without_values(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (reference, value) in &self.values {
            // As it is, and as a message that quotes it has it.
            let quoted: String = value.chars().flat_map(char::escape_debug).collect();
            for value in [value.as_str(), quoted.as_str()] {
                if !value.is_empty() && text.contains(value) {
                    text = text.replace(value, &format!("(value of {reference})"));
                }
            }
        }
        text
    }
}

fn may_refer(text: &str) -> bool {
    text.contains("://") || text.contains("$kv{") || text.contains(":\\/\\/")
}

/// JSON with strings replaced; `None` when none was.
fn in_json(text: &str, replace: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let mut whole = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(quote) = text[at..].find('"') {
        let start = at + quote;
        let Some(end) = end_of_string(text, start) else {
            break;
        };
        at = end;
        let literal = &text[start..end];
        let is_name = text[end..].trim_start().starts_with(':');
        if is_name || !may_refer(literal) {
            continue;
        }
        let unescaped: Option<String> = serde_json::from_str(literal).ok();
        if let Some(value) = unescaped.and_then(|unescaped| replace(&unescaped)) {
            whole.push_str(&text[done..start]);
            whole.push_str(&Value::from(value).to_string());
            done = end;
        }
    }
    if done == 0 {
        return None;
    }
    whole.push_str(&text[done..]);
    Some(whole)
}

/// Behind the closing quote of the string that begins at `start`.
fn end_of_string(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Replaces strings of a tree; whether any was.
fn in_tree(value: &mut Value, replace: &mut dyn FnMut(&str) -> Option<String>) -> bool {
    match value {
        Value::String(text) => match replace(text) {
            Some(replaced) => {
                *text = replaced;
                true
            }
            None => false,
        },
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |any, item| in_tree(item, replace) | any),
        Value::Object(members) => members
            .values_mut()
            .fold(false, |any, member| in_tree(member, replace) | any),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_resolved;
    use std::collections::BTreeMap;

    fn replace(text: &str) -> Option<Replaced> {
        match text.strip_prefix("env://")? {
            "MISSING" => Some(Replaced {
                text: text.to_owned(),
                values: Vec::new(),
                notes: vec!["the reference `env://MISSING` is not set".to_owned()],
            }),
            name => {
                let value = format!("<\"{name}\"\nvalue>");
                Some(Replaced {
                    values: vec![(text.to_owned(), value.clone())],
                    text: value,
                    notes: Vec::new(),
                })
            }
        }
    }

    fn resolved(name: &str, text: &str) -> Option<Resolved> {
        let file = SourceFile {
            name: name.to_owned(),
            text: text.into(),
        };
        Resolved::of(&file, &mut replace)
    }

    #[test]
    fn strings_that_are_values_are_replaced_and_the_rest_stays_byte_for_byte() {
        let text =
            "{ \"a\" : \"env://A\",\n\t\"env://B\":[1.50, \"env:\\/\\/C\", \"https://x\\\"y\"] }";
        let json = resolved("a.json", text).unwrap();
        assert_eq!(
            json.text(),
            "{ \"a\" : \"<\\\"A\\\"\\nvalue>\",\n\t\"env://B\":[1.50, \"<\\\"C\\\"\\nvalue>\", \"https://x\\\"y\"] }"
        );
        let yaml = resolved("a.yaml", "a: env://A\nb: [env://B]\n").unwrap();
        let read: Value = serde_json::from_str(yaml.text()).unwrap();
        assert_eq!(read["a"], "<\"A\"\nvalue>");
        for text in [
            "{\"a\": \"https://x\"}",
            "{\"a\": \"plain\"}",
            "{\"a\": \"env://",
            "\"\\",
        ] {
            assert_eq!(resolved("a.json", text), None, "{text}");
        }
    }

    #[test]
    fn a_definition_runs_with_the_values_and_is_shown_as_it_is_written() {
        let text = r#"{"name":"env://NAME","api_id":"a","use_keyless":true,
            "proxy":{"listen_path":"/a/","target_url":"http://h:1/"}}"#;
        let file = SourceFile {
            name: "a.json".to_owned(),
            text: text.into(),
        };
        let all = BTreeMap::from([("a.json".to_owned(), resolved("a.json", text).unwrap())]);
        let parsed = parse_resolved(&[file], &all);
        let definition = parsed[0].result.as_ref().unwrap();
        assert_eq!(definition.api.name, "<\"NAME\"\nvalue>");
        assert_eq!(definition.document.text(), text);
        assert_eq!(parsed[0].classic_value().unwrap()["name"], "env://NAME");
    }

    #[test]
    fn no_value_gets_into_a_message_and_a_reference_without_one_is_told() {
        let text = r#"{"name":"a","api_id":"a","use_keyless":true,"active":"env://SECRET",
            "proxy":{"listen_path":"/a/","target_url":"env://MISSING"}}"#;
        let file = SourceFile {
            name: "a.json".to_owned(),
            text: text.into(),
        };
        let resolved = resolved("a.json", text).unwrap();
        assert!(!format!("{resolved:?}").contains("value>"));
        let all = BTreeMap::from([("a.json".to_owned(), resolved)]);
        let errors = parse_resolved(&[file], &all)[0].result.clone().unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        assert!(
            told.contains("the reference `env://MISSING` is not set"),
            "{told}"
        );
        assert!(!told.contains("value>"), "{told}");
    }
}
