//! Mutual TLS with clients of different make: OpenSSL, GnuTLS, curl, and Go where it is on the machine;
//! every version, every kind of key, with and without a server name.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use portcullis_pki::make::{Algorithm, Pair};
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Gateway, api, with},
    mtls::self_signed_with,
    tls::s_client,
    wait::PATIENCE,
};
use serde_json::json;

const KINDS: [(&str, Algorithm); 4] = [
    ("rsa", Algorithm::Rsa2048),
    ("p256", Algorithm::P256),
    ("p384", Algorithm::P384),
    ("ed25519", Algorithm::Ed25519),
];

/// One gateway whose API lists a client of every kind; a stranger of every kind is not on it.
fn gateway(echo: &Echo) -> Gateway {
    let pairs: Vec<(String, Pair)> = KINDS
        .iter()
        .flat_map(|(kind, algorithm)| {
            ["listed", "stranger"].map(|who| {
                (
                    format!("{who}-{kind}.pem"),
                    self_signed_with(who, *algorithm),
                )
            })
        })
        .collect();
    let listed: Vec<&String> = pairs
        .iter()
        .map(|(file, _)| file)
        .filter(|file| file.starts_with("listed"))
        .collect();
    let definition = with(
        api("a", "/", &echo.url()),
        json!({"use_mutual_tls_auth": true, "client_certificates": listed}),
    );
    let mut builder = Gateway::builder()
        .tls()
        .config(json!({"http_server_options": {"enable_http2": true}}));
    for (file, pair) in &pairs {
        builder = builder.file(file, &certs::bundle(pair));
    }
    builder.api("a", &definition).start()
}

/// Every combination of who it is, key and version, and the status it is to get.
fn each(mut ask: impl FnMut(&str, bool) -> Option<u16>) {
    for (kind, _) in KINDS {
        for tls12 in [true, false] {
            for (who, status) in [("listed", 200), ("stranger", 403)] {
                let file = format!("{who}-{kind}.pem");
                assert_eq!(ask(&file, tls12), Some(status), "{file}, TLS 1.2: {tls12}");
            }
        }
    }
}

fn status(answer: &str) -> Option<u16> {
    let (_, rest) = answer.split_once("HTTP/1.1 ")?;
    rest.get(..3)?.parse().ok()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn openssl_clients_pass_and_are_refused_with_and_without_a_server_name() {
    let echo = Echo::start("api");
    let gateway = gateway(&echo);
    for name in [&["-servername", "localhost"][..], &["-noservername"]] {
        each(|file, tls12| {
            let path = gateway.path(file);
            let path = path.to_str().expect("a path of text");
            let version = if tls12 { "-tls1_2" } else { "-tls1_3" };
            let arguments = [&[version, "-cert", path, "-key", path], name].concat();
            status(&s_client(gateway.address(), &arguments, REQUEST).text)
        });
    }
}

#[test]
fn gnutls_clients_pass_and_are_refused() {
    let echo = Echo::start("api");
    let gateway = gateway(&echo);
    let port = gateway.port().to_string();
    each(|file, tls12| {
        let version = if tls12 { "1.2" } else { "1.3" };
        let mut client = Command::new("timeout")
            .arg(PATIENCE.as_secs().to_string())
            .args([
                "gnutls-cli",
                "--insecure",
                "--logfile=/dev/null",
                "-p",
                &port,
            ])
            .args(["--sni-hostname=localhost", "--x509certfile"])
            .arg(gateway.path(file))
            .arg("--x509keyfile")
            .arg(gateway.path(file))
            .arg(format!("--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}"))
            .arg("127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gnutls-cli is installed");
        // Held open: this client leaves when its input ends, answered or not.
        let mut input = client.stdin.take().expect("asked for");
        // A client that was refused does not read.
        let _ = input.write_all(REQUEST.as_bytes());
        let output = client.wait_with_output().expect("our own process");
        drop(input);
        status(&String::from_utf8_lossy(&output.stdout))
    });
}

#[test]
fn curl_passes_and_is_refused_over_http_1_and_2() {
    let echo = Echo::start("api");
    let gateway = gateway(&echo);
    for protocol in ["--http1.1", "--http2"] {
        each(|file, tls12| {
            let path = gateway.path(file);
            let path = path.to_str().expect("a path of text");
            let versions: &[&str] = match tls12 {
                true => &["--tls-max", "1.2"],
                false => &["--tlsv1.3"],
            };
            let response = gateway
                .curl()
                .arguments(&["--cert", path, protocol])
                .arguments(versions)
                .send(&gateway.url("/"));
            Some(response.status)
        });
    }
}

/// Go's TLS is what a Tyk node's peers speak.
#[test]
#[expect(clippy::print_stderr, reason = "what was not tried is said")]
fn go_clients_pass_and_are_refused_where_go_is_installed() {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("NOT TRIED: Go is not installed");
        return;
    }
    let echo = Echo::start("api");
    let gateway = gateway(&echo);
    gateway.write("client.go", GO);
    let binary = gateway.path("client");
    let built = Command::new("go")
        .current_dir(gateway.dir())
        .env("GOFLAGS", "-mod=mod")
        .args(["build", "-o"])
        .arg(&binary)
        .arg("client.go")
        .output()
        .expect("go runs");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    each(|file, tls12| {
        let output = Command::new(&binary)
            .arg(gateway.url("/"))
            .arg(gateway.path(file))
            .arg(if tls12 { "771" } else { "772" })
            .output()
            .expect("the client runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse().ok()
    });
}

const GO: &str = r#"package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strconv"
)

func main() {
	pair, err := tls.LoadX509KeyPair(os.Args[2], os.Args[2])
	if err != nil {
		fmt.Println(err)
		return
	}
	version, _ := strconv.Atoi(os.Args[3])
	settings := &tls.Config{
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		MinVersion:         uint16(version),
		MaxVersion:         uint16(version),
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: settings}}
	response, err := client.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(response.StatusCode)
}
"#;
