//! Access tokens of OAuth providers as a definition asks for them (`external_oauth`, `externalOAuth`): how one is
//! judged, and what it says of who calls.
//!
//! Invariants:
//! - A provider judges in exactly one way: by its keys, or by answering for each token.
//! - What cannot be read is an error: no way of judging is dropped.

use std::time::Duration;

use crate::authentication::Places;
use crate::jwt::{ClockRules, JwtKeys, SigningMethod, is_url};
use crate::reader::Node;
use crate::session::SecretText;

/// How long an answer is remembered where a definition has answers remembered and does not say how long.
const MEMORY: Duration = Duration::from_secs(60);

/// The method of an API whose callers have an access token of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalOauth {
    /// Where the token stands.
    pub places: Places,
    /// How it is judged.
    pub judged: TokenJudge,
    /// The claim that says whose token it is; `sub` counts after it.
    pub identity: Option<String>,
    /// Handshakes ask for the certificates that tokens may be bound to. Bound tokens are held to their
    /// certificates whether they do or not.
    pub asks_for_certificates: bool,
}

/// Who says whether an access token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenJudge {
    /// A signature (RFC 9068).
    Signature(SignedTokens),
    /// Its issuer, who is asked (RFC 7662).
    Issuer(Introspection),
}

/// Access tokens that are JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTokens {
    /// What signs them. Never [`JwtKeys::OfEachKey`].
    pub keys: JwtKeys,
    /// The family of algorithms that may sign them.
    pub method: SigningMethod,
    /// What their times are held to.
    pub clock: ClockRules,
}

/// How the issuer of a token is asked about it (RFC 7662, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// `http` or `https`; it may hold a password.
    pub url: SecretText,
    /// What the gateway is called there.
    pub client_id: String,
    /// How it proves that.
    pub client_secret: SecretText,
    /// How long an answer is remembered; `None` asks at every request.
    pub memory: Option<Duration>,
}

/// What the two formats call the same.
struct Names {
    signing_method: &'static str,
    issued: &'static str,
    not_before: &'static str,
    expires: &'static str,
    identity: &'static str,
    client_id: &'static str,
    client_secret: &'static str,
}

static CLASSIC: Names = Names {
    signing_method: "signing_method",
    issued: "issued_at_validation_skew",
    not_before: "not_before_validation_skew",
    expires: "expires_at_validation_skew",
    identity: "identity_base_field",
    client_id: "client_id",
    client_secret: "client_secret",
};

static OAS: Names = Names {
    signing_method: "signingMethod",
    issued: "issuedAtValidationSkew",
    not_before: "notBeforeValidationSkew",
    expires: "expiresAtValidationSkew",
    identity: "identityBaseField",
    client_id: "clientId",
    client_secret: "clientSecret",
};

impl ExternalOauth {
    /// Reads `external_oauth` of a Classic definition; `None` where it is complained about.
    pub(crate) fn classic(node: &Node<'_, '_>, places: Places) -> Option<Self> {
        read(node, places, &CLASSIC)
    }

    /// Reads a scheme of an OAS definition; `None` where it is complained about.
    pub(crate) fn oas(scheme: &Node<'_, '_>, places: Places) -> Option<Self> {
        read(scheme, places, &OAS)
    }
}

fn read(node: &Node<'_, '_>, places: Places, names: &'static Names) -> Option<ExternalOauth> {
    let providers = node.at("providers");
    let mut listed = providers.elements();
    let Some(provider) = listed.next() else {
        providers.error(
            "no provider is named, so nobody could tell whether a token is good",
            "a list of one provider with `jwt` or `introspection`",
            "",
        );
        return None;
    };
    if listed.next().is_some() {
        providers.warn("only the first provider counts, as in Tyk");
    }
    let (signed, asked) = (provider.at("jwt"), provider.at("introspection"));
    let (judged, said) = match (signed.is_enabled(), asked.is_enabled()) {
        (true, false) => (
            TokenJudge::Signature(signature(&signed, names)?),
            signed.at(names.identity).string(),
        ),
        (false, true) => (
            TokenJudge::Issuer(introspection(&asked, names)?),
            asked.at(names.identity).string(),
        ),
        (both, _) => {
            let problem = match both {
                true => "`jwt` and `introspection` are switched on both, and only one can decide",
                false => "neither `jwt` nor `introspection` is switched on",
            };
            provider.error(problem, "one of the two with `enabled: true`", "");
            return None;
        }
    };
    Some(ExternalOauth {
        places,
        judged,
        identity: (!said.is_empty()).then(|| said.to_owned()),
        asks_for_certificates: false,
    })
}

fn signature(node: &Node<'_, '_>, names: &'static Names) -> Option<SignedTokens> {
    let source = node.at("source");
    let nothing = node.at("no such member");
    let keys = JwtKeys::read(&source, &nothing);
    if keys == JwtKeys::OfEachKey {
        source.error(
            "nothing says which keys sign tokens",
            "the URL of a key set, or Base64 of a URL, of a public key in PEM or of a secret",
            "",
        );
        return None;
    }
    Some(SignedTokens {
        keys,
        method: SigningMethod::read(&node.at(names.signing_method)),
        clock: ClockRules::read(
            [
                node.at(names.expires),
                node.at(names.issued),
                node.at(names.not_before),
            ],
            [false; 3],
        ),
    })
}

fn introspection(node: &Node<'_, '_>, names: &'static Names) -> Option<Introspection> {
    let url = node.at("url");
    if !is_url(url.string()) {
        // What stands there may hold a password.
        url.error(
            "it is no URL that can be called",
            "a URL that begins with https:// or http://",
            "",
        );
        return None;
    }
    if url
        .string()
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("http:"))
    {
        url.warn("tokens and the client's secret travel to it in clear text: use https://");
    }
    Some(Introspection {
        url: SecretText::new(url.string()),
        client_id: node.at(names.client_id).string().to_owned(),
        client_secret: SecretText::new(node.at(names.client_secret).string()),
        memory: memory(&node.at("cache")),
    })
}

fn memory(cache: &Node<'_, '_>) -> Option<Duration> {
    let timeout = cache.at("timeout");
    let seconds = match timeout.is_present() {
        true => timeout.integer(0..=i64::from(u32::MAX))?,
        false => 0,
    };
    if !cache.is_enabled() {
        return None;
    }
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
        _ => {
            timeout.warn("no time is named: an answer is remembered for 60 seconds");
            Some(MEMORY)
        }
    }
}
