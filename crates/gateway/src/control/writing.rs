//! Endpoints that change definitions. They touch files only; a reload puts the change in force.
//!
//! A definition stays in the file it came from, whatever that is called; a new one is stored under
//! its id. What is changed is what the files say now, which may be newer than what is loaded.
//!
//! Invariants:
//! - Whoever calls holds the one lock on writing.
//! - Nothing is written before the whole change has been accepted.

use std::cell::RefCell;

use portcullis_apidef::{
    DefinitionFile, Format, ParsedDefinition, Replaced, SourceFile,
    control::{
        Accepted, OasParameters, Rejection, VersionParameters, add_version, base_id,
        classic_for_create, classic_for_update, file_names, oas_for_create, oas_for_import,
        oas_for_patch, oas_for_update,
    },
    parse_resolved,
};
use portcullis_config::Resolver;

use super::{
    answer::{self, Answer},
    endpoint::Change,
    runtime::LoadedSet,
};
use crate::definitions::{DefinitionFiles, Referring, WriteError, replaced};

/// Decoded query parameters.
pub(super) type Query = Vec<(String, String)>;

/// What changes definitions.
pub(super) struct Writing<'w> {
    /// The directory.
    pub(super) files: &'w DefinitionFiles,
    /// What is in force.
    pub(super) loaded: &'w LoadedSet,
    /// Definitions come from the Dashboard (`use_db_app_configs`).
    pub(super) dashboard: bool,
    /// What references stand for, by which a definition is judged.
    pub(super) resolver: RefCell<Resolver>,
}

/// What the files of one API say now.
struct Stored {
    /// File names without ending.
    stem: String,
    /// The definition; `None` when its file is gone or broken.
    definition: Option<DefinitionFile>,
    /// Every file that belongs to the API, companions first.
    names: Vec<String>,
}

