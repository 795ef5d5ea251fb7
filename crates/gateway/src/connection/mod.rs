//! One client connection, from accept to close.
//!
//! What we know of the peer grows step by step: an address, the address a load balancer vouches
//! for, a TLS identity, a protocol. Only then is anything read as a request.

mod handshake;
mod http1;
mod http2;
mod tcp;

use std::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use portcullis_apidef::Protocol;
use portcullis_tls::buffer::Chunk;
use tokio::net::TcpStream;

use self::handshake::Accepted;
use crate::{
    clients::Client,
    proxy::view::Peer,
    proxy_protocol::{self, Header},
    snapshot::Service,
    transport::Transport,
    worker::Worker,
};

/// The first bytes of an HTTP/2 connection whose client knows that we speak it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection to its end.
pub async fn serve(worker: &Rc<Worker>, socket: TcpStream, address: SocketAddr, port: u16) {
    // The listener may have left the snapshot a moment ago.
    let held = worker.snapshot();
    let Some(listener) = held.snapshot.ports.get(&port) else {
        return;
    };

    // Who is it? Behind a load balancer, only its header tells.
    let (socket, address, early) = if listener.proxy_protocol {
        match Box::pin(vouched(worker, socket, address)).await {
            Some(vouched) => vouched,
            None => return,
        }
    } else {
        (socket, address.ip(), Chunk::new())
    };

    // Until a TLS handshake ends we know no more than that.
    let (mut transport, negotiated, client) = match &listener.tls {
        None => (Transport::plain(socket, early), None, None),
        Some(tls) => match Box::pin(handshake::accept(
            worker,
            tls,
            socket,
            address,
            early,
            port,
            listener.protocol,
        ))
        .await
        {
            Some(Accepted {
                transport,
                negotiated,
                client,
            }) => (transport, Some(negotiated), client),
            None => return,
        },
    };

    let http2_only = listener.protocol == Protocol::H2c;
    let http2_chosen = negotiated.as_ref().is_some_and(|facts| facts.http2);
    let peer = Peer {
        address,
        address_text: address.to_string().into(),
        tls: negotiated,
        client: client.map(Client::new),
        listener: port,
    };
    match &*listener.service {
        Service::Tcp { .. } => {
            drop(held);
            Box::pin(tcp::serve(worker, transport, port, peer)).await;
        }
        Service::Http(_) => {
            drop(held);
            let peer = Rc::new(peer);
            let early = if http2_chosen || http2_only || peer.tls.is_some() {
                http2_chosen.then(Chunk::new)
            } else {
                match Box::pin(knows_http2(worker, &mut transport)).await {
                    Some(opening) => opening,
                    None => return,
                }
            };
            // Cleartext clients that begin with the HTTP/2 preface speak it; others HTTP/1.
            match early {
                _ if http2_only => Box::pin(http2::serve(worker, transport, peer)).await,
                Some(_) if http2_chosen => Box::pin(http2::serve(worker, transport, peer)).await,
                Some(opening) if opening.data().starts_with(PREFACE) => {
                    transport.give_back(opening);
                    Box::pin(http2::serve(worker, transport, peer)).await;
                }
                Some(opening) => http1::serve(worker, transport, opening, peer).await,
                None => http1::serve(worker, transport, Chunk::new(), peer).await,
            }
        }
    }
}

/// Reads the PROXY header that must come first; the socket, the client's address, and what followed.
async fn vouched(
    worker: &Rc<Worker>,
    socket: TcpStream,
    address: SocketAddr,
) -> Option<(TcpStream, IpAddr, Chunk)> {
    use tokio::io::AsyncRead;
    let mut socket = socket;
    let mut chunk = Chunk::new();
    let read = async {
        loop {
            match proxy_protocol::parse(chunk.data()) {
                Ok(Some(header)) => return Some(header),
                Err(error) => {
                    tracing::debug!(client = %address, %error, "connection refused");
                    return None;
                }
                Ok(None) => {}
            }
            let n = poll_fn(|cx| {
                let mut space = tokio::io::ReadBuf::new(chunk.space());
                std::task::ready!(std::pin::Pin::new(&mut socket).poll_read(cx, &mut space))?;
                std::task::Poll::Ready(std::io::Result::Ok(space.filled().len()))
            })
            .await
            .ok()
            .filter(|n| *n > 0)?;
            chunk.filled(n);
        }
    };
    let header = worker
        .timers
        .within(worker.settings.handshake_timeout, read)
        .await
        .ok()??;
    let (length, client) = match header {
        Header::Client { source, length } => (length, source.ip()),
        Header::Local { length } => (length, address.ip()),
    };
    chunk.consume(length);
    Some((socket, client, chunk))
}

/// Reads as much of a clear-text connection as tells HTTP/2 from HTTP/1.
async fn knows_http2(worker: &Rc<Worker>, transport: &mut Transport) -> Option<Option<Chunk>> {
    let mut chunk = Chunk::new();
    let read = async {
        loop {
            let n = poll_fn(|cx| transport.poll_fill(cx, &mut chunk))
                .await
                .ok()
                .filter(|n| *n > 0)?;
            let _ = n;
            let common = chunk.len().min(PREFACE.len());
            if common == PREFACE.len() || chunk.data()[..common] != PREFACE[..common] {
                return Some(());
            }
        }
    };
    worker
        .timers
        .while_idle(worker.settings.idle_timeout, read)
        .await
        .ok()??;
    Some(Some(chunk))
}
