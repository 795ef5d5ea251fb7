//! `portcullis doctor --api` and `--upstream`: an upstream, connected to as the gateway would.

use portcullis_tests::{
    certs,
    gateway::{Builder, Gateway, api},
    mtls::{authority, issued},
    ports::free_port,
    upstream::s_server::SServer,
};
use serde_json::{Value, json};

/// The steps of a diagnosis, and its exit status.
fn diagnosed(gateway: &Builder, arguments: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let ended = gateway.run(&arguments);
    let told = serde_json::from_str(&ended.output).unwrap_or_else(|_| panic!("{ended:?}"));
    (ended.status.code(), told)
}

#[track_caller]
fn step<'t>(told: &'t Value, name: &str) -> &'t Value {
    let steps = told["steps"].as_array().expect("steps");
    let mut steps = steps.iter().rev();
    steps
        .find(|step| step["step"] == name)
        .unwrap_or_else(|| panic!("no {name} in {told}"))
}

/// A configuration that trusts the tests' authority and shows `client.pem` to `localhost`.
fn gateway(client: &str, target: &str) -> Builder {
    Gateway::builder()
        .file("client.pem", client)
        .file("trusted.pem", &certs::ca().certificate_pem())
        .config(json!({
            "proxy_ssl_max_version": 772,
            "security": {"certificates": {"upstream": {"localhost": "client.pem"}}},
            "portcullis": {"upstream_ca": {"*": "trusted.pem"}},
        }))
        .api("a", &api("a", "/a/", target))
}

fn both(pair: &portcullis_pki::make::Pair) -> String {
    [pair.certificate_pem(), pair.key_pem()].concat()
}

#[test]
fn an_upstream_that_takes_the_gateways_certificate_is_told_hop_by_hop() {
    let clients = authority("Clients of the upstream");
    let shown = issued(&clients, "gateway");
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("clients.pem");
    std::fs::write(&trusted, clients.certificate_pem()).unwrap();
    let trusted = trusted.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let demands = [
            "-Verify",
            "2",
            "-verify_return_error",
            "-CAfile",
            trusted,
            version,
        ];
        let upstream = SServer::start(certs::localhost(), &demands);
        let good = gateway(&both(&shown), &upstream.url());
        for what in [["--api", "a"], ["--upstream", &upstream.url()]] {
            let (status, told) = diagnosed(&good, &what);
            assert_eq!(status, Some(0), "{told}");
            assert_eq!(told["verdict"], "passes");
            assert_eq!(step(&told, "way")["says"], "straight, by no proxy");
            assert!(
                step(&told, "peer")["says"]
                    .as_str()
                    .unwrap()
                    .contains("localhost")
            );
            assert!(
                step(&told, "trust")["says"]
                    .as_str()
                    .unwrap()
                    .contains("<-")
            );
        }
        // The same with a certificate that the upstream does not know.
        let stranger = issued(&authority("Others"), "stranger");
        let (status, told) =
            diagnosed(&gateway(&both(&stranger), &upstream.url()), &["--api", "a"]);
        assert_eq!(
            (status, &told["verdict"]),
            (Some(1), &json!("refused")),
            "{told}"
        );
        assert!(
            told["change"]
                .as_str()
                .unwrap()
                .contains("client certificate"),
            "{told}"
        );
    }
}

#[test]
fn each_failure_names_its_check_and_what_to_change() {
    let shown = both(&issued(&authority("Any"), "gateway"));
    let untrusted = SServer::start(&issued_for_localhost(), &[]);
    let (_, told) = diagnosed(&gateway(&shown, &untrusted.url()), &["--api", "a"]);
    let says = step(&told, "upstream")["says"].as_str().unwrap();
    assert!(says.contains("TLN (tls_unknown_authority)"), "{told}");
    assert!(
        told["change"]
            .as_str()
            .unwrap()
            .contains("portcullis.upstream_ca"),
        "{told}"
    );

    let closed = format!("https://localhost:{}/", free_port());
    let (_, told) = diagnosed(&gateway(&shown, &closed), &["--api", "a"]);
    let says = step(&told, "upstream")["says"].as_str().unwrap();
    assert!(says.contains("UCF (connection_refused)"), "{told}");

    let trusted = SServer::start(certs::localhost(), &[]);
    let (_, told) = diagnosed(&gateway("no certificate", &trusted.url()), &["--api", "a"]);
    let says = step(&told, "settings")["says"].as_str().unwrap();
    assert!(says.contains("client.pem"), "{told}");

    let proxied = portcullis_tests::gateway::with(
        api("p", "/p/", &trusted.url()),
        json!({"proxy": {"transport": {"proxy_url": format!("http://127.0.0.1:{}", free_port())}}}),
    );
    let (_, told) = diagnosed(
        &gateway(&shown, &closed).api("p", &proxied),
        &["--api", "p"],
    );
    assert_eq!(step(&told, "proxy")["outcome"], "refused", "{told}");
    assert!(told["change"].as_str().unwrap().contains("proxy"), "{told}");

    let (status, told) = diagnosed(&gateway(&shown, &closed), &["--api", "nobody"]);
    assert_eq!(status, Some(1));
    assert_eq!(step(&told, "upstream")["says"], "no API has the id nobody");
    let (_, told) = diagnosed(&gateway(&shown, &closed), &["--upstream", "ftp://x"]);
    assert_eq!(step(&told, "upstream")["outcome"], "refused");
}

/// A server's pair that nobody trusts.
fn issued_for_localhost() -> portcullis_pki::make::Pair {
    let unknown = authority("Unknown");
    let algorithm = portcullis_pki::make::Algorithm::P256;
    portcullis_pki::make::make_server(&unknown, &["localhost"], algorithm, 30).unwrap()
}
