//! What the Control API needs of the running gateway.

use std::{pin::Pin, sync::Arc};

use portcullis_apidef::{DefinitionFile, ParsedDefinition, policies::PolicySet};
use serde::Serialize;

/// What is loaded: the definitions behind the current snapshot.
#[derive(Debug, Default)]
pub struct LoadedSet {
    /// Counts reloads that took effect; 0 before the first.
    pub generation: u64,
    /// The definition files, in load order, broken ones included.
    pub files: Arc<Vec<DefinitionFile>>,
    /// Policies of keys, by id.
    pub policies: Arc<PolicySet>,
    /// APIs that answer 503, and files that could not become an API.
    pub quarantine: Vec<QuarantineEntry>,
    /// Ids of APIs whose allow list lets nobody pass.
    pub closed: Vec<String>,
    /// What is wrong with revocation lists, each with its place.
    pub doubtful_crls: Vec<String>,
}

/// One entry of the quarantine list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuarantineEntry {
    /// `api_id`, empty when the file gave none.
    pub api_id: String,
    /// The human name, empty when the file gave none.
    pub name: String,
    /// File name within `app_path`.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// How far the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// No snapshot yet.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what it has.
    Draining,
}

/// The running gateway.
pub trait Runtime: Send + Sync {
    /// What is loaded.
    fn loaded(&self) -> Arc<LoadedSet>;
    /// How far the gateway is.
    fn readiness(&self) -> Readiness;
    /// Asks for a reload; it happens within `reload_interval`.
    fn request_reload(&self);
    /// Who uses a certificate of the store, in words for a log; nobody when the list is empty.
    fn users_of_certificate(&self, _id: &str) -> Vec<String> {
        Vec::new()
    }
    /// Asks for a reload and waits until it is over.
    fn reload_and_wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl LoadedSet {
    /// The file and definition of an API. Of two with the same id, the first.
    pub(super) fn find(&self, id: &str) -> Option<(&DefinitionFile, &ParsedDefinition)> {
        self.parsed().find(|(_, parsed)| parsed.api.id == id)
    }

    /// Every file that defines an API.
    pub(crate) fn parsed(&self) -> impl Iterator<Item = (&DefinitionFile, &ParsedDefinition)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.result.as_ref().ok()?)))
    }
}
