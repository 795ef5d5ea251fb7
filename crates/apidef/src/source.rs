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

use serde_json::Value;

use crate::control::classic_view;
use crate::document::{Document, Format, Notation, ParsedDefinition, as_written, format_of, parse};
use crate::json::from_json;
use crate::oas::EXTENSION;
use crate::place::{Place, place};
use crate::report::{DefinitionError, Warning};
use crate::substitute::Resolved;

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
    /// Where a definition that is wrong wants to be, when it says so.
    pub place: Option<Place>,
}

impl DefinitionFile {
    /// Whether the Control API treats this API as an OAS or a Classic one. `None` when the file
    /// is broken.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        let parsed = self.result.as_ref().ok()?;
        Some(if self.companion.is_some() {
            Format::Oas
        } else {
            parsed.document.format()
        })
    }

    /// What `GET /apis/{id}` shows: the Classic definition, projected for an OAS file alone.
    #[must_use]
    pub fn classic_value(&self) -> Option<Value> {
        let parsed = self.result.as_ref().ok()?;
        let mut value = match parsed.document.format() {
            Format::Classic => parsed.document.value(),
            Format::Oas => classic_view(&parsed.document.value()),
        };
        if value.get("api_id").is_none() {
            value["api_id"] = parsed.api.id.as_str().into();
        }
        Some(value)
    }

    /// What `GET /apis/oas/{id}` shows; `None` for a Classic API.
    #[must_use]
    pub fn oas_value(&self) -> Option<Value> {
        let parsed = self.result.as_ref().ok()?;
        let document = match (&self.companion, parsed.document.format()) {
            (Some(companion), _) => companion,
            (None, Format::Oas) => &parsed.document,
            (None, Format::Classic) => return None,
        };
        let mut value = document.value();
        let info = value.get_mut(EXTENSION).and_then(|e| e.get_mut("info"));
        if let Some(Value::Object(info)) = info
            && !info.contains_key("id")
        {
            info.insert("id".to_owned(), parsed.api.id.as_str().into());
        }
        Some(value)
    }
}

/// Whether a file of this name is looked at.
#[must_use]
pub fn is_definition_name(name: &str) -> bool {
    notation(name).is_some()
}

/// Parses the definitions among `files` as they are written.
#[must_use]
pub fn parse_files(files: &[SourceFile]) -> Vec<DefinitionFile> {
    parse_resolved(files, &BTreeMap::new())
}

/// Parses the definitions among `files`, those with references by what these stand for: `resolved`
/// has them by file name. What the Control API shows stays what is written.
#[must_use]
pub fn parse_resolved(
    files: &[SourceFile],
    resolved: &BTreeMap<String, Resolved>,
) -> Vec<DefinitionFile> {
    let named: BTreeMap<&str, &SourceFile> = files
        .iter()
        .filter(|f| is_definition_name(&f.name))
        .map(|f| (f.name.as_str(), f))
        .collect();
    named
        .values()
        .filter(|file| owner(&file.name).is_none_or(|o| !is_companion(&named, &o, file)))
        .map(|file| parse_file(&named, resolved, file))
        .collect()
}

fn parse_file(
    named: &BTreeMap<&str, &SourceFile>,
    resolved: &BTreeMap<String, Resolved>,
    file: &SourceFile,
) -> DefinitionFile {
    fn text<'a>(file: &'a SourceFile, resolved: &'a BTreeMap<String, Resolved>) -> &'a str {
        resolved.get(&file.name).map_or(&*file.text, Resolved::text)
    }
    let stem = file
        .name
        .rsplit_once('.')
        .map_or(file.name.as_str(), |(stem, _)| stem);
    let notation = notation(&file.name).unwrap_or(Notation::Json);
    let mut result = parse(text(file, resolved), notation, None, Some(stem));
    let place = match result {
        Ok(_) => None,
        Err(_) => place(text(file, resolved), notation, stem),
    };
    let companion = ["oas", "mcp"].iter().find_map(|kind| {
        let name = format!("{stem}-{kind}.json");
        let companion = named.get(name.as_str())?;
        (notation == Notation::Json && is_companion(named, &file.name, companion))
            .then_some(*companion)
    });
    if let (Ok(parsed), Some(companion)) = (&mut result, companion) {
        compare(parsed, &companion.name, text(companion, resolved), stem);
    }
    if let Some(resolved) = resolved.get(&file.name) {
        match &mut result {
            Ok(parsed) => {
                resolved.told().tell(&mut parsed.warnings);
                parsed.document = as_written(&file.text, notation, parsed.document.format());
            }
            Err(errors) => resolved.told().explain(errors),
        }
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
        place,
    }
}

