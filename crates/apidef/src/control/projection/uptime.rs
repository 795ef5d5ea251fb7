//! Tests of upstreams as a Classic definition has them.

use serde_json::{Map, Value, json};

use super::{copy, enabled, list};
use crate::duration::seconds;

/// Projects `upstream.uptimeTests`, where there are any.
pub(super) fn project(tests: &Value, classic: &mut Map<String, Value>) {
    if tests.is_null() {
        return;
    }
    let checks: Vec<Value> = list(&tests["tests"]).iter().map(check).collect();
    let mut config = Map::new();
    for (source, target) in [
        ("hostDownRetestPeriod", "recheck_wait"),
        ("logRetentionPeriod", "expire_utime_after"),
    ] {
        let span = match &tests[source] {
            Value::Number(seconds) => seconds.as_f64(),
            other => other.as_str().and_then(seconds),
        };
        if let Some(span) = span.filter(|span| *span > 0.0) {
            // Whole, and never zero, which would mean the default.
            config.insert(target.to_owned(), (span.ceil() as i64).into());
        }
    }
    classic.insert(
        "uptime_tests".into(),
        json!({ "disabled": !enabled(tests), "check_list": checks, "config": config }),
    );
}

fn check(test: &Value) -> Value {
    let mut check = Map::new();
    copy(
        test,
        &[
            ("url", "url"),
            ("method", "method"),
            ("headers", "headers"),
            ("body", "body"),
            ("commands", "commands"),
            ("enableProxyProtocol", "enable_proxy_protocol"),
        ],
        &mut check,
    );
    let scheme = test["url"].as_str().and_then(|url| url.split_once("://"));
    if let Some((scheme, _)) = scheme {
        check.insert("protocol".into(), scheme.into());
    }
    let nanos = match &test["timeout"] {
        // As the reader has it: milliseconds, from a million on nanoseconds.
        Value::Number(number) => number.as_f64().map(|n| if n < 1e6 { n * 1e6 } else { n }),
        other => other.as_str().and_then(seconds).map(|span| span * 1e9),
    };
    if let Some(nanos) = nanos.filter(|nanos| *nanos > 0.0) {
        let nanos = nanos.max(1e6) as i64;
        check.insert("timeout".into(), nanos.into());
    }
    check.into()
}
