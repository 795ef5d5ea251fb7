//! Access tokens that the gateway shows its upstreams (RFC 6749, section 4.4 and 4.3): fetched when one is needed,
//! kept until shortly before they end, and renewed off the way of requests.
//!
//! ```text
//! TokenSource   the tokens of one API; outlives snapshots
//! TokenLink     how a worker comes by one: at once where it is at hand, else after asking the control side
//! request       one call of a token endpoint, and what its answer means
//! ```
//!
//! Invariants:
//! - Token endpoints are called by the client of `external_services.oauth`; what that service asks for is never
//!   left out.
//! - One call for one API at a time, and none within [`PAUSE`] of one that failed.
//! - A token is not used past its time. Without one there is an error, and nothing is sent anywhere.
//! - A worker takes no lock and waits for no network; it hands the question over and goes on.
//! - No token and no secret is logged.

mod request;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use portcullis_apidef::TokenRequest;
use tokio::{runtime::Handle, sync::Mutex};

use crate::services::Client;

/// From an attempt that failed to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a token is used whose answer does not say how long it may be.
const LIFETIME: Duration = Duration::from_secs(300);

/// How long before its end a token is not used any more, at most: it has to arrive in time.
const MARGIN: Duration = Duration::from_secs(10);

/// A token younger than this that an upstream does not take is kept: a new one would fare no better.
const YOUNG: Duration = Duration::from_secs(10);

/// The tokens of one API.
pub struct TokenSource {
    api: String,
    request: TokenRequest,
    held: ArcSwapOption<Token>,
    /// Somebody is about to renew it.
    renewing: AtomicBool,
    /// Held by whoever asks for a token.
    asking: Mutex<Pace>,
}

/// A token.
pub struct Token {
    /// What is said of it in a field.
    pub field: HeaderValue,
    asked_at: Instant,
    renew_at: Instant,
    until: Instant,
}

/// How asking went so far.
#[derive(Default)]
struct Pace {
    failed: Option<(Instant, Arc<str>)>,
    /// The endpoint takes the client's name and secret in the body only.
    in_body: bool,
}

/// A worker's way to tokens.
pub struct TokenLink {
    client: Client,
    runtime: Handle,
}

impl TokenSource {
    /// Knows no token yet.
    pub fn new(api: &str, request: &TokenRequest) -> Self {
        Self {
            api: api.to_owned(),
            request: request.clone(),
            held: ArcSwapOption::empty(),
            renewing: AtomicBool::new(false),
            asking: Mutex::default(),
        }
    }

    /// The token that can be used now.
    fn at_hand(&self, now: Instant) -> Option<Arc<Token>> {
        self.held.load_full().filter(|token| now < token.until)
    }

    /// An upstream did not take a token: perhaps it was revoked.
    pub fn doubt(&self, token: &Arc<Token>) {
        let is_held = self
            .held
            .load()
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, token));
        if is_held && token.asked_at.elapsed() >= YOUNG {
            self.held.store(None);
        }
    }

    /// A token that is not about to end, or the best there is.
    async fn obtain(&self, client: &Client) -> Result<Arc<Token>, Arc<str>> {
        let mut asking = self.asking.lock().await;
        let pace = &mut *asking;
        let now = Instant::now();
        let held = self.at_hand(now);
        if let Some(token) = held.as_ref().filter(|token| now < token.renew_at) {
            // Somebody else has asked meanwhile.
            return Ok(token.clone());
        }
        let why = match &pace.failed {
            Some((at, why)) if at.elapsed() < PAUSE => why.clone(),
            _ => match request::ask(client, &self.request, &mut pace.in_body).await {
                Ok(granted) => {
                    let token = Arc::new(Token::of(granted, now));
                    pace.failed = None;
                    self.held.store(Some(token.clone()));
                    return Ok(token);
                }
                Err(why) => {
                    let why: Arc<str> = why.into();
                    pace.failed = Some((Instant::now(), why.clone()));
                    why
                }
            },
        };
        match held {
            Some(token) => {
                tracing::warn!(
                    api_id = self.api,
                    "the token for the upstream is about to end and cannot be renewed: {why}"
                );
                Ok(token)
            }
            None => Err(why),
        }
    }
}

impl Token {
    fn of(granted: request::Granted, asked_at: Instant) -> Self {
        let lifetime = granted.lifetime.unwrap_or(LIFETIME);
        Self {
            field: granted.field,
            asked_at,
            renew_at: asked_at + lifetime * 3 / 4,
            until: asked_at + lifetime - (lifetime / 10).min(MARGIN),
        }
    }
}

impl TokenLink {
    /// Tokens are asked for by `client`, on `runtime`.
    pub fn new(client: Client, runtime: Handle) -> Self {
        Self { client, runtime }
    }

    /// A token that need not be waited for. When it is about to end, it is renewed meanwhile.
    pub fn at_hand(&self, source: &Arc<TokenSource>, now: Instant) -> Option<Arc<Token>> {
        let token = source.at_hand(now)?;
        if now >= token.renew_at && !source.renewing.swap(true, Ordering::AcqRel) {
            let (client, source) = (self.client.clone(), source.clone());
            self.runtime.spawn(async move {
                // What came of it is told by whoever needs a token.
                let _ = source.obtain(&client).await;
                source.renewing.store(false, Ordering::Release);
            });
        }
        Some(token)
    }

    /// A token, asked for where it has to be.
    ///
    /// # Errors
    /// A text that says why there is none.
    pub async fn obtain(&self, source: &Arc<TokenSource>) -> Result<Arc<Token>, Arc<str>> {
        let (client, source) = (self.client.clone(), source.clone());
        let asking = self
            .runtime
            .spawn(async move { source.obtain(&client).await });
        asking
            .await
            .unwrap_or_else(|_| Err("asking for it failed by a defect of the gateway".into()))
    }
}
