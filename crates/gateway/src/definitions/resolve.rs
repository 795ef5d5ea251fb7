//! References in definitions get their values before the definitions are read.

use std::collections::BTreeMap;

use portcullis_apidef::{Replaced, Resolved, SourceFile};
use portcullis_config::Resolver;

/// The files that hold references, and what these stood for when they were last asked for.
#[derive(Debug, Default)]
pub struct Referring {
    files: Vec<SourceFile>,
    resolved: BTreeMap<String, Resolved>,
}

impl Referring {
    /// Asks for every reference in `files`. May take as long as the sources' time limits allow.
    pub fn among(files: &[SourceFile], resolver: &mut Resolver) -> Self {
        let resolved = resolve(files, resolver);
        let files = files
            .iter()
            .filter(|file| resolved.contains_key(&file.name));
        Self {
            files: files.cloned().collect(),
            resolved,
        }
    }

    /// Whether the references of these files stand for what they stood for, asked anew.
    pub fn are_the_same(&self, resolver: &mut Resolver) -> bool {
        resolve(&self.files, resolver) == self.resolved
    }

    /// The texts with values, by file name.
    pub fn resolved(&self) -> &BTreeMap<String, Resolved> {
        &self.resolved
    }
}

fn resolve(files: &[SourceFile], resolver: &mut Resolver) -> BTreeMap<String, Resolved> {
    let mut replace = |text: &str| replaced(resolver, text);
    files
        .iter()
        .filter_map(|file| Some((file.name.clone(), Resolved::of(file, &mut replace)?)))
        .collect()
}

/// A string with its references replaced; `None` when it has none.
pub fn replaced(resolver: &mut Resolver, text: &str) -> Option<Replaced> {
    let substitution = resolver.substitute(text)?;
    let values = substitution.values.into_iter();
    Some(Replaced {
        text: substitution.text.reveal().to_owned(),
        values: values
            .map(|(reference, value)| (reference, value.reveal().to_owned()))
            .collect(),
        notes: substitution
            .problems
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}
