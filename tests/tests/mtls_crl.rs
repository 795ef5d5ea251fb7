//! Certificate revocation lists: whom they refuse, what becomes of lists that cannot tell, and what is open
//! when one comes. The lists are made by the real `openssl ca`.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
};

use h2::Reason;
use http::Request;
use portcullis_pki::make::{self, Algorithm, Pair, Role, Template};
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    keys::{session, token_api},
    mtls::{Call, Outcome, authority, call, call_to, issued, upload},
    ports::free_port,
    raw,
    revoker::Revoker,
    tls::s_client,
    upstream::websocket::WebSocketEcho,
    wait::{PATIENCE, eventually, eventually_async},
    wire::Wire,
};
use serde_json::{Value, json};
use tokio::time::timeout;

const REVOKED: &str = "Certificate has been revoked";
const UNKNOWN: &str = "Certificate revocation status is unknown";

fn listing(name: &str, listen_path: &str, url: &str, entries: &[&Pair]) -> Value {
    let entries: Vec<String> = entries.iter().map(|pair| pair.certificate_pem()).collect();
    with(
        api(name, listen_path, url),
        json!({"use_mutual_tls_auth": true, "client_certificates": entries}),
    )
}

/// TLS with the list `ca.crl` for every API.
fn listed(list: &str) -> Builder {
    Gateway::builder()
        .tls()
        .file("ca.crl", list)
        .config(json!({"portcullis": {"client_crls": ["ca.crl"]}}))
}

/// The same where handshakes refuse by themselves.
fn required(list: &str) -> Builder {
    listed(list).config(json!({"control_api_port": free_port()}))
}

fn lenient() -> Value {
    json!({"portcullis": {"crl_mode": "lenient"}})
}

fn leaked(pair: Pair) -> &'static Pair {
    Box::leak(Box::new(pair))
}

fn below(authority: &Pair, name: &str) -> Pair {
    let template = Template {
        name,
        alternatives: &[],
        role: Role::Authority { path_length: None },
        algorithm: Algorithm::P256,
        days: 90,
    };
    make::make(&template, Some(authority)).expect("an authority can be made")
}

/// A request that the upstream has and does not answer.
fn held(echo: &Echo, call: Call<'static>, path: &'static str) -> JoinHandle<Outcome> {
    let before = echo.waiting();
    let asking = thread::spawn(move || call.get(path));
    eventually("the upstream has the request", || echo.waiting() > before);
    asking
}

fn refused(text: &str) -> (u16, String) {
    (403, text.to_owned())
}

#[test]
fn a_handshake_refuses_a_revoked_leaf_and_a_leaf_of_a_revoked_authority_with_alert_44() {
    let echo = Echo::start("api");
    let root = authority("Root");
    let [good, gone] = ["Good", "Gone"].map(|name| below(&root, name));
    let [stays, leaves] = ["stays", "leaves"].map(|name| issued(&good, name));
    let orphan = issued(&gone, "orphan");
    let of_good = Revoker::of(&good);
    let of_root = Revoker::of(&root);
    let lists = of_good.revoke(&leaves).list() + &of_root.revoke(&gone).list();
    let gateway = required(&lists)
        .api("a", &listing("a", "/", &echo.url(), &[&root]))
        .start();
    for (leaf, middle, expected) in [
        (&stays, &good, None),
        (&leaves, &good, Some(44)),
        (&orphan, &gone, Some(44)),
    ] {
        gateway.write("leaf.pem", &certs::bundle(leaf));
        gateway.write("middle.pem", &middle.certificate_pem());
        let [leaf, middle] = ["leaf.pem", "middle.pem"].map(|name| gateway.path(name));
        let [leaf, middle] = [&leaf, &middle].map(|path| path.to_str().expect("text"));
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = [
                version,
                "-servername",
                "localhost",
                "-cert",
                leaf,
                "-key",
                leaf,
                "-cert_chain",
                middle,
            ];
            let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let said = s_client(gateway.address(), &arguments, request);
            assert_eq!(said.alert(), expected, "{version}: {}", said.error);
            assert_eq!(
                said.text.contains("HTTP/1.1 200"),
                expected.is_none(),
                "{version}: {}{}",
                said.text,
                said.error
            );
        }
    }
    let line = gateway.wait_log("`CN=Gone` was revoked on");
    assert!(line.contains("says the list of `CN=Root`"), "{line}");
    let control = gateway.ports().iter().find(|port| **port != gateway.port());
    let control = *control.expect("the Control API's port");
    let seen = gateway
        .control_on(control, "/tyk/handshakes")
        .expect(200)
        .json()
        .to_string();
    assert!(
        seen.contains("\"certificate_revoked\"") && seen.contains("CN=Root"),
        "{seen}"
    );
    let metrics = gateway.control_on(control, "/metrics").text();
    assert!(
        metrics.contains(
            "portcullis_crl_next_update_timestamp_seconds{issuer=\"CN=Good\",list=\"ca.crl\"}"
        ),
        "{metrics}"
    );
}

