//! Endpoints that show definitions. All of them answer from the loaded set, so a definition that
//! has been added is unknown here until it is loaded.

use http::HeaderName;
use portcullis_apidef::{
    DefinitionFile, ParsedDefinition,
    control::{Rejection, base_id, export_name, public_oas, version_list},
};
use serde_json::Value;

use super::{
    answer::{self, Answer},
    endpoint::Show,
    runtime::LoadedSet,
};

/// Names the base of an API that is a version.
const BASE_API_ID: HeaderName = HeaderName::from_static("x-tyk-base-api-id");

/// Answers an endpoint that shows something. `id` is empty where the endpoint has none; `public`
/// asks exports to leave the gateway's settings out.
pub(super) fn answer(
    show: Show,
    loaded: &LoadedSet,
    id: &str,
    public: bool,
) -> Result<Answer, Rejection> {
    match show {
        Show::Apis => Ok(list(loaded)),
        Show::Api => one(loaded, id),
        Show::Versions => versions(loaded, id),
        Show::AllOas => Ok(answer::shown(&oas_documents(loaded))),
        Show::Oas => Ok(of_base(
            loaded,
            id,
            answer::shown(&oas_document(loaded, id)?),
        )),
        Show::ExportAllOas => Ok(export_all(loaded, public)),
        Show::ExportOas => export(loaded, id, public),
        Show::Quarantine => Ok(answer::shown(&loaded.quarantine)),
    }
}

/// Every API as Classic.
fn list(loaded: &LoadedSet) -> Answer {
    let all: Vec<Value> = loaded
        .files
        .iter()
        .filter_map(DefinitionFile::classic_value)
        .collect();
    answer::shown(&all)
}

/// One API as Classic.
fn one(loaded: &LoadedSet, id: &str) -> Result<Answer, Rejection> {
    let (file, _) = found(loaded, id)?;
    let value = file.classic_value().ok_or_else(Rejection::not_found)?;
    Ok(of_base(loaded, id, answer::shown(&value)))
}

/// One OAS API as a file; with `public`, without the gateway's settings.
fn export(loaded: &LoadedSet, id: &str, public: bool) -> Result<Answer, Rejection> {
    let document = oas_document(loaded, id)?;
    let document = if public {
        public_oas(&document)
    } else {
        document
    };
    Ok(answer::file(&export_name(Some(id), public), &document))
}

/// All OAS APIs as one file.
fn export_all(loaded: &LoadedSet, public: bool) -> Answer {
    let mut documents = oas_documents(loaded);
    if public {
        documents = documents.iter().map(public_oas).collect();
    }
    answer::file(&export_name(None, public), &documents)
}

/// An API and its versions.
fn versions(loaded: &LoadedSet, id: &str) -> Result<Answer, Rejection> {
    let (_, base) = found(loaded, id)?;
    let listing = version_list(base, |id| loaded.find(id).map(|(_, parsed)| parsed));
    Ok(answer::shown(&listing))
}

fn found<'l>(
    loaded: &'l LoadedSet,
    id: &str,
) -> Result<(&'l DefinitionFile, &'l ParsedDefinition), Rejection> {
    loaded.find(id).ok_or_else(Rejection::not_found)
}

fn oas_document(loaded: &LoadedSet, id: &str) -> Result<Value, Rejection> {
    let (file, _) = found(loaded, id)?;
    file.oas_value().ok_or_else(Rejection::classic_read_as_oas)
}

fn oas_documents(loaded: &LoadedSet) -> Vec<Value> {
    loaded
        .files
        .iter()
        .filter_map(DefinitionFile::oas_value)
        .collect()
}

/// Says which API this one is a version of, if it is.
fn of_base(loaded: &LoadedSet, id: &str, shown: Answer) -> Answer {
    match base_id(id, loaded.parsed().map(|(_, parsed)| &parsed.api)) {
        Some(base) => answer::with_header(shown, BASE_API_ID, base),
        None => shown,
    }
}
