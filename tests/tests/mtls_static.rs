//! APIs with an allow list of client certificates: what the handshake asks for, who is refused by which
//! alert, and what a request is told.

use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway, SECRET, api, with},
    mtls::{
        Outcome, authority, bound, call, call_to, early, expired, issued, listing, not_allowed,
        self_signed, separate, upload,
    },
    ports::free_port,
    tls::Client,
    wait::eventually,
};
use serde_json::{Value, json};

const REQUIRED: &str = "Client TLS certificate is required";

/// TLS with the Control API on the same port.
fn shared() -> Builder {
    Gateway::builder().tls()
}

fn quiet(builder: Builder) -> Builder {
    builder.config(json!({"http_server_options": {"skip_client_ca_announcement": true}}))
}

fn pem(pair: &Pair) -> String {
    pair.certificate_pem()
}

/// IN-11
#[test]
fn an_entry_that_leads_nowhere_is_ignored_and_the_others_count() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let gateway = shared()
        .file("client.pem", &pem(&client))
        .api(
            "a",
            &listing("a", "/", &echo, &json!(["client.pem", "wrong"])),
        )
        .start();
    assert_eq!(call(&gateway).with(&[&client]).get("/").status(), 200);
    gateway.wait_log("nobody passes by this entry");
}

/// IN-21, IN-22
#[test]
fn the_authorities_of_the_domain_are_announced_unless_that_is_switched_off() {
    let echo = Echo::start("api");
    let [one, two] = ["one", "two"].map(self_signed);
    let definitions = [
        bound(listing("a", "/", &echo, &json!([pem(&one)])), "localhost"),
        listing("b", "/", &echo, &json!([pem(&two)])),
    ];
    for (builder, announced) in [(separate(), 1), (quiet(separate()), 0)] {
        let gateway = builder
            .api("a", &definitions[0])
            .api("b", &definitions[1])
            .start();
        for call in [call(&gateway), call(&gateway).tls12()] {
            assert_eq!(call.announced(), Some(announced));
            assert_eq!(call.with(&[&one]).get("/").status(), 200);
        }
    }
}

/// IN-23
#[test]
fn an_open_domain_asks_for_nothing_and_takes_clients_with_certificates() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let gateway = separate()
        .api("a", &bound(api("a", "/", &echo.url()), "localhost"))
        .start();
    assert_eq!(call(&gateway).announced(), None);
    assert_eq!(call(&gateway).with(&[&client]).get("/").status(), 200);
}

/// IN-24, IN-25
#[test]
fn a_domain_that_is_all_protected_ends_the_handshake_without_a_certificate() {
    let echo = Echo::start("api");
    let definition = bound(listing("a", "/", &echo, &json!([])), "localhost");
    let gateway = separate().api("a", &definition).start();
    assert_eq!(call(&gateway).tls12().get("/"), Outcome::Alert(40));
    assert_eq!(call(&gateway).get("/"), Outcome::Alert(116));
    gateway.wait_log("nobody can pass");
    gateway.wait_log("certificate_required");
    let gateway = quiet(separate()).api("a", &definition).start();
    assert_eq!(call(&gateway).tls12().get("/"), Outcome::Alert(42));
    assert_eq!(call(&gateway).get("/"), Outcome::Alert(42));
}

/// IN-26, IN-28
#[test]
fn the_listed_client_passes_and_another_is_refused_in_the_handshake() {
    let echo = Echo::start("api");
    let [listed, other] = ["listed", "other"].map(self_signed);
    let definition = bound(
        listing("a", "/", &echo, &json!([pem(&listed)])),
        "localhost",
    );
    for (builder, refused) in [(separate(), 48), (quiet(separate()), 42)] {
        let gateway = builder.api("a", &definition).start();
        for call in [call(&gateway), call(&gateway).tls12()] {
            assert_eq!(call.clone().with(&[&listed]).get("/").status(), 200);
            assert_eq!(call.with(&[&other]).get("/"), Outcome::Alert(refused));
        }
    }
}

