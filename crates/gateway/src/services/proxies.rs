//! Which proxy leads to a target: those of the service, else those of `global`, else those of the environment,
//! else none (outbound sheet 8; of the environment, sheet 6).
//!
//! Invariant: a list of hosts that are reached without a proxy belongs to the proxies it stands beside; only
//! `NO_PROXY` goes with the environment's, wherever they are used.

use std::net::IpAddr;

use portcullis_config::{ExternalProxies, ProxyAddress};

use super::bypass::{Bypass, Names};

/// The proxies of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    plain: Option<ProxyAddress>,
    secure: Option<ProxyAddress>,
    bypass: Bypass,
    /// Targets on this machine are never reached by them.
    spares_loopback: bool,
}

/// The environment's proxies, as they were when the process started.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    plain: Option<ProxyAddress>,
    secure: Option<ProxyAddress>,
    bypass: Bypass,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// With the variables given as a function.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &'static str, lower: &'static str| {
            let set = |name: &'static str| {
                let value = variable(name).filter(|value| !value.trim().is_empty());
                value.map(|value| (name, value))
            };
            set(upper).or_else(|| set(lower))
        };
        let proxy = |upper, lower| {
            let (name, value) = either(upper, lower)?;
            ProxyAddress::parse_variable(&value)
                .inspect_err(|error| {
                    tracing::warn!("the variable {name} names no proxy and is not used: {error}");
                })
                .ok()
        };
        let bypass = either("NO_PROXY", "no_proxy").map(|(_, value)| value);
        Self {
            plain: proxy("HTTP_PROXY", "http_proxy"),
            secure: proxy("HTTPS_PROXY", "https_proxy"),
            bypass: Bypass::read(&bypass.unwrap_or_default(), Names::WithThoseBelow),
        }
    }
}

impl Proxies {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of the environment.
    pub fn of_environment(environment: &Environment) -> Self {
        Self {
            plain: environment.plain.clone(),
            secure: environment.secure.clone(),
            bypass: environment.bypass.clone(),
            spares_loopback: true,
        }
    }

    /// The proxies of a service, given its block and that of all services.
    pub fn of(
        service: &ExternalProxies,
        global: &ExternalProxies,
        environment: &Environment,
    ) -> Self {
        if service.names_any {
            return Self::named(service, &service.bypass_proxy);
        }
        let bypass = match service.bypass_proxy.is_empty() {
            true if global.enabled => &global.bypass_proxy,
            _ => &service.bypass_proxy,
        };
        if global.enabled && global.names_any {
            return Self::named(global, bypass);
        }
        let mut proxies = Self::of_environment(environment);
        proxies.bypass = Bypass::read(bypass, Names::Alone).and(proxies.bypass);
        proxies
    }

    /// Those that a block names.
    fn named(block: &ExternalProxies, bypass: &str) -> Self {
        let secure = block.https_proxy.as_ref().or(block.http_proxy.as_ref());
        Self {
            plain: block.http_proxy.clone(),
            secure: secure.cloned(),
            bypass: Bypass::read(bypass, Names::Alone),
            spares_loopback: false,
        }
    }

    /// Whether one of them is spoken to by TLS.
    pub fn any_by_tls(&self) -> bool {
        let mut all = self.plain.iter().chain(&self.secure);
        all.any(|proxy| proxy.secure)
    }

    /// The proxy that leads to a target, its host without brackets.
    pub fn choose(&self, secure: bool, host: &str, port: u16) -> Option<&ProxyAddress> {
        let proxy = match secure {
            true => self.secure.as_ref(),
            false => self.plain.as_ref(),
        };
        let spared = self.spares_loopback && is_loopback(host) || self.bypass.covers(host, port);
        proxy.filter(|_| !spared)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    address.map_or_else(
        |_| host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        |address| address.is_loopback(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(http: &str, https: &str, enabled: bool, bypass: &str) -> ExternalProxies {
        ExternalProxies {
            enabled,
            http_proxy: ProxyAddress::parse(http).ok(),
            https_proxy: ProxyAddress::parse(https).ok(),
            names_any: !http.is_empty() || !https.is_empty(),
            bypass_proxy: bypass.to_owned(),
        }
    }

    fn environment() -> Environment {
        Environment::read(|name| match name {
            "HTTP_PROXY" => Some("env-http:1".to_owned()),
            "https_proxy" => Some("http://env-https:2".to_owned()),
            "no_proxy" => Some("far.test".to_owned()),
            _ => None,
        })
    }

    /// The hosts of the proxies that lead to a plain and to a TLS target.
    fn chosen(proxies: &Proxies, host: &str) -> (String, String) {
        let name = |secure| {
            let chosen = proxies.choose(secure, host, if secure { 443 } else { 80 });
            chosen.map_or("direct".to_owned(), |proxy| proxy.host.clone())
        };
        (name(false), name(true))
    }

    fn of(service: &ExternalProxies, global: &ExternalProxies) -> (String, String) {
        chosen(&Proxies::of(service, global, &environment()), "up.test")
    }

    #[test]
    fn the_service_wins_over_global_and_global_over_the_environment() {
        let none = block("", "", false, "");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let global = block("http://g-http:1", "http://g-https:2", true, "");
        assert_eq!(of(&none, &none), pair("env-http", "env-https"));
        assert_eq!(of(&none, &global), pair("g-http", "g-https"));
        // A proxy for TLS alone leaves plain requests alone; one for plain requests serves both.
        let https = block("", "http://s-https:3", false, "");
        assert_eq!(of(&https, &global), pair("direct", "s-https"));
        let http = block("http://s-http:3", "", false, "");
        assert_eq!(of(&http, &global), pair("s-http", "s-http"));
        // Enabled without an address: those of `global` if it is enabled, else the environment's.
        let wanted = block("", "", true, "");
        assert_eq!(of(&wanted, &global), pair("g-http", "g-https"));
        let off = block("http://g-http:1", "", false, "");
        assert_eq!(of(&wanted, &off), pair("env-http", "env-https"));
        let empty = block("", "", true, "");
        assert_eq!(of(&none, &empty), pair("env-http", "env-https"));
    }

    #[test]
    fn an_address_that_is_none_means_no_proxy_and_no_other_one() {
        let broken = block("://invalid-proxy", "", true, "");
        let global = block("http://g-http:1", "", true, "");
        assert_eq!(
            of(&broken, &global),
            ("direct".to_owned(), "direct".to_owned())
        );
    }

    #[test]
    fn each_list_of_hosts_goes_with_its_proxies() {
        let global = block("http://g:1", "", true, "global.test");
        let service = block("http://s:1", "", false, "service.test");
        let none = block("", "", false, "");
        let at = |service: &ExternalProxies, global: &ExternalProxies, host: &str| {
            chosen(&Proxies::of(service, global, &environment()), host).1
        };
        assert_eq!(at(&service, &global, "service.test"), "direct");
        assert_eq!(at(&service, &global, "global.test"), "s");
        assert_eq!(at(&none, &global, "global.test"), "direct");
        assert_eq!(at(&none, &global, "far.test"), "g");
        assert_eq!(at(&none, &none, "below.far.test"), "direct");
        for here in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(at(&none, &none, here), "direct");
            assert_eq!(at(&service, &none, here), "s");
        }
    }
}
