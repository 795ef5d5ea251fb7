//! What is open for a client ends when the client loses the right to it; and a session ticket opens
//! nothing that a full handshake would not.

use std::{
    process::Command,
    thread::{self, JoinHandle},
};

use portcullis_pki::make::Pair;
use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway, SECRET, api, with},
    keys::{session, token_api},
    mtls::{Call, Outcome, call, call_to, expiring, self_signed},
    ports::free_port,
    raw,
    tls::s_client,
    upstream::websocket::WebSocketEcho,
    wait::eventually,
    wire::Wire,
};
use serde_json::{Value, json};

fn listing(name: &str, listen_path: &str, url: &str, clients: &[&Pair]) -> Value {
    let entries: Vec<String> = clients.iter().map(|pair| pair.certificate_pem()).collect();
    with(
        api(name, listen_path, url),
        json!({"use_mutual_tls_auth": true, "client_certificates": entries}),
    )
}

fn secure() -> Builder {
    Gateway::builder().tls()
}

/// A request that the upstream has and does not answer.
fn held(echo: &Echo, call: Call<'static>, path: &'static str) -> JoinHandle<Outcome> {
    let before = echo.waiting();
    let asking = thread::spawn(move || call.get(path));
    eventually("the upstream has the request", || echo.waiting() > before);
    asking
}

fn leaked(pair: Pair) -> &'static Pair {
    Box::leak(Box::new(pair))
}

#[test]
fn an_open_exchange_ends_when_its_client_leaves_the_list() {
    let echo = Echo::start("api");
    echo.hold();
    let [gone, stays] = ["gone", "stays"].map(|name| leaked(self_signed(name)));
    let gateway = secure()
        .api("a", &listing("a", "/", &echo.url(), &[gone, stays]))
        .start();
    let ends = held(&echo, call(&gateway).with(&[gone]), "/held");
    let goes_on = held(&echo, call(&gateway).with(&[stays]), "/held");
    gateway.write_api("a", &listing("a", "/", &echo.url(), &[stays]));
    gateway.reload();
    assert_eq!(ends.join().unwrap(), Outcome::Closed);
    let line = gateway.wait_log("open exchange ended");
    assert!(
        line.contains(&certs::fingerprint(&gone.certificate)),
        "{line}"
    );
    echo.release();
    assert_eq!(goes_on.join().unwrap().status(), 200);
}

#[test]
fn an_open_exchange_ends_when_the_stored_certificate_or_the_key_is_deleted() {
    let echo = Echo::start("api");
    echo.hold();
    let client = leaked(self_signed("client"));
    let id = format!("default{}", certs::fingerprint(&client.certificate));
    let by_id = with(
        api("a", "/a/", &echo.url()),
        json!({"use_mutual_tls_auth": true, "client_certificates": [id]}),
    );
    let gateway = secure()
        .api("a", &by_id)
        .api("k", &token_api("k", "/k/", &echo.url()))
        .start();
    let secret = format!("X-Tyk-Authorization: {SECRET}");
    let pem = client.certificate_pem();
    gateway
        .curl()
        .arguments(&["-X", "POST", "-H", &secret, "--data-binary", &pem])
        .send(&gateway.url("/tyk/certs?org_id=default"))
        .expect(200);
    eventually("the stored certificate passes", || {
        call(&gateway).with(&[client]).get("/a/").status() == 200
    });
    let key = gateway.put_key("mykey", &session(&["k"], json!({})));
    let by_certificate = held(&echo, call(&gateway).with(&[client]), "/a/held");
    let by_key = held(
        &echo,
        call(&gateway).field("Authorization", "mykey"),
        "/k/held",
    );
    for path in [format!("/tyk/certs/{id}"), format!("/tyk/keys/{key}")] {
        gateway.change("DELETE", &path, &json!({})).expect(200);
    }
    assert_eq!(by_certificate.join().unwrap(), Outcome::Closed);
    assert_eq!(by_key.join().unwrap(), Outcome::Closed);
    gateway.wait_log("its key is gone");
}

#[test]
fn an_open_exchange_ends_when_the_certificate_reaches_its_end() {
    let echo = Echo::start("api");
    echo.hold();
    let client = leaked(expiring("client", 12));
    let gateway = secure()
        .api("a", &listing("a", "/", &echo.url(), &[client]))
        .start();
    let open = held(&echo, call(&gateway).with(&[client]), "/held");
    assert_eq!(open.join().unwrap(), Outcome::Closed);
    gateway.wait_log("open exchange ended: Certificate has expired");
    assert_eq!(
        call(&gateway).with(&[client]).get("/").refusal(),
        (403, "Certificate has expired".to_owned())
    );
}

