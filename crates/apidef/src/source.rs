//! The files of `app_path`, as texts, become definitions.
//!
//! Pure: names and texts in, results out; who reads the directory and watches it is
//! somebody else's business.
//!
//! Rules:
//! - `.json` is Classic or OAS, whichever the content is; `.yaml` and `.yml` are OAS.
//! - `X-oas.json` and `X-mcp.json` beside `X.json` are companions when they hold an OpenAPI
//!   document: `X.json` is what runs, the companion is kept for reading and export.
//! - Files are taken in the order of their names, because the first of two APIs that want the
//!   same path keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Document, Format, Notation, ParsedDefinition, format_of, parse};
use crate::json::from_json;
use crate::report::{DefinitionError, Warning};

/// One file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// File name without directory.
    pub name: String,
    /// Its content.
    pub text: Arc<str>,
}

/// One API that a file defines, or why it does not.
#[derive(Debug, Clone, PartialEq)]
pub struct DefinitionFile {
    /// The file's name.
    pub name: String,
    /// The OpenAPI document of a pair of files, for reading and export.
    pub companion: Option<Document>,
    /// The definition, or everything that is wrong with it.
    pub result: Result<ParsedDefinition, Vec<DefinitionError>>,
}

/// Whether a file of this name is looked at. Hidden files are editors' leftovers.
#[must_use]
pub fn is_definition_name(name: &str) -> bool {
    !name.starts_with('.') && notation(name).is_some()
}

/// Parses the definitions among `files`.
#[must_use]
pub fn parse_files(files: &[SourceFile]) -> Vec<DefinitionFile> {
    let named: BTreeMap<&str, &SourceFile> = files
        .iter()
        .filter(|f| is_definition_name(&f.name))
        .map(|f| (f.name.as_str(), f))
        .collect();
    named
        .values()
        .filter(|file| owner(&file.name).is_none_or(|o| !is_companion(&named, &o, file)))
        .map(|file| parse_file(&named, file))
        .collect()
}

fn parse_file(named: &BTreeMap<&str, &SourceFile>, file: &SourceFile) -> DefinitionFile {
    let stem = file
        .name
        .rsplit_once('.')
        .map_or(file.name.as_str(), |(stem, _)| stem);
    let notation = notation(&file.name).unwrap_or(Notation::Json);
    let mut result = parse(&file.text, notation, None, Some(stem));
    let companion = ["oas", "mcp"].iter().find_map(|kind| {
        let name = format!("{stem}-{kind}.json");
        let companion = named.get(name.as_str())?;
        (notation == Notation::Json && is_companion(named, &file.name, companion))
            .then_some(*companion)
    });
    if let (Ok(parsed), Some(companion)) = (&mut result, companion) {
        compare(parsed, companion, stem);
    }
    let companion = companion.and_then(|file| {
        from_json(&file.text)
            .ok()
            .map(|value| Document::new(Format::Oas, &value))
    });
    DefinitionFile {
        name: file.name.clone(),
        companion,
        result,
    }
}

/// Warns when the companion says something else than what runs.
fn compare(parsed: &mut ParsedDefinition, companion: &SourceFile, stem: &str) {
    let message = match parse(
        &companion.text,
        Notation::Json,
        Some(Format::Oas),
        Some(stem),
    ) {
        Ok(other) => {
            let differing = differences(parsed, &other);
            if differing.is_empty() {
                return;
            }
            format!(
                "{} says something else about {}; this file is what runs",
                companion.name,
                differing.join(", ")
            )
        }
        Err(errors) => format!(
            "{} cannot be read ({}); this file is what runs",
            companion.name,
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        ),
    };
    let path = "definition".to_owned();
    parsed.warnings.push(Warning {
        path,
        message,
        unknown_member: false,
    });
}

fn differences(a: &ParsedDefinition, b: &ParsedDefinition) -> Vec<&'static str> {
    let (a, b) = (&a.api, &b.api);
    [
        (a.id != b.id, "the id"),
        (
            a.active != b.active || a.internal != b.internal,
            "whether it is active or internal",
        ),
        (
            a.domain != b.domain || a.listen_path != b.listen_path,
            "domain or listen path",
        ),
        (
            a.strip_listen_path != b.strip_listen_path,
            "stripping the listen path",
        ),
        (a.listener != b.listener, "the listener"),
        (
            a.server_certificates != b.server_certificates,
            "server certificates",
        ),
        (a.upstream != b.upstream, "the upstream"),
        (a.versioning != b.versioning, "versions"),
        (a.enforce_timeout != b.enforce_timeout, "the time limit"),
        (
            a.endpoint_timeouts != b.endpoint_timeouts,
            "time limits of endpoints",
        ),
        (a.protections != b.protections, "protections"),
    ]
    .into_iter()
    .filter_map(|(differs, what)| differs.then_some(what))
    .collect()
}

/// The file a companion of this name would belong to.
fn owner(name: &str) -> Option<String> {
    let stem = name
        .strip_suffix("-oas.json")
        .or_else(|| name.strip_suffix("-mcp.json"))?;
    Some(format!("{stem}.json"))
}

fn is_companion(named: &BTreeMap<&str, &SourceFile>, owner: &str, file: &SourceFile) -> bool {
    named.contains_key(owner)
        && from_json(&file.text).is_ok_and(|value| format_of(&value) == Format::Oas)
}

fn notation(name: &str) -> Option<Notation> {
    match name.rsplit_once('.')?.1 {
        "json" => Some(Notation::Json),
        "yaml" | "yml" => Some(Notation::Yaml),
        _ => None,
    }
}

/// Parses one definition that is not from a directory, in either notation and format.
///
/// `fallback_id` names the API when the definition does not.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse_definition(
    text: &str,
    fallback_id: Option<&str>,
) -> Result<ParsedDefinition, Vec<DefinitionError>> {
    let json = text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('{');
    parse(
        text,
        if json { Notation::Json } else { Notation::Yaml },
        None,
        fallback_id,
    )
}
