//! Values in files.

use std::path::{Component, Path, PathBuf};

use super::ReferenceError;
use crate::secret::Secret;

/// A secret is small; whatever is larger is another kind of file.
const LARGEST: u64 = 1024 * 1024;

/// The text of a file below `base`, also after following symbolic links, without the line breaks
/// at its end. `key` says where `base` is written.
pub(super) fn below(
    base: &Path,
    written: &str,
    key: &'static str,
) -> Result<Secret, ReferenceError> {
    text(inside(base, written, key)?)
}

/// The text of any file, without the line breaks at its end.
pub(super) fn text(path: PathBuf) -> Result<Secret, ReferenceError> {
    let size = std::fs::metadata(&path).map(|metadata| metadata.len());
    if size.is_ok_and(|size| size > LARGEST) {
        let reason = format!("it is larger than {LARGEST} bytes");
        return Err(ReferenceError::Read { path, reason });
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Secret::new(text.trim_end_matches(['\n', '\r']))),
        Err(error) => Err(ReferenceError::read(path, &error)),
    }
}

/// The path of a file below `base`, also after following symbolic links.
pub(super) fn inside(
    base: &Path,
    written: &str,
    key: &'static str,
) -> Result<PathBuf, ReferenceError> {
    let outside = || ReferenceError::Outside {
        path: written.to_owned(),
        base: key,
    };
    if !Path::new(written)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(outside());
    }
    let real = |path: PathBuf| match path.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) => Err(ReferenceError::read(path, &error)),
    };
    let (real_base, real) = (real(base.to_owned())?, real(base.join(written))?);
    if real.starts_with(&real_base) {
        Ok(real)
    } else {
        Err(outside())
    }
}
