//! The real `openssl` program, for certificates that somebody else made.

use std::{fs, path::Path, process::Command};

/// What `openssl` prints, run in a directory.
///
/// # Panics
/// When it is not installed or fails, with what it said.
pub fn openssl(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a pair for `<name>.test` that signs itself, with a key of `-newkey`'s words: `<name>.crt`,
/// `<name>.key`, and both in `<name>.pem`. Its fingerprint is the answer, as the ids of the certificate store
/// have it.
///
/// # Panics
/// As [`openssl`].
pub fn self_signed(dir: &Path, name: &str, newkey: &[&str]) -> String {
    let (crt, key) = (format!("{name}.crt"), format!("{name}.key"));
    let subject = format!("/C=CZ/O=R&D/CN={name}.test");
    let names = format!("subjectAltName=DNS:{name}.test");
    let mut arguments = vec!["req", "-x509", "-nodes", "-days", "30", "-newkey"];
    arguments.extend(newkey);
    arguments.extend(["-subj", &subject, "-addext", &names]);
    arguments.extend(["-keyout", &key, "-out", &crt]);
    openssl(dir, &arguments);
    let bundle = read(dir, &crt) + &read(dir, &key);
    fs::write(dir.join(format!("{name}.pem")), bundle).expect("files can be written");
    let print = ["x509", "-noout", "-fingerprint", "-sha256", "-in", &crt];
    let printed = openssl(dir, &print);
    let (_, colons) = printed.trim().split_once('=').expect("name=value");
    colons.replace(':', "").to_lowercase()
}

/// A file as text.
///
/// # Panics
/// When it cannot be read.
pub fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect("a file of the test")
}
