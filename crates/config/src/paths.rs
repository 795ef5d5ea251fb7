//! What a relative path in the configuration is relative to.

use std::path::{Path, PathBuf};

/// The two directories relative paths are looked up in.
///
/// A Tyk gateway resolves relative paths against its working directory; people expect them
/// to be relative to the file they are written in. Both work: the working directory is tried
/// first, then the directory of the configuration file. A path that exists in neither is
/// taken relative to the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePaths {
    /// The process's working directory.
    pub working_dir: PathBuf,
    /// The directory of the configuration file; the working directory when there is no file.
    pub config_dir: PathBuf,
}

impl BasePaths {
    /// Resolves a path of the configuration.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let here = self.working_dir.join(path);
        if here.exists() {
            here
        } else {
            self.beside_config(path)
        }
    }

    /// Resolves a path relative to the configuration file only.
    #[must_use]
    pub fn beside_config(&self, path: impl AsRef<Path>) -> PathBuf {
        self.config_dir.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_directory_is_tried_before_the_directory_of_the_file() {
        let root = tempfile::tempdir().expect("temporary directory");
        let base = BasePaths {
            working_dir: root.path().join("cwd"),
            config_dir: root.path().join("etc"),
        };
        std::fs::create_dir_all(base.working_dir.join("both")).expect("directory");
        std::fs::create_dir_all(base.config_dir.join("both")).expect("directory");
        std::fs::create_dir_all(base.config_dir.join("one")).expect("directory");
        assert_eq!(base.resolve("both"), base.working_dir.join("both"));
        assert_eq!(base.resolve("one"), base.config_dir.join("one"));
        assert_eq!(base.resolve("none"), base.config_dir.join("none"));
        assert_eq!(base.resolve("/absolute"), Path::new("/absolute"));
    }
}
