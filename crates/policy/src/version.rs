//! Which version of a base API a request asks for.
//!
//! Invariants:
//! - A name that is neither the base's nor a version's never reaches an API, unless
//!   `fallback_to_default` is on and there is a default.
//! - What is stripped is only what named the version.

use std::borrow::Cow;
use std::collections::HashMap;

use portcullis_apidef::{VersionLocation, VersionTarget, Versioning};
use regex::bytes::Regex;

use crate::path::percent_decode;
use crate::template::{PatternError, compile_search};

/// A base API's versions, ready to be asked.
#[derive(Debug)]
pub struct VersionSelector {
    location: Location,
    base_name: String,
    default: Option<VersionTarget>,
    fallback_to_default: bool,
    strip: bool,
    versions: HashMap<String, String>,
}

#[derive(Debug)]
enum Location {
    Header(String),
    Query(String),
    Path(Option<Regex>),
}

/// What a request may name a version with.
pub struct VersionFacts<'r> {
    /// The value of a header, by lower-cased name; the first when there are several.
    pub header: &'r dyn Fn(&str) -> Option<&'r str>,
    /// The raw query, without `?`.
    pub query: Option<&'r str>,
    /// The raw path behind the listen path: [`Match::path_after_listen`](crate::Match::path_after_listen).
    pub path: &'r str,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionDecision<'s> {
    /// The base API answers.
    Base(VersionStrip<'s>),
    /// The API with this id answers.
    Api {
        /// Its `api_id`.
        id: &'s str,
        /// What to take out of the request.
        strip: VersionStrip<'s>,
    },
    /// The request names no version and there is no default:
    /// 403 `Version information not found`.
    Missing,
    /// The request names a version that is not there:
    /// 404 `This API version does not seem to exist`.
    Unknown,
}

/// What to take out of a request before it goes upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionStrip<'s> {
    /// Nothing.
    Nothing,
    /// Every header of this name.
    Header(&'s str),
    /// Every query parameter of this name; [`VersionStrip::query`] does it.
    Query(&'s str),
    /// The first path segment after the listen path, this many raw bytes long;
    /// [`Match::path_without_version`](crate::Match::path_without_version) does it.
    Segment(usize),
}

impl VersionSelector {
    /// Compiles what has to be compiled.
    pub fn new(versioning: &Versioning) -> Result<Self, PatternError> {
        let location = match &versioning.location {
            VersionLocation::Header(name) => Location::Header(name.to_ascii_lowercase()),
            VersionLocation::Query(name) => Location::Query(name.clone()),
            VersionLocation::Path { pattern } => {
                let pattern = pattern.as_deref().filter(|pattern| !pattern.is_empty());
                Location::Path(pattern.map(compile_search).transpose()?)
            }
        };
        Ok(Self {
            location,
            base_name: versioning.base_name.clone(),
            default: versioning.default.clone(),
            fallback_to_default: versioning.fallback_to_default,
            strip: versioning.strip,
            versions: versioning.versions.iter().cloned().collect(),
        })
    }

    /// Which API answers the request.
    #[must_use]
    pub fn resolve(&self, facts: &VersionFacts<'_>) -> VersionDecision<'_> {
        let Some(named) = self.named(facts) else {
            return self
                .default(VersionStrip::Nothing)
                .unwrap_or(VersionDecision::Missing);
        };
        let strip = if self.strip {
            named.strip
        } else {
            VersionStrip::Nothing
        };
        if let Some(id) = self.versions.get(&*named.name) {
            return VersionDecision::Api { id, strip };
        }
        if named.name == self.base_name {
            return VersionDecision::Base(strip);
        }
        if !self.fallback_to_default {
            return VersionDecision::Unknown;
        }
        // A first path segment that names no version is most likely just path. Only a
        // pattern can tell that it was meant as one.
        let strip = match self.location {
            Location::Path(None) => VersionStrip::Nothing,
            _ => strip,
        };
        self.default(strip).unwrap_or(VersionDecision::Unknown)
    }

    fn default<'s>(&'s self, strip: VersionStrip<'s>) -> Option<VersionDecision<'s>> {
        self.default.as_ref().map(|target| match target {
            VersionTarget::Base => VersionDecision::Base(strip),
            VersionTarget::Api(id) => VersionDecision::Api { id, strip },
        })
    }

    fn named<'s, 'r>(&'s self, facts: &VersionFacts<'r>) -> Option<Named<'s, 'r>> {
        let named = match &self.location {
            Location::Header(name) => Named {
                name: Cow::Borrowed((facts.header)(name)?),
                strip: VersionStrip::Header(name),
            },
            Location::Query(key) => {
                let value = query_pairs(facts.query?)
                    .find(|(name, _)| *name == key.as_bytes())
                    .map(|(_, value)| value)?;
                Named {
                    name: text(value)?,
                    strip: VersionStrip::Query(key),
                }
            }
            Location::Path(pattern) => {
                let rest = facts.path.strip_prefix('/').unwrap_or(facts.path);
                let segment = rest.split('/').next()?;
                let name = percent_decode(segment, false);
                if pattern
                    .as_ref()
                    .is_some_and(|pattern| !pattern.is_match(&name))
                {
                    return None;
                }
                Named {
                    name: text(name)?,
                    strip: VersionStrip::Segment(segment.len()),
                }
            }
        };
        Some(named).filter(|named| !named.name.is_empty())
    }
}

impl VersionStrip<'_> {
    /// `query` without the parameter that named the version.
    #[must_use]
    pub fn query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        let VersionStrip::Query(key) = self else {
            return Cow::Borrowed(query);
        };
        let names_version = |pair: &&str| pair_name(pair) == key.as_bytes();
        if !query.split('&').any(|pair| names_version(&pair)) {
            return Cow::Borrowed(query);
        }
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| !names_version(pair))
            .collect();
        Cow::Owned(kept.join("&"))
    }
}

struct Named<'s, 'r> {
    name: Cow<'r, str>,
    strip: VersionStrip<'s>,
}

fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').map(|pair| {
        let value = pair.split_once('=').map_or("", |(_, value)| value);
        (pair_name(pair), percent_decode(value, true))
    })
}

fn pair_name(pair: &str) -> Cow<'_, [u8]> {
    percent_decode(pair.split_once('=').map_or(pair, |(name, _)| name), true)
}

/// Bytes as text; a name that is not UTF-8 cannot be a version's.
fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}
