//! What the gateway proves itself with to an upstream, beside a certificate: a name and a password, or an access
//! token of an OAuth provider (`upstream_auth`, `upstream.authentication`).
//!
//! Invariants:
//! - There is one credential at most, in one header field.
//! - A credential that is switched on and cannot be used is an error; it is never left out.

use crate::api::Protection;
use crate::authentication::header_name;
use crate::facts::Facts;
use crate::jwt::is_url;
use crate::reader::Node;
use crate::session::SecretText;

/// What is shown to an upstream in a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAuth {
    /// Name of the field, lower case. What clients send under it ends at the gateway.
    pub header: String,
    /// What it says.
    pub credential: UpstreamCredential,
}

/// A credential for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamCredential {
    /// Name and password (RFC 7617).
    Basic {
        /// Name.
        user: String,
        /// Password.
        password: SecretText,
    },
    /// An access token (RFC 6750).
    Token(Box<TokenRequest>),
}

/// How an access token is had (RFC 6749, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Where: `http` or `https`; it may hold a password.
    pub url: SecretText,
    /// What the gateway is called there.
    pub client_id: String,
    /// How it proves that; empty where its certificate does (RFC 8705, section 2).
    pub client_secret: SecretText,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// On whose behalf.
    pub grant: TokenGrant,
}

/// On whose behalf a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenGrant {
    /// The gateway's own (RFC 6749, section 4.4).
    ClientCredentials,
    /// Somebody's whose password is known (RFC 6749, section 4.3).
    Password {
        /// Name.
        user: String,
        /// Password.
        password: SecretText,
    },
}

/// What the two formats call the same.
struct Names {
    basic: &'static str,
    allowed: &'static str,
    client_credentials: &'static str,
    client_id: &'static str,
    client_secret: &'static str,
    token_url: &'static str,
    extra: &'static str,
    /// Whether a part that is written down is switched on.
    on: fn(&Node<'_, '_>) -> bool,
}

static CLASSIC: Names = Names {
    basic: "basic_auth",
    allowed: "allowed_authorize_types",
    client_credentials: "client_credentials",
    client_id: "client_id",
    client_secret: "client_secret",
    token_url: "token_url",
    extra: "extra_metadata",
    on: |node| node.is_enabled(),
};

static OAS: Names = Names {
    basic: "basicAuth",
    allowed: "allowedAuthorizeTypes",
    client_credentials: "clientCredentials",
    client_id: "clientId",
    client_secret: "clientSecret",
    token_url: "tokenUrl",
    extra: "extraMetadata",
    on: |node| node.is_not_disabled(),
};

/// Reads `upstream_auth` of a Classic definition, and whether requests are to be signed.
pub(crate) fn classic(root: &Node<'_, '_>, facts: &mut Facts) -> Option<UpstreamAuth> {
    let signed = root.at("request_signing").at("is_enabled").bool();
    facts.protect(signed, Protection::UpstreamCredentials);
    read(&root.at("upstream_auth"), &CLASSIC, facts)
}

/// Reads `upstream.authentication` of an OAS definition.
pub(crate) fn oas(upstream: &Node<'_, '_>, facts: &mut Facts) -> Option<UpstreamAuth> {
    let node = upstream.at("authentication");
    let signed = node.at("requestSigning").is_not_disabled();
    facts.protect(signed, Protection::UpstreamCredentials);
    read(&node, &OAS, facts)
}

fn read(node: &Node<'_, '_>, names: &'static Names, facts: &mut Facts) -> Option<UpstreamAuth> {
    if !(names.on)(node) {
        return None;
    }
    let (basic, oauth) = (node.at(names.basic), node.at("oauth"));
    match ((names.on)(&basic), (names.on)(&oauth)) {
        (true, true) => {
            node.error(
                "basic authentication and OAuth are switched on both",
                "one of them",
                "",
            );
            None
        }
        (true, false) => self::basic(&basic),
        (false, true) => token(&oauth, names, facts),
        (false, false) => None,
    }
}

fn basic(node: &Node<'_, '_>) -> Option<UpstreamAuth> {
    let user = node.at("username");
    if user.string().is_empty() || user.string().contains(':') {
        user.error(
            "no name that can be sent to the upstream",
            "a name without a colon (RFC 7617, section 2)",
            "",
        );
        return None;
    }
    Some(UpstreamAuth {
        header: header(&node.at("header")),
        credential: UpstreamCredential::Basic {
            user: user.string().to_owned(),
            password: SecretText::new(node.at("password").string()),
        },
    })
}

fn token(node: &Node<'_, '_>, names: &'static Names, facts: &mut Facts) -> Option<UpstreamAuth> {
    let allowed = node.at(names.allowed);
    let types = allowed.strings();
    let (grant, by_password) = match types.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["clientCredentials"] => (node.at(names.client_credentials), false),
        ["password"] => (node.at("password"), true),
        _ => {
            allowed.error(
                "it does not say which one way a token is had",
                "[\"clientCredentials\"] or [\"password\"]",
                "",
            );
            return None;
        }
    };
    let url = grant.at(names.token_url);
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
        url.warn("secrets and tokens travel in clear text: use https://");
    }
    let text = |name| grant.at(name).string().to_owned();
    facts.extra(
        !grant.at(names.extra).is_empty(),
        "metadata of upstream tokens (extraMetadata)",
    );
    Some(UpstreamAuth {
        header: header(&grant.at("header")),
        credential: UpstreamCredential::Token(Box::new(TokenRequest {
            url: SecretText::new(url.string()),
            client_id: text(names.client_id),
            client_secret: SecretText::new(text(names.client_secret)),
            scopes: grant.at("scopes").strings(),
            grant: match by_password {
                false => TokenGrant::ClientCredentials,
                true => TokenGrant::Password {
                    user: text("username"),
                    password: SecretText::new(text("password")),
                },
            },
        })),
    })
}

/// Fields that frame or route a request, or that the gateway writes itself; a credential in one of them would break
/// it, or be taken for what the gateway says of the client.
const RESERVED: [&str; 18] = [
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// The field a credential stands in: as in Tyk a name counts where `enabled` says so.
fn header(node: &Node<'_, '_>) -> String {
    let name = node.at("name");
    if !node.is_enabled() {
        if !name.is_empty() {
            name.warn("has no effect without `enabled: true` beside it");
        }
        return header_name(&name, "");
    }
    let header = header_name(&name, name.string());
    // Many an upstream does not tell an underscore from a hyphen.
    if RESERVED.contains(&header.replace('_', "-").as_str()) {
        name.error(
            format!("{header:?} frames or routes a request, or is written by the gateway itself"),
            "the name of a field for credentials, such as Authorization or X-Token",
            "",
        );
    }
    header
}
