//! What several keys, or a key and the world outside, say together.

use std::collections::BTreeMap;

use crate::key::{Kind, Status};
use crate::problem::{Origin, Problem, Severity};
use crate::proxy::ProxyAddress;
use crate::references::{References, Resolver};
use crate::secret::Secret;
use crate::settings::{Settings, default_of};
use crate::table;
use crate::value::Value;

/// Replaces references by what they stand for.
pub(crate) fn resolve_references(
    env: &BTreeMap<String, String>,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    let variables = env.clone();
    let mut resolver = Resolver::new(
        References::from_settings(settings),
        settings.base.clone(),
        move |name| variables.get(name).cloned(),
    );
    for (name, error) in resolver.missing_stores() {
        let key = format!("kv.stores.{name}");
        let message = format!("is required and {error}");
        problems.push(Problem::error(settings.origin("kv.stores"), &key, message));
    }
    certificates(&mut resolver, settings, problems);
    identity_provider_files(&mut resolver, settings, problems);
    for key in table::keys().filter(|key| key.kind == Kind::SecretOrReference) {
        let origin = settings.origin(key.path);
        let written = settings.secret(key.path);
        match resolver.setting(written.reveal()) {
            None => {}
            Some(Ok(secret)) => settings.set(key, Value::Secret(secret), origin),
            Some(Err(error)) => {
                // A key without a feature behind it is no reason not to start.
                let severity = match key.status {
                    Status::InUse => Severity::Error,
                    _ => Severity::Warning,
                };
                let reference = reference_in(written.reveal());
                let message = format!("`{reference}` {error}");
                problems.push(
                    Problem::new(severity, origin.clone(), key.path, message).accepted(
                        "a text, or one of `env://NAME` (read from TYK_SECRET_NAME), `secrets://NAME`, \
                         `file://PATH`, `vault://MOUNT/PATH.FIELD`, `consul://KEY`, `kv://STORE/PATH`",
                    ),
                );
                settings.set(key, Value::Secret(Secret::default()), origin);
            }
        }
    }
}

/// Keys whose entries name certificates.
const CERTIFICATES: [&str; 5] = [
    "http_server_options.ssl_certificates",
    "security.certificates.apis",
    "security.certificates.control_api",
    "security.certificates.dashboard_api",
    "security.certificates.mdcb_api",
];

/// The key whose members name certificates, by the host they are for.
const CERTIFICATES_BY_HOST: &str = "security.certificates.upstream";

/// Replaces references to certificates by a path or by PEM text.
fn certificates(resolver: &mut Resolver, settings: &mut Settings, problems: &mut Vec<Problem>) {
    for key in table::keys().filter(|key| CERTIFICATES.contains(&key.path)) {
        let origin = settings.origin(key.path);
        let mut list = settings.list(key.path);
        let places = list.iter_mut().enumerate();
        let places = places.map(|(at, entry)| (format!("{}[{at}]", key.path), entry));
        if certificates_at(places, resolver, &origin, problems) {
            settings.set(key, Value::List(list), origin);
        }
    }
    for key in table::keys().filter(|key| key.path == CERTIFICATES_BY_HOST) {
        let origin = settings.origin(key.path);
        let mut map = settings.map(key.path);
        let places = map.iter_mut();
        let places = places.map(|(host, entry)| (format!("{}.{host}", key.path), entry));
        if certificates_at(places, resolver, &origin, problems) {
            settings.set(key, Value::Map(map), origin);
        }
    }
}

/// Replaces references to paths of files for calls to identity providers, where they are used at all: the
/// only ones of a service that may be kept elsewhere (outbound sheet 8).
fn identity_provider_files(
    resolver: &mut Resolver,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    const BLOCK: &str = "external_services.oauth.mtls.";
    if !settings.bool("external_services.oauth.mtls.enabled") {
        return;
    }
    let files = |path: &str| {
        let name = path.strip_prefix(BLOCK);
        name.is_some_and(|name| ["cert_file", "key_file", "ca_file"].contains(&name))
    };
    for key in table::keys().filter(|key| files(key.path)) {
        let (origin, written) = (settings.origin(key.path), settings.text(key.path));
        match resolver.setting(&written) {
            None => {}
            Some(Ok(path)) => {
                settings.set(key, Value::Text(path.reveal().to_owned()), origin);
            }
            Some(Err(error)) => {
                let message = format!("`{}` {error}", reference_in(&written));
                problems.push(Problem::error(origin, key.path, message).accepted(
                    "a path, or a reference to one such as `env://NAME` or `secrets://NAME`",
                ));
            }
        }
    }
}

