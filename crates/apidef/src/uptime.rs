//! Tests of upstreams: `uptime_tests` of Classic definitions, `upstream.uptimeTests` of OAS ones.
//!
//! What a test asks is read whole or refused: one that asks something else than what is written would call an
//! upstream well that is not, or the other way round.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::api::{Scheme, Target};
use crate::duration::duration;
use crate::facts::Facts;
use crate::reader::Node;
use crate::target::parse;

/// One test, repeated for as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UptimeTest {
    /// What is asked: [`Scheme::Http`], [`Scheme::Https`], [`Scheme::Tcp`] or [`Scheme::Tls`].
    pub target: Target,
    /// For HTTP.
    pub request: TestRequest,
    /// For raw connections, in their order.
    pub steps: Vec<TestStep>,
    /// A raw connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// How long it may take; `None` for what the client of tests allows.
    pub timeout: Option<Duration>,
    /// When it is repeated after a failure; `None` for as often as ever.
    pub again: Option<Duration>,
}

/// What is asked by HTTP.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TestRequest {
    /// A token; empty for GET.
    pub method: String,
    /// Valid names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Header fields and bodies may hold tokens, so they are not shown.
impl fmt::Debug for TestRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRequest")
            .field("method", &self.method)
            .field("headers", &self.headers.len())
            .field("body", &self.body.len())
            .finish()
    }
}

/// What is said on a raw connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TestStep {
    /// These bytes are sent.
    Send(String),
    /// These bytes have to come.
    Expect(String),
}

impl UptimeTest {
    /// Where it goes, for people and receivers of events; without credentials and query.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.target.scheme {
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Http | Scheme::H2c | Scheme::Loop => "http",
        };
        let path = match self.is_raw() {
            true => "",
            false => &self.target.path,
        };
        format!("{scheme}://{}{path}", self.target.authority)
    }

    /// It is about a connection, not about a request.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        matches!(self.target.scheme, Scheme::Tcp | Scheme::Tls)
    }
}

/// The longest a test may take, and the longest until one is repeated.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The tests of a Classic definition.
pub(crate) fn classic(root: &Node<'_, '_>, facts: &mut Facts) -> Vec<UptimeTest> {
    let tests = root.at("uptime_tests");
    let config = tests.at("config");
    facts.extra(
        config
            .at("service_discovery")
            .at("use_discovery_service")
            .bool(),
        "uptime tests by service discovery",
    );
    let again = duration(&config.at("recheck_wait"));
    let list = tests.at("check_list");
    let found = list.elements().filter_map(|entry| {
        let (url, protocol) = (entry.at("url"), entry.at("protocol").string());
        // The protocol may stand apart, and counts more than what the address begins with.
        let written = match (protocol, url.string().split_once("://")) {
            ("", Some(_)) => url.string().to_owned(),
            ("", None) => format!("http://{}", url.string()),
            (protocol, Some((_, rest))) => format!("{protocol}://{rest}"),
            (protocol, None) => format!("{protocol}://{}", url.string()),
        };
        let proxy_protocol = entry.at("enable_proxy_protocol").bool();
        test(&entry, &url, &written, proxy_protocol, again)
    });
    let found: Vec<_> = found.collect();
    if tests.at("disabled").bool() {
        return Vec::new();
    }
    found
}

/// The tests of an OAS definition.
pub(crate) fn oas(upstream: &Node<'_, '_>, facts: &mut Facts) -> Vec<UptimeTest> {
    let tests = upstream.at("uptimeTests");
    let on = tests.is_enabled();
    facts.extra(
        on && tests.at("serviceDiscovery").is_enabled(),
        "uptime tests by service discovery",
    );
    let again = duration(&tests.at("hostDownRetestPeriod"));
    let list = tests.at("tests");
    let found = list.elements().filter_map(|entry| {
        let url = entry.at("url");
        let proxy_protocol = entry.at("enableProxyProtocol").bool();
        test(&entry, &url, url.string(), proxy_protocol, again)
    });
    let found: Vec<_> = found.collect();
    if on { found } else { Vec::new() }
}

