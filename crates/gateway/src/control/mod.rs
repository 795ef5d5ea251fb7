//! The Control API (store sheet 2): requests in, responses out, no transport.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use portcullis_apidef::DefinitionFile;
use portcullis_config::GatewayConfig;

use crate::observe::Registry;

/// A request to the Control API, its body read.
#[derive(Debug, Clone)]
pub struct ControlRequest {
    /// Method.
    pub method: Method,
    /// Path as sent.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The client's address.
    pub peer: IpAddr,
    /// It came by TLS.
    pub tls: bool,
}

/// What is loaded: the definitions behind the current snapshot.
#[derive(Debug, Default)]
pub struct LoadedSet {
    /// Counts reloads that took effect; 0 before the first.
    pub generation: u64,
    /// The definition files, in load order, broken ones included.
    pub files: Arc<Vec<DefinitionFile>>,
    /// APIs that answer 503, and files that could not become an API.
    pub quarantine: Vec<QuarantineEntry>,
}

/// One entry of the quarantine list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QuarantineEntry {
    /// `api_id`, empty when the file gave none.
    pub api_id: String,
    /// The human name, empty when the file gave none.
    pub name: String,
    /// File name within `app_path`.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// How far the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// No snapshot yet.
    Starting,
    /// Serving.
    Ready,
    /// Finishing what it has.
    Draining,
}

/// What the Control API needs of the running gateway.
pub trait Runtime: Send + Sync {
    /// What is loaded.
    fn loaded(&self) -> Arc<LoadedSet>;
    /// How far the gateway is.
    fn readiness(&self) -> Readiness;
    /// Asks for a reload; it happens within `reload_interval`.
    fn request_reload(&self);
    /// Asks for a reload and waits until it is over.
    fn reload_and_wait(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The Control API.
pub struct ControlApi {
    #[expect(dead_code, reason = "the endpoints that read it are being added")]
    config: Arc<GatewayConfig>,
    runtime: Arc<dyn Runtime>,
    registry: Arc<Registry>,
}

impl ControlApi {
    /// The Control API of a gateway.
    pub fn new(config: Arc<GatewayConfig>, runtime: Arc<dyn Runtime>, registry: Arc<Registry>) -> Self {
        Self { config, runtime, registry }
    }

    /// True when the Control API answers this path.
    pub fn owns(&self, path: &str) -> bool {
        path == "/tyk" || path.starts_with("/tyk/") || matches!(path, "/hello" | "/ready" | "/livez" | "/readyz" | "/metrics")
    }

    /// Answers a request.
    pub async fn handle(&self, request: ControlRequest) -> Response<Bytes> {
        if request.path == "/metrics" {
            return Response::new(self.registry.render().into());
        }
        if request.path.starts_with("/tyk/reload") {
            self.runtime.reload_and_wait().await;
        }
        Response::new(Bytes::from_static(b"{}\n"))
    }
}
