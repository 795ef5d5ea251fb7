//! Who may call an API and how often, as its definition says it.
//!
//! Invariants:
//! - [`Authentication::Required`] without a method only stands beside a protection that names the
//!   method this crate does not read further; such an API is never served.
//! - Header names are lower case and valid; names of parameters and cookies are not empty.

use std::time::Duration;

use crate::jwt::Jwt;
use crate::oauth::ExternalOauth;
use crate::reader::Node;

/// Where credentials stand unless a definition says otherwise.
pub(crate) const DEFAULT_HEADER: &str = "authorization";

/// How long a password that was right is remembered unless a definition says otherwise.
const PASSWORD_MEMORY: Duration = Duration::from_secs(60);

/// Whether callers must say who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Anybody may call.
    #[default]
    Keyless,
    /// Every method named here must succeed.
    Required(Methods),
}

/// How callers say who they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Methods {
    /// A token, and where it stands.
    pub token: Option<Places>,
    /// The session is the client certificate's (Certificate Auth), a part of the token method.
    pub certificate: bool,
    /// A user name and a password.
    pub basic: Option<Basic>,
    /// A token that somebody else has issued.
    pub bearer: Option<Bearer>,
    /// Whose session counts when there are several.
    pub identity: Identity,
    /// Credentials are taken out before the request goes upstream.
    pub strip: bool,
}

/// A token that somebody else has issued, and what it is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// A JSON Web Token, which brings policies with it.
    Jwt(Box<Jwt>),
    /// An access token of an OAuth provider, which opens the API.
    Oauth(Box<ExternalOauth>),
}

/// Where a token may stand. The last place that has one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Name of a header field.
    pub header: Option<String>,
    /// Name of a query parameter.
    pub query: Option<String>,
    /// Name of a cookie.
    pub cookie: Option<String>,
}

/// Basic authentication (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basic {
    /// Name of the header field.
    pub header: String,
    /// How long a password that was right is not hashed again; `None` hashes it every time.
    pub memory: Option<Duration>,
}

/// Which method's session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// The last one that ran.
    #[default]
    Last,
    /// The token's.
    Token,
    /// The user's.
    Basic,
    /// The one of the token that somebody else has issued.
    Bearer,
    /// A method's that this definition does not switch on, so that nobody has a session.
    Nobody,
}

/// What a definition says about how often an API may be called.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// All callers together.
    pub rate: Option<Rate>,
    /// Rates of keys do not count here.
    pub ignore_key_rates: bool,
    /// Quotas of keys do not count here.
    pub ignore_key_quotas: bool,
}

/// So many requests in so many seconds; both above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests.
    pub requests: f64,
    /// Seconds.
    pub per: f64,
}

/// How long the sessions of an API's keys are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionLifetime {
    /// Seconds; 0 says nothing.
    pub seconds: i64,
    /// At least until the key expires.
    pub respects_key_expiration: bool,
}

impl Authentication {
    /// Whether a client certificate may say who calls.
    #[must_use]
    pub fn takes_certificates(&self) -> bool {
        matches!(self, Self::Required(methods) if methods.certificate)
    }

    /// Whether handshakes ask for client certificates on behalf of a method: because one says who calls, or
    /// because tokens may be bound to one.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.takes_certificates() || self.bearer().is_some_and(Bearer::asks_for_certificates)
    }

    /// Whether it can matter which client certificate comes along: it says who calls, or a token may be bound
    /// to it.
    #[must_use]
    pub fn regards_certificates(&self) -> bool {
        self.takes_certificates() || self.bearer().is_some()
    }

    /// The token that somebody else has issued, where that is one of several methods or the only one.
    #[must_use]
    pub fn bearer(&self) -> Option<&Bearer> {
        match self {
            Self::Required(methods) => methods.bearer.as_ref(),
            Self::Keyless => None,
        }
    }

    /// The JWT method, where it is one of several or the only one.
    #[must_use]
    pub fn jwt(&self) -> Option<&Jwt> {
        match self.bearer() {
            Some(Bearer::Jwt(jwt)) => Some(jwt),
            Some(Bearer::Oauth(_)) | None => None,
        }
    }
}

impl Bearer {
    /// Where the token stands.
    #[must_use]
    pub fn places(&self) -> &Places {
        match self {
            Self::Jwt(jwt) => &jwt.places,
            Self::Oauth(oauth) => &oauth.places,
        }
    }

    /// Whether handshakes ask for certificates that tokens may be bound to.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        match self {
            Self::Jwt(jwt) => jwt.asks_for_certificates,
            Self::Oauth(oauth) => oauth.asks_for_certificates,
        }
    }
}

impl Methods {
    /// Whose session counts, by the name a definition gives it.
    pub(crate) fn identify(&mut self, provider: &Node<'_, '_>) {
        self.identity = match provider.string() {
            "" => Identity::Last,
            "auth_token" if self.token.is_some() => Identity::Token,
            "basic_auth_user" if self.basic.is_some() => Identity::Basic,
            "jwt_claim" if matches!(self.bearer, Some(Bearer::Jwt(_))) => Identity::Bearer,
            "oauth_key" if matches!(self.bearer, Some(Bearer::Oauth(_))) => Identity::Bearer,
            "auth_token" | "basic_auth_user" | "hmac_key" | "jwt_claim" | "oidc_user"
            | "oauth_key" | "custom_auth" => Identity::Nobody,
            other => {
                provider.error(
                    format!("unknown identity {other:?}"),
                    "auth_token, basic_auth_user, hmac_key, jwt_claim, oidc_user, oauth_key or \
                     custom_auth",
                    "",
                );
                Identity::Nobody
            }
        };
        let any = self.token.is_some() || self.basic.is_some() || self.bearer.is_some();
        if self.identity == Identity::Nobody && any {
            provider.warn("names a method that is not switched on, so nobody has a session");
        }
    }
}

impl Default for Basic {
    fn default() -> Self {
        Self {
            header: DEFAULT_HEADER.to_owned(),
            memory: Some(PASSWORD_MEMORY),
        }
    }
}

/// How long right passwords are remembered: `ttl` in seconds, 0 for what is usual.
pub(crate) fn password_memory(disabled: bool, ttl: &Node<'_, '_>) -> Option<Duration> {
    let seconds = if ttl.is_present() {
        ttl.integer(0..=i64::from(u32::MAX))
    } else {
        Some(0)
    };
    let seconds = seconds.and_then(|s| u64::try_from(s).ok())?;
    let memory = match seconds {
        0 => PASSWORD_MEMORY,
        seconds => Duration::from_secs(seconds),
    };
    Some(memory).filter(|_| !disabled)
}

/// A header name in the form it is compared in; the default for an empty one.
pub(crate) fn header_name(node: &Node<'_, '_>, name: &str) -> String {
    if name.is_empty() {
        return DEFAULT_HEADER.to_owned();
    }
    match name.parse::<http::HeaderName>() {
        Ok(name) => name.as_str().to_owned(),
        Err(_) => {
            node.error(format!("{name:?} is no header name"), "a header name", "");
            DEFAULT_HEADER.to_owned()
        }
    }
}

/// A rate of a definition; both numbers are known to be above 0 or are complained about.
pub(crate) fn rate(node: &Node<'_, '_>, requests: f64, per: f64) -> Option<Rate> {
    if requests > 0.0 && per > 0.0 {
        return Some(Rate { requests, per });
    }
    node.error(
        format!("{requests} requests in {per} seconds is no rate"),
        "a rate and a time span above 0",
        "",
    );
    None
}