/// IN-27, ST-46: the entry is gone from the store, and nothing had to be restarted.
#[test]
fn a_client_whose_certificate_is_deleted_from_the_store_is_refused_from_then_on() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let id = format!("default{}", certs::fingerprint(&client.certificate));
    let control = free_port();
    for (builder, refused) in [(separate(), 48), (quiet(separate()), 42)] {
        let gateway = builder
            .config(json!({"control_api_port": control}))
            .api(
                "a",
                &bound(listing("a", "/", &echo, &json!([id])), "localhost"),
            )
            .start();
        // Not there yet, so nobody passes.
        let ask = || call(&gateway).with(&[&client]).get("/");
        assert_eq!(ask(), Outcome::Alert(refused));
        assert_eq!(upload(&gateway, control, &pem(&client)), id);
        eventually("the uploaded certificate passes", || {
            matches!(ask(), Outcome::Answer { status: 200, .. })
        });
        let secret = format!("X-Tyk-Authorization: {SECRET}");
        gateway
            .curl()
            .arguments(&["-X", "DELETE", "-H", &secret])
            .send(&gateway.url_on(control, &format!("/tyk/certs/{id}")))
            .expect(200);
        eventually("the deleted certificate is refused", || {
            ask() == Outcome::Alert(refused)
        });
    }
}

#[test]
fn a_client_whose_file_is_taken_away_or_broken_is_refused_from_then_on() {
    let echo = Echo::start("api");
    let [gone, broken, stays] = ["gone", "broken", "stays"].map(self_signed);
    let gateway = shared()
        .file("gone.pem", &pem(&gone))
        .file("broken.pem", &pem(&broken))
        .file("stays.pem", &pem(&stays))
        .api(
            "a",
            &listing(
                "a",
                "/",
                &echo,
                &json!(["gone.pem", "broken.pem", "stays.pem"]),
            ),
        )
        .start();
    let status = |client| call(&gateway).with(&[client]).get("/").status();
    for client in [&gone, &broken, &stays] {
        assert_eq!(status(client), 200);
    }
    std::fs::remove_file(gateway.path("gone.pem")).unwrap();
    gateway.write("broken.pem", "");
    eventually("both are refused", || {
        status(&gone) == 403 && status(&broken) == 403
    });
    assert_eq!(status(&stays), 200);
}

/// IN-29, IN-30, IN-31
#[test]
fn beside_an_open_api_the_list_is_enforced_with_each_request() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    for domain in ["", "localhost"] {
        let gateway = separate()
            .api(
                "open",
                &bound(api("open", "/without/", &echo.url()), domain),
            )
            .api(
                "a",
                &bound(listing("a", "/with/", &echo, &json!([])), domain),
            )
            .api(
                "b",
                &bound(
                    listing("b", "/listed/", &echo, &json!([pem(&client)])),
                    domain,
                ),
            )
            .start();
        let nobody = call(&gateway);
        assert_eq!(nobody.get("/with/").refusal(), (403, REQUIRED.to_owned()));
        assert_eq!(nobody.get("/without/").status(), 200);
        let client_call = call(&gateway).with(&[&client]);
        assert_eq!(
            client_call.get("/with/").refusal(),
            (403, not_allowed(&client))
        );
        assert_eq!(client_call.get("/listed/").status(), 200);
        assert_eq!(client_call.get("/without/").status(), 200);
    }
}

/// IN-32
#[test]
fn two_empty_lists_on_one_domain_let_nobody_in() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let definitions = ["a", "b"].map(|name| {
        bound(
            listing(name, &format!("/{name}/"), &echo, &json!([])),
            "localhost",
        )
    });
    for (builder, without, untrusted) in [(separate(), 40, 48), (quiet(separate()), 42, 42)] {
        let gateway = builder
            .api("a", &definitions[0])
            .api("b", &definitions[1])
            .start();
        let call = call(&gateway).tls12();
        assert_eq!(call.get("/a/"), Outcome::Alert(without));
        assert_eq!(call.with(&[&client]).get("/a/"), Outcome::Alert(untrusted));
    }
}

/// IN-33
#[test]
fn a_client_of_one_api_is_no_client_of_its_neighbour() {
    let echo = Echo::start("api");
    let [one, two] = ["one", "two"].map(self_signed);
    let gateway = separate()
        .api(
            "a",
            &bound(listing("a", "/a/", &echo, &json!([pem(&one)])), "localhost"),
        )
        .api(
            "b",
            &bound(listing("b", "/b/", &echo, &json!([pem(&two)])), "localhost"),
        )
        .start();
    for (client, own, other) in [(&one, "/a/", "/b/"), (&two, "/b/", "/a/")] {
        let call = call(&gateway).with(&[client]);
        assert_eq!(call.get(own).status(), 200);
        assert_eq!(call.get(other).refusal(), (403, not_allowed(client)));
    }
}