#[test]
fn open_websockets_relayed_connections_and_streams_of_http_2_end_too() {
    let (echo, sockets) = (Echo::start("api"), WebSocketEcho::start());
    echo.hold();
    let port = free_port();
    let client = leaked(self_signed("client"));
    let clients = [client];
    let service = |clients: &[&Pair]| {
        with(
            listing("service", "/", &echo.url(), clients),
            json!({"protocol": "tls", "listen_port": port,
                   "proxy": {"target_url": format!("tcp://{}", echo.address())}}),
        )
    };
    let gateway = secure()
        .file("client.pem", &certs::bundle(client))
        .config(json!({
            "http_server_options": {"enable_websockets": true, "enable_http2": true},
            "disable_ports_whitelist": true,
        }))
        .api(
            "socket",
            &listing("socket", "/socket/", &sockets.url(), &clients),
        )
        .api("http2", &listing("http2", "/http2/", &echo.url(), &clients))
        .api("service", &service(&clients))
        .start();

    let upgrade = raw::get(
        "/socket/",
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
    );
    let mut socket = Wire::new(call(&gateway).with(&[client]).connect().unwrap());
    socket.send(upgrade);
    assert_eq!(socket.head().expect("an answer").status(), 101);

    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let relayed = held(&echo, call_to(address).with(&[client]), "/held");
    let before = echo.waiting();
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--insecure",
        "--http2",
        "--max-time",
        "30",
        "--cert",
    ])
    .arg(gateway.path("client.pem"))
    .arg(gateway.url("/http2/held"));
    let stream = thread::spawn(move || curl.status().expect("curl is installed").code());
    eventually("the upstream has the stream", || echo.waiting() > before);

    for name in ["socket", "http2"] {
        let url = if name == "socket" {
            sockets.url()
        } else {
            echo.url()
        };
        gateway.write_api(name, &listing(name, &format!("/{name}/"), &url, &[]));
    }
    gateway.write_api("service", &service(&[]));
    gateway.reload();
    assert!(socket.is_closed());
    assert_eq!(relayed.join().unwrap(), Outcome::Closed);
    // A stream that was not closed cleanly (92), or nothing came (52, 56).
    let code = stream.join().unwrap();
    assert!(matches!(code, Some(92 | 52 | 56)), "{code:?}");
}

#[test]
fn a_store_that_is_away_ends_nothing() {
    let echo = Echo::start("api");
    echo.hold();
    let mut redis = portcullis_tests::redis::Redis::start();
    let gateway = secure()
        .config(redis.configuration())
        .api("k", &token_api("k", "/", &echo.url()))
        .start();
    gateway.put_key("mykey", &session(&["k"], json!({})));
    let open = held(
        &echo,
        call(&gateway).field("Authorization", "mykey"),
        "/held",
    );
    redis.kill();
    eventually("the gateway has noticed", || {
        gateway.call("/", "another").status == 503
    });
    echo.release();
    assert_eq!(open.join().unwrap().status(), 200);
}

// --- resumption -----------------------------------------------------------------------------

/// What `openssl s_client` made of a request, with a session of before or one to keep.
struct Visit {
    reused: bool,
    status: Option<u16>,
    alert: Option<u8>,
}

struct Visitor<'g> {
    gateway: &'g Gateway,
    version: &'static str,
    certificate: Option<&'static str>,
}

