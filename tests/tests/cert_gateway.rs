//! `portcullis cert` before a gateway: its store, its secret, its certificate.

use std::process::{Output, Stdio};

use portcullis_tests::{
    certs,
    gateway::{Gateway, SECRET, api, with},
    ports::free_port,
    program,
    upstream::Upstream,
};
use serde_json::{Value, json};

/// Runs `portcullis cert` in the gateway's directory, with its secret in the environment.
fn cert(gateway: &Gateway, line: &str) -> Output {
    let mut arguments = vec!["cert"];
    arguments.extend(line.split_whitespace());
    program::command(&arguments)
        .current_dir(gateway.dir())
        .env("PORTCULLIS_GATEWAY", gateway.url(""))
        .env("PORTCULLIS_SECRET", SECRET)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// As [`cert`], when it has to succeed: what it prints.
fn done(gateway: &Gateway, line: &str) -> String {
    let output = cert(gateway, line);
    assert!(output.status.success(), "{line}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    [
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ]
    .concat()
}

/// Its error, when it has to fail with this status.
fn refused(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{}", said(output));
    said(output)
}

#[test]
fn a_certificate_is_added_listed_shown_and_removed() {
    let gateway = Gateway::builder().start();
    let pair = certs::server(&["stored.test"]);
    gateway.write("one.pem", &pair.certificate_pem());
    gateway.write("one.key", &pair.key_pem());
    let id = done(&gateway, "add one.pem one.key --org default");
    assert_eq!(id, done(&gateway, "id --org default one.pem"));
    let id = id.trim();
    assert_eq!(done(&gateway, "list --org default").trim(), id);
    let detailed = done(&gateway, "list --org default --detailed");
    assert!(
        detailed.contains("stored.test") && detailed.contains("yes"),
        "{detailed}"
    );
    let shown = done(&gateway, &format!("show {id}"));
    assert!(
        shown.contains("subject      stored.test") && shown.contains("private key  yes"),
        "{shown}"
    );
    let json: Value = serde_json::from_str(&done(&gateway, &format!("show --json {id}"))).unwrap();
    assert_eq!(json["id"], id);

    let again = refused(&cert(&gateway, "add one.pem --org default"), 5);
    assert!(
        again.contains(&format!("Certificate with {id} id already exists")),
        "{again}"
    );

    assert_eq!(
        done(&gateway, &format!("rm {id}")),
        format!("removed {id}\n")
    );
    let gone = refused(&cert(&gateway, &format!("rm {id}")), 5);
    assert!(
        gone.contains("Certificate with given SHA256 fingerprint not found"),
        "{gone}"
    );
    assert_eq!(done(&gateway, "list --org default"), "");
}

#[test]
fn the_inventory_says_who_uses_a_certificate_and_removing_it_warns_of_them() {
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"enable_custom_domains": true}))
        .start();
    let cert = |line: &str| cert(&gateway, &format!("{line} --cacert ca.pem"));
    gateway.write("own.pem", &certs::bundle(&certs::server(&["own.test"])));
    let added = cert("add own.pem --org default");
    let id = said(&added).trim().to_owned();
    let definition = with(
        api("own", "/own/", "http://127.0.0.1:9/"),
        json!({"domain": "own.test", "certificates": [id]}),
    );
    gateway.write_api("own", &definition);
    gateway.reload();
    let inventory = said(&cert("inventory"));
    let line = inventory.lines().find(|line| line.contains(&id));
    let line = line.unwrap_or_else(|| panic!("{inventory}"));
    assert!(
        line.contains("own.test") && line.contains("API own (certificates)"),
        "{line}"
    );
    assert!(
        inventory.contains("http_server_options.ssl_certificates"),
        "{inventory}"
    );
    // The tests' certificates are good for 90 days.
    assert_eq!(said(&cert("inventory --expiring 30")), "no certificates\n");
    assert!(said(&cert("inventory --expiring 91")).contains("\nwithout own.test: "));
    let removed = cert(&format!("rm {id}"));
    assert!(removed.status.success(), "{}", said(&removed));
    assert!(
        said(&removed).contains("warning: it was in use by API own"),
        "{}",
        said(&removed)
    );
}