/// IN-34, IN-35
#[test]
fn each_domain_asks_for_its_own() {
    let echo = Echo::start("api");
    let protected = |domain| bound(listing("a", "/a/", &echo, &json!([])), domain);
    let open = |domain| bound(api("b", "/b/", &echo.url()), domain);
    for quietly in [false, true] {
        let builder = || {
            if quietly {
                quiet(separate())
            } else {
                separate()
            }
        };
        let alert = Outcome::Alert(if quietly { 42 } else { 40 });
        let gateway = builder()
            .api("a", &protected("localhost"))
            .api("b", &open(""))
            .start();
        assert_eq!(call(&gateway).tls12().get("/a/"), alert);
        assert_eq!(call(&gateway).tls12().nameless().get("/b/").status(), 200);
        let gateway = builder()
            .api("a", &protected(""))
            .api("b", &open("localhost"))
            .start();
        assert_eq!(call(&gateway).tls12().nameless().get("/a/"), alert);
        assert_eq!(call(&gateway).tls12().get("/b/").status(), 200);
    }
}

/// IN-36
#[test]
fn an_open_api_without_a_domain_keeps_the_handshake_open_for_its_neighbour() {
    let echo = Echo::start("api");
    let gateway = separate()
        .api("a", &listing("a", "/a/", &echo, &json!([])))
        .api("b", &api("b", "/b/", &echo.url()))
        .start();
    assert_eq!(
        call(&gateway).get("/a/").refusal(),
        (403, REQUIRED.to_owned())
    );
}

/// IN-20, IN-37, IN-49
#[test]
fn where_the_control_api_shares_the_port_only_requests_are_refused() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let gateway = shared()
        .api("a", &listing("a", "/a/", &echo, &json!([pem(&client)])))
        .api("b", &listing("b", "/b/", &echo, &json!([])))
        .start();
    let listed = call(&gateway).with(&[&client]);
    assert_eq!(listed.get("/a/").status(), 200);
    assert_eq!(listed.get("/b/").refusal(), (403, not_allowed(&client)));
    assert_eq!(
        call(&gateway).get("/a/").refusal(),
        (403, REQUIRED.to_owned())
    );
    assert_eq!(call(&gateway).control("/tyk/apis/oas").status(), 200);
    gateway.wait_log("All APIs are protected with mTLS, except for the control API");
}

/// IN-38, and a listed certificate whose time has not come.
#[test]
fn a_listed_certificate_counts_only_in_its_validity() {
    let echo = Echo::start("api");
    let (past, future) = (expired("past"), early("future"));
    let gateway = shared()
        .api(
            "a",
            &listing("a", "/", &echo, &json!([pem(&past), pem(&future)])),
        )
        .start();
    for (client, told) in [
        (&past, "Certificate has expired"),
        (&future, "Certificate is not yet valid"),
    ] {
        let outcome = call(&gateway).with(&[client]).get("/");
        assert_eq!(outcome.refusal(), (403, told.to_owned()));
    }
}

/// IN-39
#[test]
fn a_bare_public_key_announces_nobody_and_lets_nobody_pass() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let key = client.certificate.public_key().unwrap();
    let key = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
    let gateway = shared()
        .api("a", &listing("a", "/", &echo, &json!([key])))
        .start();
    assert_eq!(call(&gateway).announced(), Some(0));
    let call = call(&gateway).with(&[&client]);
    assert_eq!(call.get("/").refusal(), (403, not_allowed(&client)));
    assert_eq!(call.control("/tyk/apis").status(), 200);
}

/// IN-40, IN-42, and recommendation 13: the leaf may come alone.
#[test]
fn clients_of_a_listed_authority_pass_and_those_of_another_do_not() {
    let echo = Echo::start("api");
    let [root, other_root] = ["Root", "Other"].map(authority);
    let (leaf, other) = (issued(&root, "leaf"), issued(&other_root, "other"));
    let gateway = shared()
        .api("a", &listing("a", "/", &echo, &json!([pem(&root)])))
        .start();
    for chain in [&[&leaf, &root][..], &[&leaf]] {
        assert_eq!(call(&gateway).with(chain).get("/").status(), 200);
    }
    let refused = call(&gateway).with(&[&other, &other_root]);
    assert_eq!(refused.get("/").refusal(), (403, not_allowed(&other)));
    let gateway = separate()
        .api(
            "a",
            &bound(listing("a", "/", &echo, &json!([pem(&root)])), "localhost"),
        )
        .start();
    assert_eq!(call(&gateway).with(&[&leaf]).get("/").status(), 200);
    let refused = call(&gateway).with(&[&other, &other_root]);
    assert_eq!(refused.get("/"), Outcome::Alert(48));
}

