//! The certificate authorities the operating system trusts.
//!
//! Found as Go finds them, because drop-in replacements are configured that way:
//! `SSL_CERT_FILE` replaces the list of bundle files, of which the first readable one counts;
//! `SSL_CERT_DIR` (colon-separated) replaces the list of directories, of which all count.
//! Certificates that cannot be read are skipped: one odd root must not cost us all the others.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use openssl::{
    error::ErrorStack,
    sha::Sha256,
    x509::{
        X509,
        store::{X509Store, X509StoreBuilder, X509StoreRef},
        verify::X509VerifyFlags,
    },
};
use portcullis_pki::{Fingerprint, pem};

/// Bundle files of Debian and Ubuntu, Fedora and RHEL, SUSE, OpenELEC, Alpine, macOS.
const FILES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/opt/homebrew/etc/ca-certificates/cert.pem",
];

const DIRECTORIES: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// Trusted certificate authorities. Each is trusted by itself, also one that another has signed, as Go
/// does.
pub struct Roots {
    certificates: Vec<X509>,
    /// As the library takes them; made once, shared by whoever verifies with them.
    store: OnceLock<X509Store>,
    digest: OnceLock<[u8; 32]>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("certificates", &self.certificates.len())
            .finish()
    }
}

impl Roots {
    /// The system's roots, honouring `SSL_CERT_FILE` and `SSL_CERT_DIR`. May be empty.
    pub fn of_system() -> Roots {
        Roots::from_environment(|name| std::env::var_os(name))
    }

    /// As [`Roots::of_system`], with the environment given as a function.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Roots {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let files = match set("SSL_CERT_FILE") {
            Some(file) => vec![PathBuf::from(file)],
            None => FILES.iter().map(PathBuf::from).collect(),
        };
        let directories = match set("SSL_CERT_DIR") {
            Some(list) => std::env::split_paths(&list).collect(),
            None => DIRECTORIES.iter().map(PathBuf::from).collect::<Vec<_>>(),
        };
        let mut collected = Collected::default();
        if let Some(text) = files.iter().find_map(|file| fs::read(file).ok()) {
            collected.add(&text);
        }
        for directory in &directories {
            collected.add_directory(directory);
        }
        Roots::of(collected.certificates)
    }

    /// These authorities and no others.
    pub fn of(certificates: Vec<X509>) -> Roots {
        Roots {
            certificates,
            store: OnceLock::new(),
            digest: OnceLock::new(),
        }
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The authorities.
    pub fn certificates(&self) -> &[X509] {
        &self.certificates
    }

    /// The same for the same authorities, in whatever order.
    pub fn digest(&self) -> &[u8; 32] {
        self.digest.get_or_init(|| {
            let prints = self.certificates.iter().map(|root| Fingerprint::of(root));
            // What has none cannot have been read.
            let prints: BTreeSet<Fingerprint> = prints.flatten().collect();
            let mut digest = Sha256::new();
            prints
                .iter()
                .for_each(|print| digest.update(print.as_bytes()));
            digest.finish()
        })
    }

    /// The authorities as the library takes them.
    pub(crate) fn store(&self) -> Result<&X509StoreRef, ErrorStack> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let mut store = X509StoreBuilder::new()?;
        for root in &self.certificates {
            store.add_cert(root.clone())?;
        }
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        Ok(self.store.get_or_init(|| store.build()))
    }
}

#[derive(Default)]
struct Collected {
    seen: HashSet<Fingerprint>,
    certificates: Vec<X509>,
}

impl Collected {
    fn add(&mut self, text: &[u8]) {
        for der in pem::certificate_ders(text) {
            // Most directories repeat the bundle file: compare before parsing.
            if self.seen.insert(Fingerprint::of_der(&der))
                && let Ok(certificate) = X509::from_der(&der)
            {
                self.certificates.push(certificate);
            }
        }
    }

    fn add_directory(&mut self, directory: &Path) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        // Hash-named links lead to files of the same directory.
        paths.retain(|path| {
            fs::read_link(path).map_or(true, |target| target.components().count() != 1)
        });
        for path in paths {
            if let Ok(text) = fs::read(path) {
                self.add(&text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_pki::make::{Algorithm, make_ca};

    fn ca(name: &str) -> String {
        make_ca(name, Algorithm::P256, 30)
            .unwrap()
            .certificate_pem()
    }

    #[test]
    fn the_variables_replace_file_and_directories_and_broken_entries_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bundle.pem");
        let sub = dir.path().join("certs");
        fs::create_dir(&sub).unwrap();
        let (one, two) = (ca("One"), ca("Two"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&file, format!("{one}{broken}{two}")).unwrap();
        fs::write(sub.join("a.pem"), &one).unwrap();
        fs::write(sub.join("b.pem"), ca("Three")).unwrap();
        std::os::unix::fs::symlink("b.pem", sub.join("12345678.0")).unwrap();
        let roots = |file: &Path, dir: &Path| {
            let (file, dir) = (file.as_os_str().to_owned(), dir.as_os_str().to_owned());
            Roots::from_environment(move |name| {
                Some(if name == "SSL_CERT_FILE" {
                    file.clone()
                } else {
                    dir.clone()
                })
            })
        };
        assert_eq!(roots(&file, &sub).certificates().len(), 3);
        assert!(roots(&dir.path().join("none"), &dir.path().join("none")).is_empty());
    }
}
