//! What workers need of the configuration on a request's way, as plain values.

use std::{num::NonZeroUsize, time::Duration};

use portcullis_config::GatewayConfig;
use portcullis_tls::buffer::CHUNK_SIZE;

use crate::http1::head::MAX_FIELDS;

/// Settings that stay the same for the life of the process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that serve connections.
    pub workers: usize,
    /// A TLS handshake or PROXY header must be complete in this time.
    pub handshake_timeout: Duration,
    /// Concurrent handshakes of one address on one worker, 0 for no bound.
    pub handshakes_per_address: u32,
    /// Largest request head in bytes.
    pub head_bytes: usize,
    /// Most fields of a request head.
    pub head_fields: usize,
    /// A request head must be complete in this time.
    pub head_timeout: Duration,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// A whole Control API request must arrive in this time.
    pub read_timeout: Duration,
    /// A body that does not move for this long ends the exchange.
    pub write_timeout: Duration,
    /// A client that still sends after its answer is read for this long.
    pub linger: Duration,
    /// Streams of an HTTP/2 connection.
    pub http2_streams: u32,
    /// Largest request body in bytes, 0 for no bound.
    pub max_request_body: u64,
    /// Connections carry one request.
    pub close_connections: bool,
    /// Upgrades to WebSocket are passed on.
    pub websockets: bool,
    /// Double slashes in paths are kept.
    pub skip_url_cleaning: bool,
    /// No `X-Generator`.
    pub hide_generator: bool,
    /// An upstream must begin its response in this time.
    pub upstream_patience: Duration,
    /// Upstream connections carry one request.
    pub upstream_close: bool,
}

impl Settings {
    /// The settings a configuration asks for on a machine with `cores`.
    pub fn of(config: &GatewayConfig, cores: NonZeroUsize) -> Self {
        let workers = config.workers.unwrap_or(cores.get());
        let limits = &config.limits;
        Self {
            workers,
            handshake_timeout: limits.handshake_timeout,
            handshakes_per_address: limits
                .max_handshakes_per_address
                .map_or(0, |most| u32::try_from(most).unwrap_or(u32::MAX)),
            head_bytes: limits.max_header_bytes.min(CHUNK_SIZE),
            head_fields: limits.max_headers.min(MAX_FIELDS),
            head_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            read_timeout: config.server.read_timeout,
            write_timeout: config.server.write_timeout,
            linger: Duration::from_secs(2),
            http2_streams: limits.max_concurrent_streams,
            max_request_body: config.server.max_request_body_size.unwrap_or(0),
            close_connections: config.listen.close_connections,
            websockets: config.server.enable_websockets,
            skip_url_cleaning: config.server.skip_url_cleaning,
            hide_generator: config.control.hide_generator_header,
            upstream_patience: config.upstream.default_timeout,
            upstream_close: config.upstream.close_connections,
        }
    }
}
