//! Connections of one worker to one upstream: kept while idle, made when there is none.
//!
//! Invariants:
//! - A pool belongs to a worker; nothing in it is shared between threads.
//! - Connections of different TLS settings never meet: the endpoint, which names them, owns the pool.
//! - A kept connection is looked at before it is used again; one that the upstream has closed is
//!   dropped unseen by any request.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use h2::client::SendRequest;
use portcullis_tls::{
    client::ClientConfig,
    failure::UpstreamTlsFailure,
    stream::{HandshakeError, TlsStream},
};
use tokio::net::TcpStream;

use super::upstream::Http1Upstream;
use crate::{timers::Timers, transport::Transport};

/// An idle connection is closed after this long (outbound sheet 1, fixed values).
pub const IDLE: Duration = Duration::from_secs(90);

/// A TLS handshake with an upstream may take this long.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes an HTTP/2 upstream may send of one response before its client takes them.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for a whole connection: no bound. Clients share it, so a few that do not read must not
/// use up what the others need; each is bounded by its stream.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// One place requests can be sent to: address and everything that makes its connections differ.
pub struct Endpoint {
    /// Number that stays the same over reloads; pools are found by it.
    pub id: usize,
    /// Host name or IP literal.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// `Host` value for requests.
    pub authority: Box<str>,
    /// TLS towards it, `None` for clear text.
    pub tls: Option<ClientConfig>,
    /// HTTP/2 towards it.
    pub http2: Http2Use,
    /// The same place without HTTP/2, where that is negotiated: a protocol can only be switched
    /// from HTTP/1.
    pub http1: Option<Arc<Endpoint>>,
    /// How long connecting may take.
    pub dial: Duration,
    /// Idle connections a worker keeps.
    pub keep: usize,
    /// Age beyond which a connection is not used again, `None` for no bound.
    pub max_age: Option<Duration>,
}

/// Whether an endpoint speaks HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Http2Use {
    /// HTTP/1.1 only.
    Never,
    /// Offered in the TLS handshake; the upstream chooses.
    Negotiated,
    /// Spoken without asking (`h2c://`).
    Always,
}

/// A connection ready for a request.
pub enum Connection {
    /// HTTP/1: all of it.
    Http1(Box<Http1Upstream>, Instant),
    /// HTTP/2: a place on it.
    Http2(SendRequest<Bytes>),
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot resolve `{host}`: {source}")]
    Lookup {
        /// The name.
        host: Box<str>,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address could be connected to.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Connecting took too long.
    #[error("connecting to `{0}` took too long (i/o timeout)")]
    DialTimeout(Box<str>),
    /// The TLS handshake took too long.
    #[error("TLS handshake with `{0}` timed out")]
    HandshakeTimeout(Box<str>),
    /// The TLS handshake failed.
    #[error("TLS handshake with upstream: {0}")]
    Tls(UpstreamTlsFailure),
    /// The connection ended in the handshake.
    #[error("connection ended during the handshake: {0}")]
    Ended(io::Error),
    /// The TLS library cannot begin a session.
    #[error("cannot begin a TLS session: {0}")]
    Setup(openssl::error::ErrorStack),
    /// HTTP/2 could not be started.
    #[error("HTTP/2 with upstream: {0}")]
    Http2(h2::Error),
}

/// Idle connections of one worker to one endpoint.
#[derive(Default)]
pub struct Pool {
    http1: RefCell<Vec<Idle>>,
    http2: RefCell<Option<SendRequest<Bytes>>>,
}

struct Idle {
    upstream: Box<Http1Upstream>,
    made: Instant,
    since: Instant,
}

impl Pool {
    /// A kept connection that still stands, if there is one.
    pub fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        if endpoint.http2 != Http2Use::Never
            && let Some(place) = self.http2.borrow().as_ref()
        {
            return Some(Connection::Http2(place.clone()));
        }
        while let Some(mut idle) = self.http1.borrow_mut().pop() {
            let too_old = endpoint
                .max_age
                .is_some_and(|age| idle.made.elapsed() > age);
            if !too_old && !idle.upstream.is_stale() {
                return Some(Connection::Http1(idle.upstream, idle.made));
            }
        }
        None
    }

