//! An authority that revokes what it issued, with the real `openssl ca`.

use std::{fs, path::Path};

use portcullis_pki::make::Pair;
use tempfile::TempDir;

use crate::openssl::{openssl, read};

const SETTINGS: &str = "\
[ca]
default_ca = own
[own]
database = index.txt
crlnumber = crlnumber
certificate = ca.pem
private_key = ca.key
default_md = sha256
";

/// The records of one authority.
pub struct Revoker {
    dir: TempDir,
}

impl Revoker {
    /// The records of an authority that has revoked nobody.
    ///
    /// # Panics
    /// When there is no place for temporary files.
    pub fn of(authority: &Pair) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("portcullis-test-ca-")
            .tempdir()
            .expect("a directory of its own");
        for (name, text) in [
            ("ca.cnf", SETTINGS),
            ("index.txt", ""),
            ("crlnumber", "01\n"),
            ("ca.pem", &authority.certificate_pem()),
            ("ca.key", &authority.key_pem()),
        ] {
            fs::write(dir.path().join(name), text).expect("files can be written");
        }
        Self { dir }
    }

    /// Revokes a certificate.
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn revoke(&self, pair: &Pair) -> &Self {
        fs::write(self.path().join("gone.pem"), pair.certificate_pem())
            .expect("files can be written");
        openssl(
            self.path(),
            &["ca", "-config", "ca.cnf", "-revoke", "gone.pem"],
        );
        self
    }

    /// The list as it is now, good for a day, in PEM.
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn list(&self) -> String {
        self.list_with(&["-crldays", "1"])
    }

    /// A list that was good long ago.
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn old_list(&self) -> String {
        self.list_with(&[
            "-crl_lastupdate",
            "20240101000000Z",
            "-crl_nextupdate",
            "20240102000000Z",
        ])
    }

    fn list_with(&self, arguments: &[&str]) -> String {
        let mut all = vec!["ca", "-config", "ca.cnf", "-gencrl", "-out", "list.pem"];
        all.extend(arguments);
        openssl(self.path(), &all);
        read(self.path(), "list.pem")
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}
