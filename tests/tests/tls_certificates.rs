//! Which certificate the server presents, what happens without one, and when a file changes.

use std::{fs, time::Instant};

use openssl::ssl::SslVersion;
use portcullis_tests::{
    certs::{self, Algorithm},
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    tls::{Client, s_client},
    wait::{PATIENCE, eventually},
};
use serde_json::{Value, json};

/// A gateway that speaks TLS with these certificates, before an open API.
fn serving(server: Value, echo: &Echo) -> Builder {
    let options = with(json!({"use_ssl": true}), server);
    Gateway::builder()
        .config(json!({"http_server_options": options}))
        .api("open", &api("open", "/", &echo.url()))
}

/// A gateway without certificates of its own, before an API that has these members as well.
fn serving_api(more: Value, echo: &Echo) -> Builder {
    Gateway::builder()
        .config(json!({"http_server_options": {"use_ssl": true}, "enable_custom_domains": true}))
        .api("open", &with(api("open", "/", &echo.url()), more))
}

/// The fingerprint of the certificate that a client of this name gets.
#[track_caller]
fn served(gateway: &Gateway, name: &str) -> String {
    certs::fingerprint(
        &Client::new()
            .server_name(name)
            .certificate(gateway.address()),
    )
}

/// IN-1
#[test]
fn a_tls_gateway_without_any_certificate_refuses_handshakes_with_unrecognized_name() {
    let echo = Echo::start("open");
    let gateway = serving(json!({}), &echo).start();
    assert_eq!(
        Client::new().connect(gateway.address()).unwrap_err().alert,
        Some(112)
    );
    assert_eq!(
        s_client(gateway.address(), &["-servername", "localhost"], "").alert(),
        Some(112)
    );
    gateway.wait_log("no usable certificate");
}

/// IN-2
#[test]
fn a_pair_of_files_serves() {
    let echo = Echo::start("open");
    let pair = certs::localhost();
    let entry = json!({"domain_name": "localhost", "cert_file": "crt.pem", "key_file": "key.pem"});
    let gateway = serving(json!({"certificates": [entry]}), &echo)
        .file("crt.pem", &pair.certificate_pem())
        .file("key.pem", &pair.key_pem())
        .start();
    assert_eq!(gateway.get("/").expect(200).json()["upstream"], "open");
}

/// IN-3
#[test]
fn one_file_with_certificate_and_key_serves() {
    let echo = Echo::start("open");
    let gateway = serving(json!({"ssl_certificates": ["server.pem"]}), &echo)
        .file("server.pem", &certs::bundle(certs::localhost()))
        .start();
    assert_eq!(gateway.get("/").expect(200).json()["upstream"], "open");
}

/// IN-5
#[test]
fn certificate_and_key_written_into_the_configuration_serve() {
    let echo = Echo::start("open");
    let gateway = serving(
        json!({"ssl_certificates": [certs::bundle(certs::localhost())]}),
        &echo,
    )
    .start();
    assert_eq!(gateway.get("/").expect(200).json()["upstream"], "open");
}

/// IN-6 with a file; with an id of the store it is proven beside the store.
#[test]
fn an_api_brings_its_own_certificate_and_tls_12_clients_see_it() {
    let echo = Echo::start("open");
    let pair = certs::server(&["localhost", "127.0.0.1"]);
    let gateway = serving_api(json!({"certificates": ["api.pem"]}), &echo)
        .file("api.pem", &certs::bundle(&pair))
        .start();
    let tls12 = Client::new().set(|client| client.set_max_proto_version(Some(SslVersion::TLS1_2)));
    let certificate = tls12.certificate(gateway.address());
    assert_eq!(
        certs::fingerprint(&certificate),
        certs::fingerprint(&pair.certificate)
    );
    gateway
        .curl()
        .arguments(&["--tls-max", "1.2"])
        .send(&gateway.url("/"))
        .expect(200);
}

/// IN-7, with a file instead of an id.
#[test]
fn the_certificate_of_an_api_whose_domain_is_disabled_is_not_served() {
    let echo = Echo::start("open");
    let more = json!({"certificates": ["api.pem"], "domain_disabled": true});
    let gateway = serving_api(more, &echo)
        .file("api.pem", &certs::bundle(certs::localhost()))
        .start();
    assert_eq!(
        Client::new().connect(gateway.address()).unwrap_err().alert,
        Some(112)
    );
}

