//! The way from a worker to the Control API, which runs on another runtime.
//!
//! A worker hands a whole request over and waits for the whole response without being blocked.

use std::sync::Arc;

use bytes::Bytes;

use crate::control::{ControlApi, ControlRequest};

/// Largest Control API request body in bytes.
pub const MAX_CONTROL_BODY: u64 = 32 * 1024 * 1024;

/// Reaches the Control API from any thread.
#[derive(Clone)]
pub struct ControlLink {
    api: Arc<ControlApi>,
    runtime: tokio::runtime::Handle,
}

impl ControlLink {
    /// A link to `api`, whose work runs on `runtime`.
    pub fn new(api: Arc<ControlApi>, runtime: tokio::runtime::Handle) -> Self {
        Self { api, runtime }
    }

    /// True when the Control API answers this path.
    pub fn owns(&self, path: &str) -> bool {
        self.api.owns(path)
    }

    /// The Control API's answer; 500 when answering panicked, which the log then holds.
    pub async fn ask(&self, request: ControlRequest) -> http::Response<Bytes> {
        let api = self.api.clone();
        match self
            .runtime
            .spawn(async move { api.handle(request).await })
            .await
        {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(%error, "the control API failed to answer");
                let mut response =
                    http::Response::new(Bytes::from_static(b"Internal Server Error\n"));
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}