/// Replaces references to certificates at some places; whether there were any.
fn certificates_at<'e>(
    places: impl Iterator<Item = (String, &'e mut String)>,
    resolver: &mut Resolver,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> bool {
    let mut replaced = false;
    for (place, entry) in places {
        match resolver.certificate(entry) {
            None => {}
            Some(Ok(value)) => {
                *entry = value;
                replaced = true;
            }
            Some(Err(error)) => {
                let message = format!("`{}` {error}", reference_in(entry));
                problems.push(Problem::error(origin.clone(), &place, message).accepted(
                    "a path, PEM text, an id of the certificate store, or a reference such as \
                     `file://PATH` or `vault://MOUNT/PATH.FIELD`",
                ));
            }
        }
    }
    replaced
}

/// The part of a text that may be shown: the reference, not what stands around a token.
fn reference_in(text: &str) -> String {
    let token = text.find("$kv{").map(|start| {
        let rest = &text[start..];
        rest.find('}').map_or("$kv{", |end| &rest[..=end])
    });
    let shown = token.unwrap_or(text).chars().filter(|c| !c.is_control());
    shown.take(200).collect()
}

/// Looks at everything that no single key shows.
pub(crate) fn check(settings: &Settings, problems: &mut Vec<Problem>) {
    missing_features(settings, problems);
    empty_secret(settings, problems);
    timeouts(settings, problems);
    for service in ["oauth", "storage", "webhooks", "health", "discovery"] {
        external_mtls(settings, service, problems);
    }
    redis_versions(settings, problems);
    for service in ["oauth", "webhooks", "health", "discovery"] {
        external_versions(settings, service, problems);
    }
    external_proxies(settings, problems);
}

/// Keys that are set before their feature exists.
fn missing_features(settings: &Settings, problems: &mut Vec<Problem>) {
    let mut warned: BTreeMap<&'static str, (Origin, Vec<&'static str>)> = BTreeMap::new();
    for key in table::keys() {
        let Status::NotYet(reason) = key.status else {
            continue;
        };
        let setting = settings.setting(key.path);
        if setting.origin == Origin::Default
            || setting.value == default_of(key)
            || is_off(&setting.value)
        {
            continue;
        }
        let entry = warned
            .entry(reason)
            .or_insert_with(|| (setting.origin.clone(), Vec::new()));
        entry.1.push(key.path);
    }
    for (reason, (origin, keys)) in warned {
        let message = format!("read, but without effect yet: {reason}");
        problems.push(Problem::warning(origin, &keys.join(", "), message));
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Integer(number) => *number == 0,
        Value::Text(text) => text.is_empty(),
        Value::Secret(secret) => secret.is_empty(),
        _ => false,
    }
}

fn empty_secret(settings: &Settings, problems: &mut Vec<Problem>) {
    let already = problems.iter().any(|problem| problem.key == "secret");
    if settings.secret("secret").is_empty() && !already {
        problems.push(
            Problem::error(
                settings.origin("secret"),
                "secret",
                "is empty, which would open the Control API to everybody",
            )
            .accepted("a text of at least one character")
            .hint("choose a long random text, for example with `openssl rand -hex 16`"),
        );
    }
}

fn timeouts(settings: &Settings, problems: &mut Vec<Problem>) {
    let answer = settings.duration_or_default("http_server_options.write_timeout");
    let upstream = settings.duration_or_default("proxy_default_timeout");
    if answer <= upstream {
        let origin = match settings.origin("proxy_default_timeout") {
            Origin::Default => settings.origin("http_server_options.write_timeout"),
            origin => origin,
        };
        problems.push(
            Problem::warning(
                origin,
                "proxy_default_timeout",
                format!(
                    "lets an upstream take {} s, but a client is answered within {} s (`http_server_options.write_timeout`)",
                    upstream.as_secs_f64(),
                    answer.as_secs_f64()
                ),
            )
            .hint("make `http_server_options.write_timeout` the larger one"),
        );
    }
}

