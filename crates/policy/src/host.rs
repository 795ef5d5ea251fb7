//! Host names as requests and definitions write them.
//!
//! Hosts are compared lower-cased and without a trailing dot. A port in the request is
//! ignored, unless the domain of the API mentions one.

use std::borrow::Cow;

use regex::bytes::Regex;

use crate::template::{Extent, PatternError, Piece, Template, compile};

/// A host name or SNI as it is compared: lower-cased, without port and trailing dot.
/// Brackets of an IPv6 address stay. Borrows when nothing has to change.
#[must_use]
pub fn normalize_host(host: &str) -> Cow<'_, str> {
    RequestHost::parse(host).name
}

/// The `Host` of a request in its parts.
#[derive(Debug)]
pub(crate) struct RequestHost<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) port: Option<&'a str>,
}

impl<'a> RequestHost<'a> {
    pub(crate) fn parse(host: &'a str) -> Self {
        let (name, port) = split_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Self { name, port }
    }

    /// `name:port`, or the name alone when the request had no port.
    pub(crate) fn with_port(&self) -> Cow<'_, str> {
        match self.port {
            Some(port) => Cow::Owned(format!("{}:{port}", self.name)),
            None => Cow::Borrowed(&self.name),
        }
    }
}

/// What a domain of a definition accepts.
#[derive(Debug, Clone)]
pub(crate) enum HostRule {
    /// One host, `host` or `host:port`.
    Exact { host: String, with_port: bool },
    /// Every host an expression matches. It sees the port of the request when it mentions
    /// a colon, be it for a port or in `(?:…)`.
    Pattern {
        expression: String,
        regex: Regex,
        /// The literal text every accepted host ends with, lower-cased.
        tail: String,
        with_port: bool,
    },
}

impl HostRule {
    pub(crate) fn parse(domain: &str) -> Result<Self, PatternError> {
        if !domain.contains(['{', '}']) {
            let host = RequestHost::parse(domain);
            let with_port = host.port.is_some();
            return Ok(Self::Exact {
                host: host.with_port().into_owned(),
                with_port,
            });
        }
        let mut template = Template::parse(domain)?;
        if let Some(Piece::Literal(last)) = template.pieces.last_mut()
            && last.ends_with('.')
        {
            last.pop();
        }
        let with_port = template.mentions(':');
        let tail = match template.pieces.last() {
            Some(Piece::Literal(text)) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        // Hosts arrive lower-cased, so a custom expression must not insist on capitals.
        let expression = template.expression("(?-u:[^.])+", |literal| {
            format!("(?-iu:{})", regex::escape(&literal.to_ascii_lowercase()))
        });
        let expression = format!("(?i:{expression})");
        let regex = compile(&expression, Extent::Whole)?;
        Ok(Self::Pattern {
            expression,
            regex,
            tail,
            with_port,
        })
    }

    pub(crate) fn accepts(&self, request: &RequestHost<'_>) -> bool {
        match self {
            Self::Exact {
                host,
                with_port: false,
            } => *host == request.name,
            Self::Exact {
                host,
                with_port: true,
            } => *host == request.with_port(),
            Self::Pattern {
                regex,
                with_port: false,
                ..
            } => regex.is_match(request.name.as_bytes()),
            Self::Pattern {
                regex,
                with_port: true,
                ..
            } => regex.is_match(request.with_port().as_bytes()),
        }
    }

    pub(crate) fn is_pattern(&self) -> bool {
        matches!(self, Self::Pattern { .. })
    }
}

/// Host and port. What follows the last colon is a port only when it is digits.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let start = if host.starts_with('[') {
        host.find(']').unwrap_or(0)
    } else {
        0
    };
    match host[start..].rfind(':') {
        Some(colon)
            if host[start + colon + 1..]
                .bytes()
                .all(|byte| byte.is_ascii_digit()) =>
        {
            let (name, port) = host.split_at(start + colon);
            (name, Some(&port[1..]).filter(|port| !port.is_empty()))
        }
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_lower_cased_without_port_and_trailing_dot() {
        let cases = [
            ("a.example", "a.example"),
            ("A.Example", "a.example"),
            ("a.example.", "a.example"),
            ("a.example:8443", "a.example"),
            ("A.example.:8443", "a.example"),
            ("a.example:", "a.example"),
            ("[::1]:8443", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("", ""),
        ];
        for (host, expected) in cases {
            assert_eq!(normalize_host(host), expected, "{host}");
        }
        assert!(matches!(normalize_host("a.example:8443"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_domain_accepts_the_hosts_it_names() {
        let cases = [
            ("a.example", "A.EXAMPLE.:8443", true),
            ("a.example", "b.example", false),
            ("a.example:8443", "a.example:8443", true),
            ("a.example:8443", "a.example", false),
            ("{sub}.example", "x.example", true),
            ("{sub}.example", "X.Example.:1", true),
            ("{sub}.example", "x.y.example", false),
            ("{sub}.example", "example", false),
            ("{sub:[a-z]+}.example", "abc.example", true),
            ("{sub:[a-z]+}.example", "a1.example", false),
            ("{sub:[A-Z]+}.example", "abc.example", true),
            ("{?:host1|host2}", "host2", true),
            ("{?:host1|host2}", "host2x", false),
            ("{x:(?:a|b)}.example", "a.example", true),
            ("{x:(?:a|b)}.example", "a.example:8443", false),
            ("{x:(?:a|b)}.example:8443", "a.example:8443", true),
            ("*.example", "x.example", false),
            ("a.example", "aXexample", false),
            ("{s}.a.example", "s.aXexample", false),
        ];
        for (domain, host, accepted) in cases {
            let rule = HostRule::parse(domain).expect(domain);
            assert_eq!(
                rule.accepts(&RequestHost::parse(host)),
                accepted,
                "{domain} and {host}"
            );
        }
    }
}