/// Recommendation 12: a certificate that merely came along is nobody's proof, on APIs as on the Control
/// API.
#[test]
fn somebody_elses_certificate_behind_an_own_leaf_opens_nothing() {
    let echo = Echo::start("api");
    let (listed, root) = (self_signed("listed"), authority("Root"));
    let mallory = self_signed("mallory");
    let entries = json!([pem(&listed), pem(&root)]);
    let gateway = shared()
        .api("a", &listing("a", "/a/", &echo, &entries))
        .api("b", &api("b", "/b/", &echo.url()))
        .start();
    for along in [&listed, &root] {
        let outcome = call(&gateway).with(&[&mallory, along]).get("/a/");
        assert_eq!(outcome.refusal(), (403, not_allowed(&mallory)));
    }
    let gateway = shared()
        .config(json!({
            "control_api_hostname": "control.test",
            "security": {"control_api_use_mutual_tls": true, "certificates": {"control_api": entries}},
        }))
        .api("b", &api("b", "/b/", &echo.url()))
        .start();
    for along in [&listed, &root] {
        let outcome = call(&gateway)
            .named("control.test")
            .with(&[&mallory, along]);
        assert_eq!(outcome.control("/tyk/apis"), Outcome::Alert(48));
    }
}

/// IN-41, recommendations 14 and 15.
#[test]
fn a_stored_chain_pins_its_leaf_and_a_bundle_trusts_all_its_authorities() {
    let echo = Echo::start("api");
    let [first, second] = ["First", "Second"].map(authority);
    let (leaf, sibling) = (issued(&first, "leaf"), issued(&first, "sibling"));
    let of_second = issued(&second, "second");
    let gateway = shared()
        .api(
            "chain",
            &listing(
                "chain",
                "/chain/",
                &echo,
                &json!([pem(&leaf) + &pem(&first)]),
            ),
        )
        .api(
            "bundle",
            &listing(
                "bundle",
                "/bundle/",
                &echo,
                &json!([pem(&first) + &pem(&second)]),
            ),
        )
        .start();
    let with = |chain: &[&Pair], path: &str| call(&gateway).with(chain).get(path);
    assert_eq!(with(&[&leaf, &first], "/chain/").status(), 200);
    assert_eq!(with(&[&leaf], "/chain/").status(), 200);
    assert_eq!(
        with(&[&sibling, &first], "/chain/").refusal(),
        (403, not_allowed(&sibling))
    );
    for client in [&leaf, &sibling, &of_second] {
        assert_eq!(with(&[client], "/bundle/").status(), 200);
    }
}

/// IN-43, IN-44, IN-45, ST-45
#[test]
fn inline_pem_counts_however_it_was_pasted_and_broken_pem_is_an_entry_for_nobody() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let whole = pem(&client);
    let crlf = format!("\u{feff}\r\n  {}\r\n\r\n", whole.replace('\n', "\r\n"));
    for text in [whole.clone(), whole.replace('\n', " "), crlf] {
        let gateway = quiet(shared())
            .config(json!({"enable_custom_domains": true}))
            .api(
                "a",
                &bound(listing("a", "/", &echo, &json!([text])), "localhost"),
            )
            .start();
        assert_eq!(
            call(&gateway).with(&[&client]).get("/").status(),
            200,
            "{text}"
        );
        assert_eq!(call(&gateway).get("/"), Outcome::Alert(42));
    }
    let broken = [
        &whole[..whole.len() / 2],
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ];
    let gateway = shared()
        .api(
            "a",
            &listing("a", "/", &echo, &json!([broken[0], broken[1], whole])),
        )
        .start();
    assert_eq!(call(&gateway).with(&[&client]).get("/").status(), 200);
    gateway.wait_log("nobody passes by this entry");
}

