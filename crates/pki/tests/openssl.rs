//! Keys at rest, against the `openssl` program: what it encrypts opens with ours, what we encrypt opens
//! with it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use portcullis_pki::{
    Entry, Upload,
    legacy::STORED_KEY,
    load,
    make::{Algorithm, Pair, make_ca, make_server},
    pem::{Bundle, PemError},
};

const SECRET: &str = "the secret of the store";

fn pair(algorithm: Algorithm) -> Pair {
    let ca = make_ca("Store CA", Algorithm::P256, 30).unwrap();
    make_server(&ca, &["localhost"], algorithm, 30).unwrap()
}

/// What `openssl` makes of `input`.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// ST-44, with every cipher of the traditional encryption.
#[test]
fn a_key_that_openssl_encrypted_the_traditional_way_opens_as_an_entry_and_as_a_file() {
    let passphrase = format!("pass:{SECRET}");
    for (algorithm, command) in [(Algorithm::Rsa2048, "rsa"), (Algorithm::P256, "ec")] {
        let pair = pair(algorithm);
        for cipher in ["-aes256", "-aes192", "-aes128", "-des3", "-des"] {
            let mut arguments = vec![command, cipher, "-passout", &passphrase];
            if command == "rsa" {
                arguments.push("-traditional");
            }
            if cipher == "-des" {
                // What newer builds keep in a module of its own.
                arguments.extend(["-provider", "default", "-provider", "legacy"]);
            }
            let sealed = openssl(&arguments, &pair.key_pem());
            assert!(sealed.contains("DEK-Info: "), "{sealed}");
            let text = pair.certificate_pem() + &sealed;
            let Entry::Certificate(bundle) = Entry::parse(text.as_bytes(), SECRET).unwrap() else {
                panic!("a certificate with its key");
            };
            assert!(
                bundle.key.unwrap().public_eq(&pair.key),
                "{command} {cipher}"
            );

            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("server.pem");
            std::fs::write(&path, &text).unwrap();
            let by_path = |secret| load(Path::to_str(&path).unwrap(), Some(secret));
            assert!(
                by_path(SECRET)
                    .unwrap()
                    .pair
                    .key()
                    .unwrap()
                    .public_eq(&pair.key)
            );
            assert!(by_path("another secret").is_err());
        }
    }
}

#[test]
fn what_is_stored_opens_with_openssl_under_the_label_of_its_key_type() {
    let (rsa, ec) = (pair(Algorithm::Rsa2048), pair(Algorithm::P256));
    let pkcs1 = rsa.key.rsa().unwrap().private_key_to_pem().unwrap();
    let sec1 = ec.key.ec_key().unwrap().private_key_to_pem().unwrap();
    let passphrase = format!("pass:{SECRET}");
    for (pair, key, command, label) in [
        (&rsa, pkcs1, "rsa", "RSA PRIVATE KEY"),
        (&ec, sec1, "ec", "EC PRIVATE KEY"),
    ] {
        let text = pair.certificate_pem() + &String::from_utf8(key).unwrap();
        let upload = Upload::parse(text.as_bytes(), 0).unwrap();
        let stored = upload.to_stored(SECRET).unwrap();
        let stored = stored.split_once("\n\n").unwrap().1;
        let opened = openssl(
            &[command, "-passin", &passphrase],
            &stored.replace(STORED_KEY, label),
        );
        let opened = Bundle::parse(opened.as_bytes(), None).unwrap().key.unwrap();
        assert!(opened.public_eq(&pair.key), "{command}");
    }
}

#[test]
fn pkcs8_encryption_is_read_as_well() {
    let pair = pair(Algorithm::Rsa2048);
    let sealed = openssl(
        &[
            "pkcs8",
            "-topk8",
            "-v2",
            "aes-256-cbc",
            "-passout",
            &format!("pass:{SECRET}"),
        ],
        &pair.key_pem(),
    );
    assert!(sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let bundle = Bundle::parse(sealed.as_bytes(), Some(SECRET)).unwrap();
    assert!(bundle.key.unwrap().public_eq(&pair.key));
    assert!(matches!(
        Bundle::parse(sealed.as_bytes(), Some("another secret")),
        Err(PemError::PassphraseWrong { index: 1 })
    ));
}
