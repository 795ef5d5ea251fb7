//! Measures the server side of handshakes on one core, in memory, without sockets.
//!
//! `cargo run --release -p portcullis-tls --example handshakes`
//!
//! Both ends run on one thread; only the server's calls are timed. Idle sizes are
//! what resident memory grows by for each connection kept after its handshake.

#![allow(clippy::print_stdout, reason = "the program's purpose is to print")]

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Read, Write},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use openssl::ssl::{ErrorCode, Ssl, SslContextBuilder, SslMethod, SslSession, SslStream};
use portcullis_pki::{
    load,
    make::{Algorithm, make_ca, make_server},
};
use portcullis_tls::{
    CipherList, Policies, ServerConfig, ServerSettings, ServingSet, Side, TicketKeys, VersionRange,
};

/// One direction of a connection in memory.
type Bytes = Rc<RefCell<VecDeque<u8>>>;

struct End {
    incoming: Bytes,
    outgoing: Bytes,
}

impl Read for End {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.incoming.borrow_mut().read(into)?;
        if n == 0 {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(n)
        }
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs one handshake; the server's time and both ends.
fn handshake(server: Ssl, mut client: Ssl, time: &mut Duration) -> [SslStream<End>; 2] {
    let (to_server, to_client) = (Bytes::default(), Bytes::default());
    let start = Instant::now();
    let ours = End {
        incoming: to_server.clone(),
        outgoing: to_client.clone(),
    };
    let mut ours = SslStream::new(server, ours).expect("a stream");
    *time += start.elapsed();
    let theirs = End {
        incoming: to_client,
        outgoing: to_server,
    };
    client.set_connect_state();
    let mut theirs = SslStream::new(client, theirs).expect("a stream");
    let (mut we, mut they) = (false, false);
    while !(we && they) {
        they = they || step(&mut theirs);
        let start = Instant::now();
        we = we || step(&mut ours);
        *time += start.elapsed();
    }
    [ours, theirs]
}

fn step(stream: &mut SslStream<End>) -> bool {
    match stream.do_handshake() {
        Ok(()) => true,
        Err(error) if error.code() == ErrorCode::WANT_READ => false,
        Err(error) => panic!("{error}"),
    }
}

fn server(algorithm: Algorithm, max: u16) -> ServerConfig {
    let ca = make_ca("CA", Algorithm::P256, 9).expect("a CA");
    let pair = make_server(&ca, &["localhost"], algorithm, 9).expect("a pair");
    let text = format!("{}{}", pair.certificate_pem(), pair.key_pem());
    let mut serving = ServingSet::builder();
    serving.listed(Arc::new(load(&text, None).expect("the pair").pair));
    ServerConfig::new(ServerSettings {
        versions: VersionRange::resolve(771, max, Side::Server)
            .expect("versions")
            .0,
        ciphers: CipherList::default(),
        http2: true,
        serving: serving.build(),
        policies: Policies::open(),
        tickets: Arc::new(TicketKeys::new(SystemTime::now()).expect("keys")),
    })
    .expect("a server")
}

fn client(groups: &str) -> SslContextBuilder {
    let mut context = SslContextBuilder::new(SslMethod::tls()).expect("a context");
    context.set_groups_list(groups).expect("groups");
    context
}

fn rate(name: &str, server: &dyn Fn() -> Ssl, groups: &str, resumed: bool) {
    let kept: Arc<std::sync::Mutex<Option<SslSession>>> = Arc::default();
    let mut context = client(groups);
    if resumed {
        let kept = kept.clone();
        context.set_session_cache_mode(openssl::ssl::SslSessionCacheMode::CLIENT);
        context.set_new_session_callback(move |_, session| {
            *kept.lock().expect("lock") = Some(session);
        });
    }
    let context = context.build();
    let (mut time, mut count) = (Duration::ZERO, 0u32);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let mut ssl = Ssl::new(&context).expect("a client");
        ssl.set_hostname("localhost").expect("a name");
        if let Some(session) = kept.lock().expect("lock").take() {
            #[expect(
                unsafe_code,
                reason = "the safe API cannot know that the contexts agree"
            )]
            // SAFETY: made by this very context.
            unsafe {
                ssl.set_session(&session).expect("a session");
            }
        }
        let mut one = Duration::ZERO;
        let begin = Instant::now();
        let session = server();
        one += begin.elapsed();
        let [mut ours, mut theirs] = handshake(session, ssl, &mut one);
        if resumed {
            ours.ssl_write(b"x").expect("a byte");
            theirs.ssl_read(&mut [0]).expect("a byte");
            if !ours.ssl().session_reused() {
                continue; // the first one
            }
        }
        let begin = Instant::now();
        drop(ours);
        one += begin.elapsed();
        time += one;
        count += 1;
    }
    let each = time.as_secs_f64() * 1e6 / f64::from(count);
    println!("{name:<44} {each:>8.1} us  {:>8.0}/s", 1e6 / each);
}