impl Visitor<'_> {
    fn visit(&self, name: &str, keep: Option<&str>, resume: Option<&str>) -> Visit {
        let place = |file: &str| self.gateway.path(file).to_string_lossy().into_owned();
        let mut arguments = vec![self.version.to_owned(), "-servername".into(), name.into()];
        if let Some(file) = self.certificate {
            arguments.extend(["-cert".into(), place(file), "-key".into(), place(file)]);
        }
        for (option, file) in [("-sess_out", keep), ("-sess_in", resume)] {
            if let Some(file) = file {
                arguments.extend([option.to_owned(), place(file)]);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let said = s_client(self.gateway.address(), &arguments, &request);
        let status = said
            .line("HTTP/1.1 ")
            .and_then(|line| line[..3].parse().ok());
        Visit {
            reused: said.text.contains("Reused, TLSv1"),
            status,
            alert: said.alert(),
        }
    }
}

/// Recommendation of inbound sheet 4.9: tickets carry the decision.
#[test]
fn a_ticket_is_good_for_its_own_policy_only() {
    let echo = Echo::start("api");
    let [listed, other] = ["listed", "other"].map(self_signed);
    let closed = |clients: &[&Pair]| {
        with(
            listing("closed", "/", &echo.url(), clients),
            json!({"domain": "closed.test"}),
        )
    };
    let gateway = secure()
        .config(json!({"enable_custom_domains": true, "control_api_port": free_port()}))
        .file("listed.pem", &certs::bundle(&listed))
        .api("closed", &closed(&[&listed, &other]))
        .api(
            "open",
            &with(
                api("open", "/", &echo.url()),
                json!({"domain": "open.test"}),
            ),
        )
        .start();
    for version in ["-tls1_2", "-tls1_3"] {
        let nobody = Visitor {
            gateway: &gateway,
            version,
            certificate: None,
        };
        let client = Visitor {
            certificate: Some("listed.pem"),
            ..nobody
        };
        // A ticket from an open host, used on a protected one.
        let first = nobody.visit("open.test", Some("open.ticket"), None);
        assert_eq!(
            (first.reused, first.status),
            (false, Some(200)),
            "{version}"
        );
        assert!(
            nobody.visit("open.test", None, Some("open.ticket")).reused,
            "{version}"
        );
        let bypass = nobody.visit("closed.test", None, Some("open.ticket"));
        assert!(!bypass.reused && bypass.status.is_none(), "{version}");
        assert!(bypass.alert.is_some(), "{version}");
        // A ticket of a listed client is as good as its certificate.
        let first = client.visit("closed.test", Some("closed.ticket"), None);
        assert_eq!(
            (first.reused, first.status),
            (false, Some(200)),
            "{version}"
        );
        let again = nobody.visit("closed.test", None, Some("closed.ticket"));
        assert_eq!((again.reused, again.status), (true, Some(200)), "{version}");
        // Once the list is another, a full handshake follows, whether the client is still on it or not.
        gateway.write_api("closed", &closed(&[&other]));
        gateway.reload();
        let removed = nobody.visit("closed.test", None, Some("closed.ticket"));
        assert!(!removed.reused && removed.status.is_none(), "{version}");
        gateway.write_api("closed", &closed(&[&listed, &other]));
        gateway.reload();
    }
}

#[test]
fn a_ticket_of_a_client_whose_certificate_has_run_out_is_not_taken() {
    let echo = Echo::start("api");
    let client = expiring("client", 15);
    let gateway = secure()
        .config(json!({"enable_custom_domains": true, "control_api_port": free_port()}))
        .file("client.pem", &certs::bundle(&client))
        .api("closed", &listing("closed", "/", &echo.url(), &[&client]))
        .start();
    for version in ["-tls1_2", "-tls1_3"] {
        let visitor = Visitor {
            gateway: &gateway,
            version,
            certificate: Some("client.pem"),
        };
        let file = format!("client{version}.ticket");
        assert_eq!(
            visitor.visit("localhost", Some(&file), None).status,
            Some(200)
        );
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let visitor = Visitor {
            gateway: &gateway,
            version,
            certificate: None,
        };
        let file = format!("client{version}.ticket");
        eventually("the certificate has run out", || {
            let visit = visitor.visit("localhost", None, Some(&file));
            !visit.reused && visit.status.is_none()
        });
    }
}

#[test]
fn nodes_of_one_redis_resume_each_others_sessions_and_check_them_all_the_same() {
    let (echo, redis) = (Echo::start("api"), portcullis_tests::redis::Redis::start());
    let [client, other] = ["client", "other"].map(self_signed);
    let node = |clients: &[&Pair]| {
        secure()
            .config(redis.configuration())
            .config(json!({"enable_custom_domains": true, "control_api_port": free_port()}))
            .file("client.pem", &certs::bundle(&client))
            .api("closed", &listing("closed", "/", &echo.url(), clients))
            .start()
    };
    let (a, b, stricter) = (node(&[&client]), node(&[&client]), node(&[&other]));
    for version in ["-tls1_2", "-tls1_3"] {
        let on = |gateway, certificate| Visitor {
            gateway,
            version,
            certificate,
        };
        eventually("a session made on one node is resumed on the other", || {
            assert_eq!(
                on(&a, Some("client.pem"))
                    .visit("localhost", Some("ticket"), None)
                    .status,
                Some(200)
            );
            let ticket = std::fs::read_to_string(a.path("ticket")).expect("a ticket was kept");
            b.write("ticket", &ticket);
            stricter.write("ticket", &ticket);
            let visit = on(&b, None).visit("localhost", None, Some("ticket"));
            visit.reused && visit.status == Some(200)
        });
        let visit = on(&stricter, None).visit("localhost", None, Some("ticket"));
        assert!(!visit.reused && visit.status.is_none(), "{version}");
    }
    let entries = redis.ask(&["--scan", "--pattern", "portcullis-ticket-key-*"]);
    assert_eq!(entries.lines().count(), 1, "{entries}");
}