fn external_mtls(settings: &Settings, service: &str, problems: &mut Vec<Problem>) {
    let key = |name: &str| format!("external_services.{service}.mtls.{name}");
    if !settings.bool(&key("enabled")) {
        return;
    }
    let given = |name: &str| !settings.text(&key(name)).is_empty();
    let lists_authorities = !settings.list(&key("ca_cert_ids")).is_empty();
    let pair = (given("cert_file"), given("key_file"));
    let files = pair.0 || pair.1 || given("ca_file");
    let store = given("cert_id") || lists_authorities;
    let message = if files && store {
        "cannot specify both file-based and certificate store configuration"
    } else if pair.0 != pair.1 {
        "both cert_file and key_file must be specified for file-based configuration"
    } else if !files && !store && !settings.bool(&key("insecure_skip_verify")) {
        "mTLS enabled but no certificate configuration provided"
    } else {
        return;
    };
    problems.push(Problem::error(
        settings.origin(&key("enabled")),
        &format!("external_services.{service}.mtls"),
        message,
    ));
}

/// The versions spoken with a service that is called over HTTP.
fn external_versions(settings: &Settings, service: &str, problems: &mut Vec<Problem>) {
    let key = |name: &str| format!("external_services.{service}.mtls.{name}");
    let (min, max) = (key("tls_min_version"), key("tls_max_version"));
    // The names sort as the versions do, and an empty one means the default.
    let or = |text: String, default: &str| match text.is_empty() {
        true => default.to_owned(),
        false => text,
    };
    let (low, high) = (
        or(settings.text(&min), "1.2"),
        or(settings.text(&max), "1.3"),
    );
    if high.as_str() < "1.2" {
        problems.push(
            Problem::error(
                settings.origin(&max),
                &max,
                "leaves no version: TLS before 1.2 is not spoken",
            )
            .value(high)
            .accepted("`1.2` or `1.3`"),
        );
        return;
    }
    if low > high {
        problems.push(
            Problem::error(
                settings.origin(&min),
                &min,
                format!("is higher than `tls_max_version`, which is {high}; no version is left"),
            )
            .value(low),
        );
    } else if low.as_str() < "1.2" {
        problems.push(
            Problem::warning(
                settings.origin(&min),
                &min,
                "is read as 1.2: TLS before that is not spoken",
            )
            .value(low),
        );
    }
}

/// Addresses of proxies. The values are not shown: they may hold a password.
fn external_proxies(settings: &Settings, problems: &mut Vec<Problem>) {
    for block in [
        "global",
        "oauth.proxy",
        "webhooks.proxy",
        "health.proxy",
        "discovery.proxy",
    ] {
        for (name, what) in [("http_proxy", "HTTP"), ("https_proxy", "HTTPS")] {
            let key = format!("external_services.{block}.{name}");
            let written = settings.secret(&key);
            if written.is_empty() {
                continue;
            }
            let Err(error) = ProxyAddress::parse(written.reveal()) else {
                continue;
            };
            let origin = settings.origin(&key);
            let message = format!("failed to configure proxy: invalid {what} proxy URL: {error}");
            // Uptime tests that fail for their proxy would take upstreams out that are well.
            let problem = match block {
                "health.proxy" => Problem::warning(
                    origin,
                    &key,
                    format!("{message}; upstreams are tested without a proxy"),
                ),
                _ => Problem::error(origin, &key, message),
            };
            problems.push(problem.accepted(ProxyAddress::ACCEPTED));
        }
    }
}

fn redis_versions(settings: &Settings, problems: &mut Vec<Problem>) {
    for block in ["storage", "cache_storage", "analytics_storage"] {
        let min = format!("{block}.tls_min_version");
        // The names sort as the versions do, and an empty one means the default.
        let (low, high) = (
            settings.text(&min),
            settings.text(&format!("{block}.tls_max_version")),
        );
        if !low.is_empty() && !high.is_empty() && low > high {
            problems.push(
                Problem::error(
                    settings.origin(&min),
                    &min,
                    "MinVersion is higher than MaxVersion. Please specify a valid MinVersion that is lower or equal to MaxVersion",
                )
                .value(low),
            );
        }
    }
}
