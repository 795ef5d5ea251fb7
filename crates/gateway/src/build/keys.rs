//! What there is to say about the keys of a configuration before there are any.

use std::sync::Arc;

use portcullis_apidef::gateway_error_overrides;
use portcullis_config::{GatewayConfig, PolicySource};

use super::{BuildError, Finding, error, warning};
use crate::overrides::Overrides;

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

/// Rules for the error answers of all APIs.
pub(super) fn error_overrides(
    config: &GatewayConfig,
    findings: &mut Vec<Finding>,
) -> Result<Arc<Overrides>, BuildError> {
    match gateway_error_overrides(&config.control.error_overrides) {
        Ok((rules, warnings)) => {
            findings.extend(
                warnings
                    .into_iter()
                    .map(|found| warning(&found.path, found.message)),
            );
            Ok(Arc::new(Overrides::of(&rules)))
        }
        Err(problems) => Err(BuildError {
            problems: problems
                .iter()
                .map(|found| {
                    let text = found.to_string();
                    let message = text
                        .strip_prefix(&format!("{}: ", found.path))
                        .unwrap_or(&text);
                    error(&found.path, message.to_owned())
                })
                .collect(),
        }),
    }
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
