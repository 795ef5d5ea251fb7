//! `portcullis cert` beside the tool it saves people from: whatever one makes, the other reads.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use portcullis_tests::program;
use serde_json::Value;
use tempfile::TempDir;

/// A directory to work in.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `portcullis cert` with the arguments of a line.
    fn cert(&self, line: &str) -> Output {
        let mut arguments = vec!["cert"];
        arguments.extend(line.split_whitespace());
        let mut command = program::command(&arguments);
        command
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// As [`Desk::cert`], when it has to succeed: what it prints.
    fn made(&self, line: &str) -> String {
        let output = self.cert(line);
        assert!(output.status.success(), "{line}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `openssl` with the arguments of a line.
    fn openssl(&self, line: &str) -> Output {
        Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// As [`Desk::openssl`], when it has to succeed: what it prints.
    fn by_openssl(&self, line: &str) -> String {
        let output = self.openssl(line);
        assert!(output.status.success(), "openssl {line}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// What `inspect --json` says of a file.
    fn inspected(&self, name: &str) -> Value {
        serde_json::from_str(&self.made(&format!("inspect --json {name}"))).unwrap()
    }
}

fn said(output: &Output) -> String {
    [
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ]
    .concat()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn a_pair_of_every_kind_of_key_is_what_openssl_takes_it_for() {
    let desk = Desk::new();
    for (kind, key) in [
        ("p256", "prime256v1"),
        ("p384", "secp384r1"),
        ("rsa2048", "2048 bit"),
        ("rsa3072", "3072 bit"),
        ("ed25519", "ED25519"),
    ] {
        desk.made(&format!(
            "create --name localhost --key-type {kind} --out {kind}"
        ));
        let text = desk.by_openssl(&format!("x509 -in {kind}.pem -noout -text"));
        assert!(
            text.contains(key) && text.contains("DNS:localhost"),
            "{text}"
        );
        desk.by_openssl(&format!("verify -CAfile {kind}.pem {kind}.pem"));
        let of_key = desk.by_openssl(&format!("pkey -in {kind}.key -pubout"));
        assert_eq!(
            of_key,
            desk.by_openssl(&format!("x509 -in {kind}.pem -noout -pubkey"))
        );
        let mode = fs::metadata(desk.path().join(format!("{kind}.key")))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{kind}");
    }
}

#[test]
fn a_root_an_intermediate_and_what_they_sign_make_a_chain() {
    let desk = Desk::new();
    desk.made("create --ca --name Root --out root");
    desk.made("create --ca --name Middle --path-length 0 --signed-by root.pem --ca-key root.key --out middle");
    desk.made(
        "create --name api.test --san 10.0.0.1 --san spiffe://x/api --san ops@api.test --days 30 \
         --signed-by middle.pem --ca-key middle.key --out api",
    );
    desk.by_openssl("verify -purpose sslserver -CAfile root.pem -untrusted middle.pem api.pem");
    let text = desk.by_openssl("x509 -in api.pem -noout -text");
    for name in [
        "DNS:api.test",
        "IP Address:10.0.0.1",
        "URI:spiffe://x/api",
        "email:ops@api.test",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    assert!(
        desk.by_openssl("x509 -in middle.pem -noout -text")
            .contains("CA:TRUE, pathlen:0")
    );
    // The file of the leaf holds what a server has to send: the intermediate, not the root.
    assert_eq!(desk.read("api.pem").matches("BEGIN CERTIFICATE").count(), 2);
    let looked_at = desk.inspected("api.pem");
    assert_eq!(looked_at["problems"], Value::Array(Vec::new()));

    let refused = desk.cert("create --ca --name Deeper --signed-by middle.pem --ca-key middle.key");
    assert!(
        status(&refused) == 1 && said(&refused).contains("path length is 0"),
        "{}",
        said(&refused)
    );
    let refused = desk.cert("create --name x.test --signed-by api.pem --ca-key api.key");
    assert!(
        said(&refused).contains("`CN=api.test` is no authority"),
        "{}",
        said(&refused)
    );
    let refused = desk.cert("create --name x.test --signed-by root.pem --ca-key middle.key");
    assert!(
        said(&refused).contains("does not belong to"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_client_certificate_is_for_clients_and_both_is_for_both() {
    let desk = Desk::new();
    desk.made("create --ca --name CA --out ca");
    desk.made("create --client --name partner-1 --signed-by ca.pem --ca-key ca.key --out client");
    desk.made(
        "create --client --server --name both.test --signed-by ca.pem --ca-key ca.key --out both",
    );
    desk.by_openssl("verify -purpose sslclient -CAfile ca.pem client.pem both.pem");
    assert!(
        !desk
            .openssl("verify -purpose sslserver -CAfile ca.pem client.pem")
            .status
            .success()
    );
    desk.by_openssl("verify -purpose sslserver -CAfile ca.pem both.pem");
    assert!(
        !desk
            .by_openssl("x509 -in client.pem -noout -text")
            .contains("Subject Alternative Name")
    );
}

#[test]
fn nothing_that_is_there_is_replaced_without_being_asked_for() {
    let desk = Desk::new();
    desk.made("create --name a.test --out a");
    let (certificate, key) = (desk.read("a.pem"), desk.read("a.key"));
    let refused = desk.cert("create --name a.test --out a");
    assert!(
        status(&refused) == 4 && said(&refused).contains("`a.pem` is there already"),
        "{}",
        said(&refused)
    );
    assert_eq!(
        (desk.read("a.pem"), desk.read("a.key")),
        (certificate.clone(), key)
    );
    desk.made("create --name a.test --out a --force");
    assert_ne!(desk.read("a.pem"), certificate);
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let desk = Desk::new();
    for (line, wanted, reason) in [
        ("create", 2, "--name"),
        ("create --san a..b", 2, "is not a host name"),
        ("create --ca --san a.test --name x", 2, "--san"),
        ("create --name My/server", 1, "--san"),
        (
            "create --name a.test --signed-by none.pem --ca-key none.key",
            4,
            "none.pem",
        ),
        (
            "create --name a.test --out missing/deep/a",
            4,
            "missing/deep/a.key",
        ),
    ] {
        let refused = desk.cert(line);
        assert!(
            status(&refused) == wanted && said(&refused).contains(reason),
            "{line}: {}",
            said(&refused)
        );
    }
    assert_eq!(fs::read_dir(desk.path()).unwrap().count(), 0);
}

#[test]
fn a_fingerprint_is_openssls_and_an_id_is_its_digits_after_the_organisation() {
    let desk = Desk::new();
    desk.made("create --name a.test --out a");
    desk.by_openssl("x509 -in a.pem -outform der -out a.der");
    let theirs = desk.by_openssl("x509 -in a.pem -noout -fingerprint -sha256");
    let colons = theirs.trim().split_once('=').unwrap().1.to_owned();
    let digits = colons.replace(':', "").to_lowercase();
    for file in ["a.pem", "a.der"] {
        assert_eq!(
            desk.made(&format!("fingerprint {file}")),
            format!("{colons}\n{digits}\n")
        );
        assert_eq!(
            desk.made(&format!("id --org default {file}")),
            format!("default{digits}\n")
        );
    }
    // Of a chain the first certificate counts, wherever the key stands.
    desk.made("create --name b.test --out b");
    desk.write(
        "chain.pem",
        [desk.read("a.key"), desk.read("a.pem"), desk.read("b.pem")].concat(),
    );
    assert_eq!(
        desk.made("id --org default chain.pem"),
        format!("default{digits}\n")
    );
    let refused = desk.cert("fingerprint a.key");
    assert!(
        status(&refused) == 1 && said(&refused).contains("holds no certificate"),
        "{}",
        said(&refused)
    );
}

#[test]
fn the_id_of_a_public_key_is_the_hash_of_its_block() {
    let desk = Desk::new();
    desk.write(
        "odd.pub",
        "-----BEGIN PUBLIC KEY-----\nYQ==\n-----END PUBLIC KEY-----\n",
    );
    let of_odd = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    assert_eq!(desk.made("id --org o odd.pub"), format!("o{of_odd}\n"));
    desk.made("create --name a.test --out a");
    desk.by_openssl("pkey -in a.key -pubout -out a.pub");
    desk.by_openssl("pkey -in a.key -pubout -outform der -out a.pub.der");
    let theirs = desk.by_openssl("dgst -sha256 -r a.pub.der");
    let theirs = theirs.split(' ').next().unwrap();
    for file in ["a.pub", "a.pub.der"] {
        assert_eq!(
            desk.made(&format!("id --org o {file}")),
            format!("o{theirs}\n")
        );
    }
}

#[test]
fn inspect_says_what_openssl_says_of_certificates_that_openssl_made() {
    let desk = Desk::new();
    for (name, key) in [
        ("rsa", "-newkey rsa:2048"),
        ("ec", "-newkey ec -pkeyopt ec_paramgen_curve:P-256"),
        ("ed", "-newkey ed25519"),
    ] {
        desk.by_openssl(&format!(
            "req -x509 {key} -nodes -keyout {name}.key -out {name}.pem -days 90 -subj /C=DE/O=Example/CN={name}.test \
             -addext subjectAltName=DNS:{name}.test,IP:192.0.2.1 -addext extendedKeyUsage=clientAuth"
        ));
        desk.write(
            "bundle.pem",
            [
                desk.read(&format!("{name}.pem")),
                desk.read(&format!("{name}.key")),
            ]
            .concat(),
        );
        let said = desk.inspected("bundle.pem");
        let certificate = &said["certificates"][0];
        let field = |option: &str| {
            let text = desk.by_openssl(&format!("x509 -in {name}.pem -noout -{option}"));
            text.trim().split_once('=').unwrap().1.to_owned()
        };
        assert_eq!(
            certificate["subject"].as_str().unwrap(),
            format!("C=DE, O=Example, CN={name}.test")
        );
        assert_eq!(certificate["serial"].as_str().unwrap(), field("serial"));
        assert_eq!(
            certificate["fingerprint"].as_str().unwrap(),
            field("fingerprint -sha256")
        );
        assert_eq!(
            certificate["names"],
            serde_json::json!([format!("DNS:{name}.test"), "IP:192.0.2.1"])
        );
        assert_eq!(
            certificate["extended_key_usage"],
            serde_json::json!(["clientAuth"])
        );
        let ends = desk.by_openssl(&format!(
            "x509 -in {name}.pem -noout -enddate -dateopt iso_8601"
        ));
        let ends = ends.trim().split_once('=').unwrap().1.replace(' ', "T");
        assert_eq!(certificate["not_after"].as_str().unwrap(), ends);
        assert_eq!(
            said["private_key"]["belongs_to_first_certificate"], true,
            "{said}"
        );
        assert!(
            desk.made("inspect bundle.pem")
                .contains(&field("fingerprint -sha256"))
        );
    }
}

#[test]
fn inspect_tells_what_is_wrong_with_a_bundle() {
    let desk = Desk::new();
    desk.made("create --ca --name Root --out root");
    desk.made("create --name a.test --signed-by root.pem --ca-key root.key --out a");
    desk.made("create --name b.test --out b");
    desk.write(
        "bad.pem",
        [
            desk.read("root.pem"),
            desk.read("a.pem"),
            desk.read("b.key"),
        ]
        .concat(),
    );
    let told = desk.made("inspect bad.pem");
    for problem in [
        "the private key belongs to no certificate of the bundle",
        "certificate 2 did not issue certificate 1",
    ] {
        assert!(told.contains(problem), "{told}");
    }
    // Keys that are encrypted are told, and opened with their passphrase.
    desk.by_openssl("pkey -in a.key -aes256 -passout pass:opensesame -out locked.key");
    desk.write(
        "locked.pem",
        [desk.read("a.pem"), desk.read("locked.key")].concat(),
    );
    desk.write("passphrase", "opensesame\n");
    assert!(
        desk.made("inspect locked.pem")
            .contains("encrypted; give --passphrase-file")
    );
    let opened = desk.made("inspect --passphrase-file passphrase locked.pem");
    assert!(opened.contains("belongs to   certificate 1"), "{opened}");
    desk.write("passphrase", "wrong");
    let refused = desk.cert("inspect --passphrase-file passphrase locked.pem");
    assert!(
        status(&refused) == 1 && said(&refused).contains("passphrase does not open"),
        "{}",
        said(&refused)
    );
    assert!(!said(&refused).contains("wrong"), "{}", said(&refused));
}

#[test]
fn inspect_reads_standard_input_and_says_what_it_cannot_read() {
    let desk = Desk::new();
    desk.made("create --name a.test --out a");
    let mut child = program::command(&["cert", "inspect", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(desk.read("a.pem").as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(said(&output).contains("DNS:a.test"), "{}", said(&output));

    desk.write("text", "hello");
    desk.write("binary", [0x30, 0x82, 0xff, 0x00]);
    for (file, wanted, reason) in [
        ("text", 1, "no PEM block found"),
        ("binary", 1, "PKCS#12"),
        ("none", 4, "No such file"),
        (".", 4, "directory"),
    ] {
        let refused = desk.cert(&format!("inspect {file}"));
        assert!(
            status(&refused) == wanted && said(&refused).contains(reason),
            "{file}: {}",
            said(&refused)
        );
    }
}

#[test]
fn verify_agrees_with_openssl_and_says_which_check_fails() {
    let desk = Desk::new();
    desk.made("create --ca --name CA --out ca");
    desk.made("create --ca --name Other --out other");
    desk.made("create --name a.test --days 10 --signed-by ca.pem --ca-key ca.key --out a");
    desk.made("create --client --name c --signed-by ca.pem --ca-key ca.key --out c");
    let far = "4102444800";
    for (ours, theirs, reason) in [
        (
            "--ca ca.pem --purpose server --host a.test a.pem",
            "-CAfile ca.pem -purpose sslserver -verify_hostname a.test a.pem",
            None,
        ),
        (
            "--ca ca.pem --purpose client c.pem",
            "-CAfile ca.pem -purpose sslclient c.pem",
            None,
        ),
        (
            "--ca other.pem a.pem",
            "-CAfile other.pem a.pem",
            Some("FAILED  chain     the issuer of `CN=a.test` is missing: `CN=CA`"),
        ),
        (
            "--ca ca.pem --host b.test a.pem",
            "-CAfile ca.pem -verify_hostname b.test a.pem",
            Some("FAILED  host      not good for b.test: its names are DNS:a.test"),
        ),
        (
            "--ca ca.pem --purpose client a.pem",
            "-CAfile ca.pem -purpose sslclient a.pem",
            Some("FAILED  purpose   its extended key usage lists serverAuth and not clientAuth"),
        ),
        (
            "--ca ca.pem --at 4102444800 a.pem",
            &format!("-CAfile ca.pem -attime {far} a.pem"),
            Some("FAILED  validity  `CN=a.test` expired"),
        ),
    ] {
        let own = desk.cert(&format!("verify {ours}"));
        assert_eq!(
            own.status.success(),
            desk.openssl(&format!("verify {theirs}")).status.success(),
            "{ours}: {}",
            said(&own)
        );
        match reason {
            None => assert!(
                said(&own).ends_with("would be accepted\n"),
                "{}",
                said(&own)
            ),
            Some(reason) => assert!(
                status(&own) == 1 && said(&own).contains(reason),
                "{ours}: {}",
                said(&own)
            ),
        }
    }
    desk.by_openssl("x509 -in a.pem -outform der -out a.der");
    desk.by_openssl("x509 -in ca.pem -outform der -out ca.der");
    desk.made("verify --ca ca.der --ca other.pem a.der");
}