impl Writing<'_> {
    /// Answers an endpoint that changes something. `id` is empty where the endpoint has none.
    pub(super) fn answer(
        &self,
        change: Change,
        id: &str,
        body: &[u8],
        query: &Query,
    ) -> Result<Answer, Rejection> {
        match change {
            Change::AddApi => self.add(body, query),
            Change::ReplaceApi => self.replace(id, body),
            Change::DeleteApi => self.delete(id),
            Change::AddOas => self.add_oas(body, query),
            Change::ImportOas => self.import_oas(body, query),
            Change::ReplaceOas => self.replace_oas(id, body),
            Change::PatchOas => self.patch_oas(id, body, query),
            Change::DeleteOas => self.delete_oas(id),
        }
    }

    /// What the references of a definition become.
    fn values(&self) -> impl FnMut(&str) -> Option<Replaced> + '_ {
        |text| replaced(&mut self.resolver.borrow_mut(), text)
    }

    fn add(&self, body: &[u8], query: &Query) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        self.create(
            &classic_for_create(&mut self.values(), body, &new_id()?)?,
            query,
        )
    }

    fn add_oas(&self, body: &[u8], query: &Query) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        self.create(
            &oas_for_create(&mut self.values(), body, &new_id()?)?,
            query,
        )
    }

    fn import_oas(&self, body: &[u8], query: &Query) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        let parameters = OasParameters::from_query(pairs(query))?;
        self.create(
            &oas_for_import(&mut self.values(), body, &parameters, &new_id()?)?,
            query,
        )
    }

    fn replace(&self, id: &str, body: &[u8]) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        self.modify(&classic_for_update(
            &mut self.values(),
            body,
            id,
            self.format(id),
        )?)
    }

    fn replace_oas(&self, id: &str, body: &[u8]) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        self.modify(&oas_for_update(
            &mut self.values(),
            body,
            id,
            self.format(id),
        )?)
    }

    fn patch_oas(&self, id: &str, body: &[u8], query: &Query) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        let parameters = OasParameters::from_query(pairs(query))?;
        let stored = self.current(id);
        let document = stored
            .as_ref()
            .and_then(|file| match (&file.companion, &file.result) {
                (Some(companion), _) => Some(companion),
                (None, Ok(parsed)) => Some(&parsed.document),
                (None, Err(_)) => None,
            });
        self.modify(&oas_for_patch(
            &mut self.values(),
            body,
            &parameters,
            id,
            document,
        )?)
    }

    /// Tyk refuses this in Dashboard mode only for OAS APIs.
    fn delete(&self, id: &str) -> Result<Answer, Rejection> {
        // An API whose file is broken can be deleted by the id it had or would have.
        let broken = |file: &&DefinitionFile| file.result.is_err() && stem(file) == id;
        let file = match self.loaded.find(id) {
            Some((file, _)) => file,
            None => self
                .loaded
                .files
                .iter()
                .find(broken)
                .ok_or_else(Rejection::not_found)?,
        };
        let names = self.stored(id, file).names;
        match self.files.delete(&names) {
            Ok(true) => {
                tracing::info!(api_id = id, files = ?names, "API definition deleted");
                Ok(answer::changed(id, "deleted"))
            }
            Ok(false) => Err(Rejection::delete_failed()),
            Err(error) => {
                log(id, &error);
                Err(Rejection::delete_failed())
            }
        }
    }

    fn delete_oas(&self, id: &str) -> Result<Answer, Rejection> {
        self.refuse_in_dashboard_mode()?;
        self.delete(id)
    }

    fn refuse_in_dashboard_mode(&self) -> Result<(), Rejection> {
        if self.dashboard {
            Err(Rejection::dashboard_mode())
        } else {
            Ok(())
        }
    }

    /// Stores a new API and, when it is a version of another, says so in that one.
    fn create(&self, accepted: &Accepted, query: &Query) -> Result<Answer, Rejection> {
        let parameters = VersionParameters::from_query(pairs(query));
        let base = self.current(&parameters.base_api_id);
        let base_parts = base
            .as_ref()
            .and_then(|file| Some((parsed(file)?, file.companion.as_ref())));
        let apis = || self.loaded.parsed().map(|(_, parsed)| &parsed.api);
        let is_version = base_id(&parameters.base_api_id, apis()).is_some();
        let base = add_version(
            &mut self.values(),
            &parameters,
            base_parts,
            is_version,
            &accepted.id,
        )?;
        self.store(accepted)?;
        if let Some(base) = base {
            // Second, so that a base never names a version that is not there.
            self.store(&base)?;
        }
        Ok(answer::changed(&accepted.id, "added"))
    }

    fn modify(&self, accepted: &Accepted) -> Result<Answer, Rejection> {
        self.store(accepted)?;
        Ok(answer::changed(&accepted.id, "modified"))
    }

    /// Writes an API's files and removes those it no longer has.
    fn store(&self, accepted: &Accepted) -> Result<(), Rejection> {
        let id = &accepted.id;
        for warning in &accepted.warnings {
            tracing::warn!(api_id = %id, "{warning}");
        }
        let stored = match self.loaded.find(id) {
            Some((file, _)) => self.stored(id, file),
            None => self.stored_as(id, &format!("{id}.json"), id.clone()),
        };
        let files = accepted.files(&stored.stem);
        let failed = |error: WriteError| {
            log(id, &error);
            Rejection::write_failed()
        };
        self.files.write(id, &files).map_err(failed)?;
        let left: Vec<&String> = stored
            .names
            .iter()
            .filter(|name| files.iter().all(|file| file.name != **name))
            .collect();
        self.files.delete(&left).map_err(failed)?;
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        tracing::info!(api_id = %id, files = ?names, "API definition stored");
        Ok(())
    }

    /// What the files of a loaded API say now, what is loaded when they say nothing.
    fn current(&self, id: &str) -> Option<DefinitionFile> {
        let (file, _) = self.loaded.find(id)?;
        Some(
            self.stored(id, file)
                .definition
                .unwrap_or_else(|| file.clone()),
        )
    }

    /// How a loaded API counts now.
    fn format(&self, id: &str) -> Option<Format> {
        self.current(id)?.format()
    }

    fn stored(&self, id: &str, file: &DefinitionFile) -> Stored {
        self.stored_as(id, &file.name, stem(file))
    }

    fn stored_as(&self, id: &str, name: &str, stem: String) -> Stored {
        let mut names = vec![name.to_owned()];
        names.extend(file_names(&stem).into_iter().filter(|other| other != name));
        let sources: Vec<SourceFile> = self.files.read(&names);
        let referring = Referring::among(&sources, &mut self.resolver.borrow_mut());
        let parsed = parse_resolved(&sources, referring.resolved());
        let is_api = |name: &str| parsed.iter().find(|file| file.name == name);
        // A file that is no API by itself is the companion of one; an API of another id is not ours.
        let ours = |file: &&SourceFile| {
            is_api(&file.name).is_none_or(|file| file.name == name || has_id(file, id))
        };
        let mut names: Vec<String> = sources
            .iter()
            .filter(ours)
            .map(|file| file.name.clone())
            .collect();
        names.sort_by_key(|name| is_api(name).is_some());
        let definition = parsed
            .iter()
            .find(|file| file.name == name && has_id(file, id))
            .cloned();
        Stored {
            stem,
            definition,
            names,
        }
    }
}

/// The name of an API's files without ending, as `<stem>.json` and `<stem>-oas.json` have it.
fn stem(file: &DefinitionFile) -> String {
    let stem = file
        .name
        .rsplit_once('.')
        .map_or(&*file.name, |(stem, _)| stem);
    let alone = file.companion.is_none() && file.format() == Some(Format::Oas);
    stem.strip_suffix("-oas")
        .filter(|_| alone)
        .unwrap_or(stem)
        .to_owned()
}

fn parsed(file: &DefinitionFile) -> Option<&ParsedDefinition> {
    file.result.as_ref().ok()
}

fn has_id(file: &DefinitionFile, id: &str) -> bool {
    parsed(file).is_some_and(|parsed| parsed.api.id == id)
}

fn pairs(query: &Query) -> impl Iterator<Item = (&str, &str)> {
    query
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
}

/// The client learns that it failed; why is for the log, which may name directories.
fn log(id: &str, error: &WriteError) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(
        api_id = id,
        reason = source,
        "API definition not changed: {error}"
    );
}

/// 32 hex digits for an API that comes without an id.
fn new_id() -> Result<String, Rejection> {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).map_err(|_| Rejection::write_failed())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
