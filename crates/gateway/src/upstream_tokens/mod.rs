//! Access tokens that the gateway shows its upstreams (RFC 6749, section 4.4 and 4.3): fetched when one is needed,
//! kept until shortly before they end, and renewed off the way of requests.
//!
//! ```text
//! TokenSource   the tokens of one API; outlives snapshots
//! TokenLink     how a worker comes by one: at once where it is at hand, else after asking the control side
//! request       one call of a token endpoint, and what its answer means
//! pace          when to ask again after it went wrong
//! ```
//!
//! Invariants:
//! - Token endpoints are called by the client of `external_services.oauth`; what that service asks for is never
//!   left out.
//! - One call for one API at a time, and none before its [`Pace`] lets it; nothing is begun meanwhile either.
//! - A token is not used past its time. Without one there is an error, and nothing is sent anywhere.
//! - What an upstream says of a token brings its renewal forward and takes nothing away: any client may have it
//!   say so.
//! - A worker takes no lock and waits for no network; it hands the question over and goes on.
//! - No token and no secret is logged, and of a URL its host alone.

mod pace;
mod request;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::{HeaderValue, Uri};
use portcullis_apidef::{TokenGrant, TokenRequest};
use tokio::{runtime::Handle, sync::Mutex};

use self::pace::Pace;
use crate::services::{Client, Target};

/// How long a token is used whose answer does not say how long it may be.
const LIFETIME: Duration = Duration::from_secs(300);

/// How long before its end a token is not used any more, at most: it has to arrive in time.
const MARGIN: Duration = Duration::from_secs(10);

/// A token younger than this that an upstream does not take is not renewed for it: a new one would fare no
/// better.
const YOUNG: Duration = Duration::from_secs(10);

/// The tokens of one API.
pub struct TokenSource {
    api: String,
    request: TokenRequest,
    /// Its endpoint, as it may be shown.
    place: String,
    held: ArcSwapOption<Token>,
    /// Somebody is about to renew it.
    renewing: AtomicBool,
    /// When its time began.
    epoch: Instant,
    /// Before then there is no point in asking, in milliseconds.
    next_try: AtomicU64,
    /// Held by whoever asks for a token.
    asking: Mutex<Asking>,
}

/// A token.
#[derive(Clone)]
pub struct Token {
    /// What is said of it in a field.
    pub field: HeaderValue,
    asked_at: Instant,
    renew_at: Instant,
    until: Instant,
}

/// How asking went so far.
#[derive(Default)]
struct Asking {
    pace: Pace,
    /// The endpoint takes the client's name and secret in the body only.
    in_body: bool,
}

/// A worker's way to tokens.
pub struct TokenLink {
    client: Client,
    runtime: Handle,
}

/// A token is being renewed for as long as this lives.
struct Renewing(Arc<TokenSource>);

impl TokenSource {
    /// Knows no token yet.
    pub fn new(api: &str, request: &TokenRequest) -> Self {
        Self {
            api: api.to_owned(),
            request: request.clone(),
            place: place(request),
            held: ArcSwapOption::empty(),
            renewing: AtomicBool::new(false),
            epoch: Instant::now(),
            next_try: AtomicU64::new(0),
            asking: Mutex::default(),
        }
    }

    /// The token that can be used now.
    fn at_hand(&self, now: Instant) -> Option<Arc<Token>> {
        self.held.load_full().filter(|token| now < token.until)
    }

    /// Whether it is time to renew a token, and not in vain.
    fn is_due(&self, token: &Token, now: Instant) -> bool {
        now >= token.renew_at && self.millis(now) >= self.next_try.load(Ordering::Acquire)
    }

    /// An upstream did not take a token. Perhaps it was revoked, perhaps a client is to blame: it is renewed soon
    /// and used until then.
    pub fn doubt(&self, token: &Arc<Token>) {
        let now = Instant::now();
        if now < token.asked_at + YOUNG || now >= token.renew_at {
            return;
        }
        let doubted = Token {
            renew_at: now,
            ..Token::clone(token)
        };
        // One that was fetched meanwhile stays.
        self.held
            .compare_and_swap(&Some(token.clone()), Some(Arc::new(doubted)));
    }

    /// What there is to say when there is no token.
    pub fn told(&self, why: &str) -> Arc<str> {
        format!("{}: {why}", self.place).into()
    }

    /// A token that is not about to end, or the best there is.
    async fn obtain(&self, client: &Client) -> Result<Arc<Token>, Arc<str>> {
        let mut asking = self.asking.lock().await;
        let now = Instant::now();
        let held = self.at_hand(now);
        if let Some(token) = held.as_ref().filter(|token| now < token.renew_at) {
            // Somebody else has asked meanwhile.
            return Ok(token.clone());
        }
        if let Some(why) = asking.pace.bars(now) {
            return held.ok_or_else(|| self.told(&why));
        }
        let denial = match request::ask(client, &self.request, &mut asking.in_body).await {
            Ok(granted) => {
                let token = Arc::new(Token::of(granted, now));
                asking.pace = Pace::default();
                self.held.store(Some(token.clone()));
                return Ok(token);
            }
            Err(denial) => denial,
        };
        let now = Instant::now();
        let why = denial.why.clone();
        let again = asking.pace.went_wrong(denial, now);
        self.next_try.store(self.millis(again), Ordering::Release);
        // Time has passed, and its time may be over.
        let Some(token) = self.at_hand(now) else {
            return Err(self.told(&why));
        };
        tracing::warn!(
            api_id = self.api,
            "the token for the upstream is due and cannot be renewed; it is used until it ends: {}",
            self.told(&why)
        );
        Ok(token)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Which setting names a token endpoint, and its host.
fn place(request: &TokenRequest) -> String {
    let grant = match request.grant {
        TokenGrant::ClientCredentials => "client_credentials",
        TokenGrant::Password { .. } => "password",
    };
    let uri: Option<Uri> = request.url.reveal().parse().ok();
    let target = uri.as_ref().and_then(Target::of);
    let host = target.map_or_else(|| "?".to_owned(), |target| target.place());
    format!("upstream_auth.oauth.{grant}.token_url ({host})")
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

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.renewing.store(false, Ordering::Release);
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
        if source.is_due(&token, now) && !source.renewing.swap(true, Ordering::AcqRel) {
            let (client, renewing) = (self.client.clone(), Renewing(source.clone()));
            self.runtime.spawn(async move {
                // What came of it is told by whoever asked.
                let _ = renewing.0.obtain(&client).await;
            });
        }
        Some(token)
    }

    /// A token, asked for where it has to be.
    ///
    /// # Errors
    /// A text that says why there is none.
    pub async fn obtain(&self, source: &Arc<TokenSource>) -> Result<Arc<Token>, Arc<str>> {
        let (client, asked) = (self.client.clone(), source.clone());
        let asking = self
            .runtime
            .spawn(async move { asked.obtain(&client).await });
        asking.await.unwrap_or_else(|_| {
            Err(source.told("asking for a token failed by a defect of the gateway"))
        })
    }
}
