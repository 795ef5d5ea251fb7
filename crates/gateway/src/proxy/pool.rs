//! Connections of one worker to one upstream: kept while idle, made when there is none.
//!
//! Invariants:
//! - A pool belongs to a worker; nothing in it is shared between threads.
//! - Connections of different TLS settings, or by way of different proxies, never meet: the endpoint, which
//!   names them, owns the pool.
//! - A kept connection is looked at before it is used again; one that the upstream has closed is
//!   dropped unseen by any request.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::SendRequest;
use portcullis_tls::{Contact, client::ClientConfig, failure::UpstreamTlsFailure};

use super::{
    dial::{ConnectError, Way, dial},
    upstream::Http1Upstream,
};
use crate::timers::Timers;

/// An idle connection is closed after this long (outbound sheet 1, fixed values).
pub const IDLE: Duration = Duration::from_secs(90);

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
    /// TLS towards it.
    pub tls: EndpointTls,
    /// HTTP/2 towards it.
    pub http2: Http2Use,
    /// How to get there.
    pub way: Way,
    /// The same place over connections whose protocol can be switched, where its own cannot be: HTTP/1
    /// where HTTP/2 is negotiated, a tunnel where a proxy forwards requests.
    pub switching: Option<Arc<Endpoint>>,
    /// How long connecting may take.
    pub dial: Duration,
    /// Idle connections a worker keeps.
    pub keep: usize,
    /// Age beyond which a connection is not used again, `None` for no bound.
    pub max_age: Option<Duration>,
    /// What became of its connections; those that a proxy forwards are the proxy's.
    pub contact: Arc<Contact>,
}

/// TLS towards an endpoint.
#[derive(Debug)]
pub enum EndpointTls {
    /// None: clear text.
    Clear,
    /// With these settings, and their digest.
    Client(ClientConfig, [u8; 32]),
    /// It should be spoken, and cannot: every connection fails for this reason.
    Unready(UpstreamTlsFailure),
}

impl EndpointTls {
    /// Nothing is sent in clear text.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Clear)
    }

    /// What it is spoken with, where it is and can be.
    pub fn client(&self) -> Option<&ClientConfig> {
        match self {
            Self::Client(client, _) => Some(client),
            Self::Clear | Self::Unready(_) => None,
        }
    }

    /// The digest of the settings.
    pub fn digest(&self) -> Option<[u8; 32]> {
        match self {
            Self::Client(_, digest) => Some(*digest),
            Self::Clear | Self::Unready(_) => None,
        }
    }

    /// What makes it differ from others.
    pub fn key(&self) -> TlsKey {
        match self {
            Self::Clear => TlsKey::Clear,
            Self::Client(_, digest) => TlsKey::Client(*digest),
            Self::Unready(failure) => TlsKey::Unready(failure.message.as_str().into()),
        }
    }
}

/// What makes TLS towards two endpoints the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TlsKey {
    /// There is none.
    Clear,
    /// The digest of its settings.
    Client([u8; 32]),
    /// Why there can be none.
    Unready(Box<str>),
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

/// Idle connections of one worker to one endpoint.
#[derive(Default)]
pub struct Pool {
    http1: RefCell<Vec<Idle>>,
    http2: RefCell<Option<SendRequest<Bytes>>>,
    /// No snapshot in force leads here any more.
    retired: Cell<bool>,
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
        if idle.len() < endpoint.keep && !self.retired.get() {
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

    /// Keeps nothing from here on, or does again. What is under way is finished.
    pub fn retire(&self, retired: bool) {
        self.retired.set(retired);
        if retired {
            self.http1.borrow_mut().clear();
            self.forget_http2();
        }
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
            .session()
            .is_some_and(|session| session.selected_alpn_protocol() == Some(b"h2"));
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
            if !self.retired.get() {
                self.http2.borrow_mut().replace(place.clone());
            }
            return Ok(Connection::Http2(place));
        }
        Ok(Connection::Http1(
            Box::new(Http1Upstream::new(transport)),
            Instant::now(),
        ))
    }
}