/// IN-46, and what the reference leaves open: the list counts on a port that only asks as well.
#[test]
fn a_service_that_relays_bytes_is_held_to_its_list() {
    let echo = Echo::start("api");
    let port = free_port();
    let [listed, other] = ["listed", "other"].map(self_signed);
    let service = with(
        listing("service", "/", &echo, &json!([pem(&listed)])),
        json!({"protocol": "tls", "listen_port": port,
               "proxy": {"target_url": format!("tcp://{}", echo.address())}}),
    );
    let gateway = Gateway::builder()
        .file("server.pem", &certs::bundle(certs::localhost()))
        .config(json!({
            "http_server_options": {"ssl_certificates": ["server.pem"], "max_version": 772},
            "ports_whitelist": {"tls": {"ports": [port]}},
        }))
        .api("service", &service)
        .api("plain", &api("plain", "/", &echo.url()))
        .start();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(call_to(address).tls12().get("/"), Outcome::Alert(40));
    assert_eq!(call_to(address).with(&[&listed]).get("/").status(), 200);
    assert_eq!(
        call_to(address).with(&[&other]).get("/"),
        Outcome::Alert(48)
    );
    assert_eq!(gateway.get("/").status, 200);

    // Another service on the port is open, so the handshake only asks.
    let open = with(
        api("open", "/", &echo.url()),
        json!({"protocol": "tls", "listen_port": port, "domain": "open.test",
               "proxy": {"target_url": format!("tcp://{}", echo.address())}}),
    );
    let named = with(service, json!({"domain": "open.test"}));
    gateway.write_api("service", &with(named, json!({"domain": ""})));
    gateway.write_api("open", &open);
    gateway.reload();
    assert_eq!(call_to(address).named("open.test").get("/").status(), 200);
    assert_eq!(
        call_to(address).with(&[&other]).get("/"),
        Outcome::Alert(48)
    );
}

/// IN-47
#[test]
fn certificates_for_all_apis_are_added_to_every_list() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let gateway = shared()
        .config(json!({"security": {"certificates": {"apis": [pem(&client)]}}}))
        .api("a", &listing("a", "/a/", &echo, &json!([])))
        .api("b", &api("b", "/b/", &echo.url()))
        .start();
    assert_eq!(call(&gateway).with(&[&client]).get("/a/").status(), 200);
    assert_eq!(call(&gateway).get("/b/").status(), 200);
}

/// IN-48
#[test]
fn without_tls_nobody_passes_a_list() {
    let echo = Echo::start("api");
    let gateway = Gateway::builder()
        .api("a", &listing("a", "/", &echo, &json!([])))
        .start();
    let refused = gateway.get("/").expect(403).json();
    assert_eq!(refused["error"], "TLS not enabled");
}

/// IN-13, IN-14, IN-15, IN-19
#[test]
fn the_control_api_on_a_name_of_its_own_demands_a_listed_certificate() {
    let client = self_signed("client");
    let with_list = |entries: Value| {
        shared()
            .config(json!({
                "control_api_hostname": "localhost",
                "security": {"control_api_use_mutual_tls": true, "certificates": {"control_api": entries}},
            }))
            .start()
    };
    let gateway = with_list(json!([]));
    assert!(
        Client::new()
            .no_server_name()
            .connect(gateway.address())
            .is_ok()
    );
    let listed = call(&gateway).with(&[&client]);
    assert_eq!(listed.control("/tyk/certs"), Outcome::Alert(48));
    let gateway = with_list(json!([pem(&client)]));
    let listed = call(&gateway).with(&[&client]);
    assert_eq!(listed.control("/tyk/certs").status(), 200);
    // The secret is needed all the same.
    let without_secret = call(&gateway).with(&[&client]).get("/tyk/certs");
    assert_eq!(
        without_secret.refusal(),
        (
            403,
            "Attempted administrative access with invalid or missing key!".to_owned()
        )
    );
    // By another name, or by none, the handshake asks for nothing, and the answer is the same.
    let elsewhere = call(&gateway).nameless().control("/tyk/certs");
    assert_eq!(elsewhere.refusal(), (403, REQUIRED.to_owned()));
}

/// IN-16, IN-17, ST-50
#[test]
fn an_unknown_entry_of_the_control_apis_list_lets_nobody_in_and_the_others_count() {
    let client = self_signed("client");
    let id = format!("default{}", certs::fingerprint(&client.certificate));
    let with_list = |entries: Value| {
        shared().config(json!({
            "control_api_hostname": "localhost",
            "security": {"control_api_use_mutual_tls": true, "certificates": {"control_api": entries}},
        }))
    };
    let gateway = with_list(json!(["invalid", format!("invalid-{id}")])).start();
    let call_with = |gateway: &Gateway| call(gateway).with(&[&client]).control("/tyk/certs");
    assert_eq!(call_with(&gateway), Outcome::Alert(48));
    assert_eq!(
        call(&gateway).tls12().control("/tyk/certs"),
        Outcome::Alert(40)
    );
    let gateway = with_list(json!(["invalid", pem(&client)])).start();
    assert_eq!(call_with(&gateway).status(), 200);
}

