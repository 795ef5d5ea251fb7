//! The TLS handshake of a client, bounded in time and number.

use std::{future::poll_fn, net::IpAddr, rc::Rc, sync::Arc};

use portcullis_apidef::Protocol;
use portcullis_pki::PresentedChain;
use portcullis_tls::{
    Negotiated,
    buffer::Chunk,
    failure::HandshakeFailure,
    server::ServerConfig,
    stream::{HandshakeError, TlsStream},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    flight::{Check, Leaf},
    transport::Transport,
    worker::Worker,
};

/// What a client that speaks clear-text HTTP to a TLS port is told, as Go's server words it.
const CLEAR_TEXT: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// An encrypted connection, and who is at its other end.
pub(super) struct Accepted {
    pub(super) transport: Transport,
    pub(super) negotiated: Negotiated,
    /// What the client presented; its key is proven, nothing else.
    pub(super) client: Option<Arc<PresentedChain>>,
}

/// Runs a handshake; `None` when there is no connection to serve. Why is counted and logged.
pub(super) async fn accept(
    worker: &Rc<Worker>,
    tls: &ServerConfig,
    socket: TcpStream,
    address: IpAddr,
    early: Chunk,
    port: u16,
    protocol: Protocol,
) -> Option<Accepted> {
    let Some(_place) = worker.begin_handshake(address) else {
        tracing::warn!(client = %address, "too many concurrent TLS handshakes from one address; connection closed");
        let detail = "its address had too many handshakes under way";
        worker.refused(Check::TooManyHandshakes, address, port, &detail, |entry| {
            entry
        });
        return None;
    };
    let session = match tls.session() {
        Ok(session) => session,
        Err(error) => {
            tracing::error!(%error, "cannot begin a TLS session");
            return None;
        }
    };
    let mut stream = match TlsStream::new(session, socket) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::error!(%error, "cannot begin a TLS session");
            return None;
        }
    };
    stream.prefill(early.data());
    drop(early);
    let handshake = poll_fn(|cx| stream.poll_handshake(cx));
    let outcome = worker
        .timers
        .within(worker.settings.handshake_timeout, handshake)
        .await;
    let refused = |stream: &mut TlsStream<TcpStream>, failure: HandshakeFailure| {
        let reason = failure.reason;
        tracing::info!(client = %address, reason = reason.label(), "TLS handshake failed: {failure}");
        worker.refused(Check::Handshake(reason), address, port, &failure, |entry| {
            let chain = stream.refused().and_then(|refused| refused.chain.clone());
            let leaf = chain.map(|chain| Leaf::of(&chain));
            entry.offering(stream.take_offer()).presenting(leaf)
        });
    };
    match outcome {
        Ok(Ok(())) => {
            let client = match stream.admit() {
                Ok(client) => client,
                Err(refusal) => {
                    refused(&mut stream, HandshakeFailure::refused(&refusal));
                    // A client that is gone needs no alert.
                    let _ = stream.shutdown().await;
                    return None;
                }
            };
            let negotiated = Negotiated::of(stream.ssl());
            worker.counters.handshake_done(&negotiated);
            Some(Accepted {
                transport: Transport::Tls(Box::new(stream)),
                negotiated,
                client,
            })
        }
        Ok(Err(HandshakeError::ClearText)) => {
            refused(&mut stream, HandshakeFailure::plain_http());
            if matches!(protocol, Protocol::Https) {
                // The client may be gone; then nobody misses the answer.
                let _ = stream.transport_mut().write_all(CLEAR_TEXT).await;
                let _ = stream.transport_mut().shutdown().await;
            }
            None
        }
        Ok(Err(HandshakeError::Tls(error))) => {
            let failure = match stream.refused() {
                Some(refusal) => HandshakeFailure::refused(refusal),
                None => HandshakeFailure::of(&error),
            };
            refused(&mut stream, failure);
            None
        }
        Ok(Err(HandshakeError::Transport(error))) => {
            refused(&mut stream, HandshakeFailure::io(&error));
            None
        }
        Err(_) => {
            refused(&mut stream, HandshakeFailure::timeout());
            None
        }
    }
}
