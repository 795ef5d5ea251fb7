//! What the Control API does with definitions, as pure functions.
//!
//! Bodies and query parameters in; documents to store, or a [`Rejection`] with status and
//! text, out. Routing, authorisation, files and reloads belong to the caller:
//!
//! | request | function |
//! |--|--|
//! | `POST /apis` | [`classic_for_create`] |
//! | `PUT /apis/{id}` | [`classic_for_update`] |
//! | `GET /apis`, `GET /apis/{id}` | [`classic_view`] for OAS APIs, the document itself else |
//! | `GET /apis/{id}/versions` | [`version_list`]; header `x-tyk-base-api-id`: [`base_id`] |
//! | `POST /apis/oas` | [`oas_for_create`] |
//! | `PUT /apis/oas/{id}` | [`oas_for_update`] |
//! | `PATCH /apis/oas/{id}` | [`oas_for_patch`] |
//! | `POST /apis/oas/import` | [`oas_for_import`] |
//! | `GET /apis/oas/export`, `…/{id}/export` | [`public_oas`], [`export_name`] |
//! | `base_api_id=…` on a create | [`add_version`] |
//!
//! References to values kept elsewhere are judged by what they stand for, which `replace` says;
//! what is stored is what is written.
//!
//! Invariant: an OAS API is stored as a pair of files of which the Classic one runs, so a
//! pair is only accepted when its Classic half asks for every protection of the other.

mod classic_write;
mod import;
mod oas_write;
mod projection;
mod rejection;
mod schema;
mod versions;

use serde_json::Value;

use crate::document::{Document, Format, ParsedDefinition, interpret};
use crate::report::{DefinitionError, Warning};
use crate::source::SourceFile;
use crate::substitute::{Replace, in_tree_of};

pub use classic_write::{classic_for_create, classic_for_update};
pub use import::{OasParameters, export_name, oas_for_import, oas_for_patch, public_oas};
pub use oas_write::{oas_for_create, oas_for_update};
pub use projection::classic_view;
pub use rejection::Rejection;
pub use versions::{
    VersionEntry, VersionListing, VersionParameters, add_version, base_id, version_list,
};

/// A definition the Control API takes, ready to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The API's id.
    pub id: String,
    /// The Classic document, which is what runs.
    pub classic: Document,
    /// The OAS document of an OAS API.
    pub oas: Option<Document>,
    /// What to tell the operator.
    pub warnings: Vec<Warning>,
}

impl Accepted {
    /// The files to write, `stem` being the API's id or the name its file already has:
    /// `<stem>.json`, and `<stem>-oas.json` for an OAS API.
    #[must_use]
    pub fn files(&self, stem: &str) -> Vec<SourceFile> {
        let file = |name: String, document: &Document| SourceFile {
            name,
            text: pretty(&document.value()).into(),
        };
        let mut files = vec![file(format!("{stem}.json"), &self.classic)];
        files.extend(
            self.oas
                .iter()
                .map(|oas| file(format!("{stem}-oas.json"), oas)),
        );
        files
    }
}

/// The files that belong to an API stored under `stem`, to delete them.
#[must_use]
pub fn file_names(stem: &str) -> [String; 3] {
    [
        format!("{stem}.json"),
        format!("{stem}-oas.json"),
        format!("{stem}-mcp.json"),
    ]
}

/// Whether an id may be stored: it becomes a file name.
#[must_use]
pub fn is_valid_id(id: &str) -> bool {
    !id.is_empty()
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-~".contains(c))
}

fn pretty(value: &Value) -> String {
    // A tree of JSON values always has a JSON text.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Why a definition cannot be taken.
struct Unusable {
    errors: Vec<DefinitionError>,
    /// About its references, which may be what the errors come from.
    notes: Vec<String>,
}

impl Unusable {
    /// The reason Tyk gives, when it is one of Tyk's, else ours.
    fn reason(&self) -> String {
        let is_there = |reason: &&&str| self.errors.iter().any(|e| e.problem == ***reason);
        let known = crate::classic::TYK_REASONS.iter().find(is_there);
        let mut reason = match (known, self.errors.first()) {
            (Some(reason), _) => (*reason).to_owned(),
            (None, Some(error)) => error.to_string(),
            (None, None) => String::new(),
        };
        for note in &self.notes {
            reason.push_str("; ");
            reason.push_str(note);
        }
        reason
    }
}

/// A definition as it would run, whose document is what is written; whether it has references.
fn judge(
    format: Format,
    value: &Value,
    replace: &mut Replace<'_>,
) -> Result<(ParsedDefinition, bool), Unusable> {
    let document = Document::new(format, value);
    let (value, told) = in_tree_of(value, replace);
    match interpret(document, value, None) {
        Ok(mut parsed) => {
            told.tell(&mut parsed.warnings);
            Ok((parsed, told.has_values()))
        }
        Err(mut errors) => {
            told.hide_values(&mut errors);
            Err(Unusable {
                errors,
                notes: told.notes().to_vec(),
            })
        }
    }
}
