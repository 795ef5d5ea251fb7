//! How callers of a Classic API say who they are, and how often they may call.

use super::access::is_keyless;
use super::jwt::jwt;
use crate::api::{AuthMethod, Protection};
use crate::authentication::{
    Authentication, Basic, Bearer, DEFAULT_HEADER, Limits, Methods, Places, SessionLifetime,
    header_name, password_memory, rate,
};
use crate::facts::Facts;
use crate::oauth::ExternalOauth;
use crate::reader::Node;

/// Reads the methods; those that this build lacks end in `facts` as protections.
pub(crate) fn authentication(root: &Node<'_, '_>, facts: &mut Facts) -> Authentication {
    let named = |names: &[&'static str]| names.iter().any(|n| root.at(n).bool());
    let auth = root.at("auth");
    let configs = root.at("auth_configs");
    let own = configs.at("authToken");
    let certificates = [&auth, &own].map(uses_certificate).contains(&true);
    let custom = root.at("custom_middleware");
    let plugin = custom.at("auth_check");
    let token = root.at("use_standard_auth").bool();
    let basic = root.at("use_basic_auth").bool();
    let by_jwt = root.at("enable_jwt").bool();
    let external = root.at("external_oauth");
    let by_oauth = external.is_enabled();
    let others = [
        (
            root.at("enable_signature_checking").bool(),
            AuthMethod::Hmac,
        ),
        (root.at("use_oauth2").bool(), AuthMethod::OAuth),
        (root.at("use_openid").bool(), AuthMethod::OpenId),
        (
            named(&[
                "use_go_plugin_auth",
                "enable_coprocess_auth",
                "custom_plugin_auth_enabled",
            ]) || (!plugin.at("name").is_empty() && !plugin.at("disabled").bool()),
            AuthMethod::Custom,
        ),
    ];
    let switched_on = others.iter().filter(|(on, _)| *on).count();
    if is_keyless(root) {
        if token || basic || by_jwt || by_oauth || certificates || switched_on > 0 {
            root.at("use_keyless")
                .warn("true switches off the authentication methods this definition names");
        }
        return Authentication::Keyless;
    }
    let token = token || (!basic && !by_jwt && !by_oauth && switched_on == 0);
    let count = [token, basic, by_jwt, by_oauth]
        .map(usize::from)
        .iter()
        .sum::<usize>()
        + switched_on;
    // Certificates are a part of the token method: beside others alone nobody would look at them.
    facts.authenticate(certificates && !token, AuthMethod::Certificate);
    for (on, method) in others {
        facts.authenticate(on, method);
    }
    let groups = root.at("security_requirements").elements().count();
    // A request has one token that somebody else has issued.
    facts.protect(
        groups > 1 && count > 1 || by_jwt && by_oauth,
        Protection::AuthenticationModes,
    );
    let config = if own.is_present() { &own } else { &auth };
    if token {
        facts.authenticate(config.at("validate_signature").bool(), AuthMethod::Hmac);
    }
    let basics = configs.at("basic");
    // As with tokens, `auth` counts where `auth_configs` says nothing.
    let places_of = |name: &'static str| {
        let own = configs.at(name);
        places(if own.is_present() { &own } else { &auth })
    };
    let bearer = match (by_jwt, by_oauth) {
        (true, _) => Some(Bearer::Jwt(Box::new(jwt(root, places_of("jwt"))))),
        (false, true) => {
            let read = ExternalOauth::classic(&external, places_of("externalOAuth"));
            read.map(|oauth| Bearer::Oauth(Box::new(oauth)))
        }
        (false, false) => None,
    };
    let mut methods = Methods {
        token: token.then(|| places(config)),
        certificate: certificates,
        basic: basic.then(|| self::basic(root, &basics, facts)),
        bearer,
        strip: root.at("strip_auth_data").bool(),
        ..Methods::default()
    };
    methods.identify(&root.at("base_identity_provided_by"));
    Authentication::Required(methods)
}

/// How often the API may be called.
pub(crate) fn limits(root: &Node<'_, '_>) -> Limits {
    let limit = root.at("global_rate_limit");
    let requests = limit.at("rate").number();
    let on = requests > 0.0 && !limit.at("disabled").bool();
    let per = limit.at("per").number();
    Limits {
        rate: on.then(|| rate(&limit, requests, per)).flatten(),
        ignore_key_rates: root.at("disable_rate_limit").bool(),
        ignore_key_quotas: root.at("disable_quota").bool(),
    }
}

/// How long sessions are stored.
pub(crate) fn session_lifetime(root: &Node<'_, '_>) -> SessionLifetime {
    let seconds = root.at("session_lifetime");
    SessionLifetime {
        seconds: match seconds.is_present() {
            true => seconds.integer(i64::MIN..=i64::MAX).unwrap_or(0),
            false => 0,
        },
        respects_key_expiration: root.at("session_lifetime_respects_key_expiration").bool(),
    }
}

fn uses_certificate(config: &Node<'_, '_>) -> bool {
    ["use_certificate", "useCertificate"].map(|n| config.at(n).bool()) != [false, false]
}

fn places(config: &Node<'_, '_>) -> Places {
    let header = header(config);
    let named = |switch: &'static str, name: &'static str| {
        let name = config.at(name).string();
        let wanted = config.at(switch).bool() || !name.is_empty();
        let name = if name.is_empty() { &header } else { name };
        wanted.then(|| name.to_owned())
    };
    Places {
        query: named("use_param", "param_name"),
        cookie: named("use_cookie", "cookie_name"),
        header: Some(header.clone()).filter(|_| !config.at("disable_header").bool()),
    }
}

fn header(config: &Node<'_, '_>) -> String {
    let node = config.at("auth_header_name");
    match node.string() {
        "" => {
            let older = config.at("authHeaderName");
            header_name(&older, older.string())
        }
        name => header_name(&node, name),
    }
}

fn basic(root: &Node<'_, '_>, config: &Node<'_, '_>, facts: &mut Facts) -> Basic {
    let settings = root.at("basic_auth");
    // Only the header is read: credentials in a body would need the whole body first.
    facts.authenticate(
        settings.at("extract_from_body").bool(),
        AuthMethod::BasicInBody,
    );
    Basic {
        header: if config.is_present() {
            header(config)
        } else {
            DEFAULT_HEADER.to_owned()
        },
        memory: password_memory(
            settings.at("disable_caching").bool(),
            &settings.at("cache_ttl"),
        ),
    }
}
