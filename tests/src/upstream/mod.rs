//! Upstreams: servers that do what a test tells them and remember what they saw.
//!
//! [`Upstream`] speaks HTTP/1 through a script, byte by byte; [`nginx`], [`http2`] and
//! [`websocket`] are the others. All of them end with the value that stands for them.

pub mod http2;
pub mod nginx;
pub mod s_server;
pub mod websocket;

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslVersion};
use portcullis_pki::make::Pair;
use serde_json::json;

use crate::wire::{Message, Wire};

/// A server that follows a script on each connection.
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What an upstream has seen.
#[derive(Default)]
struct Seen {
    /// Bytes of each connection, in clear text.
    connections: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    /// Sockets, so that scripts that wait end with the test.
    sockets: Mutex<Vec<TcpStream>>,
    /// Connections, those whose TLS handshake failed included.
    accepted: AtomicUsize,
    requests: AtomicUsize,
    ending: AtomicBool,
}

/// One connection of a script.
pub struct Talk {
    wire: Wire,
    /// Which connection this is, from 0.
    pub number: usize,
    seen: Arc<Seen>,
}

impl Upstream {
    /// Starts a server in clear text on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(script: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        Self::start_on(0, script)
    }

    /// Starts a server in clear text on a port of 127.0.0.1, on a free one for 0.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_on(port: u16, script: impl Fn(&mut Talk) + Send + Sync + 'static) -> Self {
        Self::listen(port, script, |socket| Some(Wire::new(socket)))
    }

    /// Starts a server behind TLS.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_tls(
        acceptor: SslAcceptor,
        script: impl Fn(&mut Talk) + Send + Sync + 'static,
    ) -> Self {
        Self::listen(0, script, move |socket| {
            acceptor.accept(socket).ok().map(Wire::new)
        })
    }

    /// Starts a server that answers each request with what it saw, see [`echo`].
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn echo() -> Self {
        Self::start(echo)
    }

    /// Starts a server that answers each request with the same bytes.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(
            move |talk| {
                while talk.request().is_some() && talk.try_send(&response).is_ok() {}
            },
        )
    }

    fn listen(
        port: u16,
        script: impl Fn(&mut Talk) + Send + Sync + 'static,
        secure: impl Fn(TcpStream) -> Option<Wire> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Seen::default());
        let (script, secure, shared) = (Arc::new(script), Arc::new(secure), seen.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if shared.ending.load(Ordering::Acquire) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let number = shared.accepted.fetch_add(1, Ordering::AcqRel);
                if let Ok(socket) = socket.try_clone() {
                    lock(&shared.sockets).push(socket);
                }
                let (script, secure, seen) = (script.clone(), secure.clone(), shared.clone());
                std::thread::spawn(move || {
                    let Some(wire) = secure(socket) else { return };
                    lock(&seen.connections).push(wire.came());
                    let mut talk = Talk { wire, number, seen };
                    script(&mut talk);
                    // The test's end keeps a copy of the socket; the other side must not wait for it.
                    let _ = talk.socket().shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL in clear text, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far, those whose TLS handshake failed included.
    pub fn connections(&self) -> usize {
        self.seen.accepted.load(Ordering::Acquire)
    }

    /// Whole requests that scripts have read so far.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Acquire)
    }

    /// The bytes of every connection so far, one text each.
    pub fn received(&self) -> Vec<String> {
        let connections = lock(&self.seen.connections);
        connections
            .iter()
            .map(|came| String::from_utf8_lossy(&lock(came)).into_owned())
            .collect()
    }

    /// Closes every connection that is open.
    pub fn cut_all(&self) {
        for socket in lock(&self.seen.sockets).drain(..) {
            // One that is closed already is as it should be.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.seen.ending.store(true, Ordering::Release);
        self.cut_all();
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Talk {
    /// Reads a request with its body; `None` when there is no whole one to come.
    pub fn request(&mut self) -> Option<Message> {
        let request = self.wire.message().filter(|request| request.complete)?;
        self.seen.requests.fetch_add(1, Ordering::AcqRel);
        Some(request)
    }

    /// Waits until the other side closes.
    pub fn stall(&mut self) {
        self.wire.rest();
    }

    /// Sends a 200 with this text.
    pub fn answer(&mut self, text: &str) {
        self.send(ok(text));
    }
}

impl Deref for Talk {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Talk {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// A 200 with a text.
pub fn ok(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Answers requests with what came: `{"method", "target", "fields": [[name, value]…], "body"}`.
pub fn echo(talk: &mut Talk) {
    while let Some(request) = talk.request() {
        let mut line = request.start.split(' ');
        let method = line.next().unwrap_or_default().to_owned();
        let seen = json!({
            "method": method,
            "target": line.next(),
            "fields": request.fields,
            "body": request.text(),
            "trailers": request.trailers,
        });
        let text = seen.to_string();
        let mut response = ok(&text);
        if method == "HEAD" {
            response.truncate(response.len() - text.len());
        }
        if talk.try_send(response).is_err() {
            return;
        }
    }
}

/// A TLS server's settings with this certificate.
///
/// # Panics
/// When the library refuses the pair.
pub fn acceptor(pair: &Pair) -> SslAcceptorBuilder {
    let mut builder =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("settings");
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .expect("a version");
    builder
        .set_certificate(&pair.certificate)
        .expect("a certificate");
    builder.set_private_key(&pair.key).expect("its key");
    builder
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
