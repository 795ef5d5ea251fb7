//! What tests of forward proxies share: APIs behind one, how their failures are told, and proxies that are
//! scripts.

use std::{io, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    certs,
    gateway::{Builder, Gateway, api, with},
    raw,
    upstream::{Talk, Upstream, acceptor, echo},
    wire::Message,
};

/// What every client is told.
pub const PROBLEM: &str = "{\n    \"error\": \"There was a problem proxying the request\"\n}";

/// An upstream behind TLS that tells what it saw.
///
/// # Panics
/// When it cannot listen.
pub fn secure_echo() -> Upstream {
    Upstream::start_tls(acceptor(certs::localhost()).build(), echo)
}

/// Its URL, by a name that its certificate is for.
pub fn secure_url(upstream: &Upstream) -> String {
    format!("https://localhost:{}", upstream.address().port())
}

/// An API on `/api/` whose upstream is reached by a proxy.
pub fn by(proxy: &str, url: &str) -> Value {
    with(
        api("api", "/api/", url),
        json!({"proxy": {"transport": {"proxy_url": proxy}}}),
    )
}

/// A gateway with one worker that trusts the tests' CA.
pub fn trusting(definition: &Value) -> Builder {
    let builder = Gateway::builder()
        .config(json!({"access_logs": {"enabled": true}, "portcullis": {"workers": 1}}))
        .api("api", definition);
    let roots = builder.path("ca.pem").display().to_string();
    builder.environment("SSL_CERT_FILE", &roots)
}

/// A request for the API of [`by`].
pub fn ask(gateway: &Gateway) -> Message {
    raw::ask(gateway, raw::get("/api/x?q=1", &[]))
}

/// The request fails with the generic error; the access log's flag and detail, the line of the error log.
///
/// # Panics
/// When it does not fail like that.
#[track_caller]
pub fn assert_failed(gateway: &Gateway, flag: &str, detail: &str, hop: &str) -> String {
    let response = ask(gateway);
    let access = gateway.output().wait("\"path\":\"/api/x\"");
    let line: Value = serde_json::from_str(&access).expect("a line is JSON");
    let error = gateway.wait_log("http: proxy error: ");
    assert_eq!(
        (response.status(), response.text().as_str()),
        (500, PROBLEM),
        "{error}"
    );
    assert_eq!(
        (&line["response_flag"], &line["response_code_details"]),
        (&flag.into(), &detail.into()),
        "{line} {error}"
    );
    assert!(error.contains(&format!("hop=\"{hop}\"")), "{error}");
    assert!(
        !error.contains("pa:ss") && !error.contains("pa%3Ass"),
        "{error}"
    );
    error
}

/// A proxy that opens every tunnel to one place, whatever it is asked for.
pub fn tunnelling(to: SocketAddr) -> impl Fn(&mut Talk) + Send + Sync + 'static {
    move |talk| {
        if talk.head().is_some() {
            talk.send("HTTP/1.1 200 Connection established\r\n\r\n");
            relay(talk, to);
        }
    }
}

fn relay(talk: &mut Talk, to: SocketAddr) {
    let there = std::net::TcpStream::connect(to).expect("the upstream listens");
    let (mut from, mut into) = (
        talk.socket().try_clone().expect("a socket"),
        there.try_clone().expect("a socket"),
    );
    let up = std::thread::spawn(move || {
        // How a tunnel ends is told by those at its ends.
        let _ = io::copy(&mut from, &mut into);
        let _ = into.shutdown(std::net::Shutdown::Write);
    });
    let (mut from, mut into) = (there, talk.socket().try_clone().expect("a socket"));
    let _ = io::copy(&mut from, &mut into);
    let _ = into.shutdown(std::net::Shutdown::Both);
    up.join().expect("copying does not panic");
}

/// A server that answers whatever head comes with these bytes and closes.
///
/// # Panics
/// When it cannot listen.
pub fn answering(answer: &'static str) -> Upstream {
    Upstream::start(move |talk| {
        if talk.head().is_some() {
            talk.send(answer);
        }
    })
}
