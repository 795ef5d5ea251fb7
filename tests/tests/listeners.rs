//! Ports: which are open, what they speak, whom they believe.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
};

use portcullis_tests::{
    certs,
    echo::Echo,
    gateway::{Builder, Gateway, api, with},
    ports::{free_port, free_ports},
    raw,
    tls::Client,
    wire::Wire,
};
use serde_json::{Value, json};

/// A clear-text gateway that may open any port, before an open API on its main port.
fn any_port(echo: &Echo) -> Builder {
    Gateway::builder()
        .config(json!({"disable_ports_whitelist": true}))
        .api("main", &api("main", "/", &echo.url()))
}

/// A definition on a port of its own.
fn on_port(name: &str, port: u16, protocol: &str, target: &str) -> Value {
    with(
        api(name, "/", target),
        json!({"listen_port": port, "protocol": protocol}),
    )
}

/// A raw relay; such definitions have no listen path.
fn relay(name: &str, port: u16, protocol: &str, target: SocketAddr) -> Value {
    let target = format!("tcp://{target}");
    let mut definition = on_port(name, port, protocol, &target);
    definition["proxy"] = json!({"target_url": target});
    definition
}

/// Adds the tests' certificate without `use_ssl`.
fn certificate(builder: Builder) -> Builder {
    builder
        .file("server.pem", &certs::bundle(certs::localhost()))
        .config(json!({"http_server_options": {"ssl_certificates": ["server.pem"], "max_version": 772}}))
}

/// A server that sends back every byte it gets, prefixed once with its name.
fn parrot(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                // A client that is gone needs no answer.
                let _ = to.write_all(name.as_bytes());
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

/// Says `words` and reads `length` bytes of what comes back.
fn converse(mut stream: impl Read + Write, words: &str, length: usize) -> String {
    stream.write_all(words.as_bytes()).unwrap();
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// IN-101
#[test]
fn a_port_that_is_not_on_the_white_list_is_not_opened_and_the_log_says_so() {
    let echo = Echo::start("own");
    let port = free_port();
    let gateway = certificate(Gateway::builder())
        .api("main", &api("main", "/", &echo.url()))
        .api("own", &on_port("own", port, "https", &echo.url()))
        .start();
    let line = gateway.wait_log(&format!("https:{port} trying to open disabled port"));
    assert!(line.contains("ERROR"), "{line}");
    assert!(is_refused(port));
    gateway.get("/").expect(200);
}

/// IN-102
#[test]
fn both_ends_of_a_range_in_the_white_list_may_be_opened() {
    let parrot = parrot("tls ");
    let from = free_ports(4);
    let (to, outside) = (from + 2, from + 3);
    let ranges = json!([{"from": from, "to": to}]);
    let gateway = certificate(Gateway::builder())
        .config(json!({"ports_whitelist": {"tls": {"ranges": ranges}}}))
        .api("from", &relay("from", from, "tls", parrot))
        .api("to", &relay("to", to, "tls", parrot))
        .api("outside", &relay("outside", outside, "tls", parrot))
        .start();
    for port in [from, to] {
        let stream = Client::new().over(gateway.connect_to(port)).unwrap();
        assert_eq!(converse(stream, "hello", 9), "tls hello");
    }
    gateway.wait_log(&format!("tls:{outside} trying to open disabled port"));
    assert!(is_refused(outside));
}

#[test]
fn an_api_may_speak_https_on_its_own_port_of_a_clear_text_gateway() {
    let echo = Echo::start("open");
    let port = free_port();
    let gateway = certificate(any_port(&echo))
        .api("own", &on_port("own", port, "https", &echo.url()))
        .start();
    let secure = gateway
        .curl()
        .send(&format!("https://127.0.0.1:{port}/"))
        .expect(200);
    assert_eq!(secure.json()["headers"]["x-forwarded-proto"], "https");
    let plain = gateway.get("/").expect(200);
    assert_eq!(plain.json()["headers"]["x-forwarded-proto"], "http");
}

#[test]
fn an_api_may_speak_clear_text_http_on_its_own_port_of_a_tls_gateway() {
    let echo = Echo::start("own");
    let port = free_port();
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"ports_whitelist": {"http": {"ports": [port]}}}))
        .api("own", &on_port("own", port, "http", &echo.url()))
        .start();
    gateway
        .curl()
        .send(&format!("http://127.0.0.1:{port}/"))
        .expect(200);
    gateway.get("/").expect(404);
}

