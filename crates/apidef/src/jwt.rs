//! JSON Web Tokens as a definition asks for them (RFC 7519): which keys sign them, what they have to say,
//! and what follows from it for who calls.
//!
//! Invariants:
//! - What cannot be read is an error: no rule about a token is dropped.
//! - Names of claims are not empty.
//! - Where the keys are is text here; whether it is a secret, a public key, a certificate or a URL is
//!   found out where they are fetched from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::authentication::Places;
use crate::duration;
use crate::reader::Node;
use crate::session::SecretText;

/// The JWT method of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// Where the token stands.
    pub places: Places,
    /// What signs tokens.
    pub keys: JwtKeys,
    /// The family of algorithms that may sign them.
    pub method: SigningMethod,
    /// `kid` says nothing about whose token it is.
    pub skip_kid: bool,
    /// Claims that say whose token it is, the first one that is there; `sub` counts after them.
    pub identity: Vec<String>,
    /// What a token opens.
    pub policies: PolicyClaims,
    /// What its times are held to.
    pub clock: ClockRules,
    /// What it has to say beyond that.
    pub demands: ClaimDemands,
    /// `clientId`, `cid` or `client_id` name an OAuth client.
    pub maps_client_ids: bool,
    /// Handshakes ask for the certificates that tokens may be bound to. Bound tokens are held to their
    /// certificates whether they do or not.
    pub asks_for_certificates: bool,
}

/// What signs the tokens of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    /// Keys published at these places.
    Published(Vec<KeySetUrl>),
    /// What `jwt_source` says: a URL, an id of the certificate store, PEM, or Base64 of a URL, of PEM or of
    /// a secret.
    Source(SecretText),
    /// The secret of the key that a token names: each key of the store has one of its own.
    OfEachKey,
}

/// A place where keys are published as a JWK Set (RFC 7517, section 5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeySetUrl {
    /// `http` or `https`.
    pub url: String,
    /// How long its keys are used without asking again, where the definition says so.
    pub lifetime: Option<Duration>,
}

/// A family of signing algorithms (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SigningMethod {
    /// HS256, HS384, HS512.
    #[default]
    Hmac,
    /// RS256, RS384, RS512, PS256, PS384, PS512.
    Rsa,
    /// ES256, ES384, ES512.
    Ecdsa,
    /// EdDSA with Ed25519.
    Eddsa,
}

/// Which policies a token brings with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyClaims {
    /// Claims that name a policy, the first one that is there.
    pub named: Vec<String>,
    /// Claim that names a key of the store, whose first policy counts. Only without `named`.
    pub client: Option<String>,
    /// Those of tokens that name none.
    pub default: Vec<String>,
    /// Claims that hold scopes, the first one that is there.
    pub scope_claims: Vec<String>,
    /// Policies by scope.
    pub scopes: BTreeMap<String, String>,
}

/// How far clocks may be apart; `None` where a time is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRules {
    /// For `exp`.
    pub expires: Option<Duration>,
    /// For `iat`.
    pub issued: Option<Duration>,
    /// For `nbf`.
    pub not_before: Option<Duration>,
}

/// What a token has to say. An empty list demands nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimDemands {
    /// `iss` is one of these.
    pub issuers: Vec<String>,
    /// `aud` is or holds one of these.
    pub audiences: Vec<String>,
    /// Whoever the token is of is one of these.
    pub subjects: Vec<String>,
    /// `jti` is there.
    pub id: bool,
    /// Rules about any claim.
    pub rules: Vec<ClaimRule>,
}

/// A rule about one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRule {
    /// The claim; dots lead into objects.
    pub claim: String,
    /// What is demanded.
    pub test: ClaimTest,
    /// A token that fails it passes all the same, and that is logged.
    pub only_warns: bool,
}

/// What a rule demands of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimTest {
    /// It is there and not null.
    Present,
    /// It is one of these.
    Equals(Vec<Value>),
    /// As text it holds one of these, as a list one of them is an element.
    Contains(Vec<Value>),
}

impl SigningMethod {
    /// By its name in a definition; without one it is HMAC, as Tyk has it.
    pub(crate) fn read(node: &Node<'_, '_>) -> Self {
        match node.string().to_ascii_lowercase().as_str() {
            "hmac" => Self::Hmac,
            "" => {
                node.warn("no signing method is named, so tokens must be signed with HMAC");
                Self::Hmac
            }
            "rsa" => Self::Rsa,
            "ecdsa" => Self::Ecdsa,
            "eddsa" => Self::Eddsa,
            other => {
                node.error(
                    format!("unknown signing method {other:?}"),
                    "hmac, rsa, ecdsa or eddsa",
                    "",
                );
                Self::default()
            }
        }
    }
}

impl JwtKeys {
    /// The places in `urls` win over `source`.
    pub(crate) fn read(source: &Node<'_, '_>, urls: &Node<'_, '_>) -> Self {
        let mut places = Vec::new();
        for entry in urls.elements() {
            let node = entry.at("url");
            let url = node.string();
            if !is_url(url) {
                node.error(
                    format!("{url:?} is no URL of a key set"),
                    "a URL that begins with https:// or http://",
                    "",
                );
                continue;
            }
            places.push(KeySetUrl {
                url: url.to_owned(),
                lifetime: duration::duration(&entry.at("cacheTimeout")),
            });
        }
        match source.string() {
            _ if !places.is_empty() => Self::Published(places),
            "" => Self::OfEachKey,
            text => Self::Source(SecretText::new(text)),
        }
    }
}

impl ClockRules {
    /// `exp`, `iat` and `nbf` in this order: the skew of each in seconds, and whether it is switched off.
    pub(crate) fn read(skews: [Node<'_, '_>; 3], disabled: [bool; 3]) -> Self {
        let [expires, issued, not_before] = skews;
        let rule = |node: Node<'_, '_>, off: bool| {
            let seconds = match node.is_present() {
                true => node.integer(0..=i64::from(u32::MAX)).unwrap_or(0),
                false => 0,
            };
            let skew = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            Some(skew).filter(|_| !off)
        };
        Self {
            expires: rule(expires, disabled[0]),
            issued: rule(issued, disabled[1]),
            not_before: rule(not_before, disabled[2]),
        }
    }
}

/// Names of claims: a list, or the older single one.
pub(crate) fn claims(list: &Node<'_, '_>, older: &Node<'_, '_>) -> Vec<String> {
    let mut names = list.strings();
    if names.is_empty() {
        names = vec![older.string().to_owned()];
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether a text is a URL keys can be fetched from.
pub fn is_url(text: &str) -> bool {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &text[scheme.len()..])
    });
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && text.parse::<http::Uri>().is_ok()
    })
}
