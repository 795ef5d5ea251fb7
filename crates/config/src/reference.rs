//! References that stand for a secret kept elsewhere.
//!
//! Invariant: a text that looks like a reference is either resolved or refused. It is never
//! used as the secret itself, where anybody who has seen the file could present it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::paths::BasePaths;
use crate::secret::Secret;

/// What references are resolved with.
pub(crate) struct Sources<'a> {
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) secrets: &'a [(String, Secret)],
    pub(crate) base: &'a BasePaths,
    /// `kv.file.base_path`, empty when unset.
    pub(crate) file_base: &'a str,
}

/// Why a reference could not be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error("refers to `{feature}`, which is not available yet")]
    Unavailable { feature: String },
    #[error("refers to environment variable {name}, which is not set")]
    NoVariable { name: String },
    #[error("refers to `secrets` entry `{name}`, which does not exist")]
    NoSecret { name: String },
    #[error("refers to file {}, which cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("refers to file `{path}`, which lies outside `kv.file.base_path`")]
    Outside { path: String },
    #[error("refers to something empty")]
    Empty,
}

/// Resolves `text` when it is a reference; `None` when it is not.
pub(crate) fn resolve(text: &str, sources: &Sources<'_>) -> Option<Result<Secret, ReferenceError>> {
    if text.starts_with("$kv{") {
        return Some(Err(ReferenceError::Unavailable {
            feature: "$kv{…}".to_owned(),
        }));
    }
    let (scheme, rest) = text.split_once("://")?;
    let resolved = match scheme {
        "env" => {
            let name = format!("TYK_SECRET_{}", rest.to_uppercase());
            sources
                .env
                .get(&name)
                .cloned()
                .ok_or(ReferenceError::NoVariable { name })
        }
        "secrets" => sources
            .secrets
            .iter()
            .find(|(name, _)| name == rest)
            .map(|(_, secret)| secret.reveal().to_owned())
            .ok_or_else(|| ReferenceError::NoSecret {
                name: rest.to_owned(),
            }),
        "file" => read_file(rest, sources),
        "consul" | "vault" | "kv" => Err(ReferenceError::Unavailable {
            feature: format!("{scheme}://"),
        }),
        // A Dashboard's address is no reference.
        _ => return None,
    };
    Some(resolved.and_then(|text| {
        if text.is_empty() {
            Err(ReferenceError::Empty)
        } else {
            Ok(Secret::new(text))
        }
    }))
}

fn read_file(written: &str, sources: &Sources<'_>) -> Result<String, ReferenceError> {
    let path = if sources.file_base.is_empty() {
        sources.base.resolve(written)
    } else {
        inside(&sources.base.resolve(sources.file_base), written)?
    };
    let text =
        std::fs::read_to_string(&path).map_err(|source| ReferenceError::Read { path, source })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A path below `base`, also after following symbolic links.
fn inside(base: &Path, written: &str) -> Result<PathBuf, ReferenceError> {
    let outside = || ReferenceError::Outside {
        path: written.to_owned(),
    };
    if !Path::new(written)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(outside());
    }
    let read = |path: PathBuf| match path.canonicalize() {
        Ok(real) => Ok(real),
        Err(source) => Err(ReferenceError::Read { path, source }),
    };
    let (real_base, real) = (read(base.to_owned())?, read(base.join(written))?);
    if real.starts_with(&real_base) {
        Ok(real)
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, file_base: &str, root: &Path) -> Option<Result<String, String>> {
        let env = BTreeMap::from([
            ("TYK_SECRET_GATEWAY".to_owned(), "from env".to_owned()),
            ("TYK_SECRET_NOTHING".to_owned(), String::new()),
        ]);
        let secrets = [("gateway".to_owned(), Secret::new("from map"))];
        let base = BasePaths {
            working_dir: root.to_owned(),
            config_dir: root.to_owned(),
        };
        let sources = Sources {
            env: &env,
            secrets: &secrets,
            base: &base,
            file_base,
        };
        resolve(text, &sources).map(|result| {
            result
                .map(|secret| secret.reveal().to_owned())
                .map_err(|error| error.to_string())
        })
    }

    #[test]
    fn references_to_environment_map_and_file_are_resolved() {
        let root = tempfile::tempdir().expect("temporary directory");
        std::fs::write(root.path().join("secret"), "from file\r\n").expect("file");
        let ok = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(resolved("env://gateway", "", root.path()), ok("from env"));
        assert_eq!(
            resolved("secrets://gateway", "", root.path()),
            ok("from map")
        );
        assert_eq!(resolved("file://secret", "", root.path()), ok("from file"));
        let absolute = format!("file://{}", root.path().join("secret").display());
        assert_eq!(resolved(&absolute, "", root.path()), ok("from file"));
    }

    #[test]
    fn a_reference_that_cannot_be_resolved_is_an_error_and_never_the_secret() {
        let root = tempfile::tempdir().expect("temporary directory");
        for text in [
            "env://missing",
            "env://nothing",
            "secrets://missing",
            "file://missing",
            "consul://a",
            "vault://a",
            "kv://s/a",
            "$kv{a}",
        ] {
            assert!(
                matches!(resolved(text, "", root.path()), Some(Err(_))),
                "{text}"
            );
        }
        for text in ["plain", "https://dashboard:3000", ""] {
            assert_eq!(resolved(text, "", root.path()), None, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_below_a_base_path_cannot_leave_it() {
        let root = tempfile::tempdir().expect("temporary directory");
        let base = root.path().join("kv");
        std::fs::create_dir(&base).expect("directory");
        std::fs::write(base.join("in"), "in").expect("file");
        std::fs::write(root.path().join("out"), "out").expect("file");
        std::os::unix::fs::symlink(root.path().join("out"), base.join("link")).expect("link");
        assert_eq!(
            resolved("file://in", "kv", root.path()),
            Some(Ok("in".to_owned()))
        );
        for text in ["file://../out", "file://link", "file:///etc/hostname"] {
            assert!(
                matches!(resolved(text, "kv", root.path()), Some(Err(_))),
                "{text}"
            );
        }
    }
}
