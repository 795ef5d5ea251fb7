//! What there is to say about the keys of a configuration before there are any.

use portcullis_config::{GatewayConfig, PolicySource};

use super::{Finding, error, warning};

/// Why this gateway cannot have the policies its configuration asks for. Without them keys would
/// have the rights they were made with rather than those they should have.
pub(super) fn refusal(config: &GatewayConfig) -> Option<Finding> {
    let (source, from) = match config.definitions.policy_source {
        PolicySource::File => return None,
        PolicySource::Service => ("service", "a Dashboard"),
        PolicySource::Rpc => ("rpc", "a control plane elsewhere"),
    };
    let message = format!(
        "`{source}` takes policies from {from}, which this version does not do; accepted: `file`, with \
         `policies.policy_path` or `policies.policy_record_name`"
    );
    Some(error("policies.policy_source", message))
}

/// What could be better.
pub(super) fn advice(config: &GatewayConfig) -> impl Iterator<Item = Finding> {
    hashes(config).into_iter().chain(verification(config))
}

/// Upstreams that nobody verifies.
fn verification(config: &GatewayConfig) -> Option<Finding> {
    config.upstream.insecure_skip_verify.then(|| {
        warning(
            "proxy_ssl_insecure_skip_verify",
            "any certificate of any upstream is accepted, so whoever sits in between can read and change \
             everything; name authorities in portcullis.upstream_ca instead"
                .to_owned(),
        )
    })
}

/// Keys that are stored under names somebody else's could have.
fn hashes(config: &GatewayConfig) -> Option<Finding> {
    let identity = &config.identity;
    let weak = matches!(
        identity.hash_key_function.as_deref(),
        None | Some("murmur32")
    );
    (identity.hash_keys && weak).then(|| {
        warning(
            "hash_key_function",
            "keys are stored under a hash of 32 bits that does not see the end of a token, so different \
             tokens can open the same key; set `murmur64` or `sha256`, and `hash_key_function_fallback` \
             to `[\"murmur32\"]` while older keys are in use"
                .to_owned(),
        )
    })
}
