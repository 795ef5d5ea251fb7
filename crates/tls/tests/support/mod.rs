//! Handshakes between two ends of a socket pair: our server with a client of the library that
//! a test shapes as it likes, and the other way round.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod upstream;

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    thread,
    time::SystemTime,
};

use openssl::ssl::{
    Error, HandshakeError, Ssl, SslContextBuilder, SslMethod, SslRef, SslSession,
    SslSessionCacheMode, SslStream, SslVerifyMode,
};
use portcullis_pki::{
    CertifiedKey, load,
    make::{Algorithm, Pair, make_ca, make_server},
};
use portcullis_tls::{
    CipherList, Negotiated, Policies, ServerConfig, ServerSettings, ServingSet, Side, TicketKeys,
    VersionRange,
};

/// Versions 1.2 to 1.3, or up to `max`.
pub fn versions(min: u16, max: u16) -> VersionRange {
    VersionRange::resolve(min, max, Side::Server).unwrap().0
}

/// A new certificate for `names`.
pub fn certified(algorithm: Algorithm, names: &[&str]) -> Arc<CertifiedKey> {
    let ca = make_ca("Server CA", Algorithm::P256, 30).unwrap();
    certified_by(&ca, algorithm, names)
}

/// A new certificate for `names` signed by `ca`.
pub fn certified_by(ca: &Pair, algorithm: Algorithm, names: &[&str]) -> Arc<CertifiedKey> {
    let pair = make_server(ca, names, algorithm, 30).unwrap();
    Arc::new(
        load(
            &format!("{}{}", pair.certificate_pem(), pair.key_pem()),
            None,
        )
        .unwrap()
        .pair,
    )
}

/// Settings with one certificate for localhost, TLS 1.2 and 1.3, defaults otherwise.
pub fn settings() -> ServerSettings {
    let mut serving = ServingSet::builder();
    serving.listed(certified(Algorithm::P256, &["localhost"]));
    with(serving.build())
}

/// Settings with these certificates.
pub fn with(serving: ServingSet) -> ServerSettings {
    ServerSettings {
        versions: versions(771, 772),
        ciphers: CipherList::default(),
        http2: false,
        serving,
        policies: Policies::open(),
        tickets: Arc::new(TicketKeys::new(SystemTime::now()).unwrap()),
    }
}

/// A client that believes anybody.
pub fn client() -> SslContextBuilder {
    let mut context = SslContextBuilder::new(SslMethod::tls()).unwrap();
    context.set_verify(SslVerifyMode::NONE);
    context
}

/// A client that believes anybody who signs with one of these algorithms (RFC 8446 numbers).
pub fn verifying(algorithms: &[u16]) -> SslContextBuilder {
    let context = client();
    // SAFETY: a valid context; pointer and length are one slice, copied.
    #[expect(unsafe_code, reason = "the safe API has no call for it")]
    let set = unsafe {
        openssl_sys::SSL_CTX_set_verify_algorithm_prefs(
            context.as_ptr(),
            algorithms.as_ptr(),
            algorithms.len(),
        )
    };
    assert_eq!(set, 1);
    context
}

/// The connection of a failed handshake.
pub type Failed = openssl::ssl::MidHandshakeSslStream<UnixStream>;

/// What one end of a handshake came to.
pub type Outcome = Result<SslStream<UnixStream>, Failed>;

/// The alert an end received, if its error is one.
pub fn alert(error: &Error) -> Option<i32> {
    let codes = error.ssl_error()?.errors().iter().map(|e| e.reason_code());
    codes
        .filter(|code| *code >= 1000)
        .map(|code| code - 1000)
        .next()
}

/// Runs a handshake between two connections; the server's result and the client's.
pub fn handshake(server: Ssl, client: Ssl) -> (Outcome, Outcome) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = thread::spawn(move || finish(server.accept(ours)));
    let client = finish(client.connect(theirs));
    // A client that failed lets go, so that the server cannot wait for it.
    if let Err(failed) = &client {
        let _ = failed.get_ref().shutdown(std::net::Shutdown::Write);
    }
    (serving.join().unwrap(), client)
}

fn finish(result: Result<SslStream<UnixStream>, HandshakeError<UnixStream>>) -> Outcome {
    match result {
        Ok(stream) => Ok(stream),
        Err(HandshakeError::Failure(failed)) => Err(failed),
        Err(other) => panic!("{other}"),
    }
}

/// A connection of `context` naming `host` (none when empty).
pub fn to(context: SslContextBuilder, host: &str) -> Ssl {
    let mut ssl = Ssl::new(&context.build()).unwrap();
    if !host.is_empty() {
        ssl.set_hostname(host).unwrap();
    }
    ssl
}

/// A handshake that must succeed on both ends.
pub fn connect(
    server: &ServerConfig,
    client: Ssl,
) -> (SslStream<UnixStream>, SslStream<UnixStream>) {
    let (server, client) = handshake(server.session().unwrap(), client);
    (
        server.unwrap_or_else(|e| panic!("{}", e.error())),
        client.unwrap_or_else(|e| panic!("{}", e.error())),
    )
}

/// The first DNS name of the certificate a client got to see.
pub fn seen(ssl: &SslRef) -> String {
    let certificate = ssl.peer_certificate().unwrap();
    portcullis_pki::CertificateFacts::of(&certificate)
        .unwrap()
        .dns_names[0]
        .clone()
}

/// What a client is served for `host`.
pub fn served(server: &ServerConfig, context: SslContextBuilder, host: &str) -> String {
    seen(connect(server, to(context, host)).1.ssl())
}

/// What a server says was agreed on.
pub fn negotiated(server: &ServerConfig, client: Ssl) -> Negotiated {
    Negotiated::of(connect(server, client).0.ssl())
}

/// A client that believes anybody and keeps the sessions it is given.
pub fn remembering_client() -> (SslContextBuilder, Sessions) {
    let sessions = Sessions::default();
    let kept = sessions.clone();
    let mut context = client();
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    context.set_new_session_callback(move |_, session| kept.lock().unwrap().push(session));
    (context, sessions)
}

/// Sessions in the order they came.
pub type Sessions = Arc<Mutex<Vec<SslSession>>>;

/// One byte from the server, so that the client reads the tickets before it.
pub fn say_hello(server: &mut SslStream<UnixStream>, client: &mut SslStream<UnixStream>) {
    server.ssl_write(b"x").unwrap();
    client.ssl_read(&mut [0]).unwrap();
}
