//! A raw TCP or TLS service: bytes relayed to its upstream, once its allow list lets the client pass.

use std::rc::Rc;

use portcullis_tls::buffer::Chunk;

use crate::{
    clients::{self, Client},
    proxy::{pool, tunnel},
    snapshot::Service,
    transport::Transport,
    worker::Worker,
};

/// Relays a connection to the service that its port and server name choose.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    mut transport: Transport,
    port: u16,
    server_name: Option<&str>,
    client: Option<Client>,
) {
    let held = worker.snapshot();
    let Some(Service::Tcp { table, apis }) =
        held.snapshot.ports.get(&port).map(|port| &*port.service)
    else {
        return;
    };
    let api = table
        .pick(server_name)
        .and_then(|route| apis.get(route.api_id()))
        .cloned();
    drop(held);
    let Some(api) = api else {
        tracing::info!(port, server_name, "no TCP service for this connection");
        return;
    };
    let encrypted = matches!(transport, Transport::Tls(_));
    if let Some(list) = &api.clients
        && let Err(barred) = clients::admit(list, encrypted, client.as_ref())
    {
        tracing::info!(prefix = "access", port, api_id = %api.api.id, "connection refused: {barred}");
        return;
    }
    let endpoint = &api.endpoints[worker.next_turn() % api.endpoints.len()];
    let mut upstream = match pool::dial(endpoint, &worker.timers).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::error!(api_id = %api.api.id, %error, "TCP service cannot reach its upstream");
            return;
        }
    };
    match tunnel::relay(&mut transport, Chunk::new(), &mut upstream, Chunk::new()).await {
        Ok(moved) => {
            tracing::debug!(api_id = %api.api.id, up = moved.up, down = moved.down, "TCP connection ended");
        }
        Err(error) => tracing::debug!(api_id = %api.api.id, %error, "TCP connection failed"),
    }
}
