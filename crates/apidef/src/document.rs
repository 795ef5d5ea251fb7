//! A definition as it was written, and what it means.
//!
//! The text is kept, not the tree: ten thousand definitions cost their own size, members we
//! do not know survive a round trip, and the tree is built again when somebody asks for it.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::api::Api;
use crate::classic;
use crate::json::{from_json, from_yaml};
use crate::members::canonicalise;
use crate::oas;
use crate::reader::Node;
use crate::report::{DefinitionError, ErrorKind, Report, Warning};

/// The two formats a definition may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One flat JSON object, Tyk's older format.
    Classic,
    /// An OpenAPI document with the extension `x-tyk-api-gateway`.
    Oas,
}

/// A definition as JSON text, whatever notation it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    format: Format,
    text: Arc<str>,
}

impl Document {
    /// Wraps a tree.
    #[must_use]
    pub fn new(format: Format, value: &Value) -> Self {
        Self {
            format,
            text: value.to_string().into(),
        }
    }

    /// Which format it is in.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The JSON text, as written when it was written in JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tree, with every member that was written.
    #[must_use]
    pub fn value(&self) -> Value {
        // The text was parsed before it became a document.
        from_json(&self.text).unwrap_or(Value::Null)
    }
}

/// Definitions hold secrets, so only their size is shown.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({:?}, {} bytes)", self.format, self.text.len())
    }
}

/// A definition that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedDefinition {
    /// What the gateway runs.
    pub api: Api,
    /// What was written.
    pub document: Document,
    /// What to know about it.
    pub warnings: Vec<Warning>,
}

/// Parses a Classic definition from JSON.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse_classic(bytes: &[u8]) -> Result<ParsedDefinition, Vec<DefinitionError>> {
    parse(utf8(bytes)?, Notation::Json, Some(Format::Classic), None)
}

/// Parses an OAS definition from JSON or, when it does not start like JSON, from YAML.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse_oas(bytes: &[u8]) -> Result<ParsedDefinition, Vec<DefinitionError>> {
    let text = utf8(bytes)?;
    let json = text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('{');
    let notation = if json { Notation::Json } else { Notation::Yaml };
    parse(text, notation, Some(Format::Oas), None)
}

/// How the text of a definition is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    Json,
    Yaml,
}

/// Parses text whose format may be for the content to tell: a document with `openapi` or
/// `swagger` is OAS. `fallback_id` names an API without an id.
pub(crate) fn parse(
    text: &str,
    notation: Notation,
    format: Option<Format>,
    fallback_id: Option<&str>,
) -> Result<ParsedDefinition, Vec<DefinitionError>> {
    let value = tree(text, notation).map_err(unreadable)?;
    let format = format.unwrap_or_else(|| format_of(&value));
    let document = match notation {
        Notation::Json => Document {
            format,
            text: text.trim_start_matches('\u{feff}').into(),
        },
        Notation::Yaml => Document::new(format, &value),
    };
    interpret(document, value, fallback_id)
}

/// The document of a text that was parsed with its references replaced: what is written counts.
pub(crate) fn as_written(text: &str, notation: Notation, format: Format) -> Document {
    match notation {
        Notation::Json => Document {
            format,
            text: text.trim_start_matches('\u{feff}').into(),
        },
        Notation::Yaml => Document::new(format, &tree(text, notation).unwrap_or(Value::Null)),
    }
}

/// The tree of a text, or what is wrong with its notation.
pub(crate) fn tree(text: &str, notation: Notation) -> Result<Value, String> {
    match notation {
        Notation::Json => from_json(text),
        Notation::Yaml => from_yaml(text),
    }
}

/// Reads a tree that belongs to `document`.
pub(crate) fn interpret(
    document: Document,
    mut value: Value,
    fallback_id: Option<&str>,
) -> Result<ParsedDefinition, Vec<DefinitionError>> {
    let report = Report::default();
    let shape = match document.format {
        Format::Classic => &classic::members::ROOT,
        Format::Oas => &oas::members::ROOT,
    };
    canonicalise(&mut value, shape, &report);
    let root = Node::root(&value, &report);
    let api = match document.format {
        Format::Classic => classic::api(&root, fallback_id),
        Format::Oas => oas::api(&root, fallback_id),
    };
    let warnings = report.finish()?;
    match api {
        Some(api) => Ok(ParsedDefinition {
            api,
            document,
            warnings,
        }),
        None => Err(unreadable("the definition is incomplete".to_owned())),
    }
}

/// The format of a tree.
pub(crate) fn format_of(value: &Value) -> Format {
    let openapi = value.get("openapi").is_some() || value.get("swagger").is_some();
    if openapi {
        Format::Oas
    } else {
        Format::Classic
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Vec<DefinitionError>> {
    std::str::from_utf8(bytes)
        .map_err(|e| unreadable(format!("not UTF-8 text from byte {}", e.valid_up_to())))
}

fn unreadable(problem: String) -> Vec<DefinitionError> {
    vec![DefinitionError {
        path: "definition".to_owned(),
        problem,
        accepted: String::new(),
        hint: String::new(),
        kind: ErrorKind::Unreadable,
    }]
}
