//! How key sets are fetched: one GET by the client of `external_services.oauth`, with its proxies, its
//! certificates and its limits (outbound sheet 8).
//!
//! Invariants:
//! - What that service asks for is never left out: when it cannot be had, nothing is fetched.
//! - Redirections are not followed.

use bytes::Bytes;
use http::{Request, StatusCode, header::ACCEPT};

use crate::services::Client;

/// Most bytes of a key set.
const MOST: usize = 1 << 20;

/// Fetches key sets.
pub struct Fetcher(Client);

impl Fetcher {
    /// By this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// What is published at a URL.
    ///
    /// # Errors
    /// A text that says why it cannot be had.
    pub async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        let request = Request::get(url)
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|_| "it is no URL that can be called".to_owned())?;
        let answer = self.0.call(request).await.map_err(|why| why.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answers {}", answer.status.as_u16()));
        }
        match answer.body.len() > MOST {
            true => Err(format!("it is larger than {MOST} bytes")),
            false => Ok(answer.body),
        }
    }
}
