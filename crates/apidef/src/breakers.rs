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

/// A breaker of a Classic definition.
pub(crate) fn classic(entry: &Node<'_, '_>) -> CircuitBreaker {
    let method = entry.at("method").string().to_ascii_uppercase();
    let disabled = entry.at("disable_half_open_state").bool();
    CircuitBreaker {
        path: entry.at("path").string().to_owned(),
        method: Some(method).filter(|method| !method.is_empty()),
        threshold: threshold(&entry.at("threshold_percent")),
        samples: samples(&entry.at("samples")),
        cooldown: cooldown(&entry.at("return_to_service_after")),
        half_open: !disabled,
    }
}

/// The breaker of an operation.
pub(crate) fn oas(node: &Node<'_, '_>, path: &str, method: &str) -> CircuitBreaker {
    CircuitBreaker {
        path: path.to_owned(),
        method: Some(method.to_ascii_uppercase()),
        threshold: threshold(&node.at("threshold")),
        samples: samples(&node.at("sampleSize")),
        cooldown: cooldown(&node.at("coolDownPeriod")),
        half_open: node.at("halfOpenStateEnabled").bool(),
    }
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

fn cooldown(node: &Node<'_, '_>) -> Duration {
    let seconds = node.integer(0..=LONGEST).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