fn idle(name: &str, server: &ServerConfig) {
    const COUNT: usize = 5000;
    let context = client("X25519:P-256").build();
    let mut kept = Vec::with_capacity(COUNT);
    let mut before = 0;
    for n in 0..COUNT + 200 {
        if n == 200 {
            before = resident(); // the allocator is warm now
        }
        let ssl = Ssl::new(&context).expect("a client");
        let session = server.session().expect("a session");
        let [mut ours, mut theirs] = handshake(session, ssl, &mut Duration::default());
        ours.ssl_write(b"x").expect("a byte");
        theirs.ssl_read(&mut [0]).expect("a byte");
        theirs.ssl_write(b"x").expect("a byte");
        ours.ssl_read(&mut [0]).expect("a byte");
        let _ = ours.ssl_read(&mut [0]); // would block, and gives the read buffer back
        ours.get_ref().incoming.borrow_mut().shrink_to_fit();
        ours.get_ref().outgoing.borrow_mut().shrink_to_fit();
        if n >= 200 {
            kept.push(ours);
        }
    }
    let each = resident().saturating_sub(before) / COUNT;
    println!("{name:<44} {each:>8} bytes");
}

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// The library alone, as far as it goes without us: its own tickets, one context.
fn bare() -> SslContextBuilder {
    let ca = make_ca("CA", Algorithm::P256, 9).expect("a CA");
    let pair = make_server(&ca, &["localhost"], Algorithm::P256, 9).expect("a pair");
    let mut context = SslContextBuilder::new(SslMethod::tls()).expect("a context");
    context
        .set_certificate(&pair.certificate)
        .expect("a certificate");
    context.set_private_key(&pair.key).expect("a key");
    context
}

fn main() {
    let ours = |config: &ServerConfig| {
        let config = config.clone();
        move || config.session().expect("a session")
    };
    let bare = bare().build();
    let alone = || {
        let mut ssl = Ssl::new(&bare).expect("a session");
        ssl.set_accept_state();
        ssl
    };
    let p256 = server(Algorithm::P256, 772);
    let rsa = server(Algorithm::Rsa2048, 772);
    let older = server(Algorithm::P256, 771);
    rate("the library alone, P-256, X25519", &alone, "X25519", false);
    rate(
        "TLS 1.3, P-256 certificate, X25519",
        &ours(&p256),
        "X25519",
        false,
    );
    rate(
        "TLS 1.3, P-256 certificate, P-256",
        &ours(&p256),
        "P-256",
        false,
    );
    rate(
        "TLS 1.3, P-256 certificate, X25519MLKEM768",
        &ours(&p256),
        "X25519MLKEM768",
        false,
    );
    rate("the library alone, resumed", &alone, "X25519", true);
    rate("TLS 1.3, resumed, X25519", &ours(&p256), "X25519", true);
    rate("TLS 1.3, RSA 2048, X25519", &ours(&rsa), "X25519", false);
    rate(
        "TLS 1.2, P-256 certificate, X25519",
        &ours(&older),
        "X25519:P-256",
        false,
    );
    rate("TLS 1.2, resumed", &ours(&older), "X25519:P-256", true);
    idle("idle TLS 1.3 connection", &p256);
}
