//! How callers of an OAS API say who they are, and how often they may call.
//!
//! The extension switches schemes on; of the OpenAPI part only their declaration is read: the kind of
//! a scheme, and where a token stands.

use super::jwt::jwt;
use crate::api::{AuthMethod, Protection};
use crate::authentication::{
    Authentication, Basic, Bearer, Limits, Methods, Places, SessionLifetime, header_name,
    password_memory, rate,
};
use crate::duration;
use crate::facts::Facts;
use crate::oauth::ExternalOauth;
use crate::reader::Node;

/// Reads the methods; those that this build lacks end in `facts` as protections.
pub(crate) fn authentication(
    root: &Node<'_, '_>,
    server: &Node<'_, '_>,
    facts: &mut Facts,
) -> Authentication {
    let authentication = server.at("authentication");
    if !authentication.is_not_disabled() {
        if !root.at("security").is_empty() && !authentication.is_present() {
            root.at("security").warn(
                "describes authentication but nothing enforces it: \
                 x-tyk-api-gateway.server.authentication is absent",
            );
        }
        return Authentication::Keyless;
    }
    let mut tokens = Vec::new();
    let mut basics = Vec::new();
    let mut bearers = Vec::new();
    let mut others = Vec::new();
    let own = [
        ("hmac", AuthMethod::Hmac),
        ("oidc", AuthMethod::OpenId),
        ("custom", AuthMethod::Custom),
        ("jwt", AuthMethod::Jwt),
        ("basic", AuthMethod::Basic),
        ("oauth", AuthMethod::OAuth),
        ("oauth2", AuthMethod::OAuth),
        ("externalOAuth", AuthMethod::OAuth),
        ("token", AuthMethod::Token),
    ];
    let nothing = root.at("no such member");
    for (name, method) in own {
        let node = authentication.at(name);
        if node.is_not_disabled() {
            match method {
                AuthMethod::Token => tokens.push(token(&node, &nothing, facts)),
                AuthMethod::Basic => basics.push(basic(&node, facts)),
                AuthMethod::Jwt => bearers.push(signed(&node, &nothing)),
                AuthMethod::OAuth if name == "externalOAuth" => {
                    bearers.push(external(&node, &nothing));
                }
                other => others.push(other),
            }
        }
    }
    let certificates = authentication.at("certificateAuth");
    // Present, it decides alone, even when it says no.
    let mut by_certificate = certificates.is_not_disabled();
    let components = root.at("components");
    let declarations = components.at("securitySchemes");
    for (name, scheme) in authentication.at("securitySchemes").members() {
        let legacy = scheme.at("enableClientCertificate").bool();
        by_certificate |= legacy && !certificates.is_present();
        if scheme.is_not_disabled() {
            let declared = declarations.at(name);
            match scheme_method(&declared, &scheme) {
                AuthMethod::Token => tokens.push(token(&scheme, &declared, facts)),
                AuthMethod::Basic => basics.push(basic(&scheme, facts)),
                AuthMethod::Jwt => bearers.push(signed(&scheme, &declared)),
                // Without providers the gateway itself is to be the provider.
                AuthMethod::OAuth if scheme.at("providers").is_present() => {
                    bearers.push(external(&scheme, &declared));
                }
                other => others.push(other),
            }
        }
    }
    let count = tokens.len() + basics.len() + bearers.len() + others.len();
    if count == 0 {
        tokens.push(token(&nothing, &nothing, facts));
    }
    // One document may describe alternatives; only "all of them" is enforced here.
    let mode = authentication.at("securityProcessingMode");
    let alternatives = match mode.string() {
        "" | "legacy" => false,
        "compliant" => count > 1,
        other => {
            mode.error(format!("unknown mode {other:?}"), "legacy or compliant", "");
            true
        }
    };
    facts.protect(
        alternatives || tokens.len() > 1 || basics.len() > 1 || bearers.len() > 1,
        Protection::AuthenticationModes,
    );
    for method in others {
        facts.authenticate(true, method);
    }
    // Certificates are a part of the token method: beside others alone nobody would look at them.
    facts.authenticate(by_certificate && tokens.is_empty(), AuthMethod::Certificate);
    let mut methods = Methods {
        token: tokens.pop(),
        certificate: by_certificate,
        basic: basics.pop(),
        bearer: bearers.pop().flatten(),
        strip: authentication.at("stripAuthorizationData").bool(),
        ..Methods::default()
    };
    methods.identify(&authentication.at("baseIdentityProvider"));
    Authentication::Required(methods)
}

/// How often the API may be called.
pub(crate) fn limits(extension: &Node<'_, '_>) -> Limits {
    let upstream = extension.at("upstream");
    let limit = upstream.at("rateLimit");
    let global = extension.at("middleware");
    let global = global.at("global");
    Limits {
        rate: limit.is_not_disabled().then(|| strictest(&limit)).flatten(),
        ignore_key_rates: global.at("skipRateLimit").bool(),
        ignore_key_quotas: global.at("skipQuota").bool(),
    }
}