/// IN-8
#[test]
fn an_api_without_a_certificate_on_a_gateway_without_one_gets_no_handshake() {
    let echo = Echo::start("open");
    let gateway = serving_api(json!({}), &echo).start();
    assert_eq!(
        Client::new().connect(gateway.address()).unwrap_err().alert,
        Some(112)
    );
}

/// IN-9
#[test]
fn certificate_and_key_written_into_a_definition_serve() {
    let echo = Echo::start("open");
    let more = json!({"certificates": [certs::bundle(certs::localhost())]});
    let gateway = serving_api(more, &echo).start();
    assert_eq!(gateway.get("/").expect(200).json()["upstream"], "open");
}

/// IN-12
#[test]
fn a_certificate_without_its_key_is_passed_over_for_one_that_has_it() {
    let echo = Echo::start("open");
    let keyless = certs::server(&["localhost"]);
    let gateway = serving(
        json!({"ssl_certificates": ["keyless.pem", "server.pem"]}),
        &echo,
    )
    .file("keyless.pem", &keyless.certificate_pem())
    .file("server.pem", &certs::bundle(certs::localhost()))
    .start();
    assert_eq!(
        served(&gateway, "localhost"),
        certs::fingerprint(&certs::localhost().certificate)
    );
    gateway.get("/").expect(200);
}

#[test]
fn the_name_a_client_asks_for_chooses_the_certificate_wildcards_included_and_the_first_is_the_default()
 {
    let echo = Echo::start("open");
    let first = certs::server(&["first.test"]);
    let exact = certs::server(&["exact.wild.test"]);
    let wildcard = certs::server(&["*.wild.test"]);
    let gateway = serving(
        json!({"ssl_certificates": ["first.pem", "exact.pem", "wildcard.pem"]}),
        &echo,
    )
    .file("first.pem", &certs::bundle(&first))
    .file("exact.pem", &certs::bundle(&exact))
    .file("wildcard.pem", &certs::bundle(&wildcard))
    .start();
    let [first, exact, wildcard] =
        [first, exact, wildcard].map(|pair| certs::fingerprint(&pair.certificate));
    assert_eq!(served(&gateway, "first.test"), first);
    assert_eq!(served(&gateway, "exact.wild.test"), exact);
    assert_eq!(
        served(&gateway, "EXACT.Wild.Test"),
        exact,
        "names do not mind capitals"
    );
    assert_eq!(served(&gateway, "other.wild.test"), wildcard);
    assert_eq!(
        served(&gateway, "too.deep.wild.test"),
        first,
        "a wildcard is one label"
    );
    assert_eq!(served(&gateway, "unknown.test"), first);
    let nameless = Client::new()
        .no_server_name()
        .certificate(gateway.address());
    assert_eq!(certs::fingerprint(&nameless), first);
}

#[test]
fn a_domain_name_beside_a_pair_wins_over_the_names_in_certificates() {
    let echo = Echo::start("open");
    let named = certs::server(&["inside.test"]);
    let other = certs::server(&["outside.test"]);
    let entry =
        json!({"domain_name": "outside.test", "cert_file": "named.pem", "key_file": "named.pem"});
    let gateway = serving(
        json!({"certificates": [entry], "ssl_certificates": ["other.pem"]}),
        &echo,
    )
    .file("named.pem", &certs::bundle(&named))
    .file("other.pem", &certs::bundle(&other))
    .start();
    assert_eq!(
        served(&gateway, "outside.test"),
        certs::fingerprint(&named.certificate)
    );
    assert_eq!(
        served(&gateway, "inside.test"),
        certs::fingerprint(&named.certificate)
    );
}

#[test]
fn the_certificate_of_an_api_wins_for_its_names_over_the_gateways() {
    let echo = Echo::start("open");
    let own = certs::server(&["localhost"]);
    let gateway = serving(json!({"ssl_certificates": ["server.pem"]}), &echo)
        .file("server.pem", &certs::bundle(certs::localhost()))
        .api(
            "own",
            &with(
                api("own", "/own/", &echo.url()),
                json!({"certificates": [certs::bundle(&own)]}),
            ),
        )
        .start();
    assert_eq!(
        served(&gateway, "localhost"),
        certs::fingerprint(&own.certificate)
    );
    assert_eq!(
        served(&gateway, "127.0.0.1.test"),
        certs::fingerprint(&certs::localhost().certificate),
        "the default stays the gateway's first"
    );
}