fn test(
    entry: &Node<'_, '_>,
    url: &Node<'_, '_>,
    written: &str,
    proxy_protocol: bool,
    again: Option<Duration>,
) -> Option<UptimeTest> {
    let target = match parse(written) {
        Ok((target, credentials)) => {
            if credentials {
                url.warn("credentials in the URL are not sent");
            }
            Some(target)
        }
        Err(problem) => {
            url.error(
                format!("{problem}: nothing can be tested there"),
                "http://, https://, tcp:// or tls:// with a host, the last two with a port",
                "",
            );
            None
        }
    };
    let target = target.filter(|target| {
        let known = !matches!(target.scheme, Scheme::H2c | Scheme::Loop);
        if !known {
            url.error("cannot be tested", "http, https, tcp or tls", "");
        }
        known
    });
    let test = UptimeTest {
        request: request(entry),
        steps: steps(&entry.at("commands")),
        proxy_protocol,
        timeout: timeout(&entry.at("timeout")),
        // Whole seconds, as the Classic format has them.
        again: again.map(|again| Duration::from_secs_f64(again.min(LONGEST).as_secs_f64().ceil())),
        target: target?,
    };
    if test.is_raw() && test.request != TestRequest::default() {
        entry.warn("method, headers and body have no effect: a connection is tested, no request");
    }
    if !test.is_raw() && (proxy_protocol || !test.steps.is_empty()) {
        entry.warn("commands and PROXY protocol have no effect: a request is tested");
    }
    Some(test)
}

fn request(entry: &Node<'_, '_>) -> TestRequest {
    let method = entry.at("method");
    if !method.string().is_empty() && method.string().parse::<Method>().is_err() {
        method.error(
            format!("{:?} is no method", method.string()),
            "such as GET or POST",
            "",
        );
    }
    let mut headers = Vec::new();
    let fields = entry.at("headers");
    for (name, value) in fields.members() {
        let good =
            name.parse::<HeaderName>().is_ok() && value.string().parse::<HeaderValue>().is_ok();
        match good {
            true => headers.push((name.to_owned(), value.string().to_owned())),
            // It may hold a token.
            false => value.error(
                "cannot be sent as a header",
                "a header name and one line",
                "",
            ),
        }
    }
    let body = entry.at("body");
    let body = STANDARD.decode(body.string()).unwrap_or_else(|_| {
        body.error("is not base64", "the body, encoded in base64", "");
        Vec::new()
    });
    TestRequest {
        method: method.string().to_owned(),
        headers,
        body,
    }
}

fn steps(commands: &Node<'_, '_>) -> Vec<TestStep> {
    let mut steps = Vec::new();
    for command in commands.elements() {
        let message = command.at("message").string().to_owned();
        match command.at("name").string() {
            "send" => steps.push(TestStep::Send(message)),
            "expect" => steps.push(TestStep::Expect(message)),
            other => command.error(format!("unknown command {other:?}"), "send or expect", ""),
        }
    }
    steps
}