#[test]
fn a_request_is_refused_by_authority_by_pinned_leaf_as_a_key_on_the_control_api_and_on_a_service() {
    let echo = Echo::start("api");
    let ca = authority("CA");
    let [stays, gone] = ["stays", "gone"].map(|name| issued(&ca, name));
    let revoker = Revoker::of(&ca);
    let port = free_port();
    let service = with(
        listing("service", "/", &echo.url(), &[&ca]),
        json!({"protocol": "tls", "listen_port": port,
               "proxy": {"target_url": format!("tcp://{}", echo.address())}}),
    );
    let dynamic = with(
        token_api("key", "/key/", &echo.url()),
        json!({"auth_configs": {"authToken": {"use_certificate": true}}}),
    );
    // The issuer of a certificate that is a key stands beside the list.
    let list = revoker.list() + &ca.certificate_pem();
    let gateway = listed(&list)
        .config(json!({
            "disable_ports_whitelist": true,
            "security": {"certificates": {"control_api": ["ca-of-clients.pem"]}},
        }))
        .file("ca-of-clients.pem", &ca.certificate_pem())
        .api("ca", &listing("ca", "/ca/", &echo.url(), &[&ca]))
        .api(
            "pin",
            &listing("pin", "/pin/", &echo.url(), &[&stays, &gone]),
        )
        .api("key", &dynamic)
        // Asks for certificates on the shared port, looks at none.
        .api("open", &api("open", "/open/", &echo.url()))
        .api("service", &service)
        .start();
    for pair in [&stays, &gone] {
        let id = upload(&gateway, gateway.port(), &pair.certificate_pem());
        let key = session(&["key"], json!({"certificate": id}));
        gateway.change("POST", "/tyk/keys/create", &key).expect(200);
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let paths = ["/ca/", "/pin/", "/key/"];
    for pair in [&stays, &gone] {
        for path in paths {
            assert_eq!(
                call(&gateway).with(&[pair]).get(path).status(),
                200,
                "{path}"
            );
        }
        assert_eq!(call_to(address).with(&[pair]).get("/").status(), 200);
    }
    gateway.write(
        "ca.crl",
        &(revoker.revoke(&gone).list() + &ca.certificate_pem()),
    );
    eventually("the list is in force", || {
        call(&gateway).with(&[&gone]).get("/ca/").status() == 403
    });
    for path in paths {
        assert_eq!(
            call(&gateway).with(&[&gone]).get(path).refusal(),
            refused(REVOKED),
            "{path}"
        );
        assert_eq!(
            call(&gateway).with(&[&stays]).get(path).status(),
            200,
            "{path}"
        );
    }
    assert_eq!(call(&gateway).with(&[&gone]).get("/open/").status(), 200);
    assert_eq!(call_to(address).with(&[&gone]).get("/"), Outcome::Alert(44));
    assert_eq!(call_to(address).with(&[&stays]).get("/").status(), 200);
}

#[test]
fn the_control_api_refuses_a_revoked_client() {
    let ca = authority("CA");
    let [stays, gone] = ["stays", "gone"].map(|name| issued(&ca, name));
    let port = free_port();
    let gateway = listed(Revoker::of(&ca).revoke(&gone).list().as_str())
        .file("ca-of-clients.pem", &ca.certificate_pem())
        .config(json!({
            "control_api_port": port,
            "security": {"control_api_use_mutual_tls": true,
                         "certificates": {"control_api": ["ca-of-clients.pem"]}},
        }))
        .start();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let asking = |pair| call_to(address).with(&[pair]).control("/tyk/apis");
    assert_eq!(asking(&stays).status(), 200);
    assert_eq!(asking(&gone), Outcome::Alert(44));
    assert_eq!(gateway.ports().len(), 2);
}

#[test]
fn lists_that_cannot_tell_refuse_when_strict_and_are_said_and_let_pass_when_lenient() {
    let echo = Echo::start("api");
    let (ca, impostor, other) = (authority("CA"), authority("CA"), authority("Other"));
    let (client, stranger) = (issued(&ca, "client"), issued(&other, "stranger"));
    let current = Revoker::of(&ca);
    let cases = [
        (current.old_list(), "was good until", false),
        (Revoker::of(&impostor).list(), "is not signed by it", false),
        (
            "no list at all".to_owned(),
            "no certificate revocation list",
            true,
        ),
        (
            current.list().replacen("\nMI", "\n!I", 1),
            "not valid base64",
            true,
        ),
    ];
    for (list, reason, everybody) in &cases {
        let with_list = || listed(list).api("a", &listing("a", "/", &echo.url(), &[&ca, &other]));
        let strict = with_list().start();
        assert_eq!(
            call(&strict).with(&[&client]).get("/").refusal(),
            refused(UNKNOWN),
            "{reason}"
        );
        // Of an issuer without a list nothing is asked, unless nobody knows whose list it was.
        let outcome = call(&strict).with(&[&stranger]).get("/");
        match everybody {
            true => assert_eq!(outcome.refusal(), refused(UNKNOWN), "{reason}"),
            false => assert_eq!(outcome.status(), 200, "{reason}"),
        }
        let line = strict.wait_log(reason);
        assert!(
            line.contains("ERROR") && line.contains("crl_mode strict"),
            "{line}"
        );
        let ready = strict.get("/ready").json();
        let told = ready["details"]["revocation_lists"]["output"]
            .as_str()
            .unwrap_or_default();
        assert!(told.contains(reason), "{ready}");

        let lax = with_list().config(lenient()).start();
        for pair in [&client, &stranger] {
            assert_eq!(call(&lax).with(&[pair]).get("/").status(), 200, "{reason}");
        }
        let line = lax.wait_log(reason);
        assert!(
            line.contains("WARN") && line.contains("it does not count"),
            "{line}"
        );
    }
}

#[test]
fn a_list_that_turns_bad_leaves_the_one_before_in_force() {
    let echo = Echo::start("api");
    let (ca, impostor) = (authority("CA"), authority("CA"));
    let [stays, gone] = ["stays", "gone"].map(|name| issued(&ca, name));
    let revoker = Revoker::of(&ca);
    let good = revoker.revoke(&gone).list();
    for mode in [json!({}), lenient()] {
        let gateway = listed(&good)
            .config(mode)
            .api("a", &listing("a", "/", &echo.url(), &[&ca]))
            .start();
        for (bad, reason) in [
            ("half a list", "no certificate revocation list"),
            (&Revoker::of(&impostor).list(), "is not signed by it"),
        ] {
            gateway.write("ca.crl", bad);
            let line = gateway.wait_log(reason);
            assert!(
                line.contains("ERROR") && line.contains("stays in force"),
                "{line}"
            );
            assert_eq!(
                call(&gateway).with(&[&gone]).get("/").refusal(),
                refused(REVOKED)
            );
            assert_eq!(call(&gateway).with(&[&stays]).get("/").status(), 200);
        }
        std::fs::remove_file(gateway.path("ca.crl")).expect("it was there");
        gateway.wait_log("ca.crl cannot be read");
        assert_eq!(
            call(&gateway).with(&[&gone]).get("/").refusal(),
            refused(REVOKED)
        );
        assert_eq!(call(&gateway).with(&[&stays]).get("/").status(), 200);
    }
}

#[test]
fn what_a_revoked_client_has_open_ends_when_the_list_comes() {
    let (echo, sockets) = (Echo::start("api"), WebSocketEcho::start());
    echo.hold();
    let ca = authority("CA");
    let [stays, gone] = ["stays", "gone"].map(|name| leaked(issued(&ca, name)));
    let revoker = Revoker::of(&ca);
    let port = free_port();
    let service = with(
        listing("service", "/", &echo.url(), &[&ca]),
        json!({"protocol": "tls", "listen_port": port,
               "proxy": {"target_url": format!("tcp://{}", echo.address())}}),
    );
    let gateway = listed(&revoker.list())
        .config(json!({
            "http_server_options": {"enable_websockets": true},
            "disable_ports_whitelist": true,
        }))
        .api("a", &listing("a", "/", &echo.url(), &[&ca]))
        .api(
            "socket",
            &listing("socket", "/socket/", &sockets.url(), &[&ca]),
        )
        .api("service", &service)
        .start();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let upgrade = raw::get(
        "/socket/",
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    );
    let mut socket = Wire::new(call(&gateway).with(&[gone]).connect().unwrap());
    socket.send(upgrade);
    assert_eq!(socket.head().expect("an answer").status(), 101);
    // A connection that is kept open without a request.
    let mut idle = Wire::new(call(&gateway).with(&[gone]).connect().unwrap());
    let ends = held(&echo, call(&gateway).with(&[gone]), "/held");
    let relayed = held(&echo, call_to(address).with(&[gone]), "/held");
    let goes_on = held(&echo, call(&gateway).with(&[stays]), "/held");

    gateway.write("ca.crl", &revoker.revoke(gone).list());
    assert_eq!(ends.join().unwrap(), Outcome::Closed);
    assert_eq!(relayed.join().unwrap(), Outcome::Closed);
    assert!(socket.is_closed());
    let line = gateway.wait_log("open exchange ended: `CN=gone` was revoked on");
    assert!(
        line.contains(&certs::fingerprint(&gone.certificate)),
        "{line}"
    );
    idle.send(raw::get("/", &[]));
    assert_eq!(idle.message().expect("an answer").status(), 403);
    echo.release();
    assert_eq!(goes_on.join().unwrap().status(), 200);
}

#[tokio::test]
async fn an_open_stream_of_http_2_ends_when_a_list_names_its_client_and_others_go_on() {
    let echo = Echo::start("api");
    echo.hold();
    let ca = authority("CA");
    let [stays, gone] = ["stays", "gone"].map(|name| issued(&ca, name));
    let revoker = Revoker::of(&ca);
    let gateway = listed(&revoker.list())
        .config(json!({"http_server_options": {"enable_http2": true}}))
        .api("a", &listing("a", "/", &echo.url(), &[&ca]))
        .start();
    let get = |path: &str| {
        let request = Request::get(format!("https://localhost{path}")).body(());
        request.expect("a request")
    };
    let mut good = raw::http2_as(&gateway, &stays).await;
    let mut bad = raw::http2_as(&gateway, &gone).await;
    let (goes_on, _) = good.send_request(get("/held"), true).expect("sent");
    let (ends, _) = bad.send_request(get("/held"), true).expect("sent");
    eventually_async("the upstream has both requests", || echo.waiting() == 2).await;

    gateway.write("ca.crl", &revoker.revoke(&gone).list());
    let ended = timeout(PATIENCE, ends).await.expect("it ends");
    let error = ended.expect_err("nothing was answered");
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    gateway.wait_log("open exchange ended: `CN=gone` was revoked on");
    // The connection is not what was revoked; a new stream on it is judged like any request.
    bad = bad.ready().await.expect("the connection stays");
    let (refused, _) = bad.send_request(get("/"), true).expect("sent");
    let refused = timeout(PATIENCE, refused).await.expect("it is answered");
    assert_eq!(refused.expect("an answer").status(), 403);

    good = good.ready().await.expect("the connection stays");
    let (fresh, _) = good.send_request(get("/"), true).expect("sent");
    let fresh = timeout(PATIENCE, fresh).await.expect("it is answered");
    assert_eq!(fresh.expect("an answer").status(), 200);
    echo.release();
    let held = timeout(PATIENCE, goes_on).await.expect("it is answered");
    assert_eq!(held.expect("an answer").status(), 200);
}

#[test]
fn a_session_of_a_revoked_client_is_not_resumed() {
    let echo = Echo::start("api");
    let ca = authority("CA");
    let client = issued(&ca, "client");
    let revoker = Revoker::of(&ca);
    let gateway = required(&revoker.list())
        .file("client.pem", &certs::bundle(&client))
        .api("a", &listing("a", "/", &echo.url(), &[&ca]))
        .start();
    let place = |file: &str| gateway.path(file).to_str().expect("text").to_owned();
    let (file, ticket) = (place("client.pem"), place("ticket"));
    let visit = |version: &str, more: &[&str]| {
        let mut arguments = vec![
            version,
            "-servername",
            "localhost",
            "-cert",
            &file,
            "-key",
            &file,
        ];
        arguments.extend(more);
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let said = s_client(gateway.address(), &arguments, request);
        let reused = said.text.contains("Reused, TLSv1");
        (reused, said.line("HTTP/1.1 200").is_some(), said.alert())
    };
    let keep = |version: &str| visit(version, &["-sess_out", &format!("{ticket}{version}")]);
    let resume = |version: &str| visit(version, &["-sess_in", &format!("{ticket}{version}")]);
    for version in ["-tls1_2", "-tls1_3"] {
        assert_eq!(keep(version), (false, true, None), "{version}");
        assert_eq!(resume(version), (true, true, None), "{version}");
    }
    gateway.write("ca.crl", &revoker.revoke(&client).list());
    eventually("the list is in force", || {
        resume("-tls1_3") == (false, false, Some(44))
    });
    assert_eq!(resume("-tls1_2"), (false, false, Some(44)));
}

#[test]
fn an_api_has_lists_and_a_mode_of_its_own() {
    let echo = Echo::start("api");
    let ca = authority("CA");
    let [first, second] = ["first", "second"].map(|name| issued(&ca, name));
    let everywhere = Revoker::of(&ca);
    let own = Revoker::of(&ca);
    let defined = |name: &str, ours: Value| {
        with(
            listing(name, &format!("/{name}/"), &echo.url(), &[&ca]),
            json!({"portcullis": ours}),
        )
    };
    let own = own.revoke(&second).list();
    let gateway = required(&everywhere.revoke(&first).old_list())
        // Newer than the gateway's.
        .api("own", &defined("own", json!({"client_crls": [own]})))
        .api("lax", &defined("lax", json!({"crl_mode": "lenient"})))
        .api("strict", &defined("strict", json!({})))
        .start();
    let asking = |pair, path| call(&gateway).with(&[pair]).get(path);
    // Somebody may pass one of them, so the handshake lets both in.
    assert_eq!(asking(&first, "/own/").status(), 200);
    assert_eq!(asking(&second, "/own/").refusal(), refused(REVOKED));
    assert_eq!(asking(&second, "/lax/").status(), 200);
    assert_eq!(asking(&first, "/lax/").refusal(), refused(REVOKED));
    assert_eq!(asking(&second, "/strict/").refusal(), refused(UNKNOWN));
    assert_eq!(asking(&first, "/strict/").refusal(), refused(REVOKED));
}

#[test]
fn check_and_doctor_tell_of_lists_and_of_a_revoked_client() {
    let echo = Echo::start("api");
    let ca = authority("CA");
    let gone = issued(&ca, "gone");
    let revoker = Revoker::of(&ca);
    let (old, new) = (revoker.old_list(), revoker.revoke(&gone).list());
    let dynamic = with(
        token_api("key", "/key/", &echo.url()),
        json!({"auth_configs": {"authToken": {"use_certificate": true}}}),
    );
    let gateway = listed(&(new + &ca.certificate_pem()))
        .file("old.crl", &old)
        .file("gone.pem", &certs::bundle(&gone))
        .api("a", &listing("a", "/a/", &echo.url(), &[&ca]))
        .api("key", &dynamic);
    let checked = gateway.run(&["check"]);
    assert!(checked.status.success(), "{}", checked.log);
    for said in [
        "REVOCATION LISTS",
        "portcullis.client_crls, strict: ca.crl",
        "CN=CA: 1 certificate revoked",
    ] {
        assert!(checked.output.contains(said), "{said}: {}", checked.output);
    }
    for path in ["/a/", "/key/"] {
        let arguments = [
            "doctor",
            "--host",
            "localhost",
            "--path",
            path,
            "--cert",
            "gone.pem",
            "--key",
            "gone.pem",
        ];
        let told = gateway.run(&arguments);
        assert_eq!(told.status.code(), Some(1), "{}{}", told.output, told.log);
        assert!(told.output.contains(REVOKED), "{}", told.output);
        assert!(
            told.output.contains("`CN=gone` was revoked on"),
            "{}",
            told.output
        );
    }
    let gateway = gateway.config(json!({"portcullis": {"client_crls": ["old.crl"]}}));
    let checked = gateway.run(&["check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", checked.output);
    assert!(
        checked.log.contains("the list of `CN=CA` was good until"),
        "{}",
        checked.log
    );
}
