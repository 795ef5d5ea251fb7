//! Circuit breakers of single paths: `circuit_breakers` of Classic definitions, `circuitBreaker` of an OAS
//! operation (outbound sheet 7).

use std::time::Duration;

use crate::reader::Node;

/// A breaker for requests whose path and method match.
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreaker {
    /// As in [`crate::EndpointTimeout::path`].
    pub path: String,
    /// Upper-case method, `None` for every method.
    pub method: Option<String>,
    /// The share of failures that opens it, 0 to 1.
    pub threshold: f64,
    /// So many requests must have been counted before; at least 1.
    pub samples: u64,
    /// How long it stays open.
    pub cooldown: Duration,
    /// Whether it lets single requests through meanwhile, to see.
    pub half_open: bool,
}

/// How long a breaker may be open at most: a day.
const LONGEST: i64 = 86_400;

/// A breaker of a Classic definition, unless it would do nothing.
pub(crate) fn classic(entry: &Node<'_, '_>) -> Option<CircuitBreaker> {
    let method = entry.at("method").string().to_ascii_uppercase();
    let disabled = entry.at("disable_half_open_state").bool();
    Some(CircuitBreaker {
        path: entry.at("path").string().to_owned(),
        method: Some(method).filter(|method| !method.is_empty()),
        threshold: threshold(&entry.at("threshold_percent")),
        samples: samples(&entry.at("samples")),
        half_open: !disabled,
        cooldown: cooldown(&entry.at("return_to_service_after"))?,
    })
}

/// The breaker of an operation, unless it would do nothing.
pub(crate) fn oas(node: &Node<'_, '_>, path: &str, method: &str) -> Option<CircuitBreaker> {
    Some(CircuitBreaker {
        path: path.to_owned(),
        method: Some(method.to_ascii_uppercase()),
        threshold: threshold(&node.at("threshold")),
        samples: samples(&node.at("sampleSize")),
        half_open: node.at("halfOpenStateEnabled").bool(),
        cooldown: cooldown(&node.at("coolDownPeriod"))?,
    })
}

fn threshold(node: &Node<'_, '_>) -> f64 {
    let share = node.number();
    if !(0.0..=1.0).contains(&share) {
        node.error(
            format!("{share} is no share of requests"),
            "0 to 1, such as 0.5 for one half",
            "",
        );
    }
    share
}

fn samples(node: &Node<'_, '_>) -> u64 {
    let samples = node.integer(0..=i64::from(u32::MAX)).unwrap_or(1);
    u64::try_from(samples).unwrap_or(1).max(1)
}

/// `None` for no time at all: a breaker that closes as it opens keeps no request back, and would be told of
/// without end. Tyk takes such definitions, so they load.
fn cooldown(node: &Node<'_, '_>) -> Option<Duration> {
    let seconds = match node.is_present() {
        true => node.integer(0..=LONGEST)?,
        false => 0,
    };
    if seconds == 0 {
        node.warn("is 0, so the breaker would never keep a request back: it is left out; say for how many seconds, such as 60");
    }
    let cooldown = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(cooldown).filter(|cooldown| !cooldown.is_zero())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{ParsedDefinition, parse_classic, parse_oas};

    fn classic(cooldown: &Value) -> ParsedDefinition {
        let definition = json!({
            "api_id": "a", "use_keyless": true,
            "proxy": {"listen_path": "/", "target_url": "http://up.test"},
            "version_data": {"not_versioned": true, "versions": {"Default": {
                "use_extended_paths": true,
                "extended_paths": {"circuit_breakers": [{
                    "path": "/x", "method": "GET", "threshold_percent": 0.5, "samples": 4,
                    "return_to_service_after": cooldown,
                }]},
            }}},
        });
        parse_classic(definition.to_string().as_bytes()).expect("it loads")
    }

    fn oas(cooldown: &Value) -> ParsedDefinition {
        let definition = json!({
            "openapi": "3.0.3", "info": {"title": "a", "version": "1"},
            "paths": {"/x": {"get": {"operationId": "x", "responses": {"200": {"description": ""}}}}},
            "x-tyk-api-gateway": {
                "info": {"name": "a", "id": "a", "orgId": "o", "state": {"active": true}},
                "server": {"listenPath": {"value": "/a/"}},
                "upstream": {"url": "http://up.test"},
                "middleware": {"operations": {"x": {"circuitBreaker": {
                    "enabled": true, "threshold": 0.5, "sampleSize": 4, "coolDownPeriod": cooldown,
                }}}},
            },
        });
        parse_oas(definition.to_string().as_bytes()).expect("it loads")
    }

    #[test]
    fn a_breaker_without_a_time_to_stay_open_is_left_out_with_a_warning() {
        type Parse = fn(&Value) -> ParsedDefinition;
        let formats: [(Parse, &str); 2] = [
            (classic, "return_to_service_after"),
            (oas, "coolDownPeriod"),
        ];
        for (parsed, key) in formats {
            let whole = parsed(&json!(60));
            assert_eq!(whole.api.breakers.len(), 1);
            for none in [json!(0), Value::Null] {
                let parsed = parsed(&none);
                assert!(parsed.api.breakers.is_empty());
                let warnings: Vec<_> = parsed.warnings.iter().map(ToString::to_string).collect();
                assert!(
                    warnings
                        .iter()
                        .any(|told| told.contains(key) && told.contains("left out")),
                    "{warnings:?}"
                );
            }
        }
    }
}