/// Text such as `100ms`. A number is milliseconds, as documented; one from a million on is nanoseconds, which is
/// how Tyk stores what its own forms write.
fn timeout(node: &Node<'_, '_>) -> Option<Duration> {
    const MILLION: u64 = 1_000_000;
    let span = match node.value()? {
        Value::Number(number) => match number.as_u64() {
            Some(millis) if millis < MILLION => Some(Duration::from_millis(millis)),
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => {
                node.error(
                    format!("{number} is no time span"),
                    "whole milliseconds, or text such as \"100ms\"",
                    "",
                );
                None
            }
        },
        _ => duration(node),
    };
    span.filter(|span| !span.is_zero())
        .map(|span| span.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Api, parse_classic, parse_oas};

    fn of_classic(tests: &Value) -> Result<Api, String> {
        let text = json!({
            "api_id": "a", "use_keyless": true, "uptime_tests": tests,
            "proxy": {"listen_path": "/a/", "target_url": "http://up.test"},
        });
        parse_classic(text.to_string().as_bytes())
            .map(|parsed| parsed.api)
            .map_err(|errors| {
                errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ")
            })
    }

    fn of_oas(tests: &Value) -> Api {
        let text = json!({
            "openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {},
            "x-tyk-api-gateway": {
                "info": {"id": "a", "name": "a", "state": {"active": true}},
                "upstream": {"url": "http://up.test", "uptimeTests": tests},
                "server": {"listenPath": {"value": "/a/"}},
            },
        });
        parse_oas(text.to_string().as_bytes()).unwrap().api
    }

    #[test]
    fn both_formats_ask_the_same() {
        let classic = of_classic(&json!({
            "config": {"recheck_wait": 2},
            "check_list": [
                {"url": "https://up.test/health?deep=1", "method": "POST", "headers": {"X-A": "b"},
                 "body": "eA==", "timeout": 100},
                {"url": "up.test:6379", "protocol": "tcp", "timeout": 2_000_000_000,
                 "enable_proxy_protocol": true,
                 "commands": [{"name": "send", "message": "PING\r\n"}, {"name": "expect", "message": "+PONG"}]},
            ],
        }))
        .unwrap();
        let [http, tcp] = &classic.uptime_tests[..] else {
            panic!("{:?}", classic.uptime_tests)
        };
        assert_eq!(http.url(), "https://up.test/health");
        assert_eq!(http.timeout, Some(Duration::from_millis(100)));
        assert_eq!(http.again, Some(Duration::from_secs(2)));
        assert_eq!((http.target.port, &*http.request.body), (443, &b"x"[..]));
        assert_eq!(tcp.url(), "tcp://up.test:6379");
        assert_eq!(tcp.timeout, Some(Duration::from_secs(2)));
        assert_eq!(
            tcp.steps,
            [
                TestStep::Send("PING\r\n".into()),
                TestStep::Expect("+PONG".into())
            ]
        );
        let oas = of_oas(&json!({
            "enabled": true, "hostDownRetestPeriod": "2s",
            "tests": [
                {"url": "https://up.test/health?deep=1", "method": "POST", "headers": {"X-A": "b"},
                 "body": "eA==", "timeout": "100ms"},
                {"url": "tcp://up.test:6379", "timeout": "2s", "enableProxyProtocol": true,
                 "commands": [{"name": "send", "message": "PING\r\n"}, {"name": "expect", "message": "+PONG"}]},
            ],
        }));
        assert_eq!(oas.uptime_tests, classic.uptime_tests);
        assert!(oas.unsupported.is_empty(), "{:?}", oas.unsupported);
    }

    #[test]
    fn tests_that_are_switched_off_are_none() {
        let tests = json!({"disabled": true, "check_list": [{"url": "http://up.test"}]});
        assert!(of_classic(&tests).unwrap().uptime_tests.is_empty());
        assert!(
            of_oas(&json!({"tests": [{"url": "http://up.test"}]}))
                .uptime_tests
                .is_empty()
        );
    }

    #[test]
    fn what_cannot_be_asked_is_an_error_with_its_place() {
        let problem = |entry: Value| of_classic(&json!({"check_list": [entry]})).unwrap_err();
        for (entry, parts) in [
            (
                json!({"url": "ftp://up.test"}),
                ["check_list[0].url", "https://"],
            ),
            (
                json!({"url": "up.test", "protocol": "tls"}),
                ["check_list[0].url", "no port"],
            ),
            (
                json!({"url": "http://up.test", "body": "%"}),
                ["check_list[0].body", "base64"],
            ),
            (
                json!({"url": "http://up.test", "timeout": -1}),
                ["check_list[0].timeout", "100ms"],
            ),
            (
                json!({"url": "http://up.test", "method": "G T"}),
                ["check_list[0].method", "POST"],
            ),
            (
                json!({"url": "tcp://up.test:1", "commands": [{"name": "shout", "message": ""}]}),
                ["check_list[0].commands[0]", "send or expect"],
            ),
        ] {
            let told = problem(entry);
            for part in parts {
                assert!(told.contains(part), "{told}");
            }
        }
        let told = problem(json!({"url": "http://up.test", "headers": {"X-Token": "a\r\nb"}}));
        assert!(
            told.contains("X-Token") && !told.contains("a\r\nb"),
            "{told}"
        );
    }
}
