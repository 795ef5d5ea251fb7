//! What the gateway proves itself with to an upstream in a header field: a name and a password, or a token.
//!
//! Invariants:
//! - A request of an API that has such a credential is sent with it or not at all.
//! - What a client sends under the same name ends here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use portcullis_apidef::{Api, UpstreamAuth, UpstreamCredential};
use portcullis_config::Secret;

use super::{failure::Outage, plan::Job};
use crate::{
    services::basic,
    upstream_tokens::{Token, TokenSource},
    worker::Worker,
};

/// The credential of an API. The same value from one snapshot to the next as long as the definition says the
/// same, so that a token outlives a reload.
pub struct Login {
    header: HeaderName,
    credential: Credential,
    auth: UpstreamAuth,
}

enum Credential {
    Fixed(HeaderValue),
    Token(Arc<TokenSource>),
}

/// The token a request was sent with.
pub struct Shown {
    source: Arc<TokenSource>,
    token: Arc<Token>,
}

impl Login {
    /// What a definition asks for.
    ///
    /// # Errors
    /// When its field has no name that a field can have.
    pub fn of(api: &Api, auth: &UpstreamAuth) -> Result<Self, String> {
        let header = HeaderName::from_bytes(auth.header.as_bytes())
            .map_err(|_| format!("{:?} is no header name", auth.header))?;
        let credential = match &auth.credential {
            UpstreamCredential::Basic { user, password } => {
                let login = Secret::new(format!("{user}:{}", password.reveal()));
                Credential::Fixed(basic(&login))
            }
            UpstreamCredential::Token(request) => {
                Credential::Token(Arc::new(TokenSource::new(&api.id, request)))
            }
        };
        Ok(Self {
            header,
            credential,
            auth: auth.clone(),
        })
    }

    /// Whether a definition asks for the same.
    pub fn is_of(&self, auth: &UpstreamAuth) -> bool {
        self.auth == *auth
    }

    /// The URL that is called for a token; it may hold a password.
    pub fn calls(&self) -> Option<&str> {
        match &self.auth.credential {
            UpstreamCredential::Token(request) => Some(request.url.reveal()),
            UpstreamCredential::Basic { .. } => None,
        }
    }

    /// The name of its field.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }
}

impl Shown {
    /// The upstream's answer to it.
    pub fn answered(&self, status: u16) {
        if status == 401 {
            self.source.doubt(&self.token);
        }
    }
}

/// Puts the credential of its API into a request; where a token has to be had first, the request waits.
///
/// # Errors
/// [`Outage`] when there is none: the request must not be sent.
pub async fn log_in(
    worker: &Worker,
    job: &mut Job,
    start: Instant,
) -> Result<Option<Shown>, Outage> {
    let api = job.api.clone();
    let Some(login) = &api.login else {
        return Ok(None);
    };
    match &login.credential {
        Credential::Fixed(value) => {
            job.show(&login.header, value);
            Ok(None)
        }
        Credential::Token(source) => {
            let token = match worker.upstream_tokens.at_hand(source, start) {
                Some(token) => token,
                // Boxed: most requests find one.
                None => Box::pin(obtained(worker, source, job.patience.total, start)).await?,
            };
            job.show(&login.header, &token.field);
            Ok(Some(Shown {
                source: source.clone(),
                token,
            }))
        }
    }
}

/// A token, within the time that the request may take as a whole.
async fn obtained(
    worker: &Worker,
    source: &Arc<TokenSource>,
    total: Option<Duration>,
    start: Instant,
) -> Result<Arc<Token>, Outage> {
    let obtaining = worker.upstream_tokens.obtain(source);
    let obtained = match total {
        None => obtaining.await,
        Some(total) => {
            let left = total.saturating_sub(start.elapsed());
            let in_time = worker.timers.within(left, obtaining).await;
            // The upstream was not even called.
            in_time.unwrap_or_else(|_| {
                Err(source.told("there was no answer in the time that the request may take"))
            })
        }
    };
    obtained.map_err(Outage::NoToken)
}

impl Job {
    /// Adds a field to the heads of the request.
    fn show(&mut self, name: &HeaderName, value: &HeaderValue) {
        if !self.head.is_empty() {
            let head = self.head.writer();
            // Before the empty line that ends it.
            head.truncate(head.len() - 2);
            for part in [
                name.as_str().as_bytes(),
                b": ",
                value.as_bytes(),
                b"\r\n\r\n",
            ] {
                head.extend_from_slice(part);
            }
        }
        if let Some(head) = &mut self.head2 {
            head.headers_mut().insert(name.clone(), value.clone());
        }
    }
}