/// Warns when the companion says something else than what runs.
fn compare(parsed: &mut ParsedDefinition, companion: &str, text: &str, stem: &str) {
    let message = match parse(text, Notation::Json, Some(Format::Oas), Some(stem)) {
        Ok(other) => {
            let differing = differences(parsed, &other);
            if differing.is_empty() {
                return;
            }
            format!(
                "{companion} says something else about {}; this file is what runs",
                differing.join(", ")
            )
        }
        Err(errors) => format!(
            "{companion} cannot be read ({}); this file is what runs",
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

/// What two definitions say differently.
pub(crate) fn differences(a: &ParsedDefinition, b: &ParsedDefinition) -> Vec<&'static str> {
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
        (a.breakers != b.breakers, "circuit breakers"),
        (a.uptime_tests != b.uptime_tests, "uptime tests"),
        (a.open_paths != b.open_paths, "paths without authentication"),
        (a.error_overrides != b.error_overrides, "error answers"),
        (
            a.authentication != b.authentication || a.session_lifetime != b.session_lifetime,
            "authentication",
        ),
        (a.limits != b.limits, "rate limits"),
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

pub(crate) fn notation(name: &str) -> Option<Notation> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile {
            name: name.to_owned(),
            text: text.into(),
        }
    }

    fn classic(id: &str, path: &str) -> String {
        format!(
            r#"{{"name":"a","api_id":"{id}","use_keyless":true,"is_oas":true,
               "proxy":{{"listen_path":"{path}","target_url":"http://h:1/"}}}}"#
        )
    }

    fn oas(path: &str) -> String {
        format!(
            r#"{{"openapi":"3.0.3","info":{{"title":"a","version":"1"}},"paths":{{}},
               "x-tyk-api-gateway":{{"info":{{"name":"a","state":{{"active":true}}}},
               "server":{{"listenPath":{{"value":"{path}"}}}},"upstream":{{"url":"http://h:1/"}}}}}}"#
        )
    }

    #[test]
    fn files_come_in_the_order_of_their_names_and_others_are_left_out() {
        let files = [
            file("b.json", &classic("b", "/b/")),
            file("README.md", "x"),
            file("a.json", &classic("a", "/a/")),
            file("c.json", "{"),
        ];
        let parsed = parse_files(&files);
        let names: Vec<_> = parsed.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a.json", "b.json", "c.json"]);
        assert!(parsed[2].result.is_err());
    }

    #[test]
    fn of_a_pair_the_classic_file_runs_and_a_difference_is_warned_about() {
        let same = [
            file("x.json", &classic("x", "/x/")),
            file("x-oas.json", &oas("/x/")),
        ];
        let parsed = parse_files(&same);
        assert_eq!(parsed.len(), 1);
        assert!(parsed[0].companion.is_some());
        assert_eq!(parsed[0].format(), Some(Format::Oas));
        assert_eq!(parsed[0].classic_value().unwrap()["is_oas"], true);
        assert_eq!(parsed[0].oas_value().unwrap()["openapi"], "3.0.3");
        assert_eq!(parsed[0].result.as_ref().unwrap().warnings, []);

        let other = [
            file("x.json", &classic("x", "/x/")),
            file("x-oas.json", &oas("/y/")),
        ];
        let parsed = parse_files(&other);
        let parsed = parsed[0].result.as_ref().unwrap();
        assert_eq!(parsed.api.listen_path, "/x/");
        assert!(
            parsed.warnings[0]
                .message
                .contains("x-oas.json says something else")
        );

        let broken = [
            file("x.json", &classic("x", "/x/")),
            file("x-oas.json", r#"{"openapi":1}"#),
        ];
        assert!(
            parse_files(&broken)[0]
                .result
                .as_ref()
                .unwrap()
                .warnings
                .len()
                == 1
        );
    }

    #[test]
    fn an_oas_file_alone_is_an_api_named_by_its_file_when_it_has_no_id() {
        let yaml = "openapi: 3.0.3\ninfo: {title: a, version: '1'}\npaths: {}\n\
            x-tyk-api-gateway:\n  info: {name: a, state: {active: true}}\n  \
            server: {listenPath: {value: /z/}}\n  upstream: {url: 'http://h:1'}\n";
        let parsed = parse_files(&[
            file("lonely-oas.json", &oas("/x/")),
            file("y.json", &oas("/y/")),
            file("z.yaml", yaml),
        ]);
        let ids: Vec<_> = parsed
            .iter()
            .map(|f| f.result.as_ref().unwrap().api.id.clone())
            .collect();
        assert_eq!(ids, ["lonely-oas", "y", "z"]);
        let yaml = &parsed[2];
        assert_eq!(yaml.format(), Some(Format::Oas));
        assert_eq!(yaml.classic_value().unwrap()["api_id"], "z");
        assert_eq!(
            yaml.oas_value().unwrap()["x-tyk-api-gateway"]["info"]["id"],
            "z"
        );
    }

    #[test]
    fn a_classic_file_that_only_looks_like_a_companion_is_an_api() {
        let parsed = parse_files(&[
            file("x.json", &classic("x", "/x/")),
            file("x-oas.json", &classic("y", "/y/")),
        ]);
        assert_eq!(parsed.len(), 2);
    }
}
