//! A WebSocket server that sends every message back.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpListener, sync::oneshot};

/// A WebSocket server that runs as long as the value lives.
pub struct WebSocketEcho {
    address: SocketAddr,
    _over: oneshot::Sender<()>,
}

impl WebSocketEcho {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be asynchronous");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (over, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener) => {}
                    // An error means that the value is gone, which is what is waited for.
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            _over: over,
        }
    }

    /// Its base URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("a listening socket");
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(socket) = tokio_tungstenite::accept_async(socket).await else {
                return;
            };
            let (mut out, mut messages) = socket.split();
            while let Some(Ok(message)) = messages.next().await {
                let is_data = message.is_text() || message.is_binary();
                if is_data && out.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}