/// How long sessions are stored.
pub(crate) fn session_lifetime(extension: &Node<'_, '_>) -> SessionLifetime {
    let server = extension.at("server");
    let authentication = server.at("authentication");
    let lifetime = authentication.at("customKeyLifetime");
    if !lifetime.is_enabled() {
        return SessionLifetime::default();
    }
    let span = duration::duration(&lifetime.at("value")).unwrap_or_default();
    SessionLifetime {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        respects_key_expiration: lifetime.at("respectValidity").bool(),
    }
}

/// A limit that is on without saying how much is the strictest, so that it is not lost.
fn strictest(limit: &Node<'_, '_>) -> Option<crate::authentication::Rate> {
    let requests = match limit.at("rate").number() {
        0.0 => 1.0,
        requests => requests,
    };
    let per = limit.at("per");
    let per = match per.value() {
        None => 1.0,
        Some(_) => duration::duration(&per).map_or(0.0, |span| span.as_secs_f64()),
    };
    rate(limit, requests, per)
}

fn token(scheme: &Node<'_, '_>, declared: &Node<'_, '_>, facts: &mut Facts) -> Places {
    facts.authenticate(
        scheme.at("signatureValidation").is_not_disabled(),
        AuthMethod::Hmac,
    );
    places(scheme, declared)
}

fn signed(scheme: &Node<'_, '_>, declared: &Node<'_, '_>) -> Option<Bearer> {
    let jwt = jwt(scheme, places(scheme, declared));
    Some(Bearer::Jwt(Box::new(jwt)))
}

/// `None` where it is complained about.
fn external(scheme: &Node<'_, '_>, declared: &Node<'_, '_>) -> Option<Bearer> {
    let oauth = ExternalOauth::oas(scheme, places(scheme, declared))?;
    Some(Bearer::Oauth(Box::new(oauth)))
}

/// Where a token stands, by the scheme and its declaration.
fn places(scheme: &Node<'_, '_>, declared: &Node<'_, '_>) -> Places {
    let (place, name) = (declared.at("in"), declared.at("name"));
    let named = |member: &'static str, here: bool| {
        let node = scheme.at(member);
        let own = node.at("name").string();
        match (here, own) {
            (true, _) if !name.string().is_empty() => Some(name.string().to_owned()),
            (_, own) if (here || node.is_enabled()) && !own.is_empty() => Some(own.to_owned()),
            (false, "") if node.is_enabled() => {
                node.error("switched on without a name", "a name", "");
                None
            }
            _ => None,
        }
    };
    let (query, cookie) = match place.string() {
        "query" => (named("query", true), named("cookie", false)),
        "cookie" => (named("query", false), named("cookie", true)),
        _ => (named("query", false), named("cookie", false)),
    };
    let elsewhere = matches!(place.string(), "query" | "cookie");
    let header = scheme.at("header");
    let wanted = match (header.is_present(), elsewhere) {
        (true, _) => header.at("enabled").bool_or(true),
        (false, elsewhere) => !elsewhere,
    };
    let header = wanted.then(|| match (elsewhere, name.string()) {
        (false, declared) if !declared.is_empty() => header_name(&name, declared),
        _ => header_name(&header.at("name"), header.at("name").string()),
    });
    Places {
        header,
        query,
        cookie,
    }
}

fn basic(scheme: &Node<'_, '_>, facts: &mut Facts) -> Basic {
    facts.authenticate(
        scheme.at("extractCredentialsFromBody").is_enabled(),
        AuthMethod::BasicInBody,
    );
    let header = scheme.at("header");
    let name = header.at("name");
    Basic {
        header: header_name(&name, name.string()),
        memory: password_memory(scheme.at("disableCaching").bool(), &scheme.at("cacheTTL")),
    }
}

fn scheme_method(declared: &Node<'_, '_>, scheme: &Node<'_, '_>) -> AuthMethod {
    match (declared.at("type").string(), declared.at("scheme").string()) {
        ("http", kind) if kind.eq_ignore_ascii_case("basic") => AuthMethod::Basic,
        ("http", _) => AuthMethod::Jwt,
        ("oauth2", _) => AuthMethod::OAuth,
        ("openIdConnect", _) => AuthMethod::OpenId,
        ("apiKey", _) => AuthMethod::Token,
        // Not declared: its own members tell.
        _ if scheme.at("signingMethod").is_present() || scheme.at("jwksURIs").is_present() => {
            AuthMethod::Jwt
        }
        _ if scheme.at("allowedAuthorizeTypes").is_present()
            || scheme.at("providers").is_present() =>
        {
            AuthMethod::OAuth
        }
        _ => AuthMethod::Token,
    }
}