#[test]
fn of_an_rsa_and_an_ecdsa_pair_for_one_name_each_client_gets_the_one_it_can_verify() {
    let echo = Echo::start("open");
    let rsa = certs::server_with(&["localhost"], Algorithm::Rsa2048);
    let ecdsa = certs::server(&["localhost"]);
    let server = json!({"ssl_certificates": ["rsa.pem", "ecdsa.pem"], "max_version": 772});
    let gateway = serving(server, &echo)
        .file("rsa.pem", &certs::bundle(&rsa))
        .file("ecdsa.pem", &certs::bundle(&ecdsa))
        .start();
    let key_of = |arguments: &[&str]| {
        let said = s_client(
            gateway.address(),
            &[&["-servername", "localhost"], arguments].concat(),
            "",
        );
        said.line("Peer signature type:")
            .unwrap_or_else(|| panic!("no handshake: {said:?}"))
            .to_owned()
    };
    assert_eq!(key_of(&["-tls1_3"]), "ECDSA");
    assert_eq!(key_of(&["-tls1_2"]), "ECDSA");
    assert_eq!(
        key_of(&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"]),
        "RSA-PSS"
    );
    assert_eq!(
        key_of(&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]),
        "RSA-PSS"
    );
    assert_eq!(
        key_of(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
        "ECDSA"
    );
}

#[test]
fn a_changed_certificate_file_serves_new_handshakes_within_two_seconds_and_open_connections_go_on()
{
    let echo = Echo::start("open");
    let gateway = Gateway::builder()
        .tls()
        .api("open", &api("open", "/", &echo.url()))
        .start();
    let mut open = Kept::open(&gateway);
    open.request();

    let new = certs::server(&["localhost"]);
    let written = Instant::now();
    gateway.write("server.pem", &certs::bundle(&new));
    let fingerprint = certs::fingerprint(&new.certificate);
    eventually("the new certificate", || {
        served(&gateway, "localhost") == fingerprint
    });
    let took = written.elapsed();
    assert!(took.as_secs_f32() < 2.0, "it took {took:?}");
    open.request();
}

#[test]
fn a_broken_certificate_file_leaves_the_working_one_in_use_and_the_log_says_which_and_why() {
    let echo = Echo::start("open");
    let gateway = Gateway::builder()
        .tls()
        .api("open", &api("open", "/", &echo.url()))
        .start();
    let before = served(&gateway, "localhost");
    let mark = gateway.log().mark();
    gateway.write(
        "server.pem",
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
    );
    let line = gateway
        .log()
        .wait_since(mark, "the certificate read before stays in use");
    assert!(
        line.contains("ERROR") && line.contains("server.pem"),
        "{line}"
    );
    gateway.log().wait_since(mark, "configuration in force");
    assert_eq!(served(&gateway, "localhost"), before);
    gateway.get("/").expect(200);

    let mark = gateway.log().mark();
    fs::remove_file(gateway.path("server.pem")).unwrap();
    gateway
        .log()
        .wait_since(mark, "the certificate read before stays in use");
    assert_eq!(
        served(&gateway, "localhost"),
        before,
        "a file that is gone takes nothing away either"
    );

    let mended = certs::server(&["localhost"]);
    gateway.write("server.pem", &certs::bundle(&mended));
    let fingerprint = certs::fingerprint(&mended.certificate);
    eventually("the mended certificate", || {
        served(&gateway, "localhost") == fingerprint
    });
}

#[test]
fn a_key_that_does_not_belong_to_its_certificate_never_replaces_a_pair_that_works() {
    let echo = Echo::start("open");
    let gateway = Gateway::builder()
        .tls()
        .api("open", &api("open", "/", &echo.url()))
        .start();
    let before = served(&gateway, "localhost");
    let (one, other) = (certs::server(&["localhost"]), certs::server(&["localhost"]));
    let mark = gateway.log().mark();
    gateway.write("server.pem", &(one.certificate_pem() + &other.key_pem()));
    gateway
        .log()
        .wait_since(mark, "the certificate read before stays in use");
    assert_eq!(served(&gateway, "localhost"), before);
}

/// A TLS connection that is kept open.
struct Kept(openssl::ssl::SslStream<std::net::TcpStream>);

impl Kept {
    fn open(gateway: &Gateway) -> Self {
        let stream = Client::new()
            .connect(gateway.address())
            .expect("the handshake succeeds");
        stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// One request and its answer.
    #[track_caller]
    fn request(&mut self) {
        use std::io::{Read, Write};
        self.0
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut part = [0; 4096];
            let n = self.0.read(&mut part).expect("the connection is open");
            assert!(
                n > 0,
                "the connection was closed after {:?}",
                String::from_utf8_lossy(&answer)
            );
            answer.extend_from_slice(&part[..n]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    }
}
