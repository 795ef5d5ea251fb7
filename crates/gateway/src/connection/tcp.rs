//! A raw TCP or TLS service: bytes relayed to its upstream, once its allow list lets the client pass.

use std::{pin::pin, rc::Rc};

use portcullis_tls::buffer::Chunk;

use crate::{
    clients,
    flight::{Check, Leaf, Stage},
    proxy::{dial::dial, tunnel, view::Peer},
    snapshot::Service,
    transport::Transport,
    watch::Admission,
    worker::Worker,
};

/// Relays a connection to the service that its port and server name choose.
pub(super) async fn serve(worker: &Rc<Worker>, mut transport: Transport, port: u16, peer: Peer) {
    let held = worker.snapshot();
    let Some(Service::Tcp { table, apis }) =
        held.snapshot.ports.get(&port).map(|port| &*port.service)
    else {
        return;
    };
    let server_name = peer.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let api = table
        .pick(server_name)
        .and_then(|route| apis.get(route.api_id()))
        .cloned();
    drop(held);
    let Some(api) = api else {
        tracing::info!(port, server_name, "no TCP service for this connection");
        return;
    };
    if let Err(barred) = clients::admit_to(&api, &peer) {
        let detail = barred.detail();
        tracing::info!(prefix = "access", client = %peer.address, port, api_id = %api.api.id, "connection refused: {detail}");
        let check = Check::barred(Stage::Connection, &barred);
        worker.refused(check, peer.address, port, &detail, |entry| {
            let leaf = peer.client.as_ref().map(|client| Leaf::of(client.chain()));
            entry
                .after(peer.tls.as_ref())
                .by_api(&api.api.id)
                .presenting(leaf)
        });
        return;
    }
    let Some(place) = api.target(|| worker.next_turn()) else {
        tracing::error!(api_id = %api.api.id, "TCP service cannot reach its upstream: all hosts are down");
        return;
    };
    let endpoint = &api.endpoints[place];
    let mut upstream = match dial(endpoint, &worker.timers).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::error!(api_id = %api.api.id, %error, "TCP service cannot reach its upstream");
            return;
        }
    };
    let admission = Admission::of(&Rc::new(peer), &api, None);
    let relay = pin!(tunnel::relay(
        &mut transport,
        Chunk::new(),
        &mut upstream,
        Chunk::new()
    ));
    let Ok(relayed) = worker.watch.until_revoked(admission, relay).await else {
        return;
    };
    match relayed {
        Ok(moved) => {
            tracing::debug!(api_id = %api.api.id, up = moved.up, down = moved.down, "TCP connection ended");
        }
        Err(error) => tracing::debug!(api_id = %api.api.id, %error, "TCP connection failed"),
    }
}