/// IN-18, recommendation 20: without a name or port of its own it demands it of every connection.
#[test]
fn on_a_shared_port_without_a_name_every_connection_needs_a_certificate_for_the_control_api() {
    let echo = Echo::start("api");
    let root = authority("Root");
    let leaf = issued(&root, "leaf");
    let gateway = shared()
        .config(json!({
            "security": {"control_api_use_mutual_tls": true, "certificates": {"control_api": [pem(&root)]}},
        }))
        .api("open", &api("open", "/", &echo.url()))
        .start();
    let admin = call(&gateway).with(&[&leaf, &root]);
    assert_eq!(admin.control("/tyk/certs").status(), 200);
    assert_eq!(call(&gateway).tls12().get("/"), Outcome::Alert(40));
    gateway.wait_log("every connection to port");
}

/// RFC 9110, 15.5.20: a host that demands more than the handshake did is not reached through it.
#[test]
fn a_request_for_a_stricter_host_than_the_handshakes_is_misdirected() {
    let echo = Echo::start("api");
    let client = self_signed("client");
    let gateway = separate()
        .api(
            "a",
            &bound(
                listing("a", "/", &echo, &json!([pem(&client)])),
                "closed.test",
            ),
        )
        .api("b", &bound(api("b", "/", &echo.url()), "open.test"))
        .start();
    let open = call(&gateway).named("open.test");
    assert_eq!(open.get("/").status(), 200);
    for name in [Some("open.test"), None] {
        let call = match name {
            Some(name) => call(&gateway).named(name),
            None => call(&gateway).nameless(),
        };
        assert_eq!(call.clone().host("closed.test").get("/").status(), 421);
        assert_eq!(call.host("Closed.Test.:443").get("/").status(), 421);
    }
    // The other way round nothing is missed.
    let listed = call(&gateway).named("closed.test").with(&[&client]);
    assert_eq!(listed.clone().host("open.test").get("/").status(), 200);
    assert_eq!(listed.get("/").status(), 200);
}

/// The same where a client of HTTP/2 reuses one connection for two hosts (RFC 9113, section 9.1.1).
#[test]
fn a_stream_for_a_stricter_host_than_its_connections_is_misdirected() {
    let echo = Echo::start("api");
    let closed = listing("a", "/", &echo, &json!([pem(&self_signed("client"))]));
    let gateway = separate()
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api("a", &bound(closed, "closed.test"))
        .api("b", &bound(api("b", "/", &echo.url()), "open.test"))
        .start();
    let url = format!("https://open.test:{}/", gateway.port());
    let curl = || {
        let curl = gateway.curl().arguments(&["--http2", "--insecure"]);
        curl.at("open.test", gateway.address())
    };
    let open = curl().send(&url);
    assert_eq!((open.status, open.http_version.as_str()), (200, "2"));
    let misdirected = curl().header("Host", "closed.test").send(&url);
    assert_eq!(
        (misdirected.status, misdirected.http_version.as_str()),
        (421, "2")
    );
}

/// Recommendations 16, 18 and 19.
#[test]
fn patterns_and_capitals_and_disabled_domains_are_never_weaker() {
    let echo = Echo::start("api");
    let [listed, other] = ["listed", "other"].map(self_signed);
    let definition = listing("a", "/", &echo, &json!([pem(&listed)]));
    let gateway = separate()
        .api("a", &bound(definition.clone(), "{sub:[a-z]+}.example.test"))
        .api("b", &api("b", "/open/", &echo.url()))
        .start();
    for name in ["one.example.test", "ONE.Example.Test"] {
        let with = |pair| call(&gateway).named(name).with(&[pair]).get("/");
        assert_eq!(with(&listed).status(), 200);
        assert_eq!(with(&other), Outcome::Alert(48));
        assert_eq!(
            call(&gateway).named(name).tls12().get("/"),
            Outcome::Alert(40)
        );
    }
    // Without custom domains the API answers everywhere, and so does its list.
    let gateway = shared()
        .config(json!({"control_api_port": free_port()}))
        .api("a", &bound(definition, "elsewhere.test"))
        .start();
    assert_eq!(call(&gateway).tls12().get("/"), Outcome::Alert(40));
    assert_eq!(call(&gateway).with(&[&listed]).get("/").status(), 200);
}
