//! Has `app_path` changed? For a watcher that asks once in a while.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::is_definition;

/// The state of the directory in short. Two that differ mean that something has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// Takes the fingerprint of the definitions in a directory: their names and, behind links, which
/// files they are, their sizes and times. No file is opened.
///
/// # Errors
/// When the directory cannot be listed.
pub fn fingerprint(app_path: &Path) -> io::Result<Fingerprint> {
    let mut facts = Vec::new();
    for entry in fs::read_dir(app_path)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_definition) {
            // A file that cannot be looked at counts too: one day it can.
            let file = fs::metadata(app_path.join(&name)).ok().map(|metadata| {
                // The change time catches what keeps its old modification time, such as `cp -p`.
                let times = [
                    metadata.mtime(),
                    metadata.mtime_nsec(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                ];
                (metadata.dev(), metadata.ino(), metadata.size(), times)
            });
            facts.push((name, file));
        }
    }
    facts.sort_unstable();
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    Ok(Fingerprint(hasher.finish()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_kind_of_change_shows_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let app_path = dir.path();
        let mut last = fingerprint(app_path).unwrap();
        let mut changed = |what: &str| {
            let now = fingerprint(app_path).unwrap();
            let changed = now != last;
            last = now;
            assert_eq!(fingerprint(app_path).unwrap(), now, "{what}");
            changed
        };
        fs::write(app_path.join("a.json"), "{}").unwrap();
        assert!(changed("a new file"));
        fs::write(app_path.join("a.json"), "{ }").unwrap();
        assert!(changed("another size"));
        fs::rename(app_path.join("a.json"), app_path.join("b.json")).unwrap();
        assert!(changed("another name"));
        fs::write(app_path.join("new"), "{ }").unwrap();
        fs::write(app_path.join(".c.json.tmp"), "{ }").unwrap();
        assert!(!changed("files that are no definitions"));
        fs::rename(app_path.join("new"), app_path.join("b.json")).unwrap();
        assert!(changed("another file under the same name and size"));
        fs::remove_file(app_path.join("b.json")).unwrap();
        assert!(changed("a file that is gone"));
    }

    #[test]
    fn an_atomic_swap_of_a_link_shows() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("a.json"), "{}").unwrap();
        }
        let app_path = dir.path().join("apps");
        fs::create_dir(&app_path).unwrap();
        // The way mounted volumes do it: a file links through a hidden link to a directory.
        symlink("../v1", app_path.join("..data")).unwrap();
        symlink("..data/a.json", app_path.join("a.json")).unwrap();
        let before = fingerprint(&app_path).unwrap();
        symlink("../v2", app_path.join("..new")).unwrap();
        fs::rename(app_path.join("..new"), app_path.join("..data")).unwrap();
        assert_ne!(fingerprint(&app_path).unwrap(), before);

        // The whole directory behind a link.
        let link = dir.path().join("current");
        symlink("v1", &link).unwrap();
        let before = fingerprint(&link).unwrap();
        symlink("v2", dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &link).unwrap();
        assert_ne!(fingerprint(&link).unwrap(), before);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(fingerprint(&dir.path().join("none")).is_err());
    }
}