#[test]
fn an_h2c_port_speaks_http2_in_clear_text_and_nothing_else() {
    let echo = Echo::start("own");
    let port = free_port();
    let gateway = any_port(&echo)
        .api("own", &on_port("own", port, "h2c", &echo.url()))
        .start();
    let url = format!("http://127.0.0.1:{port}/");
    let response = gateway
        .curl()
        .arguments(&["--http2-prior-knowledge"])
        .send(&url)
        .expect(200);
    assert_eq!(response.http_version, "2");
    assert_eq!(
        gateway
            .curl()
            .arguments(&["--http1.1", "--http0.9"])
            .send(&url)
            .status,
        0
    );
}

#[test]
fn a_clear_text_http_port_speaks_http2_to_clients_that_begin_with_it() {
    let echo = Echo::start("main");
    let gateway = any_port(&echo).start();
    let response = gateway
        .curl()
        .arguments(&["--http2-prior-knowledge"])
        .send(&gateway.url("/"))
        .expect(200);
    assert_eq!(response.http_version, "2");
    assert_eq!(gateway.get("/").expect(200).http_version, "1.1");
}

#[test]
fn a_tcp_port_relays_bytes_both_ways_and_passes_on_the_end_of_one_side() {
    let parrot = parrot("tcp ");
    let port = free_port();
    let gateway = any_port(&Echo::start("main"))
        .api("raw", &relay("raw", port, "tcp", parrot))
        .start();
    let mut stream = gateway.connect_to(port);
    stream.write_all(b"one way").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "tcp one way");
}

