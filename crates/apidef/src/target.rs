//! Upstream URLs.
//!
//! Invariant: a [`Target`] that leaves here can be dialled: it has a scheme we speak, a host
//! and a port. Credentials written into a URL are never kept, because they would end up in
//! logs; they are not sent either, which is said in a warning.

use crate::api::{Protocol, Scheme, Target};
use crate::reader::Node;

/// Parses one upstream URL for an API that speaks `protocol`. Problems are reported at `node`.
pub(crate) fn target(node: &Node<'_, '_>, url: &str, protocol: Option<Protocol>) -> Option<Target> {
    match parse(url) {
        Ok((target, credentials)) => {
            if credentials {
                node.warn("credentials in the URL are not sent to the upstream");
            }
            let raw = matches!(protocol, Some(Protocol::Tcp | Protocol::Tls));
            if raw != matches!(target.scheme, Scheme::Tcp | Scheme::Tls) {
                let (found, accepted) = if raw {
                    (
                        "a tcp or tls API needs a raw upstream",
                        "tcp://host:port or tls://host:port",
                    )
                } else {
                    (
                        "an HTTP API needs an HTTP upstream",
                        "http, https, h2c, ws, wss or tyk URL",
                    )
                };
                node.error(found, accepted, "");
                return None;
            }
            Some(target)
        }
        Err(problem) => {
            node.error(
                format!("{problem} in {}", without_credentials(url)),
                "a URL such as http://10.0.0.1:9000/base",
                "",
            );
            None
        }
    }
}

/// Parses a URL; the flag says that it held credentials.
pub(crate) fn parse(url: &str) -> Result<(Target, bool), &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Scheme::Http,
        "https" | "wss" => Scheme::Https,
        "h2c" => Scheme::H2c,
        "tcp" => Scheme::Tcp,
        "tls" => Scheme::Tls,
        "tyk" => Scheme::Loop,
        _ => return Err("unknown scheme"),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (credentials, authority) = match authority.rsplit_once('@') {
        Some((_, host)) => (true, host),
        None => (false, authority),
    };
    let parsed: http::uri::Authority = authority.parse().map_err(|_| "no valid host")?;
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("no host");
    }
    let port_text = authority[parsed.host().len()..]
        .strip_prefix(':')
        .unwrap_or_default();
    let port = match (port_text, scheme) {
        ("", Scheme::Http | Scheme::H2c) => 80,
        ("", Scheme::Https) => 443,
        ("", Scheme::Loop) => 0,
        ("", Scheme::Tcp | Scheme::Tls) => return Err("no port"),
        (text, _) => text
            .parse()
            .ok()
            .filter(|p| *p != 0)
            .ok_or("no valid port")?,
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query).filter(|q| !q.is_empty())),
        None => (rest, None),
    };
    if rest.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return Err("a space or control character");
    }
    let target = Target {
        scheme,
        host: if scheme == Scheme::Loop {
            host.to_owned()
        } else {
            host.to_ascii_lowercase()
        },
        port,
        authority: authority.to_owned(),
        path: if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
        query: query.map(str::to_owned),
    };
    Ok((target, credentials))
}

/// The URL as it may be printed.
fn without_credentials(url: &str) -> String {
    let shown = match url.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://***@{host}"),
            None => format!("***@{host}"),
        },
        None => url.to_owned(),
    };
    format!("{:?}", shown.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(url: &str) -> Target {
        parse(url).unwrap_or_else(|e| panic!("{url}: {e}")).0
    }

    #[test]
    fn the_parts_of_a_url_are_told_apart() {
        let t = ok("https://Example.COM:8443/base/?a=b#frag");
        assert_eq!(t.scheme, Scheme::Https);
        assert_eq!((t.host.as_str(), t.port), ("example.com", 8443));
        assert_eq!(t.authority, "Example.COM:8443");
        assert_eq!(
            (t.path.as_str(), t.query.as_deref()),
            ("/base/", Some("a=b"))
        );

        let t = ok("http://[::1]:9000");
        assert_eq!(
            (t.host.as_str(), t.port, t.authority.as_str()),
            ("::1", 9000, "[::1]:9000")
        );
        assert_eq!((t.path.as_str(), t.query), ("/", None));
        assert_eq!(ok("http://h?x=1").query.as_deref(), Some("x=1"));
        assert_eq!(ok("tyk://Orders_2/x").host, "Orders_2");
        assert_eq!(ok("wss://h").port, 443);
        assert_eq!(ok("tls://h:1").scheme, Scheme::Tls);
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for url in [
            "",
            "127.0.0.1:9000",
            "ftp://h",
            "http://",
            "http:///x",
            "http://h:0",
            "http://h:x",
            "http://h:70000",
            "http://h/a b",
            "tcp://h",
            "http://a b/",
            "http://[::1",
            "http://:80",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn credentials_are_dropped_and_never_shown() {
        let (t, credentials) = parse("http://user:pa@ss@h:1/").unwrap();
        assert!(credentials);
        assert_eq!(t.authority, "h:1");
        assert_eq!(
            without_credentials("ftp://user:secret@h"),
            "\"ftp://***@h\""
        );
    }
}
