//! An upstream that speaks HTTP/2, in clear text or behind TLS.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use openssl::ssl::{Ssl, SslAcceptor, SslAcceptorBuilder};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// What a handler returns.
pub type Handling = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;

/// An HTTP/2 server that runs as long as the value lives.
pub struct Http2Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    _over: oneshot::Sender<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    heads: Mutex<Vec<Request<()>>>,
}

impl Http2Upstream {
    /// Starts a server in clear text that needs no upgrade (`h2c://`).
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(handler: fn(Request<RecvStream>, SendResponse<Bytes>) -> Handling) -> Self {
        Self::listen(None, handler)
    }

    /// Starts a server behind TLS that speaks nothing but HTTP/2.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start_tls(
        mut acceptor: SslAcceptorBuilder,
        handler: fn(Request<RecvStream>, SendResponse<Bytes>) -> Handling,
    ) -> Self {
        acceptor.set_alpn_select_callback(|_, offered| {
            openssl::ssl::select_next_proto(b"\x02h2", offered)
                .ok_or(openssl::ssl::AlpnError::ALERT_FATAL)
        });
        Self::listen(Some(acceptor.build()), handler)
    }

    fn listen(
        acceptor: Option<SslAcceptor>,
        handler: fn(Request<RecvStream>, SendResponse<Bytes>) -> Handling,
    ) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be asynchronous");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Seen::default());
        let (over, ended) = oneshot::channel::<()>();
        let shared = seen.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let accept = accept(listener, acceptor.map(Arc::new), shared, handler);
                tokio::select! {
                    () = accept => {}
                    // An error means that the value is gone, which is what is waited for.
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            seen,
            _over: over,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Acquire)
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<Request<()>> {
        self.seen
            .heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn accept(
    listener: std::net::TcpListener,
    acceptor: Option<Arc<SslAcceptor>>,
    seen: Arc<Seen>,
    handler: fn(Request<RecvStream>, SendResponse<Bytes>) -> Handling,
) {
    let listener = TcpListener::from_std(listener).expect("a listening socket");
    while let Ok((socket, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::AcqRel);
        let (seen, acceptor) = (seen.clone(), acceptor.clone());
        // How a connection ends is what the test is about.
        tokio::spawn(async move {
            match acceptor {
                None => drop(serve(socket, seen, handler).await),
                Some(acceptor) => {
                    if let Some(stream) = secure(&acceptor, socket).await {
                        drop(serve(stream, seen, handler).await);
                    }
                }
            }
        });
    }
}

async fn secure(
    acceptor: &SslAcceptor,
    socket: TcpStream,
) -> Option<tokio_openssl::SslStream<TcpStream>> {
    let session = Ssl::new(acceptor.context()).ok()?;
    let mut stream = tokio_openssl::SslStream::new(session, socket).ok()?;
    Pin::new(&mut stream).accept().await.ok()?;
    Some(stream)
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: Arc<Seen>,
    handler: fn(Request<RecvStream>, SendResponse<Bytes>) -> Handling,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts.clone(), ());
        seen.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(head);
        tokio::spawn(handler(Request::from_parts(parts, body), respond));
    }
    Ok(())
}

/// Reads a body and its trailers, giving the sender room as it goes.
///
/// # Errors
/// When the stream fails.
pub async fn read(mut body: RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok((whole.freeze(), trailers))
}

/// Answers with the request's body and, in fields, its path and protocol version.
pub fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Handling {
    Box::pin(async move {
        let (parts, body) = request.into_parts();
        let (body, trailers) = read(body).await?;
        let response = Response::builder()
            .header(
                "x-path",
                parts.uri.path_and_query().map_or("", |path| path.as_str()),
            )
            .header("x-version", format!("{:?}", parts.version))
            .body(())
            .expect("a response");
        let mut stream = respond.send_response(response, false)?;
        stream.send_data(body, trailers.is_none())?;
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        Ok(())
    })
}

/// A unary gRPC method that answers with the message it was sent and the status in trailers; a
/// path that ends with `/Fail` gets a status alone.
pub fn grpc(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Handling {
    Box::pin(async move {
        let (parts, body) = request.into_parts();
        let (message, _) = read(body).await?;
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .body(());
        let mut response = response.expect("a response");
        if parts.uri.path().ends_with("/Fail") {
            let fields = response.headers_mut();
            fields.insert("grpc-status", http::HeaderValue::from_static("5"));
            respond.send_response(response, true)?;
            return Ok(());
        }
        let mut stream = respond.send_response(response, false)?;
        stream.send_data(message, false)?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        trailers.insert("grpc-message", http::HeaderValue::from_static("fine"));
        stream.send_trailers(trailers)
    })
}