#[test]
fn a_tls_port_ends_tls_and_chooses_among_its_services_by_server_name() {
    let (fallback, named) = (parrot("fallback "), parrot("named "));
    let port = free_port();
    let gateway = certificate(any_port(&Echo::start("main")))
        .api("fallback", &relay("fallback", port, "tls", fallback))
        .api(
            "named",
            &with(
                relay("named", port, "tls", named),
                json!({"domain": "named.test"}),
            ),
        )
        .start();
    let to = |name: &str| {
        Client::new()
            .server_name(name)
            .over(gateway.connect_to(port))
            .unwrap()
    };
    assert_eq!(converse(to("named.test"), "hello", 11), "named hello");
    assert_eq!(converse(to("NAMED.test"), "hello", 11), "named hello");
    assert_eq!(converse(to("other.test"), "hello", 14), "fallback hello");
    // With two services on the port a client that names none could mean either.
    let mut nameless = Client::new()
        .no_server_name()
        .over(gateway.connect_to(port))
        .unwrap();
    assert_eq!(nameless.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn of_two_apis_with_different_protocols_on_one_port_the_second_is_not_reachable_and_the_log_warns()
{
    let echo = Echo::start("first");
    let port = free_port();
    let gateway = certificate(any_port(&echo))
        .api("a-first", &on_port("first", port, "http", &echo.url()))
        .api(
            "b-second",
            &on_port("second", port, "https", &Echo::start("second").url()),
        )
        .start();
    let line = gateway.wait_log("api `second`: wants Https on port");
    assert!(line.contains("not reachable"), "{line}");
    let response = gateway
        .curl()
        .send(&format!("http://127.0.0.1:{port}/"))
        .expect(200);
    assert_eq!(response.json()["upstream"], "first");
    assert!(Client::new().over(gateway.connect_to(port)).is_err());
}

#[test]
fn a_gateway_listens_on_an_ipv6_address() {
    let echo = Echo::start("main");
    let gateway = any_port(&echo)
        .config(json!({"listen_address": "::1"}))
        .start();
    assert!(gateway.url("/").starts_with("http://[::1]:"));
    assert_eq!(
        gateway.get("/").expect(200).json()["headers"]["x-forwarded-for"],
        "::1"
    );
    assert!(is_refused(gateway.port()), "nothing listens on IPv4");
}

#[test]
fn a_port_that_is_taken_stops_the_start_with_its_own_exit_status() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let ended = Gateway::builder()
        .config(json!({"listen_port": port}))
        .fail();
    assert_eq!(ended.status.code(), Some(3));
    assert!(
        ended
            .log
            .contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{}",
        ended.log
    );
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n";

/// A version 2 header for a client at 203.0.113.7 or 2001:db8::7.
fn v2(ipv6: bool) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let port = [0x9c, 0x40, 0x01, 0xbb];
    if ipv6 {
        header.extend([
            0x21, 0, 36, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
        ]);
        header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    } else {
        header.extend([0x11, 0, 12, 203, 0, 113, 7, 198, 51, 100, 1]);
    }
    header.extend(port);
    header
}

/// What the upstream is told about the client of the request that follows on this connection.
#[track_caller]
fn forwarded_for(wire: &mut Wire) -> String {
    wire.send(raw::get("/", &[]));
    let answer = wire.message().expect("an answer");
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.json()["headers"]["x-forwarded-for"]
        .as_str()
        .expect("text")
        .to_owned()
}

#[test]
fn the_address_in_a_proxy_header_is_the_clients_on_clear_text_listeners() {
    let echo = Echo::start("main");
    let gateway = any_port(&echo)
        .config(json!({"portcullis": {"proxy_protocol": true}}))
        .start();
    for (header, client) in [
        (V1.to_vec(), "203.0.113.7"),
        (v2(false), "203.0.113.7"),
        (v2(true), "2001:db8::7"),
    ] {
        let mut stream = gateway.connect();
        stream.write_all(&header).unwrap();
        let mut wire = Wire::new(stream);
        assert_eq!(forwarded_for(&mut wire), client);
        assert_eq!(
            forwarded_for(&mut wire),
            client,
            "it holds for the whole connection"
        );
    }
    // curl's own header names its own address.
    let response = gateway
        .curl()
        .arguments(&["--haproxy-protocol"])
        .send(&gateway.url("/"))
        .expect(200);
    assert_eq!(response.json()["headers"]["x-forwarded-for"], "127.0.0.1");
}

#[test]
fn the_address_in_a_proxy_header_is_the_clients_on_tls_listeners() {
    let echo = Echo::start("main");
    let gateway = Gateway::builder()
        .tls()
        .config(json!({"portcullis": {"proxy_protocol": true}}))
        .api("main", &api("main", "/", &echo.url()))
        .start();
    for (header, client) in [
        (V1.to_vec(), "203.0.113.7"),
        (v2(false), "203.0.113.7"),
        (v2(true), "2001:db8::7"),
    ] {
        let mut stream = gateway.connect();
        stream.write_all(&header).unwrap();
        let mut secure = Client::new().over(stream).unwrap();
        secure
            .write_all(raw::get("/", &["Connection: close"]).as_bytes())
            .unwrap();
        let mut answer = String::new();
        secure.read_to_string(&mut answer).unwrap();
        assert!(
            answer.contains(&format!("\"x-forwarded-for\":\"{client}\"")),
            "{answer}"
        );
    }
}

/// A connection whose first write begins with a header.
struct Headed {
    stream: TcpStream,
    header: Vec<u8>,
}

impl Read for Headed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Headed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut all = std::mem::take(&mut self.header);
        all.extend_from_slice(bytes);
        self.stream.write_all(&all)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[test]
fn what_comes_in_one_piece_with_the_proxy_header_is_not_lost() {
    let echo = Echo::start("main");
    let config = json!({"portcullis": {"proxy_protocol": true}});
    let gateway = any_port(&echo).config(config.clone()).start();
    let mut wire = Wire::new(gateway.connect());
    wire.send([&v2(false), raw::get("/", &[]).as_bytes()].concat());
    let answer = wire.message().expect("an answer");
    assert_eq!(answer.json()["headers"]["x-forwarded-for"], "203.0.113.7");

    let gateway = any_port(&echo).tls().config(config).start();
    let stream = Headed {
        stream: gateway.connect(),
        header: v2(false),
    };
    let mut secure = Client::new()
        .through(stream)
        .expect("the handshake succeeds");
    secure
        .write_all(raw::get("/", &["Connection: close"]).as_bytes())
        .unwrap();
    let mut answer = String::new();
    secure.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("\"x-forwarded-for\":\"203.0.113.7\""),
        "{answer}"
    );
}