#[test]
fn der_is_uploaded_and_what_is_no_certificate_is_not() {
    let gateway = Gateway::builder().start();
    let pair = certs::server(&["der.test"]);
    std::fs::write(gateway.path("a.der"), pair.certificate.to_der().unwrap()).unwrap();
    let id = done(&gateway, "add a.der --org o");
    assert_eq!(id, format!("o{}\n", certs::fingerprint(&pair.certificate)));
    gateway.write("only.key", &pair.key_pem());
    let told = refused(&cert(&gateway, "add only.key"), 5);
    assert!(
        told.contains("Failed to decode certificate. It should be PEM encoded."),
        "{told}"
    );
    let told = refused(&cert(&gateway, "show a,b"), 1);
    assert!(told.contains("is no certificate id"), "{told}");
}

#[test]
fn the_configuration_of_a_local_gateway_is_enough() {
    let port = free_port();
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"control_api_port": port}))
        .start();
    gateway.write("a.pem", &certs::server(&["a.test"]).certificate_pem());
    let line = "add a.pem --org default --conf tyk.conf --cacert ca.pem";
    let mut command = program::command(&["cert"]);
    let output = command
        .args(line.split(' '))
        .current_dir(gateway.dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_gateway_that_is_not_trusted_gets_no_secret_and_the_check_that_failed_is_told() {
    let gateway = Gateway::builder().tls().start();
    let untrusted = refused(&cert(&gateway, "list"), 5);
    assert!(
        untrusted.contains("is not trusted") && untrusted.contains("--cacert"),
        "{untrusted}"
    );
    let named = format!(
        "list --cacert ca.pem --gateway https://127.0.0.2:{}",
        gateway.port()
    );
    let elsewhere = refused(&cert(&gateway, &named), 5);
    assert!(
        elsewhere.contains("cannot be reached")
            || elsewhere.contains("a name its certificate is for"),
        "{elsewhere}"
    );
    done(&gateway, "list --cacert ca.pem");
    let careless = cert(&gateway, "list --insecure");
    assert!(
        careless.status.success() && said(&careless).contains("warning: --insecure"),
        "{}",
        said(&careless)
    );
}

#[test]
fn a_wrong_secret_a_missing_gateway_and_another_server_are_told_apart() {
    let gateway = Gateway::builder().start();
    gateway.write("wrong", "not the secret\n");
    let wrong = refused(&cert(&gateway, "list --secret-file wrong"), 5);
    assert!(
        wrong.contains("does not accept the secret (403)"),
        "{wrong}"
    );
    assert!(!wrong.contains("not the secret"), "{wrong}");
    let seen = cert(&gateway, "list --secret visible");
    assert!(
        said(&seen).contains("every user of this machine can read --secret"),
        "{}",
        said(&seen)
    );

    let nobody = format!("list --gateway http://127.0.0.1:{}", free_port());
    let nobody = refused(&cert(&gateway, &nobody), 5);
    assert!(
        nobody.contains("cannot be reached") && nobody.contains("refused"),
        "{nobody}"
    );
    let other = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let other = refused(
        &cert(&gateway, &format!("list --gateway {}", other.url())),
        5,
    );
    assert!(other.contains("this is no answer of a gateway"), "{other}");
    let silent = Upstream::start(|talk| talk.stall());
    let silent = refused(
        &cert(
            &gateway,
            &format!("list --timeout 1 --gateway {}", silent.url()),
        ),
        5,
    );
    assert!(silent.contains("did not answer within 1 s"), "{silent}");

    let output = program::command(&["cert", "list"]).output().unwrap();
    assert!(refused(&output, 1).contains("which gateway?"));
    let output = program::command(&["cert", "list", "--gateway", "http://localhost"])
        .output()
        .unwrap();
    assert!(refused(&output, 1).contains("the gateway's secret is needed"));
}