    /// Keeps a connection that a request has left in order.
    pub fn keep(
        &self,
        endpoint: &Endpoint,
        upstream: Box<Http1Upstream>,
        made: Instant,
        now: Instant,
    ) {
        let mut idle = self.http1.borrow_mut();
        if idle.len() < endpoint.keep {
            idle.push(Idle {
                upstream,
                made,
                since: now,
            });
        }
    }

    /// Forgets the HTTP/2 connection, which no longer takes requests.
    pub fn forget_http2(&self) {
        self.http2.borrow_mut().take();
    }

    /// Closes what has been idle too long.
    pub fn expire(&self, now: Instant) {
        self.http1
            .borrow_mut()
            .retain_mut(|idle| now - idle.since < IDLE && !idle.upstream.is_stale());
    }

    /// Makes a new connection.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        timers: &Rc<Timers>,
    ) -> Result<Connection, ConnectError> {
        let transport = dial(endpoint, timers).await?;
        let negotiated = transport
            .tls()
            .is_some_and(|tls| tls.ssl().selected_alpn_protocol() == Some(b"h2"));
        if endpoint.http2 == Http2Use::Always || negotiated {
            let (place, connection) = h2::client::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(64 * 1024)
                .enable_push(false)
                .handshake(transport)
                .await
                .map_err(ConnectError::Http2)?;
            tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "upstream HTTP/2 connection ended");
                }
            });
            self.http2.borrow_mut().replace(place.clone());
            return Ok(Connection::Http2(place));
        }
        Ok(Connection::Http1(
            Box::new(Http1Upstream::new(transport)),
            Instant::now(),
        ))
    }
}

/// Connects and, where the endpoint asks for it, runs the TLS handshake.
///
/// # Errors
/// [`ConnectError`].
pub async fn dial(endpoint: &Endpoint, timers: &Rc<Timers>) -> Result<Transport, ConnectError> {
    let socket = timers
        .within(endpoint.dial, connect(endpoint))
        .await
        .map_err(|_| ConnectError::DialTimeout(endpoint.host.clone()))??;
    // Fails only on a socket that is gone, which the first write says.
    let _ = socket.set_nodelay(true);
    let Some(tls) = &endpoint.tls else {
        return Ok(Transport::plain(
            socket,
            portcullis_tls::buffer::Chunk::new(),
        ));
    };
    let session = tls.session(&endpoint.host).map_err(ConnectError::Setup)?;
    let mut stream = TlsStream::new(session, socket).map_err(ConnectError::Setup)?;
    let handshake = std::future::poll_fn(|cx| stream.poll_handshake(cx));
    match timers.within(HANDSHAKE, handshake).await {
        Ok(Ok(())) => Ok(Transport::Tls(Box::new(stream))),
        Ok(Err(HandshakeError::Tls(error))) => {
            match UpstreamTlsFailure::of(&error, stream.ssl(), &endpoint.host, SystemTime::now()) {
                Some(failure) => Err(ConnectError::Tls(failure)),
                None => Err(ConnectError::Ended(io::Error::other(error.to_string()))),
            }
        }
        Ok(Err(HandshakeError::Transport(error))) => Err(ConnectError::Ended(error)),
        Ok(Err(HandshakeError::ClearText)) => {
            Err(ConnectError::Ended(io::ErrorKind::InvalidData.into()))
        }
        Err(_) => Err(ConnectError::HandshakeTimeout(endpoint.host.clone())),
    }
}

/// Tries the addresses of an endpoint in order.
async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ConnectError> {
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        let address = SocketAddr::new(address, endpoint.port);
        return TcpStream::connect(address)
            .await
            .map_err(|source| ConnectError::Connect { address, source });
    }
    let lookup = |source| ConnectError::Lookup {
        host: endpoint.host.clone(),
        source,
    };
    let addresses = tokio::net::lookup_host((&*endpoint.host, endpoint.port))
        .await
        .map_err(lookup)?;
    let mut last = lookup(io::Error::new(io::ErrorKind::NotFound, "no such host"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(source) => last = ConnectError::Connect { address, source },
        }
    }
    Err(last)
}