#[test]
fn a_proxy_header_that_comes_in_pieces_is_one_header() {
    let echo = Echo::start("main");
    let gateway = any_port(&echo)
        .config(json!({"portcullis": {"proxy_protocol": true}}))
        .start();
    let mut stream = gateway.connect();
    stream.set_nodelay(true).unwrap();
    for byte in v2(false) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(forwarded_for(&mut Wire::new(stream)), "203.0.113.7");
}

#[test]
fn a_connection_without_the_proxy_header_that_is_expected_is_closed_unanswered() {
    let echo = Echo::start("main");
    let gateway = any_port(&echo)
        .config(json!({"portcullis": {"proxy_protocol": true}}))
        .start();
    let malformed = b"PROXY TCP4 nobody 198.51.100.1 40000 443\r\n".as_slice();
    for bytes in [raw::get("/", &[]).as_bytes(), malformed] {
        let mut stream = gateway.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well: the request was never read.
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    assert_eq!(echo.served(), 0);
}

#[test]
fn the_proxy_header_is_expected_on_the_listed_ports_only() {
    let echo = Echo::start("main");
    let port = free_port();
    let gateway = any_port(&echo)
        .config(json!({"portcullis": {"proxy_protocol": [port]}}))
        .api("own", &on_port("own", port, "http", &echo.url()))
        .start();
    gateway.get("/").expect(200);
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(gateway.curl().send(&url).status, 0);
    gateway
        .curl()
        .arguments(&["--haproxy-protocol"])
        .send(&url)
        .expect(200);
}

#[test]
fn one_api_may_expect_the_proxy_header_on_its_own_port() {
    let echo = Echo::start("own");
    let (port, raw_port) = (free_port(), free_port());
    let expecting = json!({"portcullis": {"enable_proxy_protocol": true}});
    let gateway = any_port(&echo)
        .api(
            "own",
            &with(on_port("own", port, "http", &echo.url()), expecting),
        )
        .api(
            "raw",
            &with(
                relay("raw", raw_port, "tcp", parrot("tcp ")),
                json!({"enable_proxy_protocol": true}),
            ),
        )
        .start();
    gateway.get("/").expect(200);
    let mut stream = gateway.connect_to(port);
    stream.write_all(V1).unwrap();
    assert_eq!(forwarded_for(&mut Wire::new(stream)), "203.0.113.7");

    let mut stream = gateway.connect_to(raw_port);
    stream.write_all(V1).unwrap();
    assert_eq!(
        converse(stream, "hello", 9),
        "tcp hello",
        "the header is not relayed"
    );
}

#[test]
fn the_control_api_answers_on_the_main_port_and_on_no_port_of_an_api() {
    let echo = Echo::start("own");
    let port = free_port();
    let gateway = any_port(&echo)
        .api("own", &on_port("own", port, "http", &echo.url()))
        .start();
    gateway.control("/tyk/apis").expect(200);
    let response = gateway.control_on(port, "/tyk/apis").expect(200);
    assert_eq!(
        response.json()["upstream"],
        "own",
        "it is a path like any other"
    );
}
